/** One of several Socket.IO processes that exchange messages through a Redis stream. */

import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";

import { storeNothing, serve } from "./rooms.js";
import { resourceUrl } from "./start.js";

const client = createClient({ url: resourceUrl });
await client.connect();

serve(storeNothing, { adapter: createAdapter(client) });
