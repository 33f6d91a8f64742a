/** Socket.IO that stores nothing: its ack says that the server has read the message. */

import { nothing, serve } from "./rooms.js";

serve(nothing);
