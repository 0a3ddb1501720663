// The outbox: one row per event, written in the transaction of the change. Deliveries are made from it later.

import { index, jsonb, pgTable, text, timestamp, uuid } from "drizzle-orm/pg-core";

export const events = pgTable(
  "events",
  {
    id: uuid().primaryKey(),
    type: text().notNull(),
    createdAt: timestamp({ withTimezone: true, mode: "date" }).notNull(),
    subjectArea: text().notNull(),
    subjectId: text().notNull(),
    actorKind: text().notNull(),
    actorId: uuid(),
    /** Whose thing it is about, for the right to know. */
    ownerId: uuid(),
    data: jsonb().$type<Record<string, unknown>>().notNull(),
  },
  (table) => [index("events_created_at").on(table.createdAt), index("events_owner").on(table.ownerId)],
);
