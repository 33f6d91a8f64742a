/** A table of messages in SQLite with full durability: WAL, and a flush with every commit. */

import Database from "better-sqlite3";

import { resourceUrl } from "./start.js";

export const database = new Database(resourceUrl);
database.pragma("journal_mode = wal");
database.pragma("synchronous = full");
database.exec("create table message (id text primary key, room text not null, text text not null) without rowid");
const statement = database.prepare("insert into message (id, room, text) values (?, ?, ?) on conflict do nothing");

/** Inserts a message. Returns `false` if it was stored before. */
export const insert = ({ id, room, text }) => statement.run(id, room, text).changes === 1;
