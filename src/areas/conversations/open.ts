// Builds the conversations area from what it stands on: rooms, turns, services, sockets, background rounds.

import type { Authenticator } from "../../core/authentication.ts";
import type { Context } from "../../core/context.ts";
import { isAppError } from "../../core/errors.ts";
import type { People } from "../../core/people/index.ts";
import type { Jobs } from "../../engines/jobs/index.ts";
import { uuidv7 } from "../../lib/ids/index.ts";
import { and, asc, eq, gt, gte, inArray } from "drizzle-orm";
import { conversationJobs } from "./jobs.ts";
import { conversations as conversationRows, messages as messageRows } from "./model.ts";
import { conversationPeople } from "./people.ts";
import { changesOf, messageFrame, updateFrame } from "./present.ts";
import { openPresence } from "./presence.ts";
import type { Suggestion, Switcher } from "./responder.ts";
import { openRooms, type Topics } from "./rooms.ts";
import { conversationAccess, isOwner } from "./service/access.ts";
import { attachmentService } from "./service/attachments.ts";
import { conversationService } from "./service/conversations.ts";
import { CHAT_LIMITS, type ChatLimits, type ConversationsDeps } from "./service/deps.ts";
import { exportService } from "./service/export.ts";
import { messageService, type Messages } from "./service/messages.ts";
import { outcomeService } from "./service/outcomes.ts";
import { chatTokenService } from "./service/tokens.ts";
import { openSockets } from "./sockets.ts";
import { openTurns, partialKey, suggestionFrame } from "./turns.ts";

export interface OpenConversationsDeps extends Omit<ConversationsDeps, "limits"> {
  jobs: Jobs;
  people: People;
  authenticator: Pick<Authenticator, "authenticate">;
  /** Bun's server; null before it listens. */
  topics: () => Topics | null;
  limits?: Partial<ChatLimits>;
}

export type ConversationsArea = ReturnType<typeof openConversations>;

/** The conversations area. Nothing is asked of the engines before `start`. */
export function openConversations(given: OpenConversationsDeps) {
  const deps: ConversationsDeps = { ...given, limits: { ...CHAT_LIMITS, ...given.limits } };
  const { engine, cache, clock, log } = deps;
  const { db } = engine;
  const instanceId = uuidv7();
  // An embedded database has one process, and with it the embedded cache.
  const isShared = engine.kind !== "pglite" || cache.kind !== "memory";

  // Messages begin turns, and turns store messages: the later one is reached through this.
  const late: { messages: Messages | null } = { messages: null };
  const messagesNow = (): Messages => {
    if (late.messages === null) throw new Error("the area is not open yet");
    return late.messages;
  };

  const access = conversationAccess(deps);
  const rooms = openRooms({
    cache,
    log,
    instanceId,
    isShared,
    topics: given.topics,
    load: async (conversationId, afterSeq, limit) => {
      const rows = await db
        .select()
        .from(messageRows)
        .where(and(eq(messageRows.conversationId, conversationId), gt(messageRows.seq, afterSeq)))
        .orderBy(asc(messageRows.seq))
        .limit(limit);
      return rows.map((row) => ({ seq: row.seq, text: messageFrame(row) }));
    },
    lastSeqs: async (ids) => {
      const rows = await db
        .select({ id: conversationRows.id, lastSeq: conversationRows.lastSeq })
        .from(conversationRows)
        .where(inArray(conversationRows.id, [...ids]));
      return new Map(rows.map(({ id, lastSeq }) => [id, lastSeq]));
    },
    changedSince: async (ids, since) => {
      const rows = await db
        .select()
        .from(messageRows)
        .where(and(inArray(messageRows.conversationId, [...ids]), gte(messageRows.changedAt, since)));
      return rows.map((row) => ({
        conversationId: row.conversationId,
        text: updateFrame(row.conversationId, row.id, changesOf(row)),
      }));
    },
    partial: async (answerId) => {
      const kept = await cache.get(partialKey(answerId));
      return kept === null ? null : (JSON.parse(kept) as { text: string }).text;
    },
  });
  const presence = openPresence({
    cache,
    log,
    instanceId,
    isShared,
    membersOf: (conversationId) => rooms.get(conversationId)?.memberCount ?? 0,
  });
  const attachments = attachmentService({ ...deps, access });
  const turns = openTurns({
    engine,
    cache,
    clock,
    log,
    instanceId,
    isShared,
    bots: deps.bots,
    responder: deps.responder,
    callers: deps.callers,
    anonymous: deps.anonymous,
    rooms,
    announce: (message, about) => messagesNow().announce(message, about),
    attended: async (conversation, message) => {
      for (const listener of deps.listeners) await listener.attended?.(conversation, message);
    },
    eventId: () => messagesNow().eventId(),
    expiryOf: (bot, at) => messagesNow().expiryOf(bot, at),
    attach: async (conversationId, name, body) => (await attachments.store(conversationId, name, body)).id,
  });
  const messages = messageService({ ...deps, instanceId, access, rooms, turns, users: presence });
  late.messages = messages;
  const tokens = chatTokenService(deps);
  const outcomes = outcomeService(deps);
  const conversations = conversationService({ ...deps, access, rooms, turns, tokens, outcomes });
  const exports = exportService({ ...deps, access });
  const sockets = openSockets({
    ...deps,
    access,
    rooms,
    turns,
    presence,
    messages,
    conversations,
    authenticator: given.authenticator,
  });
  const jobs = conversationJobs({ jobs: given.jobs, log, conversations, outcomes, attachments });
  given.people.register(conversationPeople(conversations));

  return {
    instanceId,
    access,
    attachments,
    conversations,
    exports,
    messages,
    outcomes,
    sockets,
    tokens,
    turns,
    jobs,
    deps,

    /** For the authenticator: the caller behind a chat token, or null. */
    resolveToken: tokens.resolve,

    /** What the bots area asks of conversations. */
    door: {
      find: async (ctx: Context, id: string) => {
        let row;
        try {
          row = await access.find(await sockets.resolve(ctx, id));
        } catch (error) {
          if (isAppError(error) && error.code === "NOT_FOUND") return null;
          throw error;
        }
        return row === null ? null : { id: row.id, botId: row.botId, isOwner: isOwner(ctx, row) };
      },
      tell: async (conversationId: string, suggestions: Suggestion[], switchers: Switcher[]): Promise<void> => {
        rooms.frame(conversationId, suggestionFrame(conversationId, suggestions, switchers));
        return Promise.resolve();
      },
    },

    /** A frame of another area (`type` and `data`) to every socket of a user, on every instance. */
    toUser: (userId: string, frame: { type: string; data: unknown }): void =>
      presence.send(userId, JSON.stringify(frame)),

    start: async (): Promise<void> => {
      await sockets.start();
      await turns.start();
      await jobs.start();
    },

    /** Tells sockets to come back, waits for answers under way, gives the rest back, closes with 1001. */
    drain: async (ms: number): Promise<void> => {
      const end = performance.now() + ms;
      sockets.announceStop();
      await turns.drain(ms);
      while (sockets.isAnswering() && performance.now() < end) await Bun.sleep(10);
      await sockets.stop();
    },
  };
}
