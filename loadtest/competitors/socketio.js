/** Socket.IO that does not store messages: its ack means that the server has read the message. */

import { storeNothing, serve } from "./rooms.js";

serve(storeNothing);
