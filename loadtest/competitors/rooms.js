/**
 * A Socket.IO server whose sockets join rooms and send messages to them. It is configured as Socket.IO's documentation
 * advises for load: WebSocket only, no compression, `bufferutil` installed, the first request of a connection dropped.
 */

import { createServer } from "node:http";

import { Server } from "socket.io";

import { MAX_FRAME_BYTES, isValidToken, listen } from "./start.js";

/** For servers that store nothing. */
export const storeNothing = () => true;

/**
 * Starts the server. It broadcasts a message to its room and acknowledges it once `store` has finished.
 *
 * @param {(message: {id: string, room: string, text: string}) => boolean | Promise<boolean>} store
 *   Stores a message. Returns `false` if it was stored before.
 * @param {Partial<import("socket.io").ServerOptions>} options
 */
export function serve(store, options = {}) {
  const http = createServer();
  const io = new Server(http, {
    transports: ["websocket"],
    serveClient: false,
    perMessageDeflate: false,
    httpCompression: false,
    maxHttpBufferSize: MAX_FRAME_BYTES,
    ...options,
  });
  io.engine.on("connection", (raw) => {
    raw.request = null;
  });
  io.use((socket, next) => next(isValidToken(socket.handshake.auth.token) ? undefined : new Error("invalid token")));
  io.on("connection", (socket) => {
    socket.on("join", async (room, ack) => {
      await socket.join(room);
      ack();
    });
    socket.on("say", async (message, ack) => {
      if (!socket.rooms.has(message.room)) return;
      if (await store(message)) io.to(message.room).emit("said", message);
      ack();
    });
  });
  listen(http);
}
