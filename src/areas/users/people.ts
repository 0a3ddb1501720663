// What the users area, roles, groups and the audit log keep of a person: how it is exported and erased.

import { and, eq, inArray, sql } from "drizzle-orm";
import { auditPersonal } from "../../core/audit/model.ts";
import { events } from "../../core/events/model.ts";
import { idempotencyKeys } from "../../core/idempotency/model.ts";
import type { People } from "../../core/people/index.ts";
import { groupMembers, groups, userRoles } from "../../core/permissions/model.ts";
import {
  apiKeys,
  backupCodes,
  identities,
  oneTimeTokens,
  passwordHistory,
  sessions,
  twoFactors,
  users,
} from "./model.ts";

/** Registers these tables; erasing keeps the emptied account row, so that other rows' references stay whole. */
export function registerUsers(people: People): void {
  people.register({
    area: "users",
    tables: [
      "users",
      "identities",
      "password_history",
      "sessions",
      "api_keys",
      "one_time_tokens",
      "two_factors",
      "backup_codes",
      "user_roles",
      "group_members",
      "groups",
      "audit_log",
      "audit_personal",
      "events",
      "idempotency_keys",
      "jobs",
    ],
    export: async (db, userId) => {
      const [account] = await db.select().from(users).where(eq(users.id, userId));
      if (!account) return {};
      const { passwordHash: _hash, ...profile } = account;
      return {
        profile,
        identities: await db.select().from(identities).where(eq(identities.userId, userId)),
        sessions: await db.select().from(sessions).where(eq(sessions.userId, userId)),
        api_keys: await db
          .select({ id: apiKeys.id, name: apiKeys.name, scopes: apiKeys.scopes, created_at: apiKeys.createdAt })
          .from(apiKeys)
          .where(eq(apiKeys.userId, userId)),
        roles: await db.select().from(userRoles).where(eq(userRoles.userId, userId)),
        groups: await db.select().from(groupMembers).where(eq(groupMembers.userId, userId)),
      };
    },
    erase: async (tx, userId) => {
      for (const table of [identities, passwordHistory, sessions, apiKeys, oneTimeTokens, twoFactors, backupCodes]) {
        await tx.delete(table).where(eq(table.userId, userId));
      }
      await tx.delete(userRoles).where(eq(userRoles.userId, userId));
      await tx.delete(groupMembers).where(eq(groupMembers.userId, userId));
      await tx.update(groups).set({ createdBy: null }).where(eq(groups.createdBy, userId));
      await tx.execute(sql`UPDATE jobs SET owner_id = NULL WHERE owner_id = ${userId}`);
      await tx.delete(idempotencyKeys).where(eq(idempotencyKeys.subject, userId));
      // The chained part of the audit log holds ids only; its personal part goes, and the chain still verifies.
      await tx.delete(auditPersonal).where(eq(auditPersonal.userId, userId));
      await tx
        .update(events)
        .set({ data: {} })
        .where(and(eq(events.ownerId, userId), inArray(events.subjectArea, ["users"])));
      const name = `deleted-${userId.slice(-8)}`;
      await tx
        .update(users)
        .set({
          username: name,
          usernameKey: name,
          email: `${name}@deleted.invalid`,
          emailKey: `${name}@deleted.invalid`,
          pendingEmail: null,
          emailVerified: false,
          displayName: name,
          firstName: null,
          lastName: null,
          avatarUrl: null,
          avatarBlob: null,
          phone: null,
          passwordHash: null,
          suspendedReason: null,
          metadata: {},
          settings: {},
          status: "deleted",
        })
        .where(eq(users.id, userId));
    },
  });
}
