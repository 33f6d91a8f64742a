// The app: who is signed in, which screen is shown, and how the connection does.

import * as api from './api.js';
import { Client } from './protocol.js';
import { SIGN_IN } from './reconnect.js';
import { browserOutbox } from './outbox.js';
import { Room } from './room-state.js';
import { h, fill, action, empty, failed, toast } from './dom.js';
import { pill } from './connection.js';
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

const MOST_ROOMS = 40;

/** What every screen has at hand. */
export const app = {
  user: null,
  /** @type {Client | null} */
  client: null,
  rooms: new Map(),
  /** @type {Calls | null} */
  calls: null,
  room(id) {
    if (!this.rooms.has(id)) {
      // The hub serves 64 rooms on one connection. The oldest goes, unless there is a call in it.
      const spare = this.rooms.size >= MOST_ROOMS && [...this.rooms.values()].find((other) => other !== this.calls.room);
      if (spare) {
        spare.end();
        this.rooms.delete(spare.id);
      }
      this.rooms.set(id, new Room(this.client, id, this.user.id));
      this.calls.watch(this.rooms.get(id));
    }
    return this.rooms.get(id);
  },
  /** Signed out, here or from elsewhere. */
  leave: () => signedOut(),
  go(path) {
    location.hash = path;
  },
  /** Listens as long as the present screen is shown. */
  on(target, type, run) {
    target.addEventListener(type, run, { signal: leaving.signal });
  },
  /** Follows a feed as long as the present screen is shown. */
  follow(feed, show) {
    const same = (other) => other.name === feed.name && other.doctor === feed.doctor;
    this.on(this.client, 'feed', ({ detail }) => same(detail.feed) && show(detail.items));
    leaving.signal.addEventListener('abort', () => this.client.unsubscribe(feed));
    this.client.subscribe(feed);
  },
  /** Shows what `get` gives, and tries again by itself when the hub is back. Returns what loads it anew. */
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
  /** Does something when the present screen is left. */
  whenLeft(run) {
    leaving.signal.addEventListener('abort', run);
  },
  every(ms, run) {
    const timer = setInterval(run, ms);
    leaving.signal.addEventListener('abort', () => clearInterval(timer));
  },
};

let leaving = new AbortController();

async function signedIn(user) {
  app.user = user;
  const client = (app.client = new Client({ base: location.origin, token: api.token, outbox: await browserOutbox(user.id) }));
  app.rooms = new Map();
  app.calls = new Calls(app, document.getElementById('call'));
  client.addEventListener('state', ({ detail }) => {
    if (app.client !== client || detail.state !== 'stopped' || detail.reason !== SIGN_IN) return;
    signedOut();
    toast('Your sign-in has ended. What was not sent yet is sent when you sign in again.', 'bad');
  });
  header();
  await client.start();
  route();
  notify.start(user, (path) => app.go(path));
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
    pill(app.client),
    h('a.who', { href: app.user.role === 'guest' ? '#/' : '#/account', testid: 'who', title: 'Your account' }, h('b', {}, app.user.name), h('small', {}, app.user.role)),
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
addEventListener('online', () => app.client?.nudge());
addEventListener('offline', () => app.client?.offline());
document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && app.client?.nudge());

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

boot();
