// Who may open a document and who may see its title: pure decisions over rules and a reader (contract knowledge.md,
// "Permissions").

import type { Reader } from "../../engines/vectors/index.ts";
import type { AccessLevel, AccessRule } from "./model.ts";

export const ACCESS_LEVELS = ["all", "authenticated", "role_based", "group_based", "user_based", "none"] as const;

/** What the rules come to for one document or folder; the columns of kb_documents. */
export interface EffectiveAccess {
  accessLevel: AccessLevel;
  allowedRoles: string[];
  allowedGroups: string[];
  allowedUsers: string[];
  indexVisibility: AccessLevel;
}

/** A rule and where it stands: a document, a folder's path, the collection (path empty), its default. */
export interface PlacedRule {
  place: string;
  rule: AccessRule;
}

export interface Resolved extends EffectiveAccess {
  /** The rule that decided who may open. */
  decidedBy: string;
}

/** Without a rule: who may open at all, and nothing else. */
const plain = (level: AccessLevel): EffectiveAccess => ({
  accessLevel: level,
  allowedRoles: [],
  allowedGroups: [],
  allowedUsers: [],
  indexVisibility: level,
});

/**
 * The nearest rule with a level decides who may open; visibility comes from it or from a nearer one. `chain` runs from
 * the nearest to the widest; `fallback` is the collection's default.
 */
export function resolveAccess(chain: readonly PlacedRule[], fallback: AccessLevel): Resolved {
  let visibility: AccessLevel | null = null;
  for (const { place, rule } of chain) {
    visibility ??= rule.index_visibility;
    if (rule.level !== null) {
      return {
        accessLevel: rule.level,
        allowedRoles: [...rule.roles],
        allowedGroups: [...rule.groups],
        allowedUsers: rule.users.map((user) => user.toLowerCase()),
        indexVisibility: visibility ?? rule.level,
        decidedBy: place,
      };
    }
    // A rule that cuts the chain without a level of its own closes what is below it.
    if (!rule.inherit_parent) return { ...plain("none"), indexVisibility: visibility ?? "none", decidedBy: place };
  }
  return { ...plain(fallback), indexVisibility: visibility ?? fallback, decidedBy: "default" };
}

function isListed(access: EffectiveAccess, reader: Reader): boolean {
  const { userId, email } = reader;
  return (
    access.allowedRoles.some((role) => reader.roles.includes(role)) ||
    access.allowedGroups.some((group) => reader.groups.includes(group)) ||
    (userId !== null && access.allowedUsers.includes(userId.toLowerCase())) ||
    (email !== null && access.allowedUsers.includes(email.toLowerCase()))
  );
}

function admits(level: AccessLevel, access: EffectiveAccess, reader: Reader): boolean {
  if (reader.isAdmin || level === "all") return true;
  if (reader.userId === null || level === "none") return false;
  return level === "authenticated" || isListed(access, reader);
}

/** True if the reader may read the text. */
export function mayOpen(access: EffectiveAccess, reader: Reader): boolean {
  return admits(access.accessLevel, access, reader);
}

/** True if the reader may know of the document: whoever may open it, or see its title. */
export function maySee(access: EffectiveAccess, reader: Reader): boolean {
  return mayOpen(access, reader) || admits(access.indexVisibility, access, reader);
}

/** The folder's path and those above it, nearest first, the collection ("") last. */
export function foldersAbove(path: string): string[] {
  const parts = path === "" ? [] : path.split("/");
  return Array.from({ length: parts.length + 1 }, (_, up) => parts.slice(0, parts.length - up).join("/"));
}
