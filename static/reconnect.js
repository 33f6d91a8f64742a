// When and by which transport to reconnect, and when not to: docs/protocol.md, "Close codes" and "Reconnecting".

const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
/** A connection that lasted this long was stable: the next failure starts the backoff from the beginning. */
const STABLE_AFTER_MS = 30_000;
/** Delay before reconnecting to an overloaded hub. */
const OVERLOAD_DELAY_MS = 60_000;
/** Consecutive socket failures, while the hub answers over HTTP, before a stream is used. */
const FALLBACK_AFTER_FAILURES = 2;

/** The reason of a client that stops because its sign-in has ended. */
export const SIGN_IN_AGAIN = 'sign in again';

export class Reconnect {
  /**
   * @param {() => number} random  from 0 to 1
   * @param {() => number} now
   */
  constructor(random, now) {
    Object.assign(this, { random, now, failures: 0, failedSockets: 0, byStream: false, serverDelay: null, welcomedAt: null });
  }

  /** The hub sent `welcome`. */
  welcomed() {
    this.welcomedAt = this.now();
    this.failedSockets = 0;
  }

  /** The hub asked to reconnect after `ms`. */
  setServerDelay(ms) {
    this.serverDelay = ms;
  }

  /**
   * Decides what follows from a closed connection.
   * @returns {{stop: string} | {wait: number, fresh: boolean}}  `fresh`: with a new access token
   */
  closed(code, reason) {
    const lived = this.welcomedAt === null ? null : this.now() - this.welcomedAt;
    this.welcomedAt = null;
    if (lived >= STABLE_AFTER_MS) this.failures = 0;
    // Streams fail as well: use sockets again until one more of them fails.
    if (lived === null && code === 1006) this.byStream = false;
    if (code === 4501 || code === 4502) return { stop: SIGN_IN_AGAIN };
    if (code >= 4500 && code < 5000) return { stop: reason || 'the hub ended the connection' };
    const fresh = code === 4010;
    // One expired token is no failure; one after another is.
    if (fresh && lived >= STABLE_AFTER_MS) return { wait: 0, fresh };
    // The hub turns many clients away at once, so their delays spread wider than the backoff's first steps.
    if (code === 4020 || code === 4021) return { wait: OVERLOAD_DELAY_MS + this.random() * MAX_BACKOFF_MS, fresh };
    return { wait: this.nextDelay(), fresh };
  }

  /** A random delay, so that many clients do not reconnect at the same moment. */
  nextDelay() {
    const limit = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** this.failures++);
    const wait = this.serverDelay ?? this.random() * limit;
    this.serverDelay = null;
    return wait;
  }

  /** A socket did not open; `answered` says whether the hub answers over HTTP. */
  socketFailed(answered) {
    this.failedSockets = answered ? this.failedSockets + 1 : 0;
    this.byStream = this.failedSockets >= FALLBACK_AFTER_FAILURES;
  }
}
