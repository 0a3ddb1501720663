// The caller as passages and documents know one: roles, groups by id and name, or a bot's own identity.

import { inArray, sql, type SQL } from "drizzle-orm";
import type { Context } from "../../core/context.ts";
import { groups } from "../../core/permissions/model.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import type { Reader } from "../../engines/vectors/index.ts";
import { kbDocuments } from "./model.ts";

/** Makes the reader of a context; asks the database for the names of the caller's groups. */
export function openReaders({ database }: { database: DatabaseEngine }) {
  return async ({ caller }: Context): Promise<Reader> => {
    const nobody = { email: null, roles: [], groups: [] };
    if (caller.kind === "system") {
      // Maintenance passes all rules; a bot's schedules are an account of the bot's own id without roles and groups.
      return { ...nobody, userId: caller.botId, isAdmin: caller.botId === null && caller.permissions.has("*") };
    }
    if (caller.userId === null) return { ...nobody, userId: null, isAdmin: false };
    const ids = [...caller.groups];
    const names = ids.length
      ? await database.db.select({ name: groups.name }).from(groups).where(inArray(groups.id, ids))
      : [];
    return {
      userId: caller.userId,
      email: caller.email,
      roles: [...caller.roles],
      groups: [...ids, ...names.map(({ name }) => name)],
      isAdmin: caller.roles.has("admin"),
    };
  };
}

export type Readers = ReturnType<typeof openReaders>;

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
