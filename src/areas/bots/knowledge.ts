// What answering asks of knowledge; the knowledge area implements it, app.ts hands it in. Types only.

import type { Context } from "../../core/context.ts";
import type { BotConfig } from "./config.ts";

/** A passage that the caller may read. */
export interface FoundPassage {
  documentId: string;
  title: string;
  collection: string | null;
  path: string | null;
  page: number | null;
  slide: number | null;
  sheet: string | null;
  row: number | null;
  line: number | null;
  /** Headings above it, widest first. */
  headingPath: string[];
  /** Where a page of a website was read. */
  sourceUrl: string | null;
  /** A piece of the document's text: from `charStart` up to `charEnd`, UTF-16 offsets. */
  text: string;
  charStart: number;
  charEnd: number;
  /** 0..1 */
  score: number;
}

/** Sentences of one passage, word for word. */
export interface Quotation {
  /** Index into the passages that were given. */
  passage: number;
  /** Offset into the passage's text. */
  start: number;
  text: string;
}

export interface KnowledgeScope {
  botId: string;
  /** Names of the collections in use. `all`: every one; `auto`: those that are marked as active by themselves. */
  collections: readonly string[] | "all" | "auto";
  config: BotConfig;
}

export interface AnsweringKnowledge {
  /** Best first, at most `rag-top-k`, all above `rag-min-score`. `degraded`: services that were missing. */
  find(
    ctx: Context,
    scope: KnowledgeScope,
    question: string,
    signal: AbortSignal,
  ): Promise<{ passages: FoundPassage[]; degraded: string[] }>;
  /** The sentences that answer best and how sure that is (0..1); none when nothing fits at all. */
  quote(
    question: string,
    passages: readonly FoundPassage[],
    language: string | null,
  ): Promise<{ quotations: Quotation[]; confidence: number }>;
  /** Changes whenever another passage might be found by this caller: collections, their generations, rights. */
  fingerprint(ctx: Context, scope: KnowledgeScope): Promise<string>;
  /** Questions that this caller's part of the knowledge answers. */
  questions(ctx: Context, scope: KnowledgeScope, language: string, limit: number): Promise<string[]>;
}
