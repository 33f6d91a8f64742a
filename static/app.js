// The app: sign-in, routing between screens, and the connection's lifecycle.

import * as api from './api.js';
import { hubNow, syncClock } from './clock.js';
import { Client } from './protocol.js';
import { SIGN_IN_AGAIN } from './reconnect.js';
import { browserOutbox } from './outbox.js';
import { Room } from './room-state.js';
import { h, fill, foreign, guard, action, empty, failed, toast } from './dom.js';
import { connectionBadge } from './connection-badge.js';
import * as notify from './notify.js';
import { Calls } from './screens/call.js';
import { checkScreen } from './screens/check.js';
import { signInScreen } from './screens/signin.js';
import { patientHome } from './screens/patient.js';
import { doctorHome } from './screens/doctor.js';
import { pharmacyHome } from './screens/pharmacist.js';
import { courierHome } from './screens/courier.js';
import { accountScreen } from './screens/account.js';
import { adminHome } from './screens/admin.js';
import { roomScreen } from './screens/room.js';

const HOMES = { patient: patientHome, doctor: doctorHome, pharmacist: pharmacyHome, courier: courierHome, admin: adminHome, guest: (app) => roomScreen(app, app.user.room) };
const main = document.getElementById('main');
const top = document.getElementById('top');

const MAX_OPEN_ROOMS = 40;

/** Shared services for every screen. */
export const app = {
  user: null,
  /** @type {Client | null} */
  client: null,
  rooms: new Map(),
  /** @type {Calls | null} */
  calls: null,
  room(id) {
    if (!this.rooms.has(id)) {
      // The hub serves 64 rooms per connection. Close the oldest one that has no call.
      const spare = this.rooms.size >= MAX_OPEN_ROOMS && [...this.rooms.values()].find((other) => other !== this.calls.room);
      if (spare) {
        spare.end();
        this.rooms.delete(spare.id);
      }
      this.rooms.set(id, new Room(this.client, id, this.user.id));
      this.calls.watch(this.rooms.get(id));
    }
    return this.rooms.get(id);
  },
  /** Returns to the sign-in screen after a sign-out here or on another device. */
  leave: () => signedOut(),
  go(path) {
    location.hash = path;
  },
  /** Adds a listener that is removed when the current screen closes. */
  on(target, type, run) {
    target.addEventListener(type, (event) => guard(() => run(event)), { signal: leaving.signal });
  },
  /** Subscribes to a feed until the current screen closes. */
  follow(feed, show) {
    const same = (other) => other.name === feed.name && other.doctor === feed.doctor;
    this.on(this.client, 'feed', ({ detail }) => same(detail.feed) && show(detail.items, detail.missing));
    leaving.signal.addEventListener('abort', () => this.client.unsubscribe(feed));
    this.client.subscribe(feed);
  },
  /** Shows the result of `get` and retries when the hub is reachable again. Returns a function that reloads it. */
  load(box, get, show) {
    const run = async () => {
      try {
        fill(box, show(await get()));
      } catch (error) {
        fill(box, failed(error, run));
        if (!error.final) this.client.addEventListener('welcome', run, { once: true, signal: leaving.signal });
      }
    };
    run();
    return run;
  },
  /** Runs a cleanup when the current screen closes. */
  whenLeft(run) {
    leaving.signal.addEventListener('abort', run);
  },
  every(ms, run) {
    const timer = setInterval(() => guard(run), ms);
    leaving.signal.addEventListener('abort', () => clearInterval(timer));
  },
};

let leaving = new AbortController();

async function signedIn(user) {
  app.user = user;
  const client = (app.client = new Client({ base: location.origin, token: api.token, outbox: browserOutbox(user.id), now: hubNow }));
  client.addEventListener('time', ({ detail }) => syncClock(detail.now));
  app.rooms = new Map();
  app.calls = new Calls(app, document.getElementById('call'));
  client.addEventListener('state', ({ detail }) => {
    if (app.client !== client || detail.state !== 'stopped' || detail.reason !== SIGN_IN_AGAIN) return;
    signedOut();
    toast('Your sign-in has ended. What was not sent yet is sent when you sign in again.', 'bad');
  });
  header();
  await client.start();
  route();
  await notify.start(user, (path) => app.go(path));
}

function signedOut() {
  app.calls?.close();
  app.client?.stop();
  app.user = app.client = app.calls = null;
  header();
  route();
}

function header() {
  const brand = h('a.brand', { href: '#/', aria: { label: 'Wardroom, home' } }, h('img', { src: '/icon.svg', alt: '', width: 28, height: 28 }), 'Wardroom');
  fill(top, brand, app.user && [
    connectionBadge(app.client),
    h('a.who', { href: app.user.role === 'guest' ? '#/' : '#/account', testid: 'who', title: 'Your account' }, h('b', {}, foreign(app.user.name)), h('small', {}, app.user.role)),
    action('Sign out', async () => { await notify.disable(app.user); await api.signOut(); signedOut(); }, { class: 'quiet', testid: 'sign-out' }),
  ]);
}

function route() {
  leaving.abort();
  leaving = new AbortController();
  if (!app.user) return fill(main, signInScreen(signedIn));
  const [, place, id] = location.hash.split('/');
  const home = HOMES[app.user.role];
  if (app.user.role === 'guest') fill(main, home(app));
  else if (place === 'account') fill(main, accountScreen(app));
  else if (place === 'check' && id) fill(main, checkScreen(app, id));
  else if (place === 'room' && id) fill(main, roomScreen(app, id));
  else if (home) fill(main, home(app, place, id));
  else fill(main, h('p', {}, 'There is no screen for your role.'));
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

addEventListener('hashchange', route);
addEventListener('online', () => app.client?.reconnectNow());
addEventListener('offline', () => app.client?.offline());
document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && app.client?.reconnectNow());

async function boot() {
  const [, way, token] = location.hash.match(/^#(demo|guest)=(.+)$/) ?? [];
  // The link's secret must not stay in the address bar or the history.
  if (way) history.replaceState(null, '', '/');
  const ways = { demo: api.signInDemo, guest: api.enterAsGuest };
  try {
    await signedIn(way ? await ways[way](token) : await api.refresh());
  } catch (error) {
    if (way === 'guest') return fill(main, empty('This link does not open', error.message));
    if (way || !error.final) console.warn(error.message);
    route();
  }
}

// Ends the watch in index.html: every file of the page has arrived.
document.documentElement.dataset.loaded = '';
sessionStorage.removeItem('wardroom.reloads');
addEventListener('unhandledrejection', ({ reason }) => {
  console.error(reason);
  toast(`Something failed: ${reason?.message ?? reason}`, 'bad');
});
boot();
