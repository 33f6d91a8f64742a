/** @file Reconnecting: when, with what, and when not. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Reconnect } from '../../static/reconnect.js';
import { event, live, start } from './support/client.mjs';
import { flushPromises } from './support/time.mjs';

const DAY = 86_400_000;

test('a reconnect repeats hello, token, cursors, feeds, and the replaced connection', async () => {
  const { client, clock, network } = await live();
  const first = network.last();
  assert.equal(first.url, 'wss://hub.example.org/v1/ws');
  assert.equal(first.subprotocol, 'wardroom.v1');
  assert.deepEqual(first.sent('hello'), [{ type: 'hello', token: 'token 1' }]);
  client.join('r1');
  client.subscribe({ name: 'me' });
  for (const seq of [1, 2]) first.receive(event(seq - 1, seq));
  first.cut();
  await clock.advance(500);
  const second = network.last();
  assert.notEqual(second, first);
  second.welcome();
  assert.deepEqual(second.sent(), [
    { type: 'hello', token: 'token 2', replaces: 'c1' },
    { type: 'join', room: 'r1', after: 2 },
    { type: 'subscribe', feed: { name: 'me' } },
  ]);
});

test('frames of a dead connection are ignored', async () => {
  const { client, of, network, clock } = await live();
  client.join('r1');
  const { onmessage } = network.last();
  network.last().cut();
  onmessage({ data: JSON.stringify(event(0, 1)) });
  await clock.advance(500);
  network.last().welcome();
  onmessage({ data: JSON.stringify(event(0, 1)) });
  assert.deepEqual(of('event'), []);
});

test('the delay is random below 0.5 s × 2^n and at most 30 s', () => {
  for (const random of [0, 0.25, 0.999]) {
    const it = new Reconnect(() => random, () => 0);
    const waits = Array.from({ length: 1200 }, () => it.nextDelay());
    const most = waits.map((_, n) => Math.min(30_000, 500 * 2 ** n));
    assert.deepEqual(waits, most.map((ms) => ms * random));
  }
});

test('delays are spread over the whole range', () => {
  const it = new Reconnect(Math.random, () => 0);
  it.failures = 20;
  const waits = Array.from({ length: 2000 }, () => it.nextDelay());
  assert.ok(waits.every((ms) => ms >= 0 && ms < 30_000));
  for (let tenth = 0; tenth < 10; tenth += 1) {
    const inside = waits.filter((ms) => ms >= tenth * 3000 && ms < (tenth + 1) * 3000).length;
    assert.ok(inside > 100 && inside < 320, `${inside} of 2000 in tenth ${tenth}`);
  }
});

test('only a stable connection resets the backoff', async () => {
  const { clock, network, state } = await live();
  const waits = [];
  const lose = async (after) => {
    await clock.advance(after);
    network.last().cut(4000, 'slow');
    waits.push(state().retryAt - clock.now());
    await clock.advance(waits.at(-1));
    network.last().welcome();
    await flushPromises();
  };
  for (const life of [10, 10, 10, 29_000, 10]) await lose(life);
  await clock.advance(25_000);
  network.last().receive({ type: 'beat' });
  await lose(6_000);
  assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 250]);
});

test('the hub’s reconnect delay is used once', async () => {
  const { clock, network, state } = await live();
  network.last().receive({ type: 'reconnect', after_ms: 4200 });
  network.last().cut(1012, 'restart');
  assert.equal(state().retryAt, clock.now() + 4200);
  await clock.advance(4199);
  assert.equal(network.sockets.length, 1);
  await clock.advance(1);
  assert.equal(network.sockets.length, 2);
  network.last().cut(1012, 'restart');
  assert.equal(state().retryAt, clock.now() + 500, 'the backoff has gone on');
});

/** Every close code of docs/protocol.md, and some that it does not list. */
const CODES = [
  ...[1000, 1001, 1006, 1011, 1012, 4000, 4001, 4002, 4499].map((code) => ({ code, back: [0, 500] })),
  { code: 4010, back: [0, 500], fresh: true },
  ...[4020, 4021].map((code) => ({ code, back: [60_000, 90_000] })),
  { code: 4500, stop: 'no_hello' }, { code: 4501, stop: 'sign in again' }, { code: 4502, stop: 'sign in again' },
  { code: 4503, stop: 'replaced' }, { code: 4504, stop: 'protocol' }, { code: 4999, stop: 'something new' },
];
const REASONS = { 4500: 'no_hello', 4501: 'unauthenticated', 4502: 'revoked', 4503: 'replaced', 4504: 'protocol', 4999: 'something new' };

for (const { code, back, fresh = false, stop } of CODES) {
  test(`close code ${code}: ${stop ? 'does not come back' : `comes back after ${back.join(' to ')} ms${fresh ? ' with a fresh token' : ''}`}`, async () => {
    for (const random of [0.001, 0.999]) {
      const { clock, network, tokens, state } = await live({ random: () => random });
      network.last().cut(code, REASONS[code] ?? '');
      await flushPromises();
      if (stop) {
        assert.deepEqual([state().state, state().reason], ['stopped', stop]);
        await clock.advance(DAY);
        assert.equal(network.sockets.length, 1);
        continue;
      }
      assert.equal(state().state, 'waiting');
      await clock.advance(back[0]);
      assert.equal(network.sockets.length, 1);
      await clock.advance(state().retryAt - clock.now());
      assert.ok(clock.now() <= back[1]);
      assert.equal(network.sockets.length, 2);
      assert.deepEqual(tokens, [false, fresh]);
    }
  });
}

test('a token that expired after a stable connection is renewed at once', async () => {
  const { clock, network, tokens } = await live();
  await clock.advance(29_000);
  network.last().receive({ type: 'beat' });
  await clock.advance(2_000);
  network.last().cut(4010, 'token_expired');
  await flushPromises();
  assert.equal(network.sockets.length, 2);
  assert.deepEqual(tokens, [false, true]);
});

test('repeated rejection of tokens causes no reconnect storm', async () => {
  const { clock, network } = await start({ random: () => 0.999 });
  for (let at = 0; at < 600; at += 1) {
    const socket = network.last();
    if (socket.readyState === 0) {
      socket.open();
      socket.cut(4010, 'token_expired');
    }
    await clock.advance(1000);
  }
  assert.ok(network.sockets.length < 35, `${network.sockets.length} connections in ten minutes`);
});

test('a token is renewed on the open connection', async () => {
  const { network, tokens } = await live();
  network.last().receive({ type: 'expiring', at: '2026-03-01T09:45:00.000000Z' });
  await flushPromises();
  assert.deepEqual(network.last().sent('auth'), [{ type: 'auth', token: 'token 2' }]);
  assert.deepEqual(tokens, [false, true]);
});

test('an ended sign-in stops the client, an unreachable hub does not', async () => {
  const gone = await start({ token: async () => { throw Object.assign(new Error('over'), { final: true }); } });
  assert.deepEqual([gone.state().state, gone.state().reason], ['stopped', 'sign in again']);
  let asked = 0;
  const away = await start({ token: async () => { asked += 1; throw new Error('unreachable'); } });
  assert.equal(away.state().state, 'waiting');
  await away.clock.advance(DAY);
  assert.ok(asked > DAY / 31_000, `never gives up: ${asked}`);
});

test('a pending token request is shown as such', async () => {
  const { clock, states } = await start({ token: () => new Promise(() => {}) });
  await clock.advance(10_000);
  assert.ok(states.some(({ state }) => state === 'waiting'));
});

test('two missed heartbeats end the connection, whatever the browser reports', async () => {
  const { clock, network, state } = await live();
  await clock.advance(29_999);
  assert.equal(state().state, 'live');
  network.last().receive({ type: 'beat', heads: [] });
  await clock.advance(29_999);
  assert.equal(state().state, 'live');
  await clock.advance(1);
  assert.equal(state().state, 'waiting');
  assert.ok(network.sockets[0].closed);
});

test('a missing welcome times out after ten seconds, however long the token took', async () => {
  let give;
  const slow = await start({ token: () => new Promise((done) => (give = done)) });
  await slow.clock.advance(8_000);
  give('token');
  await slow.clock.advance(9_999);
  assert.equal(slow.states.length, 1);
  await slow.clock.advance(1);
  assert.equal(slow.state().state, 'waiting');
  const { clock, network, state } = await start();
  network.last().open();
  await clock.advance(10_000);
  assert.equal(state().state, 'waiting');
});

test('the reported state is always the real one', async () => {
  const { client, clock, network, states, state } = await start();
  assert.equal(state().state, 'connecting');
  network.last().open();
  assert.equal(state().state, 'connecting', 'open is not yet welcome');
  network.last().receive({ type: 'welcome', connection: 'c', beat_ms: 15_000 });
  assert.deepEqual(state(), { state: 'live', waiting: 0, fallback: false });
  await client.command('r1', { kind: 'chat.send', data: { text: 'Hello' } });
  assert.equal(state().waiting, 1, 'what has no answer is counted');
  network.last().receive({ type: 'ack', id: 'id 1', room: 'r1', first: 1, last: 1 });
  assert.equal(state().waiting, 0);
  network.last().cut();
  assert.deepEqual(state(), { state: 'waiting', waiting: 0, fallback: false, retryAt: clock.now() + 250 });
  client.offline();
  assert.equal(state().state, 'offline');
  await clock.advance(DAY);
  assert.equal(network.sockets.length, 1, 'nothing is tried without a network');
  client.reconnectNow();
  await flushPromises();
  assert.equal(state().state, 'connecting');
  assert.equal(network.sockets.length, 2);
  network.last().cut(4502, 'revoked');
  assert.deepEqual([state().state, state().reason], ['stopped', 'sign in again']);
  client.reconnectNow();
  client.offline();
  assert.equal(state().state, 'stopped');
  assert.ok(states.every(({ state }) => ['connecting', 'live', 'waiting', 'offline', 'stopped'].includes(state)));
});

test('network recovery and the button reconnect at once, with one connection', async () => {
  const { client, clock, network } = await live();
  network.last().cut();
  client.reconnectNow();
  client.reconnectNow();
  await flushPromises();
  assert.equal(network.sockets.length, 2);
  await clock.advance(5_000);
  assert.equal(network.sockets.length, 2, 'the old timer is gone');
});

test('a sign-out during the welcome requests nothing more', async () => {
  const { client, network, state } = await start();
  client.join('r1');
  client.addEventListener('welcome', () => client.stop());
  network.last().welcome();
  assert.deepEqual([state().state, network.last().sent('join')], ['stopped', []]);
});

test('a socket whose constructor throws is retried', async () => {
  const { clock, states } = await start({ WebSocket: class { constructor() { throw new Error('blocked'); } } });
  await clock.advance(5_000);
  assert.ok(states.filter(({ state }) => state === 'connecting').length > 2);
});
