// Prescriptions: drafting and signing by the doctor, sending to a pharmacy by the patient.

import * as api from '../api.js';
import { h, fill, field, foreign, action, loading } from '../dom.js';
import { stateChip, medicineList } from '../widgets.js';
import { reviewPanel } from './review.js';

export function prescriptionPanel(app, room) {
  const box = h('section.panel', { testid: 'prescription-panel' });
  const role = app.user.role;
  const forms = new Map();
  const cards = new Map();
  const review = reviewPanel(app, room);
  let shown = null;

  const show = () => {
    const snapshot = room.snapshot;
    if (!snapshot) return;
    const key = JSON.stringify([snapshot.prescriptions, snapshot.prescriptions.map(review.lastText), snapshot.consultation?.allowed]);
    if (key === shown) return;
    shown = key;
    const parts = snapshot.prescriptions.filter(({ state }) => state !== 'superseded').map((rx) => card(rx));
    if (room.allows(snapshot.consultation, role, 'prescription.draft') && !snapshot.prescriptions.some(({ state }) => state === 'draft')) {
      parts.push(form('draft', [], (items) => room.submit('prescription.draft', { items }), 'Save as draft', 'rx-draft'));
    }
    fill(box, parts.length > 0 && h('h2', {}, 'Prescription'), parts);
  };

  /** Keeps the card across refreshes, because its forms would lose the focus if they were moved to another one. */
  const card = (rx) => {
    if (!cards.has(rx.id)) cards.set(rx.id, h('article.rx', { testid: 'prescription', data: { id: rx.id } }));
    const box = cards.get(rx.id);
    box.dataset.state = rx.state;
    const may = (kind) => room.allows(rx, role, `prescription.${kind}`);
    fill(box, stateChip(rx.state, 'prescription'), medicineList(rx.items), rx.pharmacy && h('p.muted', {}, foreign(rx.pharmacy.name)),
      may('sign') && action('Sign', () => room.submit('prescription.sign', { prescription: rx.id }, rx.version), { class: 'primary', testid: 'rx-sign' }),
      may('amend') && amendForm(rx),
      may('send') && sendForm(rx),
      review.show(rx),
      may('cancel') && action('Cancel the prescription', async () => {
        const reason = prompt('Why? The patient and the pharmacy will see it.');
        if (reason?.trim()) await room.submit('prescription.cancel', { prescription: rx.id, reason: reason.trim() }, rx.version);
      }, { class: 'quiet', testid: 'rx-cancel' }));
    return box;
  };

  const amendForm = (rx) => {
    // A form for another version starts from the changed items.
    const key = `amend ${rx.id} ${rx.version}`;
    const draft = rx.state === 'draft';
    const save = (items) => room.submit('prescription.amend', { prescription: rx.id, items }, rx.version);
    if (!forms.has(key)) forms.set(key, h('details', {}, h('summary', {}, draft ? 'Change' : 'Replace it by a new prescription'), form(`items of ${key}`, rx.items, save, draft ? 'Save the change' : 'Save as a new draft', 'rx-amend')));
    return forms.get(key);
  };
  const current = (id) => room.snapshot.prescriptions.find((rx) => rx.id === id);

  /** Keeps the form's values across refreshes of the panel. */
  const form = (id, items, save, label, testid) => {
    if (forms.has(id)) return forms.get(id);
    const rows = h('div.rx-rows');
    const add = (item = {}) => {
      const input = (props, value) => h('input', { required: true, dir: 'auto', ...props, value: value ?? '' });
      const medicine = input({ testid: 'rx-medicine', maxChars: 200 }, item.medicine);
      const dosage = input({ testid: 'rx-dosage', maxChars: 400 }, item.dosage);
      const quantity = input({ type: 'number', min: 1, max: 9999, testid: 'rx-quantity' }, item.quantity);
      const days = input({ type: 'number', min: 1, max: 366, testid: 'rx-days' }, item.days);
      const row = h('fieldset', {}, field('Medicine and strength', medicine), field('How to take it', dosage), h('div.pair', {}, field('Units', quantity), field('Days', days)),
        h('button.link', { type: 'button', onclick: () => rows.children.length > 1 && row.remove() }, 'Remove'));
      row.read = () => ({ medicine: medicine.value.trim(), dosage: dosage.value.trim(), quantity: Number(quantity.value), days: Number(days.value) });
      rows.append(row);
    };
    (items.length ? items : [{}]).forEach(add);
    const element = h('form.rx-form', {}, rows, h('button.link', { type: 'button', testid: 'rx-add', onclick: () => add() }, '+ Another medicine'),
      action(label, async () => {
        if (!element.reportValidity()) return;
        await save([...rows.children].map((row) => row.read()));
        forms.delete(id);
      }, { class: 'primary', testid }));
    element.addEventListener('submit', (event) => event.preventDefault());
    forms.set(id, element);
    return element;
  };

  const sendForm = (rx) => {
    const key = `send ${rx.id}`;
    if (forms.has(key)) return forms.get(key);
    const choices = h('div.choices', {}, loading('Pharmacies…'));
    const address = h('textarea', { rows: 2, maxChars: 400, dir: 'auto', testid: 'delivery-address', disabled: true });
    const way = (value, label) => h('label.check', {}, h('input', { type: 'radio', name: key, value, checked: value === 'pickup', testid: `handover-${value}`, onchange: () => (address.disabled = value !== 'delivery') }), h('span', {}, label));
    const element = h('div.send', {}, h('h3', {}, 'Choose your pharmacy'), choices, way('pickup', 'I collect it'), way('delivery', 'Bring it to me'), field('Address for the delivery', address),
      action('Send the prescription', async () => {
        const pharmacy = choices.querySelector('input:checked')?.value;
        if (!pharmacy) throw new Error('Choose a pharmacy first.');
        const brought = element.querySelector(`input[value=delivery]`).checked;
        if (brought && !address.value.trim()) throw new Error('Write the address first.');
        await room.submit('prescription.send', { prescription: rx.id, pharmacy, hand_over: brought ? { delivery: address.value.trim() } : 'pickup' }, current(rx.id).version);
        forms.delete(key);
      }, { class: 'primary', testid: 'rx-send' }));
    app.load(choices, () => api.getAll('/v1/pharmacies?limit=200'), ({ items }) => items.map(({ id, name, address }) => h('label.check', { testid: 'pharmacy-option', data: { name } }, h('input', { type: 'radio', name: `${key} p`, value: id }), h('span', {}, h('b', {}, foreign(name)), h('small', {}, foreign(address))))));
    forms.set(key, element);
    return element;
  };
  return { box, show };
}
