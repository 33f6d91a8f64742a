/** @file Connection statistics become a grade, a step of the quality ladder, and a report. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Ladder, Recorder, grade, sampleStats } from '../../static/call/quality.js';

/** Returns statistics in Chromium’s format. */
const stats = ({ received = 1000, lost = 0, roundTrip = 0.04, there = 0, type = 'host', relayProtocol, narrow = 'none' } = {}) => new Map([
  ['T', { type: 'transport', selectedCandidatePairId: 'P', timestamp: 1 }],
  ['P', { type: 'candidate-pair', localCandidateId: 'L', remoteCandidateId: 'R', currentRoundTripTime: roundTrip }],
  ['L', { type: 'local-candidate', candidateType: type, protocol: 'udp', relayProtocol }],
  ['R', { type: 'remote-candidate', candidateType: 'host' }],
  ['I', { type: 'inbound-rtp', kind: 'video', packetsReceived: received, packetsLost: lost, framesDecoded: 10, bytesReceived: 5 }],
  ['O', { type: 'outbound-rtp', qualityLimitationReason: narrow }],
  ['F', { type: 'remote-inbound-rtp', fractionLost: there }],
]);

const after = (from, to) => grade(sampleStats(stats({ received: 2000, ...to }), sampleStats(stats(from))));

test('a good connection is graded good, and each fault has its grade and cause', () => {
  assert.deepEqual(after({}, {}), { level: 3, cause: '' });
  assert.equal(after({}, { lost: 60 }).level, 2);
  assert.equal(after({}, { lost: 300 }).level, 1);
  assert.equal(after({}, { there: 0.2 }).level, 1, 'what is lost on the way there counts too');
  assert.equal(after({}, { roundTrip: 0.5 }).level, 2);
  assert.equal(after({}, { roundTrip: 1.2 }).level, 1);
  assert.deepEqual(after({}, { received: 1000 }), { level: 0, cause: 'nothing arrives' });
});

test('old packet loss does not count forever', () => {
  assert.equal(after({ lost: 500 }, { lost: 500 }).level, 3);
});

test('a bandwidth limit during start-up is not reported', () => {
  let sample = sampleStats(stats({ narrow: 'bandwidth' }));
  for (let at = 1; at < 5; at += 1) sample = sampleStats(stats({ received: 1000 * (at + 1), narrow: 'bandwidth' }), sample);
  assert.equal(grade(sample).level, 3);
  for (let at = 5; at < 8; at += 1) sample = sampleStats(stats({ received: 1000 * (at + 1), narrow: 'bandwidth' }), sample);
  assert.equal(grade(sample).level, 2);
});

test('relayed and direct paths are distinguished, also with Firefox’s statistics', () => {
  assert.equal(sampleStats(stats()).path, 'direct');
  const relayed = sampleStats(stats({ type: 'relay', relayProtocol: 'tcp' }));
  assert.deepEqual([relayed.path, relayed.protocol], ['relay', 'tcp']);
  const firefox = stats({ type: 'relay' });
  firefox.delete('T');
  firefox.get('P').selected = true;
  assert.equal(sampleStats(firefox).path, 'relay');
  assert.equal(sampleStats(new Map()).path, 'none');
});

test('the quality ladder descends fast, climbs slowly, and never beyond its start', () => {
  const ladder = new Ladder();
  const feed = (level, times) => Array.from({ length: times }, () => ladder.update(level)).filter(Boolean).length;
  assert.equal(feed(1, 2), 0);
  assert.equal(feed(3, 1), 0, 'one good look begins the count anew');
  assert.equal(feed(1, 3), 1);
  assert.equal(ladder.step, 'low');
  assert.equal(feed(0, 3), 1);
  assert.equal(ladder.step, 'audio');
  assert.equal(feed(0, 30), 0, 'there is no lower step');
  assert.equal(feed(3, 7), 0);
  assert.equal(feed(3, 9), 2);
  assert.equal(ladder.step, 'video');
  assert.equal(new Ladder('audio').update(3), false);
});

test('the report has whole numbers, and zeros for media that never flowed', () => {
  let now = 1000;
  const recorder = new Recorder(() => now);
  assert.deepEqual(recorder.report(), { path: 'none', protocol: 'none', setup_ms: 0, round_trip_ms: 0, loss_permille: 0, lasted_s: 0, interruptions: 0, lowest: 'video' });
  now += 400.4;
  recorder.connected();
  for (const roundTrip of [0.03, 0.09, 0.05]) recorder.record(sampleStats(stats({ roundTrip, lost: 10, type: 'relay' })), 'video');
  now += 60_000;
  recorder.disconnected();
  recorder.disconnected();
  now += 5_000;
  recorder.connected();
  recorder.record(sampleStats(stats({ lost: 10, type: 'relay', roundTrip: 0.05 })), 'audio');
  now += 30_000;
  assert.deepEqual(recorder.report(), { path: 'relay', protocol: 'udp', setup_ms: 400, round_trip_ms: 50, loss_permille: 10, lasted_s: 90, interruptions: 1, lowest: 'audio' });
});
