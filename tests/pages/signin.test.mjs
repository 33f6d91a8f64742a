/** @file A sign-in ends only when the hub says so. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { refresh } from '../../static/api.js';

const problem = (status, code) => () => new Response(JSON.stringify({ status, code, detail: 'no' }), { status, headers: { 'content-type': 'application/problem+json' } });
const foreign = (status, type, body) => () => new Response(body, { status, headers: { 'content-type': type } });

/** Refreshes once; returns the error and whether the stored token is still there. */
async function refreshWith(t, answer) {
  const stored = new Map([['wardroom.refresh', 'token']]);
  globalThis.sessionStorage = { getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => stored.set(key, value), removeItem: (key) => stored.delete(key) };
  t.mock.method(globalThis, 'fetch', async () => answer());
  const error = await refresh().then(() => null, (it) => it);
  return { final: error.final, kept: stored.has('wardroom.refresh') };
}

test('a proxy’s answer never ends the sign-in', async (t) => {
  const answers = [
    foreign(403, 'text/html', '<h1>Blocked</h1>'),
    foreign(401, 'text/html', '<h1>Log in to the hotel</h1>'),
    foreign(403, 'application/json', '{"code":"forbidden"}'),
    foreign(200, 'text/html', '<h1>Welcome to the hotel</h1>'),
    problem(503, 'unavailable'),
    () => { throw new TypeError('no network'); },
  ];
  for (const answer of answers) assert.deepEqual(await refreshWith(t, answer), { final: false, kept: true }, `${answer}`);
});

test('the hub’s own refusal ends it', async (t) => {
  for (const [status, code] of [[401, 'unauthenticated'], [403, 'account_inactive']]) {
    assert.deepEqual(await refreshWith(t, problem(status, code)), { final: true, kept: false }, code);
  }
});
