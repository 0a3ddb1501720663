// What `Idempotency-Key` remembers: one row per caller, route and key, for 24 hours.

import { index, integer, pgTable, primaryKey, text, timestamp } from "drizzle-orm/pg-core";

export const idempotencyKeys = pgTable(
  "idempotency_keys",
  {
    /** Account, or address of an anonymous caller. */
    subject: text().notNull(),
    route: text().notNull(),
    key: text().notNull(),
    /** SHA-256 of the request's body. */
    bodyDigest: text().notNull(),
    /** Null while the first request is under way, or when it died before its answer was stored. */
    status: integer(),
    /** Sealed: an answer may hold a secret that is shown once. */
    answer: text(),
    createdAt: timestamp({ withTimezone: true, mode: "date" }).notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.subject, table.route, table.key] }),
    index("idempotency_keys_created_at").on(table.createdAt),
  ],
);
