/** @file What people read and write: amounts with the decimals of ISO 4217, and texts as long as the hub takes them. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { formatPrice } from '../../static/labels.js';
import { countChars, cutToChars } from '../../static/text-limit.js';

test('an amount has the decimals of ISO 4217, whatever the browser knows of the currency', () => {
  const digits = (amount, currency) => formatPrice({ amount, currency }).replace(/[^\d.]/g, '');
  assert.equal(digits(250000, 'HUF'), '2500.00');
  assert.equal(digits(15000000, 'IDR'), '150000.00');
  assert.equal(digits(25000000, 'IQD'), '25000.000');
  assert.equal(digits(30000, 'KRW'), '30000');
  assert.equal(digits(2505, 'EUR'), '25.05');
});

test('every language may write the same number of characters', () => {
  for (const letter of ['a', '가', '😀', 'ü']) {
    assert.equal(countChars(letter.repeat(4000)), 4000);
    assert.equal(cutToChars(letter.repeat(4001), 4000), letter.repeat(4000));
    assert.equal(cutToChars(letter.repeat(4000), 4000), letter.repeat(4000));
  }
  assert.equal(countChars('u\u0308'), 1, 'decomposed letters count as the hub stores them');
});
