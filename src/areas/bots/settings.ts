// Settings of bots as people read and change them: overrides that win over the package and survive its reloads.

import { and, eq, inArray, sql } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import type { Context } from "../../core/context.ts";
import type { FieldFault } from "../../core/errors.ts";
import { forbidden, invalid, notFound } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Seal } from "../../core/seal.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type { ConfigSurroundings, SettingView } from "./config.ts";
import {
  isAdminOnly,
  isKnown,
  isSecret,
  isServerLevel,
  openConfig,
  settingKey,
  valueFault,
  VALUE_MAX,
} from "./config.ts";
import type { BotsDirectory } from "./directory.ts";
import { openSettings } from "./directory.ts";
import type { BotRow } from "./model.ts";
import { bots, botSettings } from "./model.ts";

/** A setting as it is sent: null takes an override away. */
export type SettingInput = string | number | boolean | string[] | null;

/** Judges an address from input; throws 422 `address_refused`. */
export type JudgeAddress = (url: string) => Promise<void>;

const KEY = /^[a-z0-9][a-z0-9.-]{0,99}$/;
const OVERRIDES_MAX = 1000;
/** Addresses that the server itself will call. */
const ADDRESS_KEYS = new Set(["llm-url"]);

export interface PreparedSettings {
  /** Key → text, or null to remove. */
  values: Map<string, string | null>;
}

export type BotSettings = ReturnType<typeof botSettingsService>;

/** Reading and writing of settings; which bot a caller may touch is decided by whoever calls. */
export function botSettingsService(deps: {
  engine: DatabaseEngine;
  clock: Clock;
  log: Log;
  audit: Audit;
  seal: Pick<Seal, "seal" | "open">;
  directory: BotsDirectory;
  surroundings: ConfigSurroundings;
  judgeAddress: JudgeAddress;
}) {
  const { engine, clock, log, audit, seal, directory, surroundings, judgeAddress } = deps;

  /** Checks all values at once; throws 422 with every fault, 403 for what only administrators may set. */
  async function prepare(ctx: Context, input: Record<string, SettingInput>, at = ""): Promise<PreparedSettings> {
    const faults: FieldFault[] = [];
    const values = new Map<string, string | null>();
    for (const [name, given] of Object.entries(input)) {
      const path = `${at}${name}`;
      const key = settingKey(name);
      if (!KEY.test(key)) faults.push({ path, message: "is no name of a setting" });
      else if (isServerLevel(key)) faults.push({ path, message: "is set by the server's environment only" });
      else if (isAdminOnly(key) && !ctx.caller.permissions.has("*")) throw forbidden("*", "admin_only");
      else if (given === null) values.set(key, null);
      else {
        const text = Array.isArray(given) ? given.join(",") : String(given);
        // What was shown as a mask and comes back unchanged is no new value.
        if (isSecret(key) && text === "***") continue;
        const expected = text === "" && !isKnown(key) ? null : valueFault(key, text);
        if (expected === null) values.set(key, text);
        else faults.push({ path, message: `must be ${expected}`, expected });
      }
    }
    if (faults.length > 0) throw invalid(faults);
    for (const [key, text] of values) {
      if (text === null || !ADDRESS_KEYS.has(key)) continue;
      await judgeAddress(text).catch((error: unknown) => {
        log.info("an address of a bot's settings was refused", { setting: key, error });
        throw invalid([{ path: `${at}${key}`, message: "this address may not be called" }], "address_refused");
      });
    }
    return { values };
  }

  async function stored(db: Database, botId: string) {
    const rows = await db.select().from(botSettings).where(eq(botSettings.botId, botId));
    return openSettings(rows, seal, log);
  }

  /** Writes checked values in the caller's transaction, with their audit entry. */
  async function write(tx: Database, ctx: Context, bot: Pick<BotRow, "id" | "name">, prepared: PreparedSettings) {
    if (prepared.values.size === 0) return;
    const before = openConfig(await stored(tx, bot.id), surroundings);
    const keys = [...prepared.values.keys()];
    const mine = and(eq(botSettings.botId, bot.id), eq(botSettings.source, "override"));
    await tx.delete(botSettings).where(and(mine, inArray(botSettings.name, keys)));
    const rows = [...prepared.values].flatMap(([name, text]) =>
      text === null
        ? []
        : [
            {
              botId: bot.id,
              source: "override" as const,
              name,
              value: isSecret(name) ? seal.seal(text) : text,
              isSealed: isSecret(name),
              updatedBy: ctx.caller.userId,
              updatedAt: clock.date(),
            },
          ],
    );
    if (rows.length > 0) await tx.insert(botSettings).values(rows);
    const [counted] = await tx
      .select({ count: sql<number>`count(*)::int` })
      .from(botSettings)
      .where(mine);
    if ((counted?.count ?? 0) > OVERRIDES_MAX) {
      throw invalid([{ path: "config", message: `at most ${OVERRIDES_MAX} settings can be set` }]);
    }
    const shown = (key: string, text: string | null) => (text !== null && isSecret(key) ? "***" : text);
    await audit.record(tx, ctx, {
      type: "bot_config_changed",
      resource: { type: "bot", id: bot.id, label: bot.name },
      changes: Object.fromEntries(
        [...prepared.values].map(([key, text]) => [key, { from: shown(key, before.text(key)), to: shown(key, text) }]),
      ),
    });
  }

  async function change(ctx: Context, bot: Pick<BotRow, "id" | "name">, prepared: PreparedSettings): Promise<void> {
    await engine.transaction(async (tx, afterCommit) => {
      // The row is the lock: two writers of one bot's settings wait for each other.
      await tx.update(bots).set({ updatedAt: clock.date() }).where(eq(bots.id, bot.id));
      await write(tx, ctx, bot, prepared);
      afterCommit(() => directory.announce(bot.id));
    });
  }

  const views = async (botId: string): Promise<SettingView[]> =>
    openConfig(await stored(engine.db, botId), surroundings).views();

  return {
    prepare,
    write,
    list: views,
    /** Sets and removes overrides, all or none; the new values count at once on every instance. */
    put: async (ctx: Context, bot: Pick<BotRow, "id" | "name">, input: Record<string, SettingInput>) => {
      await change(ctx, bot, await prepare(ctx, input));
      return views(bot.id);
    },
    putOne: async (
      ctx: Context,
      bot: Pick<BotRow, "id" | "name">,
      given: string,
      value: SettingInput,
    ): Promise<SettingView> => {
      const prepared = await prepare(ctx, { [given]: value });
      await change(ctx, bot, prepared);
      const name = settingKey(given);
      const found = (await views(bot.id)).find((one) => one.name === name);
      // A key of the bot's own that was set to null is nowhere any more.
      return found ?? { name, value: null, source: "default", secret: isSecret(name) };
    },
    removeOne: async (ctx: Context, bot: Pick<BotRow, "id" | "name">, name: string): Promise<void> => {
      const key = settingKey(name);
      const rows = await engine.db
        .select({ name: botSettings.name })
        .from(botSettings)
        .where(and(eq(botSettings.botId, bot.id), eq(botSettings.source, "override"), eq(botSettings.name, key)));
      if (rows.length === 0) throw notFound("setting");
      await change(ctx, bot, await prepare(ctx, { [name]: null }));
    },
    valueMax: VALUE_MAX,
  };
}
