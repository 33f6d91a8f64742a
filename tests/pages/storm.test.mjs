/**
 * @file All faults at once: lost and repeated frames, cuts, refusals, reloads. Each event reaches the page once and in
 * order, and each command takes effect once. A failing run names its seed.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { browserOutbox } from '../../static/outbox.js';
import { start } from './support/client.mjs';
import { Hub, seededRandom } from './support/hub.mjs';
import { FakeIndexedDB } from './support/indexeddb.mjs';
import { waitUntil } from './support/peers.mjs';
import { Clock } from './support/time.mjs';

const RUNS = 100;
const STEPS = 150;

async function storm(seed) {
  const random = seededRandom(seed);
  const hub = new Hub(random);
  const clock = new Clock();
  const disk = (globalThis.indexedDB = new FakeIndexedDB());
  const written = [];
  let serial = 0;
  let reloads = 0;
  let page;

  const load = async () => {
    page?.client.stop();
    disk.reload();
    page = await start({ clock, random, outbox: browserOutbox('ada'), id: () => `id ${++serial}` });
    page.network.onframe = (socket, frame) => hub.handle(socket, frame);
    page.client.join('r1');
  };
  /** Opens or fails a pending socket. */
  const network = () => {
    const socket = page.network.last();
    if (socket.readyState !== 0) return;
    if (hub.fault('no socket', 0.3)) socket.cut(1006);
    else socket.welcome();
  };

  await load();
  for (let step = 0; step < STEPS; step += 1) {
    network();
    const choice = random();
    if (choice < 0.3) hub.append(random() < 0.6);
    else if (choice < 0.6) await page.client.command('r1', { kind: 'chat.send', data: {} }).then((id) => written.push(id));
    else if (choice < 0.65) hub.beat();
    else if (choice < 0.7) hub.cut(page.network.last());
    else if (choice < 0.73) {
      reloads += 1;
      await load();
    } else await clock.advance(random() * 4000);
  }

  // The network works again.
  hub.bad = false;
  const quiet = () => page.client.state === 'live' && page.client.waiting.length === 0 && page.client.readers.get('r1').cursor === hub.head();
  for (let step = 0; step < 100 && !quiet(); step += 1) {
    network();
    hub.beat();
    await clock.advance(1500);
  }
  const got = page.of('event').map(({ event }) => event.seq);
  assert.deepEqual(got, hub.visible().map(({ seq }) => seq), `seed ${seed}: every event once and in order`);
  const effects = hub.log.filter(({ command }) => command).map(({ command }) => command);
  assert.deepEqual([...effects].sort(), [...new Set(effects)].sort(), `seed ${seed}: nothing twice`);
  assert.deepEqual(written.filter((id) => !effects.includes(id)), [], `seed ${seed}: nothing lost`);
  await waitUntil(() => disk.databases.get('wardroom-ada').get('commands').rows.size === 0, `seed ${seed}: nothing is left`);
  page.client.stop();
  return { ...hub.faults, reloads, events: got.length, commands: effects.length };
}

test(`${RUNS} storms: each event once and in order, each command once`, async (t) => {
  t.after(() => delete globalThis.indexedDB);
  const total = {};
  for (let seed = 1; seed <= RUNS; seed += 1) {
    for (const [name, count] of Object.entries(await storm(seed))) total[name] = (total[name] ?? 0) + count;
  }
  t.diagnostic(JSON.stringify(total));
  for (const name of ['cut', 'lost', 'repeated', 'refused', 'put out', 'no socket', 'reloads']) assert.ok(total[name] > RUNS / 2, `${name}: ${total[name]}`);
});
