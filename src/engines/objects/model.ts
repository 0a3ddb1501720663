// Tables of the objects engine on PostgreSQL: a blob, and its bytes in parts of equal size.

import { bigint, customType, index, integer, pgTable, primaryKey, text, timestamp, uuid } from "drizzle-orm/pg-core";

const bytea = customType<{ data: Uint8Array; driverData: Uint8Array }>({ dataType: () => "bytea" });
const moment = () => timestamp({ withTimezone: true, mode: "date" });

export const blobs = pgTable(
  "blobs",
  {
    id: uuid().primaryKey(),
    sizeBytes: bigint({ mode: "number" }),
    /** Hex. */
    sha256: text(),
    createdAt: moment().notNull(),
    /** Null while it is written; nobody sees it before. */
    completedAt: moment(),
  },
  (table) => [index("blobs_completed").on(table.completedAt, table.id)],
);

export const blobParts = pgTable(
  "blob_parts",
  {
    blobId: uuid()
      .notNull()
      .references(() => blobs.id, { onDelete: "cascade" }),
    /** 0, 1, 2 … */
    part: integer().notNull(),
    bytes: bytea().notNull(),
  },
  (table) => [primaryKey({ columns: [table.blobId, table.part] })],
);
