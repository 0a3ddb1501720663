// The line above the composer that tells of trouble: no connection, fewer services, a closed conversation.
import { el } from "../parts/dom.ts";
import { icon } from "../parts/icons.ts";
import { t } from "../parts/texts.ts";
import type { Conversation } from "./conversation.ts";

interface Hooks {
  startNew: () => void;
  rate: () => void;
  fault: (fault: unknown) => void;
}

/** Builds the line and keeps it up to date. */
export function statusBar(chat: Conversation, hooks: Hooks) {
  const element = el("div", { class: "status-bar", role: "status", hidden: true });
  let shown = "";
  let ticker: ReturnType<typeof setInterval> | null = null;
  let since = Date.now();

  const button = (label: string, press: () => unknown, primary = false) =>
    el("button", { type: "button", class: `button small ${primary ? "primary" : ""}`, onclick: press }, label);

  const set = (key: string, kind: string, content: () => (Node | string)[]) => {
    if (key === shown) return;
    shown = key;
    element.className = `status-bar notice ${kind}`;
    element.hidden = key === "";
    element.replaceChildren(...(key === "" ? [] : content()));
  };

  const seconds = () => Math.max(0, Math.ceil(((chat.state.retryAt ?? 0) - Date.now()) / 1000));

  const draw = () => {
    const { state } = chat;
    if (state.phase === "online" || state.phase === "refused") since = Date.now();
    const away =
      state.phase === "offline" ||
      state.phase === "waiting" ||
      (state.phase === "connecting" && Date.now() - since > 1500);
    if (state.phase === "refused") {
      set("", "", () => []);
    } else if (state.phase === "offline") {
      set("offline", "warn", () => [icon("offline"), el("div", { class: "grow" }, t("offlineText"))]);
    } else if (away) {
      const left = seconds();
      // The count is not part of the text that screen readers hear again and again.
      set(`away:${state.sessionId === null}`, "warn", () => [
        icon("offline"),
        el(
          "div",
          { class: "grow" },
          state.sessionId === null ? t("cannotReach") : t("lostConnection"),
          " ",
          el("span", { class: "count", "aria-hidden": true }),
        ),
        button(t("tryNow"), () => chat.retryNow()),
      ]);
      const count = element.querySelector(".count");
      if (count) count.textContent = left > 1 ? t("nextTry", { n: left }) : "";
    } else if (state.closed) {
      set("closed", "plain", () => [
        icon("info"),
        el("div", { class: "grow" }, t("closedText")),
        button(t("rate"), hooks.rate),
        button(t("reopen"), () => chat.reopen().then(undefined, hooks.fault)),
        button(t("newConversation"), hooks.startNew, true),
      ]);
    } else if (state.handler === "human" && state.attendant === null) {
      set(`queue:${state.queuePosition}`, "plain", () => [
        icon("person"),
        el(
          "div",
          { class: "grow" },
          state.queuePosition === null ? t("waitingForPerson") : t("waitingPosition", { n: state.queuePosition }),
        ),
      ]);
    } else if (state.degraded) {
      set("degraded", "warn", () => [icon("warning"), el("div", { class: "grow" }, t("degradedText"))]);
    } else {
      set("", "", () => []);
    }
    const counting = state.phase === "waiting" || state.phase === "connecting";
    if (counting && !ticker) ticker = setInterval(draw, 1000);
    if (!counting && ticker) {
      clearInterval(ticker);
      ticker = null;
    }
  };
  chat.on((change) => {
    if (change.kind !== "messages" && change.kind !== "suggestions") draw();
  });
  draw();
  return { element };
}
