/** Socket.IO that commits all messages of one turn of the event loop to SQLite together: the best that its users can do. */

import { serve } from "./rooms.js";
import { database, insert } from "./table.js";

const commit = database.transaction((group) => group.map(({ message }) => insert(message)));

let pending = [];

function commitPending() {
  const group = pending;
  pending = [];
  commit(group).forEach((isNew, at) => group[at].done(isNew));
}

serve((message) => new Promise((done) => {
  if (pending.push({ message, done }) === 1) setImmediate(commitPending);
}));
