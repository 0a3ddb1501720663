// Bots: who sees which, making, changing, closing, deleting and bringing back. Settings are settings.ts; what a bot
// remembers is memory.ts; how it answers is responder.ts.

import { and, count, eq, gt, inArray, isNotNull, isNull, lt, ne } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import type { Caller, Context } from "../../core/context.ts";
import { holds } from "../../core/context.ts";
import { conflict, forbidden, invalid, notFound, preconditionFailed } from "../../core/errors.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import { isUuid, uuidv7 } from "../../lib/ids/index.ts";
import { kbCollections, kbDocuments } from "../knowledge/model.ts";
import type { BotsDirectory, LoadedBot } from "./directory.ts";
import { DEFAULT_BOT } from "./directory.ts";
import type { BotRow } from "./model.ts";
import type { AccessInput, BotInput } from "./fields.ts";
import { botFields } from "./fields.ts";
import { bots } from "./model.ts";
import type { Bot, BotCard, BotEngines, KnowledgeCounts } from "./present.ts";
import { botEtag, presentAccess, presentBot, presentCard, presentDecision } from "./present.ts";
import type { AccessDecision } from "./rules.ts";
import { decideAccess, decideManagement, nameFault, RESTORE_DAYS } from "./rules.ts";
import type { BotSettings, SettingInput } from "./settings.ts";

const BOTS_MAX = 100;
const DAY_MS = 86_400_000;
const SYSTEM_PERMISSIONS = ["files:read", "email:send", "calendar:write", "tasks:write", "notifications:send"];

export interface AdminListQuery {
  limit: number;
  offset: number;
  sort: "name" | "created_at" | "updated_at";
  order: "asc" | "desc";
  filters: { status?: string; visibility?: string; organization_id?: string; search?: string };
}

export type BotService = ReturnType<typeof botService>;

/** The verbs over bots. `callerOf` gives an account's present standing, for questions about another's access. */
export function botService(deps: {
  engine: DatabaseEngine;
  clock: Clock;
  audit: Audit;
  directory: BotsDirectory;
  settings: BotSettings;
  engines: (bot: LoadedBot) => BotEngines;
  callerOf: (userId: string) => Promise<Caller | null>;
}) {
  const { engine, clock, audit, directory, settings, engines, callerOf } = deps;
  const { accessColumns, columnsOf } = botFields(engine);

  /** The bot if the caller may use it; 404 otherwise, whatever the reason. */
  async function usable(ctx: Context, ref: string | null): Promise<LoadedBot> {
    const bot = await directory.find(ref);
    if (!bot || !decideAccess(bot.row, ctx.caller).allowed) throw notFound("bot");
    return bot;
  }

  /** The bot for a holder of a `bots:…` word, which the route has checked. */
  async function manageable(ctx: Context, ref: string, level: "read" | "full"): Promise<LoadedBot> {
    const bot = await directory.find(ref);
    const standing = bot ? decideManagement(bot.row, ctx.caller) : "hidden";
    if (!bot || standing === "hidden") throw notFound("bot");
    if (level === "full" && standing === "read") throw forbidden(null, "other_organization");
    return bot;
  }

  async function countKnowledge(botIds: readonly string[]): Promise<(botId: string) => KnowledgeCounts> {
    if (botIds.length === 0) return () => ({ collections: 0, documents: 0 });
    const ids = [...botIds];
    const [collections, documents] = await Promise.all([
      engine.db
        .select({ botId: kbCollections.botId, n: count() })
        .from(kbCollections)
        .where(inArray(kbCollections.botId, ids))
        .groupBy(kbCollections.botId),
      engine.db
        .select({ botId: kbDocuments.botId, n: count() })
        .from(kbDocuments)
        .where(and(inArray(kbDocuments.botId, ids), isNotNull(kbDocuments.visibleVersion)))
        .groupBy(kbDocuments.botId),
    ]);
    const of = (rows: { botId: string; n: number }[], id: string) => rows.find((row) => row.botId === id)?.n ?? 0;
    return (id) => ({ collections: of(collections, id), documents: of(documents, id) });
  }

  async function whole(bots: readonly LoadedBot[]): Promise<Bot[]> {
    const counts = await countKnowledge(bots.map(({ row }) => row.id));
    return bots.map((bot) =>
      presentBot(bot, {
        isDefault: directory.isDefault(bot.row),
        engines: engines(bot),
        knowledge: counts(bot.row.id),
      }),
    );
  }

  async function one(botId: string): Promise<Bot> {
    const bot = await directory.find(botId);
    const [shown] = bot ? await whole([bot]) : [];
    if (!shown) throw notFound("bot");
    return shown;
  }

  const present = () => engine.db.select().from(bots).where(isNull(bots.deletedAt));
  const matches = (row: BotRow, search: string | undefined) => {
    const wanted = search?.trim().toLowerCase() ?? "";
    return [row.name, row.displayName, row.description].some((text) => text.toLowerCase().includes(wanted));
  };

  const settingsOf = (input: BotInput): Record<string, SettingInput> => ({
    ...input.config,
    ...(input.answer_mode === undefined ? {} : { "answer-mode": input.answer_mode }),
  });

  async function insert(tx: Database, row: typeof bots.$inferInsert): Promise<void> {
    const made = await tx.insert(bots).values(row).onConflictDoNothing().returning({ id: bots.id });
    if (made.length === 0) throw conflict("name_taken");
  }

  /** `public` and `require-authentication` say how a new bot begins; afterwards the row decides. */
  function firstAccess(input: BotInput): Partial<BotRow> {
    const isTrue = (value: SettingInput | undefined) => String(value).toLowerCase() === "true";
    const isPublic = isTrue(input.config?.["public"]);
    if (!isPublic || input.visibility !== undefined) return {};
    return { visibility: "public", anonymousAllowed: !isTrue(input.config?.["require-authentication"]) };
  }

  async function lockedRow(tx: Database, botId: string): Promise<BotRow> {
    const [row] = await tx
      .select()
      .from(bots)
      .where(and(eq(bots.id, botId), isNull(bots.deletedAt)))
      .for("update");
    if (!row) throw notFound("bot");
    return row;
  }

  function changesOf(before: BotRow, columns: Partial<BotRow>): Record<string, { from: unknown; to: unknown }> {
    const changed = (Object.keys(columns) as (keyof BotRow)[]).filter(
      (name) => JSON.stringify(before[name]) !== JSON.stringify(columns[name]),
    );
    return Object.fromEntries(changed.map((name) => [name, { from: before[name], to: columns[name] }]));
  }

  /** Writes columns and settings of one bot in one transaction, with their audit entries. */
  async function store(
    ctx: Context,
    bot: LoadedBot,
    columns: Partial<BotRow>,
    prepared: Awaited<ReturnType<BotSettings["prepare"]>> | null,
    ifMatch: string | null = null,
  ): Promise<void> {
    await engine.transaction(async (tx, afterCommit) => {
      const before = await lockedRow(tx, bot.row.id);
      if (ifMatch !== null && ifMatch !== "*" && ifMatch !== botEtag(before)) throw preconditionFailed();
      // The ETag is made of the moment: two writes within one millisecond must not share it.
      const updatedAt = new Date(Math.max(clock.now(), before.updatedAt.getTime() + 1));
      await tx
        .update(bots)
        .set({ ...columns, updatedAt })
        .where(eq(bots.id, before.id));
      const changes = changesOf(before, columns);
      if (Object.keys(changes).length > 0) {
        const resource = { type: "bot", id: before.id, label: before.name };
        await audit.record(tx, ctx, { type: "bot_updated", resource, changes });
      }
      if (prepared) await settings.write(tx, ctx, before, prepared);
      afterCommit(() => directory.announce(before.id));
    });
  }

  return {
    usable,
    manageable,

    hasDocuments: async (botId: string): Promise<boolean> => (await countKnowledge([botId]))(botId).documents > 0,

    /** The open bots that the caller may use, by name. */
    available: async (ctx: Context, query: { search?: string; limit: number; offset: number }) => {
      const rows = (await present().orderBy(bots.name)).filter(
        (row) => row.status === "active" && decideAccess(row, ctx.caller).allowed && matches(row, query.search),
      );
      const page: BotCard[] = rows
        .slice(query.offset, query.offset + query.limit)
        .map((row) => presentCard(row, directory.isDefault(row)));
      return { bots: page, total: rows.length, limit: query.limit, offset: query.offset };
    },

    card: async (ctx: Context, ref: string): Promise<BotCard> => {
      const { row } = await usable(ctx, ref);
      return presentCard(row, directory.isDefault(row));
    },

    /** Whether the caller, or for holders of `bots:read` the account `userId`, may use the bot, and why. */
    access: async (ctx: Context, ref: string, userId: string | null) => {
      const mayRead = holds(ctx.caller, "bots:read");
      const isOther = userId !== null && userId !== ctx.caller.userId;
      if (isOther && !mayRead) throw forbidden("bots:read");
      const bot = await directory.find(ref);
      const isManaged = bot !== null && mayRead && decideManagement(bot.row, ctx.caller) !== "hidden";
      const own: AccessDecision = bot ? decideAccess(bot.row, ctx.caller) : { allowed: false, reason: "none" };
      if (!bot || (!own.allowed && !isManaged)) throw notFound("bot");
      if (!isManaged) return presentDecision(own);
      const other = isOther ? await callerOf(userId) : null;
      if (isOther && !other) throw notFound("user");
      return { ...presentDecision(other ? decideAccess(bot.row, other) : own), ...presentAccess(bot.row) };
    },

    list: async (ctx: Context, query: AdminListQuery) => {
      const { status, visibility, organization_id: organizationId, search } = query.filters;
      const rows = (await present()).filter(
        (row) =>
          decideManagement(row, ctx.caller) !== "hidden" &&
          (status === undefined || row.status === status) &&
          (visibility === undefined || row.visibility === visibility) &&
          (organizationId === undefined || row.organizationId === organizationId) &&
          matches(row, search),
      );
      const key = (row: BotRow) =>
        query.sort === "name" ? row.name : (query.sort === "created_at" ? row.createdAt : row.updatedAt).toISOString();
      const sign = query.order === "desc" ? -1 : 1;
      rows.sort((a, b) => sign * (key(a) === key(b) ? 0 : key(a) < key(b) ? -1 : 1) || (a.id < b.id ? -1 : 1));
      const page = rows.slice(query.offset, query.offset + query.limit);
      const loaded = await Promise.all(page.map((row) => directory.find(row.id)));
      const shown = await whole(loaded.filter((bot) => bot !== null));
      return { bots: shown, total: rows.length, limit: query.limit, offset: query.offset };
    },

    /** The whole bot and its ETag. */
    get: async (ctx: Context, ref: string): Promise<{ bot: Bot; etag: string }> => {
      const bot = await manageable(ctx, ref, "read");
      const [shown] = await whole([bot]);
      if (!shown) throw notFound("bot");
      return { bot: shown, etag: botEtag(bot.row) };
    },

    create: async (ctx: Context, input: BotInput & { name: string; active?: boolean }): Promise<Bot> => {
      const name = input.name.trim().toLowerCase();
      const fault = nameFault(name);
      if (fault !== null) throw invalid([{ path: "name", message: fault }]);
      const columns = { ...firstAccess(input), ...(await columnsOf(ctx, input)) };
      const prepared = await settings.prepare(ctx, settingsOf(input), "config.");
      const id = uuidv7();
      await engine.transaction(async (tx, afterCommit) => {
        const [present] = await tx.select({ n: count() }).from(bots).where(isNull(bots.deletedAt));
        if ((present?.n ?? 0) >= BOTS_MAX) throw conflict("bot_limit", `At most ${BOTS_MAX} bots are possible.`);
        await insert(tx, {
          id,
          name,
          displayName: name,
          organizationId: ctx.caller.organizationId,
          systemPermissions: SYSTEM_PERMISSIONS,
          ...columns,
          status: input.active === false ? "inactive" : "active",
          createdBy: ctx.caller.userId,
          createdAt: clock.date(),
          updatedAt: clock.date(),
        });
        await audit.record(tx, ctx, { type: "bot_created", resource: { type: "bot", id, label: name } });
        await settings.write(tx, ctx, { id, name }, prepared);
        afterCommit(() => directory.announce(id));
      });
      return one(id);
    },

    update: async (
      ctx: Context,
      ref: string,
      input: BotInput & { status?: "active" | "inactive" },
      ifMatch: string | null,
    ): Promise<{ bot: Bot; etag: string }> => {
      const bot = await manageable(ctx, ref, "full");
      if (input.name !== undefined && input.name !== bot.row.name) throw conflict("name_fixed");
      if (input.status === "inactive" && directory.isDefault(bot.row)) {
        throw conflict("default_bot", "The default bot cannot be closed.");
      }
      const columns = await columnsOf(ctx, input);
      if (input.status !== undefined) columns.status = input.status;
      const prepared = await settings.prepare(ctx, settingsOf(input), "config.");
      await store(ctx, bot, columns, prepared, ifMatch);
      const fresh = await manageable(ctx, bot.row.id, "read");
      return { bot: await one(bot.row.id), etag: botEtag(fresh.row) };
    },

    setAccess: async (ctx: Context, ref: string, input: AccessInput) => {
      const bot = await manageable(ctx, ref, "full");
      await store(ctx, bot, await accessColumns(input), null);
      return presentAccess((await manageable(ctx, bot.row.id, "read")).row);
    },

    /** No longer found from now on; restorable for 30 days. */
    remove: async (ctx: Context, ref: string, input: { confirm?: string; conversations?: "keep" | "delete" }) => {
      const bot = await manageable(ctx, ref, "full");
      if (directory.isDefault(bot.row) || bot.row.name === DEFAULT_BOT) {
        throw conflict("default_bot", "The default bot cannot be deleted.");
      }
      if (input.confirm !== bot.row.name) {
        throw invalid([{ path: "confirm", message: "must be the bot's name", expected: bot.row.name }]);
      }
      await engine.transaction(async (tx, afterCommit) => {
        const row = await lockedRow(tx, bot.row.id);
        await tx
          .update(bots)
          .set({
            deletedAt: clock.date(),
            deletedBy: ctx.caller.userId,
            updatedAt: clock.date(),
            conversationsOnErase: input.conversations ?? "keep",
          })
          .where(eq(bots.id, row.id));
        await audit.record(tx, ctx, {
          type: "bot_deleted",
          resource: { type: "bot", id: row.id, label: row.name },
          details: { conversations: input.conversations ?? "keep" },
        });
        afterCommit(() => directory.announce(row.id));
      });
    },

    restore: async (ctx: Context, ref: string): Promise<Bot> => {
      const since = new Date(clock.now() - RESTORE_DAYS * DAY_MS);
      const which = isUuid(ref) ? eq(bots.id, ref) : eq(bots.name, ref.toLowerCase());
      const deleted = await engine.db
        .select()
        .from(bots)
        .where(and(which, gt(bots.deletedAt, since)));
      // The name may have been used and deleted more than once: the latest is meant.
      const [row] = deleted.toSorted((a, b) => (b.deletedAt?.getTime() ?? 0) - (a.deletedAt?.getTime() ?? 0));
      if (!row || decideManagement(row, ctx.caller) !== "full") throw notFound("bot");
      await engine.transaction(async (tx, afterCommit) => {
        const [taken] = await tx
          .select({ id: bots.id })
          .from(bots)
          .where(and(eq(bots.name, row.name), isNull(bots.deletedAt), ne(bots.id, row.id)));
        if (taken) throw conflict("name_taken");
        const back = await tx
          .update(bots)
          .set({ deletedAt: null, deletedBy: null, updatedAt: clock.date() })
          .where(and(eq(bots.id, row.id), isNotNull(bots.deletedAt)))
          .returning({ id: bots.id });
        if (back.length === 0) throw notFound("bot");
        await audit.record(tx, ctx, {
          type: "bot_restored",
          resource: { type: "bot", id: row.id, label: row.name },
        });
        afterCommit(() => directory.announce(row.id));
      });
      return one(row.id);
    },

    /** Makes the default bot if it is not there; any number of instances may do it at once. */
    seed: async (): Promise<void> => {
      const made = await engine.db
        .insert(bots)
        .values({
          id: uuidv7(),
          name: DEFAULT_BOT,
          displayName: "Assistant",
          visibility: "public",
          anonymousAllowed: true,
          systemPermissions: SYSTEM_PERMISSIONS,
          createdAt: clock.date(),
          updatedAt: clock.date(),
        })
        .onConflictDoNothing()
        .returning({ id: bots.id });
      for (const { id } of made) await directory.announce(id);
    },

    /** Bots whose 30 days are over; what hangs on them is erased before their rows. */
    expired: async (): Promise<BotRow[]> => {
      const before = new Date(clock.now() - RESTORE_DAYS * DAY_MS);
      return engine.db.select().from(bots).where(lt(bots.deletedAt, before));
    },
  };
}
