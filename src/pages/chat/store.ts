// Holds the state of one conversation and changes it: messages in, drafts growing, answers awaited. No network, no document.
import { ApiFault } from "../parts/api.ts";
import { keepOutbox, keptOutbox } from "./outbox.ts";
import type { Message } from "./protocol.ts";
import { emptyState, keyOf } from "./state.ts";
import type { Change, Outgoing } from "./state.ts";

export type Store = ReturnType<typeof openStore>;

/** An answer that nobody speaks of any more is no longer waited for. */
const ANSWER_MS = 150_000;

export function openStore(botName: string | null) {
  const state = emptyState();
  const listeners = new Set<(change: Change) => void>();
  /** Own messages whose answer is under way; `told` once the server said so itself. */
  const awaited = new Map<string, { told: boolean; since: number }>();
  let lastSeq = 0;
  /** Newest message when the page joined the conversation. */
  let joinedAt = 0;
  let generation = 0;

  const emit = (change: Change) => {
    for (const listener of listeners) listener(change);
  };
  const status = () => emit({ kind: "status" });
  const redraw = (...keys: string[]) => {
    if (keys.length > 0) emit({ kind: "messages", keys });
  };

  const awaitAnswer = (message: Pick<Message, "id" | "status">) => {
    if (message.status === "delivered" || message.status === "processing" || message.status === null) {
      awaited.set(message.id, { told: message.status === "processing", since: Date.now() });
    }
  };

  const saveOutbox = () => keepOutbox(botName, state.outbox.values());

  /** Stores a message and gives the keys that changed. `live`: it has just been said. */
  const put = (message: Message, live: boolean): string[] => {
    const changed = [keyOf(message)];
    const known = state.messages.has(message.id);
    state.messages.set(message.id, message);
    if (message.seq !== null && message.seq > lastSeq) lastSeq = message.seq;
    if (message.clientId !== null && state.outbox.delete(message.clientId)) saveOutbox();
    if (state.drafts.delete(message.id)) changed.push(`m:${message.id}`);
    if (message.sender === "bot") {
      // Bots that do not tell of each turn: their message is the answer to the oldest question.
      const oldest = awaited.entries().next().value;
      if (oldest && !oldest[1].told) awaited.delete(oldest[0]);
      state.typing = null;
      state.activity = null;
    }
    if (message.sender === "attendant") state.typing = null;
    if (message.sender === "user" && live && state.handler === "bot" && !known) awaitAnswer(message);
    return changed;
  };

  return {
    state,
    emit,
    status,
    redraw,
    put,
    awaited,
    saveOutbox,
    on: (listener: (change: Change) => void) => {
      listeners.add(listener);
    },
    lastSeq: () => lastSeq,
    /** Notes where the conversation stood when the page joined it. */
    joined: (newest: number) => {
      joinedAt = newest;
    },
    /** True for what was there before the page was. */
    saidBefore: (seq: number | null): boolean => seq !== null && seq <= joinedAt,
    /** Grows with every other conversation, so that late answers to questions about the former one are dropped. */
    generation: () => generation,

    /** Tells a refusal to the person; anything else is a mistake of the page and is thrown on. */
    fail: (fault: unknown) => {
      if (!(fault instanceof ApiFault)) throw fault;
      emit({ kind: "fault", fault });
    },
    answering: (): boolean => {
      const now = Date.now();
      for (const [id, entry] of awaited) if (now - entry.since > ANSWER_MS) awaited.delete(id);
      return state.drafts.size > 0 || state.typing === "bot" || awaited.size > 0;
    },

    /** The next piece of an answer; `reset` begins it anew with this content. */
    grow: (id: string, index: number, content: string, reset: boolean) => {
      if (state.messages.get(id)?.complete) return;
      const draft = state.drafts.get(id) ?? {
        id,
        text: "",
        nextIndex: 0,
        gap: false,
        stale: false,
        startedAt: Date.now(),
      };
      if (reset) {
        draft.text = content;
        draft.nextIndex = index + 1;
        draft.gap = false;
      } else if (index === draft.nextIndex && !draft.gap) {
        draft.text += content;
        draft.nextIndex = index + 1;
      } else if (index > draft.nextIndex) {
        draft.gap = true;
      }
      draft.stale = false;
      state.drafts.set(id, draft);
      state.typing = null;
      redraw(`m:${id}`);
      status();
    },
    /** Takes away drafts that the server does not speak of after a break. */
    dropStale: () => {
      const stale = [...state.drafts.values()].filter((draft) => draft.stale);
      for (const draft of stale) state.drafts.delete(draft.id);
      redraw(...stale.map((draft) => `m:${draft.id}`));
      status();
    },

    /** The server has stored a sent message. */
    confirm: (clientId: string, id: string, seq: number | null, timestamp: string | null, duplicate: boolean) => {
      const sent = state.outbox.get(clientId);
      if (!sent) return;
      state.outbox.delete(clientId);
      saveOutbox();
      if (!state.messages.has(id)) {
        // `lastSeq` stays: what other devices wrote before it may still be on its way.
        const message: Message = {
          id,
          seq,
          sender: "user",
          senderName: null,
          content: sent.content,
          contentType: "text/plain",
          attachments: sent.attachments,
          citations: [],
          clientId,
          status: duplicate ? "answered" : "delivered",
          feedback: null,
          complete: true,
          finishReason: null,
          degraded: [],
          timestamp,
          deleted: false,
          supersededBy: null,
        };
        state.messages.set(id, message);
        if (state.handler === "bot" && !duplicate) awaitAnswer(message);
      }
      redraw(`c:${clientId}`);
      status();
    },
    /** Changes fields of a stored message. */
    change: (id: string, fields: Partial<Message>) => {
      const known = state.messages.get(id);
      if (!known) return;
      const changed = { ...known, ...fields };
      state.messages.set(id, changed);
      redraw(keyOf(changed));
    },

    queue: (row: Outgoing) => {
      state.outbox.set(row.clientId, row);
      saveOutbox();
    },
    loadOutbox: () => {
      for (const row of keptOutbox(botName)) state.outbox.set(row.clientId, row);
    },
    /** Drops everything that belongs to the conversation shown so far; what waits to be sent stays. */
    forget: () => {
      generation += 1;
      lastSeq = 0;
      joinedAt = 0;
      awaited.clear();
      const { bot, phase, refusal, outbox } = state;
      Object.assign(state, emptyState(), { bot, phase, refusal, outbox });
    },
  };
}
