// The conversation that the page shows, as its parts use it: what is known, and what a person can do.
import { accessToken, person, withAccount } from "../parts/account.ts";
import { ApiFault, call } from "../parts/api.ts";
import { alone } from "../parts/storage.ts";
import { asText, randomId } from "../parts/wire.ts";
import { openConnection } from "./connection.ts";
import { readSwitchers } from "./protocol.ts";
import type { Attachment, Suggestion } from "./protocol.ts";
import { anonymousSession, keepSession, noteWritten } from "./session.ts";
import type { State } from "./state.ts";
import { openStore } from "./store.ts";

export type Conversation = ReturnType<typeof openConversation>;

/** The kept conversation with `botName` (null: the default bot), or a new one; `connect` joins it. */
export function openConversation(botName: string | null, language: string) {
  const store = openStore(botName);
  const connection = openConnection(store, botName, language);
  const { state } = store;
  const { request, here } = connection;
  const online = () => state.phase === "online";
  store.loadOutbox();

  const queue = (content: string, attachments: Attachment[], suggestion: string | null) => {
    const row = { clientId: randomId(), content, attachments, suggestion, fault: null, madeAt: Date.now() };
    store.queue(row);
    noteWritten(botName);
    if (online()) connection.transmit(row);
    store.redraw(`c:${row.clientId}`);
    store.status();
  };

  /** Leaves what is shown and joins what is kept by now. */
  const rejoin = () => {
    connection.leave();
    connection.forget();
    connection.connect();
  };

  /** Turns the anonymous conversation into one of the person who has just signed in. */
  const claim = async (personId: string) => {
    const brought = anonymousSession(botName);
    if (!brought) return;
    let claimed = false;
    if (brought.wrote) {
      try {
        const path = `/conversations/${brought.sessionId}/claim`;
        await withAccount((token) => call(path, { method: "POST", token, json: { token: brought.token } }));
        claimed = true;
      } catch (fault) {
        store.fail(fault);
      }
    }
    keepSession(botName, claimed ? { sessionId: brought.sessionId, token: null, personId, wrote: true } : null);
  };
  const bringAlong = async () => {
    const who = person();
    if (who) await alone(`botserver.claim:${botName ?? ""}`, () => claim(who.id));
  };

  return {
    state: state as Readonly<State>,
    /** The bot's name as the server knows it; the page's own until it is connected. */
    bot: () => state.bot?.name ?? botName ?? "default",
    on: store.on,
    answering: store.answering,
    /** Joins; whoever has signed in on another page since brings their anonymous conversation along. */
    connect: async () => {
      await bringAlong();
      connection.connect();
    },
    retryNow: connection.retryNow,
    here,
    isAnonymous: () => connection.chatToken() !== null || person() === null,
    token: async (): Promise<string | null> => connection.chatToken() ?? (await accessToken()),

    send: (content: string, attachments: Attachment[]) => queue(content, attachments, null),
    pick: (suggestion: Suggestion) => {
      state.suggestions = [];
      store.emit({ kind: "suggestions" });
      queue(suggestion.label, [], suggestion.value);
    },
    /** Sends a refused message once more, under the same client id. */
    retry: (clientId: string) => {
      const row = state.outbox.get(clientId);
      if (!row) return;
      row.fault = null;
      store.saveOutbox();
      if (online()) connection.transmit(row);
      store.redraw(`c:${clientId}`);
    },
    discard: (clientId: string) => {
      state.outbox.delete(clientId);
      store.saveOutbox();
      store.redraw(`c:${clientId}`);
    },
    cancel: () => {
      connection.send({ type: "cancel", session_id: state.sessionId });
    },
    /** Asks the model to go on with an answer that was cut at its length. */
    goOn: () => {
      // Kind 3 of a message (contract, "Message"): continue.
      connection.send({ type: 3, content: "", session_id: state.sessionId, client_id: randomId() });
    },
    typing: (on: boolean) => {
      if (online()) connection.send({ type: "typing", session_id: state.sessionId, state: on ? "start" : "stop" });
    },
    read: (messageId: string) => {
      if (online()) connection.send({ type: "read", session_id: state.sessionId, message_id: messageId });
    },

    loadEarlier: async () => {
      if (state.earlier) await connection.readBack(state.earlier.before);
    },
    setFeedback: async (messageId: string, value: "up" | "down" | null, comment: string | null) => {
      const json = comment === null ? { value } : { value, comment };
      await request(here(`/messages/${messageId}/feedback`), { method: "POST", json });
      store.change(messageId, { feedback: value });
    },
    regenerate: async (messageId: string) => {
      const made = await request(here(`/messages/${messageId}/regenerate`), { method: "POST" });
      const next = asText(made["message_id"]);
      if (next === null) return;
      if (!state.messages.has(next)) store.awaited.set(next, { told: true, since: Date.now() });
      store.change(messageId, { supersededBy: next });
      store.status();
    },
    setSwitcher: async (id: string, active: boolean) => {
      const before = state.switchers;
      state.switchers = before.map((row) => (row.id === id ? { ...row, active } : row));
      store.emit({ kind: "suggestions" });
      try {
        const data = await request(here(`/switchers/${encodeURIComponent(id)}`), { method: "PUT", json: { active } });
        if (Array.isArray(data["switchers"])) state.switchers = readSwitchers(data["switchers"]);
      } catch (fault) {
        state.switchers = before;
        throw fault;
      } finally {
        store.emit({ kind: "suggestions" });
      }
    },
    rate: async (rating: number, comment: string, resolved: boolean | null) => {
      const json = { rating, ...(comment ? { comment } : {}), ...(resolved === null ? {} : { resolved }) };
      await request(here("/rating"), { method: "POST", json });
    },
    reopen: async () => {
      await request(here("/reopen"), { method: "POST" });
      state.closed = false;
      store.status();
    },

    /** Leaves this conversation and begins a new one with the same bot. */
    startNew: async () => {
      const who = person();
      const { sessionId } = state;
      const left = connection.chatToken();
      if (who) {
        const json = { ...(botName === null ? {} : { bot_id: botName }), language };
        const made = await withAccount((token) => call("/conversations", { method: "POST", token, json }));
        const id = asText(made["session_id"]) ?? asText(made["conversation_id"]);
        if (id !== null) keepSession(botName, { sessionId: id, token: null, personId: who.id, wrote: true });
      } else {
        keepSession(botName, null);
      }
      rejoin();
      if (left === null || sessionId === null) return;
      try {
        // Its token is thrown away here, so it may as well end there.
        await call(`/sessions/${sessionId}`, { method: "DELETE", token: left });
      } catch (fault) {
        // Then idleness ends it.
        if (!(fault instanceof ApiFault)) throw fault;
      }
    },
    /** Shows another conversation of the signed-in person. */
    show: (sessionId: string) => {
      const who = person();
      if (!who || sessionId === state.sessionId) return;
      keepSession(botName, { sessionId, token: null, personId: who.id, wrote: true });
      rejoin();
    },
    /** Somebody has signed in or out: brings an anonymous conversation along, then joins as who it is now. */
    personChanged: async () => {
      connection.leave();
      if (person()) await bringAlong();
      else keepSession(botName, null);
      state.outbox.clear();
      store.loadOutbox();
      Object.assign(state, { phase: "connecting", refusal: null });
      rejoin();
    },
  };
}
