// Live read models: a snapshot, then versioned changes.

const key = (feed) => JSON.stringify([feed.name, feed.doctor ?? null]);

export class Feeds {
  constructor() {
    this.known = new Map();
  }

  /** A whole list is asked for; changes of what was there before mean nothing any more. */
  expect(feed) {
    this.known.set(key(feed), { feed, version: null, items: new Map() });
  }

  /** The connection is gone, and its versions with it. */
  expectAll() {
    for (const known of this.known.values()) known.version = null;
  }

  /** What was asked for and has not come. */
  expected() {
    return [...this.known.values()].filter(({ version }) => version === null).map(({ feed }) => feed);
  }

  remove(feed) {
    this.known.delete(key(feed));
  }

  names() {
    return [...this.known.values()].map(({ feed }) => feed);
  }

  /** @returns {object[] | undefined} the rows; undefined when nobody follows */
  replace(feed, version, items) {
    const known = this.known.get(key(feed));
    if (!known) return undefined;
    known.version = version;
    known.items = new Map(items.map((item) => [item.key, item]));
    return [...known.items.values()];
  }

  /** @returns {object[] | null | undefined} the rows; null when a version was missed; undefined when it is of no concern */
  change(feed, version, set, removed) {
    const known = this.known.get(key(feed));
    if (!known || known.version === null) return undefined;
    if (version !== known.version + 1) return null;
    known.version = version;
    for (const gone of removed) known.items.delete(gone);
    for (const item of set) known.items.set(item.key, item);
    return [...known.items.values()];
  }
}
