// The answers that bots keep to give them again, as managers of knowledge see them: figures and forgetting.

import type { Audit } from "../../core/audit/index.ts";
import { holds, requirePermission, type Context } from "../../core/context.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import type { AnswerCache } from "../bots/answer-cache.ts";
import type { Finder } from "./finder.ts";

/** The cache, kept by the bots area. */
export type CachedAnswersDoor = Pick<AnswerCache, "stats" | "clear">;

export type CachedAnswers = ReturnType<typeof cachedAnswers>;

/** Makes the verbs over the cache. */
export function cachedAnswers(deps: {
  database: DatabaseEngine;
  audit: Audit;
  finder: Finder;
  cachedAnswers: CachedAnswersDoor;
}) {
  const { database, audit, finder } = deps;

  const botOf = async (ctx: Context, ref: string | undefined) => (ref === undefined ? null : finder.bot(ctx, ref));

  return {
    /** Of one bot, or of all; since this instance began. */
    stats: async (ctx: Context, botRef: string | undefined) => {
      const bot = await botOf(ctx, botRef);
      return deps.cachedAnswers.stats(bot?.id ?? null);
    },

    /** Forgets the answers of one bot (`kb:write`) or of all (`admin:cache`) on every instance. */
    clear: async (ctx: Context, botRef: string | undefined): Promise<{ cleared: number }> => {
      const enough = botRef !== undefined && holds(ctx.caller, "kb:write");
      if (!enough) requirePermission(ctx, "admin:cache");
      const bot = await botOf(ctx, botRef);
      const cleared = await deps.cachedAnswers.clear(bot?.id ?? null);
      await audit.record(database.db, ctx, {
        type: "cache_cleared",
        ...(bot ? { resource: { type: "bot", id: bot.id, label: bot.name } } : {}),
        details: { scope: "answers", cleared },
      });
      return { cleared };
    },
  };
}
