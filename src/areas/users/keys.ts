// API keys: made, shown once, changed, rotated with an overlap, revoked at once everywhere.

import { and, count, desc, eq, gt, isNotNull, isNull, lte, or, type SQL } from "drizzle-orm";
import { crc32 } from "node:zlib";
import { randomBytes } from "node:crypto";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import { holds, requireUser, type Context } from "../../core/context.ts";
import { conflict, forbidden, invalid, notFound } from "../../core/errors.ts";
import { canonicalPermission, covers } from "../../core/permissions/words.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import { isBlock } from "../../lib/guard/address.ts";
import { isUuid, sha256Hex, uuidv7 } from "../../lib/ids/index.ts";
import type { UserAuthenticator } from "./authenticator.ts";
import { apiKeys, users, type ApiKeyRow } from "./model.ts";
import { presentKey, type ApiKey } from "./present.ts";

export interface KeysDeps {
  database: DatabaseEngine;
  clock: Clock;
  audit: Audit;
  authenticator: UserAuthenticator;
}

export interface KeyInput {
  name: string;
  scopes: readonly string[];
  expiresAt: Date | null;
  ipAllowlist: readonly string[];
}

const ACTIVE_MAX = 50;
const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

function base62(value: bigint, length: number): string {
  let rest = value;
  let text = "";
  while (text.length < length) {
    text = BASE62.charAt(Number(rest % 62n)) + text;
    rest /= 62n;
  }
  return text;
}

/** `sk_live_` + 43 base62 characters of 32 random bytes + 6 of the CRC-32 over what stands before. */
export function newSecret(): string {
  const body = `sk_live_${base62(BigInt(`0x${randomBytes(32).toString("hex")}`), 43)}`;
  return body + base62(BigInt(crc32(body)), 6);
}

/** Makes the verbs over API keys. */
export function keyService(deps: KeysDeps) {
  const { database, clock } = deps;
  const { db } = database;

  /** Canonical scopes; 422 names every unknown word, 403 the first that the caller does not hold. */
  const checkScopes = (ctx: Context, scopes: readonly string[]): string[] => {
    const words = scopes.map((scope) => canonicalPermission(scope));
    const faults = scopes.flatMap((scope, index) =>
      words[index] ? [] : [{ path: `scopes.${index}`, message: `${JSON.stringify(scope)} is not a permission` }],
    );
    if (faults.length > 0) throw invalid(faults);
    const canonical = [...new Set(words.flatMap((word) => word ?? []))];
    const missing = canonical.find((word) => !covers(ctx.caller.permissions, word));
    if (missing) throw forbidden(missing, "permission_not_held");
    return canonical;
  };

  const checkAllowlist = (blocks: readonly string[]): void => {
    const faults = blocks.flatMap((block, index) =>
      isBlock(block)
        ? []
        : [{ path: `ip_allowlist.${index}`, message: "is not an address or CIDR block", expected: "10.0.0.0/8" }],
    );
    if (faults.length > 0) throw invalid(faults);
  };

  /** The key, if the caller may know of it. */
  const find = async (ctx: Context, keyId: string): Promise<ApiKeyRow> => {
    const [row] = isUuid(keyId) ? await db.select().from(apiKeys).where(eq(apiKeys.id, keyId)) : [];
    if (!row || (row.userId !== requireUser(ctx) && !holds(ctx.caller, "keys:manage"))) throw notFound("API key");
    return row;
  };

  return {
    create: async (ctx: Context, input: KeyInput): Promise<ApiKey & { api_key: string; key: string }> => {
      const userId = requireUser(ctx);
      const scopes = checkScopes(ctx, input.scopes);
      checkAllowlist(input.ipAllowlist);
      const at = clock.date();
      if (input.expiresAt && input.expiresAt <= at)
        throw invalid([{ path: "expires_at", message: "lies in the past" }]);
      const secret = newSecret();
      const row = await database.transaction(async (tx) => {
        await tx.select({ id: users.id }).from(users).where(eq(users.id, userId)).for("update");
        const [active] = await tx
          .select({ total: count() })
          .from(apiKeys)
          .where(
            and(
              eq(apiKeys.userId, userId),
              isNull(apiKeys.revokedAt),
              or(isNull(apiKeys.expiresAt), gt(apiKeys.expiresAt, at)),
            ),
          );
        if ((active?.total ?? 0) >= ACTIVE_MAX)
          throw conflict("key_limit", `At most ${ACTIVE_MAX} active keys.`, { max: ACTIVE_MAX });
        const [made] = await tx
          .insert(apiKeys)
          .values({
            id: uuidv7(),
            userId,
            name: input.name,
            prefix: secret.slice(0, 12),
            secretHash: sha256Hex(secret),
            scopes,
            ipAllowlist: [...input.ipAllowlist],
            expiresAt: input.expiresAt,
            createdAt: at,
          })
          .returning();
        if (!made) throw new Error("no key was made");
        await deps.audit.record(tx, ctx, {
          type: "api_key_created",
          resource: { type: "api_key", id: made.id, label: made.name },
          details: { scopes },
        });
        return made;
      });
      return { ...presentKey(row, at), api_key: secret, key: secret };
    },

    list: async (
      ctx: Context,
      input: { userId?: string | undefined; status?: ApiKey["status"] | undefined; limit: number; offset: number },
    ) => {
      const own = requireUser(ctx);
      const isManager = holds(ctx.caller, "keys:manage");
      if (input.userId !== undefined && input.userId !== own && !isManager) throw forbidden("keys:manage");
      const at = clock.date();
      const conditions: (SQL | undefined)[] = [];
      if (input.userId !== undefined || !isManager) conditions.push(eq(apiKeys.userId, input.userId ?? own));
      if (input.status === "revoked") conditions.push(isNotNull(apiKeys.revokedAt));
      if (input.status === "expired") conditions.push(isNull(apiKeys.revokedAt), lte(apiKeys.expiresAt, at));
      if (input.status === "active") {
        conditions.push(isNull(apiKeys.revokedAt), or(isNull(apiKeys.expiresAt), gt(apiKeys.expiresAt, at)));
      }
      const where = and(...conditions);
      const rows = await db
        .select()
        .from(apiKeys)
        .where(where)
        .orderBy(desc(apiKeys.createdAt), desc(apiKeys.id))
        .limit(input.limit)
        .offset(input.offset);
      const [all] = await db.select({ total: count() }).from(apiKeys).where(where);
      return {
        keys: rows.map((row) => presentKey(row, at)),
        total: all?.total ?? 0,
        limit: input.limit,
        offset: input.offset,
      };
    },

    get: async (ctx: Context, keyId: string): Promise<ApiKey> => presentKey(await find(ctx, keyId), clock.date()),

    update: async (ctx: Context, keyId: string, part: Partial<KeyInput>): Promise<ApiKey> => {
      const row = await find(ctx, keyId);
      if (row.revokedAt) throw conflict("key_revoked", "This key is revoked.");
      const scopes = part.scopes ? checkScopes(ctx, part.scopes) : row.scopes;
      if (part.ipAllowlist) checkAllowlist(part.ipAllowlist);
      const changed = await database.transaction(async (tx, afterCommit) => {
        const [updated] = await tx
          .update(apiKeys)
          .set({
            name: part.name ?? row.name,
            scopes,
            ipAllowlist: part.ipAllowlist ? [...part.ipAllowlist] : row.ipAllowlist,
            expiresAt: part.expiresAt === undefined ? row.expiresAt : part.expiresAt,
          })
          .where(and(eq(apiKeys.id, row.id), isNull(apiKeys.revokedAt)))
          .returning();
        if (!updated) throw conflict("key_revoked", "This key is revoked.");
        await deps.audit.record(tx, ctx, {
          type: "api_key_updated",
          resource: { type: "api_key", id: row.id, label: updated.name },
          details: { fields: Object.keys(part) },
        });
        afterCommit(() => deps.authenticator.rightsChanged(row.userId));
        return updated;
      });
      return presentKey(changed, clock.date());
    },

    rotate: async (
      ctx: Context,
      keyId: string,
      overlapSeconds: number,
    ): Promise<ApiKey & { api_key: string; key: string }> => {
      const row = await find(ctx, keyId);
      if (row.revokedAt) throw conflict("key_revoked", "This key is revoked.");
      const secret = newSecret();
      const at = clock.date();
      const changed = await database.transaction(async (tx, afterCommit) => {
        const [updated] = await tx
          .update(apiKeys)
          .set({
            prefix: secret.slice(0, 12),
            secretHash: sha256Hex(secret),
            previousHash: overlapSeconds > 0 ? row.secretHash : null,
            previousUntil: overlapSeconds > 0 ? new Date(at.getTime() + overlapSeconds * 1000) : null,
          })
          .where(and(eq(apiKeys.id, row.id), eq(apiKeys.secretHash, row.secretHash), isNull(apiKeys.revokedAt)))
          .returning();
        if (!updated) throw conflict("key_changed", "The key was changed by somebody else meanwhile.");
        await deps.audit.record(tx, ctx, {
          type: "api_key_updated",
          action: "rotate",
          resource: { type: "api_key", id: row.id, label: row.name },
          details: { overlap_seconds: overlapSeconds },
        });
        afterCommit(() => deps.authenticator.rightsChanged(row.userId));
        return updated;
      });
      return { ...presentKey(changed, at), api_key: secret, key: secret };
    },

    /** Revoking twice is no error. */
    revoke: async (ctx: Context, keyId: string): Promise<void> => {
      const row = await find(ctx, keyId);
      if (row.revokedAt) return;
      await database.transaction(async (tx, afterCommit) => {
        await tx
          .update(apiKeys)
          .set({ revokedAt: clock.date(), previousHash: null, previousUntil: null })
          .where(eq(apiKeys.id, row.id));
        await deps.audit.record(tx, ctx, {
          type: "api_key_revoked",
          resource: { type: "api_key", id: row.id, label: row.name },
        });
        afterCommit(() => deps.authenticator.rightsChanged(row.userId));
      });
    },
  };
}

export type Keys = ReturnType<typeof keyService>;
