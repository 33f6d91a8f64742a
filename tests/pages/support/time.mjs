// Time that stands still until a test moves it on.

/** Lets everything happen that is ready to: promises, and what they lead to. */
export async function settled() {
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

  /** Moves time on by `ms`; timers run at their time, each with what follows from it. */
  async pass(ms) {
    const end = this.at + ms;
    await settled();
    for (;;) {
      const next = [...this.timers].filter(([, { at }]) => at <= end).sort(([a, x], [b, y]) => x.at - y.at || a - b)[0];
      if (!next) break;
      const [timer, { run, at }] = next;
      this.timers.delete(timer);
      this.at = Math.max(this.at, at);
      run();
      await settled();
    }
    this.at = end;
  }
}
