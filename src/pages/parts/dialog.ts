// Dialogs and menus: native <dialog> for the focus trap, the popover API for menus, arrow keys inside menus.
import { el, freshId } from "./dom.ts";
import type { Child } from "./dom.ts";
import { icon } from "./icons.ts";
import type { IconName } from "./icons.ts";
import { t } from "./texts.ts";

export interface Dialog {
  element: HTMLDialogElement;
  body: HTMLDivElement;
  close(): void;
  setTitle(title: string): void;
  /** Resolves when it is closed, however that happened. */
  closed: Promise<void>;
}

/** Opens a modal dialog; focus goes inside and, at the end, back to where it was. */
export function openDialog(title: string, options: { kind?: "side" | "start" } = {}, ...children: Child[]): Dialog {
  const heading = el("h2", { id: freshId("dialog"), tabindex: -1 }, title);
  const body = el("div", { class: "body" });
  for (const child of children) if (child instanceof Node || typeof child === "string") body.append(child);
  const element: HTMLDialogElement = el(
    "dialog",
    { class: `dialog ${options.kind ?? ""}`.trim(), "aria-labelledby": heading.id },
    el(
      "header",
      {},
      heading,
      el(
        "button",
        { type: "button", class: "icon-button", "aria-label": t("close"), onclick: () => element.close() },
        icon("close"),
      ),
    ),
    body,
  );
  const before = document.activeElement;
  const closed = new Promise<void>((resolve) => {
    element.addEventListener("close", () => {
      element.remove();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
      resolve();
    });
  });
  // A press on the backdrop closes; one that began inside (a text selection) does not.
  let pressedOutside = false;
  element.addEventListener("pointerdown", (event) => {
    pressedOutside = event.target === element;
  });
  element.addEventListener("click", (event) => {
    if (pressedOutside && event.target === element) element.close();
  });
  element.addEventListener("keydown", (event) => {
    // Escape ends the dialog, not also what the page under it is doing.
    if (event.key === "Escape") event.stopPropagation();
  });
  document.body.append(element);
  element.showModal();
  const first = body.querySelector<HTMLElement>("[autofocus], input:not([type=hidden]), textarea, select");
  (first ?? heading).focus();
  return { element, body, close: () => element.close(), setTitle: (next) => heading.replaceChildren(next), closed };
}

/** Asks a yes-or-no question; true only for the confirming button. */
export async function confirmed(question: string, detail: string, yes: string): Promise<boolean> {
  let answer = false;
  const dialog = openDialog(
    question,
    {},
    el("p", {}, detail),
    el(
      "div",
      { class: "row end dialog-actions" },
      el("button", { type: "button", class: "button", autofocus: true, onclick: () => dialog.close() }, t("cancel")),
      el(
        "button",
        {
          type: "button",
          class: "button danger",
          onclick: () => {
            answer = true;
            dialog.close();
          },
        },
        yes,
      ),
    ),
  );
  await dialog.closed;
  return answer;
}

export interface MenuItem {
  label: string;
  sub?: string | null;
  icon?: IconName;
  danger?: boolean;
  checked?: boolean;
  href?: string;
  choose?: () => void;
}

/** Opens a menu under `anchor`; arrow keys, Home, End and first letters move, Escape closes, focus returns. */
export function openMenu(anchor: HTMLElement, items: readonly (MenuItem | "line" | { head: string })[]): void {
  const rows = items.map((item) => {
    if (item === "line") return el("hr");
    if ("head" in item) return el("div", { class: "head" }, item.head);
    const content = [
      item.icon ? icon(item.icon) : null,
      el("span", { class: "grow" }, item.label, item.sub ? el("span", { class: "sub" }, item.sub) : null),
      item.checked ? icon("check") : null,
    ];
    const shared = {
      role: item.checked === undefined ? "menuitem" : "menuitemradio",
      "aria-checked": item.checked === undefined ? null : String(item.checked),
      class: item.danger ? "danger" : null,
      tabindex: -1,
    };
    if (item.href !== undefined) return el("a", { ...shared, href: item.href }, ...content);
    const choose = item.choose;
    return el(
      "button",
      {
        ...shared,
        type: "button",
        onclick: () => {
          menu.hidePopover();
          choose?.();
        },
      },
      ...content,
    );
  });
  const menu = el(
    "div",
    {
      class: "menu",
      role: "menu",
      popover: "auto",
      "aria-label": anchor.getAttribute("aria-label") ?? anchor.textContent,
    },
    ...rows,
  );
  document.body.append(menu);
  const entries = [...menu.querySelectorAll<HTMLElement>("[role^=menuitem]")];
  menu.addEventListener("keydown", (event) => {
    const at = entries.findIndex((entry) => entry === document.activeElement);
    let next: number | null = null;
    if (event.key === "ArrowDown") next = (at + 1) % entries.length;
    else if (event.key === "ArrowUp") next = (at - 1 + entries.length) % entries.length;
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = entries.length - 1;
    else if (event.key === "Tab") menu.hidePopover();
    else if (event.key === "Escape") event.stopPropagation();
    else if (event.key.length === 1) {
      const letter = event.key.toLowerCase();
      const order = [...entries.slice(at + 1), ...entries.slice(0, at + 1)];
      const hit = order.find((entry) => entry.textContent.trim().toLowerCase().startsWith(letter));
      if (hit) next = entries.indexOf(hit);
    }
    if (next === null) return;
    event.preventDefault();
    entries[next]?.focus();
  });
  menu.addEventListener("toggle", (event) => {
    if ((event as ToggleEvent).newState !== "closed") return;
    anchor.setAttribute("aria-expanded", "false");
    const inside = menu.contains(document.activeElement) || document.activeElement === document.body;
    menu.remove();
    if (inside) anchor.focus();
  });
  anchor.setAttribute("aria-haspopup", "menu");
  anchor.setAttribute("aria-expanded", "true");
  menu.showPopover();
  place(menu, anchor);
  entries[0]?.focus();
}

/** Puts the menu under its anchor, or above it, inside the window. */
function place(menu: HTMLElement, anchor: HTMLElement): void {
  const from = anchor.getBoundingClientRect();
  const size = menu.getBoundingClientRect();
  const gap = 6;
  const edge = 8;
  const leftWanted = from.left + size.width + edge > innerWidth ? from.right - size.width : from.left;
  const below = from.bottom + gap + size.height <= innerHeight - edge;
  const topWanted = below ? from.bottom + gap : from.top - gap - size.height;
  menu.style.left = `${Math.max(edge, Math.min(leftWanted, innerWidth - size.width - edge))}px`;
  menu.style.top = `${Math.max(edge, Math.min(topWanted, innerHeight - size.height - edge))}px`;
}
