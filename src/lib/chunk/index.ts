// Normalised text to passages of about a given size, with exact places: text.slice(charStart, charEnd) is the passage.

import type { BlockSpan, NormalisedText } from "../extract/index.ts";
import { countTokens } from "../text/index.ts";
import { PARAGRAPH_BREAK, unitsOf, WHOLE_RATIO, type Unit } from "./units.ts";

export interface ChunkOptions {
  sizeTokens: number;
  /** How much of the end of a passage the next one of the same section repeats. */
  overlapTokens: number;
}

export interface Chunk {
  ordinal: number;
  charStart: number;
  charEnd: number;
  tokens: number;
  /** Headings above the passage, widest first. Those that stand right before it are here and not in its text. */
  headingPath: readonly string[];
  /** From 1; null where the format has none. */
  page: number | null;
  line: number | null;
}

/** Headings up to this level begin a passage. */
const SECTION_LEVEL = 2;

interface Section {
  path: readonly string[];
  page: number | null;
  headings: BlockSpan[];
  body: { block: BlockSpan; path: readonly string[] }[];
}

/** Passages in reading order; none crosses a page or a heading of level 1 or 2. */
export function chunk(document: NormalisedText, options: ChunkOptions, language: string | null): Chunk[] {
  const found: Chunk[] = [];
  const { text } = document;
  const sections = sectionsOf(document);
  const placeOf = placesOf(document);
  sections.forEach((section, at) => {
    const ranges =
      section.body.length > 0
        ? pack(
            text,
            section.body.flatMap(({ block, path }) => unitsOf(text, block, path, options.sizeTokens, language)),
            options,
          )
        : headingsAlone(text, section, sections[at + 1]);
    for (const { start, end, tokens, path } of ranges) {
      found.push({
        ordinal: found.length,
        charStart: start,
        charEnd: end,
        tokens,
        headingPath: path,
        ...placeOf(start),
      });
    }
  });
  return found;
}

interface Range {
  start: number;
  end: number;
  tokens: number;
  path: readonly string[];
}

function sectionsOf({ text, blocks }: NormalisedText): Section[] {
  const sections: Section[] = [];
  let path: { level: number; text: string }[] = [];
  let page: number | null = null;
  let section: Section | null = null;
  for (const block of blocks) {
    const isTurned = block.page !== page;
    page = block.page;
    if (block.level !== null) {
      const level = block.level;
      path = path.filter((above) => above.level < level);
      path.push({ level, text: text.slice(block.start, block.end).replaceAll(/\s+/g, " ") });
    }
    const titles = path.map((heading) => heading.text);
    if (!section || isTurned || (block.level !== null && block.level <= SECTION_LEVEL)) {
      section = { path: titles, page, headings: [], body: [] };
      sections.push(section);
    }
    if (block.level !== null && section.body.length === 0) {
      section.headings.push(block);
      section.path = titles;
    } else section.body.push({ block, path: titles });
  }
  return sections;
}

/** Headings without text of their own are a passage, unless they stand above what follows on the same page anyway. */
function headingsAlone(text: string, section: Section, next: Section | undefined): Range[] {
  const first = section.headings[0];
  const last = section.headings.at(-1);
  if (!first || !last) return [];
  const isAbove = next?.page === section.page && section.path.every((title, at) => next.path[at] === title);
  if (isAbove) return [];
  const { start } = first;
  const { end } = last;
  return [{ start, end, tokens: countTokens(text.slice(start, end)), path: section.path.slice(0, -1) }];
}

function pack(text: string, units: readonly Unit[], { sizeTokens, overlapTokens }: ChunkOptions): Range[] {
  const ranges: Range[] = [];
  let open: Unit[] = [];
  let tokens = 0;
  const close = (kept: Unit[]) => {
    const first = kept[0];
    const last = kept.at(-1);
    if (first && last) ranges.push({ start: first.start, end: last.end, tokens: sum(kept), path: first.path });
  };
  for (const unit of units) {
    if (open.length > 0 && tokens + unit.tokens > sizeTokens) {
      let cut = bestCut(open, unit, tokens, sizeTokens);
      const most = unit.isWhole ? WHOLE_RATIO * sizeTokens : sizeTokens;
      if (sum(open.slice(cut)) + unit.tokens > most) cut = open.length;
      const kept = open.slice(0, cut);
      const carried = open.slice(cut);
      close(kept);
      const carriedTokens = sum(carried);
      const room = Math.min(overlapTokens, sizeTokens - carriedTokens - unit.tokens);
      open = [...tail(text, kept, room), ...carried];
      tokens = sum(open);
    }
    open.push(unit);
    tokens += unit.tokens;
  }
  close(open);
  return ranges;
}

/** Where to end a full passage: before a paragraph that begins in its second half, and never after a heading. */
function bestCut(open: readonly Unit[], next: Unit, tokens: number, sizeTokens: number): number {
  let cut = open.length;
  if (next.breakBefore < PARAGRAPH_BREAK) {
    let after = 0;
    for (let at = open.length - 1; at > 0; at--) {
      after += open[at]?.tokens ?? 0;
      if (tokens - after < sizeTokens / 2) break;
      // What is carried over must leave room for the next unit.
      if (open[at]?.breakBefore === PARAGRAPH_BREAK && after + next.tokens <= sizeTokens) {
        cut = at;
        break;
      }
    }
  }
  while (cut > 1 && open[cut - 1]?.isHeading) cut--;
  return cut;
}

/** The last whole units that fit into `room`; else the last words of the last one. */
function tail(text: string, units: readonly Unit[], room: number): Unit[] {
  const found: Unit[] = [];
  let left = room;
  for (const unit of units.toReversed()) {
    if (unit.isWhole || unit.tokens > left || found.length === units.length - 1) break;
    found.unshift(unit);
    left -= unit.tokens;
  }
  const last = units.at(-1);
  if (found.length > 0 || !last || last.isWhole || room < 4) return found;
  let start = last.end;
  let tokens = 0;
  for (;;) {
    const at = Math.max(last.start, start - 2);
    const blank = lastBlank(text, last.start, at);
    if (blank < 0) break;
    const count = countTokens(text.slice(blank + 1, last.end));
    if (count > room) break;
    start = blank + 1;
    tokens = count;
  }
  return start < last.end ? [{ ...last, start, tokens }] : [];
}

function lastBlank(text: string, from: number, to: number): number {
  for (let at = to; at > from && to - at < 200; at--) if (/\s/.test(text.charAt(at))) return at;
  return -1;
}

function sum(units: readonly Unit[]): number {
  return units.reduce((total, unit) => total + unit.tokens, 0);
}

/**
 * Tells page and line of offsets that mostly grow; lines that the normalised text has kept are counted from where the
 * last answer stood, for counting from the block's start each time would cost the square of its length.
 */
function placesOf({ text, blocks }: NormalisedText) {
  let counted = { block: -1, at: 0, line: 0 };
  return (offset: number): { page: number | null; line: number | null } => {
    let low = 0;
    let high = blocks.length - 1;
    while (low < high) {
      const at = (low + high + 1) >> 1;
      if ((blocks[at]?.start ?? 0) <= offset) low = at;
      else high = at - 1;
    }
    const block = blocks[low];
    if (!block || block.line === null) return { page: block?.page ?? null, line: null };
    if (counted.block !== low || counted.at > offset) counted = { block: low, at: block.start, line: block.line };
    for (;;) {
      const next = text.indexOf("\n", counted.at);
      if (next < 0 || next >= offset) break;
      counted.at = next + 1;
      counted.line++;
    }
    return { page: null, line: counted.line };
  };
}
