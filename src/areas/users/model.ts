// Tables of accounts: people, their sessions, tokens, keys, second factors and security policy.

import {
  boolean,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uniqueIndex,
  uuid,
  bigint,
} from "drizzle-orm/pg-core";
import { sql } from "drizzle-orm";

const moment = () => timestamp({ withTimezone: true, mode: "date" });

export type UserStatus =
  "pending_verification" | "pending_activation" | "active" | "suspended" | "inactive" | "deleted";
export type SessionEnd =
  | "logout"
  | "terminated"
  | "expired"
  | "idle"
  | "session_limit"
  | "password_changed"
  | "token_reuse"
  | "user_disabled"
  | "provider_logout";
export type SignInMethod = "password" | "password+totp" | "password+sms" | "password+backup_code" | "oidc";

export const users = pgTable(
  "users",
  {
    id: uuid().primaryKey(),
    username: text().notNull(),
    /** Case-folded; what is unique. */
    usernameKey: text().notNull().unique(),
    email: text().notNull(),
    emailKey: text().notNull().unique(),
    pendingEmail: text(),
    emailVerified: boolean().notNull().default(false),
    displayName: text().notNull(),
    firstName: text(),
    lastName: text(),
    avatarUrl: text(),
    avatarBlob: text(),
    phone: text(),
    organizationId: uuid(),
    status: text().$type<UserStatus>().notNull(),
    suspendedReason: text(),
    /** argon2id in PHC form; null for accounts without a password of their own. */
    passwordHash: text(),
    passwordChangedAt: moment(),
    mustChangePassword: boolean().notNull().default(false),
    metadata: jsonb().$type<Record<string, string | number | boolean>>().notNull().default({}),
    settings: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    /** Raised with every change of what this account may do; part of the key of cached permission sets. */
    authzVersion: integer().notNull().default(1),
    createdAt: moment().notNull(),
    updatedAt: moment().notNull(),
    lastLogin: moment(),
    deletedAt: moment(),
  },
  (table) => [index("users_status").on(table.status), index("users_created_at").on(table.createdAt)],
);

export const identities = pgTable(
  "identities",
  {
    provider: text().$type<"oidc">().notNull(),
    issuer: text().notNull(),
    subject: text().notNull(),
    userId: uuid()
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    linkedAt: moment().notNull(),
  },
  (table) => [primaryKey({ columns: [table.issuer, table.subject] }), index("identities_user").on(table.userId)],
);

export const passwordHistory = pgTable(
  "password_history",
  {
    id: uuid().primaryKey(),
    userId: uuid()
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    passwordHash: text().notNull(),
    createdAt: moment().notNull(),
  },
  (table) => [index("password_history_user").on(table.userId)],
);

export const sessions = pgTable(
  "sessions",
  {
    id: uuid().primaryKey(),
    userId: uuid()
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    botId: uuid(),
    organizationId: uuid(),
    status: text().$type<"active" | "ended">().notNull().default("active"),
    endedReason: text().$type<SessionEnd>(),
    method: text().$type<SignInMethod>().notNull(),
    rememberMe: boolean().notNull().default(false),
    restricted: text().$type<"two_factor_setup">(),
    ipAddress: text(),
    userAgent: text(),
    device: text(),
    location: text(),
    /** Of an OpenID session: the provider's own id, for back-channel logout. */
    providerSessionId: text(),
    createdAt: moment().notNull(),
    lastActivity: moment().notNull(),
    expiresAt: moment().notNull(),
    endedAt: moment(),
  },
  (table) => [
    index("sessions_user").on(table.userId, table.status),
    index("sessions_expires_at")
      .on(table.expiresAt)
      .where(sql`status = 'active'`),
  ],
);

export const refreshTokens = pgTable(
  "refresh_tokens",
  {
    /** SHA-256 of the token. */
    tokenHash: text().primaryKey(),
    sessionId: uuid()
      .notNull()
      .references(() => sessions.id, { onDelete: "cascade" }),
    createdAt: moment().notNull(),
    usedAt: moment(),
    /** The successor, sealed: handed out again to a second use within the grace. */
    successorSealed: text(),
  },
  (table) => [index("refresh_tokens_session").on(table.sessionId)],
);

export const apiKeys = pgTable(
  "api_keys",
  {
    id: uuid().primaryKey(),
    userId: uuid()
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    name: text().notNull(),
    prefix: text().notNull(),
    /** SHA-256 of the whole key. */
    secretHash: text().notNull(),
    previousHash: text(),
    previousUntil: moment(),
    scopes: jsonb().$type<string[]>().notNull(),
    ipAllowlist: jsonb().$type<string[]>().notNull().default([]),
    expiresAt: moment(),
    lastUsedAt: moment(),
    lastUsedIp: text(),
    createdAt: moment().notNull(),
    revokedAt: moment(),
  },
  (table) => [
    uniqueIndex("api_keys_secret").on(table.secretHash),
    index("api_keys_previous").on(table.previousHash),
    index("api_keys_user").on(table.userId),
  ],
);

/** Links and codes that work once: verification, activation, reset, setup, pending second factor. */
export const oneTimeTokens = pgTable(
  "one_time_tokens",
  {
    tokenHash: text().primaryKey(),
    purpose: text().notNull(),
    userId: uuid().references(() => users.id, { onDelete: "cascade" }),
    data: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    createdAt: moment().notNull(),
    expiresAt: moment().notNull(),
    usedAt: moment(),
  },
  (table) => [index("one_time_tokens_user").on(table.userId, table.purpose)],
);

export const twoFactors = pgTable("two_factors", {
  userId: uuid()
    .primaryKey()
    .references(() => users.id, { onDelete: "cascade" }),
  method: text().$type<"totp" | "sms">().notNull(),
  secretSealed: text(),
  phone: text(),
  /** Null while it waits for its first code. */
  enabledAt: moment(),
  createdAt: moment().notNull(),
  /** The last accepted TOTP counter; only greater ones are taken. */
  lastCounter: bigint({ mode: "number" }).notNull().default(0),
});

export const backupCodes = pgTable(
  "backup_codes",
  {
    codeMac: text().notNull(),
    userId: uuid()
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    usedAt: moment(),
  },
  (table) => [primaryKey({ columns: [table.userId, table.codeMac] })],
);

/** Failed sign-ins per normalised name, whether or not it exists. */
export const signInFailures = pgTable("sign_in_failures", {
  nameKey: text().primaryKey(),
  count: integer().notNull(),
  windowStartedAt: moment().notNull(),
  lockedUntil: moment(),
});

/** One row: the security settings that differ from the defaults. */
export const securitySettings = pgTable("security_settings", {
  id: integer().primaryKey().default(1),
  settings: jsonb().$type<Record<string, unknown>>().notNull().default({}),
  version: integer().notNull().default(1),
  updatedAt: moment().notNull(),
});

export type UserRow = typeof users.$inferSelect;
export type SessionRow = typeof sessions.$inferSelect;
export type ApiKeyRow = typeof apiKeys.$inferSelect;
