/** @file Perfect negotiation between two negotiators over a channel that delays messages and keeps each side’s order. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Negotiator } from '../../static/call/negotiator.js';
import { FakePeerConnection, waitUntil } from './support/peers.mjs';

/** Creates two connected negotiators; while `cut` is set, messages are lost. */
function two() {
  const sides = {};
  const way = { cut: false, lost: 0, troubles: [] };
  const make = (name, polite) => {
    let order = Promise.resolve();
    const send = (message) => {
      if (way.cut) return void (way.lost += 1);
      const copy = structuredClone(message.description ? { description: { ...message.description } } : message);
      order = order.then(() => new Promise((done) => setTimeout(done, Math.random() * 4))).then(() => {
        if (way.cut) way.lost += 1;
        else sides[name === 'one' ? 'two' : 'one'].receive(copy);
      });
    };
    sides[name] = new Negotiator({ RTCPeerConnection: FakePeerConnection, config: {}, polite, send });
    sides[name].addEventListener('failure', ({ detail }) => way.troubles.push(detail.error.message));
  };
  make('one', false);
  make('two', true);
  return { ...sides, way };
}

const agree = ({ one, two: other }) =>
  one.pc.signalingState === 'stable' && other.pc.signalingState === 'stable' && !one.pc.needed && !other.pc.needed
  && one.pc.operations + other.pc.operations === 0
  && one.pc.current.local?.sdp === other.pc.current.remote?.sdp && one.pc.current.remote?.sdp === other.pc.current.local?.sdp && !!one.pc.current.local;

test('the impolite side opens a call with one offer', async () => {
  const both = two();
  await waitUntil(() => agree(both));
  assert.equal(both.one.pc.log.length, 1);
  assert.match(both.one.pc.log[0][0], /^offer/);
  assert.deepEqual(both.way.troubles, []);
});

test('200 simultaneous renegotiations end stable and without errors', async () => {
  const both = two();
  await waitUntil(() => agree(both));
  for (let round = 0; round < 200; round += 1) {
    both.one.pc.restartIce();
    both.two.pc.restartIce();
    await waitUntil(() => agree(both), `stable in round ${round}`);
  }
  assert.deepEqual(both.way.troubles, []);
  assert.equal(both.one.pc.ice, 200);
  // Each side's last change is in the agreed descriptions.
  assert.match(both.one.pc.current.local.sdp, /ice 200/);
  assert.match(both.two.pc.current.local.sdp, /ice 200/);
});

test('an offer lost with the connection is repeated after reconnecting', async () => {
  const both = two();
  await waitUntil(() => agree(both));
  for (let round = 0; round < 30; round += 1) {
    both.way.cut = true;
    [both.one, both.two][round % 2].pc.restartIce();
    await waitUntil(() => both.way.lost > round);
    both.way.cut = false;
    both.one.restart();
    both.two.restart();
    await waitUntil(() => agree(both), `stable in round ${round}`);
  }
  // Candidates of an offer that never arrived match nothing; that is only logged.
  assert.deepEqual(both.way.troubles.filter((it) => it !== 'unknown ufrag'), []);
});

test('an answer to a rolled-back offer is dropped', async () => {
  const both = two();
  await waitUntil(() => agree(both));
  const before = both.one.pc.log.length;
  await both.one.receive({ description: { type: 'answer', sdp: 'answer to nothing' } });
  assert.equal(both.one.pc.log.length, before);
  assert.deepEqual(both.way.troubles, []);
});

test('unmatched candidates are an error only if no offer was ignored', async () => {
  const both = two();
  await waitUntil(() => agree(both));
  await both.one.receive({ candidate: { candidate: 'of nothing' } });
  assert.equal(both.way.troubles.length, 1);
});

test('microphone state arrives over the data channel, and malformed messages do not', async () => {
  const both = two();
  const heard = [];
  both.one.addEventListener('remote-state', ({ detail }) => heard.push(detail.state));
  both.one.sendState({ microphone: false });
  assert.deepEqual(both.one.channel.sent, [], 'the channel is not open yet');
  both.one.channel.readyState = 'open';
  both.one.channel.onopen();
  assert.deepEqual(both.one.channel.sent, ['{"microphone":false}']);
  both.one.channel.onmessage({ data: '{"camera":true}' });
  both.one.channel.onmessage({ data: 'no JSON' });
  assert.deepEqual(heard, [{ camera: true }]);
  // It may have arrived before the other side was ready; the first message from there triggers one repeat.
  assert.deepEqual(both.one.channel.sent, ['{"microphone":false}', '{"microphone":false}']);
});

test('a closed negotiator does nothing', async () => {
  const both = two();
  await waitUntil(() => agree(both));
  both.one.close();
  await both.one.receive({ description: { type: 'offer', sdp: 'late' } });
  await both.one.restart();
  both.one.restartIce();
  assert.equal(both.one.pc.ice, 0);
  assert.deepEqual(both.way.troubles, []);
});
