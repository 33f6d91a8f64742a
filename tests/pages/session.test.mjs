/** @file A page’s call session, against a hub that only records and sends signals. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { CallSession } from '../../static/call/session.js';
import { FakePeerConnection, waitUntil } from './support/peers.mjs';

class Hub extends EventTarget {
  constructor() {
    super();
    Object.assign(this, { connection: 'c1', sent: [] });
  }

  send(frame) {
    this.sent.push(frame);
  }

  signal(kind, data, call = 'call') {
    this.emit('call', { room: 'room', call, signal: { kind, data } });
  }

  emit(type, detail) {
    this.dispatchEvent(Object.assign(new Event(type), { detail }));
  }

  signals(kind) {
    return this.sent.map(({ signal }) => signal).filter((signal) => signal.kind === kind).map(({ data }) => data);
  }
}

function session(t) {
  const client = new Hub();
  const commands = [];
  const room = { id: 'room', command: (kind, data) => commands.push([kind, data]) };
  const local = { getTracks: () => [], getVideoTracks: () => [] };
  const it = new CallSession({ client, room, call: 'call', device: 'device', local, RTCPeerConnection: FakePeerConnection, now: () => 0 });
  t.after(() => it.end());
  const meet = (epoch, more = {}) => client.signal('peer', { user: 'doctor', epoch, polite: false, resumed: false, ...more });
  return { it, client, commands, meet };
}

test('it attaches once per connection and reports the epochs it holds', (t) => {
  const { it, client, meet } = session(t);
  it.attach();
  client.emit('live', { room: 'room' });
  assert.deepEqual(client.signals('attach'), [{ device: 'device', held: [] }], 'a refreshed room is no new connection');
  meet(7);
  client.signal('candidate', { from: 'doctor', epoch: 7, n: 4, candidate: { candidate: '' } });
  client.connection = 'c2';
  client.emit('live', { room: 'other' });
  client.emit('live', { room: 'room' });
  assert.deepEqual(client.signals('attach')[1], { device: 'device', held: [{ peer: 'doctor', epoch: 7, got: 4 }] });
  it.attach(true);
  assert.equal(client.signals('attach')[2].take, true);
});

test('a peer connection survives a resumption but not a new epoch', async (t) => {
  const { it, client, meet } = session(t);
  meet(7);
  const first = it.peers.get('doctor').negotiator;
  meet(7, { resumed: true });
  assert.equal(it.peers.get('doctor').negotiator, first);
  await waitUntil(() => first.pc.ice === 1, 'ICE is restarted');
  meet(8);
  assert.notEqual(it.peers.get('doctor').negotiator, first);
  assert.ok(first.closed);
  meet(9, { resumed: true });
  assert.equal(it.peers.get('doctor').epoch, 9, 'what it does not hold it cannot resume');
  client.signal('description', { from: 'doctor', epoch: 8, n: 9, description: { type: 'offer', sdp: 'x' } });
  client.signal('candidate', { from: 'stranger', epoch: 9, n: 9, candidate: { candidate: '' } });
  assert.equal(it.peers.get('doctor').got, 0, 'stale and foreign messages are dropped');
  client.signal('peer', { user: 'doctor', epoch: 10, polite: true, resumed: false }, 'another call');
  assert.equal(it.peers.get('doctor').epoch, 9);
});

test('offers and candidates carry the epoch, in the hub’s spelling', async (t) => {
  const { client, meet } = session(t);
  meet(7);
  await waitUntil(() => client.signals('candidate').length > 0);
  const [{ to, epoch, description }] = client.signals('description');
  assert.deepEqual([to, epoch, description.type], ['doctor', 7, 'offer']);
  assert.equal(client.signals('candidate')[0].candidate.candidate, `of ${description.sdp}`);
});

test('start and interruption of media are reported to the room once each', (t) => {
  const { it, commands, meet } = session(t);
  meet(7);
  const { negotiator } = it.peers.get('doctor');
  const become = (state) => {
    negotiator.pc.connectionState = state;
    negotiator.pc.onconnectionstatechange();
  };
  become('failed');
  assert.deepEqual(commands, [], 'what never flowed cannot break off');
  for (const state of ['connecting', 'connected', 'connected', 'disconnected', 'failed', 'connected']) become(state);
  assert.deepEqual(commands.map(([, { connected, cause }]) => [connected, cause]), [[true, undefined], [false, 'network'], [true, undefined]]);
});

test('a broken connection restarts ICE within two seconds', async (t) => {
  const { it, meet } = session(t);
  meet(7);
  const { pc } = it.peers.get('doctor').negotiator;
  pc.connectionState = 'disconnected';
  pc.onconnectionstatechange();
  await waitUntil(() => pc.ice === 1);
});

test('a connection that stays broken is rebuilt, and no longer reported as held', async (t) => {
  const { it, client, meet } = session(t);
  meet(7);
  const peer = it.peers.get('doctor');
  it.rebuild(peer);
  assert.deepEqual(client.signals('attach').at(-1), { device: 'device', held: [] });
  meet(8);
  it.rebuild(peer);
  assert.equal(client.signals('attach').length, 1, 'what was replaced meanwhile is not rebuilt');
  const { pc } = it.peers.get('doctor').negotiator;
  pc.connectionState = 'connected';
  pc.getStats = async () => new Map([['T', { type: 'transport', packetsReceived: 5 }]]);
  for (let at = 0; at < 3; at += 1) await it.checkSilence();
  assert.equal(pc.ice, 1, 'silence is a reason to look for another way');
  for (let at = 0; at < 2; at += 1) await it.checkSilence();
  assert.equal(client.signals('attach').length, 2, 'and then for another connection');
});

test('a takeover by another session stops everything here', (t) => {
  const { it, client, meet } = session(t);
  let told = 0;
  it.addEventListener('taken', () => (told += 1));
  meet(7);
  const { negotiator } = it.peers.get('doctor');
  client.signal('taken', {});
  assert.ok(it.elsewhere && negotiator.closed && told === 1 && it.peers.size === 0);
  client.emit('error', { room: 'room', code: 'media_taken' });
  assert.ok(it.elsewhere);
  client.signal('attached', { relay_only: true, ice_servers: [] });
  assert.ok(!it.elsewhere);
  assert.equal(it.config.iceTransportPolicy, 'relay', 'the rule of the room is kept');
});

test('signals the hub could not accept are recovered by reattaching', async (t) => {
  const { client, meet } = session(t);
  meet(7);
  client.emit('error', { room: 'room', code: 'unavailable', id: 'of a command' });
  client.emit('error', { room: 'room', code: 'unavailable' });
  client.emit('error', { room: 'room', code: 'unavailable' });
  await waitUntil(() => client.signals('attach').length === 1);
  assert.equal(client.signals('attach')[0].held[0].epoch, 7);
});

test('new ICE servers reach existing connections', (t) => {
  const { it, client, meet } = session(t);
  meet(7);
  client.signal('servers', { ice_servers: [{ urls: ['turn:example.org'] }], expires_at: new Date(Date.now() + 300_000).toISOString() });
  assert.equal(it.peers.get('doctor').negotiator.pc.config.iceServers[0].urls[0], 'turn:example.org');
});

test('statistics that cannot be read leave the call as it is', async (t) => {
  const { it, meet } = session(t);
  meet(7);
  const { pc } = it.peers.get('doctor').negotiator;
  pc.connectionState = 'connected';
  let reads = 0;
  pc.getStats = async () => {
    reads += 1;
    throw new DOMException('the connection is closed', 'InvalidStateError');
  };
  // An unhandled rejection would end this test.
  await waitUntil(() => reads >= 2, 'both rounds of statistics');
});
