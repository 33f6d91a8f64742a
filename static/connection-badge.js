// The connection badge: the current state of the connection, always visible.

import { hubNow } from './clock.js';
import { h, fill } from './dom.js';

/** @param {import('./protocol.js').Client} client */
export function connectionBadge(client) {
  const box = h('span.badge', { testid: 'connection-state', role: 'status' });
  let status = { state: 'connecting', waiting: 0 };
  const show = () => {
    const { state, waiting, retryAt, reason, fallback } = status;
    const queued = waiting ? ` · ${waiting} waiting to be sent` : '';
    const seconds = Math.max(0, Math.ceil(((retryAt ?? 0) - hubNow()) / 1000));
    const texts = {
      live: fallback ? 'Live (fallback)' : 'Live', connecting: 'Connecting…', idle: 'Connecting…',
      waiting: `Reconnecting in ${seconds} s`, offline: 'Offline', stopped: `Disconnected: ${reason ?? ''}`,
    };
    box.dataset.state = state;
    const retry = state === 'waiting' && h('button.link', { testid: 'try-now', onclick: () => client.reconnectNow() }, 'Try now');
    fill(box, h('i', { aria: { hidden: 'true' } }), h('span', {}, texts[state] + queued), retry);
  };
  const timer = setInterval(() => (box.isConnected || status.state === 'connecting' ? status.state === 'waiting' && show() : clearInterval(timer)), 500);
  client.addEventListener('state', ({ detail }) => { status = detail; show(); });
  show();
  return box;
}
