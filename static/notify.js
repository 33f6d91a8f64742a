// Push notifications on this device: enabled by the user, renewed at every visit, ended at sign-out.

import * as api from './api.js';

/** The user who gets this browser's notifications, and the hub's id of the subscription. */
const OWNER_KEY = 'wardroom.notify';
const SETTINGS_CACHE = 'wardroom-notify';

export const LANGUAGES = { en: 'English', ko: '한국어' };

export const supported = () => isSecureContext && 'serviceWorker' in navigator && 'PushManager' in window && 'Notification' in window;
const owner = () => JSON.parse(localStorage.getItem(OWNER_KEY) ?? 'null');

/** Whether this user gets notifications on this device. */
export const isOn = (user) => supported() && Notification.permission === 'granted' && owner()?.user === user.id;

/** The language of notifications: the one chosen here, else the browser's. */
export function language() {
  const code = localStorage.getItem(`${OWNER_KEY}.language`) ?? navigator.language.slice(0, 2);
  return code in LANGUAGES ? code : 'en';
}

/** Stores the language in the cache, where the service worker finds it without an open page. */
export async function setLanguage(code) {
  localStorage.setItem(`${OWNER_KEY}.language`, code);
  await storeLanguage(code);
}

async function storeLanguage(code) {
  const cache = await caches.open(SETTINGS_CACHE);
  await cache.put('/language', new Response(code));
}

const decodeBase64Url = (base64url) => Uint8Array.from(atob(base64url.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0));
const sameBytes = (buffer, other) => buffer && buffer.byteLength === other.length && new Uint8Array(buffer).every((byte, at) => byte === other[at]);

/** Subscribes with the hub's current key and registers the subscription at the hub. */
async function subscribe(user) {
  const registration = await navigator.serviceWorker.ready;
  const key = decodeBase64Url((await api.get('/v1/push/key')).key);
  let subscription = await registration.pushManager.getSubscription();
  if (subscription && !sameBytes(subscription.options.applicationServerKey, key)) {
    await subscription.unsubscribe();
    subscription = null;
  }
  subscription ??= await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  const { endpoint, keys } = subscription.toJSON();
  const { id } = await api.send('POST', '/v1/push/subscriptions', { endpoint, keys });
  localStorage.setItem(OWNER_KEY, JSON.stringify({ user: user.id, id }));
}

/** Updates the service worker and renews the subscription; called at every visit. */
export async function start(user, go) {
  if (!supported()) return;
  navigator.serviceWorker.onmessage = ({ data }) => {
    if (data.type === 'open') go(data.hash);
    if (data.type === 'subscribe' && isOn(user)) subscribe(user).catch(reportUnavailable);
  };
  try {
    await navigator.serviceWorker.register('/sw.js');
    await storeLanguage(language());
    if (isOn(user)) await subscribe(user);
  } catch (error) {
    reportUnavailable(error);
  }
}

// Usually a browser without a push service; the page works without notifications.
const reportUnavailable = (error) => console.info(`Notifications are not available: ${error.message}`);

/** Asks for permission and subscribes. */
export async function enable(user) {
  const answer = await Notification.requestPermission();
  if (answer !== 'granted') throw new Error('Your browser does not let this page notify you. Change that in its settings for this site.');
  await subscribe(user);
}

/** Ends notifications on this device; also at sign-out, so that the next user of the browser gets none of them. */
export async function disable(user) {
  const known = owner();
  if (known?.user !== user.id) return;
  localStorage.removeItem(OWNER_KEY);
  const registration = await navigator.serviceWorker.getRegistration();
  const subscription = await registration?.pushManager.getSubscription();
  await Promise.allSettled([api.send('DELETE', `/v1/push/subscriptions/${known.id}`), subscription?.unsubscribe()]);
}
