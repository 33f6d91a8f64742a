/** @file The state of one room, built from the client’s events. */

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { Room } from '../../static/room-state.js';
import { event, live } from './support/client.mjs';

const me = 'ada';
const snapshot = (more = {}) => ({ type: 'joined', room: 'r1', head: 0, snapshot: { presence: [], marks: {}, ...more } });

/** Opens a room on a live client; the room’s own timers run only in `tick`. */
async function open(t, first = snapshot()) {
  const document = (globalThis.document = Object.assign(new EventTarget(), { visibilityState: 'visible' }));
  mock.timers.enable({ apis: ['setTimeout'] });
  t.after(() => {
    mock.timers.reset();
    delete globalThis.document;
  });
  const it = await live();
  const room = new Room(it.client, 'r1', me);
  let changes = 0;
  room.addEventListener('change', () => (changes += 1));
  const socket = it.network.last();
  socket.receive(first);
  const tick = (ms) => mock.timers.tick(ms);
  return { ...it, room, socket, document, tick, changes: () => changes };
}

test('chat is grouped by thread into received, waiting, and refused', async (t) => {
  const { client, room, socket } = await open(t);
  const pharmacy = { pharmacy: 'p1' };
  socket.receive(event(0, 1, 'r1', { data: { text: 'to you', thread: 'care' } }));
  socket.receive(event(1, 2, 'r1', { data: { text: 'to the pharmacy', thread: pharmacy } }));
  socket.receive(event(0, 1, 'r2'));
  await room.sendMessage('mine', 'care');
  await room.sendMessage('bad', 'care');
  await client.command('r2', { kind: 'chat.send', data: { text: 'elsewhere', thread: 'care' } });
  socket.receive({ type: 'error', id: 'id 2', room: 'r1', code: 'invalid', message: 'no', retryable: false });
  const { received, waiting, refused } = room.chat('care');
  assert.deepEqual(received.map(({ data }) => data.text), ['to you']);
  assert.deepEqual(waiting.map(({ command }) => command.data.text), ['mine']);
  assert.deepEqual(refused.map(({ command, refusal }) => [command.data.text, refusal.code]), [['bad', 'invalid']]);
  assert.deepEqual(room.chat(pharmacy).received.map(({ data }) => data.text), ['to the pharmacy']);
  assert.deepEqual(room.chat(pharmacy).waiting, []);
});

test('a cursor beyond the log starts the room again', async (t) => {
  const { room, socket } = await open(t);
  socket.receive(event(0, 1, 'r1', { data: { text: 'lost', thread: 'care' } }));
  socket.receive(event(1, 2, 'r1', { data: { text: 'lost, too', thread: 'care' } }));
  const error = { type: 'error', room: 'r1', code: 'invalid', message: 'no', retryable: false, detail: { field: 'after' } };
  socket.receive(error);
  assert.deepEqual(socket.sent('join').at(-1), { type: 'join', room: 'r1', after: 0 });
  socket.receive(snapshot());
  socket.receive(event(0, 1, 'r1', { data: { text: 'restored', thread: 'care' } }));
  assert.deepEqual(room.chat('care').received.map(({ data }) => data.text), ['restored']);
  const joins = socket.sent('join').length;
  socket.receive({ ...error, detail: { field: 'room' } });
  assert.equal(socket.sent('join').length, joins, 'other errors do not start it again');
});

test('an own message is shown once, whether its event or its answer arrives first', async (t) => {
  const { room, socket } = await open(t);
  await room.command('chat.send', { text: 'mine', thread: 'care' });
  socket.receive(event(0, 1, 'r1', { command: 'id 1', actor: { id: me }, data: { text: 'mine', thread: 'care' } }));
  assert.deepEqual([room.chat('care').received.length, room.chat('care').waiting.length], [1, 0]);
  socket.receive({ type: 'ack', id: 'id 1', room: 'r1', first: 1, last: 1 });
  assert.deepEqual([room.chat('care').received.length, room.chat('care').waiting.length], [1, 0]);
});

test('status changes refresh the allowed actions once, and chat does not', async (t) => {
  const { socket, tick } = await open(t);
  socket.receive(event(0, 1));
  tick(1000);
  assert.equal(socket.sent('join').length, 1);
  for (const seq of [2, 3, 4]) socket.receive(event(seq - 1, seq, 'r1', { kind: 'consultation.moved' }));
  tick(1000);
  assert.deepEqual(socket.sent('join').map(({ after }) => after), [0, 4]);
});

test('a restored room continues after the known events', async (t) => {
  const { room, socket, tick } = await open(t);
  socket.receive(event(0, 1));
  socket.receive(event(1, 2, 'r1', { kind: 'consultation.moved' }));
  socket.receive({ type: 'left', room: 'r1', code: 'forbidden' });
  tick(1000);
  assert.deepEqual(socket.sent('join').map(({ after }) => after), [0, 2]);
  for (const seq of [1, 2, 3]) socket.receive(event(seq - 1, seq));
  assert.deepEqual(room.events.map(({ seq }) => seq), [1, 2, 3]);
});

test('a long replay is one change and one read receipt', async (t) => {
  const { socket, tick, room, changes } = await open(t);
  room.shown = true;
  for (let seq = 1; seq <= 500; seq += 1) socket.receive(event(seq - 1, seq));
  tick(1000);
  assert.equal(changes(), 1);
  assert.deepEqual(socket.sent('mark'), [{ type: 'mark', room: 'r1', delivered: 500, seen: 500 }]);
});

test('delivered covers events in a visible tab, seen only those on its screen, and a hidden tab confirms nothing', async (t) => {
  const { socket, tick, room, document } = await open(t, snapshot({ marks: { [me]: { delivered: 1, seen: 1 } } }));
  const marks = () => socket.sent('mark').map(({ delivered, seen }) => [delivered, seen]);
  socket.receive(event(0, 1));
  tick(1000);
  assert.deepEqual(marks(), [], 'nothing that is known already');
  socket.receive(event(1, 2));
  tick(1000);
  room.shown = true;
  document.visibilityState = 'hidden';
  socket.receive(event(2, 3));
  tick(1000);
  assert.deepEqual(marks(), [[2, 1]]);
  document.visibilityState = 'visible';
  document.dispatchEvent(new Event('visibilitychange'));
  tick(1000);
  assert.deepEqual(marks(), [[2, 1], [3, 3]]);
});

test('an unsent read receipt is sent once the room is back', async (t) => {
  const { client, clock, network, socket, tick, room } = await open(t);
  room.shown = true;
  socket.receive(event(0, 1));
  socket.cut();
  tick(1000);
  await clock.advance(500);
  network.last().welcome();
  network.last().receive(snapshot());
  network.last().receive({ type: 'live', room: 'r1', head: 1 });
  tick(1000);
  assert.deepEqual(network.last().sent('mark'), [{ type: 'mark', room: 'r1', delivered: 1, seen: 1 }]);
  assert.equal(client.state, 'live');
});

test('a message’s receipt is the furthest of all other members', async (t) => {
  const { room, socket } = await open(t);
  const receipt = () => room.receipt({ seq: 5 });
  const mark = (user, delivered, seen) => socket.receive({ type: 'mark', room: 'r1', user, mark: { delivered, seen } });
  mark(me, 9, 9);
  assert.equal(receipt(), 'sent');
  mark('bob', 5, 4);
  assert.equal(receipt(), 'delivered');
  mark('bob', 6, 5);
  assert.equal(receipt(), 'seen');
});

test('presence follows the hub’s latest report', async (t) => {
  const { room, socket } = await open(t, snapshot({ presence: [{ user: 'bob', here: true }, { user: 'eve', here: false }] }));
  assert.deepEqual([...room.presence], ['bob']);
  socket.receive({ type: 'presence', room: 'r1', presence: { user: 'eve', here: true } });
  socket.receive({ type: 'presence', room: 'r1', presence: { user: 'bob', here: false } });
  assert.deepEqual([...room.presence], ['eve']);
});

test('a button’s request is answered by its own command, also across a reconnect', async (t) => {
  const { clock, network, socket, room } = await open(t);
  const good = room.submit('consultation.admit', {}, 4);
  const bad = room.submit('consultation.end');
  const failed = assert.rejects(bad, /not now/);
  await clock.advance(0);
  assert.equal(socket.sent('command')[0].expect, 4);
  socket.receive({ type: 'error', id: 'id 2', room: 'r1', code: 'illegal_transition', message: 'not now', retryable: false });
  socket.cut();
  await clock.advance(500);
  network.last().welcome();
  network.last().receive({ type: 'ack', id: 'id 1', room: 'r1', first: 5, last: 5 });
  await failed;
  assert.equal((await good).first, 5);
});

test('a forbidden room is reported as such, and a joined one as open', async (t) => {
  const { room, socket } = await open(t, { type: 'error', room: 'r1', code: 'not_found', message: '', retryable: false });
  assert.equal(room.accessError, 'not_found');
  socket.receive(snapshot());
  assert.equal(room.accessError, null);
  socket.receive({ type: 'error', room: 'r1', code: 'rate_limited', message: '', retryable: true });
  assert.equal(room.accessError, null);
  socket.receive({ type: 'left', room: 'r1', code: 'forbidden' });
  assert.equal(room.accessError, 'forbidden');
});

test('buttons are what the snapshot allows this role', async (t) => {
  const { room } = await open(t);
  const part = { allowed: { pharmacist: ['dispensing.move:ready', 'dispensing.move:on_hold', 'delivery.assign'], doctor: ['consultation.admit'] } };
  assert.deepEqual(room.allowedMoves(part, 'pharmacist', 'dispensing.move'), ['ready', 'on_hold']);
  assert.deepEqual(room.allowedMoves(part, 'courier', 'dispensing.move'), []);
  assert.deepEqual([room.allows(part, 'doctor', 'consultation.admit'), room.allows(part, 'patient', 'consultation.admit'), room.allows(undefined, 'doctor', 'x')], [true, false, false]);
});

test('a closed room view leaves the room and stops its timers', async (t) => {
  const { room, socket, tick, changes } = await open(t);
  room.end();
  socket.receive(event(0, 1, 'r1', { kind: 'consultation.moved' }));
  tick(1000);
  assert.deepEqual(socket.sent('leave'), [{ type: 'leave', room: 'r1' }]);
  assert.deepEqual([changes(), room.events.length, socket.sent('join').length], [0, 0, 1]);
});
