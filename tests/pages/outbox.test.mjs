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
  const outbox = browserOutbox('ada');
  await Promise.all(['a', 'b', 'c', 'd'].map((id) => outbox.put({ id, command: chat(id) })));
  await outbox.remove('b');
  await outbox.remove('never was');
  disk.reload();
  assert.deepEqual(await texts(browserOutbox('ada')), ['a', 'c', 'd']);
});

test('commands are never sent as another person', async (t) => {
  browser(t);
  await (browserOutbox('ada')).put({ id: 'a', command: chat('mine') });
  assert.deepEqual(await (browserOutbox('bob')).all(), []);
});

test('a command is sent only after its storage is committed', async (t) => {
  const disk = browser(t);
  const it = await live({ outbox: browserOutbox('ada') });
  let onTheDisk = null;
  it.network.onframe = () => (onTheDisk = [...disk.databases.get('wardroom-ada').get('commands').rows.values()].map(({ id }) => id));
  await it.client.command('r1', chat('Hello'));
  assert.deepEqual(onTheDisk, ['id 1']);
});

test('a browser without storage still sends', async (t) => {
  globalThis.indexedDB = { open: () => { throw new DOMException('private', 'SecurityError'); } };
  t.after(() => delete globalThis.indexedDB);
  const it = await live({ outbox: browserOutbox('ada') });
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
  const first = await start({ outbox: browserOutbox('ada') });
  for (const text of ['one', 'two', 'three']) await first.client.command('r1', chat(text));
  first.network.last().welcome();
  first.network.last().receive(ack('id 2', 1));
  await waitUntil(() => kept(disk) === 2);
  disk.reload();
  const second = await live({ outbox: browserOutbox('ada'), id: () => 'another id' });
  assert.equal(second.state().waiting, 2);
  assert.deepEqual(second.network.last().sent('command').map(({ id, command }) => [id, command.data.text]), [['id 1', 'one'], ['id 3', 'three']]);
  for (const id of ['id 1', 'id 3']) second.network.last().receive(ack(id, 2));
  await waitUntil(() => kept(disk) === 0);
  disk.reload();
  const third = await live({ outbox: browserOutbox('ada') });
  assert.deepEqual(sent(third.network.last()), []);
});

test('a refused command is reported once, removed, and not repeated', async (t) => {
  const disk = browser(t);
  const { client, clock, network, of, state } = await live({ outbox: browserOutbox('ada') });
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
  assert.deepEqual(await (browserOutbox('ada')).all(), []);
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

test('a database that the browser closed is opened again', async (t) => {
  const disk = browser(t);
  const it = await live({ outbox: browserOutbox('ada') });
  disk.closeAll();
  await it.client.command('r1', chat('Hello'));
  assert.deepEqual([sent(it.network.last()), kept(disk)], [['id 1'], 1]);
});

test('a full disk or a database that stays closed neither delays nor hides a message', async (t) => {
  const disk = browser(t);
  const it = await live({ outbox: browserOutbox('ada') });
  disk.full = true;
  await it.client.command('r1', chat('full'));
  disk.closeAll();
  disk.open = () => { throw new DOMException('gone', 'UnknownError'); };
  await it.client.command('r1', chat('closed'));
  assert.deepEqual(sent(it.network.last()), ['id 1', 'id 2']);
  assert.equal(it.state().waiting, 2, 'both are shown');
  it.network.last().receive(ack('id 1', 1));
  it.network.last().receive(ack('id 2', 2));
  assert.equal(it.state().waiting, 0);
});

test('storage that never answers delays the start and a message only for a while', async (t) => {
  const disk = browser(t);
  disk.answers = false;
  const outbox = browserOutbox('ada', 20);
  const it = await start({ outbox });
  await waitUntil(() => it.network.sockets.length === 1, 'the client connects');
  it.network.last().welcome();
  const stored = it.client.command('r1', chat('Hello'));
  assert.equal(it.state().waiting, 1, 'the message is shown before it is stored');
  await stored;
  assert.deepEqual(sent(it.network.last()), ['id 1']);
  assert.deepEqual(await texts(outbox), ['Hello']);
});

test('a refused message stays until it is dismissed, also after a reload', async (t) => {
  const disk = browser(t);
  const first = await live({ outbox: browserOutbox('ada') });
  await first.client.command('r1', chat('too long'), undefined, { keepsRefused: true });
  first.network.last().receive({ type: 'error', id: 'id 1', room: 'r1', code: 'invalid', message: 'at most 4000 bytes', retryable: false });
  await waitUntil(() => [...disk.databases.get('wardroom-ada').get('commands').rows.values()].some(({ refusal }) => refusal));
  disk.reload();
  const second = await live({ outbox: browserOutbox('ada') });
  assert.deepEqual(sent(second.network.last()), [], 'it is not sent again');
  assert.deepEqual(second.client.refused.map(({ command, refusal }) => [command.data.text, refusal.message]), [['too long', 'at most 4000 bytes']]);
  await second.client.dismiss('id 1');
  assert.deepEqual([second.client.refused, kept(disk)], [[], 0]);
});

test('400 offline commands are sent with few in flight and below the hub’s rate', async () => {
  const it = await start();
  for (let number = 1; number <= 400; number += 1) await it.client.command('r1', chat(`${number}`));
  const begun = it.clock.now();
  const open = new Set();
  const times = [];
  let most = 0;
  it.network.onframe = (socket, { type, id }) => {
    if (type !== 'command') return;
    open.add(id);
    most = Math.max(most, open.size);
    times.push(it.clock.now());
    setImmediate(() => (open.delete(id), socket.receive(ack(id, times.length))));
  };
  it.network.last().welcome();
  while (times.length < 400) {
    await it.clock.advance(1000);
    it.network.last().receive({ type: 'beat' });
  }
  assert.ok(most <= 16, `${most} in flight`);
  assert.ok(it.clock.now() - begun <= 20_000, 'the last is sent within 20 s');
  const fastest = Math.max(...times.map((time) => times.filter((it) => it >= time && it < time + 1000).length));
  assert.ok(fastest <= 100, `${fastest} in a second`);
  assert.equal(new Set(it.of('ack').map(({ id }) => id)).size, 400);
});

test('a rate limit pauses all commands, and another temporary failure only those of its room', async () => {
  const it = await live();
  await it.client.command('r1', chat('one'));
  it.network.last().receive({ type: 'error', id: 'id 1', room: 'r1', code: 'unavailable', message: '', retryable: true });
  await it.client.command('r1', chat('two'));
  await it.client.command('r2', chat('other room'));
  assert.deepEqual(sent(it.network.last()), ['id 1', 'id 3'], 'the room keeps its order');
  await it.clock.advance(1000);
  assert.deepEqual(sent(it.network.last()), ['id 1', 'id 3', 'id 1', 'id 2']);
  it.network.last().receive({ type: 'error', id: 'id 3', room: 'r2', code: 'rate_limited', message: '', retryable: true, detail: { retry_after_ms: 700 } });
  await it.client.command('r3', chat('a third room'));
  assert.equal(sent(it.network.last()).length, 4);
  await it.clock.advance(700);
  assert.deepEqual(sent(it.network.last()).slice(4), ['id 3', 'id 4']);
});
