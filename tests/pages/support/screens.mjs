/** @file A room's screen without a browser: the test sets the snapshot and the events, and records the commands. */

import { roomScreen } from '../../../static/screens/room.js';
import { page } from './dom.mjs';

export const PEOPLE = {
  patient: { id: 'pia', name: 'Pia' },
  doctor: { id: 'dana', name: 'Dana' },
  pharmacist: { id: 'farid', name: 'Farid', pharmacy: 'p1' },
  courier: { id: 'casey', name: 'Casey' },
};

/** A snapshot of a consultation in progress; `more` overrides parts. */
export const snapshot = (more = {}) => ({
  patient: PEOPLE.patient,
  doctor: PEOPLE.doctor,
  consultation: { state: 'in_progress', version: 1, consent: '2026-1', allowed: {} },
  prescriptions: [], dispensings: [], deliveries: [], guests: [],
  ...more,
});

/** Shows a room to a person with this role. */
export function showRoom(role, first = snapshot(), events = []) {
  const body = page();
  const commands = [];
  const refused = [];
  const room = Object.assign(new EventTarget(), {
    id: 'r1', me: PEOPLE[role].id, snapshot: first, events, presence: new Set(), marks: {}, typing: new Map(),
    markDelivered() {},
    receipt: () => 'sent',
    typingUsers: () => [],
    chat: (thread) => ({ received: events.filter(({ kind, data }) => kind === 'chat.sent' && JSON.stringify(data.thread) === JSON.stringify(thread)), waiting: [], refused }),
    allows: (part, who, kind) => (part?.allowed?.[who] ?? []).includes(kind),
    allowedMoves: (part, who, kind) => (part.allowed?.[who] ?? []).filter((name) => name.startsWith(`${kind}:`)).map((name) => name.slice(kind.length + 1)),
    submit: async (kind, data) => void commands.push({ kind, data }),
    sendMessage: async (text) => void commands.push({ kind: 'chat.send', data: { text } }),
  });
  const leaving = new AbortController();
  const app = {
    user: { ...PEOPLE[role], role },
    client: Object.assign(new EventTarget(), { dismiss: async (id) => refused.splice(refused.findIndex((it) => it.id === id), 1) }),
    calls: {},
    room: () => room,
    on: (target, type, run) => target.addEventListener(type, run, { signal: leaving.signal }),
    every() {},
    whenLeft: (run) => leaving.signal.addEventListener('abort', run),
    follow() {},
    load: () => () => {},
  };
  body.append(roomScreen(app, 'r1'));
  const update = (change = {}) => {
    room.snapshot = { ...room.snapshot, ...change };
    room.dispatchEvent(new Event('change'));
  };
  return { app, body, room, commands, refused, update, leave: () => leaving.abort(), byTestId: (testid) => body.byTestId(testid) };
}
