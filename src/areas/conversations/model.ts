// Tables of conversations: the conversations, their messages and files, the turns in which messages are answered,
// chat tokens, and one outcome per ended stretch of talk.

import { sql } from "drizzle-orm";
import {
  boolean,
  date,
  index,
  integer,
  jsonb,
  pgTable,
  smallint,
  text,
  timestamp,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";
import type {
  Channel,
  Citation,
  ContentType,
  FinishReason,
  MessageAttachment,
  MessageType,
  Sender,
  Suggestion,
  Usage,
} from "./responder.ts";

export type ConversationStatus = "active" | "closed" | "archived";
export type ClosedReason = "user" | "bot" | "attendant" | "idle" | "admin";
export type Handler = "bot" | "human";
export type Resolution = "resolved" | "unresolved" | "abandoned";
export type ResolvedBy = "bot" | "attendant" | "user";
export type MessageStatus =
  "queued" | "sent" | "delivered" | "read" | "processing" | "answered" | "failed" | "cancelled";
export type Feedback = "up" | "down";
export type TurnKind = "greeting" | "message" | "regenerate";
export type TurnState = "waiting" | "running" | "answered" | "failed" | "cancelled";

/** Why a turn failed, as it is told to the person. */
export interface TurnFailure {
  code: string;
  message: string;
  details: Record<string, unknown>;
}

const moment = () => timestamp({ withTimezone: true, mode: "date" });

export const conversations = pgTable(
  "conversations",
  {
    id: uuid().primaryKey(),
    botId: uuid().notNull(),
    /** Kept here, because conversations stay readable after their bot is gone. */
    botName: text().notNull(),
    /** Null while anonymous. */
    userId: uuid(),
    channel: text().$type<Channel>().notNull().default("web"),
    title: text(),
    status: text().$type<ConversationStatus>().notNull().default("active"),
    closedReason: text().$type<ClosedReason>(),
    handler: text().$type<Handler>().notNull().default("bot"),
    resolution: text().$type<Resolution>(),
    resolvedBy: text().$type<ResolvedBy>(),
    rating: smallint(),
    ratingComment: text(),
    ratedAt: moment(),
    /** Given out under the lock of this row. */
    lastSeq: integer().notNull().default(0),
    /** The first 200 characters of the newest message. */
    lastMessage: text().notNull().default(""),
    lastActivity: moment().notNull(),
    /** The day (UTC) of `lastActivity`. */
    activityDay: date({ mode: "string" }).notNull(),
    messageCount: integer().notNull().default(0),
    /** Messages of others above `readSeq`. */
    unreadCount: integer().notNull().default(0),
    readSeq: integer().notNull().default(0),
    startedAt: moment().notNull(),
    closedAt: moment(),
    /** Anonymous ones only: when silence closes it. */
    expiresAt: moment(),
    /** Closed anonymous ones: when it is erased. */
    eraseAt: moment(),
    language: text(),
    pinned: boolean().notNull().default(false),
    tags: jsonb().$type<string[]>().notNull().default([]),
    metadata: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    /** Turns that are waiting or running; bounds the queue without counting rows. */
    openTurns: integer().notNull().default(0),
    /** First seq that is in no outcome yet. */
    spanSeq: integer().notNull().default(1),
    /** True while there are such messages. */
    spanOpen: boolean().notNull().default(false),
    /** When a person last took over; null if never. */
    handedOverAt: moment(),
    /** Began without a user and was claimed later. */
    claimedAt: moment(),
    /** Raised by changes that a client makes; the entity tag. */
    version: integer().notNull().default(1),
  },
  (table) => [
    // No column that an ordinary message changes is indexed, so that counting a message stays inside its page (HOT).
    // Lists are ordered by day, then activity: the same order as by activity alone.
    index("conversations_owner").on(table.userId, table.activityDay),
    index("conversations_bot").on(table.botId, table.activityDay),
    index("conversations_day").on(table.activityDay),
    index("conversations_anonymous")
      .on(table.id)
      .where(sql`${table.userId} is null and ${table.status} = 'active'`),
    index("conversations_erase")
      .on(table.eraseAt)
      .where(sql`${table.eraseAt} is not null`),
    index("conversations_span")
      .on(table.id)
      .where(sql`${table.spanOpen}`),
    index("conversations_title").using("gin", sql`to_tsvector('simple', coalesce(${table.title}, ''))`),
  ],
);

export const messages = pgTable(
  "messages",
  {
    id: uuid().primaryKey(),
    conversationId: uuid()
      .notNull()
      .references(() => conversations.id, { onDelete: "cascade" }),
    /** 1, 2, 3 … without gaps in its conversation. */
    seq: integer().notNull(),
    sender: text().$type<Sender>().notNull(),
    senderId: uuid(),
    senderName: text(),
    type: text().$type<MessageType>().notNull().default("text"),
    content: text().notNull(),
    contentType: text().$type<ContentType>().notNull().default("text/markdown"),
    attachments: jsonb().$type<MessageAttachment[]>().notNull().default([]),
    suggestions: jsonb().$type<Suggestion[]>().notNull().default([]),
    citations: jsonb().$type<Citation[]>().notNull().default([]),
    replyTo: uuid(),
    clientId: text(),
    /** Sender and client id, or turn and key: what makes a repeat recognisable. */
    dedupeKey: text(),
    /** The turn that answers this message, or that this message came from. */
    turnId: uuid(),
    status: text().$type<MessageStatus>().notNull(),
    feedback: text().$type<Feedback>(),
    feedbackComment: text(),
    usage: jsonb().$type<Usage>(),
    metadata: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    isComplete: boolean().notNull().default(true),
    finishReason: text().$type<FinishReason>(),
    supersededBy: uuid(),
    createdAt: moment().notNull(),
    editedAt: moment(),
    deletedAt: moment(),
    /** `last_seq` of the conversation when this message was last changed: a resuming client is told again. */
    changedSeq: integer(),
    changedAt: moment(),
  },
  (table) => [
    uniqueIndex("messages_seq").on(table.conversationId, table.seq),
    uniqueIndex("messages_dedupe")
      .on(table.conversationId, table.dedupeKey)
      .where(sql`${table.dedupeKey} is not null`),
    index("messages_text").using("gin", sql`to_tsvector('simple', ${table.content})`),
  ],
);

export const turns = pgTable(
  "turns",
  {
    id: uuid().primaryKey(),
    conversationId: uuid()
      .notNull()
      .references(() => conversations.id, { onDelete: "cascade" }),
    kind: text().$type<TurnKind>().notNull(),
    /** The user's message; null for a greeting. */
    messageId: uuid(),
    /** The message that the answer will become: given at the beginning, so that a take-over keeps it. */
    answerId: uuid().notNull(),
    /** The answer that this one replaces (`regenerate`). */
    supersedes: uuid(),
    /** Order within the conversation. */
    position: integer().notNull(),
    state: text().$type<TurnState>().notNull(),
    /** The instance that answers, while `state` is running. */
    leaseOwner: uuid(),
    leaseUntil: moment(),
    /** How often it was begun; also the fence: an older attempt can store nothing. */
    attempt: integer().notNull().default(0),
    cancelRequested: boolean().notNull().default(false),
    switchers: jsonb().$type<string[]>().notNull().default([]),
    failure: jsonb().$type<TurnFailure>(),
    createdAt: moment().notNull(),
    endedAt: moment(),
  },
  (table) => [
    uniqueIndex("turns_running")
      .on(table.conversationId)
      .where(sql`${table.state} = 'running'`),
    index("turns_open")
      .on(table.conversationId, table.position)
      .where(sql`${table.state} in ('waiting', 'running')`),
    index("turns_conversation").on(table.conversationId),
  ],
);

export const attachments = pgTable(
  "attachments",
  {
    id: uuid().primaryKey(),
    conversationId: uuid()
      .notNull()
      .references(() => conversations.id, { onDelete: "cascade" }),
    /** Null until a message carries it; what stays so vanishes after 24 hours. */
    messageId: uuid(),
    blobId: text().notNull(),
    name: text().notNull(),
    /** As the bytes say. */
    mime: text().notNull(),
    sizeBytes: integer().notNull(),
    sha256: text().notNull(),
    createdAt: moment().notNull(),
  },
  (table) => [
    index("attachments_conversation").on(table.conversationId),
    index("attachments_unused")
      .on(table.createdAt)
      .where(sql`${table.messageId} is null`),
  ],
);

/** Blobs whose rows are gone; deleted from the object store after the commit, or by the sweep. */
export const orphanedBlobs = pgTable("conversation_orphaned_blobs", {
  blobId: text().primaryKey(),
  createdAt: moment().notNull(),
});

export const chatTokens = pgTable(
  "chat_tokens",
  {
    /** Hex SHA-256 of the token. */
    hash: text().primaryKey(),
    conversationId: uuid()
      .notNull()
      .references(() => conversations.id, { onDelete: "cascade" }),
    createdAt: moment().notNull(),
    /** Kept after its end, so that claiming twice is told apart from a wrong token. */
    endedAt: moment(),
  },
  (table) => [index("chat_tokens_conversation").on(table.conversationId)],
);

/** One row per closed conversation or ended span; analytics counts these. Outlives its conversation, without content. */
export const conversationOutcomes = pgTable(
  "conversation_outcomes",
  {
    id: uuid().primaryKey(),
    conversationId: uuid().notNull(),
    botId: uuid().notNull(),
    userId: uuid(),
    channel: text().$type<Channel>().notNull(),
    /** First message of the span. */
    firstSeq: integer().notNull(),
    lastSeq: integer().notNull(),
    startedAt: moment().notNull(),
    endedAt: moment().notNull(),
    /** True if the conversation was closed with it, false if silence ended the span. */
    closed: boolean().notNull(),
    userMessages: integer().notNull(),
    botMessages: integer().notNull(),
    attendantMessages: integer().notNull(),
    firstAnswerMs: integer(),
    medianAnswerMs: integer(),
    handedOver: boolean().notNull(),
    resolution: text().$type<Resolution>(),
    resolvedBy: text().$type<ResolvedBy>(),
    rating: smallint(),
    noAnswerCount: integer().notNull(),
  },
  (table) => [
    uniqueIndex("conversation_outcomes_span").on(table.conversationId, table.firstSeq),
    index("conversation_outcomes_ended").on(table.endedAt),
    index("conversation_outcomes_user").on(table.userId),
  ],
);

export type ConversationRow = typeof conversations.$inferSelect;
export type MessageRow = typeof messages.$inferSelect;
export type TurnRow = typeof turns.$inferSelect;
export type AttachmentRow = typeof attachments.$inferSelect;
export type OutcomeRow = typeof conversationOutcomes.$inferSelect;
