// A delivery: its courier and its state.

import * as api from '../api.js';
import { hubNow } from '../clock.js';
import { h, fill, foreign, isolate, action, field } from '../dom.js';
import { stateChip } from '../widgets.js';
import { MOVE_LABELS, formatMoment } from '../labels.js';

export function deliveryPanel(app, room) {
  const box = h('section.panel', { testid: 'delivery-panel' });
  const role = app.user.role;
  /** Each delivery's card and fields, kept across refreshes. */
  const cards = new Map();
  let shown = null;

  const show = () => {
    const snapshot = room.snapshot;
    if (!snapshot) return;
    const key = JSON.stringify(snapshot.deliveries);
    if (key === shown) return;
    shown = key;
    fill(box, snapshot.deliveries.length > 0 && h('h2', {}, 'Delivery'), snapshot.deliveries.map(card));
  };

  const create = (id) => {
    const proof = h('input', { testid: 'proof-reference', maxChars: 200 });
    const courier = h('select', { testid: 'courier-select' });
    return {
      box: h('article.rx', { testid: 'delivery', data: { id } }),
      proof,
      proofField: field('Proof of delivery', proof, 'The code that the recipient names, or the number of the card they show.'),
      courier,
      courierField: field('Courier', courier),
      loadCouriers: null,
    };
  };

  const card = (parcel) => {
    if (!cards.has(parcel.id)) cards.set(parcel.id, create(parcel.id));
    const own = cards.get(parcel.id);
    own.box.dataset.state = parcel.state;
    const moves = room.allowedMoves(parcel, role, 'delivery.move');
    const parts = [];
    if (room.allows(parcel, role, 'delivery.assign')) {
      own.loadCouriers ??= app.load(own.courier, () => api.getAll('/v1/couriers?limit=200'), ({ items }) => items.map(({ id, name }) => h('option', { value: id }, isolate(name))));
      parts.push(own.courierField, action('Assign', () => room.submit('delivery.assign', { delivery: parcel.id, courier: own.courier.value }, parcel.version), { class: 'primary', testid: 'courier-assign' }));
    }
    if (moves.includes('delivered')) parts.push(own.proofField);
    parts.push(h('div.buttons', {}, moves.map((to) => action(MOVE_LABELS['delivery.move'][to] ?? to, () => move(parcel, to), { class: ['attempt_failed', 'cancelled', 'lost', 'damaged', 'returning'].includes(to) ? 'quiet' : 'primary', testid: `delivery-move-${to}` }))));
    fill(own.box, stateChip(parcel.state, 'delivery'),
      h('p', {}, h('b', {}, foreign(parcel.recipient.name)), h('br'), foreign(parcel.address)), h('p.muted', {}, 'From ', foreign(parcel.pharmacy.name), ', ', foreign(parcel.pharmacy.address)),
      parcel.courier && h('p.muted', {}, 'Courier: ', foreign(parcel.courier.name)), parcel.window && h('p', {}, `New time: ${formatMoment(parcel.window)}`), parts);
    return own.box;
  };

  const move = async (parcel, to) => {
    const data = { delivery: parcel.id, to };
    if (to === 'delivered') {
      const reference = cards.get(parcel.id).proof.value.trim();
      if (!reference) throw new Error('Write down the proof first.');
      data.proof = { kind: 'code', reference };
    }
    if (['attempt_failed', 'cancelled', 'lost', 'damaged'].includes(to)) {
      const reason = prompt('What happened?');
      if (!reason?.trim()) return;
      data.reason = reason.trim();
    }
    if (to === 'rescheduled') data.window = new Date(hubNow() + 86_400_000).toISOString();
    await room.submit('delivery.move', data, parcel.version);
  };
  return { box, show };
}
