/** Socket.IO that commits to SQLite what came in the same turn of the event loop together: the best its users can do. */

import { serve } from "./rooms.js";
import { database, insert } from "./table.js";

const commit = database.transaction((group) => group.map(({ message }) => insert(message)));

let waiting = [];

function keepAll() {
  const group = waiting;
  waiting = [];
  commit(group).forEach((isNew, at) => group[at].done(isNew));
}

serve((message) => new Promise((done) => {
  if (waiting.push({ message, done }) === 1) setImmediate(keepAll);
}));
