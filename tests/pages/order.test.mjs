/** @file Order, gaps, and repeats: the reader’s rule, and recovery of missing events. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Reader } from '../../static/reader.js';
import { event, live } from './support/client.mjs';
import { flushPromises } from './support/time.mjs';

/** Starts a client that is live in room `r1` with events up to `head`. */
async function inRoom(head = 3) {
  const it = await live();
  it.client.join('r1');
  const socket = it.network.last();
  socket.receive({ type: 'joined', room: 'r1', head, snapshot: {} });
  for (let seq = 1; seq <= head; seq += 1) socket.receive(event(seq - 1, seq));
  socket.receive({ type: 'live', room: 'r1', head });
  const seqs = () => it.of('event').map(({ event }) => event.seq);
  return { ...it, socket, seqs };
}

test('the reader follows the worked example in docs/protocol.md', () => {
  const reader = new Reader(0);
  const verdicts = [[0, 4], [4, 6], [6, 8], [6, 8], [11, 14]].map(([prev, seq]) => [reader.offer(prev, seq), reader.cursor]);
  assert.deepEqual(verdicts, [['deliver', 4], ['deliver', 6], ['deliver', 8], ['repeat', 8], ['gap', 8]]);
});

test('a jump in sequence numbers is no gap if prev matches the cursor', () => {
  const reader = new Reader(5);
  assert.equal(reader.offer(3, 9), 'deliver');
  assert.equal(reader.cursor, 9);
});

test('events reach the page once and in order', async () => {
  const { socket, seqs } = await inRoom();
  for (const frame of [event(3, 4), event(3, 4), event(1, 2), event(4, 7), event(6, 7)]) socket.receive(frame);
  assert.deepEqual(seqs(), [1, 2, 3, 4, 7]);
});

test('a gap makes the client rejoin once from its cursor and ignore later events', async () => {
  const { socket, seqs } = await inRoom();
  socket.receive(event(4, 5));
  socket.receive(event(5, 6));
  assert.deepEqual(socket.sent('join').map(({ after }) => after), [0, 3]);
  assert.deepEqual(seqs(), [1, 2, 3]);
  socket.receive({ type: 'joined', room: 'r1', head: 6, snapshot: {} });
  for (const seq of [4, 5, 6]) socket.receive(event(seq - 1, seq));
  socket.receive({ type: 'live', room: 'r1', head: 6 });
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 6]);
  assert.equal(socket.sent('join').length, 2);
});

test('a heartbeat with a head beyond the cursor reveals a lost last event', async () => {
  const { socket } = await inRoom();
  socket.receive({ type: 'beat', heads: [{ room: 'r1', head: 3 }, { room: 'elsewhere', head: 9 }] });
  assert.equal(socket.sent('join').length, 1);
  socket.receive({ type: 'beat', heads: [{ room: 'r1', head: 4 }] });
  assert.equal(socket.sent('join').at(-1).after, 3);
  assert.equal(socket.sent('beat').length, 2, 'every beat is answered');
});

test('live with a head beyond the cursor does not count as live', async () => {
  const { socket, of } = await inRoom();
  const before = of('live').length;
  socket.receive({ type: 'live', room: 'r1', head: 5 });
  assert.equal(of('live').length, before);
  assert.equal(socket.sent('join').at(-1).after, 3);
});

test('a page that has stored events joins after them', async () => {
  const { client, socket } = await inRoom();
  client.join('r2', 12);
  assert.deepEqual(socket.sent('join').at(-1), { type: 'join', room: 'r2', after: 12 });
});

test('events of a left room are ignored, and rejoining at once works', async () => {
  const { client, socket, seqs, of } = await inRoom();
  client.leave('r1');
  client.join('r1', 3);
  socket.receive({ type: 'left', room: 'r1', code: 'not_joined' });
  socket.receive(event(3, 4));
  assert.deepEqual(seqs(), [1, 2, 3, 4]);
  assert.deepEqual(of('left'), []);
  client.leave('r1');
  socket.receive(event(4, 5));
  assert.deepEqual(seqs(), [1, 2, 3, 4]);
});

test('a temporarily unavailable room is rejoined from the cursor', async () => {
  const { clock, socket, of } = await inRoom();
  socket.receive({ type: 'left', room: 'r1', code: 'unavailable' });
  assert.equal(socket.sent('join').length, 1);
  await clock.advance(1000);
  assert.deepEqual(socket.sent('join').map(({ after }) => after), [0, 3]);
  socket.receive({ type: 'error', room: 'r1', code: 'unavailable', message: '', retryable: true, detail: { retry_after_ms: 3000 } });
  await clock.advance(2999);
  assert.equal(socket.sent('join').length, 2);
  await clock.advance(1);
  assert.deepEqual(socket.sent('join').map(({ after }) => after), [0, 3, 3]);
  assert.deepEqual([of('left'), of('error')], [[], []], 'and the page is not told that it is over');
});

test('loss of access to a room is reported to the page and not retried', async () => {
  const { clock, network, socket, of } = await inRoom();
  socket.receive({ type: 'left', room: 'r1', code: 'forbidden' });
  assert.deepEqual(of('left'), [{ room: 'r1', code: 'forbidden' }]);
  socket.cut();
  await clock.advance(500);
  network.last().welcome();
  assert.deepEqual(network.last().sent('join'), []);
});

test('unknown frames and fields are ignored', async () => {
  const { socket, seqs } = await inRoom();
  for (const type of ['weather', 'constructor', '__proto__', 'toString']) socket.receive({ type, room: 'r1' });
  socket.receive({ ...event(3, 4), mood: 'new' });
  await flushPromises();
  assert.deepEqual(seqs(), [1, 2, 3, 4]);
});
