// Conversations themselves: begun, listed, changed, closed, opened again, rated, claimed, erased.

import { and, asc, count, desc, eq, gt, gte, inArray, lt, ne, sql, type SQL } from "drizzle-orm";
import { holds, requirePermission, requireUser, systemContext, type Context } from "../../../core/context.ts";
import {
  conflict,
  forbidden,
  invalid,
  notFound,
  preconditionFailed,
  rateLimited,
  unauthorized,
} from "../../../core/errors.ts";
import type { Database } from "../../../engines/database/index.ts";
import { uuidv7 } from "../../../lib/ids/index.ts";
import {
  attachments,
  conversations,
  messages,
  orphanedBlobs,
  turns as turnRows,
  type ClosedReason,
  type ConversationRow,
  type ConversationStatus,
  type Handler,
  type Resolution,
  type ResolvedBy,
} from "../model.ts";
import { turnConversation, type HeardConversation } from "../present.ts";
import type { Channel, ChatBot, ConversationEvent } from "../responder.ts";
import { cleanMetadata, cleanText, firstCharacters, searchTerms, TITLE_CHARACTERS_MAX } from "../rules.ts";
import type { Rooms } from "../rooms.ts";
import type { Turns } from "../turns.ts";
import type { Access } from "./access.ts";
import type { AfterCommit, ConversationsDeps } from "./deps.ts";
import { dropBlobs } from "./messages.ts";
import type { Outcomes } from "./outcomes.ts";
import type { ChatTokens } from "./tokens.ts";

const RATING_OPEN_MS = 7 * 86_400_000;
/** Closed anonymous conversations are erased after this. */
const ANONYMOUS_KEPT_MS = 7 * 86_400_000;

/** Channel on which ended chat tokens travel: the conversation's id. */
export const CHAT_TOKENS_ENDED = "chat.tokens";

export interface StartInput {
  /** Id or name; null is the default bot. */
  bot: string | null;
  title?: string | undefined;
  language?: string | undefined;
  metadata?: Record<string, unknown> | undefined;
  channel?: Channel | undefined;
  /** A token also for signed-in callers, who hand it to a widget. */
  withToken?: boolean;
}

export interface Started {
  row: ConversationRow;
  bot: ChatBot;
  /** Shown once; null where none was made. */
  token: string | null;
  /** Null where it was greeted before. */
  greetingTurnId: string | null;
}

export interface ConversationFilters {
  bot_id?: string | undefined;
  status?: ConversationStatus | undefined;
  channel?: Channel | undefined;
  handler?: Handler | undefined;
  q?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
  user_id?: string | undefined;
}

export interface ConversationList {
  filters: ConversationFilters;
  sort: "last_activity" | "started_at" | "title";
  order: "asc" | "desc";
  limit: number;
  offset: number;
}

export interface ConversationPatch {
  title?: string | undefined;
  pinned?: boolean | undefined;
  tags?: string[] | undefined;
  language?: string | undefined;
  metadata?: Record<string, unknown> | undefined;
}

export interface ClosingInput {
  resolution?: Resolution | undefined;
  rating?: number | undefined;
  comment?: string | undefined;
}

export interface RatingInput {
  rating: number;
  comment?: string | undefined;
  resolved?: boolean | undefined;
}

export interface ConversationServiceDeps extends ConversationsDeps {
  access: Access;
  rooms: Rooms;
  turns: Turns;
  tokens: ChatTokens;
  outcomes: Outcomes;
}

export type Conversations = ReturnType<typeof conversationService>;

/** Makes the verbs over conversations. */
export function conversationService(deps: ConversationServiceDeps) {
  const { engine, clock, log, audit, events, access, rooms, turns, tokens, outcomes, bots } = deps;
  const { db } = engine;

  const lock = async (tx: Database, id: string): Promise<ConversationRow> => {
    const [row] = await tx.select().from(conversations).where(eq(conversations.id, id)).for("update");
    if (!row) throw notFound("conversation");
    return row;
  };

  const update = async (
    tx: Database,
    id: string,
    set: Partial<typeof conversations.$inferInsert>,
  ): Promise<ConversationRow> => {
    const [row] = await tx
      .update(conversations)
      .set({ ...set, version: sql`${conversations.version} + 1` })
      .where(eq(conversations.id, id))
      .returning();
    if (!row) throw notFound("conversation");
    return row;
  };

  const statusFrame = (id: string, state: string, more: Record<string, unknown> = {}): string =>
    JSON.stringify({ type: "status", state, session_id: id, conversation_id: id, ...more });

  const event = (tx: Database, afterCommit: AfterCommit, row: ConversationRow): ConversationEvent => ({
    conversation: turnConversation(row),
    tx,
    afterCommit,
  });

  const record = (tx: Database, ctx: Context, type: `${string}.${string}`, row: ConversationRow, data = {}) =>
    events.record(tx, ctx, {
      type,
      subject: { area: "conversations", id: row.id },
      ownerId: row.userId,
      data: { conversation_id: row.id, bot_id: row.botId, channel: row.channel, ...data },
    });

  /** The bot, if this caller may talk to it. Throws 404, 403, 409 `bot_inactive`. */
  const usableBot = async (ctx: Context, name: string | null): Promise<ChatBot> => {
    const bot = await bots.find(name);
    if (!bot) throw notFound("bot");
    const right = await bots.access(ctx, bot);
    if (right === "unknown") throw notFound("bot");
    if (right === "forbidden") throw forbidden("bots:use", "bot_not_allowed");
    if (ctx.caller.userId === null && ctx.caller.kind !== "system" && !bot.isDefault && !bot.anonymousAllowed) {
      throw forbidden(null, "bot_not_allowed");
    }
    if (!bot.isActive) throw conflict("bot_inactive", "This bot does not answer at the moment.");
    return bot;
  };

  /**
   * Throws 429 `bot_busy` while as many conversations with the bot are under way as it takes: open ones that were not
   * silent for the session timeout. Until `tx` ends nobody else begins one with it.
   */
  const requireRoom = async (tx: Database, bot: ChatBot): Promise<void> => {
    const { sessionsMax } = bot;
    if (sessionsMax === null) return;
    await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`conversations ${bot.id}`}, 0))`);
    const timeoutMs = bot.sessionTimeoutSeconds * 1000;
    const since = new Date(clock.now() - timeoutMs);
    // The one whose silence makes room, if there are that many.
    const [last] = await tx
      .select({ at: conversations.lastActivity })
      .from(conversations)
      .where(
        and(
          eq(conversations.botId, bot.id),
          eq(conversations.status, "active"),
          gte(conversations.activityDay, since.toISOString().slice(0, 10)),
          gt(conversations.lastActivity, since),
        ),
      )
      .orderBy(desc(conversations.lastActivity))
      .offset(sessionsMax - 1)
      .limit(1);
    if (!last) return;
    throw rateLimited(Math.max(1, Math.ceil((last.at.getTime() + timeoutMs - clock.now()) / 1000)), "bot_busy");
  };

  const title = (text: string): string => {
    const cleaned = cleanText(text).replace(/\s+/g, " ").trim();
    if (cleaned === "") throw invalid([{ path: "title", message: "is empty", expected: "1–200 characters" }]);
    return firstCharacters(cleaned, TITLE_CHARACTERS_MAX);
  };

  const start = async (ctx: Context, input: StartInput): Promise<Started> => {
    if (ctx.caller.kind !== "system") requirePermission(ctx, "chat:write");
    const bot = await usableBot(ctx, input.bot);
    const at = clock.date();
    const { userId } = ctx.caller;
    const isAnonymous = userId === null;
    const id = uuidv7();
    const turn = { id: uuidv7(), answerId: uuidv7() };
    const metadata = input.metadata === undefined ? {} : cleanMetadata(input.metadata);
    const channel = input.channel ?? "web";
    const made = await engine.transaction(async (tx) => {
      await requireRoom(tx, bot);
      const [row] = await tx
        .insert(conversations)
        .values({
          id,
          botId: bot.id,
          botName: bot.name,
          userId,
          channel,
          title: input.title === undefined ? null : title(input.title),
          language: input.language ?? null,
          metadata,
          startedAt: at,
          lastActivity: at,
          activityDay: at.toISOString().slice(0, 10),
          expiresAt:
            isAnonymous && channel === "web" ? new Date(at.getTime() + bot.sessionTimeoutSeconds * 1000) : null,
          openTurns: 1,
        })
        .returning();
      if (!row) throw new Error("no conversation was made");
      await tx
        .insert(turnRows)
        .values({ ...turn, conversationId: id, kind: "greeting", position: 0, createdAt: at, ...turns.firstLease(at) });
      const token = (isAnonymous && channel === "web") || input.withToken === true ? await tokens.mint(tx, id) : null;
      await audit.record(tx, ctx, {
        type: "conversation_started",
        resource: { type: "conversation", id },
        details: { bot_id: bot.id, channel },
      });
      await record(tx, ctx, "conversation.started", row);
      return { row, token };
    });
    turns.begin(
      {
        ...turn,
        conversationId: id,
        kind: "greeting",
        messageId: null,
        attempt: 1,
        switchers: [],
        cancelRequested: false,
      },
      ctx,
    );
    return { ...made, bot, greetingTurnId: turn.id };
  };

  /** Ends tokens and tells every instance, so that sockets which came in with one close. */
  const endTokens = async (tx: Database, afterCommit: AfterCommit, id: string): Promise<void> => {
    await tokens.endAll(tx, id);
    afterCommit(() => deps.cache.publish(CHAT_TOKENS_ENDED, id));
  };

  const rated = (row: ConversationRow, input: { rating: number; comment?: string | undefined }) => {
    if (row.closedAt !== null && clock.now() - row.closedAt.getTime() > RATING_OPEN_MS) {
      throw conflict("rating_closed", "This conversation can no longer be rated.");
    }
    return {
      rating: input.rating,
      ratingComment: input.comment === undefined ? row.ratingComment : cleanText(input.comment),
      ratedAt: clock.date(),
    };
  };

  /** Closes inside `tx`; the row is locked. */
  const closeRow = async (
    tx: Database,
    afterCommit: AfterCommit,
    ctx: Context,
    row: ConversationRow,
    reason: ClosedReason,
    quietMs: number,
    set: Partial<typeof conversations.$inferInsert>,
  ): Promise<ConversationRow> => {
    const at = clock.date();
    await tx
      .update(turnRows)
      .set({ state: "cancelled", endedAt: at, leaseOwner: null, leaseUntil: null })
      .where(and(eq(turnRows.conversationId, row.id), inArray(turnRows.state, ["waiting", "running"])));
    await tx
      .update(messages)
      .set({ status: "cancelled", changedSeq: row.lastSeq, changedAt: at })
      .where(
        and(
          eq(messages.conversationId, row.id),
          eq(messages.sender, "user"),
          inArray(messages.status, ["processing", "delivered"]),
          sql`${messages.turnId} is not null`,
          sql`${messages.seq} > ${row.lastSeq - 40}`,
        ),
      );
    const resolution = set.resolution ?? row.resolution;
    const fallback =
      resolution === null && row.handler === "human" && reason !== "attendant" ? "abandoned" : resolution;
    const closed = await update(tx, row.id, {
      ...set,
      status: set.status ?? "closed",
      closedReason: reason,
      closedAt: at,
      openTurns: 0,
      resolution: fallback,
      eraseAt: row.userId === null && row.channel === "web" ? new Date(at.getTime() + ANONYMOUS_KEPT_MS) : null,
    });
    for (const listener of deps.listeners) await listener.closing?.(event(tx, afterCommit, closed), reason);
    if (closed.spanOpen) await outcomes.write(tx, ctx, closed, true, quietMs);
    else {
      await outcomes.revise(tx, row.id, {
        closed: true,
        ...(closed.resolution === null ? {} : { resolution: closed.resolution, resolvedBy: closed.resolvedBy }),
        ...(closed.rating === null ? {} : { rating: closed.rating }),
      });
    }
    await audit.record(tx, ctx, {
      type: "conversation_closed",
      resource: { type: "conversation", id: row.id },
      details: { reason },
    });
    await record(tx, ctx, "conversation.closed", closed, { reason, resolution: closed.resolution });
    afterCommit(() => rooms.frame(row.id, statusFrame(row.id, "closed", { closed_reason: reason })));
    return closed;
  };

  /** The bot's session timeout, looked up before a transaction begins. */
  const quietOf = async (id: string): Promise<number> => outcomes.timeoutMs((await access.find(id))?.botId ?? "");

  const resolvedByOf = (reason: ClosedReason): ResolvedBy => (reason === "attendant" ? "attendant" : "user");

  /** Closes an open conversation; one that is closed already is returned as it is, a rating given now included. */
  const close = async (
    ctx: Context,
    id: string,
    reason: ClosedReason,
    input: ClosingInput = {},
    set: Partial<typeof conversations.$inferInsert> = {},
  ): Promise<ConversationRow> => {
    await turns.cancelAll(id);
    const quietMs = await quietOf(id);
    return engine.transaction(async (tx, afterCommit) => {
      const row = await lock(tx, id);
      const rating = input.rating === undefined ? {} : rated(row, { ...input, rating: input.rating });
      const resolution =
        input.resolution === undefined ? {} : { resolution: input.resolution, resolvedBy: resolvedByOf(reason) };
      if (row.status === "active") {
        const closed = await closeRow(tx, afterCommit, ctx, row, reason, quietMs, { ...resolution, ...rating, ...set });
        if (input.rating !== undefined) await record(tx, ctx, "conversation.rated", closed, { rating: input.rating });
        return closed;
      }
      if (input.rating === undefined && input.resolution === undefined && Object.keys(set).length === 0) return row;
      const changed = await update(tx, id, { ...resolution, ...rating, ...set });
      await outcomes.revise(tx, id, {
        ...(input.rating === undefined ? {} : { rating: input.rating }),
        ...(input.resolution === undefined ? {} : resolution),
      });
      if (input.rating !== undefined) await record(tx, ctx, "conversation.rated", changed, { rating: input.rating });
      return changed;
    });
  };

  /** Deletes rows inside `tx`, with everything that hangs on them; returns blobs to be dropped after the commit. */
  const eraseRow = async (tx: Database, afterCommit: AfterCommit, row: ConversationRow): Promise<string[]> => {
    for (const listener of deps.listeners) await listener.erasing?.(event(tx, afterCommit, row));
    const files = await tx
      .select({ blobId: attachments.blobId })
      .from(attachments)
      .where(eq(attachments.conversationId, row.id));
    const blobs = files.map(({ blobId }) => blobId);
    if (blobs.length > 0) {
      const at = clock.date();
      await tx
        .insert(orphanedBlobs)
        .values(blobs.map((blobId) => ({ blobId, createdAt: at })))
        .onConflictDoNothing();
    }
    await outcomes.forget(tx, [row.id]);
    await tx.delete(conversations).where(eq(conversations.id, row.id));
    afterCommit(async () => {
      rooms.frame(row.id, statusFrame(row.id, "closed", { closed_reason: "deleted" }));
      await deps.cache.publish(CHAT_TOKENS_ENDED, row.id);
    });
    return blobs;
  };

  const conditionsOf = (ctx: Context, filters: ConversationFilters): SQL[] => {
    const own = requireUser(ctx);
    const whose = filters.user_id ?? own;
    if (whose !== own && !holds(ctx.caller, "conversations:read")) throw forbidden("conversations:read");
    const all: SQL[] = [eq(conversations.userId, whose)];
    all.push(
      filters.status === undefined ? ne(conversations.status, "archived") : eq(conversations.status, filters.status),
    );
    if (filters.bot_id !== undefined) all.push(eq(conversations.botId, filters.bot_id));
    if (filters.channel !== undefined) all.push(eq(conversations.channel, filters.channel));
    if (filters.handler !== undefined) all.push(eq(conversations.handler, filters.handler));
    if (filters.from !== undefined) all.push(gte(conversations.lastActivity, new Date(filters.from)));
    if (filters.to !== undefined) all.push(lt(conversations.lastActivity, new Date(filters.to)));
    if (filters.q !== undefined) {
      const terms = searchTerms(filters.q);
      all.push(
        terms === null
          ? sql`false`
          : sql`(to_tsvector('simple', coalesce(${conversations.title}, '')) @@ to_tsquery('simple', ${terms})
              or ${conversations.id} in (
                select ${messages.conversationId} from ${messages}
                where to_tsvector('simple', ${messages.content}) @@ to_tsquery('simple', ${terms})))`,
      );
    }
    return all;
  };

  return {
    start,
    usableBot,

    /** The caller's own conversations, or another person's with `conversations:read`, which is audited. */
    list: async (ctx: Context, query: ConversationList): Promise<{ rows: ConversationRow[]; total: number }> => {
      requirePermission(ctx, "chat:read");
      const where = and(...conditionsOf(ctx, query.filters));
      if (query.filters.user_id !== undefined && query.filters.user_id !== ctx.caller.userId) {
        await audit.record(db, ctx, {
          type: "data_access",
          action: "conversations_listed",
          resource: { type: "user", id: query.filters.user_id },
        });
      }
      const direction = query.order === "asc" ? asc : desc;
      const columns = {
        last_activity: [direction(conversations.activityDay), direction(conversations.lastActivity)],
        started_at: [direction(conversations.startedAt)],
        title: [direction(sql`lower(coalesce(${conversations.title}, ''))`)],
      }[query.sort];
      const [counted] = await db.select({ total: count() }).from(conversations).where(where);
      const rows = await db
        .select()
        .from(conversations)
        .where(where)
        .orderBy(...columns, direction(conversations.id))
        .limit(query.limit)
        .offset(query.offset);
      return { rows, total: counted?.total ?? 0 };
    },

    get: async (ctx: Context, id: string): Promise<ConversationRow> =>
      (await access.reader(ctx, id, "conversation_read")).row,

    /** Changes what the owner may change; `ifMatch` is the version that the caller knows. */
    update: async (
      ctx: Context,
      id: string,
      patch: ConversationPatch,
      ifMatch: number | null,
    ): Promise<ConversationRow> => {
      const known = await access.owner(ctx, id);
      const set: Partial<typeof conversations.$inferInsert> = {};
      if (patch.title !== undefined) set.title = title(patch.title);
      if (patch.pinned !== undefined) set.pinned = patch.pinned;
      if (patch.tags !== undefined) {
        set.tags = [...new Set(patch.tags.map((tag) => cleanText(tag).trim()).filter((tag) => tag !== ""))];
      }
      if (patch.language !== undefined) set.language = patch.language;
      if (patch.metadata !== undefined) set.metadata = cleanMetadata(patch.metadata);
      return engine.transaction(async (tx) => {
        const row = await lock(tx, known.id);
        if (ifMatch !== null && row.version !== ifMatch) throw preconditionFailed();
        if (Object.keys(set).length === 0) return row;
        const changed = await update(tx, row.id, set);
        await audit.record(tx, ctx, {
          type: "conversation_updated",
          resource: { type: "conversation", id: row.id },
          details: { fields: Object.keys(set) },
        });
        return changed;
      });
    },

    /** Erases a conversation and all that hangs on it. */
    remove: async (ctx: Context, id: string): Promise<void> => {
      const { row } = await access.ownerOrAdmin(ctx, id, "chat:write");
      await turns.cancelAll(row.id);
      const blobs = await engine.transaction(async (tx, afterCommit) => {
        const locked = await lock(tx, row.id);
        await audit.record(tx, ctx, {
          type: "conversation_deleted",
          resource: { type: "conversation", id: row.id },
          details: { owner_id: row.userId, messages: locked.messageCount },
        });
        return eraseRow(tx, afterCommit, locked);
      });
      await dropBlobs(deps, blobs);
    },

    /** By its owner or the attendant who has it; a closed one is returned as it is. */
    close: async (ctx: Context, id: string, input: ClosingInput): Promise<ConversationRow> => {
      const { row, part } = await access.speaker(ctx, id);
      return close(ctx, row.id, part === "attendant" ? "attendant" : "user", input);
    },

    /** By a script, an administrator or a sweep. */
    closeAs: (ctx: Context, id: string, reason: ClosedReason, input: ClosingInput = {}): Promise<ConversationRow> =>
      close(ctx, id, reason, input),

    /** Closes and ends the chat tokens; the history stays. */
    end: async (ctx: Context, id: string): Promise<void> => {
      const row = await access.owner(ctx, id);
      await close(ctx, row.id, "user");
      await engine.transaction((tx, afterCommit) => endTokens(tx, afterCommit, row.id));
    },

    reopen: async (ctx: Context, id: string): Promise<ConversationRow> => {
      const known = await access.owner(ctx, id);
      const bot = await bots.find(known.botId);
      return engine.transaction(async (tx, afterCommit) => {
        const row = await lock(tx, known.id);
        const at = clock.date();
        const isExpired = row.expiresAt !== null && row.expiresAt <= at;
        if (row.status === "active" && !isExpired) return row;
        if (row.userId === null && (isExpired || row.closedReason === "idle" || !(await tokens.hasLive(tx, row.id)))) {
          throw conflict("conversation_expired", "This conversation has expired.");
        }
        if (bot) await requireRoom(tx, bot);
        const opened = await update(tx, row.id, {
          status: "active",
          closedReason: null,
          closedAt: null,
          eraseAt: null,
          resolution: null,
          resolvedBy: null,
          lastActivity: at,
          activityDay: at.toISOString().slice(0, 10),
          expiresAt:
            row.userId === null && row.channel === "web"
              ? new Date(at.getTime() + (bot?.sessionTimeoutSeconds ?? 1800) * 1000)
              : null,
        });
        await audit.record(tx, ctx, {
          type: "conversation_reopened",
          resource: { type: "conversation", id: row.id },
        });
        afterCommit(() => rooms.frame(row.id, statusFrame(row.id, "reopened")));
        return opened;
      });
    },

    archive: async (ctx: Context, id: string): Promise<ConversationRow> => {
      const row = await access.owner(ctx, id);
      return row.status === "archived" ? row : close(ctx, row.id, "user", {}, { status: "archived" });
    },

    unarchive: async (ctx: Context, id: string): Promise<ConversationRow> => {
      const known = await access.owner(ctx, id);
      return engine.transaction(async (tx) => {
        const row = await lock(tx, known.id);
        if (row.status === "closed") return row;
        if (row.status !== "archived") throw conflict("not_archived");
        const changed = await update(tx, row.id, { status: "closed" });
        await audit.record(tx, ctx, {
          type: "conversation_updated",
          resource: { type: "conversation", id: row.id },
          details: { fields: ["status"] },
        });
        return changed;
      });
    },

    rate: async (ctx: Context, id: string, input: RatingInput): Promise<ConversationRow> => {
      const known = await access.owner(ctx, id);
      return engine.transaction(async (tx) => {
        const row = await lock(tx, known.id);
        const set = {
          ...rated(row, input),
          ...(input.resolved === undefined
            ? {}
            : { resolution: (input.resolved ? "resolved" : "unresolved") as Resolution, resolvedBy: "user" as const }),
        };
        const changed = await update(tx, row.id, set);
        // What is still open is counted with its own end.
        if (!row.spanOpen) {
          await outcomes.revise(tx, row.id, {
            rating: input.rating,
            ...(input.resolved === undefined ? {} : { resolution: changed.resolution, resolvedBy: "user" as const }),
          });
        }
        await audit.record(tx, ctx, {
          type: "conversation_updated",
          resource: { type: "conversation", id: row.id },
          details: { fields: ["rating"] },
        });
        await record(tx, ctx, "conversation.rated", changed, { rating: input.rating, resolution: changed.resolution });
        return changed;
      });
    },

    /** An anonymous conversation becomes the caller's; its token ends. Throws 404, 409 `already_claimed`. */
    claim: async (ctx: Context, id: string, token: string): Promise<ConversationRow> => {
      const userId = requireUser(ctx);
      requirePermission(ctx, "chat:write");
      const origin = await tokens.origin(db, token);
      if (!origin || origin.conversationId !== id.toLowerCase()) throw notFound("conversation");
      if (origin.isEnded && (await access.find(id))?.userId === null) {
        throw conflict("conversation_expired", "This conversation has expired.");
      }
      return claimRow(ctx, userId, origin.conversationId);
    },

    /** The same for a socket that came in without an account; its own conversation already is returned as it is. */
    claimOpen: async (ctx: Context, id: string): Promise<ConversationRow> => {
      const userId = requireUser(ctx);
      requirePermission(ctx, "chat:write");
      const row = await access.find(id);
      if (!row) throw notFound("conversation");
      return row.userId === userId ? row : claimRow(ctx, userId, row.id);
    },

    /** Gives a conversation to a person or back to the bot; for attendance. Part of the caller's transaction. */
    setHandler: async (
      tx: Database,
      afterCommit: AfterCommit,
      ctx: Context,
      id: string,
      handler: Handler,
      shown: { queue_position: number | null; attendant: { id: string; name: string } | null },
      resolution: { resolution: Resolution; resolvedBy: ResolvedBy } | null = null,
    ): Promise<ConversationRow> => {
      const row = await lock(tx, id);
      const changed = await update(tx, id, {
        handler,
        ...(handler === "human" && row.handler === "bot" ? { handedOverAt: clock.date() } : {}),
        ...resolution,
      });
      if (handler === "human" && row.handler === "bot") await record(tx, ctx, "conversation.handed_over", changed);
      afterCommit(() => rooms.frame(id, statusFrame(id, "handler", { handler, ...shown })));
      return changed;
    },

    /** A token for a conversation of the caller, to be handed to a widget. */
    mintToken: async (ctx: Context, id: string): Promise<string> => {
      const row = await access.owner(ctx, id);
      return tokens.mint(db, row.id);
    },

    /** Of the caller: the most recently active open one with that bot, or a new one. */
    currentOrNew: async (
      ctx: Context,
      name: string | null,
    ): Promise<{ row: HeardConversation; bot: ChatBot; started: Started | null }> => {
      const { userId } = ctx.caller;
      if (userId === null) throw unauthorized();
      const bot = await usableBot(ctx, name);
      const row = await access.heard(userId, bot.id);
      if (row) return { row, bot, started: null };
      const started = await start(ctx, { bot: bot.id });
      return { row: started.row, bot, started };
    },

    /** Closes anonymous conversations that have fallen silent, and erases closed ones whose time is over. */
    sweepAnonymous: async (limit: number): Promise<void> => {
      const ctx = systemContext(["*"], "sweep");
      const at = clock.date();
      const silent = await db
        .select({ id: conversations.id })
        .from(conversations)
        .where(
          and(
            sql`${conversations.userId} is null`,
            eq(conversations.status, "active"),
            sql`${conversations.expiresAt} <= ${at}`,
          ),
        )
        .limit(limit);
      for (const { id } of silent) {
        await turns.cancelAll(id);
        const quietMs = await quietOf(id);
        await engine.transaction(async (tx, afterCommit) => {
          const [row] = await tx.select().from(conversations).where(eq(conversations.id, id)).for("update");
          const isSilent = row?.expiresAt instanceof Date && row.expiresAt <= clock.date();
          if (!row || row.status !== "active" || row.userId !== null || !isSilent) return;
          await closeRow(tx, afterCommit, ctx, row, "idle", quietMs, {});
          await endTokens(tx, afterCommit, id);
        });
      }
      // Closed by the person: the token works until the conversation would have fallen silent.
      const over = await db
        .select({ id: conversations.id })
        .from(conversations)
        .where(
          and(
            sql`${conversations.userId} is null`,
            ne(conversations.status, "active"),
            sql`${conversations.eraseAt} <= ${at}`,
          ),
        )
        .limit(limit);
      for (const { id } of over) await eraseById(id);
    },

    /** Erases conversations with bots that keep them for a while only. */
    sweepRetention: async (limit: number): Promise<void> => {
      const used = await db.selectDistinct({ botId: conversations.botId }).from(conversations);
      for (const { botId } of used) {
        const days = (await bots.find(botId))?.retentionDays ?? 0;
        if (days <= 0) continue;
        const before = new Date(clock.now() - days * 86_400_000);
        const due = await db
          .select({ id: conversations.id })
          .from(conversations)
          .where(
            and(
              eq(conversations.botId, botId),
              sql`${conversations.activityDay} <= ${before.toISOString().slice(0, 10)}`,
              lt(conversations.lastActivity, before),
            ),
          )
          .limit(limit);
        for (const { id } of due) await eraseById(id);
      }
    },

    eraseById,

    /** All conversations with a bot, inside the caller's transaction; blobs are left to the sweep. */
    eraseOfBot: async (tx: Database, botId: string): Promise<void> => {
      const rows = await tx.select().from(conversations).where(eq(conversations.botId, botId));
      for (const row of rows) await eraseRow(tx, (action) => later(action), row);
    },

    /** All conversations of a person, inside the caller's transaction; blobs are left to the sweep. */
    eraseOfUser: async (tx: Database, userId: string): Promise<void> => {
      const rows = await tx.select().from(conversations).where(eq(conversations.userId, userId));
      for (const row of rows) await eraseRow(tx, (action) => later(action), row);
    },
  };

  async function claimRow(ctx: Context, userId: string, id: string): Promise<ConversationRow> {
    const known = await access.find(id);
    const bot = known === null ? null : await bots.find(known.botId);
    if (bot && (await bots.access(ctx, bot)) !== "allowed") throw forbidden("bots:use", "bot_not_allowed");
    return engine.transaction(async (tx, afterCommit) => {
      const row = await lock(tx, id);
      if (row.userId !== null) throw conflict("already_claimed", "This conversation belongs to an account already.");
      const changed = await update(tx, row.id, { userId, claimedAt: clock.date(), expiresAt: null, eraseAt: null });
      await tx
        .update(messages)
        .set({ senderId: userId, senderName: ctx.caller.username })
        .where(and(eq(messages.conversationId, row.id), eq(messages.sender, "user")));
      await outcomes.claimed(tx, row.id, userId);
      for (const listener of deps.listeners) await listener.claimed?.(event(tx, afterCommit, changed), userId);
      await audit.record(tx, ctx, {
        type: "conversation_claimed",
        resource: { type: "conversation", id: row.id },
      });
      await endTokens(tx, afterCommit, row.id);
      return changed;
    });
  }

  async function eraseById(id: string): Promise<void> {
    await turns.cancelAll(id);
    const blobs = await engine.transaction(async (tx, afterCommit) => {
      const [row] = await tx.select().from(conversations).where(eq(conversations.id, id)).for("update");
      return row ? eraseRow(tx, afterCommit, row) : [];
    });
    await dropBlobs(deps, blobs);
  }

  /** Word to sockets about what a foreign transaction erases; early word does no harm, a lost one neither. */
  function later(action: () => void | Promise<void>): void {
    setTimeout(() => {
      Promise.resolve(action()).catch((error: unknown) => log.debug("sockets were not told", { error }));
    }, 1_000);
  }
}
