// The hub's client: frames, order, time-outs and unsent commands. Independent of any page.
// docs/protocol.md explains the protocol; a page listens to the client's events and calls its methods.

import { Feeds } from './feeds.js';
import { handlers } from './frames.js';
import { Pacer } from './pacer.js';
import { Reader } from './reader.js';
import { Reconnect, SIGN_IN_AGAIN } from './reconnect.js';
import { SocketLink, StreamLink } from './links.js';

const WELCOME_TIMEOUT_MS = 10_000;
/** First and longest interval at which a client on a stream tries a WebSocket again, in milliseconds. */
const FIRST_SOCKET_RETRY_MS = 15_000;
const MAX_SOCKET_RETRY_MS = 300_000;

/**
 * @typedef {object} Options
 * @property {(fresh: boolean) => Promise<string>} token  returns an access token; `fresh` requests a new one
 * @property {import('./outbox.js').Outbox} outbox  stores commands until they are answered
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
 * `left`, `time` {now} (the hub's), `feed` {feed, items}, `queued` {command}, `dismissed` {command}.
 */
export class Client extends EventTarget {
  /** @param {Options} options */
  constructor(options) {
    super();
    const globals = /** @type {any} */ (globalThis);
    this.options = {
      WebSocket: globals.WebSocket,
      fetch: (...a) => globals.fetch(...a),
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
    /** Refused commands whose text the user has not dismissed yet, oldest first; each has its `refusal`. */
    this.refused = [];
    this.pacer = new Pacer(this.options, (entry) => this.sendCommand(entry), () => this.waiting);
    this.backoff = new Reconnect(this.options.random, this.options.now);
    this.link = null;
    /** A WebSocket on trial while a stream is in use. */
    this.trial = null;
    this.connection = undefined;
    this.generation = 0;
    /** Whether the current access token is no longer valid. */
    this.needsFreshToken = false;
  }

  /** Loads the unsent commands of an earlier page and connects. */
  async start() {
    const entries = await this.options.outbox.all();
    this.waiting = entries.filter(({ refusal }) => !refusal);
    this.refused = entries.filter(({ refusal }) => refusal);
    for (const { id } of this.waiting) this.pacer.stored(id);
    this.connect(false);
  }

  /** Disconnects for good, as at sign-out. */
  stop(reason = 'signed out') {
    this.disconnect();
    this.options.clearTimeout(this.reconnectTimer);
    this.setState('stopped', { reason });
  }

  /** Reconnects now instead of when the timer fires: the network is back, or the user pressed the button. */
  reconnectNow() {
    if (this.state !== 'waiting' && this.state !== 'offline') return;
    this.options.clearTimeout(this.reconnectTimer);
    this.connect(this.needsFreshToken);
  }

  /** Disconnects because the browser reports no network; it tries nothing until the network is back. */
  offline() {
    if (this.state === 'stopped') return;
    this.disconnect();
    this.options.clearTimeout(this.reconnectTimer);
    this.setState('offline');
  }

  // --- methods for the page ---

  /** Joins a room, or refreshes its snapshot. `after` is the last event that the page already has. */
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
    this.feeds.reset(feed);
    if (this.link?.reopen) this.link.reopen();
    else this.send({ type: 'subscribe', feed });
  }

  unsubscribe(feed) {
    this.feeds.remove(feed);
    this.send({ type: 'unsubscribe', feed });
  }

  /**
   * Sends a command and stores it until it is answered, across reconnects and reloads. Returns its id once it is stored.
   * @param {string} room
   * @param {{kind: string, data: object}} command
   * @param {number} [expect] the version that the user saw
   * @param {{keepsRefused?: boolean}} [options] `keepsRefused` stores a refused command until `dismiss`
   */
  async command(room, command, expect, { keepsRefused } = {}) {
    const entry = { id: this.options.id(), room, command, expect, at: this.options.now(), ...(keepsRefused && { keepsRefused }) };
    this.waiting.push(entry);
    this.emit('queued', { command: entry });
    this.setState(this.state, this.stateDetail);
    await this.options.outbox.put(entry);
    this.pacer.stored(entry.id);
    return entry.id;
  }

  /** Forgets a refused command. */
  async dismiss(id) {
    const entry = this.refused.find((it) => it.id === id);
    this.refused = this.refused.filter((it) => it.id !== id);
    if (entry) this.emit('dismissed', { command: entry });
    await this.options.outbox.remove(id);
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
    this.setState('connecting');
    this.startWatchdog(WELCOME_TIMEOUT_MS);
    let token;
    try {
      token = await this.options.token(fresh);
    } catch (error) {
      if (generation !== this.generation) return;
      if (error?.final) return this.stop(SIGN_IN_AGAIN);
      this.disconnect();
      return this.scheduleReconnect({ wait: this.backoff.nextDelay(), fresh });
    }
    if (generation !== this.generation) return;
    this.needsFreshToken = false;
    this.startWatchdog(WELCOME_TIMEOUT_MS);
    this.link = this.open(this.backoff.byStream ? StreamLink : SocketLink, token);
    // The WebSocket constructor itself may throw.
    if (!this.link) this.closed(1006, 'blocked');
  }

  /** Opens a transport. Its frames are processed while it is the current one. */
  open(Link, token) {
    let link = null;
    const owner = {
      frame: (frame) => {
        if (this.trial === link && frame.type === 'welcome') this.switchTo(link);
        if (this.link === link) this.receive(frame);
      },
      answer: (frame) => this.link === link && this.handle(frame),
      closed: (code, reason) => {
        if (this.trial === link) this.trial = null;
        if (this.link === link) this.closed(code, reason);
      },
    };
    try {
      link = new Link(this, token, owner);
    } catch {
      return null;
    }
    return link;
  }

  /** The opening message of a stream or a socket. */
  opening() {
    return {
      // A socket on trial must not end the stream that is in use.
      hello: (token) => ({ type: 'hello', token, ...(this.connection && this.state !== 'live' && { replaces: this.connection }) }),
      rooms: [...this.readers].map(([room, reader]) => ({ room, after: reader.cursor })),
      feeds: this.feeds.names(),
    };
  }

  /** Restores rooms, feeds and unanswered commands on a new connection. */
  resume() {
    const { rooms, feeds } = this.opening();
    const { reopen } = this.link;
    if (!reopen) {
      for (const { room, after } of rooms) this.send({ type: 'join', room, after });
      for (const feed of feeds) this.send({ type: 'subscribe', feed });
    }
    this.pacer.start();
    if (reopen) this.scheduleSocketRetry(FIRST_SOCKET_RETRY_MS);
  }

  /** Tries a WebSocket now and then while a stream is in use, without closing the stream. */
  scheduleSocketRetry(ms) {
    this.socketRetryTimer = this.options.setTimeout(async () => {
      const generation = this.generation;
      const token = await this.options.token(false).catch(() => null);
      if (generation !== this.generation) return;
      this.trial?.close();
      this.trial = token && this.open(SocketLink, token);
      this.scheduleSocketRetry(Math.min(ms * 2, MAX_SOCKET_RETRY_MS));
    }, ms);
  }

  /** Replaces the stream by the socket that was on trial. */
  switchTo(link) {
    const stream = this.link;
    this.options.clearTimeout(this.socketRetryTimer);
    this.generation++;
    this.link = link;
    this.trial = null;
    this.backoff.byStream = false;
    stream.close();
    for (const reader of this.readers.values()) reader.live = false;
  }

  closed(code, reason) {
    if (this.state !== 'live' && code === 1006 && !this.backoff.byStream) this.checkFallback();
    this.disconnect();
    const next = this.backoff.closed(code, reason);
    if ('stop' in next) this.stop(next.stop);
    else if (next.wait === 0) this.connect(next.fresh);
    else this.scheduleReconnect(next);
  }

  /** Called when a socket did not open. If the hub answers over HTTP, the network blocks WebSockets; if not, the hub is down. */
  async checkFallback() {
    this.backoff.socketFailed(await this.options.fetch(`${this.options.base}/healthz`).then(({ ok }) => ok, () => false));
  }

  scheduleReconnect({ wait, fresh }) {
    this.needsFreshToken = fresh;
    this.setState('waiting', { retryAt: this.options.now() + wait });
    this.reconnectTimer = this.options.setTimeout(() => this.connect(fresh), wait);
  }

  disconnect() {
    this.generation++;
    this.options.clearTimeout(this.watchdog);
    this.options.clearTimeout(this.socketRetryTimer);
    this.pacer.stop();
    for (const reader of this.readers.values()) reader.live = false;
    this.feeds.invalidate();
    this.link?.close();
    this.trial?.close();
    this.link = this.trial = null;
  }

  /** Closes the connection after `ms` without a frame, even if the browser still reports it open. */
  startWatchdog(ms) {
    this.options.clearTimeout(this.watchdog);
    this.watchdog = this.options.setTimeout(() => this.closed(1006, 'silent'), ms);
  }

  // --- frames ---

  send(frame) {
    if (this.state === 'live') this.link.send(frame);
  }

  sendCommand({ id, room, command, expect }) {
    this.send({ type: 'command', id, room, ...(expect !== undefined && { expect }), command });
  }

  /** Handles a received frame, which also proves that the connection is alive. */
  receive(frame) {
    if (frame.now ?? frame.at) this.emit('time', { now: frame.now ?? frame.at });
    if (frame.type === 'welcome') {
      this.connection = frame.connection;
      this.beatMs = frame.beat_ms;
      this.backoff.welcomed();
      this.setState('live');
      this.emit('welcome', frame);
      // A listener may have closed the connection.
      if (this.state === 'live') this.resume();
    }
    if (this.beatMs && this.state === 'live') this.startWatchdog(this.beatMs * 2);
    this.handle(frame);
  }

  handle(frame) {
    handlers[frame.type]?.(this, frame);
  }

  /** Joins a room again after a gap, once for several gaps. */
  rejoin(room, reader) {
    if (reader.live) this.join(room);
  }

  /** Repeats a request after a temporary failure. A new connection repeats everything anyway. */
  retryLater(error, run) {
    const { generation } = this;
    this.options.setTimeout(() => generation === this.generation && run(), error?.detail?.retry_after_ms ?? 1000);
  }

  /** Ends a command: `refusal` is the hub's error, without one the hub acknowledged it. */
  async settle(id, refusal) {
    const entry = this.waiting.find((it) => it.id === id);
    const kept = refusal && entry?.keepsRefused ? { ...entry, refusal: { code: refusal.code, message: refusal.message } } : null;
    this.waiting = this.waiting.filter((it) => it !== entry);
    if (kept) this.refused.push(kept);
    this.setState(this.state, this.stateDetail);
    this.pacer.answered(id);
    await (kept ? this.options.outbox.put(kept) : this.options.outbox.remove(id));
  }

  setState(state, detail = {}) {
    this.state = state;
    this.stateDetail = detail;
    this.emit('state', { state, waiting: this.waiting.length, fallback: !!this.link?.reopen, ...detail });
  }

  emit(type, detail) {
    this.dispatchEvent(Object.assign(new Event(type), { detail }));
  }
}
