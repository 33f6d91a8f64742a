// Order, gaps and repeats: the rule of the reader, and that the client asks for what is missing.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Reader } from '../../static/reader.js';
import { event, live } from './support/client.mjs';
import { settled } from './support/time.mjs';

/** A client that is live in room `r1` with events up to `head`. */
async function inRoom(head = 3) {
  const it = await live();
  it.client.join('r1');
  const socket = it.network.last();
  socket.say({ type: 'joined', room: 'r1', head, snapshot: {} });
  for (let seq = 1; seq <= head; seq += 1) socket.say(event(seq - 1, seq));
  socket.say({ type: 'live', room: 'r1', head });
  const seqs = () => it.of('event').map(({ event }) => event.seq);
  return { ...it, socket, seqs };
}

test('the rule of the reader is that of the worked example in docs/protocol.md', () => {
  const reader = new Reader(0);
  const verdicts = [[0, 4], [4, 6], [6, 8], [6, 8], [11, 14]].map(([prev, seq]) => [reader.offer(prev, seq), reader.cursor]);
  assert.deepEqual(verdicts, [['deliver', 4], ['deliver', 6], ['deliver', 8], ['repeat', 8], ['gap', 8]]);
});

test('a jump in the numbers is no loss when prev says so', () => {
  const reader = new Reader(5);
  assert.equal(reader.offer(3, 9), 'deliver');
  assert.equal(reader.cursor, 9);
});

test('events come to the page once and in order', async () => {
  const { socket, seqs } = await inRoom();
  for (const frame of [event(3, 4), event(3, 4), event(1, 2), event(4, 7), event(6, 7)]) socket.say(frame);
  assert.deepEqual(seqs(), [1, 2, 3, 4, 7]);
});

test('after a gap the client joins again with its cursor, once, and takes nothing from beyond it', async () => {
  const { socket, seqs } = await inRoom();
  socket.say(event(4, 5));
  socket.say(event(5, 6));
  assert.deepEqual(socket.sent('join').map(({ after }) => after), [0, 3]);
  assert.deepEqual(seqs(), [1, 2, 3]);
  socket.say({ type: 'joined', room: 'r1', head: 6, snapshot: {} });
  for (const seq of [4, 5, 6]) socket.say(event(seq - 1, seq));
  socket.say({ type: 'live', room: 'r1', head: 6 });
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 6]);
  assert.equal(socket.sent('join').length, 2);
});

test('a beat whose head is beyond the cursor shows a loss that nothing followed', async () => {
  const { socket } = await inRoom();
  socket.say({ type: 'beat', heads: [{ room: 'r1', head: 3 }, { room: 'elsewhere', head: 9 }] });
  assert.equal(socket.sent('join').length, 1);
  socket.say({ type: 'beat', heads: [{ room: 'r1', head: 4 }] });
  assert.equal(socket.sent('join').at(-1).after, 3);
  assert.equal(socket.sent('beat').length, 2, 'every beat is answered');
});

test('live with a head beyond the cursor is not live', async () => {
  const { socket, of } = await inRoom();
  const before = of('live').length;
  socket.say({ type: 'live', room: 'r1', head: 5 });
  assert.equal(of('live').length, before);
  assert.equal(socket.sent('join').at(-1).after, 3);
});

test('a page that remembers events goes on behind them', async () => {
  const { client, socket } = await inRoom();
  client.join('r2', 12);
  assert.deepEqual(socket.sent('join').at(-1), { type: 'join', room: 'r2', after: 12 });
});

test('events of a room that was left are of no concern, and entering again at once is no confusion', async () => {
  const { client, socket, seqs, of } = await inRoom();
  client.leave('r1');
  client.join('r1', 3);
  socket.say({ type: 'left', room: 'r1', code: 'not_joined' });
  socket.say(event(3, 4));
  assert.deepEqual(seqs(), [1, 2, 3, 4]);
  assert.deepEqual(of('left'), []);
  client.leave('r1');
  socket.say(event(4, 5));
  assert.deepEqual(seqs(), [1, 2, 3, 4]);
});

test('a room that cannot be served now is entered again, with the cursor', async () => {
  const { clock, socket, of } = await inRoom();
  socket.say({ type: 'left', room: 'r1', code: 'unavailable' });
  assert.equal(socket.sent('join').length, 1);
  await clock.pass(1000);
  assert.deepEqual(socket.sent('join').map(({ after }) => after), [0, 3]);
  socket.say({ type: 'error', room: 'r1', code: 'unavailable', message: '', retryable: true, detail: { retry_after_ms: 3000 } });
  await clock.pass(2999);
  assert.equal(socket.sent('join').length, 2);
  await clock.pass(1);
  assert.deepEqual(socket.sent('join').map(({ after }) => after), [0, 3, 3]);
  assert.deepEqual([of('left'), of('error')], [[], []], 'and the page is not told that it is over');
});

test('a room that one lost the right to is told to the page and left alone', async () => {
  const { clock, network, socket, of } = await inRoom();
  socket.say({ type: 'left', room: 'r1', code: 'forbidden' });
  assert.deepEqual(of('left'), [{ room: 'r1', code: 'forbidden' }]);
  socket.cut();
  await clock.pass(500);
  network.last().welcome();
  assert.deepEqual(network.last().sent('join'), []);
});

test('what a client does not know it ignores', async () => {
  const { socket, seqs } = await inRoom();
  for (const type of ['weather', 'constructor', '__proto__', 'toString']) socket.say({ type, room: 'r1' });
  socket.say({ ...event(3, 4), mood: 'new' });
  await settled();
  assert.deepEqual(seqs(), [1, 2, 3, 4]);
});
