/** @file The HTTP fallback: used when sockets do not open, equal in function, and left once a socket works. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { event, live, start } from './support/client.mjs';
import { simulatedFallback } from './support/streams.mjs';
import { flushPromises } from './support/time.mjs';

const chat = (text) => ({ kind: 'chat.send', data: { text } });

/** Starts a client whose sockets fail, on a stream without a welcome. */
async function byStream(more = {}) {
  const way = simulatedFallback();
  const it = await start({ fetch: way.fetch, ...more });
  it.client.join('r1');
  it.client.subscribe({ name: 'me' });
  for (let sockets = 1; sockets <= 2; sockets += 1) {
    assert.equal(way.streams.length, 0);
    it.network.last().cut(1006);
    await it.clock.advance(1000);
  }
  return { ...it, way };
}

async function streamed(more = {}) {
  const it = await byStream(more);
  it.way.last().welcome();
  await flushPromises();
  return it;
}

test('two failed sockets lead to a stream with the same rooms, cursors, and feeds', async () => {
  const { way, network, state } = await byStream();
  assert.equal(network.sockets.length, 2);
  assert.deepEqual(way.last().asked, { rooms: [{ room: 'r1', after: 0 }], feeds: [{ name: 'me' }] });
  assert.match(way.last().token, /^Bearer token \d$/);
  assert.equal(state().state, 'connecting', 'a response is not yet a welcome');
  way.last().welcome();
  await flushPromises();
  assert.deepEqual(state(), { state: 'live', waiting: 0, fallback: true }, 'and the page is told that it is the other way');
});

test('welcomed sockets, occasional failures, and a full hub cause no fallback', async () => {
  const way = simulatedFallback();
  const it = await live({ fetch: way.fetch });
  const next = async (ms) => {
    const before = it.network.sockets.length;
    for (let at = 0; at < ms && it.network.sockets.length === before; at += 100) await it.clock.advance(100);
    return it.network.last();
  };
  for (let cuts = 0; cuts < 5; cuts += 1) {
    it.network.last().cut(1006);
    (await next(30_000)).cut(1006);
    (await next(30_000)).welcome();
  }
  for (let refused = 0; refused < 5; refused += 1) {
    it.network.last().cut(4021, 'overloaded');
    await next(90_000);
  }
  assert.ok(!way.tried.includes('/v1/stream'));
});

test('an unreachable hub causes no fallback', async () => {
  const way = simulatedFallback();
  way.up = false;
  const { clock, network, state } = await start({ fetch: way.fetch });
  for (let at = 0; at < 300; at += 1) {
    if (network.last().readyState === 0) network.last().cut(1006);
    await clock.advance(1000);
  }
  assert.ok(network.sockets.length > 10);
  assert.ok(!way.tried.includes('/v1/stream'));
  way.up = true;
  while (network.last().readyState !== 0) await clock.advance(1000);
  network.last().welcome();
  await flushPromises();
  assert.deepEqual([state().state, state().fallback, way.streams.length], ['live', false, 0]);
});

test('sockets and streams alternate while neither opens', async () => {
  const way = simulatedFallback();
  let streams = 0;
  way.refuse = () => { streams += 1; throw new TypeError('refused'); };
  const { clock, network } = await start({ fetch: way.fetch });
  for (let at = 0; at < 300; at += 1) {
    if (network.last().readyState === 0) network.last().cut(1006);
    await clock.advance(1000);
  }
  assert.ok(streams > 5);
  assert.ok(Math.abs(network.sockets.length - 1 - streams) <= 1, `${network.sockets.length} sockets, ${streams} streams`);
});

test('frames are parsed however the network splits them', async () => {
  const { way, of } = await streamed();
  const text = [event(0, 1), event(1, 2)].map((frame) => `: comment\n\ndata: ${JSON.stringify({ ...frame, text: 'Grüße' })}\n\n`).join('');
  const bytes = new TextEncoder().encode(text);
  for (const byte of bytes) way.last().controller.enqueue(Uint8Array.of(byte));
  for (let turns = 0; turns < 50; turns += 1) await flushPromises();
  assert.deepEqual(of('event').map(({ event }) => event.seq), [1, 2]);
});

test('new rooms, new feeds, and gaps reopen the stream once with current cursors', async () => {
  const { client, way, of, states } = await streamed();
  way.last().receive(event(0, 1));
  way.last().receive({ type: 'live', room: 'r1', head: 1 });
  await flushPromises();
  const before = states.length;
  client.join('r2', 5);
  client.subscribe({ name: 'queue' });
  await flushPromises();
  assert.equal(way.streams.length, 2);
  assert.ok(way.streams[0].ended);
  assert.deepEqual(way.last().asked, { rooms: [{ room: 'r1', after: 1 }, { room: 'r2', after: 5 }], feeds: [{ name: 'me' }, { name: 'queue' }] });
  way.last().welcome();
  way.last().receive({ type: 'live', room: 'r1', head: 1 });
  way.last().receive(event(3, 4));
  await flushPromises();
  assert.equal(way.streams.length, 3);
  assert.equal(way.last().asked.rooms[0].after, 1);
  way.last().welcome();
  for (const seq of [2, 3, 4]) way.last().receive(event(seq - 1, seq));
  await flushPromises();
  assert.deepEqual(of('event').map(({ event }) => event.seq), [1, 2, 3, 4]);
  assert.equal(of('welcome').length, 1, 'the page sees one connection');
  assert.equal(states.length, before);
});

test('commands are posted one at a time, and their responses count as answers', async () => {
  const { client, way, of, state } = await streamed();
  const release = [];
  way.answer = (frames) => new Promise((done) => release.push(() => done(Response.json({ frames: frames.map(({ id, room }) => ({ type: 'ack', id, room, first: 3, last: 3 })) }))));
  for (const text of ['one', 'two']) await client.command('r1', chat(text));
  await flushPromises();
  assert.deepEqual(way.posts.map(({ frames }) => frames.map(({ id }) => id)), [['id 1']]);
  release.shift()();
  await flushPromises();
  assert.deepEqual(way.posts.map(({ frames }) => frames[0].id), ['id 1', 'id 2']);
  release.shift()();
  await flushPromises();
  assert.deepEqual(of('ack').map(({ id }) => id), ['id 1', 'id 2']);
  assert.equal(state().waiting, 0);
});

test('a failed, unanswered, or intercepted post is repeated unchanged', async () => {
  const { client, clock, way, of, state } = await streamed();
  const { answer } = way;
  const failures = [
    () => { throw new TypeError('cut'); },
    () => new Response('<html>Bad Gateway</html>', { status: 502 }),
    () => Response.json({ code: 'unavailable', retryable: true, retry_after_ms: 1500 }, { status: 503 }),
    () => new Promise(() => {}),
  ];
  way.answer = (frames) => (failures.shift() ?? answer)(frames);
  await client.command('r1', chat('Hello'));
  for (const wait of [0, 1000, 1000, 1500, 20_000, 1000]) {
    // Keep the stream alive, so that only the posts fail.
    way.last().receive({ type: 'beat', heads: [] });
    await clock.advance(wait);
  }
  assert.deepEqual(of('ack').map(({ id }) => id), ['id 1']);
  assert.equal(way.posts.length, 5);
  assert.ok(way.posts.every(({ frames }) => frames[0].id === 'id 1'));
  assert.deepEqual([way.streams.length, state().waiting], [1, 0]);
});

test('a post that is refused for good is reported and not repeated', async () => {
  const { client, clock, way, of, state } = await streamed();
  way.answer = () => Response.json({ type: 'about:blank', title: 'Too large', code: 'too_large', detail: 'send less', retryable: false }, { status: 413 });
  await client.command('r1', chat('Hello'));
  await clock.advance(5000);
  assert.deepEqual(of('refused').map(({ id, error }) => [id, error.code, error.message]), [['id 1', 'too_large', 'send less']]);
  assert.deepEqual([way.posts.length, state().waiting], [1, 0]);
});

test('responses to posts do not keep a dead stream alive', async () => {
  const { client, clock, state } = await streamed();
  for (let at = 0; at < 4; at += 1) {
    await client.command('r1', chat('Hello'));
    await clock.advance(7_500);
  }
  assert.equal(state().state, 'waiting');
});

test('a stream ends with the same close codes as a socket', async () => {
  const revoked = await streamed();
  revoked.way.last().close(4502, 'revoked');
  await flushPromises();
  assert.deepEqual([revoked.state().state, revoked.state().reason], ['stopped', 'sign in again']);
  const slow = await streamed();
  slow.way.last().receive(event(0, 1));
  slow.way.last().close(4000, 'slow');
  await flushPromises();
  assert.equal(slow.state().state, 'waiting');
  await slow.clock.advance(1000);
  assert.deepEqual(slow.way.last().asked.rooms, [{ room: 'r1', after: 1 }], 'and it is resumed by the way that worked');
  slow.way.last().welcome();
  await flushPromises();
  slow.way.last().end();
  await flushPromises();
  assert.equal(slow.state().state, 'waiting', 'an end without a word is one too');
  await slow.clock.advance(2000);
  assert.equal(slow.way.streams.length, 3);
});

test('an expired token is renewed for posts and for the stream', async () => {
  const posted = await streamed();
  posted.way.answer = () => Response.json({ code: 'unauthenticated' }, { status: 401 });
  await posted.client.command('r1', chat('Hello'));
  await posted.clock.advance(1000);
  assert.equal(posted.tokens.at(-1), true);
  const warned = await streamed();
  warned.way.last().receive({ type: 'expiring', at: '2026-03-01T09:45:00.000000Z' });
  await flushPromises();
  assert.equal(warned.way.last().token, `Bearer token ${warned.tokens.length}`);
  assert.equal(warned.way.streams.length, 2, 'before the old one ends');
  const refused = await byStream();
  refused.way.refuse = () => Response.json({ code: 'unauthenticated' }, { status: 401 });
  refused.client.join('r2');
  await refused.clock.advance(1000);
  assert.equal(refused.tokens.at(-1), true);
});

test('a working stream is kept until a socket is welcomed', async () => {
  const { client, clock, network, way, of, states, state } = await streamed();
  way.last().receive(event(0, 1));
  const live = async (ms) => {
    for (let at = 0; at < ms; at += 5000) {
      way.last().receive({ type: 'beat', heads: [] });
      await clock.advance(5000);
    }
  };
  await live(15_000);
  assert.equal(network.sockets.length, 3, 'it looks whether a socket can be had');
  network.last().cut(1006);
  await live(30_000);
  assert.equal(network.sockets.length, 4);
  network.last().open();
  assert.deepEqual(network.last().sent('hello').map(({ replaces }) => replaces), [undefined], 'a try must not end what serves');
  await client.command('r1', chat('Hello'));
  await flushPromises();
  assert.equal(way.posts.length, 1);
  assert.ok(!way.last().ended);
  network.last().receive({ type: 'welcome', connection: 'c4', beat_ms: 15_000 });
  await flushPromises();
  assert.ok(way.last().ended);
  assert.deepEqual(network.last().sent('join'), [{ type: 'join', room: 'r1', after: 1 }]);
  assert.deepEqual([state().state, state().fallback], ['live', false]);
  network.last().receive(event(1, 2));
  assert.deepEqual(of('event').map(({ event }) => event.seq), [1, 2]);
  const since = states.findLastIndex(({ state }) => state !== 'live');
  assert.ok(states.slice(since + 1).some(({ fallback }) => fallback), 'without a moment of no connection');
  network.last().cut();
  await clock.advance(1000);
  assert.equal(network.sockets.length, 5, 'and sockets are the first choice again');
});
