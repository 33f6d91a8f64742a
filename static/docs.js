// Shows /openapi.json: one block an operation, one a type, all linked. Everything is text to this page, never markup.

/** @typedef {Record<string, any>} Json */

/** An element with attributes and children; strings become text. */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

/** Text whose `code` stands between backticks, as nodes. */
function words(text) {
  return (text ?? "").split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

const byId = (id) => document.getElementById(id);
const lastOf = (reference) => reference.split("/").pop();

/** A schema in a line, with links to the types it names. @param {Json} schema */
function typeOf(schema) {
  if (!schema || schema === true) return el("span", {}, "anything");
  if (schema.$ref) {
    const name = lastOf(schema.$ref);
    return el("a", { href: `#type-${name}` }, name);
  }
  if (schema.const !== undefined) return el("code", {}, JSON.stringify(schema.const));
  if (schema.enum) return el("code", {}, schema.enum.map((value) => JSON.stringify(value)).join(" | "));
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return joined(choices.map(typeOf), " or ");
  if (schema.allOf) return joined(schema.allOf.map(typeOf), " and ");
  if (schema.type === "array" || schema.items) return el("span", {}, "list of ", typeOf(schema.items));
  if (schema.type === "object" && !schema.properties && schema.additionalProperties) {
    return el("span", {}, "map of ", typeOf(schema.additionalProperties));
  }
  const kind = Array.isArray(schema.type) ? schema.type.join(" or ") : (schema.type ?? "object");
  const limits = ["format", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"]
    .filter((key) => schema[key] !== undefined)
    .map((key) => (key === "format" ? schema[key] : `${key} ${schema[key]}`));
  return el("span", {}, limits.length ? `${kind} (${limits.join(", ")})` : kind);
}

function joined(nodes, separator) {
  const all = el("span");
  nodes.forEach((node, at) => all.append(at ? separator : "", node));
  return all;
}

/** The fields of an object's schema, or its choices. @param {Json} schema */
function fields(schema) {
  const whole = el("div");
  if (schema.description) whole.append(el("p", { class: "soft" }, ...words(schema.description)));
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) {
    for (const choice of choices) {
      const tag = choice.properties && Object.values(choice.properties).find((it) => it.const !== undefined);
      whole.append(el("h3", {}, tag ? String(tag.const) : typeOf(choice)));
      if (choice.description) whole.append(el("p", { class: "soft" }, ...words(choice.description)));
      if (choice.properties) whole.append(fieldTable(choice));
    }
  } else if (schema.properties) {
    whole.append(fieldTable(schema));
  } else {
    whole.append(el("p", {}, typeOf(schema)));
  }
  return whole;
}

function fieldTable(schema) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties).map(([name, field]) =>
    el("tr", {},
      el("td", {}, el("code", {}, name), required.has(name) ? "" : el("span", { class: "soft" }, " optional")),
      el("td", {}, typeOf(field)),
      el("td", { class: "soft" }, ...words(field.description))));
  return el("table", {}, el("tbody", {}, ...rows));
}

function operationBlock(path, method, operation, components) {
  const inner = el("div");
  if (operation.description) inner.append(el("p", {}, operation.description));
  inner.append(el("p", { class: "soft" }, operation.security?.length ? "Needs an access token." : "Needs no token."));
  const parameters = (operation.parameters ?? []).map((it) => (it.$ref ? components.parameters[lastOf(it.$ref)] : it));
  if (parameters.length) {
    const rows = parameters.map((it) =>
      el("tr", {},
        el("td", {}, el("code", {}, it.name), el("span", { class: "soft" }, ` ${it.in}${it.required ? "" : ", optional"}`)),
        el("td", {}, typeOf(it.schema)),
        el("td", { class: "soft" }, ...words(it.description))));
    inner.append(el("h3", {}, "Parameters"), el("table", {}, el("tbody", {}, ...rows)));
  }
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  if (body) inner.append(el("h3", {}, "Body"), el("p", {}, typeOf(body)));
  const answers = answersOf(operation, components).map(([status, answer]) => {
    const [kind, content] = Object.entries(answer.content ?? {})[0] ?? [];
    const shape = !content ? "" : content.schema && kind === "application/json" ? typeOf(content.schema) : kind;
    return el("tr", {}, el("td", {}, el("code", {}, status)), el("td", {}, shape), el("td", { class: "text" }, ...words(answer.description)));
  });
  inner.append(el("h3", {}, "Answers"), el("table", {}, el("tbody", {}, ...answers)));
  const block = el("details", { id: operation.operationId },
    el("summary", {},
      el("span", { class: "method" }, method.toUpperCase()),
      el("span", { class: "path" }, path),
      el("span", { class: "summary" }, operation.summary)),
    inner);
  block.dataset.words = [path, method, operation.operationId, operation.summary, ...codesOf(operation, components)].join(" ").toLowerCase();
  return block;
}

/** The answers of an operation by status, each in full. */
function answersOf(operation, components) {
  return Object.entries(operation.responses)
    .map(([status, it]) => [status, it.$ref ? components.responses[lastOf(it.$ref)] : it]);
}

/** The error codes of an operation. */
function codesOf(operation, components) {
  return answersOf(operation, components).flatMap(([, answer]) => answer["x-codes"] ?? []);
}

function show(document_) {
  const { components, info, paths, tags } = document_;
  byId("about").replaceChildren(...words(info.description));
  const groups = new Map(tags.map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(item)) {
      groups.get(operation.tags[0])?.push(operationBlock(path, method, operation, components));
    }
  }
  for (const [name, blocks] of groups) {
    if (!blocks.length) continue;
    const id = `group-${name.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
    byId("tags").append(el("a", { href: `#${id}` }, name));
    byId("operations").append(el("section", { id }, el("h2", {}, name), ...blocks));
  }
  for (const code of components.schemas.Code.oneOf) {
    byId("codes").append(el("dt", { id: `code-${code.const}` }, el("code", {}, code.const)), el("dd", {}, ...words(code.description)));
  }
  for (const [name, schema] of Object.entries(components.schemas)) {
    byId("types").append(el("details", { id: `type-${name}` },
      el("summary", {}, el("span", { class: "path" }, name)), fields(schema)));
  }
}

/** Opens what the address points at. */
function openTarget() {
  const target = location.hash && byId(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
  if (target) target.scrollIntoView();
}

byId("find").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll("#operations > section")) {
    const blocks = [...section.querySelectorAll("details")];
    for (const block of blocks) block.hidden = !words.every((word) => block.dataset.words.includes(word));
    section.hidden = blocks.every((block) => block.hidden);
  }
});
addEventListener("hashchange", openTarget);

try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`the hub answered ${response.status}`);
  show(await response.json());
  openTarget();
} catch (error) {
  byId("about").textContent = `The document could not be loaded: ${error.message}. Is the hub running?`;
}
