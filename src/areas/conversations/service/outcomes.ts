// Outcomes: one row per ended stretch of talk, from which analytics counts. A stretch ends when the conversation is
// closed, or when nothing was said for the bot's session timeout.

import { and, asc, desc, eq, gte, inArray, lt, sql } from "drizzle-orm";
import type { Context } from "../../../core/context.ts";
import type { Database } from "../../../engines/database/index.ts";
import { uuidv7 } from "../../../lib/ids/index.ts";
import { conversationOutcomes, conversations, messages, type ConversationRow } from "../model.ts";
import { resolutionOf, spansOf, type Span } from "../rules.ts";
import type { ConversationsDeps } from "./deps.ts";

const DEFAULT_TIMEOUT_SECONDS = 1800;

export type Outcomes = ReturnType<typeof outcomeService>;

/** Makes the verbs over outcomes. */
export function outcomeService(
  deps: Pick<ConversationsDeps, "engine" | "clock" | "bots" | "events" | "isEventWanted">,
) {
  const { engine, clock, bots } = deps;

  const timeoutMs = async (botId: string): Promise<number> =>
    ((await bots.find(botId))?.sessionTimeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS) * 1000;

  const spans = async (tx: Database, row: ConversationRow, quietMs: number): Promise<Span[]> => {
    const rows = await tx
      .select({
        seq: messages.seq,
        sender: messages.sender,
        createdAt: messages.createdAt,
        noAnswer: sql<boolean>`coalesce(${messages.metadata} ->> 'no_answer' = 'true', false)`,
      })
      .from(messages)
      .where(and(eq(messages.conversationId, row.id), gte(messages.seq, row.spanSeq)))
      .orderBy(asc(messages.seq));
    return spansOf(
      rows.map(({ seq, sender, createdAt, noAnswer }) => ({ seq, sender, noAnswer, at: createdAt.getTime() })),
      quietMs,
    );
  };

  /**
   * Writes the outcomes of everything that is in none yet; `closed` tells that the conversation ends with the last,
   * `quietMs` is the bot's `timeoutMs`.
   */
  const write = async (
    tx: Database,
    ctx: Context,
    row: ConversationRow,
    closed: boolean,
    quietMs: number,
  ): Promise<void> => {
    const ended = row.spanOpen ? await spans(tx, row, quietMs) : [];
    for (const [i, span] of ended.entries()) {
      const isLast = i === ended.length - 1;
      const isClosed = closed && isLast;
      const isRated = row.ratedAt !== null && row.ratedAt.getTime() >= span.startedAt && isLast;
      const takenOver = row.handedOverAt?.getTime() ?? Number.NaN;
      await tx
        .insert(conversationOutcomes)
        .values({
          id: uuidv7(),
          conversationId: row.id,
          botId: row.botId,
          userId: row.userId,
          channel: row.channel,
          firstSeq: span.firstSeq,
          lastSeq: span.lastSeq,
          startedAt: new Date(span.startedAt),
          endedAt: isClosed ? (row.closedAt ?? clock.date()) : new Date(span.endedAt),
          closed: isClosed,
          userMessages: span.userMessages,
          botMessages: span.botMessages,
          attendantMessages: span.attendantMessages,
          firstAnswerMs: span.firstAnswerMs,
          medianAnswerMs: span.medianAnswerMs,
          handedOver:
            span.attendantMessages > 0 || (takenOver >= span.startedAt && (isClosed || takenOver <= span.endedAt)),
          resolution: resolutionOf(isLast ? row.resolution : null, row.handler, isClosed, span),
          resolvedBy: isLast ? row.resolvedBy : null,
          rating: isRated ? row.rating : null,
          noAnswerCount: span.noAnswerCount,
        })
        .onConflictDoNothing();
      if (span.userMessages > 0) {
        await deps.events.record(tx, ctx, {
          type: "conversation.completed",
          subject: { area: "conversations", id: row.id },
          ownerId: row.userId,
          data: { conversation_id: row.id, bot_id: row.botId, channel: row.channel, closed: isClosed },
        });
      }
    }
    if (row.spanOpen) {
      await tx
        .update(conversations)
        .set({ spanOpen: false, spanSeq: row.lastSeq + 1 })
        .where(eq(conversations.id, row.id));
    }
  };

  return {
    write,
    timeoutMs,

    /** Brings what was said about an ended conversation into its last outcome: a rating or resolution that came later. */
    revise: async (
      tx: Database,
      conversationId: string,
      set: Partial<Pick<typeof conversationOutcomes.$inferInsert, "rating" | "resolution" | "resolvedBy" | "closed">>,
    ): Promise<void> => {
      const [last] = await tx
        .select({ id: conversationOutcomes.id })
        .from(conversationOutcomes)
        .where(eq(conversationOutcomes.conversationId, conversationId))
        .orderBy(desc(conversationOutcomes.firstSeq))
        .limit(1);
      if (last && Object.keys(set).length > 0) {
        await tx.update(conversationOutcomes).set(set).where(eq(conversationOutcomes.id, last.id));
      }
    },

    /** Ends the spans of conversations that have fallen silent; returns how many conversations it looked at. */
    sweep: async (ctx: Context, limit: number): Promise<number> => {
      const silent = await engine.db
        .selectDistinct({ botId: conversations.botId })
        .from(conversations)
        .where(and(conversations.spanOpen, lt(conversations.lastActivity, new Date(clock.now() - 1_000))));
      let seen = 0;
      for (const { botId } of silent) {
        const quietMs = await timeoutMs(botId);
        const before = new Date(clock.now() - quietMs);
        const due = await engine.db
          .select({ id: conversations.id })
          .from(conversations)
          .where(and(conversations.spanOpen, eq(conversations.botId, botId), lt(conversations.lastActivity, before)))
          .limit(limit);
        for (const { id } of due) {
          await engine.transaction(async (tx) => {
            const [row] = await tx.select().from(conversations).where(eq(conversations.id, id)).for("update");
            // Somebody may have spoken while we came here.
            if (row?.spanOpen && row.lastActivity < before) await write(tx, ctx, row, false, quietMs);
          });
        }
        seen += due.length;
      }
      return seen;
    },

    /** Keeps the counts and drops the person. */
    forget: async (tx: Database, conversationIds: readonly string[]): Promise<void> => {
      if (conversationIds.length === 0) return;
      await tx
        .update(conversationOutcomes)
        .set({ userId: null })
        .where(inArray(conversationOutcomes.conversationId, [...conversationIds]));
    },

    /** The conversation's outcomes now belong to whoever claimed it. */
    claimed: async (tx: Database, conversationId: string, userId: string): Promise<void> => {
      await tx
        .update(conversationOutcomes)
        .set({ userId })
        .where(eq(conversationOutcomes.conversationId, conversationId));
    },
  };
}
