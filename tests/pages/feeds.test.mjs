// Live lists: a whole list, then changes, each version once; a missed one makes the client ask for the whole again.

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
  socket.say({ type: 'feed', feed: lobby, version: 1, items: [row('a', 1), row('b', 2)] });
  const shown = () => it.of('feed').at(-1).items.map(({ key, position }) => `${key}${position}`);
  return { ...it, socket, shown };
}

test('a list is what came whole, with every change since', async () => {
  const { socket, shown } = await following();
  assert.deepEqual(shown(), ['a1', 'b2']);
  socket.say(change(2, [row('b', 1)], ['a']));
  assert.deepEqual(shown(), ['b1']);
  socket.say(change(3, [row('c', 2)]));
  assert.deepEqual(shown(), ['b1', 'c2']);
  socket.say({ type: 'feed', feed: lobby, version: 9, items: [row('z', 1)] });
  assert.deepEqual(shown(), ['z1'], 'a whole list replaces all');
});

test('a missed version is not guessed over: the whole list is asked for, once, and what comes before it does not count', async () => {
  const { socket, shown, of } = await following();
  socket.say(change(3, [row('c', 3)]));
  socket.say(change(4, [row('d', 4)]));
  assert.equal(socket.sent('subscribe').length, 2);
  assert.equal(of('feed').length, 1);
  assert.deepEqual(shown(), ['a1', 'b2']);
  socket.say({ type: 'feed', feed: lobby, version: 1, items: [row('a', 1), row('d', 2)] });
  socket.say(change(2, [], ['a']));
  assert.deepEqual(shown(), ['d2']);
});

test('versions of a former connection mean nothing', async () => {
  const { clock, network, socket, shown, of } = await following();
  socket.cut();
  await clock.pass(500);
  network.last().welcome();
  assert.deepEqual(network.last().sent('subscribe'), [{ type: 'subscribe', feed: lobby }]);
  network.last().say(change(2, [row('x', 1)]));
  assert.equal(of('feed').length, 1);
  network.last().say({ type: 'feed', feed: lobby, version: 1, items: [] });
  assert.deepEqual(shown(), []);
});

test('two lists of one name are two lists', async () => {
  const { client, socket, of } = await following();
  const other = { name: 'lobby', doctor: 'd2' };
  client.subscribe(other);
  socket.say({ type: 'feed', feed: other, version: 5, items: [] });
  socket.say(change(2, [row('c', 3)]));
  socket.say(change(6, [row('q', 1)], [], other));
  assert.deepEqual(of('feed').slice(-2).map(({ feed, items }) => [feed.doctor, items.length]), [['d1', 3], ['d2', 1]]);
  assert.equal(socket.sent('subscribe').length, 2);
});

test('a list that nobody follows any more is not shown, nor asked for', async () => {
  const { client, clock, network, socket, of } = await following();
  client.unsubscribe(lobby);
  assert.deepEqual(socket.sent('unsubscribe'), [{ type: 'unsubscribe', feed: lobby }]);
  socket.say(change(2, [row('c', 3)]));
  socket.say(change(7, [row('c', 3)]));
  assert.equal(of('feed').length, 1);
  assert.equal(socket.sent('subscribe').length, 1);
  socket.cut();
  await clock.pass(500);
  network.last().welcome();
  assert.deepEqual(network.last().sent('subscribe'), []);
});

test('a list that the hub cannot give now is asked for again', async () => {
  const { client, clock, socket, shown } = await following();
  client.subscribe({ name: 'me' });
  socket.say({ type: 'error', code: 'unavailable', message: '', retryable: true, detail: { retry_after_ms: 2000 } });
  await clock.pass(2000);
  assert.deepEqual(socket.sent('subscribe').map(({ feed }) => feed.name), ['lobby', 'me', 'me']);
  assert.deepEqual(shown(), ['a1', 'b2']);
});
