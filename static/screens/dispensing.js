// Dispensing in a room: the pharmacy's moves.

import { h, fill, action } from '../dom.js';
import { stateChip, medicineList } from '../widgets.js';
import { MOVE_LABELS } from '../labels.js';

const HOLDS = { out_of_stock: 'Out of stock', clarification: 'A question to the doctor', payment: 'Payment' };

export function dispensingPanel(app, room) {
  const box = h('section.panel', { testid: 'dispensing-panel' });
  const role = app.user.role;
  let shown = null;

  const show = () => {
    const snapshot = room.snapshot;
    if (!snapshot) return;
    const key = JSON.stringify(snapshot.dispensings);
    if (key === shown) return;
    shown = key;
    fill(box, snapshot.dispensings.length > 0 && h('h2', {}, 'Pharmacy'), snapshot.dispensings.map((work) => card(work, snapshot)));
  };

  const card = (work, snapshot) => {
    const rx = snapshot.prescriptions.find(({ id }) => id === work.prescription);
    const buttons = room.allowedMoves(work, role, 'dispensing.move').map((to) =>
      action(MOVE_LABELS['dispensing.move'][to] ?? to, () => move(work, to), { class: ['declined', 'on_hold', 'returned_to_stock'].includes(to) ? 'quiet' : 'primary', testid: `dispense-move-${to}` }));
    return h('article.rx', { testid: 'dispensing', data: { state: work.state, id: work.id } }, stateChip(work.state, 'dispensing'), work.hold && h('small', {}, ` ${HOLDS[work.hold]}`),
      h('p.muted', {}, work.pharmacy.name, ' · ', work.hand_over === 'pickup' ? 'the patient collects it' : 'to be delivered'),
      role === 'pharmacist' && rx && medicineList(rx.items), h('div.buttons', {}, buttons));
  };

  const move = async (work, to) => {
    const data = { dispensing: work.id, to };
    if (to === 'on_hold') data.hold = confirm('Is it a question to the doctor? (Cancel: out of stock)') ? 'clarification' : 'out_of_stock';
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
