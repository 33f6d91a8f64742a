// The hub's limits of texts: characters in the sense of Unicode code points, after normalization.

/** How many characters the hub counts in `text`. `text.length` and `maxLength` count an emoji twice. */
export const countChars = (text) => [...text.normalize('NFC')].length;

/** The beginning of `text` that the hub would take. */
export function cutToChars(text, max) {
  return countChars(text) > max ? [...text.normalize('NFC')].slice(0, max).join('') : text;
}

/** Keeps what is written into `field` within `max` characters, as `maxLength` does, but never inside a composition. */
export function limitChars(field, max) {
  const cut = () => {
    const kept = cutToChars(field.value, max);
    if (kept === field.value) return;
    const caret = field.selectionStart;
    field.value = kept;
    field.setSelectionRange?.(Math.min(caret, kept.length), Math.min(caret, kept.length));
  };
  field.addEventListener('input', (event) => event.isComposing || cut());
  field.addEventListener('compositionend', cut);
}
