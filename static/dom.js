// Builds elements without markup in strings, so text is never parsed as HTML.

/**
 * Makes an element: `h('button.primary', { onclick, testid: 'send' }, 'Send')`.
 * @param {string} what  tag and classes
 * @param {Record<string, any>} [props]  `testid`, `data`, `aria`, handlers, properties and attributes
 * @param {...any} children  nodes, texts, arrays; null and false are left out
 */
export function h(what, props = {}, ...children) {
  const [tag, ...classes] = what.split('.');
  const element = document.createElement(tag || 'div');
  if (classes.length) element.className = classes.join(' ');
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'testid') element.dataset.testid = value;
    else if (name === 'data') Object.assign(element.dataset, value);
    else if (name === 'aria') for (const [k, v] of Object.entries(value)) element.setAttribute(`aria-${k}`, v);
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element && !['list', 'form', 'role'].includes(name)) element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replaces the children of `box` and restores the focus. */
export function fill(box, ...children) {
  const focused = box.contains(document.activeElement) ? document.activeElement?.dataset?.testid : null;
  box.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  if (focused) box.querySelector(`[data-testid="${focused}"]`)?.focus();
}

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
      if (button.disabled) return;
      button.disabled = true;
      button.setAttribute('aria-busy', 'true');
      try {
        await run();
      } catch (error) {
        toast(error.message, 'bad');
      } finally {
        button.disabled = false;
        button.removeAttribute('aria-busy');
      }
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
