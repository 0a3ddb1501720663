// The chat page: puts its parts together and decides what is seen in which state.
import { onPersonChange, person, sessionWasLost } from "../parts/account.ts";
import { ApiFault, call } from "../parts/api.ts";
import { openDialog } from "../parts/dialog.ts";
import { byId, el } from "../parts/dom.ts";
import { faultText } from "../parts/forms.ts";
import { icon } from "../parts/icons.ts";
import { redeemLoginCode, signInPanel } from "../parts/signin.ts";
import { readStored, writeStored } from "../parts/storage.ts";
import { language, t } from "../parts/texts.ts";
import { composer } from "./composer.ts";
import { openConversation } from "./conversation.ts";
import { conversationList } from "./conversations.ts";
import { acceptDrops } from "./drops.ts";
import { frame } from "./frame.ts";
import { logo, topLine } from "./header.ts";
import { openKnowledge } from "./knowledge.ts";
import { messageView } from "./messages.ts";
import { openComment, openRating } from "./rating.ts";
import { scrollFrame } from "./scroll.ts";
import { statusBar } from "./status.ts";
import { suggestionBar } from "./suggestions.ts";
import { wearTheme } from "./theme.ts";

const root = document.documentElement;
root.lang = language;

/** The bot that the address or, for a host name of a bot's own, the server's page names; null is the default one. */
function botOfPage(): string | null {
  const segment = decodeURIComponent(location.pathname.split("/")[1] ?? "");
  return segment || root.dataset["bot"] || null;
}

const embedded = new URLSearchParams(location.search).get("embed") === "1";
root.classList.toggle("embedded", embedded);
const chat = openConversation(botOfPage(), navigator.language || language);

// ---- telling

const live = el("div", { class: "unseen", role: "log", "aria-live": "polite", "aria-relevant": "additions" });
const toasts = el("div", { class: "toasts", role: "status", "aria-live": "polite" });

function toast(text: string, action?: { label: string; press: () => void }): void {
  const close = (): void => line.remove();
  const act = () => {
    close();
    action?.press();
  };
  const line: HTMLElement = el(
    "div",
    { class: "toast" },
    el("span", { class: "grow" }, text),
    action ? el("button", { type: "button", class: "button small", onclick: act }, action.label) : null,
    el(
      "button",
      { type: "button", class: "icon-button small", "aria-label": t("close"), onclick: close },
      icon("close"),
    ),
  );
  toasts.append(line);
  while (toasts.childElementCount > 3) toasts.firstElementChild?.remove();
  setTimeout(close, action ? 15_000 : 7000);
}

function showFault(fault: unknown): void {
  toast(faultText(fault));
  // A fault that is no refusal of the server is a mistake of this page: let the browser's tools show it.
  if (!(fault instanceof ApiFault)) reportError(fault);
}

function openSignIn(): void {
  const panel = signInPanel({
    returnTo: location.pathname + location.search,
    framed: embedded,
    setTitle: (title) => dialog.setTitle(title),
    done: () => {
      dialog.close();
      toast(t("welcome", { name: person()?.name ?? "" }));
    },
  });
  const dialog = openDialog(t("signIn"), {}, panel.element);
}

// ---- parts

const thanks = () => toast(t("thanks"));
const rate = () => openRating(chat, thanks);
const list = el("ol", { class: "messages" });
const view = messageView(chat, list, live, {
  fault: showFault,
  comment: (message) => openComment(chat, message, thanks, showFault),
});
const write = composer(chat, (text) => view.announce(text));
const suggestions = suggestionBar(chat, { fault: showFault, picked: () => write.focus() });
const startNew = () => {
  drawer?.close();
  chat.startNew().then(() => write.focus(), showFault);
};
const conversations = conversationList(chat, {
  chosen: () => {
    drawer?.close();
    write.focus();
  },
  startNew,
  fault: showFault,
});
const trouble = statusBar(chat, { startNew, rate, fault: showFault });
const top = topLine(chat, embedded, {
  signIn: openSignIn,
  startNew,
  rate,
  openList: () => openList(),
  addKnowledge: () => openKnowledge(chat),
  fault: showFault,
});

const shelf = el("aside", { class: "shelf", "aria-label": t("conversations"), hidden: true });
const hint = el("div", { class: "banner-place" });
const empty = el("div", { class: "empty", hidden: true });
const earlier = el("button", { type: "button", class: "button small earlier", hidden: true }, t("showEarlier"));
const what = el("span", {});
const writing = el(
  "div",
  { class: "writing-line", hidden: true },
  el("span", { class: "dots", "aria-hidden": true }, el("i"), el("i"), el("i")),
  what,
);
const firstSteps = el("div", { class: "first-steps", hidden: true });
firstSteps.append(
  el(
    "button",
    { type: "button", class: "button", onclick: () => openKnowledge(chat) },
    icon("book"),
    t("addDocuments"),
  ),
);
const column = el("div", { class: "column" }, earlier, empty, list, firstSteps, writing);
const scrolling = scrollFrame(column, { left: () => write.focus() });
view.onGrew(scrolling.follow);
earlier.addEventListener("click", () => {
  scrolling.steady(chat.loadEarlier).then(() => {
    if (earlier.hidden) scrolling.scroller.focus();
  }, showFault);
});

const bottom = el(
  "div",
  { class: "bottom" },
  el(
    "div",
    { class: "column" },
    trouble.element,
    suggestions.element,
    write.element,
    el("p", { class: "keys" }, t("keysHint")),
  ),
);

byId("app", HTMLElement).replaceChildren(
  el("a", { class: "skip", href: "#message" }, t("skipToMessage")),
  top.element,
  el("div", { class: "middle" }, shelf, el("main", { class: "main" }, hint, scrolling.element, bottom)),
  live,
  toasts,
);

// ---- who is here

let drawer: ReturnType<typeof openDialog> | null = null;
function openList(): void {
  drawer = openDialog(t("conversations"), { kind: "start" }, conversations.element);
  conversations.load().then(undefined, showFault);
  drawer.closed.then(() => {
    drawer = null;
    shelf.append(conversations.element);
  }, showFault);
}

const wide = matchMedia("(min-width: 64rem)");
async function showPerson(): Promise<void> {
  shelf.hidden = person() === null || embedded;
  if (!drawer) shelf.append(conversations.element);
  if (!shelf.hidden && wide.matches) await conversations.load();
  await top.showPerson();
  showState();
}
wide.addEventListener("change", () => {
  if (wide.matches && !shelf.hidden) conversations.load().then(undefined, showFault);
});
/** Before the page has begun there is nothing to change: it begins as whoever is there by then. */
let begun = false;
onPersonChange(() => {
  if (!begun) return;
  hint.replaceChildren();
  if (person() === null && sessionWasLost()) toast(t("sessionEnded"), { label: t("signIn"), press: openSignIn });
  showPerson().then(undefined, showFault);
  chat.personChanged().then(undefined, showFault);
});

// ---- what is seen

function showEmpty(): void {
  const { state } = chat;
  const said = [...state.messages.values()].filter((message) => message.sender !== "tool");
  const quiet = !said.some((message) => message.sender === "user") && state.outbox.size === 0 && state.earlier === null;
  const refused = state.phase === "refused";
  empty.hidden = !quiet && !refused;
  column.classList.toggle("fresh", quiet || refused);
  firstSteps.hidden = !quiet || refused || !top.mayAddKnowledge();
  if (refused) {
    showRefusal(state.refusal === "withdrawn");
    return;
  }
  if (!quiet) return;
  const loading = state.phase !== "online";
  delete empty.dataset["refusal"];
  empty.replaceChildren(
    el("span", { class: "brand large", "aria-hidden": true }, logo(state.bot?.logo ?? null)),
    el("h1", {}, loading ? t("connecting") : t("askTitle", { name: state.bot?.title ?? "" })),
    said.length > 0 ? "" : el("p", {}, loading ? t("connectingText") : t("askText")),
  );
}

/** Instead of a conversation: there is no such bot, or not for this person. */
function showRefusal(withdrawn: boolean): void {
  const known = person() !== null;
  const reason = withdrawn ? t("withdrawn") : known ? t("noBotSignedIn") : t("noBotText");
  const shown = `${withdrawn}/${known}`;
  if (empty.dataset["refusal"] === shown) return;
  empty.dataset["refusal"] = shown;
  const signIn = el("button", { type: "button", class: "button primary", onclick: openSignIn }, t("signIn"));
  empty.replaceChildren(
    el("span", { class: "brand large", "aria-hidden": true }, icon("info")),
    el("h1", {}, withdrawn ? t("unavailable") : t("noBotTitle")),
    el("p", {}, reason),
    el("div", { class: "row" }, known ? "" : signIn, el("a", { class: "button", href: "/" }, t("toDefaultBot"))),
  );
  view.announce(`${t("noBotTitle")} ${reason}`);
}

function showState(): void {
  const { state } = chat;
  showEmpty();
  bottom.hidden = state.phase === "refused";
  earlier.hidden = state.earlier === null;
  const busy = chat.answering() && state.phase === "online";
  writing.hidden = !(busy && state.drafts.size === 0) && state.typing !== "attendant";
  what.textContent =
    state.activity ??
    (state.typing === "attendant" ? t("attendantTypes", { name: state.attendant ?? t("person") }) : t("thinking"));
  list.setAttribute("aria-busy", String(busy));
  top.showState();
  scrolling.follow();
}

// ---- read and unread

let unread = 0;
let readUpTo = "";
const outer = embedded
  ? frame({
      opened: () => {
        write.focus();
        sayRead();
      },
    })
  : null;

function showTitle(): void {
  const name = chat.state.bot?.title ?? t("chat");
  document.title = unread > 0 ? `(${unread}) ${name}` : name;
  outer?.unread(unread);
}

const inSight = () => document.visibilityState === "visible" && (outer === null || outer.isOpen());

/** Tells the server how far the person has read. */
function sayRead(): void {
  if (!inSight()) return;
  unread = 0;
  showTitle();
  let newest = null;
  for (const message of chat.state.messages.values()) {
    if (message.sender !== "user" && (newest === null || (message.seq ?? 0) > (newest.seq ?? 0))) newest = message;
  }
  if (newest && newest.id !== readUpTo && chat.state.phase === "online") {
    readUpTo = newest.id;
    chat.read(newest.id);
  }
}
document.addEventListener("visibilitychange", sayRead);

chat.on((change) => {
  switch (change.kind) {
    case "all":
      readUpTo = "";
      showState();
      scrolling.toBottom();
      break;
    case "messages":
      showState();
      // What the person has just sent is what they want to see.
      if (change.keys.some((key) => key.startsWith("c:") && chat.state.outbox.has(key.slice(2)))) scrolling.toBottom();
      break;
    case "arrived":
      if (change.message.sender !== "user" && change.message.sender !== "tool") {
        if (!inSight()) unread += 1;
        showTitle();
        sayRead();
      }
      conversations.touched();
      break;
    case "status":
      showState();
      break;
    case "bot": {
      const { bot } = chat.state;
      top.showBot();
      showTitle();
      showState();
      if (bot?.themed && change.themeChanged) {
        chat
          .token()
          .then((token) => wearTheme(bot.name, bot.themeName, token))
          .then(undefined, showFault);
      }
      conversations.touched(0);
      break;
    }
    case "fault":
      toast(faultText(change.fault));
      break;
    case "suggestions":
      scrolling.follow();
      break;
  }
});

acceptDrops(() => chat.state.sessionId !== null && !chat.state.closed, write.addFiles);

// Typing anywhere begins a message.
document.addEventListener("keydown", (event) => {
  if (event.key.length !== 1 || event.ctrlKey || event.metaKey || event.altKey || event.key === " ") return;
  if (document.activeElement === document.body || document.activeElement === scrolling.scroller) write.focus();
});

/** Nobody has made an administrator yet: the person in front of a fresh server is told how. */
async function showSetupHint(): Promise<void> {
  if (embedded || person() || readStored("botserver.setup", (value) => value === "done") === true) return;
  const answer = await call("/auth/bootstrap");
  if (answer["required"] !== true) {
    writeStored("botserver.setup", "done");
    return;
  }
  const close = (): void => box.remove();
  const box: HTMLElement = el(
    "div",
    { class: "notice banner", role: "status" },
    icon("key"),
    el("div", { class: "grow" }, el("strong", {}, t("setupHintTitle")), " ", t("setupHintText")),
    el("a", { class: "button small", href: "/setup" }, t("setupOpen")),
    el(
      "button",
      { type: "button", class: "icon-button small", "aria-label": t("close"), onclick: close },
      icon("close"),
    ),
  );
  hint.replaceChildren(box);
}

async function begin(): Promise<void> {
  try {
    await redeemLoginCode();
  } catch (fault) {
    showFault(fault);
  }
  begun = true;
  chat.connect().then(undefined, showFault);
  await showPerson().catch(showFault);
  await showSetupHint().catch((fault: unknown) => {
    // Only a hint: a server that does not answer this is told by the connection itself.
    if (!(fault instanceof ApiFault)) throw fault;
  });
}

showState();
write.refresh();
begin().then(undefined, showFault);
if (!embedded && matchMedia("(pointer: fine)").matches) write.focus();
