// Makes elements. Nothing here parses markup, so text from the network can never become an element.

export type Child = Node | string | number | null | undefined | false;
export type Attribute = string | number | boolean | null | undefined | ((event: Event) => unknown);
export type Attributes = Record<string, Attribute>;

/** An element with attributes and children. `on…` attributes are listeners; false, null and undefined leave an attribute out. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  element.append(...nodes(children));
  return element;
}

/** Sets, changes or takes away attributes and adds listeners, as `el` does. */
export function setAttributes(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    // For ARIA an empty value is neither true nor false.
    else if (typeof value === "boolean" && name.startsWith("aria-")) element.setAttribute(name, String(value));
    else if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/** Children without the empty ones. */
export function nodes(children: readonly Child[]): (Node | string)[] {
  const kept: (Node | string)[] = [];
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    kept.push(typeof child === "number" ? String(child) : child);
  }
  return kept;
}

/** The element of this id; a page that lacks it is broken, which is an Error. */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`The page has no #${id}.`);
  return found;
}

/** Runs an asynchronous listener; what it throws goes to `onFault`. */
export function run(work: () => Promise<unknown>, onFault: (fault: unknown) => void): void {
  work().then(undefined, onFault);
}

let nextId = 0;

/** An id that no other element of the page has. */
export function freshId(stem: string): string {
  nextId += 1;
  return `${stem}-${nextId}`;
}
