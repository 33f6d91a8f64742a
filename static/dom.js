// Builds elements without markup in strings, so text is never parsed as HTML.

import { limitChars } from './text-limit.js';

/**
 * Makes an element: `h('button.primary', { onclick, testid: 'send' }, 'Send')`.
 * @param {string} what  tag and classes
 * @param {Record<string, any>} [props]  `testid`, `maxChars`, `data`, `aria`, handlers, properties and attributes
 * @param {...any} children  nodes, texts, arrays; null and false are left out
 */
export function h(what, props = {}, ...children) {
  const [tag, ...classes] = what.split('.');
  const element = document.createElement(tag || 'div');
  if (classes.length) element.className = classes.join(' ');
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'maxChars') limitChars(element, value);
    else if (name === 'testid') element.dataset.testid = value;
    else if (name === 'data') Object.assign(element.dataset, value);
    else if (name === 'aria') for (const [k, v] of Object.entries(value)) element.setAttribute(`aria-${k}`, v);
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), (event) => guard(() => value(event)));
    else if (name in element && !['list', 'form', 'role'].includes(name)) element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...present(children));
  return element;
}

const present = (children) => children.flat(3).filter((child) => child !== null && child !== undefined && child !== false);

/** Runs a handler and shows the user why it failed, whether at once or later. */
export async function guard(run) {
  try {
    await run();
  } catch (error) {
    toast(error.message, 'bad');
  }
}

/**
 * Replaces the children of `box`. Children that stay are not detached, so their focus, caret, composition and scroll
 * position stay as well. If the focused element itself is replaced, the one in the same place gets the focus.
 */
export function fill(box, ...children) {
  const wanted = present(children).map((child) => (typeof child === 'object' ? child : document.createTextNode(child)));
  const active = box !== document.activeElement && box.contains(document.activeElement) ? document.activeElement : null;
  const anchor = active && wanted.find((node) => node.parentNode === box && node.contains(active));
  const place = active && !anchor ? placeOf(active, box) : null;
  const kept = new Set(wanted);
  for (const node of [...box.childNodes]) if (!kept.has(node)) node.remove();
  let next = box.firstChild;
  for (const node of wanted) {
    // The child with the focus must not move: those before it are inserted, and those after it moved behind it.
    while (node === anchor && next !== anchor) {
      const later = next;
      next = next.nextSibling;
      later.remove();
    }
    if (node === next) next = next.nextSibling;
    else box.insertBefore(node, next);
  }
  if (place) focusPlace(box, place);
}

/** The element for `key` in `elements`; made anew only with another `version`, so that a selection of its text stays. */
export function cached(elements, key, version, make) {
  const known = elements.get(key);
  if (known?.version === version) return known.element;
  const element = make();
  elements.set(key, { version, element });
  return element;
}

/** What identifies an element among its siblings: tag, name, `data-` attributes other than the state, and a button's text. */
function identity(element) {
  const data = { ...element.dataset };
  delete data.state;
  const text = ['BUTTON', 'A'].includes(element.tagName) ? (element.getAttribute('aria-label') ?? element.textContent) : '';
  return JSON.stringify([element.tagName, element.name, data, text]);
}

const isText = (element) => typeof element.selectionStart === 'number';

/** The path from `box` to an element, and the text that the user is writing there. */
function placeOf(element, box) {
  const path = [];
  for (let it = element; it !== box; it = it.parentElement) path.unshift(identity(it));
  const { value, selectionStart: start, selectionEnd: end } = element;
  return { path, text: isText(element) ? { value, start, end } : null };
}

/** Focuses the element at this path. If the path is ambiguous nothing gets the focus: it could be another person's button. */
function focusPlace(box, { path, text }) {
  let element = box;
  for (const step of path) {
    const matches = [...element.children].filter((child) => identity(child) === step);
    if (matches.length !== 1) return;
    [element] = matches;
  }
  if (text && isText(element)) {
    element.value = text.value;
    element.setSelectionRange(text.start, text.end);
  }
  element.focus({ preventScroll: true });
}

/** Characters that change the direction of the text around them. */
const DIRECTION_CONTROLS = /[\u202a-\u202e\u2066-\u2069]/g;

/** Another person's text inside a sentence: isolated, so that its direction does not change the sentence. */
export const isolate = (text) => `\u2068${`${text}`.replace(DIRECTION_CONTROLS, '')}\u2069`;

/** Another person's text as an element of its own, isolated in the same way. */
export const foreign = (text, what = 'bdi') => h(what, { dir: 'auto' }, `${text ?? ''}`.replace(DIRECTION_CONTROLS, ''));

/** A labeled field. */
export function field(label, input, hint) {
  const id = (input.id ||= `f${Math.random().toString(36).slice(2)}`);
  return h('div.field', {}, h('label', { htmlFor: id }, label), input, hint && h('small.hint', {}, hint));
}

/** A button that shows progress and reports a failure. */
export function action(label, run, props = {}) {
  const button = h(props.class ? `button.${props.class}` : 'button', {
    type: 'button',
    ...props,
    class: undefined,
    onclick: async () => {
      // Not `disabled`, which would take the focus away.
      if (button.getAttribute('aria-busy')) return;
      button.setAttribute('aria-busy', 'true');
      await guard(run);
      button.removeAttribute('aria-busy');
    },
  }, label);
  return button;
}

/** Shows a temporary message at the edge of the screen. */
export function toast(text, kind = 'good') {
  const box = document.getElementById('toasts');
  const note = h(`p.toast.${kind}`, { testid: 'toast' }, text);
  box?.append(note);
  setTimeout(() => note.remove(), 6000);
}

export const loading = (what = 'Loading…') => h('p.loading', { role: 'status' }, what);
export const empty = (title, hint) => h('div.empty', {}, h('p.empty-title', {}, title), hint && h('p', {}, hint));
export const failed = (error, again) =>
  h('div.empty.bad', { role: 'alert' }, h('p.empty-title', {}, error.message), again && h('button', { onclick: again }, 'Try again'));
