// Turns: the durable work of answering a message. A row with a lease says which instance answers; when that one dies
// another takes over with the same answer id, and only the attempt that holds the lease can store anything.

import { and, desc, eq, isNull, or, sql } from "drizzle-orm";
import { conflict, isAppError, type AppError } from "../../core/errors.ts";
import type { Clock } from "../../core/clock.ts";
import { systemContext, type Caller, type Context } from "../../core/context.ts";
import type { Log } from "../../core/log.ts";
import type { Cache } from "../../engines/cache/index.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import { uuidv7 } from "../../lib/ids/index.ts";
import {
  attachments,
  conversations,
  messages,
  turns as turnRows,
  type ConversationRow,
  type MessageRow,
  type MessageStatus,
  type TurnFailure,
  type TurnRow,
} from "./model.ts";
import { attachmentOf, storedMessage, turnConversation, updateFrame, type PresentableMessage } from "./present.ts";
import type {
  BotDirectory,
  CallerSource,
  ChatBot,
  MessageAttachment,
  Reply,
  Responder,
  StoredMessage,
  TurnConversation,
  TurnEmit,
} from "./responder.ts";
import { CONTENT_CHARACTERS_MAX, firstCharacters, isLonger, lastMessageFrom } from "./rules.ts";
import { resetFrame, type Rooms } from "./rooms.ts";
import {
  abandonedConversations,
  claimTurn,
  endTurn,
  LEASE_MS,
  releaseTurns,
  renewLeases,
  sayMessage,
  type ClaimedTurn,
  type Ended,
} from "./store.ts";
import { freshMessage, messageOfReply } from "./service/messages.ts";

/** Deltas of one answer leave at most this often. */
const DELTA_MS = 40;
const PARTIAL_MS = 250;
const PARTIAL_TTL_MS = 10 * 60_000;
/** A responder that has shown nothing for so long is said to be typing. */
const TYPING_AFTER_MS = 300;
const RENEW_MS = 10_000;
const SWEEP_MS = 5_000;
const SWEEP_MAX = 50;
/** A turn that five instances died with is not tried again. */
const ATTEMPTS_MAX = 5;
/** How often somebody who waits looks for himself, should word not come. */
const LOOK_AGAIN_MS = 2_000;

const CONTROL_CHANNEL = "chat.turns";

export const partialKey = (answerId: string): string => `chat:partial:${answerId}`;

type AbortReason = "cancel" | "lost" | "stopping";

/** A turn that runs here. */
interface Running {
  turn: ClaimedTurn;
  controller: AbortController;
  reason: AbortReason | null;
  aborted: PromiseWithResolvers<void>;
  /** The answer so far, as shown. */
  text: string;
  pending: string;
  /** Number of the next delta. */
  index: number;
  isReset: boolean;
  flushTimer: Timer | null;
  flushedAt: number;
  partialAt: number;
  typingTimer: Timer | null;
  isTyping: boolean;
  said: number;
  done: Promise<void>;
}

/** How a turn ended, for whoever waited. */
export interface TurnOutcome {
  state: TurnRow["state"];
  failure: TurnFailure | null;
  answerId: string;
  /** Null where nothing was answered. */
  answer: MessageRow | null;
}

export interface TurnsDeps {
  engine: DatabaseEngine;
  cache: Cache;
  clock: Clock;
  log: Log;
  instanceId: string;
  isShared: boolean;
  bots: BotDirectory;
  responder: Responder;
  callers: CallerSource;
  anonymous: () => Caller;
  rooms: Rooms;
  /** After the commit of a message of the bot. */
  announce: (message: PresentableMessage, about: AnnouncedIn) => void;
  /** A message that no bot answers any more: a person has taken over meanwhile. */
  attended: (conversation: TurnConversation, message: StoredMessage) => Promise<void>;
  eventId: () => string | null;
  expiryOf: (bot: ChatBot | null, at: Date) => Date;
  attach: (
    conversationId: string,
    name: string,
    body: ReadableStream<Uint8Array> | Uint8Array | Blob,
  ) => Promise<string>;
}

export interface AnnouncedIn {
  seq: number;
  handler: ConversationRow["handler"];
  userId: string | null;
  botId: string;
  title: string | null;
  language: string | null;
  channel: ConversationRow["channel"];
}

export type Turns = ReturnType<typeof openTurns>;

/** Makes the engine; `start` begins its rounds. */
export function openTurns(deps: TurnsDeps) {
  const { engine, cache, clock, log, instanceId, isShared, bots, rooms } = deps;
  const { db } = engine;
  const running = new Map<string, Running>();
  const byConversation = new Map<string, Running>();
  /** Requests that wait for an answer, each with how to end its wait. */
  const waits = new Map<Promise<unknown>, () => void>();
  let isStopping = false;
  let isStopped = false;
  let timer: Timer | null = null;
  let endControl: (() => Promise<void>) | null = null;
  let renewedAt = 0;
  let sweptAt = 0;

  const typingFrame = (conversationId: string, state: "start" | "stop"): string =>
    JSON.stringify({
      type: "typing",
      session_id: conversationId,
      conversation_id: conversationId,
      sender: "bot",
      state,
    });

  const setTyping = (run: Running, on: boolean) => {
    if (run.typingTimer !== null) clearTimeout(run.typingTimer);
    run.typingTimer = null;
    if (run.isTyping === on) return;
    run.isTyping = on;
    rooms.live(run.turn.conversationId, typingFrame(run.turn.conversationId, on ? "start" : "stop"));
  };

  /** Sends what has gathered of the answer, and keeps it for those who join. */
  const flush = (run: Running) => {
    if (run.flushTimer !== null) clearTimeout(run.flushTimer);
    run.flushTimer = null;
    if (run.pending === "" && !run.isReset) return;
    const { conversationId, answerId } = run.turn;
    const now = clock.now();
    const index = run.index++;
    const content = run.pending;
    run.pending = "";
    run.text = run.isReset ? content : run.text + content;
    const frame = run.isReset
      ? resetFrame(conversationId, answerId, index, content)
      : JSON.stringify({
          type: "delta",
          session_id: conversationId,
          conversation_id: conversationId,
          message_id: answerId,
          index,
          content,
        });
    run.isReset = false;
    run.flushedAt = now;
    if (now - run.partialAt >= PARTIAL_MS) {
      run.partialAt = now;
      cache
        .set(partialKey(answerId), JSON.stringify({ index, text: run.text }), PARTIAL_TTL_MS)
        .catch((error: unknown) => {
          log.debug("an answer under way was not kept", { error });
        });
    }
    rooms.delta(conversationId, answerId, index, frame);
  };

  const scheduleFlush = (run: Running) => {
    if (run.flushTimer !== null) return;
    const wait = DELTA_MS - (clock.now() - run.flushedAt);
    if (wait <= 0) flush(run);
    else run.flushTimer = setTimeout(() => flush(run), wait);
  };

  const filesOf = async (conversationId: string, ids: readonly string[] | undefined): Promise<MessageAttachment[]> => {
    if (!ids || ids.length === 0) return [];
    const rows = await db.select().from(attachments).where(eq(attachments.conversationId, conversationId));
    return ids.flatMap((id) => {
      const row = rows.find((one) => one.id === id && one.messageId === null);
      return row ? [attachmentOf(row)] : [];
    });
  };

  const fence = (turn: ClaimedTurn) => ({ turnId: turn.id, attempt: turn.attempt, instanceId });

  const touch = (content: string, bot: ChatBot | null, at: Date) => ({
    lastMessage: lastMessageFrom(content),
    title: null,
    language: null,
    expiresAt: deps.expiryOf(bot, at),
  });

  const tell = (message: PresentableMessage, row: ConversationRow, seq: number, handler = row.handler) => {
    deps.announce(message, {
      seq,
      handler,
      userId: row.userId,
      botId: row.botId,
      title: row.title,
      language: row.language,
      channel: row.channel,
    });
  };

  /** A reply within what may be stored. */
  const bounded = (reply: Reply): Reply => {
    const content = reply.content.toWellFormed().replaceAll("\u0000", "");
    if (!isLonger(content, CONTENT_CHARACTERS_MAX)) return { ...reply, content };
    return { ...reply, content: firstCharacters(content, CONTENT_CHARACTERS_MAX), finishReason: "length" };
  };

  const emitOf = (run: Running, row: ConversationRow, bot: ChatBot): TurnEmit => {
    const { turn } = run;
    const { conversationId } = turn;
    const isOver = () => run.reason !== null;
    return {
      delta: (text) => {
        if (isOver() || text === "") return;
        setTyping(run, false);
        run.pending += text;
        scheduleFlush(run);
      },
      reset: (text) => {
        if (isOver()) return;
        run.isReset = true;
        run.pending = text;
        scheduleFlush(run);
      },
      typing: (on) => {
        if (!isOver()) setTyping(run, on);
      },
      suggestions: (suggestions, switchers) => {
        if (!isOver()) rooms.frame(conversationId, suggestionFrame(conversationId, suggestions, switchers));
      },
      tool: (name, state, label) => {
        if (isOver() || !bot.showToolActivity) return;
        rooms.live(
          conversationId,
          JSON.stringify({
            type: "tool",
            session_id: conversationId,
            conversation_id: conversationId,
            name,
            state,
            label,
          }),
        );
      },
      say: (key, reply, as) => say(run, row, bot, key, reply, as),
      attach: (name, body) => deps.attach(conversationId, name, body),
    };
  };

  const say = async (
    run: Running,
    row: ConversationRow,
    bot: ChatBot,
    key: string,
    given: Reply,
    as: { sender: "bot" | "system" | "tool"; name?: string } = { sender: "bot" },
  ): Promise<StoredMessage> => {
    const { turn } = run;
    const dedupeKey = `t:${turn.id}:${key}`;
    if (turn.attempt > 1) {
      const [before] = await db
        .select()
        .from(messages)
        .where(and(eq(messages.conversationId, row.id), eq(messages.dedupeKey, dedupeKey)));
      if (before) return storedMessage(before);
    }
    const reply = bounded(given);
    const files = await filesOf(row.id, reply.attachments);
    const at = clock.date();
    const name = as.name ?? (as.sender === "bot" ? bot.title : null);
    const message = messageOfReply(uuidv7(), reply, { sender: as.sender, name }, files, dedupeKey, at);
    const stored = await sayMessage(engine, fence(turn), {
      message,
      touch: touch(reply.content, bot, at),
      eventId: deps.eventId(),
    });
    if (!stored) throw new Error("the turn is no longer this instance's");
    run.said += 1;
    setTyping(run, false);
    const fresh = freshMessage(row.id, message, stored.seq);
    tell(fresh, row, stored.seq);
    return storedMessage(fresh);
  };

  const historyFor =
    (turn: ClaimedTurn, seq: number) =>
    async (limit: number): Promise<StoredMessage[]> => {
      // What came before, and what was answered since to messages before this one; never what still waits.
      const rows = await db
        .select()
        .from(messages)
        .where(
          and(
            eq(messages.conversationId, turn.conversationId),
            turn.kind === "regenerate"
              ? sql`${messages.seq} < ${seq}`
              : sql`(${messages.seq} < ${seq} or (${messages.seq} > ${seq} and ${messages.sender} <> 'user'))`,
            isNull(messages.deletedAt),
            isNull(messages.supersededBy),
            or(isNull(messages.turnId), sql`${messages.turnId} <> ${turn.id}`),
          ),
        )
        .orderBy(desc(messages.seq))
        .limit(Math.max(1, limit));
      return rows.reverse().map(storedMessage);
    };

  const contextFor = async (turn: ClaimedTurn, row: ConversationRow): Promise<Context> => {
    const requestId = `turn-${turn.id}`;
    const caller =
      row.userId === null
        ? { ...deps.anonymous(), kind: "chat" as const, conversationId: row.id }
        : await deps.callers.callerOf({ kind: "user", userId: row.userId });
    return { ...systemContext([], requestId), caller: caller ?? { ...deps.anonymous(), conversationId: row.id } };
  };

  /** The end of a turn, whatever it was; false if it was no longer ours. */
  const finish = async (
    run: Running,
    row: ConversationRow,
    bot: ChatBot | null,
    result: {
      reply: Reply | null;
      failure: TurnFailure | null;
      state: "answered" | "failed" | "cancelled";
      status?: MessageStatus;
    },
  ): Promise<boolean> => {
    const { turn } = run;
    setTyping(run, false);
    // A reader of deltas alone has the whole answer, too.
    if (result.reply !== null) flush(run);
    if (run.flushTimer !== null) clearTimeout(run.flushTimer);
    run.flushTimer = null;
    const at = clock.date();
    const reply = result.reply === null ? null : bounded(result.reply);
    const files = reply ? await filesOf(row.id, reply.attachments) : [];
    const isEmpty = reply === null || (reply.content === "" && files.length === 0);
    const message = isEmpty
      ? null
      : messageOfReply(turn.answerId, reply, { sender: "bot", name: bot?.title ?? row.botName }, files, null, at);
    const status = result.status ?? result.state;
    const ended = await endTurn(engine, {
      turnId: turn.id,
      kind: turn.kind,
      attempt: turn.attempt,
      instanceId,
      state: result.state,
      messageStatus: status,
      failure: result.failure,
      at,
      answer: message && { message, touch: touch(message.content, bot, at), eventId: deps.eventId() },
    });
    if (!ended) return false;
    if (message && ended.seq !== null) {
      tell(freshMessage(row.id, message, ended.seq), { ...row, userId: ended.userId }, ended.seq, ended.handler);
    } else if (run.index > 0) {
      // What was shown does not stay.
      rooms.delta(row.id, turn.answerId, run.index, resetFrame(row.id, turn.answerId, run.index, ""));
    }
    announceEnd(run, ended, status, result.failure);
    return true;
  };

  const announceEnd = (run: Running, ended: Ended, status: MessageStatus, failure: TurnFailure | null) => {
    const { turn } = run;
    const { conversationId } = ended;
    if (failure) rooms.frame(conversationId, failureFrame(conversationId, turn.messageId, failure));
    if (turn.kind === "message" && turn.messageId) {
      rooms.frame(conversationId, updateFrame(conversationId, turn.messageId, { status }));
    }
    if (ended.supersededId) {
      rooms.frame(conversationId, updateFrame(conversationId, ended.supersededId, { superseded_by: turn.answerId }));
    }
    if (run.partialAt > 0) {
      cache.delete(partialKey(turn.answerId)).catch((error: unknown) => {
        log.debug("a finished answer was not dropped from the cache", { error });
      });
    }
    rooms.ended(conversationId, turn.id);
    if (ended.openTurns > 0) claimNext(conversationId);
  };

  const told = (error: AppError): TurnFailure => ({ code: error.code, message: error.message, details: error.details });

  const answer = async (run: Running, given: Context | null): Promise<void> => {
    const { turn } = run;
    const [row] = await db.select().from(conversations).where(eq(conversations.id, turn.conversationId));
    if (!row) return; // erased meanwhile
    const bot = await bots.find(row.botId);
    const end = (state: "answered" | "failed" | "cancelled", reply: Reply | null, failure: TurnFailure | null = null) =>
      finish(run, row, bot, { state, reply, failure });
    try {
      if (turn.cancelRequested) {
        await end("cancelled", null);
        return;
      }
      if (turn.attempt > ATTEMPTS_MAX) {
        log.error("a turn was given up", { turn: turn.id, conversation_id: row.id, attempt: turn.attempt });
        await end("failed", null, {
          code: "SERVER_ERROR",
          message: "This message could not be answered.",
          details: {},
        });
        return;
      }
      if (!bot?.isActive) throw conflict("bot_inactive", "This bot does not answer at the moment.");
      const conversation = turnConversation(row);
      const ctx = given ?? (await contextFor(turn, row));
      const { answerId, attempt } = turn;
      const emit = emitOf(run, row, bot);
      const input = { turnId: turn.id, answerId, attempt, conversation, ctx, signal: run.controller.signal, emit };
      if (turn.kind === "greeting") {
        const replies = await until(run, deps.responder.greet(input));
        for (const [i, reply] of replies.entries()) await say(run, row, bot, `greeting-${i}`, reply);
        await end("answered", null);
        return;
      }
      const [asked] =
        turn.messageId === null ? [] : await db.select().from(messages).where(eq(messages.id, turn.messageId));
      if (!asked || asked.deletedAt !== null) {
        await end("cancelled", null);
        return;
      }
      const message = storedMessage(asked);
      if (row.handler === "human") {
        await finish(run, row, bot, { state: "answered", reply: null, failure: null, status: "delivered" });
        await deps.attended(conversation, message);
        return;
      }
      if (attempt > 1) {
        run.isReset = true;
        flush(run);
      }
      run.typingTimer = setTimeout(() => {
        if (run.index === 0 && run.reason === null) setTyping(run, true);
      }, TYPING_AFTER_MS);
      const reply = await until(
        run,
        deps.responder.respond({
          ...input,
          message,
          switchers: turn.switchers,
          regenerate: turn.kind === "regenerate",
          history: historyFor(turn, asked.seq),
        }),
      );
      if (reply === null) await end("answered", null);
      else if (reply.failure) await end("failed", reply, reply.failure);
      else await end(reply.finishReason === "cancelled" ? "cancelled" : "answered", reply);
    } catch (error) {
      // What ended it is known; what the responder threw because of that is no news.
      if (run.reason === "lost" || run.reason === "stopping") return;
      if (run.reason === "cancel") {
        await end("cancelled", partialReply(run));
        return;
      }
      if (isAppError(error)) {
        if (error.cause !== undefined) log.warn("a message was not answered", { turn: turn.id, cause: error.cause });
        await end("failed", null, told(error));
        return;
      }
      log.error("answering failed", { turn: turn.id, conversation_id: row.id, error });
      await end("failed", null, { code: "SERVER_ERROR", message: "Something went wrong here.", details: {} });
    }
  };

  /** What was written before the stop, as an answer; null if nothing was. */
  const partialReply = (run: Running): Reply | null => {
    const text = run.isReset ? run.pending : run.text + run.pending;
    if (text === "") return null;
    return {
      content: text,
      contentType: "text/markdown",
      citations: [],
      suggestions: [],
      metadata: {},
      usage: null,
      finishReason: "cancelled",
    };
  };

  /** The work's result, or a throw as soon as the turn is aborted: the responder need not hear of it. */
  const until = async <T>(run: Running, work: Promise<T>): Promise<T> => {
    const stopped = run.aborted.promise.then(() => {
      throw new Error("aborted");
    });
    work.catch(() => undefined); // heard through the race, or of no interest any more
    return Promise.race([work, stopped]);
  };

  const begin = (turn: ClaimedTurn, ctx: Context | null): void => {
    if (running.has(turn.id)) return;
    if (isStopping) {
      giveBack(turn.id).catch((error: unknown) => {
        log.warn("a turn was not given back; its lease will end", { turn: turn.id, error });
      });
      return;
    }
    const run: Running = {
      turn,
      controller: new AbortController(),
      reason: null,
      aborted: Promise.withResolvers<void>(),
      text: "",
      pending: "",
      index: 0,
      isReset: false,
      flushTimer: null,
      flushedAt: 0,
      partialAt: 0,
      typingTimer: null,
      isTyping: false,
      said: 0,
      done: Promise.resolve(),
    };
    running.set(turn.id, run);
    byConversation.set(turn.conversationId, run);
    const work = async () => {
      // The acknowledgement of the message goes first.
      await new Promise((resolve) => setImmediate(resolve));
      try {
        await answer(run, ctx);
      } catch (error) {
        // The row keeps its lease until it is over; then somebody takes the turn again.
        log.error("a turn could not be ended", { turn: turn.id, error });
      } finally {
        if (run.flushTimer !== null) clearTimeout(run.flushTimer);
        if (run.typingTimer !== null) clearTimeout(run.typingTimer);
        running.delete(turn.id);
        if (byConversation.get(turn.conversationId) === run) byConversation.delete(turn.conversationId);
      }
    };
    run.done = work();
  };

  const abort = (run: Running, reason: AbortReason) => {
    if (run.reason !== null) return;
    run.reason = reason;
    run.controller.abort(new Error(reason));
    run.aborted.resolve();
  };

  /** Leaves the turn, or all that run here, to whoever comes. */
  const giveBack = async (turnId: string | null): Promise<void> => {
    const given = await releaseTurns(engine, instanceId, turnId);
    if (given.length > 0) tellOthers({ take: given });
  };

  const claim = async (conversationId: string): Promise<void> => {
    if (isStopping) tellOthers({ take: [conversationId] });
    if (isStopping || byConversation.has(conversationId)) return;
    const turn = await claimTurn(engine, conversationId, instanceId, clock.date());
    if (!turn) return;
    if (turn.kind === "message" && turn.messageId) {
      rooms.frame(conversationId, updateFrame(conversationId, turn.messageId, { status: "processing" }));
    }
    begin(turn, null);
  };

  function claimNext(conversationId: string): void {
    // After the present one has left the maps.
    setImmediate(() => {
      claim(conversationId).catch((error: unknown) => {
        log.warn("the next turn was not begun yet", { conversation_id: conversationId, error });
      });
    });
  }

  const renew = async (): Promise<void> => {
    const runs = [...running.values()];
    if (runs.length === 0) return;
    const ids = runs.map(({ turn }) => turn.id);
    const kept = await renewLeases(engine, ids, instanceId, clock.date());
    for (const run of runs) {
      const isCancelled = kept.get(run.turn.id);
      if (!running.has(run.turn.id)) continue;
      if (isCancelled === undefined) abort(run, "lost");
      else if (isCancelled) abort(run, "cancel");
    }
  };

  /** Takes over what nobody runs. */
  const sweep = async (): Promise<void> => {
    if (isStopping) return;
    for (const conversationId of await abandonedConversations(engine, clock.date(), SWEEP_MAX)) {
      await claim(conversationId);
    }
  };

  let isTicking = false;
  const tick = async (): Promise<void> => {
    if (isTicking) return;
    isTicking = true;
    try {
      rooms.retryHeld();
      const now = clock.now();
      if (now - renewedAt >= RENEW_MS) {
        renewedAt = now;
        await renew();
      }
      if (now - sweptAt >= SWEEP_MS) {
        sweptAt = now;
        await sweep();
      }
    } catch (error) {
      log.warn("a round over the turns failed", { error });
    } finally {
      isTicking = false;
    }
  };

  const control = (message: string) => {
    const { cancel: turnId, take } = JSON.parse(message) as { cancel?: string; take?: string[] };
    const run = turnId === undefined ? undefined : running.get(turnId);
    if (run) abort(run, "cancel");
    for (const conversationId of take ?? []) claimNext(conversationId);
  };

  const tellOthers = (message: { cancel?: string; take?: string[] }) => {
    if (!isShared) return;
    cache.publish(CONTROL_CHANNEL, JSON.stringify(message)).catch((error: unknown) => {
      log.debug("other instances were not told", { error });
    });
  };

  const outcome = async (turnId: string): Promise<TurnOutcome | null> => {
    const [row] = await db.select().from(turnRows).where(eq(turnRows.id, turnId));
    if (!row || row.state === "waiting" || row.state === "running") return null;
    const [own] = await db.select().from(messages).where(eq(messages.id, row.answerId));
    // A turn that said everything through `say` is answered by the last thing it said.
    const [last] = own
      ? [own]
      : await db
          .select()
          .from(messages)
          .where(and(eq(messages.turnId, turnId), eq(messages.sender, "bot")))
          .orderBy(desc(messages.seq))
          .limit(1);
    return { state: row.state, failure: row.failure, answerId: row.answerId, answer: last ?? null };
  };

  const waitFor = async (
    conversationId: string,
    turnId: string,
    seq: number,
    ms: number,
    signal: AbortSignal,
  ): Promise<TurnOutcome | null> => {
    const until = performance.now() + ms;
    const room = await rooms.open(conversationId, seq);
    const word = { come: Promise.withResolvers<void>() };
    const listener = {
      frame: () => undefined,
      ended: (ended: string) => {
        if (ended === turnId) word.come.resolve();
      },
    };
    rooms.listen(room, listener);
    const gone = () => word.come.resolve();
    signal.addEventListener("abort", gone);
    try {
      for (;;) {
        word.come = Promise.withResolvers<void>();
        const found = await outcome(turnId);
        if (found) return found;
        const left = until - performance.now();
        if (left <= 0 || signal.aborted) return null;
        let timeout: Timer | undefined;
        const pause = new Promise<void>((resolve) => {
          timeout = setTimeout(resolve, Math.min(left, LOOK_AGAIN_MS));
        });
        await Promise.race([word.come.promise, pause]);
        clearTimeout(timeout);
      }
    } finally {
      signal.removeEventListener("abort", gone);
      rooms.unlisten(room, listener);
      rooms.release(room);
    }
  };

  return {
    begin,
    sweep,
    /** Columns of a turn that begins here and now. */
    firstLease: (at: Date) => ({
      state: "running" as const,
      leaseOwner: instanceId,
      leaseUntil: new Date(at.getTime() + LEASE_MS),
      attempt: 1,
    }),

    /** What is shown of the answer under way in the conversation, as a frame; null if there is none. */
    partialFrame: async (conversationId: string): Promise<string | null> => {
      const run = byConversation.get(conversationId);
      if (run) {
        if (run.index === 0) return null;
        return resetFrame(conversationId, run.turn.answerId, run.index - 1, run.text);
      }
      if (!isShared) return null;
      const [row] = await db
        .select({ answerId: turnRows.answerId })
        .from(turnRows)
        .where(and(eq(turnRows.conversationId, conversationId), eq(turnRows.state, "running")));
      const kept = row ? await cache.get(partialKey(row.answerId)).catch(() => null) : null;
      if (!row || kept === null) return null;
      const { index, text } = JSON.parse(kept) as { index: number; text: string };
      return resetFrame(conversationId, row.answerId, index, text);
    },

    /** Stops the answer under way (`id` null), or the turn of that message or answer; false if there is none. */
    cancel: async (conversationId: string, id: string | null): Promise<boolean> => {
      const open = await db
        .select()
        .from(turnRows)
        .where(and(eq(turnRows.conversationId, conversationId), sql`${turnRows.state} in ('waiting', 'running')`))
        .orderBy(turnRows.position);
      const row = open.find((one) =>
        id === null ? one.state === "running" : one.messageId === id || one.answerId === id || one.id === id,
      );
      if (!row || row.kind === "greeting") return false;
      await db.update(turnRows).set({ cancelRequested: true }).where(eq(turnRows.id, row.id));
      const run = running.get(row.id);
      if (run) {
        abort(run, "cancel");
        await run.done;
      } else tellOthers({ cancel: row.id });
      return true;
    },

    /** Stops everything that is open in a conversation that is being closed. */
    cancelAll: async (conversationId: string): Promise<void> => {
      const open = await db
        .update(turnRows)
        .set({ cancelRequested: true })
        .where(and(eq(turnRows.conversationId, conversationId), sql`${turnRows.state} in ('waiting', 'running')`))
        .returning({ id: turnRows.id });
      for (const { id } of open) {
        const run = running.get(id);
        if (!run) {
          tellOthers({ cancel: id });
          continue;
        }
        abort(run, "cancel");
        await run.done;
      }
    },

    /** How the turn ended, or null if it has not within `ms` or before this instance stops. */
    wait: (
      conversationId: string,
      turnId: string,
      seq: number,
      ms: number,
      signal?: AbortSignal,
    ): Promise<TurnOutcome | null> => {
      const stop = new AbortController();
      const signals = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
      const waiting = waitFor(conversationId, turnId, seq, ms, signals).finally(() => waits.delete(waiting));
      if (isStopped) stop.abort();
      else waits.set(waiting, () => stop.abort());
      return waiting;
    },

    outcome,

    start: async (): Promise<void> => {
      isStopping = false;
      isStopped = false;
      if (isShared) endControl = await cache.subscribe(CONTROL_CHANNEL, control);
      // Nobody else can be running turns of an embedded database: what runs was left by a process that died.
      else {
        await db
          .update(turnRows)
          .set({ leaseUntil: new Date(0) })
          .where(and(eq(turnRows.state, "running"), sql`${turnRows.leaseOwner} is distinct from ${instanceId}`));
      }
      await sweep();
      timer = setInterval(() => {
        tick().catch((error: unknown) => log.error("a round over the turns failed", { error }));
      }, 1_000);
    },

    /** Begins nothing more, waits for what runs and for who waits, then gives the rest back to whoever comes. */
    drain: async (ms: number): Promise<void> => {
      isStopping = true;
      let timeout: Timer | undefined;
      const late = new Promise<void>((resolve) => {
        timeout = setTimeout(resolve, ms);
      });
      const runs = () => [...running.values()].map(({ done }) => done);
      await Promise.race([Promise.allSettled([...runs(), ...waits.keys()]), late]);
      clearTimeout(timeout);
      isStopped = true;
      for (const run of running.values()) abort(run, "stopping");
      if (timer !== null) clearInterval(timer);
      timer = null;
      await giveBack(null);
      for (const end of waits.values()) end();
      await Promise.all(runs());
      await endControl?.();
      endControl = null;
    },

    /** Turns under way here. */
    count: (): number => running.size,
  };
}

/** The frame that replaces the quick replies and switchers on offer. */
export function suggestionFrame(conversationId: string, suggestions: unknown[], switchers: unknown[]): string {
  return JSON.stringify({
    type: "suggestion",
    session_id: conversationId,
    conversation_id: conversationId,
    suggestions,
    switchers,
  });
}

function failureFrame(conversationId: string, messageId: string | null, failure: TurnFailure): string {
  return JSON.stringify({
    type: "error",
    session_id: conversationId,
    conversation_id: conversationId,
    ...(messageId ? { message_id: messageId } : {}),
    code: failure.code,
    message: failure.message,
    details: failure.details,
    fatal: false,
  });
}
