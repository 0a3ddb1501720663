// The list of a signed-in person's conversations with this bot: search, open, rename, pin, archive, delete.
import { person, withAccount } from "../parts/account.ts";
import { call, fetchRaw } from "../parts/api.ts";
import { confirmed, openDialog, openMenu } from "../parts/dialog.ts";
import { el } from "../parts/dom.ts";
import { faultText, field, form, notice } from "../parts/forms.ts";
import { icon } from "../parts/icons.ts";
import { formatDay, t } from "../parts/texts.ts";
import { asObjects, asText } from "../parts/wire.ts";
import type { Json } from "../parts/wire.ts";
import { saveBlob } from "./attachments.ts";
import type { Conversation } from "./conversation.ts";

interface Entry {
  id: string;
  title: string;
  lastMessage: string;
  lastActivity: string | null;
  pinned: boolean;
  unread: number;
}

function readEntry(row: Json): Entry | null {
  const id = asText(row["id"]) ?? asText(row["conversation_id"]);
  if (id === null) return null;
  return {
    id,
    title: asText(row["title"]) ?? "",
    lastMessage: asText(row["last_message"]) ?? "",
    lastActivity: asText(row["last_activity"]),
    pinned: row["pinned"] === true,
    unread: typeof row["unread_count"] === "number" ? row["unread_count"] : 0,
  };
}

/** Builds the list. `chosen` is called when a conversation was opened, `startNew` for a fresh one. */
export function conversationList(
  chat: Conversation,
  hooks: { chosen: () => void; startNew: () => void; fault: (fault: unknown) => void },
) {
  const search = el("input", {
    class: "input",
    type: "search",
    placeholder: t("search"),
    "aria-label": t("searchConversations"),
  });
  const list = el("ul", { class: "entries" });
  const foot = el("div", { class: "entries-foot" });
  const fresh = el(
    "button",
    { type: "button", class: "button wide", onclick: () => hooks.startNew() },
    icon("plus"),
    t("newConversation"),
  );
  const element = el(
    "div",
    { class: "conversations" },
    fresh,
    el("div", { class: "search" }, icon("search"), search),
    list,
    foot,
  );
  let asked = 0;

  const load = async (offset = 0) => {
    // Before the page is connected it does not know the bot's id; then it asks again.
    const botId = chat.state.bot?.id ?? null;
    if (person() === null || botId === null) return;
    asked += 1;
    const mine = asked;
    const limit = 30;
    const q = search.value.trim();
    const data = await withAccount((token) =>
      call("/conversations", {
        token,
        query: {
          bot_id: botId,
          limit,
          offset,
          sort: "last_activity",
          order: "desc",
          q: q === "" ? null : q,
        },
      }),
    );
    if (mine !== asked) return;
    const entries = asObjects(data["conversations"]).flatMap((row) => readEntry(row) ?? []);
    if (offset === 0) list.replaceChildren();
    entries.sort((a, b) => Number(b.pinned) - Number(a.pinned));
    list.append(...entries.map(draw));
    const total = typeof data["total"] === "number" ? data["total"] : entries.length;
    foot.replaceChildren();
    if (list.childElementCount === 0)
      foot.append(el("p", { class: "remark" }, q === "" ? t("noConversations") : t("nothingFound")));
    else if (offset + entries.length < total) {
      foot.append(
        el(
          "button",
          {
            type: "button",
            class: "button quiet wide",
            onclick: () => load(offset + limit).then(undefined, hooks.fault),
          },
          t("more"),
        ),
      );
    }
  };

  const draw = (entry: Entry): HTMLLIElement => {
    const current = entry.id === chat.state.sessionId;
    const more = el(
      "button",
      {
        type: "button",
        class: "icon-button small more",
        "aria-label": t("optionsFor", { title: entry.title || t("newConversation") }),
      },
      icon("more"),
    );
    more.addEventListener("click", () =>
      openMenu(more, [
        { label: t("rename"), icon: "edit", choose: () => rename(entry) },
        {
          label: entry.pinned ? t("unpin") : t("pin"),
          icon: "pin",
          choose: () => change(entry, "PATCH", "", { pinned: !entry.pinned }),
        },
        { label: t("export"), icon: "download", choose: () => save(entry) },
        { label: t("archive"), icon: "archive", choose: () => change(entry, "POST", "/archive", {}) },
        "line",
        { label: t("delete"), icon: "trash", danger: true, choose: () => remove(entry) },
      ]),
    );
    return el(
      "li",
      { class: `entry ${current ? "current" : ""}` },
      el(
        "button",
        {
          type: "button",
          class: "open",
          "aria-current": current ? "true" : null,
          onclick: () => {
            chat.show(entry.id);
            hooks.chosen();
          },
        },
        el(
          "span",
          { class: "title" },
          entry.pinned ? icon("pin") : null,
          el("span", {}, entry.title || t("newConversation")),
        ),
        el("span", { class: "sub" }, entry.lastActivity ? formatDay(entry.lastActivity) : ""),
        entry.unread > 0 && !current
          ? el("span", { class: "badge", "aria-label": t("unread", { n: entry.unread }) }, entry.unread)
          : null,
      ),
      more,
    );
  };

  const change = (entry: Entry, method: "PATCH" | "POST" | "DELETE", rest: string, json: Json) => {
    withAccount((token) =>
      call(`/conversations/${entry.id}${rest}`, { method, token, ...(method === "DELETE" ? {} : { json }) }),
    )
      .then(() => {
        const gone = method === "DELETE" || rest === "/archive";
        if (gone && entry.id === chat.state.sessionId) hooks.startNew();
        return load();
      })
      .then(undefined, hooks.fault);
  };

  const rename = (entry: Entry) => {
    const fields = { title: field(t("title"), { value: entry.title, maxlength: 200, required: true }) };
    const made = form(fields, [], t("save"), async () => {
      await withAccount((token) =>
        call(`/conversations/${entry.id}`, {
          method: "PATCH",
          token,
          json: { title: fields.title.input.value.trim() },
        }),
      );
      dialog.close();
      await load();
    });
    const dialog = openDialog(t("rename"), {}, made.element);
    fields.title.input.select();
  };

  const remove = (entry: Entry) => {
    confirmed(t("deleteQuestion"), t("deleteDetail", { title: entry.title || t("newConversation") }), t("delete")).then(
      (yes) => {
        if (yes) change(entry, "DELETE", "", {});
      },
      hooks.fault,
    );
  };

  const save = (entry: Entry) => {
    const read = async () => {
      const response = await withAccount((token) =>
        fetchRaw(`/conversations/${entry.id}/export`, { token, query: { format: "markdown" } }),
      );
      saveBlob(
        await response.blob(),
        `${(entry.title || t("conversation")).replace(/[\\/:*?"<>|]/g, " ").slice(0, 80)}.md`,
      );
    };
    read().then(undefined, hooks.fault);
  };

  let timer: ReturnType<typeof setTimeout> | null = null;
  const soon = (ms: number) => {
    if (timer) clearTimeout(timer);
    timer = setTimeout(() => load().then(undefined, hooks.fault), ms);
  };
  search.addEventListener("input", () => soon(250));

  return {
    element,
    load: () =>
      load().then(undefined, (fault: unknown) => {
        list.replaceChildren();
        foot.replaceChildren(notice("danger", faultText(fault)));
      }),
    /** Something was said: the list is read again, once the burst is over. */
    touched: (ms = 700) => {
      if (person() !== null && element.isConnected && element.checkVisibility()) soon(ms);
    },
  };
}
