// A doctor's home: the waiting room, own slots, and consultations.

import * as api from '../api.js';
import { hubNow } from '../clock.js';
import { playChime } from '../chime.js';
import { h, fill, field, foreign, action, loading, empty } from '../dom.js';
import { setTitleAlert } from '../title.js';
import { stateChip, consultationRow, missingRows, newestFirst } from '../widgets.js';
import { groupByDay, formatDate, approximateDuration, formatTime } from '../labels.js';

export function doctorHome(app) {
  const lobby = h('div.rows', { testid: 'lobby' }, loading());
  const mine = h('div.rows', {}, loading());
  let known = null;
  app.follow({ name: 'lobby', doctor: app.user.id }, (items, missing) => {
    const rooms = items.filter(({ state }) => state === 'waiting').map(({ room }) => room);
    // The first list is no news.
    if (known && rooms.some((room) => !known.has(room))) playChime();
    known = new Set(rooms);
    setTitleAlert('lobby', rooms.length ? `${rooms.length + missing} in the waiting room` : null);
    fill(lobby, items.length
      ? [[...items].sort((a, b) => a.position - b.position || (a.since < b.since ? -1 : 1)).map((row) => waiting(app, row)), missingRows(missing)]
      : empty('Nobody is waiting', 'You will see and hear it here when somebody checks in.'));
  });
  app.whenLeft(() => setTitleAlert('lobby', null));
  app.follow({ name: 'me' }, (items, missing) => fill(mine, items.length ? [newestFirst(items).map((row) => consultationRow(row, app.user.id)), missingRows(missing)] : empty('No consultations yet')));
  return h('div.columns', {},
    h('section.card', {}, h('h1', {}, 'Waiting room'), lobby, h('h2', {}, 'My slots'), slots(app)),
    h('section.card', {}, h('h2', {}, 'Consultations'), mine));
}

function waiting(app, row) {
  return h('div.row', { testid: 'lobby-row', data: { room: row.room, state: row.state } },
    h('span.row-main', {}, h('b', {}, foreign(row.patient?.name ?? 'Patient')), h('small', {}, row.position ? `No. ${row.position}` : 'being called', row.estimate_s !== undefined && row.position ? ` · ${approximateDuration(row.estimate_s)}` : '')),
    stateChip(row.state),
    row.state === 'waiting' && action('Admit', async () => {
      await api.send('POST', `/v1/consultations/${row.room}/commands`, { command: { kind: 'consultation.admit', data: {} } });
      app.go(`/room/${row.room}`);
    }, { class: 'primary', testid: 'lobby-admit' }),
    h('a.button', { href: `#/room/${row.room}`, testid: 'lobby-open' }, 'Open'));
}

function slots(app) {
  const list = h('div', { testid: 'own-slots' }, loading());
  const day = h('input', { type: 'date', required: true, testid: 'slot-date' });
  const from = h('input', { type: 'time', required: true, testid: 'slot-from' });
  const length = h('input', { type: 'number', min: 5, max: 240, value: 20, testid: 'slot-length' });
  const count = h('input', { type: 'number', min: 1, max: 24, value: 1, testid: 'slot-count' });
  const get = () => {
    const to = new Date(hubNow() + 14 * 86_400_000).toISOString();
    return api.getAll(`/v1/slots?from=${encodeURIComponent(new Date(hubNow()).toISOString())}&to=${encodeURIComponent(to)}`);
  };
  const load = app.load(list, get, ({ items }) => (items.length ? groupByDay(items).map(([name, slots]) => h('div.day', {}, h('h3', {}, name), h('div.slots', {}, slots.map((slot) => entry(slot, load))))) : empty('No slots published')));
  const publish = async () => {
    const first = new Date(`${day.value}T${from.value}`).getTime();
    if (Number.isNaN(first)) throw new Error('Choose a day and a time first.');
    const span = Number(length.value) * 60_000;
    const at = (ms) => new Date(ms).toISOString();
    const made = Array.from({ length: Number(count.value) }, (_, i) => ({ starts_at: at(first + i * span), ends_at: at(first + (i + 1) * span) }));
    await api.send('POST', '/v1/slots', { slots: made });
    await load();
  };
  return h('div', {}, list, h('details', {}, h('summary', { testid: 'publish-open' }, 'Publish more'), h('div.pair', {}, field('Day', day), field('From', from)), h('div.pair', {}, field('Minutes each', length), field('How many', count)), action('Publish', publish, { class: 'primary', testid: 'slot-publish' })));
}

function entry(slot, load) {
  const label = `${formatDate(slot.starts_at)}, ${formatTime(slot.starts_at)}`;
  return slot.free
    ? action(`${formatTime(slot.starts_at)} ×`, async () => { await api.send('DELETE', `/v1/slots/${slot.id}`); await load(); }, { class: 'slot', title: `${label}: withdraw`, aria: { label: `Withdraw ${label}` }, testid: 'own-slot' })
    : h('a.slot.taken', { href: `#/room/${slot.room}`, title: label }, `${formatTime(slot.starts_at)} booked`);
}
