// Joins a conversation over the socket as whoever is there, finds out why it was refused, and fetches what was missed.
import { accessToken, person, tokenRefused, withAccount } from "../parts/account.ts";
import { ApiFault, call } from "../parts/api.ts";
import type { Call } from "../parts/api.ts";
import { alone } from "../parts/storage.ts";
import { asNumber, asObjects, asText } from "../parts/wire.ts";
import type { Json } from "../parts/wire.ts";
import { frameReader } from "./frames.ts";
import { openLink } from "./link.ts";
import type { Address, Link, Next } from "./link.ts";
import { readBot, readMessage } from "./protocol.ts";
import type { Message } from "./protocol.ts";
import { keepSession, keptSession } from "./session.ts";
import type { Outgoing, Refusal } from "./state.ts";
import type { Store } from "./store.ts";

export type Connection = ReturnType<typeof openConnection>;

/** So many messages are replayed by the socket; longer conversations are read in pages. */
const REPLAY_MOST = 200;
const PAGE = 50;
const RATE_CLOSE_MS = 60_000;
const MALFORMED_CLOSE_MS = 30_000;
/** A second refusal of credentials within this means that fresh ones do not help. */
const OFTEN_MS = 10_000;
/** How long a tab keeps the others from beginning a conversation of their own. */
const OPENING_MS = 8000;

export function openConnection(store: Store, botName: string | null, language: string) {
  const { state } = store;
  let link: Link | null = null;
  /** The chat token of an anonymous conversation. */
  let token: string | null = null;
  let opened: (() => void) | null = null;
  let lastRefusedAt = 0;

  /** A call about this conversation, with its chat token or the person's own. */
  const request = async (path: string, options: Call = {}): Promise<Json> => {
    if (token !== null) return call(path, { ...options, token });
    return withAccount((account) => call(path, { ...options, token: account }));
  };
  const here = (rest = ""): string => {
    if (state.sessionId === null) throw new ApiFault(0, "UNREACHABLE", "Not connected yet.", {});
    return `/conversations/${state.sessionId}${rest}`;
  };

  const forget = () => {
    token = null;
    store.forget();
    store.emit({ kind: "all" });
  };
  const refuse = (why: Refusal) => {
    state.phase = "refused";
    state.refusal = why;
    store.status();
  };

  // ---- what was said before

  const readPage = async (query: Call["query"]): Promise<{ rows: Message[]; more: boolean; before: string | null }> => {
    const data = await request(here("/history"), { query: { limit: PAGE, ...query } });
    const rows = asObjects(data["messages"]).flatMap((row) => readMessage(row) ?? []);
    return { rows, more: data["has_more"] === true, before: asText(data["next_before"]) };
  };
  const keepPage = (rows: readonly Message[]) => store.redraw(...rows.flatMap((message) => store.put(message, false)));

  /** Reads a page that ends before `before` (null: the newest) and notes whether there is an earlier one. */
  const readBack = async (before: string | null) => {
    const mine = store.generation();
    const page = await readPage({ before });
    if (mine !== store.generation()) return;
    const oldest = page.rows[0];
    state.earlier = page.more && oldest ? { before: page.before ?? oldest.id } : null;
    keepPage(page.rows);
    store.status();
  };

  /** Everything after the newest message that is shown, page by page. */
  const catchUp = async () => {
    const mine = store.generation();
    for (;;) {
      const page = await readPage({ after: `seq:${store.lastSeq()}`, limit: 100 });
      if (mine !== store.generation()) return;
      keepPage(page.rows);
      if (!page.more || page.rows.length === 0) return;
    }
  };

  // ---- joining

  const address = async (): Promise<Address | null> => {
    const who = person();
    const kept = keptSession(botName, who?.id ?? null);
    token = who ? null : (kept?.token ?? null);
    const bearer = who ? await accessToken() : token;
    if (who && bearer === null) return null;
    const query = new URLSearchParams({ language });
    if (botName !== null) query.set("bot", botName);
    if (kept) query.set("session_id", kept.sessionId);
    // After a break the server replays by itself what came after the newest message that is shown here.
    if (kept && kept.sessionId === state.sessionId && state.ready) query.set("last_seq", String(store.lastSeq()));
    return {
      url: `${location.origin.replace(/^http/, "ws")}/ws?${query.toString()}`,
      // A token goes beside the address, not into it: addresses end up in logs and histories.
      protocols: bearer === null ? [] : ["botserver.v1", `bearer.${bearer}`],
    };
  };

  const connected = (frame: Json) => {
    const sessionId = asText(frame["session_id"]) ?? asText(frame["conversation_id"]);
    if (sessionId === null) return;
    token = asText(frame["token"]) ?? token;
    const again = state.sessionId === sessionId;
    if (!again && state.sessionId !== null) {
      const kept = token;
      forget();
      token = kept;
    }
    const before = state.bot;
    const bot = readBot(frame["bot"]) ?? before;
    Object.assign(state, { sessionId, bot, phase: "online", refusal: null, retryAt: null, degraded: false });
    if (frame["handler"] === "human" || frame["handler"] === "bot") state.handler = frame["handler"];
    store.awaited.clear();
    const kept = keptSession(botName, person()?.id ?? null);
    // What was written before there was a conversation is sent into it below.
    const waits = [...state.outbox.values()].some((row) => row.fault === null);
    const wrote = waits || (kept?.sessionId === sessionId && kept.wrote);
    keepSession(botName, { sessionId, token, personId: person()?.id ?? null, wrote });
    opened?.();
    link?.settled(asNumber(frame["heartbeat_seconds"]) ?? 30);
    store.emit({ kind: "bot", themeChanged: bot?.name !== before?.name || bot?.themeName !== before?.themeName });
    const newest = asNumber(frame["last_seq"]) ?? 0;
    if (newest === 0) state.ready = true;
    if (!again || !state.ready) {
      store.joined(newest);
      const resume = () => link?.send({ type: "resume", session_id: sessionId, last_seq: store.lastSeq() });
      if (newest > REPLAY_MOST) readBack(null).then(resume).then(undefined, store.fail);
      else if (newest > 0) resume();
    }
    for (const row of state.outbox.values()) if (row.fault === null) transmit(row);
    store.status();
  };

  const onFrame = frameReader(store, {
    connected,
    catchUp: () => {
      catchUp().then(undefined, store.fail);
    },
    restarting: (ms) => link?.expectRestart(ms),
  });

  // ---- when it ends

  /** Browsers do not tell a page why an upgrade failed: REST does. Throws what it cannot tell. */
  const whyRefused = async (): Promise<Next> => {
    const who = person();
    const bearer = who ? await accessToken() : token;
    if (who && bearer === null) return "stop";
    if (bearer !== null) {
      try {
        await call("/session", { token: bearer });
      } catch (fault) {
        if (!(fault instanceof ApiFault) || (fault.status !== 401 && fault.status !== 404)) throw fault;
        if (who) return (await tokenRefused(bearer)) === null ? "stop" : "retry";
        // The anonymous conversation has ended (idle, erased): a new one begins.
        keepSession(botName, null);
        forget();
        return "now";
      }
    }
    // The credentials are good: is it the bot, or the conversation?
    try {
      await call(`/bots/${encodeURIComponent(botName ?? "default")}`, { token: who ? bearer : null });
    } catch (fault) {
      if (!(fault instanceof ApiFault) || (fault.status !== 404 && fault.status !== 403)) throw fault;
      refuse("not_found");
      return "stop";
    }
    if (who && keptSession(botName, who.id)) {
      keepSession(botName, null);
      forget();
    }
    return "retry";
  };

  /** The session behind the socket has ended. */
  const credentialsEnded = async (): Promise<Next> => {
    const often = Date.now() - lastRefusedAt < OFTEN_MS;
    lastRefusedAt = Date.now();
    if (person() === null) {
      keepSession(botName, null);
      forget();
      return "retry";
    }
    const bearer = await accessToken();
    if (bearer === null || (await tokenRefused(bearer)) === null) return "stop";
    return often ? RATE_CLOSE_MS : "retry";
  };

  const onClose = async (code: number, wasOpen: boolean): Promise<Next> => {
    opened?.();
    for (const draft of state.drafts.values()) draft.stale = true;
    Object.assign(state, { typing: null, activity: null, phase: navigator.onLine ? "waiting" : "offline" });
    store.status();
    if (code === 4403) {
      refuse("withdrawn");
      return "stop";
    }
    if (code === 4401) return credentialsEnded();
    if (code === 4429) return RATE_CLOSE_MS;
    if (code === 4400) return MALFORMED_CLOSE_MS;
    if (wasOpen || !navigator.onLine) return "retry";
    try {
      return await whyRefused();
    } catch (fault) {
      const seconds = fault instanceof ApiFault ? fault.retryAfterSeconds : null;
      return seconds === null ? "retry" : Math.min(seconds, 300) * 1000;
    }
  };

  const transmit = (row: Outgoing): boolean => {
    const shared = { session_id: state.sessionId, client_id: row.clientId };
    if (row.suggestion !== null) return link?.send({ type: "suggestion", value: row.suggestion, ...shared }) ?? false;
    const files = row.attachments.length > 0 ? { attachments: row.attachments.map((file) => file.id) } : {};
    return link?.send({ type: "message", content: row.content, ...shared, ...files }) ?? false;
  };

  const join = () => {
    link = openLink({
      address,
      onFrame,
      onTrying: () => {
        if (state.phase !== "online") state.phase = "connecting";
        store.status();
      },
      onWaiting: (until) => {
        Object.assign(state, { phase: navigator.onLine ? "waiting" : "offline", retryAt: until });
        store.status();
      },
      onClose,
    });
  };

  /** Nothing kept: only one tab may begin a conversation, the others then find it and join. */
  const beginAlone = () =>
    alone(
      `botserver.open:${botName ?? ""}`,
      () =>
        new Promise<void>((resolve) => {
          const done = () => {
            clearTimeout(timer);
            opened = null;
            resolve();
          };
          const timer = setTimeout(done, OPENING_MS);
          opened = done;
          join();
        }),
    );

  window.addEventListener("online", () => link?.retryNow());
  window.addEventListener("offline", () => {
    if (state.phase !== "online") state.phase = "offline";
    store.status();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") link?.retryNow();
  });

  return {
    request,
    here,
    forget,
    transmit,
    readBack,
    chatToken: () => token,
    send: (frame: Json): boolean => link?.send(frame) ?? false,
    retryNow: () => link?.retryNow(),
    leave: () => link?.close(),
    connect: () => {
      link?.close();
      if (keptSession(botName, person()?.id ?? null)) join();
      else beginAlone().then(undefined, store.fail);
    },
  };
}
