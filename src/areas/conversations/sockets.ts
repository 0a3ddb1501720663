// All sockets of this instance: who may open one, heartbeat, ended credentials and withdrawn access, the state of the
// exchange with other instances, and the stop.

import type { Authenticator } from "../../core/authentication.ts";
import { holds, type Caller, type Context } from "../../core/context.ts";
import { AppError, forbidden, notFound, rateLimited, unauthorized } from "../../core/errors.ts";
import { uuidv7 } from "../../lib/ids/index.ts";
import { HEARTBEAT_SECONDS } from "./frames.ts";
import type { ConversationRow } from "./model.ts";
import type { Presence } from "./presence.ts";
import type { Rooms } from "./rooms.ts";
import type { Access } from "./service/access.ts";
import { CHAT_TOKENS_ENDED, type Conversations } from "./service/conversations.ts";
import type { ConversationsDeps } from "./service/deps.ts";
import type { Messages } from "./service/messages.ts";
import { CLOSE, SocketSession, type Entry, type JoinedAs, type SocketQuery } from "./socket.ts";
import type { Turns } from "./turns.ts";

/** Channels of the users area: `{"session_ids": []}` or `{"user_id"}`, and `{"user_id"}` or `{"all": true}`. */
const SESSION_ENDED = "session.ended";
const AUTHZ_CHANGED = "authz";

const SILENT_SECONDS = 90;
const AUTH_FRAME_SECONDS = 10;
/** Every socket's sign-in session is looked at so often, for what ends without a word: idleness and expiry. */
const CHECK_SECONDS = 60;
/** The same while other instances are not heard. */
const CHECK_ALONE_SECONDS = 4;
const POLL_SECONDS = 2;
const RETRY_SECONDS = 5;
/** New sockets within a second that make a storm. */
const STORM_SOCKETS = 50;
/** How long the exchange may have been broken before that was found out. */
const UNNOTICED_MS = 5_000;
/** Word of changed rights may come before the rights themselves are forgotten here. */
const SETTLE_MS = 100;
const RESTART_MS = { min: 500, max: 3_000 };

export interface SocketsDeps extends ConversationsDeps {
  access: Access;
  rooms: Rooms;
  turns: Turns;
  presence: Presence;
  messages: Messages;
  conversations: Conversations;
  authenticator: Pick<Authenticator, "authenticate">;
}

/** Something else than a socket that listens for a person: a stream of server-sent events. */
export interface Watcher {
  readonly userId: string | null;
  readonly sessionId: string | null;
  readonly conversationId: string;
  readonly isChatToken: boolean;
  /** It ends by itself, with the answer. */
  readonly isAnswer: boolean;
  end(text: string | null): void;
  beat(): void;
}

export type Sockets = ReturnType<typeof openSockets>;

/** Makes the registry; `start` subscribes and begins the rounds. */
export function openSockets(deps: SocketsDeps) {
  const { cache, clock, log, access, rooms, turns, presence, messages, conversations, bots, limits } = deps;
  const wheel: SocketSession[][] = Array.from({ length: HEARTBEAT_SECONDS }, () => []);
  const pending = new Map<SocketSession, number>();
  const perAddress = new Map<string, number>();
  const watchers = new Set<Watcher>();
  const endings: (() => void | Promise<void>)[] = [];
  let timer: Timer | null = null;
  let ticks = 0;
  let nextSlot = 0;
  let count = 0;
  let openedLately = 0;
  let isStopping = false;
  let isAlone = false;
  let polledAt = clock.date();

  const seconds = (): number => Math.floor(clock.now() / 1000);

  const bareContext = (ip: string | null): Omit<Context, "caller"> => ({
    requestId: uuidv7(),
    ip,
    userAgent: null,
    method: "GET",
    route: "/ws",
  });

  const busy = (reason: string): AppError =>
    new AppError("SERVICE_UNAVAILABLE", "This server holds as many conversations as it may.", {
      service: "sockets",
      reason,
      retry_after: RETRY_SECONDS,
    });

  const checkRoomFor = (userId: string | null): void => {
    if (userId !== null && presence.count(userId) >= limits.socketsPerUser) {
      throw rateLimited(RETRY_SECONDS, "too_many_sockets");
    }
  };

  const seqOf = async (conversationId: string, messageId: string): Promise<number> =>
    (await messages.get(conversationId, messageId)).seq;

  /** A conversation that somebody wants to listen to; strangers hear that there is none. */
  const openFor = async (ctx: Context, id: string): Promise<{ row: ConversationRow; part: JoinedAs }> => {
    const { row, part } = await access.reader(ctx, id, "conversation_watched");
    if (part === "owner") return { row, part: "user" };
    const { userId } = ctx.caller;
    const isAssigned =
      part === "attendant" ||
      (userId !== null &&
        holds(ctx.caller, "conversations:respond") &&
        (await deps.attendance?.isAssigned(userId, row.id)));
    return { row, part: isAssigned ? "attendant" : "reader" };
  };

  /** An id as clients give it: of a conversation, or of the caller's own sign-in session. */
  const resolve = async (ctx: Context, id: string | null): Promise<string> => {
    const { caller } = ctx;
    if (id !== null && caller.sessionId !== null && id.toLowerCase() === caller.sessionId) {
      const bot = await deps.sessions.botOf(caller.sessionId);
      return (await conversations.currentOrNew(ctx, bot)).row.id;
    }
    if (id === null) throw notFound("conversation");
    return id;
  };

  /** What a socket begins with. Throws what the upgrade is refused with. */
  const enter = async (ctx: Context, query: SocketQuery): Promise<Entry> => {
    const { caller } = ctx;
    const isAnonymous = caller.userId === null;
    checkRoomFor(caller.userId);
    if (!query.wantsChat) {
      if (isAnonymous) throw unauthorized();
      return { row: null, part: "user", bot: null, token: null, fromSeq: null };
    }
    if (rooms.socketConversations() >= limits.conversations) throw busy("session_max_concurrent");
    if (query.sessionId !== null || caller.kind === "chat") {
      const id = await resolve(ctx, query.sessionId ?? caller.conversationId);
      const { row, part } = await openFor(ctx, id);
      const bot = await bots.find(row.botId);
      const fromSeq = query.lastSeq ?? (query.lastMessageId === null ? null : await seqOf(row.id, query.lastMessageId));
      return { row, part, bot, token: null, fromSeq };
    }
    if (!isAnonymous) {
      const { row, bot, started } = await conversations.currentOrNew(ctx, query.bot);
      return { row, part: "user", bot, token: null, fromSeq: started === null ? query.lastSeq : null };
    }
    const started = await conversations.start(ctx, {
      bot: query.bot,
      ...(query.language === null ? {} : { language: query.language }),
    });
    return { row: started.row, part: "user", bot: started.bot, token: started.token, fromSeq: null };
  };

  const context = async (session: SocketSession): Promise<Context> => {
    const bare = bareContext(session.ip);
    if (session.kind === "chat") {
      return { ...bare, caller: { ...deps.anonymous(), kind: "chat", conversationId: session.proof } };
    }
    const proof = session.callerProof;
    const caller = proof === null ? null : await deps.callers.callerOf(proof);
    if (caller === null) {
      session.shut(CLOSE.ended, "session ended");
      throw unauthorized("This session has ended; sign in again.", "session_ended");
    }
    return { ...bare, caller };
  };

  /** A copy: sockets leave while it is walked. */
  const everyone = (): SocketSession[] => wheel.flat();

  const intoWheel = (session: SocketSession) => {
    const slot = wheel[nextSlot] ?? [];
    session.slot = nextSlot;
    session.place = slot.push(session) - 1;
    nextSlot = (nextSlot + 1) % wheel.length;
  };

  const outOfWheel = (session: SocketSession) => {
    const slot = wheel[session.slot];
    const last = slot?.pop();
    if (slot && last && last !== session) {
      slot[session.place] = last;
      last.place = session.place;
    }
    session.slot = -1;
  };

  /** Looks at one socket's right to be there, as of now. */
  const judge = async (session: SocketSession): Promise<void> => {
    const proof = session.callerProof;
    if (proof === null || !session.isOpen) return;
    const caller = await deps.callers.callerOf(proof);
    if (caller === null) {
      session.shut(CLOSE.ended, "session ended");
      return;
    }
    const ctx: Context = { ...bareContext(session.ip), caller };
    const joined: { id: string; botId: string; part: JoinedAs }[] = [];
    session.eachJoined((one) => joined.push({ id: one.room.id, botId: one.botId, part: one.part }));
    for (const one of joined) {
      if (await isWithdrawn(ctx, one)) {
        session.shut(CLOSE.withdrawn, "access withdrawn");
        return;
      }
    }
  };

  const isWithdrawn = async (ctx: Context, joined: { id: string; botId: string; part: JoinedAs }): Promise<boolean> => {
    const { caller } = ctx;
    if (joined.part === "reader") return !holds(caller, "conversations:read") && !holds(caller, "conversations:admin");
    if (joined.part === "attendant") return !holds(caller, "conversations:respond");
    if (!holds(caller, "chat:write") && !holds(caller, "chat:read")) return true;
    const bot = await bots.find(joined.botId);
    // A bot that is gone leaves its conversations readable.
    return bot !== null && (await bots.access(ctx, bot)) !== "allowed";
  };

  const judgeAll = async (concerned: (session: SocketSession) => boolean): Promise<void> => {
    for (const session of everyone().filter(concerned)) await judge(session);
  };

  const quietly = (work: Promise<unknown>, what: string) => {
    work.catch((error: unknown) => log.warn(what, { error }));
  };

  const onSessionEnded = (text: string) => {
    const { session_ids: ids = [], user_id: userId } = JSON.parse(text) as { session_ids?: string[]; user_id?: string };
    const ended = new Set(ids);
    for (const session of everyone()) {
      if (session.kind === "session" && session.proof !== null && ended.has(session.proof)) {
        session.shut(CLOSE.ended, "session ended");
      }
    }
    for (const watcher of watchers) {
      if (watcher.sessionId !== null && ended.has(watcher.sessionId)) watcher.end(null);
      if (userId !== undefined && watcher.userId === userId) watcher.end(null);
    }
    if (userId === undefined) return;
    setTimeout(
      () =>
        quietly(
          judgeAll((session) => session.userId === userId),
          "sockets of a user were not judged",
        ),
      SETTLE_MS,
    );
  };

  const onAuthzChanged = (text: string) => {
    const { user_id: userId, bot_id: botId } = JSON.parse(text) as { user_id?: string; bot_id?: string };
    // A stream comes back by itself, and is judged then.
    for (const watcher of watchers) {
      if (userId === undefined || watcher.userId === userId) watcher.end(null);
    }
    const concerned = (session: SocketSession): boolean => {
      if (userId !== undefined) return session.userId === userId;
      if (botId === undefined) return true;
      let talks = false;
      session.eachJoined((joined) => {
        talks ||= joined.botId === botId;
      });
      return talks;
    };
    setTimeout(() => quietly(judgeAll(concerned), "sockets were not judged"), SETTLE_MS);
  };

  const onTokensEnded = (conversationId: string) => {
    for (const session of everyone()) {
      if (session.kind === "chat" && session.proof === conversationId) session.shut(CLOSE.ended, "chat token ended");
    }
    for (const watcher of watchers) {
      if (watcher.isChatToken && watcher.conversationId === conversationId) watcher.end(null);
    }
  };

  /** Sign-in sessions that ended without a word. */
  const checkSessions = async (sessions: readonly SocketSession[]): Promise<void> => {
    const ids = new Set<string>();
    for (const { kind, proof } of sessions) if (kind === "session" && proof !== null) ids.add(proof);
    const list = [...ids];
    for (let i = 0; i < list.length; i += 1_000) {
      const ended = new Set(await deps.callers.endedOf(list.slice(i, i + 1_000)));
      if (ended.size === 0) continue;
      for (const session of sessions) {
        if (session.kind === "session" && session.proof !== null && ended.has(session.proof)) {
          session.shut(CLOSE.ended, "session ended");
        }
      }
    }
  };

  const beat = (slot: readonly SocketSession[]) => {
    const now = seconds();
    for (const session of Array.from(slot)) {
      if (now - session.seenAt > SILENT_SECONDS) session.shut(CLOSE.silent, "no pong");
      else session.wire.ping();
    }
  };

  const tick = async (): Promise<void> => {
    ticks += 1;
    if (openedLately >= STORM_SOCKETS) {
      // What connecting leaves behind would otherwise lie between what stays, and hold its pages for good.
      Bun.gc(false);
    }
    openedLately = 0;
    const slot = wheel[ticks % wheel.length] ?? [];
    beat(slot);
    if (ticks % (HEARTBEAT_SECONDS / 2) === 0) for (const watcher of watchers) watcher.beat();
    const now = seconds();
    for (const [session, since] of pending) {
      if (now - since >= AUTH_FRAME_SECONDS) session.shut(CLOSE.ended, "no auth frame");
    }
    if (Math.floor(ticks / wheel.length) % (CHECK_SECONDS / HEARTBEAT_SECONDS) === 0) await checkSessions([...slot]);
    if (!isAlone) return;
    if (ticks % CHECK_ALONE_SECONDS === 0) {
      await checkSessions(everyone());
      await judgeAll(({ kind }) => kind === "api_key");
    }
    if (ticks % POLL_SECONDS === 0) await poll();
  };

  const poll = async (): Promise<void> => {
    // A little into the past: a change may have been written by a slower clock.
    const since = new Date(polledAt.getTime() - 2_000);
    polledAt = clock.date();
    await rooms.poll(since);
  };

  const toAll = (text: string) => {
    for (const session of everyone()) session.send(text);
  };

  const onCacheStatus = (isUp: boolean) => {
    if (isUp !== isAlone) return;
    isAlone = !isUp;
    if (isAlone) {
      polledAt = new Date(clock.now() - UNNOTICED_MS);
      toAll(JSON.stringify({ type: "status", state: "degraded", service: "cache" }));
      return;
    }
    // What was said while nobody heard is sent before it is called restored.
    quietly(
      poll().finally(() => toAll(JSON.stringify({ type: "status", state: "restored", service: "cache" }))),
      "what was missed could not be read",
    );
    quietly(
      judgeAll(() => true),
      "sockets were not judged",
    );
  };

  let isTicking = false;

  const api = {
    limits,
    rooms,
    turns,
    messages,
    conversations,
    bots,
    log,
    responder: deps.responder,
    attachmentBytesMax: deps.attachmentBytesMax,
    seconds,
    bareContext,
    context,
    enter,
    openFor,
    resolve,
    seqOf,
    checkRoomFor,
    find: access.find,

    attendanceOf: async (conversationId: string) => {
      const state = await deps.attendance?.state(conversationId);
      return { queue_position: state?.queuePosition ?? null, attendant: state?.attendant ?? null };
    },

    authenticate: async (token: string, ip: string | null): Promise<Caller> =>
      deps.authenticator.authenticate(token, { ip: ip ?? "unknown", userAgent: null }),

    /**
     * Judges an upgrade and prepares its socket: 404 for a conversation that is not the caller's, 429 and 503 over the
     * limits. `isAuthFrame`: it will say who it is in its first frame.
     */
    connect: async (ctx: Context, query: SocketQuery, isAuthFrame: boolean): Promise<SocketSession> => {
      if (isStopping) throw busy("restarting");
      const { caller, ip } = ctx;
      const isAnonymous = caller.userId === null;
      const address = ip ?? "unknown";
      if (isAnonymous) {
        const open = perAddress.get(address) ?? 0;
        if (open >= limits.socketsPerAddress) throw rateLimited(RETRY_SECONDS, "too_many_sockets");
        perAddress.set(address, open + 1);
      }
      try {
        if (caller.restricted !== null) throw forbidden(null, "two_factor_required");
        const waits = isAuthFrame && caller.kind === "anonymous";
        const entry = waits ? null : await enter(ctx, query);
        return new SocketSession(api, caller, ip, query, entry);
      } catch (error) {
        if (isAnonymous) leaveAddress(address);
        throw error;
      }
    },

    /** An upgrade that did not come about after all. */
    dropped: (session: SocketSession): void => {
      if (session.userId === null) leaveAddress(session.ip ?? "unknown");
    },

    opened: (session: SocketSession): void => {
      session.seenAt = seconds();
      count += 1;
      openedLately += 1;
      intoWheel(session);
      if (session.kind === "pending") pending.set(session, seconds());
      else if (session.userId !== null) presence.add(session.userId, session);
      if (isStopping) session.shut(CLOSE.stopping, "server stopping");
    },

    /** An open socket has said who it is. */
    bound: (session: SocketSession): void => {
      pending.delete(session);
      if (session.userId === null) return;
      leaveAddress(session.ip ?? "unknown");
      presence.add(session.userId, session);
    },

    closed: (session: SocketSession): void => {
      pending.delete(session);
      if (session.slot >= 0) {
        count -= 1;
        outOfWheel(session);
      }
      if (session.userId === null) leaveAddress(session.ip ?? "unknown");
      else presence.remove(session.userId, session);
    },

    watch: (watcher: Watcher): void => {
      watchers.add(watcher);
    },
    unwatch: (watcher: Watcher): void => {
      watchers.delete(watcher);
    },

    /** Rights or state of a bot have changed. */
    botChanged: (botId: string): void => onAuthzChanged(JSON.stringify({ bot_id: botId })),

    count: (): number => count,
    /** False while other instances are not heard. */
    isExchanging: (): boolean => !isAlone,

    start: async (): Promise<void> => {
      isStopping = false;
      endings.push(
        await cache.subscribe(SESSION_ENDED, onSessionEnded),
        await cache.subscribe(AUTHZ_CHANGED, onAuthzChanged),
        await cache.subscribe(CHAT_TOKENS_ENDED, onTokensEnded),
        cache.onStatus(onCacheStatus),
      );
      isAlone = !cache.isUp();
      timer = setInterval(() => {
        if (isTicking) return;
        isTicking = true;
        tick()
          .catch((error: unknown) => log.warn("a round over the sockets failed", { error }))
          .finally(() => {
            isTicking = false;
          });
      }, 1_000);
    },

    /** No new sockets; those that are open are told to come back. */
    announceStop: (): void => {
      isStopping = true;
      for (const session of everyone()) {
        const wait = RESTART_MS.min + Math.floor(Math.random() * (RESTART_MS.max - RESTART_MS.min + 1));
        session.send(JSON.stringify({ type: "status", state: "restarting", retry_after_ms: wait }));
      }
      endWatchers(({ isAnswer }) => !isAnswer);
    },

    /** True while streams of answers are open. */
    isAnswering: (): boolean => watchers.values().some(({ isAnswer }) => isAnswer),

    stop: async (): Promise<void> => {
      if (timer !== null) clearInterval(timer);
      timer = null;
      endWatchers(() => true);
      for (const session of everyone()) session.shut(CLOSE.stopping, "server stopping");
      for (const end of endings.splice(0)) await end();
    },

    /** One round of heartbeat and checks; tests call it after moving the clock. */
    tick,
  };
  return api;

  /** They come back, to another instance or to the next start. */
  function endWatchers(concerned: (watcher: Watcher) => boolean): void {
    const text = JSON.stringify({ type: "status", state: "restarting", retry_after_ms: RESTART_MS.max });
    for (const watcher of watchers) if (concerned(watcher)) watcher.end(text);
  }

  function leaveAddress(address: string): void {
    const open = (perAddress.get(address) ?? 1) - 1;
    if (open <= 0) perAddress.delete(address);
    else perAddress.set(address, open);
  }
}
