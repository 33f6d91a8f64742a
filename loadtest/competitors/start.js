/**
 * What all peers have in common: where they listen, who may come in, and what a message may be.
 *
 * Every peer is started as `node NAME.js PORT [URL]`, listens on loopback only and says `listening` when it can serve.
 */

const [, , port, url] = process.argv;

/** Where the database or Redis is; the peers without one ignore it. */
export const resource = url;

/** Everybody shows the same word: the peers have no accounts, but they do look. */
const TOKEN = "load";

/** @param {unknown} token */
export const isKnown = (token) => token === TOKEN;

/** The largest frame a peer takes, in bytes. */
export const MAX_FRAME = 65_536;

/** @param {import("node:http").Server} http */
export function listen(http) {
  http.listen(Number(port), "127.0.0.1", 4096, () => console.log("listening"));
}
