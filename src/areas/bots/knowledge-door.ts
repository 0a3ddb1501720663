// Bots as the knowledge area sees them: the settings that documents are taken in by.

import type { BotsDoor } from "../knowledge/doors.ts";
import type { BotsDirectory } from "./directory.ts";
import { decideAccess } from "./rules.ts";

/** Slides have no key of their own. */
const SLIDES_MAX_BYTES = 25 * 2 ** 20;

/** The directory as the knowledge area asks it. */
export function knowledgeDoor(directory: BotsDirectory): BotsDoor {
  return {
    find: async (ref) => {
      const bot = await directory.find(ref);
      if (!bot) return null;
      const { row, config } = bot;
      return {
        id: row.id,
        name: row.name,
        chunkTokens: config.value("rag-chunk-size"),
        overlapTokens: config.value("rag-chunk-overlap"),
        collectionsMax: config.value("kb-max-collections"),
        sizeMax: {
          pdf: config.value("kb-pdf-max-size"),
          word: config.value("kb-word-max-size"),
          excel: config.value("kb-excel-max-size"),
          slides: SLIDES_MAX_BYTES,
          text: config.value("kb-text-max-size"),
          image: config.value("kb-image-max-size"),
        },
      };
    },
    mayUse: async (ctx, botId) => {
      const bot = await directory.find(botId);
      return bot !== null && decideAccess(bot.row, ctx.caller).allowed;
    },
  };
}
