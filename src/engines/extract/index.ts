// Documents to passages in Workers: whatever a file is made of, it costs bounded time and memory and no turn of the
// event loop.

import type { ExtractFailure } from "../../lib/extract/index.ts";

export interface ExtractRequest {
  /** Handed over to a Worker: not readable here afterwards. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Tells Markdown and HTML from plain text, nothing else. */
  name: string;
  chunkTokens: number;
  overlapTokens: number;
  /** Told when the text is read and being cut. */
  onChunking?: () => void;
}

/** A passage as a document is cut; offsets are UTF-16 units of the normalised text. */
export interface ExtractedPassage {
  ordinal: number;
  text: string;
  headingPath: string[];
  tokens: number;
  page: number | null;
  line: number | null;
  charStart: number;
  charEnd: number;
}

export interface ExtractedDocument {
  mime: string;
  title: string | null;
  /** ISO 639-1, null when it cannot be told. */
  language: string | null;
  /** Null where the format has no pages. */
  pages: number | null;
  characters: number;
  /** The normalised text in UTF-8. */
  text: Uint8Array<ArrayBuffer>;
  passagesCount: number;
  /** The passages in batches of at most `size`, from the one with ordinal `from`. */
  passages(size: number, from?: number): Generator<ExtractedPassage[]>;
}

export interface ExtractHealth {
  workers: number;
  busy: number;
  waiting: number;
  /** Threads that were given up and still run; they end with the process. */
  lost: number;
}

export interface ExtractEngine {
  /** Documents that are worked on at a time. */
  readonly size: number;
  /**
   * Reads and cuts a document. Throws `ExtractFailure` for what is wrong with it, `timeout` and crashes included, and
   * the signal's reason when aborted.
   */
  extract(request: ExtractRequest, signal?: AbortSignal): Promise<ExtractedDocument>;
  health(): ExtractHealth;
  close(): Promise<void>;
}

export type { ExtractFailure };
