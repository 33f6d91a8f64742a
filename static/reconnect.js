// When to come back, by which way, and when not to: docs/protocol.md, "Close codes" and "Reconnecting".

const FIRST_BACKOFF = 500;
const MOST_BACKOFF = 30_000;
/** A connection that lasted this long was a good one: the next failure starts the backoff anew. */
const STABLE = 30_000;
/** What a hub gets that has too much to do. */
const REST = 60_000;
/** Sockets that fail in a row, though the hub answers, before a stream is taken. */
const BROKEN_AFTER = 2;

/** Why a client stops whose sign-in is over. */
export const SIGN_IN = 'sign in again';

export class Reconnect {
  /**
   * @param {() => number} random  from 0 to 1
   * @param {() => number} now
   */
  constructor(random, now) {
    Object.assign(this, { random, now, failures: 0, sockets: 0, byStream: false, told: null, since: null });
  }

  /** A connection is good. */
  welcomed() {
    this.since = this.now();
    this.sockets = 0;
  }

  /** The hub says when it wants to see this client again. */
  tell(ms) {
    this.told = ms;
  }

  /**
   * What a connection's end means.
   * @returns {{stop: string} | {wait: number, fresh: boolean}}  `fresh`: with another access token
   */
  closed(code, reason) {
    const lived = this.since === null ? null : this.now() - this.since;
    this.since = null;
    if (lived >= STABLE) this.failures = 0;
    // Streams are broken too: back to sockets, until one more of them fails.
    if (lived === null && code === 1006) this.byStream = false;
    if (code === 4501 || code === 4502) return { stop: SIGN_IN };
    if (code >= 4500 && code < 5000) return { stop: reason || 'the hub ended the connection' };
    const fresh = code === 4010;
    // A token that ended is no failure; one that ends again and again is.
    if (fresh && lived >= STABLE) return { wait: 0, fresh };
    // Many are turned away together, so they are spread over more than the first steps of the backoff.
    if (code === 4020 || code === 4021) return { wait: REST + this.random() * MOST_BACKOFF, fresh };
    return { wait: this.wait(), fresh };
  }

  /** A random time, so that many clients do not come back together. */
  wait() {
    const most = Math.min(MOST_BACKOFF, FIRST_BACKOFF * 2 ** this.failures++);
    const wait = this.told ?? this.random() * most;
    this.told = null;
    return wait;
  }

  /** A socket did not open, and the hub does or does not answer otherwise. */
  broken(answered) {
    this.sockets = answered ? this.sockets + 1 : 0;
    this.byStream = this.sockets >= BROKEN_AFTER;
  }
}
