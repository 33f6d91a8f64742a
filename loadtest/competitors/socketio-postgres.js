/** Socket.IO that inserts each message into PostgreSQL, over a pool, before its ack. */

import pg from "pg";

import { serve } from "./rooms.js";
import { resourceUrl } from "./start.js";

/** Connections of the pool. Concurrent commits share a flush, which makes this fast. */
const POOL_SIZE = 32;

const pool = new pg.Pool({ connectionString: resourceUrl, max: POOL_SIZE });
await pool.query("create table message (id uuid primary key, room uuid not null, text text not null)");

serve(async ({ id, room, text }) => {
  const insert = "insert into message (id, room, text) values ($1, $2, $3) on conflict do nothing";
  const { rowCount } = await pool.query({ name: "insert", text: insert, values: [id, room, text] });
  return rowCount === 1;
});
