// Widgets that several screens share.

import { foreign, h } from './dom.js';
import { TONE_SIGNS, roleLabel, stateTone, stateLabel, formatMoment } from './labels.js';

/** A state as a chip with a sign and a word, never by color alone. */
export function stateChip(state, part, testid) {
  const kind = stateTone(state);
  return h(`span.chip.${kind}`, { testid, data: { state } }, h('i', { aria: { hidden: 'true' } }, TONE_SIGNS[kind]), stateLabel(state, part));
}

/** A consultation as a row that links to its room. */
export function consultationRow(row, me) {
  const other = me === row.patient.id ? row.doctor : row.patient;
  const states = [
    ['prescription', row.prescriptions.filter((state) => state !== 'superseded')],
    ['dispensing', row.dispensings.slice(-1)],
    ['delivery', row.deliveries.slice(-1)],
  ];
  return h('a.row', { href: `#/room/${row.room}`, testid: 'consultation-row', data: { state: row.state, room: row.room } },
    h('span.row-main', {}, h('b', {}, foreign(other.name)), h('small', {}, row.starts_at ? formatMoment(row.starts_at) : 'Without appointment')),
    h('span.chips', {}, stateChip(row.state), states.map(([part, list]) => list.slice(-1).map((state) => stateChip(state, part)))));
}

/** The progress of the case: consultation, prescription, pharmacy, delivery. */
export function caseProgress(snapshot) {
  const c = snapshot.consultation?.state;
  const rx = snapshot.prescriptions.filter(({ state }) => !['superseded', 'cancelled'].includes(state)).at(-1);
  const d = snapshot.dispensings.at(-1);
  const parcel = snapshot.deliveries.at(-1);
  const steps = [
    c && ['Consultation', c, 'consultation'],
    // A courier sees only the delivery.
    (c || rx) && ['Prescription', rx?.state, 'prescription'],
    (c || d) && ['Pharmacy', d?.state, 'dispensing'],
    (parcel || d?.hand_over?.delivery) && ['Delivery', parcel?.state, 'delivery'],
  ].filter(Boolean);
  return h('ol.progress', { aria: { label: 'Progress of this case' } }, steps.map(([name, state, part]) =>
    h(`li.${state ? stateTone(state) : 'open'}`, {}, h('b', {}, name), state ? stateChip(state, part, `status-${part}`) : h('span.chip.plain', {}, '–'))));
}

/** The medicines of a prescription, as a list. */
export function medicineList(items) {
  return h('ul.medicines', {}, items.map((item) =>
    h('li', {}, h('b', {}, foreign(item.medicine)), h('span', {}, foreign(item.dosage), ` · ${item.quantity} units · ${item.days} days`))));
}

/** The author of an event: the name that the person chose and the role that the hub vouches for. */
export const author = ({ name, role }) => (name ? [foreign(name), ` · ${roleLabel(role)}`] : 'Wardroom');

/** Says how many rows a list leaves out; nothing if it is complete. */
export const missingRows = (count) => count > 0 && h('p.muted', { testid: 'missing-rows' }, count === 1 ? '1 more is not shown.' : `${count} more are not shown.`);

/** A feed's rows, newest first. */
export const newestFirst = (items) => [...items].sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1));
