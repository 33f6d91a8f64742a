// The client of the hub, without a page: it knows frames, order, time and what waits to be sent, and nothing of screens.
// docs/protocol.md explains what it does; a page listens to its events and calls its methods.

import { Feeds } from './feeds.js';
import { handlers } from './frames.js';
import { Reader } from './reader.js';
import { Reconnect, SIGN_IN } from './reconnect.js';
import { SocketLink, StreamLink } from './links.js';

const WELCOME_WITHIN = 10_000;
/** How soon, and how seldom at last, somebody who came by a stream looks whether a socket can be had. */
const FIRST_LOOK = 15_000;
const LAST_LOOK = 300_000;

/**
 * @typedef {object} Options
 * @property {(fresh: boolean) => Promise<string>} token  gives an access token; `fresh` asks for one that is not the last one
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
    this.returns = new Reconnect(this.o.random, this.o.now);
    this.link = null;
    /** A socket that is tried while a stream serves. */
    this.trial = null;
    this.connection = undefined;
    this.generation = 0;
    /** Whether the present access token is of no use any more. */
    this.fresh = false;
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
    this.connect(this.fresh);
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
    this.feeds.expect(feed);
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
    this.watch(WELCOME_WITHIN);
    let token;
    try {
      token = await this.o.token(fresh);
    } catch (error) {
      if (generation !== this.generation) return;
      if (error?.final) return this.stop(SIGN_IN);
      this.drop();
      return this.later({ wait: this.returns.wait(), fresh });
    }
    if (generation !== this.generation) return;
    this.fresh = false;
    this.watch(WELCOME_WITHIN);
    this.link = this.open(this.returns.byStream ? StreamLink : SocketLink, token);
    // A browser may refuse to make a socket at all.
    if (!this.link) this.closed(1006, 'blocked');
  }

  /** A way to the hub, whose frames count as long as it is the present one. */
  open(Link, token) {
    let link = null;
    const to = {
      frame: (frame) => {
        if (this.trial === link && frame.type === 'welcome') this.change(link);
        if (this.link === link) this.take(frame);
      },
      answer: (frame) => this.link === link && this.handle(frame),
      closed: (code, reason) => {
        if (this.trial === link) this.trial = null;
        if (this.link === link) this.closed(code, reason);
      },
    };
    try {
      link = new Link(this, token, to);
    } catch {
      return null;
    }
    return link;
  }

  /** What a stream or a socket opens with. */
  greeting() {
    return {
      // While a stream serves, its successor is only tried, and must not end it.
      hello: (token) => ({ type: 'hello', token, ...(this.connection && this.state !== 'live' && { replaces: this.connection }) }),
      rooms: [...this.readers].map(([room, reader]) => ({ room, after: reader.cursor })),
      feeds: this.feeds.names(),
    };
  }

  /** Everything that must be said anew on a new connection. */
  resume() {
    const { rooms, feeds } = this.greeting();
    const { reopen } = this.link;
    if (!reopen) {
      for (const { room, after } of rooms) this.send({ type: 'join', room, after });
      for (const feed of feeds) this.send({ type: 'subscribe', feed });
    }
    for (const entry of this.waiting) this.sendCommand(entry);
    if (reopen) this.look(FIRST_LOOK);
  }

  /** A stream serves, but a socket is better: looks now and then whether one can be had, without letting go. */
  look(ms) {
    this.looking = this.o.setTimeout(async () => {
      const generation = this.generation;
      const token = await this.o.token(false).catch(() => null);
      if (generation !== this.generation) return;
      this.trial?.close();
      this.trial = token && this.open(SocketLink, token);
      this.look(Math.min(ms * 2, LAST_LOOK));
    }, ms);
  }

  /** The socket that was tried is good. */
  change(link) {
    const stream = this.link;
    this.o.clearTimeout(this.looking);
    this.generation++;
    this.link = link;
    this.trial = null;
    this.returns.byStream = false;
    stream.close();
    for (const reader of this.readers.values()) reader.live = false;
  }

  closed(code, reason) {
    if (this.state !== 'live' && code === 1006 && !this.returns.byStream) this.suspect();
    this.drop();
    const next = this.returns.closed(code, reason);
    if ('stop' in next) this.stop(next.stop);
    else if (next.wait === 0) this.connect(next.fresh);
    else this.later(next);
  }

  /** A socket did not open. If the hub answers all the same, the network breaks WebSockets; if not, the hub is away. */
  async suspect() {
    this.returns.broken(await this.o.fetch(`${this.o.base}/healthz`).then(({ ok }) => ok, () => false));
  }

  later({ wait, fresh }) {
    this.fresh = fresh;
    this.become('waiting', { retryAt: this.o.now() + wait });
    this.retry = this.o.setTimeout(() => this.connect(fresh), wait);
  }

  drop() {
    this.generation++;
    this.o.clearTimeout(this.watchdog);
    this.o.clearTimeout(this.looking);
    for (const reader of this.readers.values()) reader.live = false;
    this.feeds.expectAll();
    this.link?.close();
    this.trial?.close();
    this.link = this.trial = null;
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

  /** A frame that came down, and so proves that the way down is good. */
  take(frame) {
    if (frame.type === 'welcome') {
      this.connection = frame.connection;
      this.beat = frame.beat_ms;
      this.returns.welcomed();
      this.become('live');
      this.emit('welcome', frame);
      // Whoever listens may have ended it.
      if (this.state === 'live') this.resume();
    }
    if (this.beat && this.state === 'live') this.watch(this.beat * 2);
    this.handle(frame);
  }

  handle(frame) {
    handlers[frame.type]?.(this, frame);
  }

  /** Something is missing: ask for it, once. */
  heal(room, reader) {
    if (reader.live) this.join(room);
  }

  /** Repeats on this connection what failed in passing; another connection does so anyway. */
  again(error, run) {
    const { generation } = this;
    this.o.setTimeout(() => generation === this.generation && run(), error?.detail?.retry_after_ms ?? 1000);
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
