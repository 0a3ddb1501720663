// The permission engine: what an account may do, from direct roles, groups and their inheritance, in one query.
// Seeds the built-in roles and groups. The same code serves routes, sockets, jobs and scripts.

import { sql } from "drizzle-orm";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import { uuidv7 } from "../../lib/ids/index.ts";
import type { Clock } from "../clock.ts";
import { groupRoles, groups, roleParents, rolePermissions, roles, userRoles } from "./model.ts";
import { ANONYMOUS_PERMISSIONS, BUILTIN_GROUPS, BUILTIN_ROLES } from "./roles.ts";

/** Effective rights of one account at one moment. */
export interface Grants {
  /** With inherited ones. */
  roles: ReadonlySet<string>;
  /** Ids of groups that the account belongs to, directly or by `inherit_members`. */
  groups: ReadonlySet<string>;
  /** Words and wildcards. */
  permissions: ReadonlySet<string>;
  /** When an expiring assignment among them ends; null if none does. Milliseconds since the epoch. */
  validUntil: number | null;
}

export interface Permissions {
  /** Reads the rights of `userId` as of now. */
  of(userId: string): Promise<Grants>;
  anonymous(): ReadonlySet<string>;
  /** Active accounts that hold `admin`, by any way. */
  countAdmins(db: Database): Promise<number>;
  /** Gives a role directly, inside the caller's transaction; giving it twice changes nothing. */
  give(tx: Database, userId: string, roleId: string, grantedBy: string | null): Promise<void>;
  /** Makes what must exist from the start; safe when several instances start at once. */
  seed(): Promise<void>;
}

// belongs: groups one is in; reach: those and the parents whose permissions come down to them;
// held: direct roles, roles of groups and, by closure, the roles that those inherit.
const GRANTS = `
WITH RECURSIVE belongs(id) AS (
  SELECT group_id FROM group_members WHERE user_id = $1::uuid AND status = 'active'
  UNION
  SELECT g.id FROM groups g JOIN belongs b ON g.parent_id = b.id WHERE g.inherit_members
), reach(id) AS (
  SELECT id FROM belongs
  UNION
  SELECT g.parent_id FROM groups g JOIN reach r ON g.id = r.id WHERE g.inherit_permissions AND g.parent_id IS NOT NULL
), held(id) AS (
  SELECT role_id FROM user_roles WHERE user_id = $1::uuid AND (expires_at IS NULL OR expires_at > $2::timestamptz)
  UNION
  SELECT gr.role_id FROM group_roles gr JOIN reach r ON gr.group_id = r.id
  UNION
  SELECT rp.parent_id FROM role_parents rp JOIN held h ON rp.role_id = h.id
)
SELECT 'role' AS kind, id AS value FROM held
UNION ALL SELECT 'group', id::text FROM belongs
UNION ALL SELECT DISTINCT 'permission', permission FROM role_permissions rp JOIN held h ON rp.role_id = h.id
UNION ALL SELECT DISTINCT 'permission', permission FROM group_permissions gp JOIN reach r ON gp.group_id = r.id
UNION ALL SELECT 'until', (extract(epoch FROM min(expires_at)) * 1000)::bigint::text FROM user_roles
  WHERE user_id = $1::uuid AND expires_at > $2::timestamptz HAVING min(expires_at) IS NOT NULL`;

const SHARED_MAX = 1_000;

/** Gives equal sets as one object: ten thousand people with the same roles share their words instead of a copy each. */
function sharedSets(): (values: readonly string[]) => ReadonlySet<string> {
  const known = new Map<string, ReadonlySet<string>>();
  return (values) => {
    const sorted = values.toSorted();
    const key = sorted.join(" ");
    const found = known.get(key);
    if (found) return found;
    if (known.size >= SHARED_MAX) known.clear();
    const made = new Set(sorted);
    known.set(key, made);
    return made;
  };
}

/** Makes the permission engine over a database. */
export function openPermissions(deps: { database: DatabaseEngine; clock: Clock }): Permissions {
  const anonymous: ReadonlySet<string> = new Set(ANONYMOUS_PERMISSIONS);
  const shared = sharedSets();
  return {
    of: async (userId) => {
      const rows = await deps.database.query<{ kind: string; value: string }>(GRANTS, [
        userId,
        deps.clock.date().toISOString(),
      ]);
      const found: Record<"role" | "group" | "permission", string[]> = { role: [], group: [], permission: [] };
      let validUntil: number | null = null;
      for (const { kind, value } of rows) {
        if (kind === "until") validUntil = Number(value);
        else if (kind === "role" || kind === "group" || kind === "permission") found[kind].push(value);
      }
      return {
        roles: shared(found.role),
        groups: shared(found.group),
        permissions: shared(found.permission),
        validUntil,
      };
    },
    anonymous: () => anonymous,
    countAdmins: async (db) => {
      const rows = await db.execute(sql`
        SELECT count(DISTINCT u.id)::int AS count FROM users u
        WHERE u.status = 'active' AND (
          EXISTS (SELECT 1 FROM user_roles r WHERE r.user_id = u.id AND r.role_id = 'admin'
            AND (r.expires_at IS NULL OR r.expires_at > ${deps.clock.date().toISOString()}::timestamptz))
          OR EXISTS (SELECT 1 FROM group_members m JOIN group_roles g ON g.group_id = m.group_id
            WHERE m.user_id = u.id AND m.status = 'active' AND g.role_id = 'admin'))`);
      const [row] = [...rows] as { count?: number }[];
      return Number(row?.count ?? 0);
    },
    give: async (tx, userId, roleId, grantedBy) => {
      await tx
        .insert(userRoles)
        .values({ userId, roleId, source: "local", grantedBy, grantedAt: deps.clock.date() })
        .onConflictDoNothing();
    },
    seed: async () => {
      const at = deps.clock.date();
      const known = await deps.database.db.select({ id: roles.id }).from(roles);
      if (BUILTIN_ROLES.every(({ id }) => known.some((row) => row.id === id))) return;
      await deps.database.transaction(async (tx) => {
        const made = await tx
          .insert(roles)
          .values(
            BUILTIN_ROLES.map(({ id, level, description }) => ({
              id,
              name: id.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase()),
              description,
              level,
              builtin: true,
              createdAt: at,
              updatedAt: at,
            })),
          )
          .onConflictDoNothing()
          .returning({ id: roles.id });
        // Only roles that are new get their grants: an administrator may have changed the others.
        const fresh = new Set(made.map(({ id }) => id));
        const isFresh = BUILTIN_ROLES.filter(({ id }) => fresh.has(id));
        const grants = isFresh.flatMap(({ id, permissions }) =>
          permissions.map((permission) => ({ roleId: id, permission })),
        );
        const parents = isFresh.flatMap(({ id, parents: inherited }) =>
          inherited.map((parentId) => ({ roleId: id, parentId })),
        );
        if (grants.length > 0) await tx.insert(rolePermissions).values(grants).onConflictDoNothing();
        if (parents.length > 0) await tx.insert(roleParents).values(parents).onConflictDoNothing();
        for (const { name, role } of BUILTIN_GROUPS) {
          const [group] = await tx
            .insert(groups)
            .values({ id: uuidv7(), name, nameKey: name.toLowerCase(), builtin: true, createdAt: at, updatedAt: at })
            .onConflictDoNothing()
            .returning({ id: groups.id });
          if (group) await tx.insert(groupRoles).values({ groupId: group.id, roleId: role });
        }
      });
    },
  };
}
