// What travels between the pool and its Workers.

import type { FailureCode } from "../../lib/extract/index.ts";

export interface ToExtractWorker {
  bytes: Uint8Array<ArrayBuffer>;
  name: string;
  chunkTokens: number;
  overlapTokens: number;
  timeoutMs: number;
  pagesMax: number;
  charactersMax: number;
}

export interface ExtractAnswer {
  mime: string;
  title: string | null;
  language: string | null;
  pages: number | null;
  characters: number;
  text: Uint8Array<ArrayBuffer>;
  passagesCount: number;
  /** One JSON object a line, in UTF-8. */
  passages: Uint8Array<ArrayBuffer>;
}

export type FromExtractWorker =
  | { type: "chunking" }
  | { type: "done"; answer: ExtractAnswer }
  /** `spent`: the Worker's state cannot be trusted any more. */
  | { type: "failed"; code: FailureCode; message: string; spent: boolean };
