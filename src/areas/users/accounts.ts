// Accounts: one's own record and settings, the directory, suspending and activating.

import { and, asc, count, desc, eq, ilike, inArray, or, sql, type SQL } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import { holds, requirePermission, requireUser, type Caller, type Context } from "../../core/context.ts";
import { conflict, forbidden, invalid, notFound } from "../../core/errors.ts";
import type { Events } from "../../core/events/index.ts";
import type { Permissions } from "../../core/permissions/index.ts";
import { groups, roles } from "../../core/permissions/model.ts";
import { expandPermissions } from "../../core/permissions/words.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import { isUuid } from "../../lib/ids/index.ts";
import type { UserAuthenticator } from "./authenticator.ts";
import { identities, twoFactors, users, type UserRow, type UserStatus } from "./model.ts";
import { mergeSettings, type PersonalPart, type PersonalSettings } from "./personal.ts";
import { presentCard, presentUser, type User } from "./present.ts";
import type { Sessions } from "./sessions.ts";

export interface AccountsDeps {
  database: DatabaseEngine;
  clock: Clock;
  audit: Audit;
  events: Events;
  permissions: Permissions;
  authenticator: UserAuthenticator;
  sessions: Sessions;
}

const FRESH_MS = 5_000;

/** Makes the verbs over accounts. */
export function accountService(deps: AccountsDeps) {
  const { database, clock } = deps;
  const { db } = database;
  // Presented records of people who poll `GET /users/me`. They hang on the caller in the authenticator's memory, which
  // every instance drops with each change of the account.
  const profiles = new WeakMap<Caller, { user: User; at: number }>();

  const levels = async (): Promise<Map<string, number>> => {
    const rows = await db.select({ id: roles.id, level: roles.level }).from(roles);
    return new Map(rows.map(({ id, level }) => [id, level]));
  };

  const present = async (row: UserRow, known?: ReadonlyMap<string, number>): Promise<User> => {
    const [grants, linked, [factor], byLevel] = await Promise.all([
      deps.permissions.of(row.id),
      db.select().from(identities).where(eq(identities.userId, row.id)),
      db.select({ enabledAt: twoFactors.enabledAt }).from(twoFactors).where(eq(twoFactors.userId, row.id)),
      known ?? levels(),
    ]);
    const memberOf = grants.groups.size
      ? await db
          .select({ id: groups.id, name: groups.name })
          .from(groups)
          .where(inArray(groups.id, [...grants.groups]))
      : [];
    const held = [...grants.roles].toSorted(
      (a, b) => (byLevel.get(b) ?? 0) - (byLevel.get(a) ?? 0) || (a < b ? -1 : 1),
    );
    return presentUser(row, {
      roles: held,
      role: held[0] ?? null,
      groups: memberOf,
      identities: linked,
      twoFactorEnabled: factor !== undefined && factor.enabledAt !== null,
    });
  };

  const find = async (tx: Database, userId: string): Promise<UserRow> => {
    const [row] = isUuid(userId) ? await tx.select().from(users).where(eq(users.id, userId)) : [];
    if (!row) throw notFound("user");
    return row;
  };

  /** `me` and every spelling of one's own id are the same account. */
  const idOf = (ctx: Context, userId: string) => (userId === "me" ? requireUser(ctx) : userId.toLowerCase());

  /** Refuses to touch an account whose highest level is not below the caller's (contract permissions.md, "No climbing"). */
  const requireAbove = async (ctx: Context, userId: string): Promise<void> => {
    if (ctx.caller.permissions.has("*")) return;
    const byLevel = await levels();
    const highest = (held: ReadonlySet<string>) => Math.max(0, ...[...held].map((role) => byLevel.get(role) ?? 0));
    const target = await deps.permissions.of(userId);
    if (highest(target.roles) >= highest(ctx.caller.roles)) throw forbidden(null, "role_above_own");
  };

  const setStatus = async (
    ctx: Context,
    userId: string,
    input: {
      from: (status: UserStatus) => boolean;
      to: UserStatus;
      reason: string | null;
      type: "user_suspended" | "user_activated";
    },
  ): Promise<Date> => {
    const at = clock.date();
    await requireAbove(ctx, userId);
    await database.transaction(async (tx, afterCommit) => {
      // Under the lock of "never without an admin", so that two of these cannot both think the other one stays.
      await tx.execute(sql`SELECT pg_advisory_xact_lock(8260911)`);
      const [row] = await tx.select().from(users).where(eq(users.id, userId)).for("update");
      if (!row || row.status === "deleted") throw notFound("user");
      if (!input.from(row.status)) throw conflict(`already_${row.status}`, `The account is ${row.status}.`);
      await tx
        .update(users)
        .set({
          status: input.to,
          suspendedReason: input.reason,
          updatedAt: at,
          ...(row.status === "pending_verification" && input.to === "active" ? { emailVerified: true } : {}),
          authzVersion: sql`${users.authzVersion} + 1`,
        })
        .where(eq(users.id, userId));
      if (input.to !== "active") {
        if ((await deps.permissions.countAdmins(tx)) === 0)
          throw conflict("last_admin", "This is the last administrator.");
        await deps.sessions.end(tx, afterCommit, await deps.sessions.activeIds(tx, userId, null), "user_disabled");
      }
      await deps.audit.record(tx, ctx, {
        type: input.type,
        resource: { type: "user", id: userId, label: row.username },
        changes: { status: { from: row.status, to: input.to } },
        ...(input.reason ? { note: input.reason } : {}),
      });
      await deps.events.record(tx, ctx, {
        type: input.to === "active" ? "user.updated" : "user.suspended",
        subject: { area: "users", id: userId },
        ownerId: userId,
        data: { user_id: userId, username: row.username, status: input.to },
      });
      afterCommit(() => deps.authenticator.rightsChanged(userId));
    });
    return at;
  };

  return {
    /** The whole record, for answers to people who have just proved that it is theirs. */
    record: async (userId: string): Promise<User> => present(await find(db, userId)),

    /** The caller's own record with effective permissions; from memory while it is fresh. */
    me: (ctx: Context): (User & { permissions: string[] }) | Promise<User & { permissions: string[] }> => {
      const userId = requireUser(ctx);
      const { caller } = ctx;
      const { permissions } = caller;
      const known = profiles.get(caller);
      if (known && clock.now() - known.at < FRESH_MS) return { ...known.user, permissions: expandOnce(permissions) };
      return find(db, userId)
        .then((row) => present(row))
        .then((user) => {
          profiles.set(caller, { user, at: clock.now() });
          return { ...user, permissions: expandOnce(permissions) };
        });
    },

    /** One account: whole for oneself and holders of `users:read`, the card for holders of `users:directory`. */
    get: async (ctx: Context, userId: string) => {
      const id = idOf(ctx, userId);
      const isWhole = id === requireUser(ctx) || holds(ctx.caller, "users:read");
      if (!isWhole) requirePermission(ctx, "users:directory");
      const row = await find(db, id);
      if (!isWhole && row.status === "deleted") throw notFound("user");
      return isWhole ? present(row) : presentCard(row);
    },

    /** The directory. Without `users:read` only cards of active accounts, and only for a search of two characters. */
    list: async (
      ctx: Context,
      input: {
        search?: string | undefined;
        status?: string | undefined;
        sort: "username" | "email" | "display_name" | "created_at" | "last_login";
        order: "asc" | "desc";
        limit: number;
        offset: number;
      },
    ) => {
      const isWhole = holds(ctx.caller, "users:read");
      if (!isWhole) {
        requirePermission(ctx, "users:directory");
        if ((input.search ?? "").trim().length < 2) {
          throw invalid([
            { path: "search", message: "at least 2 characters are needed here", expected: "2 characters" },
          ]);
        }
      }
      const conditions: (SQL | undefined)[] = [];
      if (input.search) {
        const pattern = `%${input.search.replace(/[\\%_]/g, "\\$&")}%`;
        const fields = [
          users.username,
          users.displayName,
          ...(isWhole ? [users.email, users.firstName, users.lastName] : []),
        ];
        conditions.push(or(...fields.map((field) => ilike(field, pattern))));
      }
      if (!isWhole) conditions.push(eq(users.status, "active"));
      else if (input.status === "pending")
        conditions.push(inArray(users.status, ["pending_verification", "pending_activation"]));
      else if (input.status) conditions.push(eq(users.status, input.status as UserStatus));
      const where = and(...conditions);
      const column = {
        username: users.usernameKey,
        email: users.emailKey,
        display_name: users.displayName,
        created_at: users.createdAt,
        last_login: users.lastLogin,
      }[input.sort];
      const direction = input.order === "asc" ? asc : desc;
      const rows = await db
        .select()
        .from(users)
        .where(where)
        .orderBy(direction(column), asc(users.id))
        .limit(input.limit)
        .offset(input.offset);
      const [all] = await db.select({ total: count() }).from(users).where(where);
      const byLevel = await levels();
      return {
        users: isWhole ? await Promise.all(rows.map((row) => present(row, byLevel))) : rows.map(presentCard),
        total: all?.total ?? 0,
        limit: input.limit,
        offset: input.offset,
      };
    },

    /** Personal settings with their defaults. */
    settings: async (ctx: Context, userId: string): Promise<PersonalSettings> => {
      const id = idOf(ctx, userId);
      if (id !== requireUser(ctx)) requirePermission(ctx, "users:read");
      const row = await find(db, id);
      return mergeSettings(row.settings as PersonalPart, {});
    },

    /** Merges a part into the personal settings. */
    updateSettings: async (ctx: Context, userId: string, part: PersonalPart): Promise<PersonalSettings> => {
      const id = idOf(ctx, userId);
      if (id !== requireUser(ctx)) {
        requirePermission(ctx, "users:write");
        await find(db, id);
        await requireAbove(ctx, id);
      }
      if (Buffer.byteLength(JSON.stringify(part.custom ?? {})) > 8192) {
        throw invalid([{ path: "custom", message: "must be at most 8 KB", expected: "8192 bytes" }]);
      }
      return database.transaction(async (tx) => {
        const [row] = await tx.select().from(users).where(eq(users.id, id)).for("update");
        if (!row) throw notFound("user");
        const merged = mergeSettings(row.settings as PersonalPart, part);
        await tx
          .update(users)
          .set({ settings: { ...merged }, updatedAt: clock.date() })
          .where(eq(users.id, id));
        await deps.audit.record(tx, ctx, {
          type: "settings_changed",
          resource: { type: "user", id },
          details: { fields: Object.keys(part) },
        });
        return merged;
      });
    },

    suspend: async (ctx: Context, given: string, reason: string) => {
      const userId = idOf(ctx, given);
      if (userId === requireUser(ctx)) throw conflict("self", "One cannot suspend oneself.");
      await find(db, userId);
      const at = await setStatus(ctx, userId, {
        from: (status) => status !== "suspended",
        to: "suspended",
        reason,
        type: "user_suspended",
      });
      return { user_id: userId, status: "suspended" as const, suspended_at: at.toISOString() };
    },

    activate: async (ctx: Context, given: string) => {
      const userId = idOf(ctx, given);
      await find(db, userId);
      const at = await setStatus(ctx, userId, {
        from: (status) => status !== "active",
        to: "active",
        reason: null,
        type: "user_activated",
      });
      return { user_id: userId, status: "active" as const, activated_at: at.toISOString() };
    },
  };
}

// Sets of permissions live as long as their caller in memory: their expansion is made once.
const expanded = new WeakMap<ReadonlySet<string>, string[]>();
function expandOnce(permissions: ReadonlySet<string>): string[] {
  const known = expanded.get(permissions);
  if (known) return known;
  const words = expandPermissions(permissions);
  expanded.set(permissions, words);
  return words;
}

export type Accounts = ReturnType<typeof accountService>;
