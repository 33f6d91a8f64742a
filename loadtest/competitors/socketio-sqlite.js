/** Socket.IO that inserts each message into SQLite before its ack. */

import { serve } from "./rooms.js";
import { insert } from "./table.js";

serve(insert);
