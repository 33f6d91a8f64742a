// Commands without an answer, stored so that a reload does not lose them.

/**
 * @typedef {object} Outbox
 * @property {() => Promise<object[]>} all  oldest first
 * @property {(entry: object) => Promise<void>} put
 * @property {(id: string) => Promise<void>} remove
 */

/** In memory, for tests and for browsers without storage. @returns {Outbox} */
export function memoryOutbox(entries = []) {
  return {
    all: async () => [...entries],
    put: async (entry) => void entries.push(entry),
    remove: async (id) => void entries.splice(0, entries.length, ...entries.filter((entry) => entry.id !== id)),
  };
}

/** In IndexedDB, separate for each user: nothing is ever sent in another user's name. @returns {Promise<Outbox>} */
export async function browserOutbox(user) {
  try {
    const db = await promised(
      Object.assign(indexedDB.open(`wardroom-${user}`, 1), {
        onupgradeneeded: ({ target }) => target.result.createObjectStore('commands', { autoIncrement: true }).createIndex('id', 'id'),
      }),
    );
    const commands = (transaction) => transaction.objectStore('commands');
    /** Resolves when the whole transaction has committed: closing the page can still roll back a successful request. */
    const change = async (run) => {
      const transaction = db.transaction('commands', 'readwrite');
      await Promise.all([completed(transaction), run(commands(transaction))]);
    };
    return {
      all: () => promised(commands(db.transaction('commands', 'readonly')).getAll()),
      put: (entry) => change((store) => promised(store.add(entry))),
      remove: (id) =>
        change(async (store) => {
          const key = await promised(store.index('id').getKey(id));
          if (key !== undefined) await promised(store.delete(key));
        }),
    };
  } catch {
    return memoryOutbox();
  }
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
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}
