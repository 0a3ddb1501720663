// The Worker side: one document at a time from bytes to passages. Results leave as transferred bytes, so that nothing
// large is cloned on the main thread.

import { chunk } from "../../lib/chunk/index.ts";
import { extract } from "../../lib/extract/extractors.ts";
import { packedBytes } from "../../lib/embedded/index.ts";
import { ExtractFailure } from "../../lib/extract/index.ts";
import { normalise } from "../../lib/extract/normalise.ts";
import { detectLanguage } from "../../lib/text/index.ts";
import type { ExtractAnswer, FromExtractWorker, ToExtractWorker } from "./messages.ts";

declare const self: Worker;

const encoder = new TextEncoder();
/** JSON lines are encoded in pieces of about this many characters. */
const PIECE = 1 << 20;

self.addEventListener("message", ({ data }: MessageEvent<ToExtractWorker>) => {
  void answer(data);
});

async function answer(request: ToExtractWorker): Promise<void> {
  try {
    const found = await run(request);
    const message: FromExtractWorker = { type: "done", answer: found };
    self.postMessage(message, [found.text.buffer, found.passages.buffer]);
  } catch (error) {
    const isExpected = error instanceof ExtractFailure;
    const message: FromExtractWorker = {
      type: "failed",
      code: isExpected ? error.code : "corrupted_file",
      message: isExpected ? error.message : "The document could not be read.",
      spent: !isExpected,
    };
    self.postMessage(message);
  }
}

async function run(request: ToExtractWorker): Promise<ExtractAnswer> {
  const limits = {
    pagesMax: request.pagesMax,
    charactersMax: request.charactersMax,
    deadlineMs: performance.now() + request.timeoutMs,
  };
  const extracted = await extract(request.bytes, request.name, {
    limits,
    pdfium: async () => (await packedBytes("@hyzyla/pdfium/dist/pdfium.wasm")).buffer,
  });
  const stage: FromExtractWorker = { type: "chunking" };
  self.postMessage(stage);
  const normalised = normalise(extracted, limits);
  const { text } = normalised;
  const language = detectLanguage(text);
  const options = { sizeTokens: request.chunkTokens, overlapTokens: request.overlapTokens };
  const chunks = chunk(normalised, options, language);
  const pieces: Uint8Array[] = [];
  let lines = "";
  for (const { charStart, charEnd, ...rest } of chunks) {
    lines += `${JSON.stringify({ ...rest, charStart, charEnd, text: text.slice(charStart, charEnd) })}\n`;
    if (lines.length > PIECE) {
      pieces.push(encoder.encode(lines));
      lines = "";
    }
  }
  pieces.push(encoder.encode(lines));
  return {
    mime: extracted.recognised.mime,
    title: extracted.title,
    language,
    pages: extracted.paged ? extracted.pages.length : null,
    characters: text.length,
    text: encoder.encode(text),
    passagesCount: chunks.length,
    passages: joined(pieces),
  };
}

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
