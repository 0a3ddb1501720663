// PDF to pages of blocks by pdfium: reading order, headings, headers and footers dropped.

import { checkTime, ExtractFailure, type Extracted, type ExtractTools } from "../types.ts";
import { textStyle, toBlocks } from "./blocks.ts";
import { readingOrder } from "./layout.ts";
import { dropRepeated } from "./margins.ts";
import { startPdfium, type Pdfium } from "./pdfium.ts";
import { readRuns, type Run } from "./runs.ts";

/** More runs than this are not text that somebody reads. */
const RUNS_MAX = 3_000_000;
/** A PDF ends with `startxref`, an offset and `%%EOF`; one without has lost its end. */
const TAIL_BYTES = 4096;

let running: Promise<Pdfium> | null = null;

/** Reads a PDF. Throws `encrypted`, `corrupted_file`, `no_text`, or a limit's code. */
export async function extractPdf(bytes: Uint8Array, { limits, pdfium }: ExtractTools): Promise<Extracted> {
  if (!hasEnd(bytes)) throw new ExtractFailure("corrupted_file", "The PDF is incomplete: its end is missing.");
  running ??= pdfium().then(startPdfium);
  const document = (await running).open(bytes);
  try {
    if (document.pageCount > limits.pagesMax) {
      throw new ExtractFailure("too_many_pages", `The PDF has more than ${limits.pagesMax} pages.`);
    }
    if (document.pageCount < 1) throw new ExtractFailure("corrupted_file", "The PDF has no pages.");
    const pages: { runs: Run[]; heightPt: number }[] = [];
    let characters = 0;
    let runCount = 0;
    for (let index = 0; index < document.pageCount; index++) {
      checkTime(limits);
      const page = document.page(index, (read) => {
        characters += read.text.length;
        if (characters > limits.charactersMax) {
          throw new ExtractFailure("text_too_long", `The PDF has more than ${limits.charactersMax} characters.`);
        }
        return { runs: readRuns(read), heightPt: read.heightPt };
      });
      runCount += page.runs.length;
      if (runCount > RUNS_MAX) throw new ExtractFailure("text_too_long", "The PDF has too many pieces of text.");
      pages.push(page);
    }
    const regions = dropRepeated(pages).map((runs) => {
      checkTime(limits);
      return readingOrder(runs);
    });
    const style = textStyle(regions);
    return {
      title: document.title,
      paged: true,
      pages: regions.map((page) => ({ blocks: toBlocks(page, style) })),
    };
  } finally {
    document.close();
  }
}

function hasEnd(bytes: Uint8Array): boolean {
  let end = bytes.length;
  while (end > 0 && ((bytes[end - 1] ?? 1) === 0 || (bytes[end - 1] ?? 0) === 32)) end--;
  const tail = new TextDecoder("latin1").decode(bytes.subarray(Math.max(0, end - TAIL_BYTES), end));
  return tail.includes("startxref");
}
