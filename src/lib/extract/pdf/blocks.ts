// Lines to blocks: paragraphs with their wrapped lines joined, headings told by size or weight, table rows.

import type { Block } from "../types.ts";
import { median, type Line, type Region } from "./layout.ts";

const HEADING_RATIO = 1.15;
const HEADING_LENGTH_MAX = 200;
const BOLD_HEADING_LENGTH_MAX = 100;
const BULLET = /^[•▪‣◦●○■□–—*-]/;
const LIST_ITEM = /^(?:[•▪‣◦●○■□–—*-]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])\s/;

/** What the document's text looks like on the whole, to tell headings from it. */
export interface TextStyle {
  bodySize: number;
  isBodyBold: boolean;
  /** Sizes above the body's, largest first: their places are the heading levels. */
  headingSizes: number[];
}

/** The size with most characters is the body's. */
export function textStyle(pages: readonly Region[][]): TextStyle {
  const charactersBySize = new Map<number, number>();
  let bold = 0;
  let all = 0;
  for (const line of pages.flat(2)) {
    const size = rounded(line.size);
    charactersBySize.set(size, (charactersBySize.get(size) ?? 0) + line.text.length);
    all += line.text.length;
    if (line.isBold) bold += line.text.length;
  }
  const [bodySize = 0] = [...charactersBySize].sort((a, b) => b[1] - a[1])[0] ?? [];
  const larger = [...charactersBySize.keys()].filter((size) => size >= bodySize * HEADING_RATIO).sort((a, b) => b - a);
  // Sizes that differ by less than a twentieth are one.
  const headingSizes = larger.filter((size, at) => at === 0 || size < (larger[at - 1] ?? 0) * 0.95);
  return { bodySize, isBodyBold: bold > all / 2, headingSizes };
}

/** The blocks of a page's regions. */
export function toBlocks(regions: readonly Region[], style: TextStyle): Block[] {
  return regions.flatMap((region) => {
    const pitch = median(region.slice(1).map((line, at) => (region[at]?.bottom ?? 0) - line.bottom));
    const right = region.reduce((most, line) => Math.max(most, line.right), 0);
    const left = region.reduce((least, line) => Math.min(least, line.left), Number.POSITIVE_INFINITY);
    return paragraphs(region, pitch).map((lines) => toBlock(lines, style, right, right - left));
  });
}

function paragraphs(region: Region, pitch: number): Line[][] {
  const groups: Line[][] = [];
  let previous: Line | null = null;
  for (const line of region) {
    const group = groups.at(-1);
    if (!group || !previous || isBreak(previous, line, pitch)) groups.push([line]);
    else group.push(line);
    previous = line;
  }
  return groups;
}

function isBreak(previous: Line, line: Line, pitch: number): boolean {
  const step = previous.bottom - line.bottom;
  const isFar = step > 1.35 * Math.max(pitch, line.size) && step > 1.5 * line.size;
  const isOtherSize = Math.abs(previous.size - line.size) > 0.12 * Math.max(previous.size, line.size);
  return isFar || isOtherSize || previous.isBold !== line.isBold;
}

function toBlock(lines: Line[], style: TextStyle, right: number, width: number): Block {
  const isTable = lines.filter((line) => line.text.includes("\t")).length > lines.length / 2;
  const text = joinWrapped(lines, right, width);
  const level = isTable ? null : headingLevel(lines, text, style);
  if (level !== null) return { kind: "heading", level, text: text.replaceAll("\n", " ") };
  return { kind: isTable ? "table" : "text", text };
}

function headingLevel(lines: readonly Line[], text: string, style: TextStyle): number | null {
  const first = lines[0];
  if (!first || lines.length > 3 || text.length > HEADING_LENGTH_MAX || !/\p{L}/u.test(text)) return null;
  if (BULLET.test(text) || /[,;]$/.test(text)) return null;
  const size = rounded(first.size);
  if (size >= style.bodySize * HEADING_RATIO) {
    const at = style.headingSizes.findIndex((one) => size >= one * 0.95);
    return Math.min(6, (at < 0 ? style.headingSizes.length : at) + 1);
  }
  const isBoldLine =
    lines.length === 1 &&
    first.isBold &&
    !style.isBodyBold &&
    text.length <= BOLD_HEADING_LENGTH_MAX &&
    !/[.,;:!?]$/.test(text) &&
    size >= style.bodySize * 0.95;
  return isBoldLine ? Math.min(6, style.headingSizes.length + 1) : null;
}

/** Lines that run to the column's edge go on with a blank; shorter ones, list items and table rows keep their end. */
function joinWrapped(lines: readonly Line[], right: number, width: number): string {
  let text = "";
  let previous: Line | null = null;
  for (const line of lines) {
    if (previous) {
      const isFull = previous.right > right - 0.15 * width;
      const isRow = previous.text.includes("\t") || line.text.includes("\t");
      const joinsWord = previous.isHyphenated || /\p{L}[-\u00ad]$/u.test(previous.text);
      if (joinsWord && !isRow && /^\p{Ll}/u.test(line.text)) text = text.replace(/[-\u00ad]$/, "");
      else text += isFull && !isRow && !LIST_ITEM.test(line.text) ? " " : "\n";
    }
    text += line.text;
    previous = line;
  }
  return text;
}

function rounded(size: number): number {
  return Math.round(size * 2) / 2;
}
