// The state of the connection, always visible and honest.

import { h, fill } from './dom.js';

/** @param {import('./protocol.js').Client} client */
export function pill(client) {
  const box = h('span.pill', { testid: 'connection-state', role: 'status' });
  let now = { state: 'connecting', waiting: 0 };
  const show = () => {
    const { state, waiting, retryAt, reason, fallback } = now;
    const mail = waiting ? ` · ${waiting} waiting to be sent` : '';
    const seconds = Math.max(0, Math.ceil(((retryAt ?? 0) - Date.now()) / 1000));
    const texts = {
      live: fallback ? 'Live (by another way)' : 'Live', connecting: 'Connecting…', idle: 'Connecting…',
      waiting: `Reconnecting in ${seconds} s`, offline: 'Offline', stopped: `Disconnected: ${reason ?? ''}`,
    };
    box.dataset.state = state;
    const retry = state === 'waiting' && h('button.link', { testid: 'try-now', onclick: () => client.nudge() }, 'Try now');
    fill(box, h('i', { aria: { hidden: 'true' } }), h('span', {}, texts[state] + mail), retry);
  };
  const timer = setInterval(() => (box.isConnected || now.state === 'connecting' ? now.state === 'waiting' && show() : clearInterval(timer)), 500);
  client.addEventListener('state', ({ detail }) => { now = detail; show(); });
  show();
  return box;
}
