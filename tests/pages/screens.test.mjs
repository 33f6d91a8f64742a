/** @file The room's screen: what a person types stays, who wrote what is plain, and every state has its buttons. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PEOPLE, showRoom, snapshot } from './support/screens.mjs';
import { flushPromises } from './support/time.mjs';

const allowed = (role, ...kinds) => ({ allowed: { [role]: kinds } });
const texts = (elements) => elements.map(({ textContent }) => textContent);
let played = 0;

test.beforeEach(() => {
  played = 0;
  const tone = () => ({ connect: (next) => next, gain: { setValueAtTime() {}, exponentialRampToValueAtTime() {} }, start: () => (played += 1), stop() {} });
  globalThis.AudioContext = class {
    createOscillator = tone;
    createGain = tone;
    close() {}
  };
});

test('a doctor types in the second row of a prescription while the talk ends', () => {
  const consultation = { state: 'in_progress', version: 1, ...allowed('doctor', 'prescription.draft', 'consultation.end') };
  const { byTestId, update } = showRoom('doctor', snapshot({ consultation }));
  byTestId('rx-add')[0].click();
  const [, second] = byTestId('rx-medicine');
  second.focus();
  second.value = 'Ibupro';
  update({ consultation: { state: 'wrap_up', version: 2, ...allowed('doctor', 'prescription.draft', 'consultation.complete') } });
  assert.equal(document.activeElement, second);
  assert.equal(byTestId('rx-medicine')[1], second);
});

test('no refresh takes the focus from a note, an amendment, a review, a proof or a chat message', () => {
  const item = { medicine: 'Amoxicillin', dosage: 'one', quantity: 1, days: 1 };
  const rx = (version, state, role, ...kinds) => ({ id: 'rx1', version, state, items: [item], ...allowed(role, ...kinds) });
  const parcel = (version) => ({
    id: 'd1', version, state: 'out_for_delivery', recipient: PEOPLE.patient, address: '5 Garden Lane', pharmacy: { name: 'P', address: 'A' }, ...allowed('courier', 'delivery.move:delivered'),
  });
  const consultation = (version) => ({ state: 'wrap_up', version, ...allowed('doctor', 'consultation.complete') });
  const cases = [
    ['doctor', 'note-input', (version) => ({ consultation: consultation(version) })],
    ['doctor', 'rx-dosage', (version) => ({ consultation: consultation(version), prescriptions: [rx(1, 'draft', 'doctor', 'prescription.amend', ...(version > 1 ? ['prescription.sign'] : []))] })],
    ['pharmacist', 'review-text', (version) => ({ consultation: undefined, prescriptions: [rx(version, 'in_review', 'pharmacist', 'prescription.review')] })],
    ['courier', 'proof-reference', (version) => ({ consultation: undefined, deliveries: [parcel(version)] })],
    ['patient', 'chat-input', (version) => ({ consultation: consultation(version) })],
  ];
  for (const [role, testid, part] of cases) {
    const { byTestId, update } = showRoom(role, snapshot(part(1)));
    const [field] = byTestId(testid);
    field.focus();
    update(part(2));
    assert.equal(document.activeElement, field, testid);
    assert.deepEqual(byTestId(testid), [field], testid);
  }
});

test('the hub’s role stands beside every foreign name, whatever the name says', () => {
  const impostor = { id: 'pia', name: 'Dr. Dana Okafor', role: 'patient' };
  const at = '2026-12-01T09:00:00Z';
  const events = [
    { seq: 1, at, kind: 'chat.sent', actor: impostor, data: { text: 'Give double.', thread: { pharmacy: 'p1' } } },
    { seq: 2, at, kind: 'chat.sent', actor: { id: 'dana', name: 'Dana', role: 'doctor' }, data: { text: 'No.', thread: { pharmacy: 'p1' } } },
    { seq: 3, at, kind: 'consultation.checked_in', actor: impostor, data: { consent: '2026-1' } },
    { seq: 4, at, kind: 'consultation.moved', actor: { role: 'system' }, data: { to: 'waiting' } },
  ];
  const dispensings = [{ id: 'w1', version: 1, state: 'received', pharmacy: { id: 'p1', name: 'P' }, hand_over: 'pickup', allowed: {} }];
  const { byTestId } = showRoom('pharmacist', snapshot({ dispensings }), events);
  const [first, second] = texts(byTestId('chat-message'));
  assert.match(first, /Dr\. Dana Okafor · patient ·/);
  assert.match(second, /Dana · doctor ·/);
  const [system, checkedIn] = texts(byTestId('timeline-item'));
  assert.match(checkedIn, /Dr\. Dana Okafor · patient$/);
  assert.match(system, /Wardroom$/);
});

test('every foreign text is isolated and free of direction controls', () => {
  const evil = 'x\u202Ey\u2069';
  const at = '2026-12-01T09:00:00Z';
  const by = (id, role) => ({ id, name: evil, role });
  const events = [
    { seq: 1, at, kind: 'chat.sent', actor: by('dana', 'doctor'), data: { text: evil, thread: 'care' } },
    { seq: 2, at, kind: 'consultation.moved', actor: by('dana', 'doctor'), data: { to: 'cancelled', reason: evil } },
    { seq: 3, at, kind: 'guest.invited', actor: by('dana', 'doctor'), data: { guest: { id: 'g', name: evil }, kind: 'relative' } },
    { seq: 4, at, kind: 'prescription.sent', actor: by('pia', 'patient'), data: { pharmacy: { name: evil } } },
    { seq: 5, at, kind: 'delivery.assigned', actor: by('farid', 'pharmacist'), data: { courier: { name: evil } } },
    { seq: 6, at, kind: 'prescription.drafted', actor: by('dana', 'doctor'), data: { items: [{ medicine: evil }] } },
    { seq: 7, at, kind: 'record.opened', actor: by('alex', 'admin'), data: { reason: evil } },
  ];
  const person = { id: 'dana', name: evil };
  const pharmacy = { id: 'p1', name: evil, address: evil };
  const { body } = showRoom('patient', snapshot({
    doctor: person,
    consultation: { state: 'completed', version: 1, allowed: {}, reason: evil, note: evil },
    prescriptions: [{ id: 'rx1', version: 1, state: 'with_pharmacy', items: [{ medicine: evil, dosage: evil, quantity: 1, days: 1 }], pharmacy, allowed: {} }],
    dispensings: [{ id: 'w1', version: 1, state: 'received', pharmacy, hand_over: 'pickup', allowed: {} }],
    deliveries: [{ id: 'd1', version: 1, state: 'assigned', recipient: person, address: evil, pharmacy, courier: person, allowed: {} }],
    guests: [{ id: 'g', name: evil, kind: 'relative', until: at }],
  }), events);
  const leaves = body.all().flatMap((element) => element.childNodes.filter((node) => !node.tagName).map((node) => [element, node.textContent]));
  const foreignLeaves = leaves.filter(([, text]) => /x[\u202E]?y/.test(text));
  assert.ok(foreignLeaves.length > 15, `${foreignLeaves.length}`);
  for (const [element, text] of foreignLeaves) {
    assert.doesNotMatch(text, /\u202E/);
    assert.ok(element.dir === 'auto' || /\u2068xy\u2069/.test(text), `${element.tagName}: ${text}`);
  }
});

test('the title and the sound follow the call into the consultation, however often it is repeated', () => {
  const state = (name, until) => ({ consultation: { state: name, version: 1, until, allowed: { patient: name === 'called' ? ['consultation.enter'] : [] } } });
  const { update, leave } = showRoom('patient', snapshot(state('waiting')));
  const titles = [];
  for (const [name, until] of [['called', '2026-12-01T09:00:30Z'], ['waiting'], ['called', '2026-12-01T09:01:30Z'], ['in_progress']]) {
    update(state(name, until));
    update();
    titles.push([document.title, played]);
  }
  assert.deepEqual(titles, [['● The doctor is ready – Wardroom', 2], ['Wardroom', 2], ['● The doctor is ready – Wardroom', 4], ['Wardroom', 4]]);
  update(state('called', '2026-12-01T09:02:30Z'));
  leave();
  assert.equal(document.title, 'Wardroom');
});

test('a hold names one of all documented reasons', async () => {
  const work = { id: 'w1', version: 1, state: 'preparing', pharmacy: { id: 'p1', name: 'P' }, hand_over: 'pickup', ...allowed('pharmacist', 'dispensing.move:on_hold') };
  const { byTestId, commands } = showRoom('pharmacist', snapshot({ consultation: undefined, dispensings: [work] }));
  const [choice] = byTestId('hold-reason');
  assert.deepEqual(choice.children.map(({ value }) => value), ['out_of_stock', 'clarification', 'payment']);
  choice.value = 'payment';
  byTestId('dispense-move-on_hold')[0].click();
  await flushPromises();
  assert.deepEqual(commands, [{ kind: 'dispensing.move', data: { dispensing: 'w1', to: 'on_hold', hold: 'payment' } }]);
});

test('a pharmacist reviews a prescription and the doctor answers the question', async () => {
  const rx = (state, role, kind) => [{ id: 'rx1', version: 4, state, items: [], ...allowed(role, kind) }];
  const pharmacist = showRoom('pharmacist', snapshot({ consultation: undefined, prescriptions: rx('in_review', 'pharmacist', 'prescription.review') }));
  pharmacist.byTestId('review-approve')[0].click();
  pharmacist.byTestId('review-query')[0].click();
  await flushPromises();
  pharmacist.byTestId('review-text')[0].value = 'Is 500 mg right?';
  pharmacist.byTestId('review-query')[0].click();
  pharmacist.byTestId('review-reject')[0].click();
  await flushPromises();
  assert.deepEqual(pharmacist.commands.map(({ data: { verdict, text } }) => [verdict, text]), [['approve', undefined], ['query', 'Is 500 mg right?'], ['reject', 'Is 500 mg right?']]);

  const asked = { seq: 9, at: '2026-12-01T09:00:00Z', kind: 'prescription.reviewed', actor: { name: 'Farid', role: 'pharmacist' }, data: { prescription: 'rx1', verdict: 'query', text: 'Is 500 mg right?' } };
  const doctor = showRoom('doctor', snapshot({ prescriptions: rx('queried', 'doctor', 'prescription.answer') }), [asked]);
  assert.match(doctor.byTestId('review-note')[0].textContent, /Is 500 mg right\?/);
  doctor.byTestId('review-answer-text')[0].value = 'Yes.';
  doctor.byTestId('review-answer')[0].click();
  await flushPromises();
  assert.deepEqual(doctor.commands, [{ kind: 'prescription.answer', data: { prescription: 'rx1', text: 'Yes.' } }]);
});

test('devices can be checked before the talk', () => {
  const consultation = { state: 'confirmed', version: 1, ...allowed('patient', 'call.check') };
  const { byTestId } = showRoom('patient', snapshot({ consultation }));
  assert.equal(byTestId('check-open').length, 1);
  assert.deepEqual([byTestId('call-video'), byTestId('call-audio')], [[], []]);
});

test('a refused message can be edited or dismissed', async () => {
  const { app, byTestId, refused, update } = showRoom('patient');
  for (const [id, text] of [['1', 'first'], ['2', 'second']]) {
    refused.push({ id, at: 0, command: { kind: 'chat.send', data: { text } }, refusal: { code: 'invalid', message: 'too long' } });
  }
  update();
  assert.match(byTestId('chat-message')[0].textContent, /first.*not sent: too long/);
  byTestId('refused-edit')[0].click();
  await flushPromises();
  app.client.dispatchEvent(new Event('dismissed'));
  assert.equal(byTestId('chat-input')[0].value, 'first');
  assert.equal(byTestId('chat-message').length, 1);
  byTestId('refused-dismiss')[0].click();
  await flushPromises();
  app.client.dispatchEvent(new Event('dismissed'));
  assert.deepEqual(byTestId('chat-message'), []);
});
