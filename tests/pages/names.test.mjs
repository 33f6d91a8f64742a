/** @file The test ids on the pages are those that README.md lists. */

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

const pages = new URL('../../static/', import.meta.url);
const sources = readdirSync(pages, { recursive: true })
  .filter((name) => /\.(js|html)$/.test(name))
  .map((name) => readFileSync(new URL(name, pages), 'utf8'))
  .join('\n');
const listed = [...readFileSync(new URL('README.md', import.meta.url), 'utf8').split('## Test ids')[1].matchAll(/`([a-z-]+?(?:-STATE)?)`/g)]
  .map(([, name]) => name)
  .filter((name) => !name.startsWith('data-'));

test('every test id on the pages is listed', () => {
  const used = [...sources.matchAll(/testid: '([^']+)'/g)].map(([, name]) => name);
  assert.ok(used.length > 80);
  assert.deepEqual(used.filter((name) => name !== 'send' && !listed.includes(name)), []);
});

test('every listed test id is on the pages', () => {
  const made = ['handover-', 'check-', 'delivery-move-', 'dispense-move-'];
  const known = (name) => sources.includes(`'${name}'`) || made.some((start) => name.startsWith(start) && sources.includes(`\`${start}\${`));
  assert.deepEqual(listed.filter((name) => !known(name)), []);
});
