// A document's blocks to units that a passage is packed from: sentences, table rows, headings, pieces of what is longer.

import type { BlockSpan } from "../extract/index.ts";
import { countTokens, splitSentences } from "../text/index.ts";

/** How good it is to begin a passage at a unit. */
export const WORD_BREAK = 1;
export const SENTENCE_BREAK = 2;
export const PARAGRAPH_BREAK = 3;

export interface Unit {
  start: number;
  end: number;
  /** With one for what parts it from the next. */
  tokens: number;
  breakBefore: number;
  /** A heading stays with what follows. */
  isHeading: boolean;
  /** A whole table or block of code: never split, nor repeated in part. */
  isWhole: boolean;
  path: readonly string[];
}

/** Tables and code of up to this many times the size stay whole. */
export const WHOLE_RATIO = 1.5;
/** Sentences are looked for in pieces of this length: text without an end would cost the square of it. */
const WINDOW = 16_000;
const PIECE_TOKENS = 48;
const CHARACTERS_PER_TOKEN = 4;

export function unitsOf(
  text: string,
  block: BlockSpan,
  path: readonly string[],
  sizeTokens: number,
  language: string | null,
): Unit[] {
  const make = (start: number, end: number, breakBefore: number, isWhole = false): Unit => ({
    start,
    end,
    tokens: countTokens(text.slice(start, end)) + 1,
    breakBefore,
    isHeading: block.kind === "heading",
    isWhole,
    path,
  });
  const units: Unit[] = [];
  const addPieces = (start: number, end: number, breakBefore: number) => {
    const unit = make(start, end, breakBefore);
    if (unit.tokens <= sizeTokens) units.push(unit);
    else units.push(...pieces(text, unit, Math.min(PIECE_TOKENS, sizeTokens)));
  };
  if (block.kind === "table" || block.kind === "code") {
    // Counting the tokens of megabytes only to learn that they are too many would be waste.
    const mayBeWhole = block.end - block.start <= WHOLE_RATIO * sizeTokens * 12;
    const whole = mayBeWhole ? make(block.start, block.end, PARAGRAPH_BREAK, true) : null;
    if (whole && whole.tokens <= WHOLE_RATIO * sizeTokens) return [whole];
    for (const [start, end] of lines(text, block.start, block.end)) addPieces(start, end, SENTENCE_BREAK);
  } else {
    for (const [from, to] of windows(text, block.start, block.end)) {
      for (const sentence of splitSentences(text.slice(from, to), language)) {
        addPieces(from + sentence.start, from + sentence.end, SENTENCE_BREAK);
      }
    }
  }
  if (units[0]) units[0].breakBefore = PARAGRAPH_BREAK;
  return units;
}

/** Cuts at blanks where there are any; a cut never parts a surrogate pair. */
function pieces(text: string, unit: Unit, tokensMax: number): Unit[] {
  const found: Unit[] = [];
  let start = unit.start;
  while (start < unit.end) {
    let end = Math.min(unit.end, start + tokensMax * CHARACTERS_PER_TOKEN);
    let tokens = 0;
    for (;;) {
      if (end < unit.end) end = blankBefore(text, start, end);
      tokens = countTokens(text.slice(start, end)) + 1;
      if (tokens <= tokensMax || end - start <= 8) break;
      end = start + Math.max(8, Math.floor(((end - start) * tokensMax) / tokens) - 1);
    }
    const isFirst = start === unit.start;
    found.push({ ...unit, start, end, tokens, breakBefore: isFirst ? unit.breakBefore : WORD_BREAK });
    start = end;
    while (start < unit.end && /\s/.test(text.charAt(start))) start++;
  }
  return found;
}

/** The end of the last line, else of the last word, before `end`; `end` itself if there is no blank in reach. */
function blankBefore(text: string, start: number, end: number): number {
  const lineEnd = text.lastIndexOf("\n", end);
  if (lineEnd > start + (end - start) / 2) return lineEnd;
  for (let at = end; at > start + (end - start) / 2; at--) {
    if (/\s/.test(text.charAt(at))) return at;
  }
  const isInPair = (text.charCodeAt(end) & 0xfc00) === 0xdc00;
  return isInPair ? end - 1 : end;
}

function* lines(text: string, start: number, end: number): Generator<[number, number]> {
  for (let at = start; at < end;) {
    const next = text.indexOf("\n", at);
    const lineEnd = next < 0 || next > end ? end : next;
    if (text.slice(at, lineEnd).trim() !== "") yield [at, lineEnd];
    at = lineEnd + 1;
  }
}

function* windows(text: string, start: number, end: number): Generator<[number, number]> {
  let at = start;
  while (end - at > WINDOW) {
    const lineEnd = text.lastIndexOf("\n", at + WINDOW);
    const cut = lineEnd > at + WINDOW / 2 ? lineEnd : blankBefore(text, at, at + WINDOW);
    yield [at, cut];
    at = cut;
  }
  yield [at, end];
}
