// Handlers for the hub's frames, by frame type.

/** Errors that end a room's subscription for a while: joining again may succeed. */
const TEMPORARY_ERRORS = ['unavailable', 'storage_full', 'rate_limited', 'internal'];

/** @type {Record<string, (client: import('./protocol.js').Client, frame: any) => void>} */
export const handlers = {
  // The only place that dispatches on a frame's type.
  __proto__: null,
  joined(client, { room, snapshot, head }) {
    client.emit('joined', { room, snapshot, head });
  },
  event(client, { room, prev, event }) {
    const reader = client.readers.get(room);
    if (!reader) return;
    const verdict = reader.offer(prev, event.seq);
    if (verdict === 'deliver') client.emit('event', { room, event });
    if (verdict === 'gap') client.rejoin(room, reader);
  },
  live(client, { room, head }) {
    const reader = client.readers.get(room);
    if (!reader) return;
    reader.live = true;
    if (head > reader.cursor) client.rejoin(room, reader);
    else client.emit('live', { room, head });
  },
  beat(client, { heads }) {
    client.send({ type: 'beat' });
    for (const { room, head } of heads ?? []) {
      const reader = client.readers.get(room);
      if (reader && head > reader.cursor) client.rejoin(room, reader);
    }
  },
  ack(client, { id, room, first, last }) {
    client.settle(id);
    client.emit('ack', { id, room, first, last });
  },
  error(client, error) {
    const entry = client.waiting.find(({ id }) => id === error.id);
    if (entry && error.retryable) return client.pacer.postpone(entry, error);
    if (entry) {
      client.settle(entry.id, error);
      return client.emit('refused', { id: entry.id, room: entry.room, command: entry.command, error });
    }
    const reader = client.readers.get(error.room);
    if (reader?.cursor > 0 && !error.id && error.code === 'invalid' && error.detail?.field === 'after') {
      // The log ends before the cursor: an operator restored the hub's database from a backup. Start again.
      reader.cursor = 0;
      client.emit('restarted', { room: error.room });
      return client.join(error.room);
    }
    if (!error.id && error.retryable) {
      const waits = (room) => client.readers.get(room)?.live === false;
      if (waits(error.room)) return client.retryLater(error, () => waits(error.room) && client.join(error.room));
      const feeds = error.room ? [] : client.feeds.pending();
      if (feeds.length) client.retryLater(error, () => client.feeds.pending().forEach((feed) => client.subscribe(feed)));
    }
    client.emit('error', error);
  },
  left(client, { room, code }) {
    // The reply to a leave; the room may have been joined again since.
    if (code === 'not_joined') return;
    const reader = client.readers.get(room);
    if (reader && TEMPORARY_ERRORS.includes(code)) {
      reader.live = false;
      return client.retryLater(null, () => client.readers.has(room) && client.join(room));
    }
    client.readers.delete(room);
    client.emit('left', { room, code });
  },
  call: (client, frame) => client.emit('call', frame),
  signal: (client, frame) => client.emit('signal', frame),
  presence: (client, frame) => client.emit('presence', frame),
  mark: (client, frame) => client.emit('mark', frame),
  feed(client, { feed, version, items, missing = 0 }) {
    const rows = client.feeds.replace(feed, version, items);
    if (rows) client.emit('feed', { feed, items: rows, missing });
  },
  feed_change(client, { feed, version, set, removed, missing = 0 }) {
    const items = client.feeds.change(feed, version, set, removed);
    if (items) client.emit('feed', { feed, items, missing });
    else if (items === null) client.subscribe(feed);
  },
  async expiring(client) {
    try {
      client.send({ type: 'auth', token: await client.options.token(true) });
    } catch {
      // The hub closes with 4010, and the next connection requests another token.
    }
  },
  reconnect(client, { after_ms }) {
    client.backoff.setServerDelay(after_ms);
  },
};
