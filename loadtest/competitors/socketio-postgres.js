/** Socket.IO that inserts each message into PostgreSQL before its ack, over a pool. */

import pg from "pg";

import { serve } from "./rooms.js";
import { resource } from "./start.js";

/** Connections; many commits at once share a flush, which is what makes this fast. */
const MOST = 32;

const pool = new pg.Pool({ connectionString: resource, max: MOST });
await pool.query("create table message (id uuid primary key, room uuid not null, text text not null)");

serve(async ({ id, room, text }) => {
  const insert = "insert into message (id, room, text) values ($1, $2, $3) on conflict do nothing";
  const { rowCount } = await pool.query({ name: "insert", text: insert, values: [id, room, text] });
  return rowCount === 1;
});
