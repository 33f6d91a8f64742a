/** @file A minimal hub with one room that follows docs/protocol.md, behind a faulty network. */

/** Returns a generator of repeatable random numbers from 0 to 1. */
export function seededRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Hub {
  /** @param {() => number} random  decides which faults occur while `bad` is set */
  constructor(random) {
    Object.assign(this, { random, bad: true, log: [], answers: new Map(), joined: new Map(), faults: {} });
  }

  /** Decides whether a fault occurs now, and counts it. */
  fault(name, often) {
    if (!this.bad || this.random() >= often) return false;
    this.faults[name] = (this.faults[name] ?? 0) + 1;
    return true;
  }

  /** Returns the events that this reader may see. */
  visible() {
    return this.log.filter(({ seen }) => seen);
  }

  head() {
    return this.visible().at(-1)?.seq ?? 0;
  }

  /** Appends an event and publishes it, unless the message is lost. */
  append(seen, more = {}) {
    const event = { room: 'r1', seq: this.log.length + 1, seen, kind: 'chat.sent', actor: { id: 'x' }, data: {}, ...more };
    const prev = this.head();
    this.log.push(event);
    if (seen) for (const socket of this.joined.keys()) if (!this.fault('lost', 0.1)) this.publish(socket, prev, event);
    return event.seq;
  }

  publish(socket, prev, event) {
    const times = this.fault('repeated', 0.1) ? 2 : 1;
    for (let time = 0; time < times; time += 1) this.send(socket, { type: 'event', room: 'r1', prev, event });
  }

  /** Sends a frame to the client, unless the connection breaks first. */
  send(socket, frame) {
    if (this.fault('cut', 0.01)) return this.cut(socket);
    if (socket.readyState === 1) socket.receive(frame);
  }

  cut(socket) {
    this.joined.delete(socket);
    if (socket.readyState === 1) socket.cut([1006, 1012, 4000, 4001, 4002, 4010][Math.floor(this.random() * 6)]);
  }

  beat() {
    for (const [socket, live] of this.joined) this.send(socket, { type: 'beat', heads: live ? [{ room: 'r1', head: this.head() }] : [] });
  }

  /** Handles a frame from the client. */
  handle(socket, frame) {
    if (this.fault('cut', 0.01)) return this.cut(socket);
    if (frame.type === 'join') this.join(socket, frame.after);
    if (frame.type === 'command') this.command(socket, frame);
  }

  join(socket, after) {
    const error = { type: 'error', room: 'r1', code: 'unavailable', message: '', retryable: true };
    if (this.fault('refused', 0.05)) return this.send(socket, error);
    this.joined.set(socket, false);
    this.send(socket, { type: 'joined', room: 'r1', head: this.head(), snapshot: {} });
    let prev = after;
    for (const event of this.visible().filter(({ seq }) => seq > after)) {
      if (!this.fault('lost', 0.02)) this.publish(socket, prev, event);
      prev = event.seq;
    }
    if (this.fault('put out', 0.1)) {
      this.joined.delete(socket);
      return this.send(socket, { type: 'left', room: 'r1', code: 'unavailable' });
    }
    if (socket.readyState !== 1) return;
    this.joined.set(socket, true);
    this.send(socket, { type: 'live', room: 'r1', head: this.head() });
  }

  command(socket, { id }) {
    if (this.fault('refused', 0.1)) return this.send(socket, { type: 'error', id, room: 'r1', code: 'unavailable', message: '', retryable: true });
    if (!this.answers.has(id)) this.answers.set(id, this.append(true, { command: id }));
    const seq = this.answers.get(id);
    this.send(socket, { type: 'ack', id, room: 'r1', first: seq, last: seq });
  }
}
