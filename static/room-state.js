// What a page knows of one room: its events in order, its snapshot, who is there, and what waits to be sent.

export class Room extends EventTarget {
  constructor(client, id, me) {
    super();
    Object.assign(this, { client, id, me, events: [], snapshot: null, typing: new Map(), presence: new Set(), marks: {}, refused: [] });
    this.over = new AbortController();
    const mine = (run) => ({ detail }) => {
      const room = detail.room ?? detail.command?.room;
      if (room !== id) return;
      run(detail);
      this.changed();
    };
    const on = (type, run) => client.addEventListener(type, mine(run), { signal: this.over.signal });
    on('joined', ({ snapshot }) => {
      this.snapshot = snapshot;
      this.gone = null;
      this.presence = new Set((snapshot.presence ?? []).filter(({ here }) => here).map(({ user }) => user));
      this.marks = { ...snapshot.marks };
    });
    on('event', ({ event }) => {
      this.events.push(event);
      this.typing.delete(event.actor.id);
      // Chat changes nothing but the chat; everything else may change what can be done.
      if (event.kind !== 'chat.sent') this.refresh();
      this.markDelivered();
    });
    on('live', () => this.markDelivered());
    on('presence', ({ presence }) => (presence.here ? this.presence.add(presence.user) : this.presence.delete(presence.user)));
    on('mark', ({ user, mark }) => (this.marks[user] = mark));
    on('signal', ({ from }) => this.typing.set(from, Date.now()));
    on('refused', (refusal) => this.refused.push(refusal));
    on('left', ({ code }) => (this.gone = code));
    on('error', (error) => !this.snapshot && (this.gone = error.code));
    on('queued', () => {});
    on('ack', () => {});
    client.join(id);
  }

  /** The snapshot anew, once for many events that come together. */
  refresh() {
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.client.join(this.id, this.head()), 30);
  }

  /** Tells who shows the room, once for what comes together: a long room's events are hundreds of frames. */
  changed() {
    this.telling ??= setTimeout(() => {
      this.telling = null;
      this.dispatchEvent(new Event('change'));
    }, 16);
  }

  /** Nobody looks at the room any more. */
  end() {
    this.over.abort();
    for (const timer of [this.soon, this.telling, this.marking]) clearTimeout(timer);
    this.client.leave(this.id);
  }

  head() {
    return this.events.at(-1)?.seq ?? 0;
  }

  /** Says how far this person got, once for many events: a mark a frame would be a flood. */
  markDelivered() {
    this.marking ??= setTimeout(() => {
      this.marking = null;
      this.mark();
    }, 500);
  }

  mark() {
    const old = this.marks[this.me] ?? { delivered: 0, seen: 0 };
    const seen = document.visibilityState === 'visible' && this.shown ? this.head() : old.seen;
    const mark = { delivered: this.head(), seen };
    if (old.delivered >= mark.delivered && old.seen >= mark.seen) return;
    // If it is lost, the next snapshot says so.
    this.marks[this.me] = mark;
    this.client.mark(this.id, mark.delivered, mark.seen);
  }

  command(kind, data = {}, expect) {
    return this.client.command(this.id, { kind, data }, expect);
  }

  /** Sends a command and waits for its answer, for buttons; throws with the hub's words if it is refused. */
  ask(kind, data = {}, expect) {
    return new Promise((resolve, reject) => {
      const stop = new AbortController();
      const end = (run) => ({ detail }) => detail.id === id && (stop.abort(), run(detail));
      let id = null;
      this.client.addEventListener('ack', end(resolve), { signal: stop.signal });
      this.client.addEventListener('refused', end(({ error }) => reject(new Error(error.message))), { signal: stop.signal });
      this.command(kind, data, expect).then((given) => (id = given), reject);
    });
  }

  /** The chat of a thread: what came, and what waits or was refused. */
  chat(thread) {
    const same = (other) => JSON.stringify(other ?? 'care') === JSON.stringify(thread);
    const known = new Set(this.events.map(({ command }) => command));
    const came = this.events.filter(({ kind, data }) => kind === 'chat.sent' && same(data.thread));
    const mine = ({ room, command }) => room === this.id && command.kind === 'chat.send' && same(command.data.thread);
    const waiting = this.client.waiting.filter((entry) => mine(entry) && !known.has(entry.id));
    const refused = this.refused.filter((refusal) => mine({ room: this.id, command: refusal.command }));
    return { came, waiting, refused };
  }

  /** What has become of a message of mine. */
  fate({ seq }) {
    const others = Object.entries(this.marks).filter(([user]) => user !== this.me).map(([, mark]) => mark);
    if (others.some(({ seen }) => seen >= seq)) return 'seen';
    return others.some(({ delivered }) => delivered >= seq) ? 'delivered' : 'sent';
  }

  whoTypes() {
    const fresh = Date.now() - 5000;
    return [...this.typing].filter(([user, at]) => user !== this.me && at > fresh).map(([user]) => user);
  }

  /** Which moves this role may make with a part now: `['ready', …]`. */
  moves(part, role, kind) {
    return (part.allowed?.[role] ?? []).filter((name) => name.startsWith(`${kind}:`)).map((name) => name.slice(kind.length + 1));
  }

  may(part, role, kind) {
    return (part?.allowed?.[role] ?? []).includes(kind);
  }
}
