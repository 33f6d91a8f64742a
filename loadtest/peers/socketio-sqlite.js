/** Socket.IO that inserts each message into SQLite before its ack. */

import Database from "better-sqlite3";

import { serve } from "./rooms.js";
import { resource } from "./start.js";

const database = new Database(resource);
database.pragma("journal_mode = wal");
database.pragma("synchronous = full");
database.exec("create table message (id text primary key, room text not null, text text not null) without rowid");
const insert = database.prepare("insert into message (id, room, text) values (?, ?, ?) on conflict do nothing");

serve(({ id, room, text }) => insert.run(id, room, text).changes === 1);
