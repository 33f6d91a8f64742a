/** @file The outbox keeps commands until they are answered, across cuts, refusals, reloads, and other sign-ins. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { browserOutbox } from '../../static/outbox.js';
import { live, start } from './support/client.mjs';
import { FakeIndexedDB } from './support/indexeddb.mjs';
import { waitUntil } from './support/peers.mjs';

const chat = (text) => ({ kind: 'chat.send', data: { text } });
const ack = (id, seq) => ({ type: 'ack', id, room: 'r1', first: seq, last: seq });
const sent = (socket) => socket.sent('command').map(({ id }) => id);
const texts = async (outbox) => (await outbox.all()).map(({ command }) => command.data.text);

/** Counts the commands in storage. */
const kept = (disk, user = 'ada') => disk.databases.get(`wardroom-${user}`).get('commands').rows.size;

/** Installs storage that outlives the pages of a test. */
function browser(t) {
  const indexedDB = new FakeIndexedDB();
  globalThis.indexedDB = indexedDB;
  t.after(() => delete globalThis.indexedDB);
  return indexedDB;
}

test('stored commands survive a reload in order, and removed ones do not', async (t) => {
  const disk = browser(t);
  const outbox = await browserOutbox('ada');
  await Promise.all(['a', 'b', 'c', 'd'].map((id) => outbox.put({ id, command: chat(id) })));
  await outbox.remove('b');
  await outbox.remove('never was');
  disk.reload();
  assert.deepEqual(await texts(await browserOutbox('ada')), ['a', 'c', 'd']);
});

test('commands are never sent as another person', async (t) => {
  browser(t);
  await (await browserOutbox('ada')).put({ id: 'a', command: chat('mine') });
  assert.deepEqual(await (await browserOutbox('bob')).all(), []);
});

test('a command is sent only after its storage is committed', async (t) => {
  const disk = browser(t);
  const it = await live({ outbox: await browserOutbox('ada') });
  let onTheDisk = null;
  it.network.onframe = () => (onTheDisk = [...disk.databases.get('wardroom-ada').get('commands').rows.values()].map(({ id }) => id));
  await it.client.command('r1', chat('Hello'));
  assert.deepEqual(onTheDisk, ['id 1']);
});

test('a browser without storage still sends', async (t) => {
  globalThis.indexedDB = { open: () => { throw new DOMException('private', 'SecurityError'); } };
  t.after(() => delete globalThis.indexedDB);
  const it = await live({ outbox: await browserOutbox('ada') });
  await it.client.command('r1', chat('Hello'));
  assert.deepEqual(sent(it.network.last()), ['id 1']);
});

test('offline commands are sent in order after reconnecting, and after every cut until answered', async () => {
  const { client, clock, network, state, of } = await start();
  for (const text of ['one', 'two', 'three']) await client.command('r1', chat(text), 7);
  assert.equal(state().waiting, 3);
  network.last().welcome();
  assert.deepEqual(sent(network.last()), ['id 1', 'id 2', 'id 3']);
  assert.deepEqual(network.last().sent('command')[0], { type: 'command', id: 'id 1', room: 'r1', expect: 7, command: chat('one') });
  network.last().receive(ack('id 2', 5));
  network.last().cut();
  await clock.advance(500);
  network.last().welcome();
  assert.deepEqual(sent(network.last()), ['id 1', 'id 3'], 'what was acknowledged is never sent again');
  network.last().receive(ack('id 1', 6));
  network.last().receive(ack('id 3', 7));
  network.last().cut();
  await clock.advance(1000);
  network.last().welcome();
  assert.deepEqual(sent(network.last()), []);
  assert.deepEqual(of('ack').map(({ id, first }) => [id, first]), [['id 2', 5], ['id 1', 6], ['id 3', 7]]);
});

test('a reload neither loses a command nor changes its id', async (t) => {
  const disk = browser(t);
  const first = await start({ outbox: await browserOutbox('ada') });
  for (const text of ['one', 'two', 'three']) await first.client.command('r1', chat(text));
  first.network.last().welcome();
  first.network.last().receive(ack('id 2', 1));
  await waitUntil(() => kept(disk) === 2);
  disk.reload();
  const second = await live({ outbox: await browserOutbox('ada'), id: () => 'another id' });
  assert.equal(second.state().waiting, 2);
  assert.deepEqual(second.network.last().sent('command').map(({ id, command }) => [id, command.data.text]), [['id 1', 'one'], ['id 3', 'three']]);
  for (const id of ['id 1', 'id 3']) second.network.last().receive(ack(id, 2));
  await waitUntil(() => kept(disk) === 0);
  disk.reload();
  const third = await live({ outbox: await browserOutbox('ada') });
  assert.deepEqual(sent(third.network.last()), []);
});

test('a refused command is reported once, removed, and not repeated', async (t) => {
  const disk = browser(t);
  const { client, clock, network, of, state } = await live({ outbox: await browserOutbox('ada') });
  await client.command('r1', chat('Hello'));
  const error = { type: 'error', id: 'id 1', room: 'r1', code: 'forbidden', message: 'not you', retryable: false };
  network.last().receive(error);
  await waitUntil(() => kept(disk) === 0);
  assert.deepEqual(of('refused'), [{ id: 'id 1', room: 'r1', command: chat('Hello'), error }]);
  assert.equal(state().waiting, 0);
  network.last().cut();
  await clock.advance(500);
  network.last().welcome();
  assert.deepEqual(sent(network.last()), []);
  disk.reload();
  assert.deepEqual(await (await browserOutbox('ada')).all(), []);
});

test('a retryable error repeats the command with its id after the given delay', async () => {
  const { client, clock, network, of } = await live();
  await client.command('r1', chat('Hello'));
  network.last().receive({ type: 'error', id: 'id 1', room: 'r1', code: 'rate_limited', message: '', retryable: true, detail: { retry_after_ms: 3000 } });
  await clock.advance(2999);
  network.last().receive({ type: 'beat' });
  assert.deepEqual(sent(network.last()), ['id 1']);
  await clock.advance(1);
  assert.deepEqual(sent(network.last()), ['id 1', 'id 1']);
  network.last().receive({ type: 'error', id: 'id 1', room: 'r1', code: 'unavailable', message: '', retryable: true });
  await clock.advance(999);
  network.last().receive(ack('id 1', 1));
  await clock.advance(5000);
  assert.deepEqual(sent(network.last()), ['id 1', 'id 1'], 'an answer ends it');
  assert.deepEqual(of('refused'), []);
});

test('a delayed retry is not sent twice after a reconnect', async () => {
  const { client, clock, network } = await live();
  await client.command('r1', chat('Hello'));
  network.last().receive({ type: 'error', id: 'id 1', room: 'r1', code: 'unavailable', message: '', retryable: true });
  network.last().cut();
  await clock.advance(500);
  network.last().welcome();
  await clock.advance(5000);
  assert.deepEqual(sent(network.last()), ['id 1']);
});
