// The caller as the rules of documents see them.

import { inArray } from "drizzle-orm";
import type { Clock } from "../../core/clock.ts";
import type { Context } from "../../core/context.ts";
import { groups } from "../../core/permissions/model.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import type { Reader } from "../../engines/vectors/index.ts";

const NAMES_TTL_MS = 30_000;
const NAMES_MAX = 10_000;

export interface Readers {
  /** Rules name groups by id or by name, so a reader has both. */
  of(ctx: Context): Promise<Reader>;
}

/** Makes the readers; names of groups are kept for half a minute. */
export function readers(deps: { database: DatabaseEngine; clock: Clock }): Readers {
  const { database, clock } = deps;
  const names = new Map<string, { name: string | null; until: number }>();

  async function namesOf(ids: ReadonlySet<string>): Promise<string[]> {
    const now = clock.now();
    const missing = [...ids].filter((id) => (names.get(id)?.until ?? 0) <= now);
    if (missing.length > 0) {
      const rows = await database.db
        .select({ id: groups.id, name: groups.name })
        .from(groups)
        .where(inArray(groups.id, missing));
      if (names.size > NAMES_MAX) names.clear();
      const found = new Map(rows.map(({ id, name }) => [id, name]));
      for (const id of missing) names.set(id, { name: found.get(id) ?? null, until: now + NAMES_TTL_MS });
    }
    return [...ids].flatMap((id) => names.get(id)?.name ?? []);
  }

  return {
    of: async ({ caller }) => {
      if (caller.kind === "system") {
        // The server's own maintenance passes all rules; a script or webhook reads as its bot's service identity.
        return {
          userId: caller.botId,
          email: null,
          roles: [],
          groups: [],
          isAdmin: caller.botId === null && caller.permissions.has("*"),
        };
      }
      const groupIds = caller.userId === null ? [] : [...caller.groups];
      return {
        userId: caller.userId,
        email: caller.email,
        roles: caller.userId === null ? [] : [...caller.roles],
        groups: groupIds.length === 0 ? [] : [...groupIds, ...(await namesOf(caller.groups))],
        isAdmin: caller.roles.has("admin"),
      };
    },
  };
}
