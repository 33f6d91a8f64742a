// Dispensing in a room: the pharmacy's moves.

import { h, fill, field, foreign, action } from '../dom.js';
import { stateChip, medicineList } from '../widgets.js';
import { MOVE_LABELS } from '../labels.js';

const HOLDS = { out_of_stock: 'Out of stock', clarification: 'A question to the doctor', payment: 'Payment' };

export function dispensingPanel(app, room) {
  const box = h('section.panel', { testid: 'dispensing-panel' });
  const role = app.user.role;
  const cards = new Map();
  const holds = new Map();
  let shown = null;

  const show = () => {
    const snapshot = room.snapshot;
    if (!snapshot) return;
    const key = JSON.stringify(snapshot.dispensings);
    if (key === shown) return;
    shown = key;
    fill(box, snapshot.dispensings.length > 0 && h('h2', {}, 'Pharmacy'), snapshot.dispensings.map((work) => card(work, snapshot)));
  };

  /** The choice of a reason for a hold, one per dispensing, kept across refreshes. */
  const holdField = (id) => {
    if (!holds.has(id)) holds.set(id, field('Reason if you put it on hold', h('select', { testid: 'hold-reason' }, Object.entries(HOLDS).map(([value, text]) => h('option', { value }, text)))));
    return holds.get(id);
  };

  const card = (work, snapshot) => {
    if (!cards.has(work.id)) cards.set(work.id, h('article.rx', { testid: 'dispensing', data: { id: work.id } }));
    const box = cards.get(work.id);
    box.dataset.state = work.state;
    const rx = snapshot.prescriptions.find(({ id }) => id === work.prescription);
    const moves = room.allowedMoves(work, role, 'dispensing.move');
    const buttons = moves.map((to) =>
      action(MOVE_LABELS['dispensing.move'][to] ?? to, () => move(work, to), { class: ['declined', 'on_hold', 'returned_to_stock'].includes(to) ? 'quiet' : 'primary', testid: `dispense-move-${to}` }));
    fill(box, stateChip(work.state, 'dispensing'), work.hold && h('small', {}, ` ${HOLDS[work.hold]}`),
      h('p.muted', {}, foreign(work.pharmacy.name), ' · ', work.hand_over === 'pickup' ? 'the patient collects it' : 'to be delivered'),
      role === 'pharmacist' && rx && medicineList(rx.items), moves.includes('on_hold') && holdField(work.id), h('div.buttons', {}, buttons));
    return box;
  };

  const move = async (work, to) => {
    const data = { dispensing: work.id, to };
    if (to === 'on_hold') data.hold = holds.get(work.id).querySelector('select').value;
    if (to === 'declined' || to === 'returned_to_stock') {
      const reason = prompt('Why? The patient and the doctor will see it.');
      if (!reason?.trim()) return;
      data.reason = reason.trim();
    }
    if (to === 'completed') {
      const reference = prompt('How did the patient prove who they are? (code or number of the card shown)');
      if (!reference?.trim()) return;
      data.proof = { kind: 'id_card', reference: reference.trim() };
    }
    await room.submit('dispensing.move', data, work.version);
  };
  return { box, show };
}
