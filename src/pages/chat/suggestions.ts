// Quick replies and switches above the composer.
import { el } from "../parts/dom.ts";
import { t } from "../parts/texts.ts";
import type { Conversation } from "./conversation.ts";
import type { Switcher } from "./protocol.ts";

/** Builds the bar and keeps it showing what the bot offers. */
export function suggestionBar(chat: Conversation, hooks: { fault: (fault: unknown) => void; picked: () => void }) {
  const replies = el("ul", { class: "chips", "aria-label": t("suggestions"), hidden: true });
  const switches = el("ul", { class: "chips switches", "aria-label": t("switchers"), hidden: true });
  const element = el("div", { class: "offers" }, switches, replies);

  const toggle = (row: Switcher) => {
    const button = el(
      "button",
      {
        type: "button",
        class: "chip switch",
        "aria-pressed": String(row.active),
        "data-id": row.id,
        onclick: () => chat.setSwitcher(row.id, !row.active).then(undefined, hooks.fault),
      },
      el("span", { class: "light", "aria-hidden": true }),
      row.label,
    );
    if (row.color !== null && CSS.supports("color", row.color)) button.style.setProperty("--switch", row.color);
    return button;
  };

  const draw = () => {
    const focused = document.activeElement?.getAttribute("data-id") ?? null;
    replies.replaceChildren(
      ...chat.state.suggestions.map((row) =>
        el(
          "li",
          {},
          el(
            "button",
            {
              type: "button",
              class: "chip",
              onclick: () => {
                chat.pick(row);
                hooks.picked();
              },
            },
            row.label,
          ),
        ),
      ),
    );
    switches.replaceChildren(...chat.state.switchers.map((row) => el("li", {}, toggle(row))));
    if (focused !== null) switches.querySelector<HTMLElement>(`[data-id="${CSS.escape(focused)}"]`)?.focus();
    const off = chat.state.closed || chat.state.phase === "refused";
    replies.hidden = off || chat.state.suggestions.length === 0;
    switches.hidden = off || chat.state.switchers.length === 0;
    element.hidden = replies.hidden && switches.hidden;
  };
  chat.on((change) => {
    if (change.kind === "suggestions" || change.kind === "all" || change.kind === "bot") draw();
    if (change.kind === "status" && chat.state.closed !== replies.hasAttribute("data-closed")) {
      replies.toggleAttribute("data-closed", chat.state.closed);
      draw();
    }
  });
  draw();
  return { element };
}
