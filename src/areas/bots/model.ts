// Tables of bots: the bots themselves, their settings, what they remember, and the live state of a conversation
// with one (session context). Packages, dialogs and channels have tables of their own.

import { sql } from "drizzle-orm";
import {
  bigint,
  boolean,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  timestamp,
  unique,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";
import { conversations } from "../conversations/model.ts";

const moment = (name: string) => timestamp(name, { withTimezone: true, mode: "date" });
const words = (name: string) =>
  text(name)
    .array()
    .notNull()
    .default(sql`'{}'::text[]`);

export type BotVisibility = "organization" | "public" | "private" | "admin";
export type BotStatus = "active" | "inactive" | "restarting" | "error";
export type AnswerMode = "direct" | "document" | "tool" | "chart";
export type MemoryKind = "preference" | "fact" | "context";

/** What the running generation of a bot consists of. */
export interface LoadedParts {
  dialogs: number;
  tools: number;
  schedules: number;
}

/** A fault that was found while a package was loaded. */
export interface PackageProblem {
  file: string;
  line: number | null;
  column: number | null;
  severity: "error" | "warning";
  message: string;
}

export interface LastRestart {
  at: string;
  by: string | null;
  result: "ok" | "failed";
  duration_ms: number;
}

export interface Suggestion {
  label: string;
  value: string;
}

/** A switch of a conversation that adds its instruction to the prompt while it is on. */
export interface Switcher extends Record<string, unknown> {
  id: string;
  label: string;
  color: string | null;
  active: boolean;
}

export const bots = pgTable(
  "bots",
  {
    id: uuid("id").primaryKey(),
    /** Fixed for life: it names the bucket and the address. */
    name: text("name").notNull(),
    displayName: text("display_name").notNull(),
    description: text("description").notNull().default(""),
    avatarUrl: text("avatar_url"),
    language: text("language").notNull().default("en"),
    /** Null: not tied to an organization. */
    organizationId: uuid("organization_id"),
    visibility: text("visibility").$type<BotVisibility>().notNull().default("organization"),
    anonymousAllowed: boolean("anonymous_allowed").notNull().default(false),
    allowedRoles: words("allowed_roles"),
    /** Ids. */
    allowedGroups: words("allowed_groups"),
    /** Ids. */
    allowedUsers: words("allowed_users"),
    /** Ids; stronger than everything that lets in. */
    deniedUsers: words("denied_users"),
    /** What the bot's service identity may do in schedules and event handlers. */
    systemPermissions: words("system_permissions"),
    /** Null: no bound. */
    maxConcurrentSessions: integer("max_concurrent_sessions"),
    status: text("status").$type<BotStatus>().notNull().default("active"),
    /** Grows with every change of the package. */
    version: integer("version").notNull().default(0),
    /** Grows with every load. */
    generation: integer("generation").notNull().default(1),
    /** SHA-256 over the package's parts; null while it is empty. */
    packageSha256: text("package_sha256"),
    loaded: jsonb("loaded").$type<LoadedParts>().notNull().default({ dialogs: 0, tools: 0, schedules: 0 }),
    problems: jsonb("problems").$type<PackageProblem[]>().notNull().default([]),
    brokenScripts: words("broken_scripts"),
    lastRestart: jsonb("last_restart").$type<LastRestart>(),
    createdBy: uuid("created_by"),
    createdAt: moment("created_at").notNull().defaultNow(),
    updatedAt: moment("updated_at").notNull().defaultNow(),
    /** Restorable for 30 days from here; then erased. */
    deletedAt: moment("deleted_at"),
    deletedBy: uuid("deleted_by"),
    /** What its deletion said about the conversations with it. */
    conversationsOnErase: text("conversations_on_erase").$type<"keep" | "delete">().notNull().default("keep"),
  },
  (table) => [
    uniqueIndex("bots_name")
      .on(table.name)
      .where(sql`deleted_at is null`),
    index("bots_deleted")
      .on(table.deletedAt)
      .where(sql`deleted_at is not null`),
  ],
);

/** Settings that differ from the built-in ones. A row per layer: `override` (set by API) wins over `package`. */
export const botSettings = pgTable(
  "bot_settings",
  {
    botId: uuid("bot_id")
      .notNull()
      .references(() => bots.id, { onDelete: "cascade" }),
    source: text("source").$type<"package" | "override">().notNull(),
    /** Normalised: lower case, words joined by `-`. */
    name: text("name").notNull(),
    /** As it was written; sealed when `isSealed`. */
    value: text("value").notNull(),
    isSealed: boolean("is_sealed").notNull().default(false),
    updatedBy: uuid("updated_by"),
    updatedAt: moment("updated_at").notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.botId, table.source, table.name] })],
);

/** What bots remember. Bot only: for all its users. User only: with all bots. Both: that bot of that user. */
export const botMemory = pgTable(
  "bot_memory",
  {
    id: uuid("id").primaryKey(),
    botId: uuid("bot_id").references(() => bots.id, { onDelete: "cascade" }),
    userId: uuid("user_id"),
    key: text("key").notNull(),
    /** Wrapped, because a JSON text or null by itself does not survive the way through the drivers. */
    value: jsonb("value").$type<{ v: unknown }>().notNull(),
    kind: text("kind").$type<MemoryKind>(),
    expiresAt: moment("expires_at"),
    /** Grows with every write; the entry's ETag. */
    version: integer("version").notNull().default(1),
    createdAt: moment("created_at").notNull().defaultNow(),
    updatedAt: moment("updated_at").notNull().defaultNow(),
  },
  (table) => [
    unique("bot_memory_key").on(table.botId, table.userId, table.key).nullsNotDistinct(),
    index("bot_memory_user").on(table.userId, table.key),
    index("bot_memory_expiry")
      .on(table.expiresAt)
      .where(sql`expires_at is not null`),
  ],
);

/** The live state of one conversation; made when something in it first differs from the default. */
export const conversationContexts = pgTable("conversation_contexts", {
  conversationId: uuid("conversation_id")
    .primaryKey()
    .references(() => conversations.id, { onDelete: "cascade" }),
  botId: uuid("bot_id").notNull(),
  variables: jsonb("variables").$type<Record<string, unknown>>().notNull().default({}),
  contexts: jsonb("contexts").$type<Record<string, string>>().notNull().default({}),
  /** Collection names; null: those that are active by themselves. */
  activeKbs: jsonb("active_kbs").$type<string[]>(),
  activeWebsites: jsonb("active_websites").$type<string[]>().notNull().default([]),
  /** Null: automatic. */
  activeTools: jsonb("active_tools").$type<string[]>(),
  /** Added bots and the words that call them. */
  bots: jsonb("bots").$type<{ bot_id: string; triggers: string[] }[]>().notNull().default([]),
  systemPrompt: text("system_prompt"),
  model: text("model"),
  answerMode: text("answer_mode").$type<AnswerMode>(),
  suggestions: jsonb("suggestions").$type<Suggestion[]>().notNull().default([]),
  switchers: jsonb("switchers").$type<Switcher[]>().notNull().default([]),
  /** Summary of the exchanges up to this seq, in place of the messages themselves. */
  summary: text("summary"),
  summaryToSeq: bigint("summary_to_seq", { mode: "number" }).notNull().default(0),
  updatedAt: moment("updated_at").notNull().defaultNow(),
});

export type BotRow = typeof bots.$inferSelect;
export type BotSettingRow = typeof botSettings.$inferSelect;
export type MemoryRow = typeof botMemory.$inferSelect;
export type ContextRow = typeof conversationContexts.$inferSelect;
