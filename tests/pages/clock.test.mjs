/** @file A device whose clock is wrong shows and does what is right by the hub's clock. */

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { token } from '../../static/api.js';
import { hubNow, syncClock } from '../../static/clock.js';
import { CallSession } from '../../static/call/session.js';
import { formatMoment } from '../../static/labels.js';
import { live } from './support/client.mjs';
import { showRoom, snapshot } from './support/screens.mjs';

const HOUR = 3_600_000;
const HUB = Date.parse('2026-12-01T12:00:00Z');

/** Sets the device's clock an hour ahead of the hub's. */
function anHourAhead(t, apis = ['Date']) {
  mock.timers.enable({ apis, now: HUB + HOUR });
  t.after(() => mock.timers.reset());
}

test('an access token is used until it expires by the hub’s clock', async (t) => {
  anHourAhead(t);
  globalThis.sessionStorage = { getItem: (key) => (key === 'wardroom.refresh' ? 'refresh token' : null), setItem() {} };
  let refreshes = 0;
  t.mock.method(globalThis, 'fetch', async () => {
    refreshes += 1;
    const body = { access_token: `token ${refreshes}`, expires_at: new Date(HUB + 900_000).toISOString(), user: { id: 'pia' } };
    return Response.json(body, { headers: { date: new Date(HUB).toUTCString() } });
  });
  assert.deepEqual([await token(), await token(), refreshes], ['token 1', 'token 1', 1]);
});

test('the client reports the hub’s time of every welcome and beat', async (t) => {
  anHourAhead(t);
  const { client, network } = await live();
  client.addEventListener('time', ({ detail }) => syncClock(detail.now));
  network.last().receive({ type: 'beat', at: new Date(HUB).toISOString() });
  assert.equal(hubNow(), HUB);
  mock.timers.setTime(HUB - 2 * HOUR);
  network.last().receive({ type: 'beat', at: new Date(HUB + 15_000).toISOString() });
  assert.equal(hubNow(), HUB + 15_000, 'the device’s clock was set back');
});

test('a countdown and the word “today” follow the hub’s clock', (t) => {
  anHourAhead(t);
  syncClock(new Date(HUB).toISOString());
  const consultation = { state: 'called', version: 1, until: new Date(HUB + 90_000).toISOString(), allowed: {} };
  const { byTestId } = showRoom('doctor', snapshot({ consultation }));
  assert.equal(byTestId('countdown')[0].textContent, '1:30');
  mock.timers.setTime(HUB + 24 * HOUR);
  syncClock(new Date(HUB).toISOString());
  assert.match(formatMoment(new Date(HUB).toISOString()), /^today /);
});

test('relay credentials are renewed shortly before they expire by the hub’s clock', (t) => {
  anHourAhead(t, ['Date', 'setTimeout', 'setInterval']);
  syncClock(new Date(HUB).toISOString());
  const sent = [];
  const client = Object.assign(new EventTarget(), { connection: 'c1', send: (frame) => sent.push(frame.signal.kind) });
  const session = new CallSession({ client, room: { id: 'r1' }, call: 'call', device: 'd', local: { getVideoTracks: () => [], getTracks: () => [] }, now: () => 0 });
  session.receive({ kind: 'servers', data: { ice_servers: [], expires_at: new Date(HUB + 600_000).toISOString() } });
  mock.timers.tick(500_000);
  assert.deepEqual(sent, []);
  mock.timers.tick(15_000);
  assert.deepEqual(sent, ['servers']);
  session.end();
});
