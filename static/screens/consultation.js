// The consultation's next step: confirm, check in, wait, enter, end, complete.

import { hubNow } from '../clock.js';
import { playChime } from '../chime.js';
import { h, fill, field, foreign, action } from '../dom.js';
import { approximateDuration, formatMoment, stateLabel } from '../labels.js';
import { callButtons } from './call.js';
import { setTitleAlert } from '../title.js';
import { paymentLine } from './payment.js';

export function consultationPanel(app, room) {
  const box = h('section.panel', { testid: 'consultation-panel' });
  const role = app.user.role;
  const place = h('p.place', { testid: 'lobby-place', aria: { live: 'polite' } });
  const countdown = h('b.countdown', { testid: 'countdown' });
  const note = h('textarea', { rows: 4, maxChars: 4000, dir: 'auto', testid: 'note-input' });
  const noteField = field('Note', note, 'The patient can read it. Signing completes the consultation.');
  const consent = h('input', { type: 'checkbox', testid: 'consent' });
  const consentText = h('span');
  const consentField = h('label.check', {}, consent, consentText);
  const payment = paymentLine(app, room);
  /** When the doctor called the patient in, so that each call in rings once. */
  let opened = null;
  let rung = null;
  let followed = null;
  let shown = null;

  const commandButton = (label, kind, data, props) => action(label, () => room.submit(kind, typeof data === 'function' ? data() : (data ?? {})), props);
  const reasonedButton = (label, kind, question, props) => action(label, async () => {
    const reason = prompt(question);
    if (reason?.trim()) await room.submit(kind, { reason: reason.trim() });
  }, props);

  const followLobby = (c, doctor) => {
    if (role !== 'patient' || followed || c.state !== 'waiting') return;
    followed = true;
    app.follow({ name: 'lobby', doctor: doctor.id }, (items) => {
      const own = items.find((row) => row.room === room.id);
      if (!own) return fill(place);
      const wait = own.estimate_s === undefined ? 'No estimate yet: this doctor has not finished a consultation here.' : `The wait is ${approximateDuration(own.estimate_s)}.`;
      fill(place, own.position === 0 ? 'You are being called.' : [h('b', {}, own.position === 1 ? 'You are next.' : `You are number ${own.position}.`), ` ${wait}`]);
    });
  };

  /** Alerts the patient by title and sound while the doctor calls them in. */
  const callIn = (c) => {
    const called = role === 'patient' && c.state === 'called';
    setTitleAlert(`called ${room.id}`, called ? 'The doctor is ready' : null);
    if (called && rung !== c.until) playChime();
    rung = called ? c.until : null;
  };
  app.whenLeft(() => setTitleAlert(`called ${room.id}`, null));

  const show = () => {
    const c = room.snapshot?.consultation;
    if (!c) return fill(box);
    payment.show();
    followLobby(c, room.snapshot.doctor);
    callIn(c);
    const may = (kind) => room.allows(c, role, `consultation.${kind}`);
    const key = JSON.stringify([c.state, c.version, c.allowed, room.snapshot.payment?.state]);
    if (key === shown) return;
    shown = key;
    const parts = [];
    if (c.state === 'requested' && may('confirm')) {
      parts.push(h('p', {}, 'This slot is held for you for another ', countdown, '.'), commandButton('Confirm the booking', 'consultation.confirm', {}, { class: 'primary', testid: 'book-confirm' }));
    }
    if (c.state === 'requested' && room.snapshot.payment?.state === 'pending') parts.push(h('p', {}, 'This booking is held for another ', countdown, '.'));
    if (role === 'patient' && room.snapshot.payment) parts.push(payment.box);
    if (may('check_in')) {
      consentText.textContent = `I agree to a remote consultation and its limits (consent text ${c.consent}), and I am the person this account belongs to.`;
      parts.push(h('h2', {}, 'Check in'), consentField, action('Check in', async () => {
        if (!consent.checked) throw new Error('Please agree first.');
        await room.submit('consultation.check_in', { consent: c.consent, identity: 'account' });
      }, { class: 'primary', testid: 'check-in' }));
    }
    if (role === 'patient' && c.state === 'booked' && c.check_in_from && !may('check_in')) {
      parts.push(h('p', { testid: 'check-in-opens' }, `Check-in opens ${formatMoment(c.check_in_from)}.`));
    }
    if (c.state === 'waiting') parts.push(h('h2', {}, role === 'patient' ? 'You are in the waiting room' : 'The patient is waiting'), role === 'patient' ? place : null);
    if (may('admit')) parts.push(commandButton('Admit the patient', 'consultation.admit', {}, { class: 'primary', testid: 'admit' }));
    if (c.state === 'called') {
      parts.push(role === 'patient'
        ? h('div.ring', { role: 'alert' }, h('h2', {}, 'The doctor is ready for you'), h('p', {}, 'Answer within ', countdown, '.'), commandButton('Enter the consultation', 'consultation.enter', {}, { class: 'primary', testid: 'enter-call' }))
        : h('p', {}, 'Calling the patient… ', countdown));
    }
    if (c.state === 'interrupted') parts.push(h('p.held', { role: 'status' }, 'One side lost its connection. The chat stays open. ', countdown));
    parts.push(callButtons(app, room));
    if (may('end')) parts.push(commandButton('End the consultation', 'consultation.end', {}, { testid: 'end-consultation' }));
    if (may('put_back')) parts.push(commandButton('Back to the waiting room', 'consultation.put_back', {}, { class: 'quiet', testid: 'put-back' }));
    if (may('refer')) parts.push(reasonedButton('Refer elsewhere', 'consultation.refer', 'Why do you refer the patient elsewhere? The patient will see it.', { class: 'quiet', testid: 'refer' }));
    if (may('complete')) {
      parts.push(noteField, action('Sign and complete', async () => {
        if (!note.value.trim()) throw new Error('Write a note first.');
        await room.submit('consultation.complete', { note: note.value.trim() });
      }, { class: 'primary', testid: 'complete' }));
    }
    if (c.note) parts.push(h('h2', {}, 'Note'), h('p.note', { testid: 'note' }, foreign(c.note)));
    if (may('cancel')) parts.push(reasonedButton('Cancel', 'consultation.cancel', 'Why are you canceling?', { class: 'quiet', testid: 'cancel-booking' }));
    fill(box, h('p.state', { testid: 'consultation-state', data: { state: c.state } }, stateLabel(c.state)), c.reason && h('blockquote', {}, foreign(c.reason)), parts);
    tick();
  };

  /** A snapshot lists the moves of its moment, so it is read again when the check-in opens. */
  const openCheckIn = (c) => {
    const opens = c?.check_in_from;
    if (!opens || opens === opened || hubNow() < Date.parse(opens) || room.allows(c, 'patient', 'consultation.check_in')) return;
    opened = opens;
    room.refresh();
  };

  const tick = () => {
    openCheckIn(room.snapshot?.consultation);
    const until = room.snapshot?.consultation?.until;
    const left = until ? Math.max(0, Math.round((Date.parse(until) - hubNow()) / 1000)) : null;
    countdown.textContent = left === null ? '' : `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
  };
  return { box, show, tick };
}
