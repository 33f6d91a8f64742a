// Live read models: a snapshot, then versioned changes.

const key = (feed) => JSON.stringify([feed.name, feed.doctor ?? null]);

export class Feeds {
  constructor() {
    this.known = new Map();
  }

  add(feed) {
    if (!this.known.has(key(feed))) this.known.set(key(feed), { feed, version: 0, items: new Map() });
  }

  remove(feed) {
    this.known.delete(key(feed));
  }

  names() {
    return [...this.known.values()].map(({ feed }) => feed);
  }

  /** @returns {object[]} the rows */
  replace(feed, version, items) {
    const known = this.known.get(key(feed));
    if (!known) return [];
    known.version = version;
    known.items = new Map(items.map((item) => [item.key, item]));
    return [...known.items.values()];
  }

  /** @returns {object[] | null} the rows; null when a version was missed */
  change(feed, version, set, removed) {
    const known = this.known.get(key(feed));
    if (!known) return [];
    if (version !== known.version + 1) return null;
    known.version = version;
    for (const gone of removed) known.items.delete(gone);
    for (const item of set) known.items.set(item.key, item);
    return [...known.items.values()];
  }
}
