// Pieces that several screens show.

import { h } from './dom.js';
import { SIGNS, tone, word, when } from './words.js';

/** A state: sign and word, never by colour alone. */
export function chip(state, part, testid) {
  const kind = tone(state);
  return h(`span.chip.${kind}`, { testid, data: { state } }, h('i', { aria: { hidden: 'true' } }, SIGNS[kind]), word(state, part));
}

/** One consultation as a row that opens its room. */
export function consultationRow(row, me) {
  const other = me === row.patient.id ? row.doctor : row.patient;
  const states = [
    ['prescription', row.prescriptions.filter((state) => state !== 'superseded')],
    ['dispensing', row.dispensings.slice(-1)],
    ['delivery', row.deliveries.slice(-1)],
  ];
  return h('a.row', { href: `#/room/${row.room}`, testid: 'consultation-row', data: { state: row.state, room: row.room } },
    h('span.row-main', {}, h('b', {}, other.name), h('small', {}, row.starts_at ? when(row.starts_at) : 'Without appointment')),
    h('span.chips', {}, chip(row.state), states.map(([part, list]) => list.slice(-1).map((state) => chip(state, part)))));
}

/** The way of the whole case, and how far it is. */
export function track(snapshot) {
  const c = snapshot.consultation?.state;
  const rx = snapshot.prescriptions.filter(({ state }) => !['superseded', 'cancelled'].includes(state)).at(-1);
  const d = snapshot.dispensings.at(-1);
  const parcel = snapshot.deliveries.at(-1);
  const steps = [
    c && ['Consultation', c, 'consultation'],
    // A courier sees the parcel alone.
    (c || rx) && ['Prescription', rx?.state, 'prescription'],
    (c || d) && ['Pharmacy', d?.state, 'dispensing'],
    (parcel || d?.hand_over?.delivery) && ['Delivery', parcel?.state, 'delivery'],
  ].filter(Boolean);
  return h('ol.track', { aria: { label: 'The way of this case' } }, steps.map(([name, state, part]) =>
    h(`li.${state ? tone(state) : 'open'}`, {}, h('b', {}, name), state ? chip(state, part, `status-${part}`) : h('span.chip.plain', {}, '–'))));
}

/** The medicines of a prescription. */
export function medicines(items) {
  return h('ul.medicines', {}, items.map((item) =>
    h('li', {}, h('b', {}, item.medicine), h('span', {}, `${item.dosage} · ${item.quantity} units · ${item.days} days`))));
}

/** Rows of a feed sorted newest first. */
export const newest = (items) => [...items].sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1));
