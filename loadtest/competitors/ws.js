/**
 * A bare `ws` server. A room is a set of sockets, a message is broadcast to its room, and its ack means that the server
 * has read it. There is nothing else, so it measures the cost of the runtime itself.
 */

import { createServer } from "node:http";

import { WebSocketServer } from "ws";

import { MAX_FRAME_BYTES, isValidToken, listen } from "./start.js";

/** A socket that misses a pong for this long is closed. */
const PING_INTERVAL_MS = 25_000;

/** @type {Map<string, Set<import("ws").WebSocket>>} */
const rooms = new Map();

const http = createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false, maxPayload: MAX_FRAME_BYTES });

server.on("connection", (socket) => {
  let members = null;
  socket.isAlive = true;
  socket.on("pong", () => (socket.isAlive = true));
  socket.on("message", (data) => {
    const { join, say, n } = JSON.parse(data);
    if (join && isValidToken(join.token)) {
      members = rooms.get(join.room) ?? new Set();
      rooms.set(join.room, members.add(socket));
      socket.send('{"joined":null}');
    } else if (say && members) {
      const said = JSON.stringify({ said: say });
      for (const member of members) member.send(said);
      socket.send(`{"ack":${n}}`);
    }
  });
  socket.on("close", () => members?.delete(socket));
});

setInterval(() => {
  for (const socket of server.clients) {
    if (!socket.isAlive) socket.terminate();
    socket.isAlive = false;
    socket.ping();
  }
}, PING_INTERVAL_MS);

listen(http);
