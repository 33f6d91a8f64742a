// A client of the protocol on a network that a test plays: sockets that open, say and break when told to.

import { Client } from '../../../static/protocol.js';
import { memoryOutbox } from '../../../static/outbox.js';
import { Clock, settled } from './time.mjs';

/** One socket, seen from the hub's side. */
export class FakeSocket {
  constructor(url, subprotocol, network) {
    Object.assign(this, { url, subprotocol, network, readyState: 0, raw: [], closed: false });
    network.sockets.push(this);
  }

  // What the client calls.

  send(text) {
    if (this.readyState !== 1) throw new Error('not open');
    this.raw.push(text);
    this.network.onframe?.(this, JSON.parse(text));
  }

  close() {
    this.readyState = 3;
    this.closed = true;
  }

  // What the test calls.

  /** Frames of a type that came up, or all. */
  sent(type) {
    return this.raw.map((text) => JSON.parse(text)).filter((frame) => !type || frame.type === type);
  }

  open() {
    this.readyState = 1;
    this.onopen?.();
  }

  say(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  /** Opens and greets, as a hub that knows the token. */
  welcome(more = {}) {
    this.open();
    this.say({ type: 'welcome', connection: `c${this.network.sockets.indexOf(this) + 1}`, beat_ms: 15_000, ...more });
  }

  cut(code = 1006, reason = '') {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

/**
 * A started client with everything around it under the test's hand; `more` overrides options.
 * @returns what happened is in `seen`: `[type, detail]` of every event but `state`, and `states`
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
  await settled();
  const of = (type) => seen.filter(([it]) => it === type).map(([, detail]) => detail);
  return { client, clock, network, tokens, seen, of, states, state: () => states.at(-1) };
}

/** As `start`, with a connection that is good. */
export async function live(more = {}) {
  const it = await start(more);
  it.network.last().welcome();
  await settled();
  return it;
}

/** An event frame as the hub writes it. */
export const event = (prev, seq, room = 'r1', more = {}) => ({
  type: 'event', room, prev, event: { room, seq, kind: 'chat.sent', actor: { id: 'other' }, data: { text: `${seq}` }, ...more },
});
