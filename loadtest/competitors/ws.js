/**
 * A bare `ws` server: rooms are sets of sockets, a message goes to all of its room, its ack says that it was read. There
 * is nothing else, so that this is about what the runtime itself costs.
 */

import { createServer } from "node:http";

import { WebSocketServer } from "ws";

import { MAX_FRAME, isKnown, listen } from "./start.js";

/** How often a socket must show that it lives, in milliseconds. */
const BEAT = 25_000;

/** @type {Map<string, Set<import("ws").WebSocket>>} */
const rooms = new Map();

const http = createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false, maxPayload: MAX_FRAME });

server.on("connection", (socket) => {
  let members = null;
  socket.isAlive = true;
  socket.on("pong", () => (socket.isAlive = true));
  socket.on("message", (data) => {
    const { join, say, n } = JSON.parse(data);
    if (join && isKnown(join.token)) {
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
}, BEAT);

listen(http);
