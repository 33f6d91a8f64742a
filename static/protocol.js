// The client of the hub, without a page: it knows frames, order, time and what waits to be sent, and nothing of screens.
// docs/protocol.md explains what it does; a page listens to its events and calls its methods.

import { Feeds } from './feeds.js';
import { Reader } from './reader.js';
import { SocketLink, StreamLink } from './links.js';


const MAX_BACKOFF = 30_000;
const FIRST_BACKOFF = 500;
/** A connection that lasted this long was a good one: the next failure starts the backoff anew. */
const STABLE = 30_000;
/** Handshakes that may fail in a row before the other way is tried, and how long that way is kept. */
const BROKEN_AFTER = 2;
const FALLBACK_FOR = 300_000;
const WELCOME_WITHIN = 10_000;

/**
 * @typedef {object} Options
 * @property {() => Promise<string>} token  gives an access token; `fresh` asks for one that is not the last one
 * @property {import('./outbox.js').Outbox} outbox  keeps commands until they are answered
 * @property {string} base  the hub's address, e.g. `https://hub.example.org`
 * @property {typeof WebSocket} [WebSocket]
 * @property {typeof fetch} [fetch]
 * @property {() => number} [random]
 * @property {() => number} [now]
 * @property {(run: () => void, ms: number) => any} [setTimeout]
 * @property {(timer: any) => void} [clearTimeout]
 * @property {() => string} [id]
 */

/**
 * Events: `state` {state, retryAt?, reason?, waiting}, `welcome`, `joined` {room, snapshot}, `event` {room, event},
 * `live` {room}, `ack` {id, room, first, last}, `refused` {id, room, error}, `error`, `signal`, `call`, `presence`, `mark`,
 * `left`, `feed` {feed, items}, `queued` {command}.
 */
export class Client extends EventTarget {
  /** @param {Options} options */
  constructor(options) {
    super();
    const all = /** @type {any} */ (globalThis);
    this.o = {
      WebSocket: all.WebSocket,
      fetch: (...a) => all.fetch(...a),
      random: Math.random,
      now: () => Date.now(),
      setTimeout: (f, ms) => setTimeout(f, ms),
      clearTimeout: (t) => clearTimeout(t),
      id: () => crypto.randomUUID(),
      ...options,
    };
    this.state = 'idle';
    this.readers = new Map();
    this.feeds = new Feeds();
    /** Commands without an answer, oldest first. */
    this.waiting = [];
    this.failures = 0;
    this.handshakes = 0;
    this.fallbackUntil = 0;
    this.link = null;
    this.connection = undefined;
    this.generation = 0;
  }

  /** Reads what an earlier page left to be sent, and connects. */
  async start() {
    this.waiting = await this.o.outbox.all();
    this.connect(false);
  }

  /** Ends for good: the person signed out. */
  stop(reason = 'signed out') {
    this.drop();
    this.o.clearTimeout(this.retry);
    this.become('stopped', { reason });
  }

  /** Tries at once, instead of when the timer says: the network came back, or somebody pressed the button. */
  nudge() {
    if (this.state !== 'waiting' && this.state !== 'offline') return;
    this.o.clearTimeout(this.retry);
    this.connect(false);
  }

  /** The network is gone, as the browser says: nothing is tried until it says otherwise. */
  offline() {
    if (this.state === 'stopped') return;
    this.drop();
    this.o.clearTimeout(this.retry);
    this.become('offline');
  }

  // --- what a page asks for ---

  /** Enters a room, or refreshes its snapshot. `after` is where a page that remembers events goes on. */
  join(room, after = 0) {
    const reader = this.readers.get(room) ?? new Reader(after);
    this.readers.set(room, reader);
    reader.live = false;
    if (this.link?.reopen) this.link.reopen();
    else this.send({ type: 'join', room, after: reader.cursor });
  }

  leave(room) {
    this.readers.delete(room);
    this.send({ type: 'leave', room });
  }

  subscribe(feed) {
    this.feeds.add(feed);
    if (this.link?.reopen) this.link.reopen();
    else this.send({ type: 'subscribe', feed });
  }

  unsubscribe(feed) {
    this.feeds.remove(feed);
    this.send({ type: 'unsubscribe', feed });
  }

  /**
   * Sends a command; it is kept until it is answered, over reconnects and reloads. Returns its id.
   * @param {string} room
   * @param {{kind: string, data: object}} command
   * @param {number} [expect] the version that was seen
   */
  async command(room, command, expect) {
    const entry = { id: this.o.id(), room, command, expect, at: this.o.now() };
    await this.o.outbox.put(entry);
    this.waiting.push(entry);
    this.emit('queued', { command: entry });
    this.become(this.state, this.last);
    this.sendCommand(entry);
    return entry.id;
  }

  signal(room, signal) {
    this.send({ type: 'signal', room, signal });
  }

  mark(room, delivered, seen) {
    this.send({ type: 'mark', room, delivered, seen });
  }

  // --- connecting ---

  async connect(fresh) {
    const generation = ++this.generation;
    this.become('connecting');
    let token;
    try {
      token = await this.o.token(fresh);
    } catch (error) {
      if (generation !== this.generation) return;
      if (error?.final) return this.stop(error.message);
      return this.fail();
    }
    if (generation !== this.generation) return;
    this.opened = this.o.now();
    const Link = this.o.now() < this.fallbackUntil ? StreamLink : SocketLink;
    this.link = new Link(this, token, {
      frame: (frame) => generation === this.generation && this.take(frame),
      closed: (code, reason) => generation === this.generation && this.closed(code, reason),
    });
    this.watch(WELCOME_WITHIN);
  }

  /** What a stream or a socket opens with. */
  greeting() {
    return {
      hello: (token) => ({ type: 'hello', token, ...(this.connection && { replaces: this.connection }) }),
      rooms: [...this.readers].map(([room, reader]) => ({ room, after: reader.cursor })),
      feeds: this.feeds.names(),
    };
  }

  /** Everything that must be said anew on a new connection. */
  resume() {
    const { rooms, feeds } = this.greeting();
    if (!this.link.reopen) {
      for (const { room, after } of rooms) this.send({ type: 'join', room, after });
      for (const feed of feeds) this.send({ type: 'subscribe', feed });
    }
    for (const entry of this.waiting) this.sendCommand(entry);
  }

  closed(code, reason) {
    const welcomed = this.state === 'live';
    this.drop();
    if (!welcomed && code === 1006 && this.o.now() >= this.fallbackUntil) this.suspect();
    if (code === 4010) return this.connect(true);
    if (code === 4501 || code === 4502) return this.stop('sign in again');
    if (code >= 4500 && code < 5000) return this.stop(reason || 'the hub ended the connection');
    if (welcomed && this.o.now() - this.opened >= STABLE) this.failures = 0;
    this.fail();
  }

  /** A socket did not open. If the hub answers all the same, the network breaks WebSockets; if not, the hub is away. */
  async suspect() {
    const answered = await this.o.fetch(`${this.o.base}/healthz`).then(({ ok }) => ok, () => false);
    this.handshakes = answered ? this.handshakes + 1 : 0;
    if (this.handshakes < BROKEN_AFTER) return;
    this.handshakes = 0;
    this.fallbackUntil = this.o.now() + FALLBACK_FOR;
  }

  /** Comes back after a random time, so that many clients do not come back together. */
  fail() {
    const most = Math.min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** this.failures++);
    const after = this.told ?? this.o.random() * most;
    this.told = undefined;
    this.become('waiting', { retryAt: this.o.now() + after });
    this.retry = this.o.setTimeout(() => this.connect(false), after);
  }

  drop() {
    this.generation++;
    this.o.clearTimeout(this.watchdog);
    for (const reader of this.readers.values()) reader.live = false;
    this.link?.close();
    this.link = null;
  }

  /** Nothing heard for `ms`: the connection is dead, whatever the browser thinks. */
  watch(ms) {
    this.o.clearTimeout(this.watchdog);
    this.watchdog = this.o.setTimeout(() => this.closed(1006, 'silent'), ms);
  }

  // --- frames ---

  send(frame) {
    if (this.state === 'live') this.link.send(frame);
  }

  sendCommand({ id, room, command, expect }) {
    this.send({ type: 'command', id, room, ...(expect !== undefined && { expect }), command });
  }

  take(frame) {
    if (frame.type === 'welcome') {
      this.connection = frame.connection;
      this.beat = frame.beat_ms;
      this.handshakes = 0;
      this.become('live');
      this.emit('welcome', frame);
      this.resume();
    }
    if (this.beat) this.watch(this.beat * 2);
    const handler = handlers[frame.type];
    if (handler) handler(this, frame);
  }

  /** Something is missing: ask for it, once. */
  heal(room, reader) {
    if (reader.live) {
      reader.live = false;
      if (this.link?.reopen) this.link.reopen();
      else this.send({ type: 'join', room, after: reader.cursor });
    }
  }

  async answered(id) {
    this.waiting = this.waiting.filter((entry) => entry.id !== id);
    this.become(this.state, this.last);
    await this.o.outbox.remove(id);
  }

  become(state, more = {}) {
    this.state = state;
    this.last = more;
    this.emit('state', { state, waiting: this.waiting.length, fallback: !!this.link?.reopen, ...more });
  }

  emit(type, detail) {
    this.dispatchEvent(Object.assign(new Event(type), { detail }));
  }
}

/** @type {Record<string, (client: Client, frame: any) => void>} */
const handlers = {
  joined(client, { room, snapshot, head }) {
    client.emit('joined', { room, snapshot, head });
  },
  event(client, { room, prev, event }) {
    const reader = client.readers.get(room);
    if (!reader) return;
    const verdict = reader.offer(prev, event.seq);
    if (verdict === 'deliver') client.emit('event', { room, event });
    if (verdict === 'gap') client.heal(room, reader);
  },
  live(client, { room, head }) {
    const reader = client.readers.get(room);
    if (!reader) return;
    reader.live = true;
    if (head > reader.cursor) client.heal(room, reader);
    else client.emit('live', { room, head });
  },
  beat(client, { heads }) {
    client.send({ type: 'beat' });
    for (const { room, head } of heads ?? []) {
      const reader = client.readers.get(room);
      if (reader && head > reader.cursor) client.heal(room, reader);
    }
  },
  ack(client, { id, room, first, last }) {
    client.answered(id);
    client.emit('ack', { id, room, first, last });
  },
  error(client, error) {
    const entry = client.waiting.find(({ id }) => id === error.id);
    if (!entry) return client.emit('error', error);
    if (error.retryable) {
      const after = error.detail?.retry_after_ms ?? 1000;
      client.o.setTimeout(() => client.waiting.includes(entry) && client.sendCommand(entry), after);
      return;
    }
    client.answered(entry.id);
    client.emit('refused', { id: entry.id, room: entry.room, command: entry.command, error });
  },
  left(client, { room, code }) {
    client.readers.delete(room);
    client.emit('left', { room, code });
  },
  call: (client, frame) => client.emit('call', frame),
  signal: (client, frame) => client.emit('signal', frame),
  presence: (client, frame) => client.emit('presence', frame),
  mark: (client, frame) => client.emit('mark', frame),
  feed(client, { feed, version, items }) {
    client.emit('feed', { feed, items: client.feeds.replace(feed, version, items) });
  },
  feed_change(client, { feed, version, set, removed }) {
    const items = client.feeds.change(feed, version, set, removed);
    if (items) client.emit('feed', { feed, items });
    else client.subscribe(feed);
  },
  async expiring(client) {
    try {
      client.send({ type: 'auth', token: await client.o.token(true) });
    } catch {
      // The hub will close with 4010, and connecting anew asks again.
    }
  },
  reconnect(client, { after_ms }) {
    client.told = after_ms;
  },
};


