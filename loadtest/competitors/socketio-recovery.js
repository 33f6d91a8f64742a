/** Socket.IO with connection state recovery: replays missed messages from memory to a client that reconnects within two minutes. */

import { storeNothing, serve } from "./rooms.js";

serve(storeNothing, { connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: true } });
