// The top line: which bot and how it is, and what a person may do here.
import { holds, permissions, person, signOut } from "../parts/account.ts";
import { call } from "../parts/api.ts";
import { openMenu } from "../parts/dialog.ts";
import { el } from "../parts/dom.ts";
import { icon } from "../parts/icons.ts";
import { t } from "../parts/texts.ts";
import { asObjects, asText } from "../parts/wire.ts";
import type { Conversation } from "./conversation.ts";

interface Hooks {
  signIn: () => void;
  startNew: () => void;
  rate: () => void;
  openList: () => void;
  addKnowledge: () => void;
  fault: (fault: unknown) => void;
}

/** The bot's logo if it is of this origin, else our own sign. */
export function logo(address: string | null): Node {
  if (address === null) return icon("chat");
  const url = new URL(address, location.origin);
  return url.origin === location.origin ? el("img", { src: url.href, alt: "" }) : icon("chat");
}

/** Builds the top line. */
export function topLine(chat: Conversation, embedded: boolean, hooks: Hooks) {
  const iconButton = (label: string, name: Parameters<typeof icon>[0], press: () => void, hidden = false) =>
    el(
      "button",
      { type: "button", class: "icon-button", "aria-label": label, title: label, hidden, onclick: press },
      icon(name),
    );

  const sign = el("span", { class: "brand", "aria-hidden": true }, icon("chat"));
  const title = el("span", { class: "name" }, t("chat"));
  const dot = el("span", { class: "dot", "aria-hidden": true });
  const stateText = el("span", { class: "state" });
  const botButton = el(
    "button",
    { type: "button", class: "bot-button", "aria-haspopup": "menu", "aria-expanded": false },
    sign,
    el("span", { class: "names" }, title, el("span", { class: "state-line" }, dot, stateText)),
    el("span", { class: "unseen" }, t("chooseOther")),
    icon("down"),
  );
  const menuButton = iconButton(t("conversations"), "menu", hooks.openList, true);
  menuButton.classList.add("only-narrow");
  const newButton = iconButton(t("newConversation"), "edit", hooks.startNew);
  const knowledgeButton = iconButton(t("addKnowledge"), "book", hooks.addKnowledge, true);
  const signInButton = el("button", { type: "button", class: "button small", onclick: hooks.signIn }, t("signIn"));
  const personButton = el("button", {
    type: "button",
    class: "person-button",
    "aria-haspopup": "menu",
    "aria-expanded": false,
    hidden: true,
  });
  const element = el(
    "header",
    { class: "top" },
    menuButton,
    botButton,
    el("div", { class: "tools" }, knowledgeButton, newButton, signInButton, personButton),
  );

  const chooseBot = async () => {
    const data = await call("/bots", { token: person() ? await chat.token() : null, query: { limit: 100 } });
    openMenu(botButton, [
      { head: t("chooseBot") },
      ...asObjects(data["bots"]).map((row) => {
        const name = asText(row["name"]) ?? "";
        return {
          label: asText(row["display_name"]) ?? name,
          sub: asText(row["description"]),
          icon: "bot" as const,
          checked: name === chat.bot(),
          href: (name === "default" ? "/" : `/${encodeURIComponent(name)}`) + location.search,
        };
      }),
      "line",
      { label: t("rateConversation"), icon: "star", choose: hooks.rate },
    ]);
  };
  botButton.addEventListener("click", () => {
    chooseBot().then(undefined, hooks.fault);
  });
  personButton.addEventListener("click", () => {
    const who = person();
    if (!who) return;
    openMenu(personButton, [
      { head: who.email ?? who.name },
      { label: t("apiPage"), icon: "tool", href: "/docs" },
      "line",
      {
        label: t("signOut"),
        icon: "signOut",
        choose: () => {
          signOut().then((next) => {
            if (next !== null) location.assign(next);
          }, hooks.fault);
        },
      },
    ]);
  });

  return {
    element,
    showBot: () => {
      const { bot } = chat.state;
      title.textContent = bot?.title ?? t("chat");
      sign.replaceChildren(logo(bot?.logo ?? null));
    },
    showState: () => {
      const { state } = chat;
      const words = {
        online: t("online"),
        connecting: t("connecting"),
        waiting: t("reconnecting"),
        offline: t("offline"),
        refused: t("unavailable"),
      };
      const withPerson = state.phase === "online" && state.handler === "human" && state.attendant !== null;
      dot.dataset["phase"] = state.degraded && state.phase === "online" ? "degraded" : state.phase;
      stateText.textContent = withPerson ? t("withPerson", { name: state.attendant ?? "" }) : words[state.phase];
      newButton.hidden = state.phase === "refused";
    },
    mayAddKnowledge: () => !knowledgeButton.hidden,
    /** Shows who is signed in; adding knowledge is offered to those who may. */
    showPerson: async () => {
      const who = person();
      signInButton.hidden = who !== null;
      personButton.hidden = who === null;
      menuButton.hidden = who === null || embedded;
      knowledgeButton.hidden = true;
      if (!who) return;
      personButton.replaceChildren(who.name.slice(0, 1).toUpperCase() || "?");
      personButton.setAttribute("aria-label", t("account", { name: who.name }));
      personButton.title = who.name;
      const held = await permissions();
      knowledgeButton.hidden = embedded || !holds(held, "kb:write");
    },
  };
}
