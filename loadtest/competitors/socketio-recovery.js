/** Socket.IO with connection state recovery: a client that is back within two minutes gets what it missed, from memory. */

import { nothing, serve } from "./rooms.js";

serve(nothing, { connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: true } });
