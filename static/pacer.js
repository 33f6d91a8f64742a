// Paces commands: how many may be unanswered, and how fast they are sent. docs/protocol.md, "Limits".

/** Commands in flight; the hub accepts 64 of one connection. */
const MAX_IN_FLIGHT = 16;
/** The hub accepts 50 frames a second and bursts of 200; joins, marks and call signals need their share. */
const COMMANDS_PER_SECOND = 30;
const COMMAND_BURST = 60;
/** Delay before a temporary failure is repeated if the hub names none, in milliseconds. */
const DEFAULT_RETRY_DELAY_MS = 1_000;

export class Pacer {
  /**
   * @param {{now: () => number, setTimeout: (run: () => void, ms: number) => any, clearTimeout: (timer: any) => void}} clock
   * @param {(entry: {id: string, room: string}) => void} send
   * @param {() => {id: string, room: string}[]} waiting  commands without an answer, oldest first
   */
  constructor(clock, send, waiting) {
    Object.assign(this, { clock, send, waiting, running: false, generation: 0 });
    /** Ids of commands that storage keeps: only these may be sent. */
    this.storedIds = new Set();
    this.inFlight = new Set();
    /** Rooms whose commands wait after a temporary failure. */
    this.postponedRooms = new Set();
    this.paused = false;
  }

  /** A connection is open, or replaced another one: sends every command that has no answer. */
  start() {
    this.stop();
    Object.assign(this, { running: true, credit: COMMAND_BURST, creditedAt: this.clock.now() });
    this.sendNext();
  }

  /** The connection is closed: what was in flight is sent again on the next one. */
  stop() {
    this.running = this.paused = false;
    this.generation += 1;
    this.clock.clearTimeout(this.creditTimer);
    this.creditTimer = undefined;
    this.inFlight.clear();
    this.postponedRooms.clear();
  }

  stored(id) {
    this.storedIds.add(id);
    this.sendNext();
  }

  answered(id) {
    this.storedIds.delete(id);
    this.inFlight.delete(id);
    this.sendNext();
  }

  /** Repeats a command after a temporary failure. Later commands of its room wait as well, so that they keep their order. */
  postpone({ id, room }, { code, detail }) {
    const { generation } = this;
    this.inFlight.delete(id);
    if (code === 'rate_limited') this.paused = true;
    else this.postponedRooms.add(room);
    this.clock.setTimeout(() => {
      if (generation !== this.generation) return;
      if (code === 'rate_limited') this.paused = false;
      else this.postponedRooms.delete(room);
      this.sendNext();
    }, detail?.retry_after_ms ?? DEFAULT_RETRY_DELAY_MS);
  }

  sendNext() {
    if (!this.running || this.paused) return;
    const blocked = new Set(this.postponedRooms);
    for (const entry of this.waiting()) {
      if (this.inFlight.has(entry.id) || blocked.has(entry.room)) continue;
      // A command that is not stored yet holds back the later ones of its room, which would overtake it.
      if (!this.storedIds.has(entry.id)) blocked.add(entry.room);
      else if (this.inFlight.size >= MAX_IN_FLIGHT) return;
      else if (!this.takeCredit()) return this.awaitCredit();
      else {
        this.inFlight.add(entry.id);
        this.send(entry);
      }
    }
  }

  takeCredit() {
    const now = this.clock.now();
    // A clock that is set back must not take credit away.
    const elapsed = Math.max(0, now - this.creditedAt);
    this.credit = Math.min(COMMAND_BURST, this.credit + (elapsed * COMMANDS_PER_SECOND) / 1000);
    this.creditedAt = now;
    if (this.credit < 1) return false;
    this.credit -= 1;
    return true;
  }

  awaitCredit() {
    this.creditTimer ??= this.clock.setTimeout(() => {
      this.creditTimer = undefined;
      this.sendNext();
    }, 1000 / COMMANDS_PER_SECOND);
  }
}
