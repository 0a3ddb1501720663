// Every format's extractor. Imported by the Worker only: this pulls in the parsers.

import { decodeText } from "./decode.ts";
import { extractHtml } from "./html.ts";
import { extractMarkdown } from "./markdown.ts";
import { extractPdf } from "./pdf/index.ts";
import { extractPlain } from "./plain.ts";
import { recognise, type Format, type Recognised } from "./recognise.ts";
import { ExtractFailure, type Extracted, type ExtractTools } from "./types.ts";

type Extractor = (bytes: Uint8Array, tools: ExtractTools) => Extracted | Promise<Extracted>;

/** A format is added here, in `Format` and in `recognise`. */
const EXTRACTORS: Readonly<Record<Format, Extractor>> = {
  pdf: extractPdf,
  html: (bytes, { limits }) => extractHtml(decodeText(bytes), limits),
  markdown: (bytes, { limits }) => extractMarkdown(decodeText(bytes), limits),
  text: (bytes) => extractPlain(decodeText(bytes)),
};

/** Reads a file of any known format. Throws `ExtractFailure`. */
export async function extract(
  bytes: Uint8Array,
  name: string,
  tools: ExtractTools,
): Promise<Extracted & { recognised: Recognised }> {
  if (bytes.length === 0) throw new ExtractFailure("empty_file", "The file is empty.");
  const recognised = recognise(bytes, name);
  if (!recognised) throw new ExtractFailure("unsupported_format", "Files of this format are not read.");
  return { ...(await EXTRACTORS[recognised.format](bytes, tools)), recognised };
}
