/** @file A protocol client on a simulated network: the test opens sockets, sends frames, and cuts connections. */

import { Client } from '../../../static/protocol.js';
import { memoryOutbox } from '../../../static/outbox.js';
import { Clock, flushPromises } from './time.mjs';

/** One socket, as the hub sees it. */
export class FakeSocket {
  constructor(url, subprotocol, network) {
    Object.assign(this, { url, subprotocol, network, readyState: 0, raw: [], closed: false });
    network.sockets.push(this);
  }

  // Called by the client.

  send(text) {
    if (this.readyState !== 1) throw new Error('not open');
    this.raw.push(text);
    this.network.onframe?.(this, JSON.parse(text));
  }

  close() {
    this.readyState = 3;
    this.closed = true;
  }

  // Called by the test.

  /** Returns the frames that the client sent, all or of one type. */
  sent(type) {
    return this.raw.map((text) => JSON.parse(text)).filter((frame) => !type || frame.type === type);
  }

  open() {
    this.readyState = 1;
    this.onopen?.();
  }

  receive(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  /** Opens the socket and sends a welcome. */
  welcome(more = {}) {
    this.open();
    this.receive({ type: 'welcome', connection: `c${this.network.sockets.indexOf(this) + 1}`, beat_ms: 15_000, ...more });
  }

  cut(code = 1006, reason = '') {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

/**
 * Starts a client in a simulated environment; `more` overrides options.
 * @returns the client and its environment; `seen` records `[type, detail]` of every event but `state`, which are in `states`
 */
export async function start(more = {}) {
  const clock = more.clock ?? new Clock();
  const network = { sockets: [], last: () => network.sockets.at(-1) };
  class WebSocket extends FakeSocket {
    constructor(url, subprotocol) {
      super(url, subprotocol, network);
    }
  }
  let serial = 0;
  const tokens = [];
  const client = new Client({
    base: 'https://hub.example.org',
    token: async (fresh) => (tokens.push(!!fresh), `token ${tokens.length}`),
    outbox: memoryOutbox(),
    WebSocket,
    fetch: () => Promise.reject(new TypeError('no network')),
    random: () => 0.5,
    id: () => `id ${++serial}`,
    ...clock,
    ...more,
  });
  const seen = [];
  const states = [];
  for (const type of ['welcome', 'joined', 'event', 'live', 'ack', 'refused', 'error', 'left', 'feed']) {
    client.addEventListener(type, ({ detail }) => seen.push([type, detail]));
  }
  client.addEventListener('state', ({ detail }) => states.push(detail));
  await client.start();
  await flushPromises();
  const of = (type) => seen.filter(([it]) => it === type).map(([, detail]) => detail);
  return { client, clock, network, tokens, seen, of, states, state: () => states.at(-1) };
}

/** Starts a client whose connection has been welcomed. */
export async function live(more = {}) {
  const it = await start(more);
  it.network.last().welcome();
  await flushPromises();
  return it;
}

/** Returns an event frame in the hub’s format. */
export const event = (prev, seq, room = 'r1', more = {}) => ({
  type: 'event', room, prev, event: { room, seq, kind: 'chat.sent', actor: { id: 'other' }, data: { text: `${seq}` }, ...more },
});
