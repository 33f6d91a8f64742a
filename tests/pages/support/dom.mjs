/**
 * @file As much of the DOM as the screens use. As in a browser, an element that is detached loses the focus, and one that
 * is inserted elsewhere is detached first.
 */

class Node extends EventTarget {
  parentNode = null;

  get parentElement() {
    return this.parentNode;
  }

  get nextSibling() {
    const siblings = this.parentNode?.childNodes ?? [];
    return siblings[siblings.indexOf(this) + 1] ?? null;
  }

  get isConnected() {
    return this === document.body || !!this.parentNode?.isConnected;
  }

  contains(other) {
    for (let node = other; node; node = node.parentNode) if (node === this) return true;
    return false;
  }

  remove() {
    if (!this.parentNode) return;
    if (this.contains(document.activeElement)) document.activeElement = document.body;
    const { childNodes } = this.parentNode;
    childNodes.splice(childNodes.indexOf(this), 1);
    this.parentNode = null;
  }
}

class Text extends Node {
  constructor(text) {
    super();
    this.textContent = `${text}`;
  }
}

const TEXT_FIELDS = ['INPUT', 'TEXTAREA'];
const isTextField = ({ tagName, type }) => TEXT_FIELDS.includes(tagName) && !['checkbox', 'radio', 'number', 'date', 'time'].includes(type);

class Element extends Node {
  childNodes = [];
  attributes = new Map();
  dataset = {};
  style = {};
  className = '';
  value = '';
  checked = false;
  disabled = false;
  hidden = false;
  name = '';
  type = '';
  dir = '';
  id = '';
  open = false;
  href = '';
  selected = false;
  scrollHeight = 0;
  scrollTop = 0;
  clientHeight = 0;

  constructor(tag) {
    super();
    this.tagName = tag.toUpperCase();
  }

  get children() {
    return this.childNodes.filter((node) => node instanceof Element);
  }

  get firstChild() {
    return this.childNodes[0] ?? null;
  }

  get textContent() {
    return this.childNodes.map((node) => node.textContent).join('');
  }

  set textContent(text) {
    this.replaceChildren(...(text === '' ? [] : [text]));
  }

  get selectionStart() {
    return isTextField(this) ? (this.start ?? this.value.length) : null;
  }

  get selectionEnd() {
    return isTextField(this) ? (this.end ?? this.value.length) : null;
  }

  setSelectionRange(start, end) {
    Object.assign(this, { start, end });
  }

  setAttribute(name, value) {
    this.attributes.set(name, `${value}`);
  }

  getAttribute(name) {
    return this.attributes.get(name) ?? null;
  }

  removeAttribute(name) {
    this.attributes.delete(name);
  }

  append(...nodes) {
    for (const node of nodes) this.insertBefore(typeof node === 'object' ? node : new Text(node), null);
  }

  insertBefore(node, next) {
    node.remove();
    const at = next ? this.childNodes.indexOf(next) : this.childNodes.length;
    this.childNodes.splice(at, 0, node);
    node.parentNode = this;
    return node;
  }

  replaceChildren(...nodes) {
    for (const node of [...this.childNodes]) node.remove();
    this.append(...nodes);
  }

  focus() {
    if (this.isConnected) document.activeElement = this;
  }

  click() {
    const event = new Event('click');
    this.dispatchEvent(event);
  }

  /** Every element below this one. */
  all() {
    return this.children.flatMap((child) => [child, ...child.all()]);
  }

  /** The elements with a test id. */
  byTestId(testid) {
    return this.all().filter(({ dataset }) => dataset.testid === testid);
  }

  querySelector(selector) {
    return this.all().find((it) => matches(it, selector)) ?? null;
  }
}

/** Supports `tag`, `:checked`, and `[name=value]` for attributes and properties. */
function matches(element, selector) {
  const [, tag, rest] = selector.match(/^([a-z]*)(.*)$/);
  if (tag && element.tagName !== tag.toUpperCase()) return false;
  if (rest === ':checked') return element.checked;
  const [, name, value] = rest.match(/^\[([a-z-]+)="?([^"\]]*)"?\]$/) ?? [];
  if (!name) return rest === '';
  return (name === 'data-testid' ? element.dataset.testid : element[name]) === value;
}

class Document extends EventTarget {
  title = 'Wardroom';
  visibilityState = 'visible';

  constructor() {
    super();
    this.body = new Element('body');
    this.activeElement = this.body;
  }

  createElement(tag) {
    return new Element(tag);
  }

  createTextNode(text) {
    return new Text(text);
  }

  getElementById(id) {
    return this.body.all().find((element) => element.id === id) ?? null;
  }
}

/** Installs an empty page and returns its body. It stays after the test, as long as toasts do. */
export function page() {
  const document = (globalThis.document = new Document());
  const toasts = document.createElement('div');
  toasts.id = 'toasts';
  document.body.append(toasts);
  return document.body;
}
