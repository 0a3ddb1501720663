// Plain text to blocks: paragraphs between blank lines.

import type { Block, Extracted } from "./types.ts";

/** Paragraphs with the lines where they begin. */
export function extractPlain(source: string): Extracted {
  const text = source
    .replace(/^\ufeff/, "")
    .replaceAll(/\r\n?/g, "\n")
    .replaceAll("\f", "\n\n");
  const blocks: Block[] = [];
  let line = 1;
  let start = 0;
  let startLine = 1;
  const end = (to: number) => {
    const content = text.slice(start, to);
    if (content.trim() !== "") blocks.push({ kind: "text", text: content, line: startLine });
  };
  for (let at = 0; at < text.length;) {
    const next = text.indexOf("\n", at);
    const lineEnd = next < 0 ? text.length : next;
    if (text.slice(at, lineEnd).trim() === "") {
      end(at);
      start = lineEnd + 1;
      startLine = line + 1;
    }
    at = lineEnd + 1;
    line++;
  }
  end(text.length);
  return { title: null, paged: false, pages: [{ blocks }] };
}
