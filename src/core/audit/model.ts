// Tables of the audit log. Entries are inserted with the change they record and numbered and chained by a sealer
// later (contract security.md, "Behaviour — audit log"); the personal part can be erased without breaking the chain.

import { bigint, index, jsonb, pgTable, text, timestamp, uuid } from "drizzle-orm/pg-core";

export const auditLog = pgTable(
  "audit_log",
  {
    id: uuid().primaryKey(),
    /** Null until sealed; then without gaps. */
    seq: bigint({ mode: "number" }).unique(),
    at: timestamp({ withTimezone: true, mode: "date" }).notNull(),
    eventType: text().notNull(),
    action: text().notNull(),
    category: text().notNull(),
    userId: uuid(),
    actorKind: text().notNull(),
    context: text().notNull(),
    keyId: uuid(),
    sessionId: uuid(),
    organizationId: uuid(),
    resourceType: text(),
    resourceId: text(),
    result: text().notNull(),
    requestId: text(),
    method: text(),
    route: text(),
    /** Ids, counts and words of fixed lists; never names, addresses or free text. */
    details: jsonb().$type<Record<string, unknown>>().notNull(),
    changedFields: jsonb().$type<string[]>().notNull(),
    personalDigest: text().notNull(),
    prevHash: text(),
    hash: text(),
  },
  (table) => [
    index("audit_log_at").on(table.at),
    index("audit_log_user").on(table.userId, table.at),
    index("audit_log_type").on(table.eventType, table.at),
    index("audit_log_resource").on(table.resourceType, table.resourceId),
  ],
);

export const auditPersonal = pgTable(
  "audit_personal",
  {
    auditId: uuid()
      .primaryKey()
      .references(() => auditLog.id, { onDelete: "cascade" }),
    /** 16 random bytes in hex; goes with the personal part. */
    salt: text().notNull(),
    userId: uuid(),
    actorLabel: text(),
    ipAddress: text(),
    userAgent: text(),
    resourceLabel: text(),
    identifier: text(),
    changes: jsonb().$type<Record<string, { from: unknown; to: unknown }>>(),
    note: text(),
  },
  (table) => [index("audit_personal_user").on(table.userId)],
);
