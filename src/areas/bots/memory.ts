// What bots remember: of everybody (bot), of one person with all bots (user), of one person with one bot. Writes are
// last-writer-wins by key and atomic; entries whose time has passed are not there.

import { and, count, desc, eq, gt, isNull, like, lt, or, sql } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import type { Context } from "../../core/context.ts";
import { forbidden, invalid, notFound, conflict, preconditionFailed } from "../../core/errors.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import { isUuid, uuidv7 } from "../../lib/ids/index.ts";
import type { BotService } from "./service.ts";
import type { BotsDirectory, LoadedBot } from "./directory.ts";
import type { MemoryKind, MemoryRow } from "./model.ts";
import { botMemory } from "./model.ts";
import { SETTINGS } from "./config.ts";

/** Whose memory: null means "all" on that side; never both. */
export interface MemoryScope {
  botId: string | null;
  userId: string | null;
}

export interface MemoryEntry {
  key: string;
  value: unknown;
  kind: MemoryKind | null;
  bot_id: string | null;
  user_id: string | null;
  expires_at: string | null;
  updated_at: string;
}

export interface MemoryInput {
  value: unknown;
  kind?: MemoryKind | null;
  /** Seconds; 0 keeps. */
  ttl?: number;
}

const VALUE_MAX_BYTES = 65_536;
const KEY_MAX = 255;
/** Facts about a person that go into a prompt, at most. */
const FACTS_MAX = 50;

export type MemoryService = ReturnType<typeof memoryService>;

export function presentEntry(row: MemoryRow): MemoryEntry {
  return {
    key: row.key,
    value: row.value.v,
    kind: row.kind,
    bot_id: row.botId,
    user_id: row.userId,
    expires_at: row.expiresAt?.toISOString() ?? null,
    updated_at: row.updatedAt.toISOString(),
  };
}

export function memoryEtag(row: Pick<MemoryRow, "version" | "id">): string {
  return `"${row.id.slice(-8)}-${row.version}"`;
}

/** The verbs over memory. */
export function memoryService(deps: {
  engine: DatabaseEngine;
  clock: Clock;
  audit: Audit;
  directory: BotsDirectory;
  bots: Pick<BotService, "manageable" | "usable">;
}) {
  const { engine, clock, audit, directory, bots } = deps;

  const inScope = (scope: MemoryScope) =>
    and(
      scope.botId === null ? isNull(botMemory.botId) : eq(botMemory.botId, scope.botId),
      scope.userId === null ? isNull(botMemory.userId) : eq(botMemory.userId, scope.userId),
    );
  const alive = () => or(isNull(botMemory.expiresAt), gt(botMemory.expiresAt, clock.date()));

  function check(key: string, input: MemoryInput): void {
    if (key === "" || key.length > KEY_MAX)
      throw invalid([{ path: "key", message: `must be 1–${KEY_MAX} characters` }]);
    if (input.value === undefined) throw invalid([{ path: "value", message: "is required" }]);
    if (Buffer.byteLength(JSON.stringify(input.value)) > VALUE_MAX_BYTES) {
      throw invalid([{ path: "value", message: `must be at most ${VALUE_MAX_BYTES} bytes of JSON` }]);
    }
  }

  /** Writes one entry; 409 `memory_full` above `keysMax`, 412 when `ifMatch` names another version. */
  async function put(
    ctx: Context,
    scope: MemoryScope,
    key: string,
    input: MemoryInput,
    rules: { keysMax: number; defaultTtl: number; ifMatch: string | null },
  ): Promise<MemoryRow> {
    check(key, input);
    const ttl = input.ttl ?? rules.defaultTtl;
    const expiresAt = ttl > 0 ? new Date(clock.now() + ttl * 1000) : null;
    return engine.transaction(async (tx) => {
      // One lock per scope, so that the count below holds until the commit.
      await tx.execute(
        sql`select pg_advisory_xact_lock(hashtextextended(${`memory:${scope.botId}:${scope.userId}`}, 0))`,
      );
      await tx.delete(botMemory).where(and(inScope(scope), lt(botMemory.expiresAt, clock.date())));
      const [before] = await tx
        .select()
        .from(botMemory)
        .where(and(inScope(scope), eq(botMemory.key, key)));
      if (rules.ifMatch !== null) {
        const matches = before !== undefined && (rules.ifMatch === "*" || rules.ifMatch === memoryEtag(before));
        if (!matches) throw preconditionFailed();
      }
      if (before) {
        const [row] = await tx
          .update(botMemory)
          .set({
            value: { v: input.value },
            kind: input.kind === undefined ? before.kind : input.kind,
            expiresAt,
            version: before.version + 1,
            updatedAt: clock.date(),
          })
          .where(eq(botMemory.id, before.id))
          .returning();
        if (!row) throw new Error("a locked memory entry has vanished");
        return row;
      }
      const [held] = await tx.select({ n: count() }).from(botMemory).where(inScope(scope));
      if ((held?.n ?? 0) >= rules.keysMax) {
        throw conflict("memory_full", `At most ${rules.keysMax} entries are kept.`, { limit: rules.keysMax });
      }
      const [row] = await tx
        .insert(botMemory)
        .values({
          id: uuidv7(),
          ...scope,
          key,
          value: { v: input.value },
          kind: input.kind ?? null,
          expiresAt,
          createdAt: clock.date(),
          updatedAt: clock.date(),
        })
        .returning();
      if (!row) throw new Error("a memory entry was not written");
      await audit.record(tx, ctx, {
        type: "memory_changed",
        action: "set",
        resource: { type: "memory", id: row.id },
        details: { scope: scope.userId === null ? "bot" : scope.botId === null ? "user" : "user_bot" },
      });
      return row;
    });
  }

  async function get(scope: MemoryScope, key: string): Promise<MemoryRow> {
    const [row] = await engine.db
      .select()
      .from(botMemory)
      .where(and(inScope(scope), eq(botMemory.key, key), alive()));
    if (!row) throw notFound("memory entry");
    return row;
  }

  async function remove(ctx: Context, scope: MemoryScope, key: string | null): Promise<number> {
    return engine.transaction(async (tx) => {
      const gone = await tx
        .delete(botMemory)
        .where(and(inScope(scope), key === null ? undefined : eq(botMemory.key, key)))
        .returning({ id: botMemory.id });
      if (gone.length > 0) {
        await audit.record(tx, ctx, {
          type: "memory_changed",
          action: "delete",
          ...(key === null || !gone[0] ? {} : { resource: { type: "memory", id: gone[0].id } }),
          details: { deleted: gone.length },
        });
      }
      return gone.length;
    });
  }

  const rulesOf = (bot: LoadedBot | null, ifMatch: string | null) => ({
    keysMax: bot?.config.value("user-memory-max-keys") ?? SETTINGS["user-memory-max-keys"].fallback,
    defaultTtl: bot?.config.value("user-memory-default-ttl") ?? SETTINGS["user-memory-default-ttl"].fallback,
    ifMatch,
  });

  function person(ctx: Context): string {
    if (ctx.caller.userId === null) throw notFound("memory entry");
    return ctx.caller.userId;
  }

  /** The scope of the caller's own memory: of all bots, or of one that the caller may use. */
  async function own(ctx: Context, botRef: string | undefined): Promise<{ scope: MemoryScope; bot: LoadedBot | null }> {
    const userId = person(ctx);
    if (botRef === undefined) return { scope: { botId: null, userId }, bot: null };
    const bot = await bots.usable(ctx, botRef);
    return { scope: { botId: bot.row.id, userId }, bot };
  }

  const escaped = (prefix: string) => `${prefix.replaceAll(/[\\%_]/g, (one) => `\\${one}`)}%`;

  return {
    listOfBot: async (ctx: Context, ref: string, query: { prefix?: string; limit: number; offset: number }) => {
      const { row } = await bots.manageable(ctx, ref, "read");
      const where = and(
        inScope({ botId: row.id, userId: null }),
        alive(),
        query.prefix === undefined ? undefined : like(botMemory.key, escaped(query.prefix)),
      );
      const [rows, [counted]] = await Promise.all([
        engine.db.select().from(botMemory).where(where).orderBy(botMemory.key).limit(query.limit).offset(query.offset),
        engine.db.select({ n: count() }).from(botMemory).where(where),
      ]);
      return {
        entries: rows.map(presentEntry),
        total: counted?.n ?? 0,
        limit: query.limit,
        offset: query.offset,
      };
    },
    getOfBot: async (ctx: Context, ref: string, key: string) => {
      const { row } = await bots.manageable(ctx, ref, "read");
      return get({ botId: row.id, userId: null }, key);
    },
    putOfBot: async (ctx: Context, ref: string, key: string, input: MemoryInput, ifMatch: string | null) => {
      const bot = await bots.manageable(ctx, ref, "full");
      return put(ctx, { botId: bot.row.id, userId: null }, key, input, { ...rulesOf(bot, ifMatch), defaultTtl: 0 });
    },
    removeOfBot: async (ctx: Context, ref: string, key: string): Promise<void> => {
      const { row } = await bots.manageable(ctx, ref, "full");
      if ((await remove(ctx, { botId: row.id, userId: null }, key)) === 0) throw notFound("memory entry");
    },

    /** All that bots remember of the caller; admins may name another user. */
    list: async (
      ctx: Context,
      query: { kind?: MemoryKind; bot_id?: string; user_id?: string; limit: number; offset: number },
    ) => {
      const isOther = query.user_id !== undefined && query.user_id !== ctx.caller.userId;
      if (isOther && !ctx.caller.permissions.has("*")) throw forbidden("*");
      const userId = isOther ? query.user_id : person(ctx);
      if (userId === undefined || !isUuid(userId)) throw invalid([{ path: "user_id", message: "is no user's id" }]);
      const bot = query.bot_id === undefined ? null : await directory.find(query.bot_id);
      if (query.bot_id !== undefined && !bot) throw notFound("bot");
      const where = and(
        eq(botMemory.userId, userId),
        alive(),
        query.kind === undefined ? undefined : eq(botMemory.kind, query.kind),
        bot === null ? undefined : eq(botMemory.botId, bot.row.id),
      );
      const [rows, [counted]] = await Promise.all([
        engine.db
          .select()
          .from(botMemory)
          .where(where)
          .orderBy(botMemory.key, botMemory.id)
          .limit(query.limit)
          .offset(query.offset),
        engine.db.select({ n: count() }).from(botMemory).where(where),
      ]);
      return {
        entries: rows.map(presentEntry),
        total: counted?.n ?? 0,
        limit: query.limit,
        offset: query.offset,
      };
    },
    get: async (ctx: Context, key: string, botRef?: string) => get((await own(ctx, botRef)).scope, key),
    put: async (ctx: Context, key: string, input: MemoryInput, botRef: string | undefined, ifMatch: string | null) => {
      const { scope, bot } = await own(ctx, botRef);
      return put(ctx, scope, key, input, rulesOf(bot, ifMatch));
    },
    remove: async (ctx: Context, key: string, botRef?: string): Promise<void> => {
      if ((await remove(ctx, (await own(ctx, botRef)).scope, key)) === 0) throw notFound("memory entry");
    },
    /** Forgets all about the caller; with a bot, what that bot knows. */
    removeAll: async (ctx: Context, botRef?: string): Promise<number> => {
      if (botRef !== undefined) return remove(ctx, (await own(ctx, botRef)).scope, null);
      const userId = person(ctx);
      return engine.transaction(async (tx) => {
        const gone = await tx.delete(botMemory).where(eq(botMemory.userId, userId)).returning({ id: botMemory.id });
        if (gone.length > 0) {
          await audit.record(tx, ctx, { type: "memory_changed", action: "delete", details: { deleted: gone.length } });
        }
        return gone.length;
      });
    },

    /** What a bot knows of a person, newest first, for its prompt. */
    facts: async (botId: string, userId: string): Promise<{ key: string; value: unknown }[]> => {
      const rows = await engine.db
        .select({ key: botMemory.key, value: botMemory.value })
        .from(botMemory)
        .where(and(eq(botMemory.userId, userId), or(isNull(botMemory.botId), eq(botMemory.botId, botId)), alive()))
        .orderBy(desc(botMemory.updatedAt))
        .limit(FACTS_MAX);
      return rows.map(({ key, value }) => ({ key, value: value.v }));
    },

    /** For the registry of data about people. */
    exportOf: async (db: Database, userId: string): Promise<MemoryEntry[]> =>
      (await db.select().from(botMemory).where(eq(botMemory.userId, userId)).orderBy(botMemory.key)).map(presentEntry),
    eraseOf: async (tx: Database, userId: string): Promise<void> => {
      await tx.delete(botMemory).where(eq(botMemory.userId, userId));
    },
  };
}
