// What taking documents in asks of other areas; app.ts hands it over.

import type { Context } from "../../core/context.ts";
import type { SizeClass } from "../../lib/extract/index.ts";

/** A bot as far as its knowledge is concerned. */
export interface KnowledgeBot {
  id: string;
  name: string;
  /** `rag-chunk-size` and `rag-chunk-overlap`. */
  chunkTokens: number;
  overlapTokens: number;
  /** `kb-max-collections`. */
  collectionsMax: number;
  /** `kb-…-max-size`, in bytes. */
  sizeMax: Readonly<Record<SizeClass, number>>;
}

export interface BotsDoor {
  /** By id or name; null: the default bot. Null when there is no such bot. */
  find(ref: string | null): Promise<KnowledgeBot | null>;
  /** True if the caller may talk to the bot. */
  mayUse(ctx: Context, botId: string): Promise<boolean>;
}
