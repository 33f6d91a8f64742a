/**
 * A Socket.IO server whose sockets join rooms and say things in them, set up as its documentation advises for load:
 * WebSocket only, no compression, `bufferutil` installed, the first request of a connection not kept.
 */

import { createServer } from "node:http";

import { Server } from "socket.io";

import { MAX_FRAME, isKnown, listen } from "./start.js";

/** For peers that store nothing. */
export const nothing = () => true;

/**
 * Serves. A message is acknowledged, and shown to all members of its room, when `keep` is done with it.
 *
 * @param {(message: {id: string, room: string, text: string}) => boolean | Promise<boolean>} keep
 *   Stores a message; false when it was stored before.
 * @param {Partial<import("socket.io").ServerOptions>} options
 */
export function serve(keep, options = {}) {
  const http = createServer();
  const io = new Server(http, {
    transports: ["websocket"],
    serveClient: false,
    perMessageDeflate: false,
    httpCompression: false,
    maxHttpBufferSize: MAX_FRAME,
    ...options,
  });
  io.engine.on("connection", (raw) => {
    raw.request = null;
  });
  io.use((socket, next) => next(isKnown(socket.handshake.auth.token) ? undefined : new Error("who is it?")));
  io.on("connection", (socket) => {
    socket.on("join", async (room, ack) => {
      await socket.join(room);
      ack();
    });
    socket.on("say", async (message, ack) => {
      if (!socket.rooms.has(message.room)) return;
      if (await keep(message)) io.to(message.room).emit("said", message);
      ack();
    });
  });
  listen(http);
}
