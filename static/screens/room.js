// The room: next step, chat, and the timeline of the case.

import * as api from '../api.js';
import { cached, h, fill, foreign, isolate, loading, empty, action } from '../dom.js';
import { author, caseProgress } from '../widgets.js';
import { chatBox } from './chat.js';
import { consultationPanel } from './consultation.js';
import { prescriptionPanel } from './prescription.js';
import { dispensingPanel } from './dispensing.js';
import { deliveryPanel } from './delivery.js';
import { guestsPanel } from './guests.js';
import { describeEvent, formatTime, formatMoment, roleLabel } from '../labels.js';

export function roomScreen(app, id) {
  const room = app.room(id);
  room.shown = true;
  const head = h('div.room-head');
  const todo = h('section.card.todo', { aria: { label: 'Next step' } });
  const timeline = h('ol.timeline', { testid: 'timeline' });
  const threads = h('div.threads');
  const box = h('div', {}, head, h('div.room', {}, h('section.card.talk', {}, threads), todo, h('section.card.past', {}, h('h2', {}, 'Timeline'), timeline)));
  const chats = new Map();
  const entries = new Map();
  const panels = [consultationPanel, prescriptionPanel, dispensingPanel, deliveryPanel, guestsPanel].map((make) => make(app, room));
  fill(todo, panels.map(({ box }) => box));

  const show = () => {
    if (room.accessError) return fill(box, empty('You have no access to this room', 'You are not part of this case, or no longer.'), h('a', { href: '#/' }, 'Back'));
    const snapshot = room.snapshot;
    if (!snapshot) return fill(head, loading('Entering the room…'));
    const [side, sideRole] = app.user.id === snapshot.patient.id ? [snapshot.doctor, 'doctor'] : [snapshot.patient, 'patient'];
    const isGuest = app.user.role === 'guest';
    fill(head,
      !isGuest && h('a.back', { href: '#/' }, '← Back'),
      h('h1', {}, isGuest ? [foreign(snapshot.patient.name), ' and ', foreign(snapshot.doctor.name)] : side ? [foreign(side.name), h('small', {}, ` ${roleLabel(sideRole)}`)] : 'Room'), !isGuest && presence(room, side),
      snapshot.consultation?.slot && h('p.muted', {}, formatMoment(snapshot.consultation.slot.starts_at)),
      !isGuest && caseProgress(snapshot),
      snapshot.consultation && app.user.role !== 'pharmacist' && action(app.user.role === 'patient' ? 'Export my record' : 'Export the record', () => download(id), { class: 'quiet', testid: 'export' }));
    for (const thread of threadsOf(app, snapshot)) {
      const key = JSON.stringify(thread.id);
      if (!chats.has(key)) {
        chats.set(key, chatBox(app, room, thread));
        threads.append(chats.get(key).box);
      }
      chats.get(key).show();
    }
    if (!chats.size) fill(threads, empty('No conversation here', 'A courier sees only the delivery.'));
    panels.forEach(({ show }) => show());
    const items = room.events.map((event) => [event, describeEvent(event)]).filter(([, text]) => text);
    fill(timeline, items.reverse().map(([event, text]) => cached(entries, event.seq, text, () => h('li', { testid: 'timeline-item', data: { kind: event.kind, seq: event.seq } },
      h('time', { dateTime: event.at }, formatTime(event.at)), h('span', {}, text), h('small', {}, author(event.actor))))));
    room.markDelivered();
  };
  app.on(room, 'change', show);
  app.on(app.client, 'queued', show);
  app.on(app.client, 'ack', show);
  app.on(app.client, 'dismissed', show);
  app.every(1000, () => panels.forEach(({ tick }) => tick?.()));
  app.whenLeft(() => (room.shown = false));
  show();
  return box;
}

function presence(room, side) {
  if (!side) return null;
  const here = room.presence.has(side.id);
  return h('p.presence', { testid: 'presence', data: { here } }, h('i', { aria: { hidden: 'true' } }), here ? 'is online' : 'is offline');
}

/** The conversations that this user takes part in. */
function threadsOf(app, snapshot) {
  const pharmacies = new Map(snapshot.dispensings.map(({ pharmacy }) => [pharmacy.id, pharmacy]));
  const own = app.user.role === 'pharmacist';
  const list = app.user.role === 'courier' || own ? [] : [{ id: 'care', title: careTitle(app.user.role, snapshot) }];
  for (const pharmacy of pharmacies.values()) {
    if (own ? pharmacy.id === app.user.pharmacy : app.user.role !== 'courier') {
      list.push({ id: { pharmacy: pharmacy.id }, title: own ? 'doctor and patient' : isolate(pharmacy.name) });
    }
  }
  return list;
}

function careTitle(role, { patient, doctor }) {
  if (role === 'guest') return `${isolate(patient.name)} and ${isolate(doctor.name)}`;
  return isolate((role === 'doctor' ? patient : doctor).name);
}

async function download(room) {
  const url = URL.createObjectURL(await api.exportRecord(room));
  const link = h('a', { href: url, download: `wardroom-${room}.jsonl` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
