// Commands without an answer, stored so that a reload does not lose them.

/**
 * @typedef {object} Outbox
 * @property {() => Promise<object[]>} all  oldest first
 * @property {(entry: object) => Promise<void>} put  adds an entry, or replaces the one with its id
 * @property {(id: string) => Promise<void>} remove
 */

/** Time limit for opening the database and for each transaction, in milliseconds. */
const STORAGE_TIMEOUT_MS = 2_000;

/** In memory, for tests and for browsers without storage. @returns {Outbox} */
export function memoryOutbox(entries = []) {
  const index = (id) => entries.findIndex((entry) => entry.id === id);
  return {
    all: async () => [...entries],
    put: async (entry) => void (index(entry.id) < 0 ? entries.push(entry) : entries.splice(index(entry.id), 1, entry)),
    remove: async (id) => void (index(id) >= 0 && entries.splice(index(id), 1)),
  };
}

/**
 * In IndexedDB, separate for each user: nothing is ever sent in another user's name.
 *
 * Storage may fail at any time: the browser closes the database, the disk is full, or a request is never answered. The
 * outbox then opens the database once more, and after that keeps the entry in memory, so that it is sent in any case.
 * @param {string} user
 * @param {number} [timeoutMs]
 * @returns {Outbox}
 */
export function browserOutbox(user, timeoutMs = STORAGE_TIMEOUT_MS) {
  const memory = memoryOutbox();
  let database = null;
  /** Whether the database can be opened; a database that does not answer is not tried again. */
  let usable = true;
  let last = Promise.resolve();

  const attempt = async (step) => {
    try {
      database ??= await within(timeoutMs, open(user), (late) => late.close());
      database.onclose = database.onversionchange = close;
      return await within(timeoutMs, step(database));
    } catch (error) {
      if (error instanceof StorageTimeoutError) usable = false;
      close();
      throw error;
    }
  };
  const close = () => {
    database?.close();
    database = null;
  };
  /** Runs one step after the other, so that entries keep their order when storage is slow or fails. */
  const run = (step, fallback) => {
    const result = last.then(async () => {
      for (let attempts = 0; usable && attempts < 2; attempts += 1) {
        try {
          return await attempt(step);
        } catch (error) {
          console.warn(`storage failed: ${error.name}`);
        }
      }
      return fallback();
    });
    last = result.catch(() => {});
    return result;
  };

  return {
    all: async () => [...(await run((db) => promised(commands(db.transaction('commands', 'readonly')).getAll()), () => [])), ...(await memory.all())],
    put: (entry) => run((db) => change(db, async (store) => {
      const key = await promised(store.index('id').getKey(entry.id));
      await promised(key === undefined ? store.add(entry) : store.put(entry, key));
    }), () => memory.put(entry)),
    remove: async (id) => {
      await memory.remove(id);
      // An entry that cannot be removed is sent again after a reload, with its id: it takes effect once.
      await run((db) => change(db, async (store) => {
        const key = await promised(store.index('id').getKey(id));
        if (key !== undefined) await promised(store.delete(key));
      }), () => {});
    },
  };
}

class StorageTimeoutError extends Error {
  name = 'StorageTimeoutError';
}

/** Settles like `promise`, but rejects after `ms`; `late` gets a result that arrives after that. */
function within(ms, promise, late = () => {}) {
  return new Promise((resolve, reject) => {
    let expired = false;
    const timer = setTimeout(() => {
      expired = true;
      reject(new StorageTimeoutError());
    }, ms);
    promise.then(
      (value) => {
        clearTimeout(timer);
        if (expired) late(value);
        else resolve(value);
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}

async function open(user) {
  return promised(Object.assign(indexedDB.open(`wardroom-${user}`, 1), {
    onupgradeneeded: ({ target }) => target.result.createObjectStore('commands', { autoIncrement: true }).createIndex('id', 'id'),
  }));
}

const commands = (transaction) => transaction.objectStore('commands');

/** Resolves when the whole transaction has committed: closing the page can still roll back a successful request. */
async function change(db, run) {
  const transaction = db.transaction('commands', 'readwrite');
  await Promise.all([completed(transaction), run(commands(transaction))]);
}

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function completed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(undefined);
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new DOMException('aborted', 'AbortError'));
  });
}
