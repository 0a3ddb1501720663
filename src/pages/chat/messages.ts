// Draws the list of messages: what was said, the answer being written, what waits to be sent; tells screen readers of new ones.
import { faultText } from "../parts/forms.ts";
import { el } from "../parts/dom.ts";
import { icon } from "../parts/icons.ts";
import type { IconName } from "../parts/icons.ts";
import { copyText, plainText, renderer, safeHref } from "../parts/markdown.ts";
import type { Rendered } from "../parts/markdown.ts";
import { formatTime, t } from "../parts/texts.ts";
import { attachmentList } from "./attachments.ts";
import type { Conversation } from "./conversation.ts";
import type { Citation, Message } from "./protocol.ts";
import { openSource, placeLabel } from "./sources.ts";
import { keyOf } from "./state.ts";
import type { Outgoing } from "./state.ts";

interface Row {
  element: HTMLLIElement;
  order: number;
  /** Kept while an answer grows, so that unchanged blocks keep their nodes. */
  growing: { body: HTMLElement; text: Rendered; frame: number | null } | null;
}

interface Hooks {
  fault: (fault: unknown) => void;
  comment: (message: Message) => void;
}

/** A reference to sources in an answer, as the server leaves them: `[2]`, `[1, 3]`. */
const REFERENCE = /\[\d{1,3}(?:\s?[,;]\s?\d{1,3})*\]/;
const REFERENCES = /(\[\d{1,3}(?:\s?[,;]\s?\d{1,3})*\])/;
/** Pages, slides and lines are shown whole; headings give way to the title. */
const SHORT_PLACE = 14;
/** Waiting rows stand below every stored one. */
const BELOW = 1e15;

/** Keeps `list` showing the conversation and `live` speaking of what is new. */
export function messageView(chat: Conversation, list: HTMLOListElement, live: HTMLElement, hooks: Hooks) {
  const rows = new Map<string, Row>();

  const find = (
    key: string,
  ): { message: Message | null; draft: string | null; sent: Outgoing | null; order: number } => {
    const id = key.slice(2);
    if (key.startsWith("c:")) {
      const sent = chat.state.outbox.get(id) ?? null;
      if (sent) return { message: null, draft: null, sent, order: BELOW + sent.madeAt };
      for (const message of chat.state.messages.values()) {
        if (message.sender === "user" && message.clientId === id)
          return { message, draft: null, sent: null, order: message.seq ?? BELOW };
      }
      return { message: null, draft: null, sent: null, order: 0 };
    }
    const message = chat.state.messages.get(id) ?? null;
    if (message) return { message, draft: null, sent: null, order: message.seq ?? BELOW };
    const draft = chat.state.drafts.get(id);
    return { message: null, draft: draft?.text ?? null, sent: null, order: BELOW + (draft?.startedAt ?? 0) };
  };

  const put = (row: Row) => {
    // Nearly always the end; otherwise the first row that belongs after it.
    let after: HTMLLIElement | null = null;
    for (const other of rows.values()) {
      if (other === row || other.order <= row.order || !other.element.isConnected) continue;
      if (!after || (rowOf(after)?.order ?? 0) > other.order) after = other.element;
    }
    if (row.element.parentElement === list && row.element.nextElementSibling === after) return;
    list.insertBefore(row.element, after);
  };
  const byElement = new WeakMap<Element, Row>();
  const rowOf = (element: Element) => byElement.get(element);

  const draw = (key: string) => {
    const { message, draft, sent, order } = find(key);
    const hidden = message && (message.sender === "tool" || message.supersededBy !== null);
    let row = rows.get(key);
    if ((!message && draft === null && !sent) || hidden) {
      if (row?.growing?.frame) clearTimeout(row.growing.frame);
      row?.element.remove();
      rows.delete(key);
      return;
    }
    if (!row) {
      row = { element: el("li", { class: "message" }), order, growing: null };
      rows.set(key, row);
      byElement.set(row.element, row);
    }
    row.order = order;
    if (draft !== null) drawDraft(row, key, draft);
    else {
      if (row.growing?.frame) clearTimeout(row.growing.frame);
      // An answer that is finished keeps what was drawn of it: nothing jumps when it ends.
      const grown = row.growing;
      row.growing = null;
      if (sent) drawSent(row, sent);
      else if (message) drawMessage(row, message, grown?.body ?? null, grown?.text ?? null);
    }
    put(row);
  };

  const drawDraft = (row: Row, key: string, text: string) => {
    if (!row.growing) {
      const body = el("div", { class: "text" });
      row.growing = { body, text: renderer(body), frame: null };
      row.element.className = "message bot writing";
      row.element.replaceChildren(heading(t("botSaid", { name: botTitle() })), body);
      row.growing.text.show(text);
      return;
    }
    // At most some 20 drawings a second, however fast the words come.
    if (row.growing.frame !== null) return;
    const growing = row.growing;
    growing.frame = window.setTimeout(() => {
      growing.frame = null;
      const now = chat.state.drafts.get(key.slice(2));
      if (now && row.growing === growing) {
        growing.text.show(now.text);
        grew();
      }
    }, 50);
  };

  const botTitle = () => chat.state.bot?.title ?? t("bot");
  const heading = (text: string) => el("h2", { class: "unseen" }, text);

  const drawSent = (row: Row, sent: Outgoing) => {
    row.element.className = `message user ${sent.fault ? "failed" : "sending"}`;
    row.element.replaceChildren(
      heading(t("youSaid")),
      el("div", { class: "bubble" }, sent.content ? el("div", { class: "plain" }, sent.content) : null),
      ...(sent.attachments.length > 0 ? [attachmentList(chat, sent.attachments, hooks.fault)] : []),
      sent.fault
        ? el(
            "div",
            { class: "delivery", role: "alert" },
            icon("warning"),
            el("span", {}, faultText(sent.fault)),
            el(
              "button",
              { type: "button", class: "button quiet small", onclick: () => chat.retry(sent.clientId) },
              t("tryAgain"),
            ),
            el(
              "button",
              { type: "button", class: "button quiet small", onclick: () => chat.discard(sent.clientId) },
              t("discard"),
            ),
          )
        : el("div", { class: "delivery" }, chat.state.phase === "online" ? t("sending") : t("waitsToSend")),
    );
  };

  const drawMessage = (row: Row, message: Message, grownBody: HTMLElement | null, grown: Rendered | null) => {
    const own = message.sender === "user";
    row.element.className = `message ${message.sender}`;
    const speaker = own
      ? t("youSaid")
      : t("botSaid", { name: message.sender === "attendant" ? (message.senderName ?? t("person")) : botTitle() });
    if (message.deleted) {
      row.element.replaceChildren(heading(speaker), el("p", { class: "gone" }, t("deletedMessage")));
      return;
    }
    if (message.sender === "system") {
      row.element.replaceChildren(el("p", { class: "system-text" }, plainText(message.content)));
      return;
    }
    const files = message.attachments.length > 0 ? attachmentList(chat, message.attachments, hooks.fault) : null;
    if (own) {
      row.element.replaceChildren(
        heading(speaker),
        ...(message.content ? [el("div", { class: "bubble" }, el("div", { class: "plain" }, message.content))] : []),
        ...(files ? [files] : []),
        ...(message.status === "failed"
          ? [el("div", { class: "delivery failed" }, icon("warning"), t("noAnswerCame"))]
          : []),
      );
      return;
    }
    const body =
      message.contentType === "text/markdown" && grownBody && grown ? grownBody : el("div", { class: "text" });
    fill(body, message, grown);
    const sources = sourceList(message);
    row.element.replaceChildren(
      heading(speaker),
      ...(message.sender === "attendant"
        ? [el("p", { class: "speaker" }, icon("person"), message.senderName ?? t("person"))]
        : []),
      ...(message.degraded.includes("llm") ? [el("p", { class: "remark" }, icon("info"), t("quotedOnly"))] : []),
      body,
      ...(files ? [files] : []),
      ...(sources ? [sources] : []),
      ...ending(message),
      actions(message),
    );
  };

  const fill = (body: HTMLElement, message: Message, grown: Rendered | null) => {
    if (message.contentType === "text/plain") {
      body.replaceChildren(el("div", { class: "plain" }, message.content));
      return;
    }
    if (message.contentType === "application/json") {
      body.replaceChildren(cards(message.content));
      return;
    }
    (grown ?? renderer(body)).show(message.content);
    if (message.citations.length > 0) markCitations(body, message);
  };

  /** Turns `[n]` and `[n, m]` in the text into buttons that open these sources. Code keeps its brackets. */
  const markCitations = (body: HTMLElement, message: Message) => {
    const known = new Map(message.citations.map((citation) => [citation.n, citation]));
    const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
    const found: Text[] = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node instanceof Text && REFERENCE.test(node.data) && !node.parentElement?.closest("code, pre, a, button")) {
        found.push(node);
      }
    }
    const button = (citation: Citation) =>
      el(
        "button",
        {
          type: "button",
          class: "cite",
          "aria-label": t("sourceLabel", { n: citation.n, title: citation.title }),
          onclick: () => openSource(chat, citation, message.content),
        },
        citation.n,
      );
    for (const node of found) {
      const parts: (string | HTMLElement)[] = [];
      for (const part of node.data.split(REFERENCES)) {
        const numbers = REFERENCE.test(part) ? (part.match(/\d+/g) ?? []) : [];
        const named = numbers.flatMap((n) => known.get(Number(n)) ?? []);
        if (named.length === 0) {
          if (part !== "") parts.push(part);
          continue;
        }
        // A number never begins a line: it stays with the word before it. Blanks that do not break do not hold a button.
        const before = parts.at(-1) ?? "";
        const word = typeof before === "string" ? (/\S{1,24}\s?$/.exec(before)?.[0] ?? "") : "";
        if (typeof before === "string" && word !== "") parts[parts.length - 1] = before.slice(0, -word.length);
        parts.push(el("span", { class: "cited" }, word, ...named.map(button)));
      }
      node.replaceWith(...parts);
    }
  };

  const sourceList = (message: Message): HTMLElement | null => {
    if (message.citations.length === 0) return null;
    return el(
      "ol",
      { class: "sources", "aria-label": t("sources") },
      ...message.citations.map((citation) => {
        const place = placeLabel(citation);
        return el(
          "li",
          {},
          el(
            "button",
            { type: "button", class: "source", onclick: () => openSource(chat, citation, message.content) },
            el("span", { class: "number" }, citation.n),
            el("span", { class: "title" }, citation.title),
            place ? el("span", { class: place.length > SHORT_PLACE ? "place long" : "place" }, place) : null,
          ),
        );
      }),
    );
  };

  const ending = (message: Message): HTMLElement[] => {
    if (message.complete) return [];
    if (message.finishReason === "length") {
      return [
        el(
          "div",
          { class: "remark" },
          icon("info"),
          t("cutOff"),
          el("button", { type: "button", class: "button quiet small", onclick: () => chat.goOn() }, t("goOn")),
        ),
      ];
    }
    return [
      el("p", { class: "remark" }, icon("info"), message.finishReason === "cancelled" ? t("stopped") : t("brokeOff")),
    ];
  };

  const actions = (message: Message): HTMLElement => {
    const small = (
      label: string,
      name: IconName,
      press: (button: HTMLButtonElement) => unknown,
      pressed: boolean | null = null,
    ) => {
      const button = el(
        "button",
        {
          type: "button",
          class: "icon-button small",
          "aria-label": label,
          title: label,
          "aria-pressed": pressed === null ? null : String(pressed),
        },
        icon(name),
      );
      button.addEventListener("click", () => press(button));
      return button;
    };
    const judge = (value: "up" | "down") => {
      const next = message.feedback === value ? null : value;
      chat.setFeedback(message.id, next, null).then(() => {
        if (next === "down") hooks.comment(message);
      }, hooks.fault);
    };
    const copy = small(t("copy"), "copy", (button) => {
      copyText(message.content).then((worked) => {
        if (!worked) return;
        button.replaceChildren(icon("check"));
        announce(t("copied"));
        setTimeout(() => button.replaceChildren(icon("copy")), 1500);
      }, hooks.fault);
    });
    const bot = message.sender === "bot";
    const last = bot && isLast(message);
    return el(
      "div",
      { class: `actions ${last ? "last" : ""}` },
      copy,
      bot ? small(t("helpful"), "up", () => judge("up"), message.feedback === "up") : null,
      bot ? small(t("notHelpful"), "thumbDown", () => judge("down"), message.feedback === "down") : null,
      last && message.complete
        ? small(t("regenerate"), "again", () => chat.regenerate(message.id).then(undefined, hooks.fault))
        : null,
      message.timestamp ? el("time", { datetime: message.timestamp }, formatTime(message.timestamp)) : null,
    );
  };

  const isLast = (message: Message): boolean => {
    for (const other of chat.state.messages.values()) {
      if (other.sender !== "tool" && (other.seq ?? 0) > (message.seq ?? 0) && other.supersededBy === null) return false;
    }
    return true;
  };

  let lastActions: string | null = null;
  /** The former last answer loses its "answer again", the new one has it. */
  const refreshLast = () => {
    let newest: Message | null = null;
    for (const message of chat.state.messages.values()) {
      if (message.sender !== "tool" && (newest === null || (message.seq ?? 0) > (newest.seq ?? 0))) newest = message;
    }
    const key = newest ? keyOf(newest) : null;
    if (key === lastActions) return;
    const before = lastActions;
    lastActions = key;
    for (const one of [before, key]) {
      if (one === null) continue;
      const { message } = find(one);
      const bar = rows.get(one)?.element.querySelector(".actions");
      if (message && bar) bar.replaceWith(actions(message));
    }
  };

  const announce = (text: string) => {
    // A text node of its own: equal texts one after the other are read twice as well.
    const line = el("p", {}, text);
    live.append(line);
    while (live.childElementCount > 3) live.firstElementChild?.remove();
  };

  let grew = () => undefined as void;

  chat.on((change) => {
    if (change.kind === "all") {
      rows.clear();
      list.replaceChildren();
      live.replaceChildren();
      lastActions = null;
      for (const sent of chat.state.outbox.values()) draw(`c:${sent.clientId}`);
    } else if (change.kind === "messages") {
      for (const key of new Set(change.keys)) draw(key);
      refreshLast();
    } else if (change.kind === "arrived") {
      const message = change.message;
      if (message.sender === "user" || message.sender === "tool" || message.deleted) return;
      const name = message.sender === "attendant" ? (message.senderName ?? t("person")) : botTitle();
      announce(message.sender === "system" ? plainText(message.content) : `${name}: ${plainText(message.content)}`);
    }
  });
  for (const sent of chat.state.outbox.values()) draw(`c:${sent.clientId}`);

  return {
    announce,
    onGrew: (listener: () => void) => {
      grew = listener;
    },
  };
}

/** Cards (`application/json` content): known fields as a card, anything else as the JSON it is. */
function cards(content: string): HTMLElement {
  let data: unknown;
  try {
    data = JSON.parse(content);
  } catch {
    return el("div", { class: "plain" }, content);
  }
  const items = Array.isArray(data) ? data : [data];
  const text = (row: Record<string, unknown>, ...names: string[]): string | null => {
    for (const name of names) {
      const value = row[name];
      if (typeof value === "string" && value !== "") return value;
    }
    return null;
  };
  const drawn = items.map((item: unknown) => {
    if (typeof item !== "object" || item === null) return null;
    const row = item as Record<string, unknown>;
    const title = text(row, "title", "name", "label");
    const words = text(row, "text", "subtitle", "description", "content");
    if (title === null && words === null) return null;
    const href = safeHref(text(row, "url", "href", "link") ?? "javascript:");
    return el(
      "div",
      { class: "card-item" },
      title === null
        ? null
        : el(
            "strong",
            {},
            href === null ? title : el("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, title),
          ),
      words === null ? null : el("span", {}, words),
    );
  });
  if (drawn.every((card) => card !== null)) return el("div", { class: "cards" }, ...drawn);
  return el("pre", { tabindex: 0 }, el("code", {}, JSON.stringify(data, null, 2)));
}
