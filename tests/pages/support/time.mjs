/** @file A clock that only a test advances. */

/** Runs all settled promises and their consequences. */
export async function flushPromises() {
  for (let round = 0; round < 5; round += 1) await new Promise((done) => setImmediate(done));
}

export class Clock {
  constructor(at = 0) {
    this.at = at;
    this.timers = new Map();
    this.serial = 0;
    this.now = () => this.at;
    this.setTimeout = (run, ms = 0) => {
      this.timers.set(++this.serial, { run, at: this.at + ms });
      return this.serial;
    };
    this.clearTimeout = (timer) => void this.timers.delete(timer);
  }

  /** Advances the time by `ms`, running each timer at its time. */
  async advance(ms) {
    const end = this.at + ms;
    await flushPromises();
    for (;;) {
      const next = [...this.timers].filter(([, { at }]) => at <= end).sort(([a, x], [b, y]) => x.at - y.at || a - b)[0];
      if (!next) break;
      const [timer, { run, at }] = next;
      this.timers.delete(timer);
      this.at = Math.max(this.at, at);
      run();
      await flushPromises();
    }
    this.at = end;
  }
}
