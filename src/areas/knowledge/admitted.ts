// A reader's rights over documents as an SQL condition.

import { sql, type SQL } from "drizzle-orm";
import type { Reader } from "../../engines/vectors/index.ts";
import { kbDocuments } from "./model.ts";

/** The rows of kb_documents that the reader may open (`access`) or know of (`title`), as a condition. */
export function admittedDocuments(reader: Reader, what: "access" | "title"): SQL | undefined {
  if (reader.isAdmin) return undefined;
  const level = (column: typeof kbDocuments.accessLevel | typeof kbDocuments.indexVisibility) => {
    if (reader.userId === null) return sql`${column} = 'all'`;
    return sql`(${column} in ('all', 'authenticated') or (${column} like '%\\_based' and ${listed}))`;
  };
  const users = [reader.userId, reader.email].flatMap((one) => (one === null ? [] : [one.toLowerCase()]));
  const listed = sql`(${overlap(kbDocuments.allowedRoles, reader.roles)}
    or ${overlap(kbDocuments.allowedGroups, reader.groups)} or ${overlap(kbDocuments.allowedUsers, users)})`;
  return what === "access"
    ? level(kbDocuments.accessLevel)
    : sql`(${level(kbDocuments.accessLevel)} or ${level(kbDocuments.indexVisibility)})`;
}

type ListColumn = typeof kbDocuments.allowedRoles | typeof kbDocuments.allowedGroups | typeof kbDocuments.allowedUsers;

/** Arrays as one JSON parameter: drivers disagree on how an empty array is written. */
function overlap(column: ListColumn, values: readonly string[]): SQL {
  if (values.length === 0) return sql`false`;
  return sql`${column} && array(select jsonb_array_elements_text(${JSON.stringify(values)}::jsonb))`;
}
