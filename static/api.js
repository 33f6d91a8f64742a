// The REST client, and this tab's sign-in.

import { hubNow, syncClockCoarsely } from './clock.js';

const REFRESH_KEY = 'wardroom.refresh';
/** A guest's link token and this tab's device id: with both, the hub issues another access token for the same session. */
const GUEST_KEY = 'wardroom.guest';
/** Set while this browser holds a refresh cookie, which scripts cannot read. Without it a refresh is pointless. */
const COOKIE_KEY = 'wardroom.cookie';
/** A token that expires sooner than this is refreshed before use, in milliseconds. */
const TOKEN_MARGIN_MS = 30_000;

/** The hub's codes for a sign-in that has ended or never was. */
const FINAL_CODES = ['unauthenticated', 'bad_credentials', 'account_inactive', 'forbidden'];

/** A failed request: the message is the hub's text, `code` is for programs. */
export class ApiError extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title ?? 'The hub did not answer.');
    this.code = problem.code ?? 'unreachable';
    this.status = problem.status ?? 0;
    /** The own consultation that stands against the request, if there is one. */
    this.room = problem.room;
    /** Whether a retry cannot succeed. Only the hub's own answer is final: a proxy's 403 says nothing about the sign-in. */
    this.final = FINAL_CODES.includes(problem.code);
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
  syncClockCoarsely(response.headers.get('date'));
  if (!response.ok) throw new ApiError({ ...(await readProblem(response)), status: response.status });
  if (raw) return response;
  return response.status === 204 ? null : response.json().catch(() => { throw new ApiError({ detail: 'The answer was cut off. Try again.' }); });
}

/** The hub's problem, or nothing: a proxy on the way answers in its own words. */
async function readProblem(response) {
  if (!response.headers.get('content-type')?.startsWith('application/problem+json')) return {};
  return response.json().catch(() => ({}));
}

function storeSignIn(answer) {
  access = { token: answer.access_token, until: Date.parse(answer.expires_at) };
  session.user = answer.user;
  if (answer.refresh_token) sessionStorage.setItem(REFRESH_KEY, answer.refresh_token);
  return answer.user;
}

/** Signs in with a password. The refresh token stays in a cookie that scripts cannot read. */
export async function signIn(email, password) {
  sessionStorage.removeItem(REFRESH_KEY);
  const user = storeSignIn(await call('POST', '/v1/auth/sign-in', { body: { email, password, transport: 'cookie' } }));
  localStorage.setItem(COOKIE_KEY, '1');
  return user;
}

/** Signs in this tab only, by a demo link, so that several tabs can be several people. */
export async function signInDemo(token) {
  return storeSignIn(await call('POST', '/v1/auth/demo', { body: { token } }));
}

/** Enters a room by a guest link, in this tab only. */
export async function enterAsGuest(token) {
  const guest = { token, device: crypto.randomUUID() };
  const user = await enter(guest);
  sessionStorage.setItem(GUEST_KEY, JSON.stringify(guest));
  return user;
}

async function enter(guest) {
  const answer = await call('POST', '/v1/guests/enter', { body: guest });
  return storeSignIn({ ...answer, user: { ...answer.user, room: answer.room } });
}

export async function register(person) {
  return (await call('POST', '/v1/auth/register', { body: person })).user;
}

function forgetSignIn() {
  const own = [GUEST_KEY, REFRESH_KEY].find((key) => sessionStorage.getItem(key));
  if (own) sessionStorage.removeItem(own);
  else localStorage.removeItem(COOKIE_KEY);
}

/** All tabs share the cookie, and its token is valid once: a lock makes them take turns. */
const exclusively = (run) => (navigator.locks ? navigator.locks.request('wardroom-refresh', run) : run());

/** Gets a new access token. Concurrent callers share one request, because a refresh token is valid once. */
export function refresh() {
  refreshing ??= (async () => {
    const own = sessionStorage.getItem(REFRESH_KEY);
    const guest = sessionStorage.getItem(GUEST_KEY);
    try {
      if (guest) return await enter(JSON.parse(guest));
      if (own) return storeSignIn(await call('POST', '/v1/auth/refresh', { body: { refresh_token: own } }));
      if (!localStorage.getItem(COOKIE_KEY)) throw new ApiError({ status: 401, code: 'unauthenticated', detail: 'Sign in first.' });
      return await exclusively(async () => storeSignIn(await call('POST', '/v1/auth/refresh', { body: {} })));
    } catch (error) {
      if (error.final) forgetSignIn();
      throw error;
    } finally {
      refreshing = null;
    }
  })();
  return refreshing;
}

/** A valid access token; `fresh` requests a new one. */
export async function token(fresh = false) {
  if (fresh || !access || access.until - hubNow() < TOKEN_MARGIN_MS) await refresh();
  return access.token;
}

export async function signOut() {
  const own = sessionStorage.getItem(REFRESH_KEY);
  const guest = sessionStorage.getItem(GUEST_KEY);
  forgetSignIn();
  // A guest has no sign-in to end: the token is discarded with this tab.
  if (guest) return void (access = session.user = null);
  await call('POST', '/v1/auth/sign-out', { body: own ? { refresh_token: own } : {} }).catch(() => {});
  access = session.user = null;
}

async function authorized(method, path, options = {}) {
  const headers = { ...options.headers, authorization: `Bearer ${await token()}` };
  return call(method, path, { ...options, headers });
}

export const get = (path) => authorized('GET', path);

/** Every item of a list, page by page. */
export async function getAll(path) {
  const items = [];
  for (let cursor = ''; ;) {
    const page = await get(cursor ? `${path}${path.includes('?') ? '&' : '?'}cursor=${encodeURIComponent(cursor)}` : path);
    items.push(...page.items);
    if (!page.next) return { items };
    cursor = page.next;
  }
}

/** An unsafe request. The idempotency key makes it safe to repeat: pass the same key for a retry. */
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
