// The conversation as this page knows it: messages, the answer being written, what waits to be sent; fed by the socket,
// read by the views. Nothing here touches the document.
import { accessToken, permissions, person, tokenRefused, withAccount } from "../parts/account.ts";
import { ApiFault, call } from "../parts/api.ts";
import type { Call } from "../parts/api.ts";
import { alone } from "../parts/storage.ts";
import { asNumber, asObject, asObjects, asText, randomId } from "../parts/wire.ts";
import type { Json } from "../parts/wire.ts";
import { openLink } from "./link.ts";
import type { Address, Link, Next } from "./link.ts";
import { readBot, readMessage, readSuggestions, readSwitchers } from "./protocol.ts";
import type { Attachment, BotInfo, Message, Suggestion, Switcher } from "./protocol.ts";
import { anonymousSession, keepSession, keptSession } from "./session.ts";

/** Where the connection stands. `refused` is final until the person does something. */
export type Phase = "connecting" | "online" | "waiting" | "offline" | "refused";
/** Why it is refused: unknown or hidden bot, access withdrawn. */
export type Refusal = "not_found" | "withdrawn";

export interface Outgoing {
  clientId: string;
  content: string;
  attachments: Attachment[];
  /** Set for a picked quick reply: its value. */
  suggestion: string | null;
  fault: ApiFault | null;
  madeAt: number;
}

interface Draft {
  id: string;
  text: string;
  nextIndex: number;
  /** Deltas were missed; the text stands still until the next reset or the finished message. */
  gap: boolean;
  stale: boolean;
  startedAt: number;
}

export interface State {
  phase: Phase;
  refusal: Refusal | null;
  retryAt: number | null;
  bot: BotInfo | null;
  sessionId: string | null;
  messages: Map<string, Message>;
  drafts: Map<string, Draft>;
  outbox: Map<string, Outgoing>;
  earlier: { before: string } | null;
  ready: boolean;
  handler: "bot" | "human";
  attendant: string | null;
  queuePosition: number | null;
  closed: boolean;
  degraded: boolean;
  typing: "bot" | "attendant" | null;
  activity: string | null;
  suggestions: Suggestion[];
  switchers: Switcher[];
}

/** What changed; `message` names the keys to draw again, `all` means another conversation. */
export type Change =
  | { kind: "all" }
  | { kind: "messages"; keys: string[] }
  | { kind: "arrived"; message: Message }
  | { kind: "status" }
  | { kind: "suggestions" }
  | { kind: "bot"; themeChanged: boolean }
  | { kind: "fault"; fault: ApiFault };

export type Conversation = ReturnType<typeof openConversation>;

/** So many messages are replayed by the socket; longer conversations are read in pages. */
const REPLAY_MOST = 200;
const PAGE = 50;
/** An answer that nobody speaks of any more is no longer waited for. */
const ANSWER_MS = 150_000;

function emptyState(): State {
  return {
    phase: "connecting",
    refusal: null,
    retryAt: null,
    bot: null,
    sessionId: null,
    messages: new Map(),
    drafts: new Map(),
    outbox: new Map(),
    earlier: null,
    ready: false,
    handler: "bot",
    attendant: null,
    queuePosition: null,
    closed: false,
    degraded: false,
    typing: null,
    activity: null,
    suggestions: [],
    switchers: [],
  };
}

/** The key under which a view keeps a message: stable from the moment it is typed until long after it is stored. */
export function keyOf(message: Pick<Message, "id" | "clientId" | "sender">): string {
  return message.sender === "user" && message.clientId !== null ? `c:${message.clientId}` : `m:${message.id}`;
}

/** Joins the kept conversation with `botName` (null: the default bot), or a new one. */
export function openConversation(botName: string | null, language: string) {
  const state = emptyState();
  const listeners = new Set<(change: Change) => void>();
  let link: Link | null = null;
  let token: string | null = null;
  let lastSeq = 0;
  /** Own messages whose answer is under way; true once the server said so itself. */
  const awaited = new Map<string, { told: boolean; since: number }>();
  let opening: { done: () => void } | null = null;
  let lastRefusedAt = 0;
  let generation = 0;

  const emit = (change: Change) => {
    for (const listener of listeners) listener(change);
  };
  const status = () => emit({ kind: "status" });

  // ---- what waits to be sent survives a reload of this tab

  const outboxKey = () => `botserver.outbox:${botName ?? ""}:${person()?.id ?? ""}`;
  const saveOutbox = () => {
    const rows = [...state.outbox.values()].filter((row) => row.fault === null && row.attachments.length === 0);
    try {
      if (rows.length === 0) sessionStorage.removeItem(outboxKey());
      else
        sessionStorage.setItem(
          outboxKey(),
          JSON.stringify(
            rows.map(({ clientId, content, suggestion, madeAt }) => ({ clientId, content, suggestion, madeAt })),
          ),
        );
    } catch {
      // No storage: an unsent message lives as long as the page.
      return;
    }
  };
  const loadOutbox = () => {
    let rows: Json[] = [];
    try {
      rows = asObjects(JSON.parse(sessionStorage.getItem(outboxKey()) ?? "[]"));
    } catch {
      rows = [];
    }
    for (const row of rows) {
      const clientId = asText(row["clientId"]);
      const content = asText(row["content"]);
      if (clientId === null || content === null) continue;
      state.outbox.set(clientId, {
        clientId,
        content,
        attachments: [],
        suggestion: asText(row["suggestion"]),
        fault: null,
        madeAt: asNumber(row["madeAt"]) ?? Date.now(),
      });
    }
  };

  // ---- calls about this conversation, with its chat token or the person's own

  const request = async (path: string, options: Call = {}): Promise<Json> => {
    if (token !== null) return call(path, { ...options, token });
    return withAccount((account) => call(path, { ...options, token: account }));
  };
  const here = (rest = ""): string => {
    if (state.sessionId === null) throw new ApiFault(0, "UNREACHABLE", "Not connected yet.", {});
    return `/conversations/${state.sessionId}${rest}`;
  };

  // ---- storing what arrives

  const store = (message: Message, live: boolean): string[] => {
    const key = keyOf(message);
    const changed = [key];
    const known = state.messages.get(message.id);
    state.messages.set(message.id, message);
    if (message.seq !== null && message.seq > lastSeq) lastSeq = message.seq;
    if (message.clientId !== null && state.outbox.delete(message.clientId)) saveOutbox();
    if (state.drafts.delete(message.id)) changed.push(`m:${message.id}`);
    if (message.sender === "bot") {
      const oldest = awaited.entries().next().value;
      if (oldest && !oldest[1].told) awaited.delete(oldest[0]);
      state.typing = null;
      state.activity = null;
    }
    if (message.sender === "attendant") state.typing = null;
    if (message.sender === "user" && live && state.handler === "bot" && !known) awaitAnswer(message);
    return changed;
  };

  const awaitAnswer = (message: Pick<Message, "id" | "status">) => {
    if (message.status === "delivered" || message.status === "processing" || message.status === null) {
      awaited.set(message.id, { told: message.status === "processing", since: Date.now() });
    }
  };

  const answering = (): boolean => {
    const now = Date.now();
    for (const [id, entry] of awaited) if (now - entry.since > ANSWER_MS) awaited.delete(id);
    return state.drafts.size > 0 || state.typing === "bot" || awaited.size > 0;
  };

  const loadPage = async (query: Call["query"]): Promise<{ rows: Message[]; more: boolean; before: string | null }> => {
    const data = await request(here("/history"), { query: { limit: PAGE, ...query } });
    const rows = asObjects(data["messages"]).flatMap((row) => readMessage(row) ?? []);
    return { rows, more: data["has_more"] === true, before: asText(data["next_before"]) };
  };

  /** Everything after the newest message that is shown, page by page. */
  const catchUp = async () => {
    const mine = generation;
    for (;;) {
      const page = await loadPage({ after: `seq:${lastSeq}`, limit: 100 });
      if (mine !== generation) return;
      const keys = page.rows.flatMap((message) => store(message, false));
      emit({ kind: "messages", keys });
      if (!page.more || page.rows.length === 0) return;
    }
  };

  const firstPage = async () => {
    const mine = generation;
    const page = await loadPage({});
    if (mine !== generation) return;
    const keys = page.rows.flatMap((message) => store(message, false));
    const oldest = page.rows[0];
    state.earlier = page.more && oldest ? { before: page.before ?? oldest.id } : null;
    emit({ kind: "messages", keys });
    link?.send({ type: "resume", session_id: state.sessionId, last_seq: lastSeq });
  };

  const fail = (fault: unknown) => {
    if (fault instanceof ApiFault) emit({ kind: "fault", fault });
    else throw fault;
  };

  // ---- frames

  const onConnected = (frame: Json) => {
    const sessionId = asText(frame["session_id"]) ?? asText(frame["conversation_id"]);
    if (sessionId === null) return;
    const newToken = asText(frame["token"]);
    if (newToken !== null) token = newToken;
    const again = state.sessionId === sessionId;
    if (!again && state.sessionId !== null) forget();
    state.sessionId = sessionId;
    state.phase = "online";
    state.refusal = null;
    state.retryAt = null;
    state.degraded = false;
    awaited.clear();
    const bot = readBot(frame["bot"]);
    const themeChanged = bot !== null && (bot.name !== state.bot?.name || bot.themeName !== state.bot.themeName);
    if (bot) state.bot = bot;
    keepSession(botName, { sessionId, token, personId: person()?.id ?? null });
    opening?.done();
    link?.settled(asNumber(frame["heartbeat_seconds"]) ?? 30);
    emit({ kind: "bot", themeChanged });
    const newest = asNumber(frame["last_seq"]) ?? 0;
    if (!again || !state.ready) {
      if (newest > REPLAY_MOST) firstPage().catch(fail);
      else if (newest > 0) link?.send({ type: "resume", session_id: sessionId, last_seq: 0 });
      state.ready = newest === 0;
    }
    for (const row of state.outbox.values()) if (row.fault === null) transmit(row);
    status();
  };

  const onStatus = (frame: Json) => {
    const about = asText(frame["session_id"]);
    switch (asText(frame["state"])) {
      case "connected":
        onConnected(frame);
        return;
      case "resumed": {
        state.ready = true;
        if (frame["truncated"] === true) catchUp().catch(fail);
        // The delta with all that is written so far follows at once; what it does not name has ended meanwhile.
        const mine = generation;
        setTimeout(() => {
          if (mine !== generation) return;
          const keys = [...state.drafts.values()].filter((draft) => draft.stale).map((draft) => `m:${draft.id}`);
          for (const key of keys) state.drafts.delete(key.slice(2));
          if (keys.length > 0) emit({ kind: "messages", keys });
          status();
        }, 1500);
        break;
      }
      case "handler":
        if (about !== null && about !== state.sessionId) return;
        state.handler = frame["handler"] === "human" ? "human" : "bot";
        state.queuePosition = asNumber(frame["queue_position"]);
        state.attendant =
          asText(frame["attendant"]) ?? asText(asObject(frame["attendant"])["name"]) ?? asText(frame["attendant_name"]);
        if (state.handler === "human") awaited.clear();
        break;
      case "closed":
        if (about !== null && about !== state.sessionId) return;
        state.closed = true;
        state.typing = null;
        awaited.clear();
        break;
      case "active":
        if (about === null || about === state.sessionId) state.closed = false;
        break;
      case "degraded":
        state.degraded = true;
        break;
      case "restored":
        state.degraded = false;
        break;
      case "restarting":
        link?.expectRestart(asNumber(frame["retry_after_ms"]) ?? 1000);
        break;
      case "theme":
        if (state.bot) {
          state.bot = {
            ...state.bot,
            themed: true,
            themeName: asText(frame["theme"]) ?? asText(asObject(frame["theme"])["name"]),
          };
          emit({ kind: "bot", themeChanged: true });
        }
        break;
      default:
        break;
    }
    status();
  };

  const onMessage = (frame: Json) => {
    const about = asText(frame["session_id"]) ?? asText(frame["conversation_id"]);
    if (about !== null && about !== state.sessionId) return;
    const message = readMessage(frame);
    if (!message) return;
    const known = state.messages.has(message.id);
    if (message.seq !== null && message.seq > lastSeq + 1 && state.ready && lastSeq > 0) catchUp().catch(fail);
    const keys = store(message, true);
    emit({ kind: "messages", keys });
    if (!known) emit({ kind: "arrived", message });
    status();
  };

  const onDelta = (frame: Json) => {
    const about = asText(frame["session_id"]);
    const id = asText(frame["message_id"]);
    if (id === null || (about !== null && about !== state.sessionId)) return;
    const stored = state.messages.get(id);
    if (stored && stored.complete) return;
    const index = asNumber(frame["index"]) ?? 0;
    const content = asText(frame["content"]) ?? "";
    const draft = state.drafts.get(id) ?? {
      id,
      text: "",
      nextIndex: 0,
      gap: false,
      stale: false,
      startedAt: Date.now(),
    };
    if (frame["reset"] === true) {
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
    emit({ kind: "messages", keys: [`m:${id}`] });
    status();
  };

  const onAck = (frame: Json) => {
    const clientId = asText(frame["client_id"]);
    const id = asText(frame["message_id"]);
    if (clientId === null || id === null) return;
    const sent = state.outbox.get(clientId);
    if (!sent) return;
    state.outbox.delete(clientId);
    saveOutbox();
    const message: Message = {
      id,
      seq: asNumber(frame["seq"]),
      sender: "user",
      senderName: null,
      content: sent.content,
      contentType: "text/plain",
      attachments: sent.attachments,
      citations: [],
      clientId,
      status: frame["duplicate"] === true ? "answered" : "delivered",
      feedback: null,
      complete: true,
      finishReason: null,
      degraded: [],
      timestamp: asText(frame["timestamp"]),
      deleted: false,
      supersededBy: null,
    };
    if (!state.messages.has(id)) {
      // `lastSeq` stays: what other devices wrote before it may still be on its way.
      state.messages.set(id, message);
      if (state.handler === "bot" && frame["duplicate"] !== true) awaitAnswer(message);
    }
    emit({ kind: "messages", keys: [`c:${clientId}`] });
    status();
  };

  const onUpdate = (frame: Json) => {
    const id = asText(frame["message_id"]);
    const known = id === null ? undefined : state.messages.get(id);
    if (id === null) return;
    const next = asText(frame["status"]);
    if (next === "processing") awaited.set(id, { told: true, since: Date.now() });
    else if (next !== null) awaited.delete(id);
    if (known) {
      const changed: Message = { ...known };
      if (next !== null) changed.status = next;
      if ("deleted_at" in frame) {
        changed.deleted = asText(frame["deleted_at"]) !== null;
        if (changed.deleted) changed.content = "";
      }
      if ("feedback" in frame)
        changed.feedback = frame["feedback"] === "up" ? "up" : frame["feedback"] === "down" ? "down" : null;
      if ("superseded_by" in frame) changed.supersededBy = asText(frame["superseded_by"]);
      if (asText(frame["content"]) !== null) changed.content = asText(frame["content"]) ?? "";
      state.messages.set(id, changed);
      emit({ kind: "messages", keys: [keyOf(changed)] });
    }
    status();
  };

  const onError = (frame: Json) => {
    const fault = new ApiFault(
      1,
      asText(frame["code"]) ?? "SERVER_ERROR",
      asText(frame["message"]) ?? "",
      asObject(frame["details"]),
    );
    const clientId = asText(frame["client_id"]);
    const sent = clientId === null ? undefined : state.outbox.get(clientId);
    if (sent) {
      sent.fault = fault;
      saveOutbox();
      if (fault.reason === "conversation_closed") state.closed = true;
      emit({ kind: "messages", keys: [`c:${sent.clientId}`] });
      status();
      return;
    }
    state.typing = null;
    emit({ kind: "fault", fault });
    status();
  };

  const onFrame = (frame: Json) => {
    switch (asText(frame["type"])) {
      case "status":
        onStatus(frame);
        return;
      case "message":
        onMessage(frame);
        return;
      case "delta":
        onDelta(frame);
        return;
      case "ack":
        onAck(frame);
        return;
      case "message_update":
        onUpdate(frame);
        return;
      case "typing": {
        if (asText(frame["session_id"]) !== null && frame["session_id"] !== state.sessionId) return;
        const sender = asText(frame["sender"]);
        if (sender !== "bot" && sender !== "attendant") return;
        state.typing = frame["state"] === "stop" ? null : sender;
        status();
        return;
      }
      case "suggestion":
        if (asText(frame["session_id"]) !== null && frame["session_id"] !== state.sessionId) return;
        state.suggestions = readSuggestions(frame["suggestions"]);
        if (Array.isArray(frame["switchers"])) state.switchers = readSwitchers(frame["switchers"]);
        emit({ kind: "suggestions" });
        return;
      case "tool":
        state.activity = frame["state"] === "started" ? (asText(frame["label"]) ?? asText(frame["name"])) : null;
        status();
        return;
      case "error":
        onError(frame);
        return;
      default:
        // Frames of other areas: not this page's business.
        return;
    }
  };

  // ---- the connection

  const address = async (): Promise<Address | null> => {
    const who = person();
    const kept = keptSession(botName, who?.id ?? null);
    const query = new URLSearchParams();
    if (botName !== null) query.set("bot", botName);
    query.set("language", language);
    let bearer: string | null;
    if (who) {
      token = null;
      bearer = await accessToken();
      if (bearer === null) return null;
    } else {
      token = kept?.token ?? null;
      bearer = token;
    }
    if (kept) query.set("session_id", kept.sessionId);
    // After a break the server replays by itself what came after the newest message that is shown here.
    if (kept && kept.sessionId === state.sessionId && state.ready) query.set("last_seq", String(lastSeq));
    const origin = location.origin.replace(/^http/, "ws");
    return {
      url: `${origin}/ws?${query.toString()}`,
      // A token goes beside the address, not into it: addresses end up in logs and histories.
      protocols: bearer === null ? [] : ["botserver.v1", `bearer.${bearer}`],
    };
  };

  /** Asks over REST why the socket was refused: browsers do not tell a page the status of a failed upgrade. */
  const whyRefused = async (): Promise<Next> => {
    const who = person();
    if (who) {
      const bearer = await accessToken();
      if (bearer === null) return "stop";
      try {
        await call("/session", { token: bearer });
      } catch (fault) {
        if (fault instanceof ApiFault && fault.status === 401)
          return (await tokenRefused(bearer)) === null ? "stop" : "retry";
        throw fault;
      }
    } else if (token !== null) {
      try {
        await call("/session", { token });
      } catch (fault) {
        if (!(fault instanceof ApiFault)) throw fault;
        if (fault.status === 401 || fault.status === 404) {
          // The anonymous conversation has ended (idle, erased): a new one begins.
          keepSession(botName, null);
          forget();
          emit({ kind: "all" });
          return "now";
        }
        throw fault;
      }
    }
    // The credentials are good: is it the bot, or the conversation?
    try {
      await call(`/bots/${encodeURIComponent(botName ?? "default")}`, { token: who ? await accessToken() : null });
    } catch (fault) {
      if (fault instanceof ApiFault && (fault.status === 404 || fault.status === 403)) {
        refuse("not_found");
        return "stop";
      }
      throw fault;
    }
    if (who && keptSession(botName, who.id)) {
      keepSession(botName, null);
      forget();
      emit({ kind: "all" });
    }
    return "retry";
  };

  const refuse = (why: Refusal) => {
    state.phase = "refused";
    state.refusal = why;
    status();
  };

  const onClose = async (code: number, opened: boolean): Promise<Next> => {
    opening?.done();
    for (const draft of state.drafts.values()) draft.stale = true;
    state.typing = null;
    state.activity = null;
    state.phase = navigator.onLine ? "waiting" : "offline";
    status();
    if (code === 4403) {
      refuse("withdrawn");
      return "stop";
    }
    if (code === 4401) {
      const often = Date.now() - lastRefusedAt < 10_000;
      lastRefusedAt = Date.now();
      const bearer = person() ? await accessToken() : null;
      if (bearer !== null && !often) return (await tokenRefused(bearer)) === null ? "stop" : "retry";
      if (person() === null) {
        keepSession(botName, null);
        forget();
        emit({ kind: "all" });
      }
      return "retry";
    }
    if (code === 4429) return 60_000;
    if (code === 4400) return 30_000;
    if (!opened && navigator.onLine) {
      try {
        return await whyRefused();
      } catch (fault) {
        if (
          fault instanceof ApiFault &&
          (fault.status === 429 || fault.status === 503) &&
          fault.retryAfterSeconds !== null
        ) {
          return Math.min(fault.retryAfterSeconds, 300) * 1000;
        }
        return "retry";
      }
    }
    return "retry";
  };

  /** Drops everything that belongs to the conversation shown so far. */
  const forget = () => {
    generation += 1;
    lastSeq = 0;
    token = null;
    awaited.clear();
    const fresh = emptyState();
    Object.assign(state, {
      ...fresh,
      bot: state.bot,
      phase: state.phase,
      refusal: state.refusal,
      outbox: state.outbox,
    });
  };

  const connect = () => {
    link?.close();
    const join = () => {
      link = openLink({
        address,
        onFrame,
        onTrying: () => {
          if (state.phase !== "online") state.phase = "connecting";
          status();
        },
        onWaiting: (until) => {
          state.phase = navigator.onLine ? "waiting" : "offline";
          state.retryAt = until;
          status();
        },
        onClose,
      });
    };
    if (keptSession(botName, person()?.id ?? null)) {
      join();
      return;
    }
    // Nothing kept: only one tab may begin a conversation, the others then find it and join.
    alone(
      `botserver.open:${botName ?? ""}`,
      () =>
        new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, 8000);
          opening = {
            done: () => {
              clearTimeout(timer);
              opening = null;
              resolve();
            },
          };
          join();
        }),
    ).catch(fail);
  };

  const transmit = (row: Outgoing): boolean => {
    const shared = { session_id: state.sessionId, client_id: row.clientId };
    if (row.suggestion !== null) return link?.send({ type: "suggestion", value: row.suggestion, ...shared }) ?? false;
    return (
      link?.send({
        type: "message",
        content: row.content,
        ...shared,
        ...(row.attachments.length > 0 ? { attachments: row.attachments.map((file) => file.id) } : {}),
      }) ?? false
    );
  };

  const queue = (content: string, attachments: Attachment[], suggestion: string | null) => {
    const row: Outgoing = { clientId: randomId(), content, attachments, suggestion, fault: null, madeAt: Date.now() };
    state.outbox.set(row.clientId, row);
    saveOutbox();
    if (state.phase === "online") transmit(row);
    emit({ kind: "messages", keys: [`c:${row.clientId}`] });
    status();
  };

  window.addEventListener("online", () => link?.retryNow());
  window.addEventListener("offline", () => {
    if (state.phase !== "online") state.phase = "offline";
    status();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") link?.retryNow();
  });

  loadOutbox();

  return {
    state: state as Readonly<State>,
    botName,
    /** The bot's name as the server knows it; the page's own until it is connected. */
    bot: () => state.bot?.name ?? botName ?? "default",
    on: (listener: (change: Change) => void) => {
      listeners.add(listener);
    },
    connect,
    answering,
    request,
    here,
    permissions,
    isAnonymous: () => token !== null || person() === null,
    token: async (): Promise<string | null> => token ?? (await accessToken()),

    send: (content: string, attachments: Attachment[]) => queue(content, attachments, null),
    pick: (suggestion: Suggestion) => {
      state.suggestions = [];
      emit({ kind: "suggestions" });
      queue(suggestion.label, [], suggestion.value);
    },
    /** Sends a refused message once more, under the same client id. */
    retry: (clientId: string) => {
      const row = state.outbox.get(clientId);
      if (!row) return;
      row.fault = null;
      saveOutbox();
      if (state.phase === "online") transmit(row);
      emit({ kind: "messages", keys: [`c:${clientId}`] });
    },
    discard: (clientId: string) => {
      state.outbox.delete(clientId);
      saveOutbox();
      emit({ kind: "messages", keys: [`c:${clientId}`] });
    },
    cancel: () => {
      link?.send({ type: "cancel", session_id: state.sessionId });
    },
    /** Asks the model to go on with an answer that was cut at its length. */
    goOn: () => {
      link?.send({ type: "continue", content: "", session_id: state.sessionId, client_id: randomId() });
    },
    typing: (on: boolean) => {
      if (state.phase === "online")
        link?.send({ type: "typing", session_id: state.sessionId, state: on ? "start" : "stop" });
    },
    read: (messageId: string) => {
      if (state.phase === "online") link?.send({ type: "read", session_id: state.sessionId, message_id: messageId });
    },
    retryNow: () => link?.retryNow(),

    loadEarlier: async () => {
      const from = state.earlier;
      if (!from) return;
      const page = await loadPage({ before: from.before });
      const keys = page.rows.flatMap((message) => store(message, false));
      const oldest = page.rows[0];
      state.earlier = page.more && oldest ? { before: page.before ?? oldest.id } : null;
      emit({ kind: "messages", keys });
    },
    setFeedback: async (messageId: string, value: "up" | "down" | null, comment: string | null) => {
      const row = await request(here(`/messages/${messageId}/feedback`), {
        method: "POST",
        json: comment === null ? { value } : { value, comment },
      });
      const message = readMessage(row) ?? state.messages.get(messageId);
      if (!message) return;
      state.messages.set(message.id, { ...message, feedback: value });
      emit({ kind: "messages", keys: [keyOf(message)] });
    },
    regenerate: async (messageId: string) => {
      const made = await request(here(`/messages/${messageId}/regenerate`), { method: "POST", json: {} });
      const next = asText(made["message_id"]);
      const old = state.messages.get(messageId);
      if (next !== null && old) {
        state.messages.set(messageId, { ...old, supersededBy: next });
        awaited.set(next, { told: true, since: Date.now() });
        emit({ kind: "messages", keys: [keyOf(old)] });
        status();
      }
    },
    setSwitcher: async (id: string, active: boolean) => {
      const before = state.switchers;
      state.switchers = before.map((row) => (row.id === id ? { ...row, active } : row));
      emit({ kind: "suggestions" });
      try {
        const data = await request(here(`/switchers/${encodeURIComponent(id)}`), { method: "PUT", json: { active } });
        if (Array.isArray(data["switchers"])) state.switchers = readSwitchers(data["switchers"]);
      } catch (fault) {
        state.switchers = before;
        throw fault;
      } finally {
        emit({ kind: "suggestions" });
      }
    },
    rate: async (rating: number, comment: string, resolved: boolean | null) => {
      await request(here("/rating"), {
        method: "POST",
        json: { rating, ...(comment ? { comment } : {}), ...(resolved === null ? {} : { resolved }) },
      });
    },
    reopen: async () => {
      await request(here("/reopen"), { method: "POST", json: {} });
      state.closed = false;
      status();
    },
    /** Leaves this conversation and begins a new one with the same bot. */
    startNew: async () => {
      const who = person();
      const left = token;
      const leftId = state.sessionId;
      if (who) {
        const made = await withAccount((account) =>
          call("/conversations", {
            method: "POST",
            token: account,
            json: { ...(botName === null ? {} : { bot_id: botName }), language },
          }),
        );
        const sessionId = asText(made["session_id"]) ?? asText(made["conversation_id"]);
        if (sessionId !== null) keepSession(botName, { sessionId, token: null, personId: who.id });
      } else {
        keepSession(botName, null);
      }
      link?.close();
      forget();
      emit({ kind: "all" });
      connect();
      if (left !== null && leftId !== null) {
        // Its token is thrown away here, so it may as well end there. If that fails, idleness ends it.
        await call(`/sessions/${leftId}`, { method: "DELETE", token: left }).catch(() => undefined);
      }
    },
    /** Shows another conversation of the signed-in person. */
    show: (sessionId: string) => {
      const who = person();
      if (!who || sessionId === state.sessionId) return;
      keepSession(botName, { sessionId, token: null, personId: who.id });
      link?.close();
      forget();
      emit({ kind: "all" });
      connect();
    },
    /** Somebody has signed in or out: brings an anonymous conversation along, then joins as who it is now. */
    personChanged: async () => {
      const who = person();
      const wrote = [...state.messages.values()].some((message) => message.sender === "user");
      link?.close();
      if (who) {
        await alone(`botserver.claim:${botName ?? ""}`, async () => {
          const brought = anonymousSession(botName);
          if (!brought) return;
          let claimed = false;
          if (wrote) {
            try {
              await withAccount((account) =>
                call(`/conversations/${brought.sessionId}/claim`, {
                  method: "POST",
                  token: account,
                  json: { token: brought.token },
                }),
              );
              claimed = true;
            } catch (fault) {
              if (!(fault instanceof ApiFault)) throw fault;
              emit({ kind: "fault", fault });
            }
          }
          keepSession(botName, claimed ? { sessionId: brought.sessionId, token: null, personId: who.id } : null);
        });
      } else {
        keepSession(botName, null);
      }
      forget();
      state.outbox.clear();
      loadOutbox();
      state.phase = "connecting";
      state.refusal = null;
      emit({ kind: "all" });
      connect();
    },
  };
}
