/** @file Rendering: what a person is doing on a page survives every re-render, and what fails is shown. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { action, fill, foreign, h, isolate } from '../../static/dom.js';
import { page } from './support/dom.mjs';
import { flushPromises } from './support/time.mjs';

/** Adds a box to the page. */
function box() {
  const body = page();
  const it = h('div');
  body.append(it);
  return it;
}

const texts = (element) => element.childNodes.map(({ textContent }) => textContent);

test('children that stay are never detached while one of them has the focus', () => {
  const it = box();
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((value) => h('input', { value }));
  fill(it, a, b, c);
  b.focus();
  for (const order of [[c, b, a], [b], [d, 'text', b, c], [a, d, c, b], [b, c, a, d]]) {
    fill(it, order);
    assert.equal(document.activeElement, b);
    assert.deepEqual(it.childNodes.map((node) => node.value ?? node.textContent), order.map((node) => node.value ?? node));
  }
});

test('a replaced field gets the focus, the caret and the text of the one in its place', () => {
  const it = box();
  const rows = (...texts) => texts.map((value, number) => h('div', { data: { id: `${number}` } }, h('input', { testid: 'medicine', value })));
  fill(it, rows('Amoxicillin', 'Ibu'));
  const [, second] = it.byTestId('medicine');
  second.focus();
  second.value = 'Ibuprofen';
  second.setSelectionRange(3, 3);
  fill(it, h('h2', {}, 'News'), rows('Amoxicillin', 'Ibu'));
  const fresh = it.byTestId('medicine')[1];
  assert.equal(document.activeElement, fresh);
  assert.deepEqual([fresh.value, fresh.selectionStart, fresh.selectionEnd], ['Ibuprofen', 3, 3]);
});

test('the focus follows a person’s row and never moves to another person’s button', () => {
  const it = box();
  const row = (room) => h('div', { testid: 'lobby-row', data: { room, state: `${Math.random()}` } }, h('button', { testid: 'admit' }, 'Admit'));
  fill(it, row('pia'), row('tom'));
  it.byTestId('admit')[1].focus();
  fill(it, row('tom'), row('eve'));
  assert.equal(document.activeElement.parentNode.dataset.room, 'tom');
  fill(it, row('eve'));
  assert.equal(document.activeElement, document.body);
});

test('a busy button keeps the focus, runs once and shows what failed', async () => {
  const it = box();
  let runs = 0;
  const button = action('Send', async () => {
    runs += 1;
    throw new Error('The hub is away.');
  });
  fill(it, button);
  button.focus();
  button.click();
  button.click();
  await flushPromises();
  assert.deepEqual([runs, document.activeElement, button.disabled], [1, button, false]);
  assert.deepEqual(texts(document.getElementById('toasts')), ['The hub is away.']);
  button.click();
  assert.equal(runs, 2);
});

test('a handler that fails later is shown', async () => {
  const it = box();
  const select = h('select', { onchange: async () => { throw new Error('Not kept.'); } });
  fill(it, select);
  select.dispatchEvent(new Event('change'));
  await flushPromises();
  assert.deepEqual(texts(document.getElementById('toasts')), ['Not kept.']);
});

test('another person’s text cannot change the direction of the text around it', () => {
  page();
  const name = 'Alice\u202Eevil\u2069';
  assert.equal(isolate(name), '\u2068Aliceevil\u2069');
  const element = foreign(name);
  assert.deepEqual([element.tagName, element.dir, element.textContent], ['BDI', 'auto', 'Aliceevil']);
});
