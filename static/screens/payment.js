// The payment of a consultation, and the link to the provider's checkout.

import * as api from '../api.js';
import { h, fill } from '../dom.js';
import { formatPrice } from '../labels.js';

/** Interval at which the page asks for the checkout link while the provider has not returned one, in milliseconds. */
const CHECKOUT_POLL_INTERVAL_MS = 1500;

const PAYMENT_TEXTS = {
  authorized: 'Your payment is reserved. It is taken when the consultation is completed.',
  captured: 'Paid. Thank you.',
  refunded: 'Your payment is being refunded.',
  failed: 'Nothing was paid. Book again if you still want to come.',
};

/** The patient's payment status; it follows the room's state. */
export function paymentLine(app, room) {
  const box = h('div.payment', { testid: 'payment' });
  let pollTimer = null;
  let shown = null;

  const requestCheckout = async () => {
    pollTimer = null;
    const isPending = () => box.isConnected && room.snapshot?.payment?.state === 'pending' && room.snapshot.consultation?.state === 'requested';
    if (!isPending()) return;
    const status = await api.get(`/v1/bookings/${room.id}/payment`).catch(() => ({}));
    if (!isPending()) return;
    if (!status.checkout_url) {
      pollTimer = setTimeout(requestCheckout, CHECKOUT_POLL_INTERVAL_MS);
      return;
    }
    fill(box, h('p', {}, `To confirm the booking, pay ${formatPrice(status)}.`), h('a.button.primary', { href: status.checkout_url, testid: 'pay-link' }, 'Pay'));
  };

  const show = () => {
    const payment = room.snapshot?.payment;
    const open = room.snapshot?.consultation?.state === 'requested';
    const key = payment && `${payment.state} ${open}`;
    if (!payment || app.user.role !== 'patient' || key === shown) return;
    shown = key;
    box.dataset.state = payment.state;
    if (payment.state !== 'pending') fill(box, h('p', { role: 'status' }, PAYMENT_TEXTS[payment.state]));
    else if (open) {
      fill(box, h('p', { role: 'status' }, `To confirm the booking, pay ${formatPrice(payment)}. Opening the checkout…`));
      pollTimer ??= setTimeout(requestCheckout, 0);
    } else fill(box, h('p', {}, 'Nothing was paid.'));
  };
  return { box, show };
}
