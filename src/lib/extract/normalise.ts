// Pages of blocks to one normalised text with the place of every block in it, which all later offsets refer to.

import { ExtractFailure, type Block, type BlockKind, type Extracted, type ExtractLimits } from "./types.ts";

/** A block's place: UTF-16 offsets into the whole text. */
export interface BlockSpan {
  kind: BlockKind;
  level: number | null;
  start: number;
  end: number;
  /** From 1; null where the format has no pages. */
  page: number | null;
  /** From 1, in the source; null where pages are counted. */
  line: number | null;
}

export interface NormalisedText {
  /** Pages parted by \f, blocks by an empty line. */
  text: string;
  blocks: BlockSpan[];
}

/** Joins the blocks. Throws `no_text` if there is not one letter or digit, `text_too_long` over the limit. */
export function normalise(extracted: Extracted, limits: ExtractLimits): NormalisedText {
  const parts: string[] = [];
  const blocks: BlockSpan[] = [];
  let length = 0;
  let hasText = false;
  const add = (piece: string) => {
    parts.push(piece);
    length += piece.length;
    if (length > limits.charactersMax) {
      throw new ExtractFailure("text_too_long", `The document has more than ${limits.charactersMax} characters.`);
    }
  };
  extracted.pages.forEach((page, index) => {
    if (index > 0) add("\f");
    let previous: Block | null = null;
    for (const block of page.blocks) {
      const text = cleaned(block);
      if (text === "") continue;
      if (previous) add(previous.isItem && block.isItem ? "\n" : "\n\n");
      hasText ||= /[\p{L}\p{N}]/u.test(text);
      blocks.push({
        kind: block.kind,
        level: block.kind === "heading" ? (block.level ?? 1) : null,
        start: length,
        end: length + text.length,
        page: extracted.paged ? index + 1 : null,
        line: extracted.paged ? null : (block.line ?? null),
      });
      add(text);
      previous = block;
    }
  });
  if (!hasText) throw new ExtractFailure("no_text", "The document has no text that can be read.");
  return { text: parts.join(""), blocks };
}

// eslint-disable-next-line no-control-regex -- control characters are what it removes
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u200b\u2060\ufeff]/g;

function cleaned({ kind, text }: Block): string {
  const plain = text.toWellFormed().normalize("NFC").replaceAll(/\r\n?/g, "\n").replaceAll(UNSEEN, "");
  if (kind === "code") return plain.replaceAll(/[^\S\n]+$/gm, "").replace(/^\n+|\s+$/g, "");
  const joined = plain.replaceAll(/\u00ad\n?/g, "").replaceAll(/(?<=\p{L})[-\u2010]\n(?=\p{Ll})/gu, "");
  return joined
    .replaceAll(kind === "table" ? /[^\S\n\t]+/g : /[^\S\n]+/g, " ")
    .replaceAll(/ ?\n ?/g, "\n")
    .replaceAll(/\n{3,}/g, "\n\n")
    .trim();
}
