// A delivery: its courier and its state.

import * as api from '../api.js';
import { h, fill, action, field } from '../dom.js';
import { stateChip } from '../widgets.js';
import { MOVE_LABELS, formatMoment } from '../labels.js';

export function deliveryPanel(app, room) {
  const box = h('section.panel', { testid: 'delivery-panel' });
  const role = app.user.role;
  const proof = h('input', { testid: 'proof-reference', maxLength: 200 });
  const courier = h('select', { testid: 'courier-select' });
  let couriers = null;
  let shown = null;

  const show = () => {
    const snapshot = room.snapshot;
    if (!snapshot) return;
    const key = JSON.stringify(snapshot.deliveries);
    if (key === shown) return;
    shown = key;
    fill(box, snapshot.deliveries.length > 0 && h('h2', {}, 'Delivery'), snapshot.deliveries.map(card));
  };

  const card = (parcel) => {
    const moves = room.allowedMoves(parcel, role, 'delivery.move');
    const parts = [];
    if (room.allows(parcel, role, 'delivery.assign')) {
      couriers ??= app.load(courier, () => api.get('/v1/couriers'), ({ items }) => items.map(({ id, name }) => h('option', { value: id }, name)));
      parts.push(field('Courier', courier), action('Assign', () => room.submit('delivery.assign', { delivery: parcel.id, courier: courier.value }, parcel.version), { class: 'primary', testid: 'courier-assign' }));
    }
    if (moves.includes('delivered')) parts.push(field('Proof of delivery', proof, 'The code that the recipient names, or the number of the card they show.'));
    parts.push(h('div.buttons', {}, moves.map((to) => action(MOVE_LABELS['delivery.move'][to] ?? to, () => move(parcel, to), { class: ['attempt_failed', 'cancelled', 'lost', 'damaged', 'returning'].includes(to) ? 'quiet' : 'primary', testid: `delivery-move-${to}` }))));
    return h('article.rx', { testid: 'delivery', data: { state: parcel.state, id: parcel.id } }, stateChip(parcel.state, 'delivery'),
      h('p', {}, h('b', {}, parcel.recipient.name), h('br'), parcel.address), h('p.muted', {}, `From ${parcel.pharmacy.name}, ${parcel.pharmacy.address}`),
      parcel.courier && h('p.muted', {}, `Courier: ${parcel.courier.name}`), parcel.window && h('p', {}, `New time: ${formatMoment(parcel.window)}`), parts);
  };

  const move = async (parcel, to) => {
    const data = { delivery: parcel.id, to };
    if (to === 'delivered') {
      if (!proof.value.trim()) throw new Error('Write down the proof first.');
      data.proof = { kind: 'code', reference: proof.value.trim() };
    }
    if (['attempt_failed', 'cancelled', 'lost', 'damaged'].includes(to)) {
      const reason = prompt('What happened?');
      if (!reason?.trim()) return;
      data.reason = reason.trim();
    }
    if (to === 'rescheduled') data.window = new Date(Date.now() + 86_400_000).toISOString();
    await room.submit('delivery.move', data, parcel.version);
  };
  return { box, show };
}
