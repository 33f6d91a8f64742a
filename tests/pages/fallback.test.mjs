// Without WebSockets: the stream is taken when sockets do not open, does the same, and is left for a socket that does.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { event, live, start } from './support/client.mjs';
import { streaming } from './support/streams.mjs';
import { settled } from './support/time.mjs';

const chat = (text) => ({ kind: 'chat.send', data: { text } });

/** A client whose sockets do not open, on a stream that was not greeted yet. */
async function byStream(more = {}) {
  const way = streaming();
  const it = await start({ fetch: way.fetch, ...more });
  it.client.join('r1');
  it.client.subscribe({ name: 'me' });
  for (let sockets = 1; sockets <= 2; sockets += 1) {
    assert.equal(way.streams.length, 0);
    it.network.last().cut(1006);
    await it.clock.pass(1000);
  }
  return { ...it, way };
}

async function streamed(more = {}) {
  const it = await byStream(more);
  it.way.last().welcome();
  await settled();
  return it;
}

test('after two sockets that did not open a stream is taken, with the rooms, cursors and feeds', async () => {
  const { way, network, state } = await byStream();
  assert.equal(network.sockets.length, 2);
  assert.deepEqual(way.last().asked, { rooms: [{ room: 'r1', after: 0 }], feeds: [{ name: 'me' }] });
  assert.match(way.last().token, /^Bearer token \d$/);
  assert.equal(state().state, 'connecting', 'a response is not yet a welcome');
  way.last().welcome();
  await settled();
  assert.deepEqual(state(), { state: 'live', waiting: 0, fallback: true }, 'and the page is told that it is the other way');
});

test('a socket that was welcomed, one that fails now and then, or a hub that is full is no reason to leave sockets', async () => {
  const way = streaming();
  const it = await live({ fetch: way.fetch });
  const next = async (ms) => {
    const before = it.network.sockets.length;
    for (let at = 0; at < ms && it.network.sockets.length === before; at += 100) await it.clock.pass(100);
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

test('when the hub is away altogether, sockets are not given up for it', async () => {
  const way = streaming();
  way.up = false;
  const { clock, network, state } = await start({ fetch: way.fetch });
  for (let at = 0; at < 300; at += 1) {
    if (network.last().readyState === 0) network.last().cut(1006);
    await clock.pass(1000);
  }
  assert.ok(network.sockets.length > 10);
  assert.ok(!way.tried.includes('/v1/stream'));
  way.up = true;
  while (network.last().readyState !== 0) await clock.pass(1000);
  network.last().welcome();
  await settled();
  assert.deepEqual([state().state, state().fallback, way.streams.length], ['live', false, 0]);
});

test('when streams do not open either, both are tried in turn', async () => {
  const way = streaming();
  let streams = 0;
  way.refuse = () => { streams += 1; throw new TypeError('refused'); };
  const { clock, network } = await start({ fetch: way.fetch });
  for (let at = 0; at < 300; at += 1) {
    if (network.last().readyState === 0) network.last().cut(1006);
    await clock.pass(1000);
  }
  assert.ok(streams > 5);
  assert.ok(Math.abs(network.sockets.length - 1 - streams) <= 1, `${network.sockets.length} sockets, ${streams} streams`);
});

test('frames are read however the network cuts them', async () => {
  const { way, of } = await streamed();
  const text = [event(0, 1), event(1, 2)].map((frame) => `: comment\n\ndata: ${JSON.stringify({ ...frame, text: 'Grüße' })}\n\n`).join('');
  const bytes = new TextEncoder().encode(text);
  for (const byte of bytes) way.last().controller.enqueue(Uint8Array.of(byte));
  for (let turns = 0; turns < 50; turns += 1) await settled();
  assert.deepEqual(of('event').map(({ event }) => event.seq), [1, 2]);
});

test('another room, another list or a gap opens the stream anew with the present cursors, once for all of them', async () => {
  const { client, way, of, states } = await streamed();
  way.last().say(event(0, 1));
  way.last().say({ type: 'live', room: 'r1', head: 1 });
  await settled();
  const before = states.length;
  client.join('r2', 5);
  client.subscribe({ name: 'queue' });
  await settled();
  assert.equal(way.streams.length, 2);
  assert.ok(way.streams[0].ended);
  assert.deepEqual(way.last().asked, { rooms: [{ room: 'r1', after: 1 }, { room: 'r2', after: 5 }], feeds: [{ name: 'me' }, { name: 'queue' }] });
  way.last().welcome();
  way.last().say({ type: 'live', room: 'r1', head: 1 });
  way.last().say(event(3, 4));
  await settled();
  assert.equal(way.streams.length, 3);
  assert.equal(way.last().asked.rooms[0].after, 1);
  way.last().welcome();
  for (const seq of [2, 3, 4]) way.last().say(event(seq - 1, seq));
  await settled();
  assert.deepEqual(of('event').map(({ event }) => event.seq), [1, 2, 3, 4]);
  assert.equal(of('welcome').length, 1, 'the page sees one connection');
  assert.equal(states.length, before);
});

test('commands go up one after the other, and their answers are answers', async () => {
  const { client, way, of, state } = await streamed();
  const release = [];
  way.answer = (frames) => new Promise((done) => release.push(() => done(Response.json({ frames: frames.map(({ id, room }) => ({ type: 'ack', id, room, first: 3, last: 3 })) }))));
  for (const text of ['one', 'two']) await client.command('r1', chat(text));
  await settled();
  assert.deepEqual(way.posts.map(({ frames }) => frames.map(({ id }) => id)), [['id 1']]);
  release.shift()();
  await settled();
  assert.deepEqual(way.posts.map(({ frames }) => frames[0].id), ['id 1', 'id 2']);
  release.shift()();
  await settled();
  assert.deepEqual(of('ack').map(({ id }) => id), ['id 1', 'id 2']);
  assert.equal(state().waiting, 0);
});

test('a post that fails, or is not answered, or is answered by a proxy, is sent again as it is', async () => {
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
    // The stream lives, whatever becomes of the posts.
    way.last().say({ type: 'beat', heads: [] });
    await clock.pass(wait);
  }
  assert.deepEqual(of('ack').map(({ id }) => id), ['id 1']);
  assert.equal(way.posts.length, 5);
  assert.ok(way.posts.every(({ frames }) => frames[0].id === 'id 1'));
  assert.deepEqual([way.streams.length, state().waiting], [1, 0]);
});

test('a post that is refused for good is told, and not sent again', async () => {
  const { client, clock, way, of, state } = await streamed();
  way.answer = () => Response.json({ type: 'about:blank', title: 'Too large', code: 'too_large', detail: 'send less', retryable: false }, { status: 413 });
  await client.command('r1', chat('Hello'));
  await clock.pass(5000);
  assert.deepEqual(of('refused').map(({ id, error }) => [id, error.code, error.message]), [['id 1', 'too_large', 'send less']]);
  assert.deepEqual([way.posts.length, state().waiting], [1, 0]);
});

test('answers to posts do not keep a dead stream alive', async () => {
  const { client, clock, state } = await streamed();
  for (let at = 0; at < 4; at += 1) {
    await client.command('r1', chat('Hello'));
    await clock.pass(7_500);
  }
  assert.equal(state().state, 'waiting');
});

test('a stream says why it ends, with the same codes', async () => {
  const revoked = await streamed();
  revoked.way.last().close(4502, 'revoked');
  await settled();
  assert.deepEqual([revoked.state().state, revoked.state().reason], ['stopped', 'sign in again']);
  const slow = await streamed();
  slow.way.last().say(event(0, 1));
  slow.way.last().close(4000, 'slow');
  await settled();
  assert.equal(slow.state().state, 'waiting');
  await slow.clock.pass(1000);
  assert.deepEqual(slow.way.last().asked.rooms, [{ room: 'r1', after: 1 }], 'and it is resumed by the way that worked');
  slow.way.last().welcome();
  await settled();
  slow.way.last().end();
  await settled();
  assert.equal(slow.state().state, 'waiting', 'an end without a word is one too');
  await slow.clock.pass(2000);
  assert.equal(slow.way.streams.length, 3);
});

test('a token that ended is replaced, on a post and on the stream', async () => {
  const posted = await streamed();
  posted.way.answer = () => Response.json({ code: 'unauthenticated' }, { status: 401 });
  await posted.client.command('r1', chat('Hello'));
  await posted.clock.pass(1000);
  assert.equal(posted.tokens.at(-1), true);
  const warned = await streamed();
  warned.way.last().say({ type: 'expiring', at: '2026-03-01T09:45:00.000000Z' });
  await settled();
  assert.equal(warned.way.last().token, `Bearer token ${warned.tokens.length}`);
  assert.equal(warned.way.streams.length, 2, 'before the old one ends');
  const refused = await byStream();
  refused.way.refuse = () => Response.json({ code: 'unauthenticated' }, { status: 401 });
  refused.client.join('r2');
  await refused.clock.pass(1000);
  assert.equal(refused.tokens.at(-1), true);
});

test('a stream that serves is kept until a socket was welcomed, and then left', async () => {
  const { client, clock, network, way, of, states, state } = await streamed();
  way.last().say(event(0, 1));
  const live = async (ms) => {
    for (let at = 0; at < ms; at += 5000) {
      way.last().say({ type: 'beat', heads: [] });
      await clock.pass(5000);
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
  await settled();
  assert.equal(way.posts.length, 1);
  assert.ok(!way.last().ended);
  network.last().say({ type: 'welcome', connection: 'c4', beat_ms: 15_000 });
  await settled();
  assert.ok(way.last().ended);
  assert.deepEqual(network.last().sent('join'), [{ type: 'join', room: 'r1', after: 1 }]);
  assert.deepEqual([state().state, state().fallback], ['live', false]);
  network.last().say(event(1, 2));
  assert.deepEqual(of('event').map(({ event }) => event.seq), [1, 2]);
  const since = states.findLastIndex(({ state }) => state !== 'live');
  assert.ok(states.slice(since + 1).some(({ fallback }) => fallback), 'without a moment of no connection');
  network.last().cut();
  await clock.pass(1000);
  assert.equal(network.sockets.length, 5, 'and sockets are the first choice again');
});
