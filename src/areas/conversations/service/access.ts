// Who may do what with a conversation: its owner, the bearer of its chat token, the attendant who has it, and holders
// of the `conversations` permissions. Whoever may not know of it hears that there is none.

import { and, desc, eq } from "drizzle-orm";
import { holds, type Context } from "../../../core/context.ts";
import { forbidden, notFound } from "../../../core/errors.ts";
import { isUuid } from "../../../lib/ids/index.ts";
import { conversations, type ConversationRow } from "../model.ts";
import type { HeardConversation } from "../present.ts";
import type { ConversationsDeps } from "./deps.ts";

/** As whom somebody speaks or acts in a conversation. */
export type Part = "owner" | "attendant" | "admin" | "reader";

export interface Standing {
  row: ConversationRow;
  part: Part;
}

const HEARD = `select id, bot_name, channel, title, handler, language, started_at, metadata, last_seq from conversations
  where user_id = $1 and bot_id = $2 and status = 'active' order by activity_day desc, last_activity desc, id desc limit 1`;

interface HeardRow extends Record<string, unknown> {
  id: string;
  bot_name: string;
  channel: ConversationRow["channel"];
  title: string | null;
  handler: ConversationRow["handler"];
  language: string | null;
  started_at: Date;
  metadata: Record<string, unknown>;
  last_seq: number;
}

const isSystem = (ctx: Context): boolean => ctx.caller.kind === "system";

/** True for the signed-in owner and for the bearer of the conversation's chat token. */
export function isOwner(ctx: Context, row: Pick<ConversationRow, "id" | "userId">): boolean {
  const { caller } = ctx;
  if (caller.kind === "chat") return caller.conversationId === row.id;
  return caller.userId !== null && caller.userId === row.userId;
}

export type Access = ReturnType<typeof conversationAccess>;

/** Makes the checks. */
export function conversationAccess(deps: Pick<ConversationsDeps, "engine" | "audit" | "attendance">) {
  const { engine, audit } = deps;

  const find = async (id: string): Promise<ConversationRow | null> => {
    if (!isUuid(id)) return null;
    const [row] = await engine.db.select().from(conversations).where(eq(conversations.id, id));
    return row ?? null;
  };

  const existing = async (id: string): Promise<ConversationRow> => {
    const row = await find(id);
    if (!row) throw notFound("conversation");
    return row;
  };

  /** The owner's own right; a chat token has it by itself. */
  const requireOwn = (ctx: Context, word: "chat:read" | "chat:write"): void => {
    if (ctx.caller.kind !== "chat" && !holds(ctx.caller, word)) throw forbidden(word);
  };

  const mayRead = (ctx: Context): boolean =>
    ctx.caller.kind !== "chat" && (holds(ctx.caller, "conversations:read") || holds(ctx.caller, "conversations:admin"));

  const isAssigned = async (ctx: Context, row: ConversationRow): Promise<boolean> =>
    ctx.caller.userId !== null &&
    holds(ctx.caller, "conversations:respond") &&
    deps.attendance !== null &&
    (await deps.attendance.isAssigned(ctx.caller.userId, row.id));

  const noteRead = async (ctx: Context, row: ConversationRow, what: string): Promise<void> => {
    await audit.record(engine.db, ctx, {
      type: "data_access",
      action: what,
      resource: { type: "conversation", id: row.id },
      details: { owner_id: row.userId },
    });
  };

  /** 404 for strangers, 403 for those who may see it but not do `required`. */
  const refuse = (ctx: Context, required: string): Error =>
    mayRead(ctx) ? forbidden(required) : notFound("conversation");

  return {
    find,

    /** For reading. Another person's conversation leaves an audit entry with `what` was read. */
    reader: async (ctx: Context, id: string, what: string): Promise<Standing> => {
      const row = await existing(id);
      if (isOwner(ctx, row)) {
        requireOwn(ctx, "chat:read");
        return { row, part: "owner" };
      }
      if (isSystem(ctx)) return { row, part: "admin" };
      if (!mayRead(ctx)) {
        // The attendant who has it reads it as part of the work.
        if (await isAssigned(ctx, row)) return { row, part: "attendant" };
        throw notFound("conversation");
      }
      await noteRead(ctx, row, what);
      return { row, part: "reader" };
    },

    /** For changing what only the owner changes. */
    owner: async (ctx: Context, id: string): Promise<ConversationRow> => {
      const row = await existing(id);
      if (!isOwner(ctx, row)) throw refuse(ctx, "chat:write");
      requireOwn(ctx, "chat:write");
      return row;
    },

    /** For saying something: the owner, or the attendant who has it. */
    speaker: async (ctx: Context, id: string): Promise<Standing> => {
      const row = await existing(id);
      if (isOwner(ctx, row)) {
        requireOwn(ctx, "chat:write");
        return { row, part: "owner" };
      }
      if (await isAssigned(ctx, row)) return { row, part: "attendant" };
      throw refuse(ctx, "conversations:respond");
    },

    /** For what the owner may do, and holders of `conversations:admin` in anybody's. */
    ownerOrAdmin: async (ctx: Context, id: string, word: "chat:read" | "chat:write"): Promise<Standing> => {
      const row = await existing(id);
      if (isOwner(ctx, row)) {
        requireOwn(ctx, word);
        return { row, part: "owner" };
      }
      if (isSystem(ctx) || (ctx.caller.kind !== "chat" && holds(ctx.caller, "conversations:admin"))) {
        return { row, part: "admin" };
      }
      throw refuse(ctx, "conversations:admin");
    },

    noteRead,

    /** The same with one bot and only what listening needs: every connecting socket asks, so it is a plain text. */
    heard: async (userId: string, botId: string): Promise<HeardConversation | null> => {
      const [row] = await engine.query<HeardRow>(HEARD, [userId, botId]);
      if (!row) return null;
      return {
        id: row.id,
        botId,
        botName: row.bot_name,
        userId,
        channel: row.channel,
        title: row.title,
        handler: row.handler,
        language: row.language,
        startedAt: row.started_at,
        metadata: row.metadata,
        lastSeq: row.last_seq,
      };
    },

    /** The caller's most recently active open conversation, with one bot if it is named; null if there is none. */
    current: async (ctx: Context, botId: string | null): Promise<ConversationRow | null> => {
      const { caller } = ctx;
      if (caller.kind === "chat") return caller.conversationId === null ? null : find(caller.conversationId);
      if (caller.userId === null) return null;
      const [row] = await engine.db
        .select()
        .from(conversations)
        .where(
          and(
            eq(conversations.userId, caller.userId),
            eq(conversations.status, "active"),
            botId === null ? undefined : eq(conversations.botId, botId),
          ),
        )
        .orderBy(desc(conversations.activityDay), desc(conversations.lastActivity), desc(conversations.id))
        .limit(1);
      return row ?? null;
    },
  };
}
