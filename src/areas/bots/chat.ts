// Bots as conversations see them: who may talk to which, and the settings that a chat follows.

import type { Context } from "../../core/context.ts";
import { holds } from "../../core/context.ts";
import type { BotDirectory, ChatBot } from "../conversations/responder.ts";
import type { BotConfig } from "./config.ts";
import type { BotsDirectory, LoadedBot } from "./directory.ts";
import type { BotRow } from "./model.ts";
import { decideAccess, decideManagement, isOpen } from "./rules.ts";
import { themeCss } from "./theme.ts";

/** The language a bot speaks by itself: what its settings say, else its row. */
export function botLanguage(row: Pick<BotRow, "language">, config: BotConfig): string {
  return config.source("language") === "default" ? row.language : config.value("language");
}

function chatBot({ row, config }: LoadedBot, isDefault: boolean): ChatBot {
  return {
    id: row.id,
    name: row.name,
    title: config.value("theme-title") ?? row.displayName,
    // Colours alone are a theme too.
    theme: config.value("theme") ?? (themeCss(config) === "" ? null : "default"),
    isActive: isOpen(row),
    isDefault,
    anonymousAllowed: row.anonymousAllowed,
    language: botLanguage(row, config),
    sessionTimeoutSeconds: config.value("session-timeout"),
    messagesPerMinute: config.value("session-rate-limit"),
    retentionDays: config.value("data-retention-days"),
    showToolActivity: config.value("show-tool-activity"),
    sessionsMax: row.maxConcurrentSessions,
  };
}

/** The directory that conversations ask for every message; answers come from memory as a rule. */
export function chatDirectory(directory: BotsDirectory): BotDirectory {
  return {
    find: async (ref) => {
      const bot = await directory.find(ref);
      return bot ? chatBot(bot, directory.isDefault(bot.row)) : null;
    },
    access: async (ctx: Context, { id }: ChatBot) => {
      const bot = await directory.find(id);
      if (!bot) return "unknown";
      // A closed bot is told as such (409), to those who could use it otherwise.
      const decision = decideAccess({ ...bot.row, status: "active" }, ctx.caller);
      if (decision.allowed) return "allowed";
      const isManaged = holds(ctx.caller, "bots:read") && decideManagement(bot.row, ctx.caller) !== "hidden";
      return isManaged ? "forbidden" : "unknown";
    },
  };
}
