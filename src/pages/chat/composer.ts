// The field where a person writes: Enter sends, Shift+Enter breaks the line, ↑ brings back what was sent, Escape stops the answer.
import { el } from "../parts/dom.ts";
import { icon } from "../parts/icons.ts";
import { t } from "../parts/texts.ts";
import { attachmentTray } from "./attachments.ts";
import type { Conversation } from "./conversation.ts";

const LONGEST = 32_768;
const TYPING_MS = 4000;

/** Builds the composer. */
export function composer(chat: Conversation, say: (text: string) => void) {
  const input = el("textarea", {
    id: "message",
    rows: 1,
    maxlength: LONGEST,
    placeholder: t("writeHere"),
    "aria-label": t("yourMessage"),
    enterkeyhint: "send",
    autocomplete: "off",
  });
  const picker = el("input", {
    type: "file",
    multiple: true,
    class: "unseen",
    tabindex: -1,
    "aria-hidden": true,
    id: "attach-files",
  });
  const attach = el(
    "button",
    { type: "button", class: "icon-button", "aria-label": t("attach"), title: t("attach") },
    icon("attach"),
  );
  const stop = el(
    "button",
    { type: "button", class: "icon-button stop", "aria-label": t("stop"), title: t("stopHint"), hidden: true },
    icon("stop"),
  );
  const send = el(
    "button",
    { type: "submit", class: "icon-button send", "aria-label": t("send"), title: t("send") },
    icon("send"),
  );
  const files = el("ul", { class: "files tray", hidden: true, "aria-label": t("attachments") });
  const box = el("div", { class: "box" }, files, el("div", { class: "line" }, attach, picker, input, stop, send));
  const element = el("form", { class: "composer", "aria-label": t("yourMessage") }, box);

  const tray = attachmentTray(chat, files, () => refresh(), say);
  let history: string[] = [];
  let at: number | null = null;
  let kept = "";
  let typingTimer: ReturnType<typeof setTimeout> | null = null;
  let typingSince = 0;

  const grow = () => {
    // Measured, because field-sizing is not everywhere yet.
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, Math.round(innerHeight * 0.4))}px`;
  };

  const refresh = () => {
    const empty = input.value.trim() === "" && tray.count() === 0;
    send.setAttribute("aria-disabled", String(empty || tray.busy()));
    const stopping = chat.answering() && chat.state.phase === "online";
    if (stop.hidden === stopping) {
      const focused = document.activeElement === stop;
      stop.hidden = !stopping;
      if (focused && !stopping) input.focus();
    }
    const shut = chat.state.closed || chat.state.phase === "refused";
    input.disabled = shut;
    attach.disabled = shut || chat.state.sessionId === null;
    element.classList.toggle("shut", shut);
    element.hidden = shut;
  };

  const endTyping = () => {
    if (typingTimer) clearTimeout(typingTimer);
    typingTimer = null;
    if (typingSince > 0) chat.typing(false);
    typingSince = 0;
  };

  const submit = () => {
    const text = input.value.trim();
    if (tray.busy()) {
      say(t("stillUploading"));
      return;
    }
    if (text === "" && tray.count() === 0) return;
    endTyping();
    chat.send(text, tray.take());
    history = history.filter((old) => old !== text);
    if (text !== "") history.push(text);
    at = null;
    input.value = "";
    grow();
    refresh();
  };

  const recall = (step: -1 | 1): boolean => {
    const own = [...chat.state.messages.values()].filter(
      (message) => message.sender === "user" && message.content !== "",
    );
    const all = [
      ...own.sort((a, b) => (a.seq ?? 0) - (b.seq ?? 0)).map((message) => message.content),
      ...history,
    ].filter((text, index, list) => list.lastIndexOf(text) === index);
    if (all.length === 0) return false;
    if (at === null) {
      if (step === 1 || input.value !== "") return false;
      kept = input.value;
      at = all.length - 1;
    } else {
      const next = at + step;
      if (next < 0) return true;
      at = next >= all.length ? null : next;
    }
    input.value = at === null ? kept : (all[at] ?? "");
    input.setSelectionRange(input.value.length, input.value.length);
    grow();
    refresh();
    return true;
  };

  element.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
    input.focus();
  });
  input.addEventListener("input", () => {
    at = null;
    grow();
    refresh();
    if (input.value === "") {
      endTyping();
      return;
    }
    if (Date.now() - typingSince > TYPING_MS) {
      typingSince = Date.now();
      chat.typing(true);
    }
    if (typingTimer) clearTimeout(typingTimer);
    typingTimer = setTimeout(endTyping, TYPING_MS);
  });
  input.addEventListener("keydown", (event) => {
    // While an input method composes a word, Enter and arrows belong to it.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && !event.shiftKey && input.selectionStart === 0 && input.selectionEnd === 0) {
      if (recall(-1)) event.preventDefault();
    } else if (event.key === "ArrowUp" && at !== null && !event.shiftKey) {
      if (recall(-1)) event.preventDefault();
    } else if (event.key === "ArrowDown" && at !== null && !event.shiftKey) {
      if (recall(1)) event.preventDefault();
    }
  });
  input.addEventListener("blur", endTyping);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || !chat.answering()) return;
    if (document.querySelector("dialog[open], [popover]:popover-open")) return;
    event.preventDefault();
    chat.cancel();
    say(t("stopping"));
  });
  stop.addEventListener("click", () => {
    chat.cancel();
    say(t("stopping"));
    input.focus();
  });
  attach.addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    tray.add(picker.files ?? []);
    picker.value = "";
    input.focus();
  });
  input.addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (pasted.length === 0) return;
    event.preventDefault();
    tray.add(pasted);
  });

  chat.on(() => refresh());
  addEventListener("resize", grow);

  return {
    element,
    focus: () => input.focus(),
    addFiles: (dropped: Iterable<File>) => tray.add(dropped),
    write: (text: string) => {
      input.value = text;
      grow();
      refresh();
    },
    refresh,
  };
}
