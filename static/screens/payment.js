// What is to be paid for a consultation, and where.

import * as api from '../api.js';
import { h, fill } from '../dom.js';
import { price } from '../words.js';

/** How often is asked for the provider's page while it has not named one, in milliseconds. */
const AGAIN = 1500;

const SAYS = {
  authorized: 'Your payment is reserved. It is taken when the consultation is completed.',
  captured: 'Paid. Thank you.',
  refunded: 'Your payment goes back to you.',
  failed: 'Nothing was paid. Book again if you still want to come.',
};

/** The patient's line about the payment; it follows the room's state. */
export function paymentLine(app, room) {
  const box = h('div.payment', { testid: 'payment' });
  let asked = null;
  let shown = null;

  const ask = async () => {
    asked = null;
    const waits = () => box.isConnected && room.snapshot?.payment?.state === 'pending' && room.snapshot.consultation?.state === 'requested';
    if (!waits()) return;
    const status = await api.get(`/v1/bookings/${room.id}/payment`).catch(() => ({}));
    if (!waits()) return;
    if (!status.checkout_url) {
      asked = setTimeout(ask, AGAIN);
      return;
    }
    fill(box, h('p', {}, `To confirm the booking, pay ${price(status)}.`), h('a.button.primary', { href: status.checkout_url, testid: 'pay-link' }, 'Pay'));
  };

  const show = () => {
    const payment = room.snapshot?.payment;
    const open = room.snapshot?.consultation?.state === 'requested';
    const key = payment && `${payment.state} ${open}`;
    if (!payment || app.user.role !== 'patient' || key === shown) return;
    shown = key;
    box.dataset.state = payment.state;
    if (payment.state !== 'pending') fill(box, h('p', { role: 'status' }, SAYS[payment.state]));
    else if (open) {
      fill(box, h('p', { role: 'status' }, `To confirm the booking, pay ${price(payment)}. Asking the provider for its page…`));
      asked ??= setTimeout(ask, 0);
    } else fill(box, h('p', {}, 'Nothing was paid.'));
  };
  return { box, show };
}
