// A page's state of one room: events in order, snapshot, presence, and unsent commands.

export class Room extends EventTarget {
  constructor(client, id, me) {
    super();
    Object.assign(this, { client, id, me, events: [], snapshot: null, typing: new Map(), presence: new Set(), marks: {} });
    this.lifetime = new AbortController();
    const mine = (run) => ({ detail }) => {
      const room = detail.room ?? detail.command?.room;
      if (room !== id) return;
      run(detail);
      this.scheduleChange();
    };
    const on = (type, run) => client.addEventListener(type, mine(run), { signal: this.lifetime.signal });
    on('joined', ({ snapshot }) => {
      this.snapshot = snapshot;
      this.accessError = null;
      this.presence = new Set((snapshot.presence ?? []).filter(({ here }) => here).map(({ user }) => user));
      this.marks = { ...snapshot.marks };
    });
    on('event', ({ event }) => {
      this.events.push(event);
      this.typing.delete(event.actor.id);
      // A chat message changes only the chat; any other event may change the allowed commands.
      if (event.kind !== 'chat.sent') this.refresh();
      this.markDelivered();
    });
    on('restarted', () => (this.events = []));
    on('live', () => this.markDelivered());
    on('presence', ({ presence }) => (presence.here ? this.presence.add(presence.user) : this.presence.delete(presence.user)));
    on('mark', ({ user, mark }) => (this.marks[user] = mark));
    on('signal', ({ from }) => this.typing.set(from, Date.now()));
    on('refused', () => {});
    on('dismissed', () => {});
    on('left', ({ code }) => (this.accessError = code));
    on('error', (error) => !this.snapshot && (this.accessError = error.code));
    on('queued', () => {});
    on('ack', () => {});
    document.addEventListener('visibilitychange', () => this.markDelivered(), { signal: this.lifetime.signal });
    client.join(id);
  }

  /** Refreshes the snapshot, once for a burst of events. */
  refresh() {
    clearTimeout(this.refreshTimer);
    this.refreshTimer = setTimeout(() => this.client.join(this.id, this.head()), 30);
  }

  /** Emits one `change` for a burst of frames: a long room sends hundreds of them. */
  scheduleChange() {
    this.changeTimer ??= setTimeout(() => {
      this.changeTimer = null;
      this.dispatchEvent(new Event('change'));
    }, 16);
  }

  /** Closes the room for this page. */
  end() {
    this.lifetime.abort();
    for (const timer of [this.refreshTimer, this.changeTimer, this.markTimer]) clearTimeout(timer);
    this.client.leave(this.id);
  }

  head() {
    return this.events.at(-1)?.seq ?? 0;
  }

  /** Sends read marks, one for a burst of events. */
  markDelivered() {
    this.markTimer ??= setTimeout(() => {
      this.markTimer = null;
      this.mark();
    }, 500);
  }

  /** A hidden tab confirms nothing: nobody may be sitting there, and other devices must still be notified. */
  mark() {
    if (document.visibilityState !== 'visible') return;
    const old = this.marks[this.me] ?? { delivered: 0, seen: 0 };
    const mark = { delivered: this.head(), seen: this.shown ? this.head() : old.seen };
    if (old.delivered >= mark.delivered && old.seen >= mark.seen) return;
    // If the mark is lost, the next snapshot shows that it is missing.
    this.marks[this.me] = mark;
    this.client.mark(this.id, mark.delivered, mark.seen);
  }

  command(kind, data = {}, expect) {
    return this.client.command(this.id, { kind, data }, expect);
  }

  /** Sends a chat message; a refused one stays until the user dismisses it. */
  sendMessage(text, thread) {
    return this.client.command(this.id, { kind: 'chat.send', data: { text, thread } }, undefined, { keepsRefused: true });
  }

  /** Sends a command and waits for its answer; throws with the hub's text if it is refused. */
  submit(kind, data = {}, expect) {
    return new Promise((resolve, reject) => {
      const stop = new AbortController();
      const end = (run) => ({ detail }) => detail.id === id && (stop.abort(), run(detail));
      let id = null;
      this.client.addEventListener('ack', end(resolve), { signal: stop.signal });
      this.client.addEventListener('refused', end(({ error }) => reject(new Error(error.message))), { signal: stop.signal });
      this.command(kind, data, expect).then((given) => (id = given), reject);
    });
  }

  /** A thread's messages: received, unsent and refused. */
  chat(thread) {
    const same = (other) => JSON.stringify(other ?? 'care') === JSON.stringify(thread);
    const known = new Set(this.events.map(({ command }) => command));
    const received = this.events.filter(({ kind, data }) => kind === 'chat.sent' && same(data.thread));
    const mine = ({ room, command }) => room === this.id && command.kind === 'chat.send' && same(command.data.thread);
    const waiting = this.client.waiting.filter((entry) => mine(entry) && !known.has(entry.id));
    const refused = this.client.refused.filter(mine);
    return { received, waiting, refused };
  }

  /** The delivery state of an own message. */
  receipt({ seq }) {
    const others = Object.entries(this.marks).filter(([user]) => user !== this.me).map(([, mark]) => mark);
    if (others.some(({ seen }) => seen >= seq)) return 'seen';
    return others.some(({ delivered }) => delivered >= seq) ? 'delivered' : 'sent';
  }

  typingUsers() {
    const fresh = Date.now() - 5000;
    return [...this.typing].filter(([user, at]) => user !== this.me && at > fresh).map(([user]) => user);
  }

  /** The moves that this role may make with a part now: `['ready', …]`. */
  allowedMoves(part, role, kind) {
    return (part.allowed?.[role] ?? []).filter((name) => name.startsWith(`${kind}:`)).map((name) => name.slice(kind.length + 1));
  }

  allows(part, role, kind) {
    return (part?.allowed?.[role] ?? []).includes(kind);
  }
}
