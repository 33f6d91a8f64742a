// Notifications on this device: asked for, kept alive at every visit, and given up with the sign-in.

import * as api from './api.js';

/** Whose notifications this browser gets, and under which id the hub knows it. */
const OWNER_KEY = 'wardroom.notify';
const NOTES = 'wardroom-notify';

export const LANGUAGES = { en: 'English', ko: '한국어' };

export const supported = () => isSecureContext && 'serviceWorker' in navigator && 'PushManager' in window && 'Notification' in window;
const owner = () => JSON.parse(localStorage.getItem(OWNER_KEY) ?? 'null');

/** Whether this person is notified on this device. */
export const isOn = (user) => supported() && Notification.permission === 'granted' && owner()?.user === user.id;

/** The language of notifications: chosen here, else the browser's. */
export function language() {
  const wish = localStorage.getItem(`${OWNER_KEY}.language`) ?? navigator.language.slice(0, 2);
  return wish in LANGUAGES ? wish : 'en';
}

/** The service worker reads it from there, also when no page is open. */
export async function speak(wish) {
  localStorage.setItem(`${OWNER_KEY}.language`, wish);
  await note(wish);
}

async function note(wish) {
  const notes = await caches.open(NOTES);
  await notes.put('/language', new Response(wish));
}

const bytes = (base64url) => Uint8Array.from(atob(base64url.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0));
const same = (buffer, other) => buffer && buffer.byteLength === other.length && new Uint8Array(buffer).every((byte, at) => byte === other[at]);

/** A subscription to the hub's present key, and the hub's knowledge of it. */
async function subscribe(user) {
  const registration = await navigator.serviceWorker.ready;
  const key = bytes((await api.get('/v1/push/key')).key);
  let subscription = await registration.pushManager.getSubscription();
  if (subscription && !same(subscription.options.applicationServerKey, key)) {
    await subscription.unsubscribe();
    subscription = null;
  }
  subscription ??= await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  const { endpoint, keys } = subscription.toJSON();
  const { id } = await api.send('POST', '/v1/push/subscriptions', { endpoint, keys });
  localStorage.setItem(OWNER_KEY, JSON.stringify({ user: user.id, id }));
}

/** At every visit: the script is the present one, and the subscription still holds. */
export async function start(user, go) {
  if (!supported()) return;
  navigator.serviceWorker.onmessage = ({ data }) => {
    if (data.type === 'open') go(data.hash);
    if (data.type === 'subscribe' && isOn(user)) subscribe(user).catch(complain);
  };
  try {
    await navigator.serviceWorker.register('/sw.js');
    await note(language());
    if (isOn(user)) await subscribe(user);
  } catch (error) {
    complain(error);
  }
}

// A browser without a push service, usually; the page does without.
const complain = (error) => console.info(`Notifications are not available: ${error.message}`);

/** Asks the person and subscribes. */
export async function enable(user) {
  const answer = await Notification.requestPermission();
  if (answer !== 'granted') throw new Error('Your browser does not let this page notify you. Change that in its settings for this site.');
  await subscribe(user);
}

/** No more notifications here; also at signing out, so that nobody gets them who comes after. */
export async function disable(user) {
  const known = owner();
  if (known?.user !== user.id) return;
  localStorage.removeItem(OWNER_KEY);
  const registration = await navigator.serviceWorker.getRegistration();
  const subscription = await registration?.pushManager.getSubscription();
  await Promise.allSettled([api.send('DELETE', `/v1/push/subscriptions/${known.id}`), subscription?.unsubscribe()]);
}
