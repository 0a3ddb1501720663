// Who may open a document and who may see its title.

import type { AccessWord, Reader, Rights } from "./index.ts";

/** Hidden, title only, open. */
export type Admission = 0 | 1 | 2;

function admits(word: AccessWord, rights: Rights, reader: Reader): boolean {
  if (word === "all") return true;
  if (word === "none" || reader.userId === null) return false;
  if (word === "authenticated") return true;
  const email = reader.email?.toLowerCase();
  return (
    reader.roles.some((role) => rights.roles.includes(role)) ||
    reader.groups.some((group) => rights.groups.includes(group)) ||
    rights.users.includes(reader.userId) ||
    (email !== undefined && rights.users.includes(email))
  );
}

/** What `reader` may do with a document under `rights`. */
export function admission(rights: Rights, reader: Reader): Admission {
  if (reader.isAdmin || admits(rights.level, rights, reader)) return 2;
  return admits(rights.visibility, rights, reader) ? 1 : 0;
}

/** Equal for equal rights, whatever the order of their lists. */
export function rightsKey(rights: Rights): string {
  const sorted = (list: readonly string[]) => list.toSorted();
  return JSON.stringify([
    rights.level,
    rights.visibility,
    sorted(rights.roles),
    sorted(rights.groups),
    sorted(rights.users),
  ]);
}
