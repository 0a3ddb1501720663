// Permission words as people write them → canonical words (contract permissions.md, "Words").

import { CATALOGUE } from "./catalogue.ts";

const BUNDLES: Readonly<Record<string, readonly string[]>> = {
  "admin:users": ["users:*", "roles:assign"],
  "admin:groups": ["groups:*"],
  "admin:bots": ["bots:*"],
  "admin:monitor": ["monitoring:read", "logs:read", "admin:dashboard"],
  "admin:backup": ["backup:*"],
};

const EXACT: Readonly<Record<string, string>> = {
  all: "*",
  "kb:create": "kb:write",
  "kb:index": "kb:write",
  "kb:delete": "kb:admin",
  "kb:permissions": "kb:admin",
  "bots:channels": "channels:write",
  "config:read": "admin:config",
  "config:write": "admin:config",
  "system:configure": "admin:config",
  "mcp:access": "tools:execute",
  "api:keys": "keys:own",
  "write:messages": "chat:write",
  "profile:edit": "settings:personal",
  "bots:manage": "bots:*",
  "users:manage": "users:*",
};

const AREAS: Readonly<Record<string, string>> = {
  mail: "email",
  drive: "files",
  meet: "calls",
  whiteboard: "whiteboards",
  conversation: "conversations",
  secrets: "keys",
};

const ACTIONS: Readonly<Record<string, string>> = { view: "read", edit: "write", update: "write" };

const areas = new Set(Object.keys(CATALOGUE).map((word) => word.slice(0, word.indexOf(":"))));

function isKnown(word: string): boolean {
  return word === "*" || word in CATALOGUE || (word.endsWith(":*") && areas.has(word.slice(0, -2)));
}

/** Canonical words of one spelling (a bundle gives several), or null if it is not in the catalogue. */
export function canonicalPermission(spelling: string): string[] | null {
  const typed = spelling.trim().toLowerCase().replace(".", ":");
  const bundle = BUNDLES[typed];
  if (bundle) return [...bundle];
  const exact = EXACT[typed] ?? typed;
  if (isKnown(exact)) return [exact];
  const [first = "", second = ""] = exact.split(":");
  for (const [area, action] of [
    [first, second],
    [second, first],
  ]) {
    if (!area || !action) continue;
    for (const name of [AREAS[area] ?? area, `${area}s`]) {
      const word = `${name}:${ACTIONS[action] ?? action}`;
      if (isKnown(word)) return [word];
    }
  }
  return null;
}

/** True if `held` (words and wildcards) covers `word`, which may be a wildcard itself. */
export function covers(held: ReadonlySet<string>, word: string): boolean {
  if (held.has("*") || held.has(word)) return true;
  const colon = word.indexOf(":");
  return colon > 0 && held.has(`${word.slice(0, colon)}:*`);
}

/** Concrete words behind wildcards, in catalogue order; what answers show. */
export function expandPermissions(held: ReadonlySet<string>): string[] {
  return Object.keys(CATALOGUE).filter((word) => covers(held, word));
}
