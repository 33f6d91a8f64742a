// Live read models: a snapshot, then versioned changes.

const key = (feed) => JSON.stringify([feed.name, feed.doctor ?? null]);

export class Feeds {
  constructor() {
    this.entries = new Map();
  }

  /** Expects a new snapshot; changes to the previous one are ignored. */
  reset(feed) {
    this.entries.set(key(feed), { feed, version: null, items: new Map() });
  }

  /** Discards every version, because versions are valid for one connection. */
  invalidate() {
    for (const entry of this.entries.values()) entry.version = null;
  }

  /** Feeds that still wait for their snapshot. */
  pending() {
    return [...this.entries.values()].filter(({ version }) => version === null).map(({ feed }) => feed);
  }

  remove(feed) {
    this.entries.delete(key(feed));
  }

  names() {
    return [...this.entries.values()].map(({ feed }) => feed);
  }

  /** @returns {object[] | undefined} the rows; undefined without a subscription */
  replace(feed, version, items) {
    const entry = this.entries.get(key(feed));
    if (!entry) return undefined;
    entry.version = version;
    entry.items = new Map(items.map((item) => [item.key, item]));
    return [...entry.items.values()];
  }

  /** @returns {object[] | null | undefined} the rows; null after a missed version; undefined without a snapshot to change */
  change(feed, version, set, removed) {
    const entry = this.entries.get(key(feed));
    if (!entry || entry.version === null) return undefined;
    if (version !== entry.version + 1) return null;
    entry.version = version;
    for (const gone of removed) entry.items.delete(gone);
    for (const item of set) entry.items.set(item.key, item);
    return [...entry.items.values()];
  }
}
