// REST, and who is signed in in this tab.

const REFRESH_KEY = 'wardroom.refresh';
/** A guest's link, and this tab's own mark: with both the hub gives the same session another access token. */
const GUEST_KEY = 'wardroom.guest';
/** Set while this browser has a sign-in in a cookie, which no script can see: without it there is nothing to ask for. */
const COOKIE_KEY = 'wardroom.cookie';
/** A token that ends sooner than this is not used any more, in milliseconds. */
const MARGIN = 30_000;

/** What went wrong, in the hub's words; `code` is for programs. */
export class ApiError extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title ?? 'The hub did not answer.');
    this.code = problem.code ?? 'unreachable';
    this.status = problem.status ?? 0;
    /** Asking again will not help. */
    this.final = this.status === 401 || this.status === 403;
  }
}

let access = null;
let refreshing = null;

export const session = {
  /** @type {{id: string, name: string, role: string, email: string, pharmacy?: string} | null} */
  user: null,
};

async function call(method, path, { body, headers = {}, raw = false } = {}) {
  let response;
  const init = { method, headers: { ...headers } };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers['content-type'] = 'application/json';
  }
  try {
    response = await fetch(path, init);
  } catch {
    throw new ApiError({ detail: 'The hub cannot be reached. Check your connection.' });
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ status: response.status }));
    throw new ApiError({ status: response.status, ...problem });
  }
  if (raw) return response;
  return response.status === 204 ? null : response.json();
}

function signedIn(answer) {
  access = { token: answer.access_token, until: Date.parse(answer.expires_at) };
  session.user = answer.user;
  if (answer.refresh_token) sessionStorage.setItem(REFRESH_KEY, answer.refresh_token);
  return answer.user;
}

/** Signs in with a password; the refresh token stays in a cookie that no script can read. */
export async function signIn(email, password) {
  sessionStorage.removeItem(REFRESH_KEY);
  const user = signedIn(await call('POST', '/v1/auth/sign-in', { body: { email, password, transport: 'cookie' } }));
  localStorage.setItem(COOKIE_KEY, '1');
  return user;
}

/** Signs this tab alone in by a demo link, so that several tabs can be several people. */
export async function signInDemo(token) {
  return signedIn(await call('POST', '/v1/auth/demo', { body: { token } }));
}

/** Comes in by a guest's link, in this tab alone. */
export async function enterAsGuest(token) {
  const guest = { token, device: crypto.randomUUID() };
  const user = await again(guest);
  sessionStorage.setItem(GUEST_KEY, JSON.stringify(guest));
  return user;
}

async function again(guest) {
  const answer = await call('POST', '/v1/guests/enter', { body: guest });
  return signedIn({ ...answer, user: { ...answer.user, room: answer.room } });
}

export async function register(person) {
  return (await call('POST', '/v1/auth/register', { body: person })).user;
}

function forget() {
  const own = [GUEST_KEY, REFRESH_KEY].find((key) => sessionStorage.getItem(key));
  if (own) sessionStorage.removeItem(own);
  else localStorage.removeItem(COOKIE_KEY);
}

/** Tabs share the cookie, and what is in it is good once: they take turns. */
const alone = (run) => (navigator.locks ? navigator.locks.request('wardroom-refresh', run) : run());

/** Gets a fresh access token. One at a time: a refresh token is good once. */
export function refresh() {
  refreshing ??= (async () => {
    const own = sessionStorage.getItem(REFRESH_KEY);
    const guest = sessionStorage.getItem(GUEST_KEY);
    try {
      if (guest) return await again(JSON.parse(guest));
      if (own) return signedIn(await call('POST', '/v1/auth/refresh', { body: { refresh_token: own } }));
      if (!localStorage.getItem(COOKIE_KEY)) throw new ApiError({ status: 401, detail: 'Sign in first.' });
      return await alone(async () => signedIn(await call('POST', '/v1/auth/refresh', { body: {} })));
    } catch (error) {
      if (error.final) forget();
      throw error;
    } finally {
      refreshing = null;
    }
  })();
  return refreshing;
}

/** An access token that is good for a while; `fresh` asks for another than the present one. */
export async function token(fresh = false) {
  if (fresh || !access || access.until - Date.now() < MARGIN) await refresh();
  return access.token;
}

export async function signOut() {
  const own = sessionStorage.getItem(REFRESH_KEY);
  const guest = sessionStorage.getItem(GUEST_KEY);
  forget();
  // A guest has no sign-in that could be ended: the token goes with this tab.
  if (guest) return void (access = session.user = null);
  await call('POST', '/v1/auth/sign-out', { body: own ? { refresh_token: own } : {} }).catch(() => {});
  access = session.user = null;
}

async function authorized(method, path, options = {}) {
  const headers = { ...options.headers, authorization: `Bearer ${await token()}` };
  return call(method, path, { ...options, headers });
}

export const get = (path) => authorized('GET', path);

/** An unsafe call. The key makes it safe to repeat: keep it when you try the same thing again. */
export function send(method, path, body, { key = crypto.randomUUID(), version } = {}) {
  const headers = { 'idempotency-key': key };
  if (version !== undefined) headers['if-match'] = `"${version}"`;
  return authorized(method, path, { body, headers });
}

/** Downloads a room's record as a file. */
export async function exportRecord(room) {
  const headers = { 'idempotency-key': crypto.randomUUID() };
  const response = await authorized('POST', `/v1/rooms/${room}/export`, { body: {}, headers, raw: true });
  return response.blob();
}
