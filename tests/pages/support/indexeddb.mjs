/**
 * @file As much of IndexedDB as the outbox uses, with its pitfalls: an idle transaction commits by itself, and requests of
 * a transaction that is not committed when the page ends are lost.
 *
 * Faults: `answers` false leaves opening without an answer, `full` fails writes with `QuotaExceededError`, and
 * `closeAll()` closes the databases of the page as a browser does under memory pressure.
 */

export class FakeIndexedDB {
  constructor() {
    this.databases = new Map();
    this.page = 0;
    this.answers = true;
    this.full = false;
    this.connections = [];
  }

  /** Ends the page: uncommitted changes are lost, and no callback of the page runs any more. */
  reload() {
    this.page += 1;
  }

  closeAll() {
    for (const db of this.connections) {
      db.close();
      db.onclose?.();
    }
    this.connections = [];
  }

  /** Runs a callback soon, if its page still exists. */
  later(run, page = this.page) {
    setImmediate(() => page === this.page && run());
  }

  open(name) {
    const request = {};
    if (!this.answers) return request;
    this.later(() => {
      const fresh = !this.databases.has(name);
      if (fresh) this.databases.set(name, new Map());
      const db = new Database(this, this.databases.get(name));
      this.connections.push(db);
      request.result = db;
      if (fresh) request.onupgradeneeded?.({ target: request });
      this.later(() => request.onsuccess?.());
    });
    return request;
  }
}

class Database {
  constructor(factory, stores) {
    const { page } = factory;
    Object.assign(this, { factory, stores, open: true, last: Promise.resolve(), later: (run) => factory.later(run, page) });
  }

  close() {
    this.open = false;
  }

  createObjectStore(name, { autoIncrement }) {
    if (!autoIncrement) throw new Error('not faked');
    this.stores.set(name, { next: 1, rows: new Map() });
    return { createIndex() {} };
  }

  transaction(name, mode) {
    if (!this.open) throw new DOMException('the connection is closed', 'InvalidStateError');
    return new Transaction(this, this.stores.get(name), mode);
  }
}

/** Transactions on one store run one at a time, in the order of their creation. */
class Transaction {
  constructor(db, store, mode) {
    Object.assign(this, { db, store, mode, asked: [], active: true, error: null });
    const turn = db.last;
    db.last = new Promise((done) => (this.done = done));
    turn.then(() => {
      this.rows = new Map(store.rows);
      this.db.later(() => this.step());
    });
  }

  ask(run, writes) {
    if (!this.active) throw new DOMException('the transaction is over', 'TransactionInactiveError');
    if (writes && this.mode !== 'readwrite') throw new DOMException('read only', 'ReadOnlyError');
    const request = {};
    this.asked.push([request, run, writes]);
    return request;
  }

  step() {
    const next = this.asked.shift();
    if (!next) return this.commit();
    const [request, run, writes] = next;
    if (writes && this.db.factory.full) return this.abort(request, new DOMException('the disk is full', 'QuotaExceededError'));
    request.result = run();
    request.onsuccess?.();
    this.db.later(() => this.step());
  }

  abort(request, error) {
    this.active = false;
    this.error = request.error = error;
    this.done();
    request.onerror?.();
    this.onabort?.();
  }

  commit() {
    this.active = false;
    this.store.rows = this.rows;
    this.done();
    this.oncomplete?.();
  }

  objectStore() {
    return {
      getAll: () => this.ask(() => structuredClone([...this.rows.values()])),
      add: (value) => {
        const copy = structuredClone(value);
        return this.ask(() => (this.rows.set(this.store.next, copy), this.store.next++), true);
      },
      put: (value, key) => {
        const copy = structuredClone(value);
        return this.ask(() => (this.rows.set(key, copy), key), true);
      },
      delete: (key) => this.ask(() => void this.rows.delete(key), true),
      index: (field) => ({ getKey: (value) => this.ask(() => [...this.rows].find(([, row]) => row[field] === value)?.[0]) }),
    };
  }
}
