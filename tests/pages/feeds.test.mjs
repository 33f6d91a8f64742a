/** @file Feeds: a full list, then changes, each version once; a missed one makes the client request the full list. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { live } from './support/client.mjs';

const lobby = { name: 'lobby', doctor: 'd1' };
const row = (key, position) => ({ key, kind: 'waiting', room: key, position });
const change = (version, set = [], removed = [], feed = lobby) => ({ type: 'feed_change', feed, version, set, removed });

async function following() {
  const it = await live();
  it.client.subscribe(lobby);
  const socket = it.network.last();
  socket.receive({ type: 'feed', feed: lobby, version: 1, items: [row('a', 1), row('b', 2)] });
  const shown = () => it.of('feed').at(-1).items.map(({ key, position }) => `${key}${position}`);
  return { ...it, socket, shown };
}

test('a feed is its last full list with every later change', async () => {
  const { socket, shown } = await following();
  assert.deepEqual(shown(), ['a1', 'b2']);
  socket.receive(change(2, [row('b', 1)], ['a']));
  assert.deepEqual(shown(), ['b1']);
  socket.receive(change(3, [row('c', 2)]));
  assert.deepEqual(shown(), ['b1', 'c2']);
  socket.receive({ type: 'feed', feed: lobby, version: 9, items: [row('z', 1)] });
  assert.deepEqual(shown(), ['z1'], 'a whole list replaces all');
});

test('a feed says how many rows it leaves out', async () => {
  const { socket, of } = await following();
  const missing = () => of('feed').at(-1).missing;
  assert.equal(missing(), 0, 'absent means none');
  socket.receive({ ...change(2, [row('c', 3)]), missing: 3 });
  assert.equal(missing(), 3);
  socket.receive(change(3, [], ['c']));
  assert.equal(missing(), 0);
});

test('a missed version requests the full list once and ignores changes before it', async () => {
  const { socket, shown, of } = await following();
  socket.receive(change(3, [row('c', 3)]));
  socket.receive(change(4, [row('d', 4)]));
  assert.equal(socket.sent('subscribe').length, 2);
  assert.equal(of('feed').length, 1);
  assert.deepEqual(shown(), ['a1', 'b2']);
  socket.receive({ type: 'feed', feed: lobby, version: 1, items: [row('a', 1), row('d', 2)] });
  socket.receive(change(2, [], ['a']));
  assert.deepEqual(shown(), ['d2']);
});

test('versions do not carry over to another connection', async () => {
  const { clock, network, socket, shown, of } = await following();
  socket.cut();
  await clock.advance(500);
  network.last().welcome();
  assert.deepEqual(network.last().sent('subscribe'), [{ type: 'subscribe', feed: lobby }]);
  network.last().receive(change(2, [row('x', 1)]));
  assert.equal(of('feed').length, 1);
  network.last().receive({ type: 'feed', feed: lobby, version: 1, items: [] });
  assert.deepEqual(shown(), []);
});

test('feeds of the same name with different keys are separate', async () => {
  const { client, socket, of } = await following();
  const other = { name: 'lobby', doctor: 'd2' };
  client.subscribe(other);
  socket.receive({ type: 'feed', feed: other, version: 5, items: [] });
  socket.receive(change(2, [row('c', 3)]));
  socket.receive(change(6, [row('q', 1)], [], other));
  assert.deepEqual(of('feed').slice(-2).map(({ feed, items }) => [feed.doctor, items.length]), [['d1', 3], ['d2', 1]]);
  assert.equal(socket.sent('subscribe').length, 2);
});

test('an unsubscribed feed is neither shown nor requested', async () => {
  const { client, clock, network, socket, of } = await following();
  client.unsubscribe(lobby);
  assert.deepEqual(socket.sent('unsubscribe'), [{ type: 'unsubscribe', feed: lobby }]);
  socket.receive(change(2, [row('c', 3)]));
  socket.receive(change(7, [row('c', 3)]));
  assert.equal(of('feed').length, 1);
  assert.equal(socket.sent('subscribe').length, 1);
  socket.cut();
  await clock.advance(500);
  network.last().welcome();
  assert.deepEqual(network.last().sent('subscribe'), []);
});

test('a temporarily unavailable feed is requested again', async () => {
  const { client, clock, socket, shown } = await following();
  client.subscribe({ name: 'me' });
  socket.receive({ type: 'error', code: 'unavailable', message: '', retryable: true, detail: { retry_after_ms: 2000 } });
  await clock.advance(2000);
  assert.deepEqual(socket.sent('subscribe').map(({ feed }) => feed.name), ['lobby', 'me', 'me']);
  assert.deepEqual(shown(), ['a1', 'b2']);
});
