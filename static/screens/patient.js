// A patient's home: find a doctor, book a slot, and open own consultations.

import * as api from '../api.js';
import { hubNow } from '../clock.js';
import { h, fill, foreign, action, loading, empty, field } from '../dom.js';
import { consultationRow, missingRows, newestFirst } from '../widgets.js';
import { groupByDay, formatTime, formatMoment } from '../labels.js';

export function patientHome(app, place, id) {
  if (place === 'doctor' && id) return doctorPage(app, id);
  const mine = h('div.rows', { testid: 'my-consultations' }, loading());
  const found = h('div.rows', { testid: 'doctors' });
  const q = h('input', { type: 'search', placeholder: 'Name or specialty', testid: 'doctor-search' });
  app.follow({ name: 'me' }, (items, missing) => fill(mine, items.length
    ? [newestFirst(items).map((row) => consultationRow(row, app.user.id)), missingRows(missing)]
    : empty('No consultations yet', 'Choose a doctor to book your first one.')));
  let soon;
  q.addEventListener('input', () => { clearTimeout(soon); soon = setTimeout(() => search(), 250); });
  fill(found, loading());
  const search = app.load(found, () => api.getAll(`/v1/doctors?limit=200&q=${encodeURIComponent(q.value.trim())}`),
    ({ items }) => (items.length ? items.map(doctorCard) : empty('No doctor found', 'Try another name or specialty.')));
  return h('div.columns', {},
    h('section.card', {}, h('h1', {}, 'Find a doctor'), field('Search', q), found),
    h('section.card', {}, h('h2', {}, 'My consultations'), mine));
}

function doctorCard(doctor) {
  return h('a.row', { href: `#/doctor/${doctor.id}`, testid: 'doctor-card', data: { name: doctor.name } },
    h('span.avatar', { aria: { hidden: 'true' } }, initials(doctor.name)),
    h('span.row-main', {}, h('b', {}, foreign(doctor.name)), h('small', {}, foreign([doctor.specialty, doctor.languages].filter(Boolean).join(' · ')))),
    h('small.next', {}, doctor.next_free ? `Next: ${formatMoment(doctor.next_free)}` : 'No free slot'));
}

const initials = (name) => name.replace(/^Dr\.?\s+/, '').split(/\s+/).map((part) => part[0]).slice(0, 2).join('');

function doctorPage(app, id) {
  const box = h('section.card', {}, loading());
  const get = () => {
    const to = new Date(hubNow() + 14 * 86_400_000).toISOString();
    return Promise.all([
      api.get(`/v1/doctors/${id}`),
      api.getAll(`/v1/doctors/${id}/slots?from=${encodeURIComponent(new Date(hubNow()).toISOString())}&to=${encodeURIComponent(to)}`),
    ]);
  };
  const show = (doctor, slots) => {
    const reason = h('textarea', { rows: 2, maxChars: 4000, dir: 'auto', placeholder: 'What is it about? Only your doctor reads this.', testid: 'reason' });
    const why = () => (reason.value.trim() ? { reason: reason.value.trim() } : {});
    const hold = async (slot) => {
      const { room } = await api.send('POST', '/v1/bookings', { slot: slot.id, ...why() });
      app.go(`/room/${room}`);
    };
    const walkIn = async () => {
      // Who waits with this doctor already is taken there.
      const waiting = (error) => { if (error.code === 'already_waiting') return error; throw error; };
      const { room } = await api.send('POST', '/v1/bookings', { doctor: doctor.id, ...why() }).catch(waiting);
      app.go(`/room/${room}`);
    };
    return [
      h('a.back', { href: '#/' }, '← All doctors'),
      h('h1', {}, foreign(doctor.name)), h('p.muted', {}, foreign([doctor.specialty, doctor.languages].filter(Boolean).join(' · '))),
      field('Reason (optional)', reason),
      h('div.now', {}, h('div', {}, h('b', {}, 'See the doctor now'), h('p', {}, 'Without an appointment, in the order of arrival.')),
        action('Go to the waiting room', walkIn, { class: 'primary', testid: 'walk-in' })),
      h('h2', {}, 'Free appointments'),
      slots.length ? groupByDay(slots).map(([day, list]) => h('div.day', {}, h('h3', {}, day), h('div.slots', {}, list.map((slot) =>
        action(formatTime(slot.starts_at), () => hold(slot).catch((error) => { load(); throw error; }), { class: 'slot', testid: 'slot', aria: { label: `${day}, ${formatTime(slot.starts_at)}` } })))))
        : empty('No free appointment in the next two weeks')];
  };
  const load = app.load(box, get, ([doctor, { items }]) => show(doctor, items.filter(({ free }) => free)));
  return box;
}
