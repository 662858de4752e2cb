// Elements made and filled without HTML: whatever comes from the service is put in as text.

export const byId = (id) => document.getElementById(id);

/** Make an element with attributes and children (elements or text); attributes that are null are left out. */
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an element of SVG. */
export function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Set a text, without touching the page where it stays the same. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const keys = new WeakMap(); // of the children of lists

/**
 * Make a list's children match `items`: made once, then updated in place, so that focus stays where it is.
 * `create(item)` returns an element, `update(element, item, index)` fills it; `key(item, index)` names the item that an
 * element stays with, by default the place in the list.
 */
export function setList(parent, items, create, update, key = (item, index) => index) {
  const names = items.map(key);
  for (const node of [...parent.children]) if (!names.includes(keys.get(node))) node.remove();
  const nodes = new Map([...parent.children].map((node) => [keys.get(node), node]));
  items.forEach((item, index) => {
    const node = nodes.get(names[index]) ?? create(item);
    keys.set(node, names[index]);
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
    update(node, item, index);
  });
}

/** Make a definition list show `[term, text]` pairs. */
export function setPairs(list, pairs) {
  setList(list, pairs, () => make("div", {}, make("dt"), make("dd")), (node, [term, text]) => {
    setText(node.firstChild, term);
    setText(node.lastChild, text);
  });
}

/** Set the text and kind ("good", "bad", "wait") of a pill. */
export function setPill(node, kind, text) {
  if (node.dataset.kind !== kind) node.dataset.kind = kind;
  setText(node, text);
}

let pending;

/** Let screen readers say a text, once; a newer text within half a second takes its place. */
export function announce(text) {
  clearTimeout(pending);
  pending = setTimeout(() => setText(byId("announce"), text), 500);
}
