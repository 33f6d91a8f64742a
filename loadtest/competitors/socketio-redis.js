/** One of several Socket.IO processes that pass messages on to each other through a stream in Redis. */

import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";

import { nothing, serve } from "./rooms.js";
import { resource } from "./start.js";

const client = createClient({ url: resource });
await client.connect();

serve(nothing, { adapter: createAdapter(client) });
