// The bots as every message needs them: row and settings, kept in the process, dropped everywhere when one changes.

import { and, eq, isNull } from "drizzle-orm";
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { Seal } from "../../core/seal.ts";
import type { Cache } from "../../engines/cache/index.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import { isUuid } from "../../lib/ids/index.ts";
import type { BotConfig, ConfigSurroundings, StoredSetting } from "./config.ts";
import { openConfig } from "./config.ts";
import type { BotRow, BotSettingRow } from "./model.ts";
import { bots, botSettings } from "./model.ts";

export const DEFAULT_BOT = "default";
/** What another instance changed is seen after this time even if it could not tell. */
const TTL_MS = 2000;
const ENTRIES_MAX = 1000;
const CHANNEL = "bots";

export interface LoadedBot {
  row: BotRow;
  config: BotConfig;
}

export interface BotsDirectory {
  /** By id or name; null is the default bot. Null when there is none or it has been deleted. */
  find(ref: string | null): Promise<LoadedBot | null>;
  isDefault(bot: Pick<BotRow, "name">): boolean;
  /** After a commit that changed the bot: every instance reads it anew. */
  announce(botId: string): Promise<void>;
  /** Called on this instance whenever a bot has changed, also by another one. */
  onChange(handler: (botId: string) => void): void;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Settings as stored, opened; one that no key opens any more counts as absent and is logged by name. */
export function openSettings(rows: readonly BotSettingRow[], seal: Pick<Seal, "open">, log: Log): StoredSetting[] {
  return rows.flatMap((row) => {
    try {
      const value = row.isSealed ? seal.open(row.value) : row.value;
      return [{ source: row.source, key: row.name, value }];
    } catch (error) {
      log.error("a sealed setting of a bot cannot be opened", { bot: row.botId, setting: row.name, error });
      return [];
    }
  });
}

/** Makes the directory; `defaultBot` is the name that the server's configuration gives. */
export function botsDirectory(deps: {
  engine: DatabaseEngine;
  cache: Cache;
  clock: Clock;
  seal: Pick<Seal, "open">;
  log: Log;
  surroundings: ConfigSurroundings;
  defaultBot?: () => string;
}): BotsDirectory {
  const { engine, cache, clock, seal, log, surroundings } = deps;
  const defaultBot = deps.defaultBot ?? (() => DEFAULT_BOT);
  const known = new Map<string, { bot: LoadedBot; until: number }>();
  const loading = new Map<string, Promise<LoadedBot | null>>();
  const handlers: ((botId: string) => void)[] = [];
  const endings: (() => Promise<void>)[] = [];

  async function load(ref: string): Promise<LoadedBot | null> {
    const which = isUuid(ref) ? eq(bots.id, ref) : eq(bots.name, ref);
    const [row] = await engine.db
      .select()
      .from(bots)
      .where(and(which, isNull(bots.deletedAt)));
    if (!row) return null;
    const rows = await engine.db.select().from(botSettings).where(eq(botSettings.botId, row.id));
    return { row, config: openConfig(openSettings(rows, seal, log), surroundings) };
  }

  function forget(botId: string): void {
    for (const [ref, { bot }] of known) if (bot.row.id === botId) known.delete(ref);
    // A load that began before the change may carry the old state: its result must not be kept.
    loading.clear();
    for (const handler of handlers) handler(botId);
  }

  async function find(ref: string | null): Promise<LoadedBot | null> {
    const wanted = (ref ?? defaultBot()).toLowerCase();
    const kept = known.get(wanted);
    if (kept && kept.until > clock.now()) return kept.bot;
    const running = loading.get(wanted);
    if (running) return running;
    const run = load(wanted);
    loading.set(wanted, run);
    try {
      const bot = await run;
      if (loading.get(wanted) !== run) return bot;
      known.delete(wanted);
      if (bot) known.set(wanted, { bot, until: clock.now() + TTL_MS });
      const oldest = known.size > ENTRIES_MAX ? known.keys().next().value : undefined;
      if (oldest !== undefined) known.delete(oldest);
      return bot;
    } finally {
      if (loading.get(wanted) === run) loading.delete(wanted);
    }
  }

  return {
    find,
    isDefault: (bot) => bot.name === defaultBot(),
    announce: async (botId) => {
      // At once here, whatever the way through the cache takes.
      forget(botId);
      await cache.publish(CHANNEL, botId);
    },
    onChange: (handler) => {
      handlers.push(handler);
    },
    start: async () => {
      endings.push(await cache.subscribe(CHANNEL, forget));
    },
    stop: async () => {
      for (const end of endings.splice(0)) await end();
    },
  };
}
