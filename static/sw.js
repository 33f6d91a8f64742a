// Push notifications. A message carries a kind and a room id; this file holds the texts, in the user's language.
//
// Every message shows a notification, even an unknown one: browsers revoke the permission of sites that show none.

const TEXTS = {
  en: {
    call: ['You are being called', 'Open to answer.'],
    missed_call: ['Missed call', 'Open to call back or write.'],
    message: ['New message', 'Somebody wrote to you in a consultation.'],
    consultation: ['Your consultation', 'There is news.'],
    prescription: ['A prescription', 'There is news.'],
    delivery: ['A delivery', 'There is news.'],
    payment: ['A payment', 'There is news.'],
    other: ['Wardroom', 'There is news.'],
  },
  ko: {
    call: ['전화가 왔습니다', '열어서 받으세요.'],
    missed_call: ['부재중 전화', '열어서 다시 걸거나 메시지를 보내세요.'],
    message: ['새 메시지', '진료실에 새 메시지가 있습니다.'],
    consultation: ['진료', '새로운 소식이 있습니다.'],
    prescription: ['처방전', '새로운 소식이 있습니다.'],
    delivery: ['배송', '새로운 소식이 있습니다.'],
    payment: ['결제', '새로운 소식이 있습니다.'],
    other: ['Wardroom', '새로운 소식이 있습니다.'],
  },
};

/** Settings that the pages store for this script: see `notify.js`. */
const SETTINGS_CACHE = 'wardroom-notify';
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

async function language() {
  const stored = await caches.open(SETTINGS_CACHE).then((cache) => cache.match('/language')).then((entry) => entry?.text()).catch(() => null);
  const preferred = stored || self.navigator.language || 'en';
  return TEXTS[preferred] ? preferred : TEXTS[preferred.slice(0, 2)] ? preferred.slice(0, 2) : 'en';
}

function read(data) {
  try {
    const { kind, room } = data.json();
    return { kind: Object.hasOwn(TEXTS.en, kind) ? kind : 'other', room: ID.test(room) ? room : null };
  } catch {
    return { kind: 'other', room: null };
  }
}

async function show(message) {
  const { kind, room } = message;
  const lang = await language();
  const [title, body] = TEXTS[lang][kind];
  const rings = kind === 'call';
  await self.registration.showNotification(title, {
    body,
    lang,
    icon: '/icon.svg',
    // A missed call replaces the ring; the latest notification of each kind replaces the earlier ones.
    tag: `${kind === 'missed_call' ? 'call' : kind}:${room}`,
    renotify: true,
    requireInteraction: rings,
    vibrate: rings ? [400, 200, 400, 200, 400] : [200],
    data: message,
  });
}

/** Focuses the room: in a window that shows it, else in another Wardroom window, else in a new one. */
async function open({ room }) {
  const hash = room ? `#/room/${room}` : '#/';
  const windows = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  const there = windows.find(({ url }) => new URL(url).hash === hash);
  if (there) return there.focus();
  for (const window of windows.filter(({ url }) => new URL(url).pathname === '/')) {
    window.postMessage({ type: 'open', hash });
    return window.focus();
  }
  return self.clients.openWindow(`/${hash}`);
}

/** Has an open page register the new subscription; without one, uses this browser's sign-in, if there is one. */
async function resubscribe(event) {
  const old = event.oldSubscription ?? null;
  const fresh = event.newSubscription ?? (old && (await self.registration.pushManager.subscribe(old.options)));
  const windows = await self.clients.matchAll({ type: 'window' });
  if (windows.length) return windows[0].postMessage({ type: 'subscribe' });
  if (!fresh) return;
  // The cookie's token is valid once: take the same lock as the pages.
  await self.navigator.locks.request('wardroom-refresh', async () => {
    const json = { 'content-type': 'application/json' };
    const answer = await fetch('/v1/auth/refresh', { method: 'POST', headers: json, body: '{}' });
    if (!answer.ok) return;
    const headers = { ...json, authorization: `Bearer ${(await answer.json()).access_token}`, 'idempotency-key': crypto.randomUUID() };
    await fetch('/v1/push/subscriptions', { method: 'POST', headers, body: JSON.stringify(fresh) });
  });
}

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
self.addEventListener('push', (event) => event.waitUntil(show(read(event.data))));
self.addEventListener('pushsubscriptionchange', (event) => event.waitUntil(resubscribe(event)));
self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data ?? {}));
});
