// The sandbox checkout page: pays without money, and can simulate faults of the provider.

import { h, fill, action, failed } from '../dom.js';
import { formatPrice } from '../labels.js';

const id = location.pathname.split('/').pop();
const main = document.getElementById('main');
const address = `/v1/sandbox/payments/${encodeURIComponent(id)}`;

const FAULTS = {
  fails: ['Fail', 'The provider fails whenever the hub asks it for something.'],
  slow: ['Be slow', 'The provider answers after ten seconds.'],
  twice: ['Send everything twice', 'The hub receives each notification two times.'],
};
const SETTLED_TEXTS = {
  authorized: ['Reserved', 'The price is reserved. It is taken when the consultation is completed.'],
  captured: ['Paid', 'The price was taken.'],
  released: ['Not paid', 'Nothing is reserved and nothing was taken.'],
  refunded: ['Paid back', 'The price went back.'],
};

async function call(method, path, body) {
  const init = { method, ...(body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }) };
  const response = await fetch(path, init).catch(() => { throw new Error('The hub cannot be reached. Try again.'); });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.detail ?? 'The sandbox did not answer. Try again.');
  return answer;
}

function show(payment) {
  const settle = (choice) => async () => show(await call('POST', address, { action: choice }));
  const toggleFault = (name) => async ({ target }) => {
    try {
      show(await call('PUT', `${address}/whims`, { ...payment.whims, [name]: target.checked }));
    } catch (error) {
      show(payment);
      main.append(h('p.bad', { role: 'alert' }, error.message));
    }
  };
  const settled = SETTLED_TEXTS[payment.state];
  fill(main, h('section.card.checkout', { testid: 'checkout', data: { state: payment.state } },
    h('p.held', { role: 'note' }, 'This is a sandbox: no money moves, and nothing you do here is a payment.'),
    h('h1', {}, 'Pay for your consultation'),
    h('p.price', { testid: 'price' }, formatPrice(payment)),
    settled
      ? [h('h2', {}, settled[0]), h('p', {}, settled[1])]
      : h('div.buttons', {}, action('Pay', settle('pay'), { class: 'primary', testid: 'pay' }), action('Decline', settle('decline'), { class: 'quiet', testid: 'decline' })),
    h('p', {}, h('a', { href: `/#/room/${payment.room}`, testid: 'back' }, 'Back to your consultation')),
    h('details', { open: Object.values(payment.whims).some(Boolean) }, h('summary', { testid: 'whims' }, 'Simulate faults of the provider'),
      Object.entries(FAULTS).map(([name, [label, what]]) =>
        h('label.check', {}, h('input', { type: 'checkbox', checked: payment.whims[name], onchange: toggleFault(name), testid: `whim-${name}` }), h('span', {}, h('b', {}, label), ' ', what))))));
}

const open = () => call('GET', address).then(show, (error) => fill(main, failed(error, open)));
open();
