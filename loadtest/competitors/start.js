/**
 * Shared by all servers: the listener, the token, and the frame limit.
 *
 * Start each as `node NAME.js PORT [URL]`. It listens on loopback only and prints `listening` once it is ready.
 */

const [, , port, url] = process.argv;

/** The URL or path of the database or Redis; unused by servers without one. */
export const resourceUrl = url;

/** All clients send the same token: these servers have no accounts, but they do check. */
const TOKEN = "load";

/** @param {unknown} token */
export const isValidToken = (token) => token === TOKEN;

/** The largest frame that a server accepts. */
export const MAX_FRAME_BYTES = 65_536;

/** @param {import("node:http").Server} http */
export function listen(http) {
  http.listen(Number(port), "127.0.0.1", 4096, () => console.log("listening"));
}
