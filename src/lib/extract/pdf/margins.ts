// Which lines are running headers and footers: those that repeat on most pages at the same end of the page.

import { joinLines, median, type Line } from "./layout.ts";
import type { Run } from "./runs.ts";

/** Lines at each end of a page that can be a header or footer. */
const LINES_AT_END = 3;
const PAGES_MIN = 3;
const SHARE_MIN = 0.6;
/** Part of the page's height at each end in which headers and footers stand. */
const MARGIN = 0.15;
/** They are further from the text than its lines from each other, by this factor. */
const GAP_RATIO = 1.4;
const NUMBERED_LETTERS_MAX = 40;

interface Candidate {
  key: string;
  page: number;
  bottom: number;
  top: number;
}

/** The pages' runs without those of running headers and footers. A page never loses all that it has. */
export function dropRepeated(pages: readonly { runs: Run[]; heightPt: number }[]): Run[][] {
  if (pages.length < PAGES_MIN) return pages.map((page) => page.runs);
  const candidates: Candidate[] = [];
  pages.forEach(({ runs, heightPt }, page) => {
    const lines = joinLines(runs);
    const size = median(lines.map((line) => line.size));
    for (const end of ["top", "bottom"] as const) {
      for (const line of apart(lines, end, heightPt)) {
        for (const key of keysOf(line.text, end, page, line.size <= size * 1.1)) {
          candidates.push({ key, page, bottom: line.bottom, top: line.top });
        }
      }
    }
  });
  const pagesByKey = new Map<string, Set<number>>();
  for (const { key, page } of candidates) {
    const found = pagesByKey.get(key) ?? new Set<number>();
    pagesByKey.set(key, found.add(page));
  }
  const doomed = candidates.filter(({ key }) => (pagesByKey.get(key)?.size ?? 0) > SHARE_MIN * pages.length);
  const doomedByPage = Map.groupBy(doomed, ({ page }) => page);
  return pages.map(({ runs }, page) => {
    const lines = doomedByPage.get(page) ?? [];
    const kept = runs.filter((run) => {
      const y = (run.top + run.bottom) / 2;
      return !lines.some((line) => y >= line.bottom && y <= line.top);
    });
    return kept.length > 0 ? kept : runs;
  });
}

/** The outermost lines at one end that a gap parts from the text. */
function apart(lines: readonly Line[], end: "top" | "bottom", heightPt: number): Line[] {
  const inward = end === "top" ? lines : lines.toReversed();
  const size = median(lines.map((line) => line.size));
  const steps = lines.slice(1).map((line, at) => (lines[at]?.bottom ?? 0) - line.bottom);
  steps.sort((a, b) => a - b);
  const pitch = lines.length > 3 ? (steps[Math.floor((steps.length - 1) / 4)] ?? 0) : size * 1.3;
  for (let count = Math.min(LINES_AT_END, inward.length); count > 0; count--) {
    const last = inward[count - 1];
    const next = inward[count];
    if (!last) continue;
    const isInMargin = end === "top" ? last.bottom > (1 - MARGIN) * heightPt : last.top < MARGIN * heightPt;
    const gap = next ? Math.abs(last.bottom - next.bottom) : Number.POSITIVE_INFINITY;
    if (isInMargin && gap > GAP_RATIO * Math.max(pitch, size)) return inward.slice(0, count);
  }
  return [];
}

/**
 * Under which keys the line counts as the same on every page: its text; and if it may bear the page's number, its
 * text with a number that moves with the pages left out.
 */
function keysOf(lineText: string, end: string, page: number, mayBearNumber: boolean): string[] {
  const text = lineText.replaceAll(/\s+/g, " ").trim().toLowerCase();
  const keys = [`${end} ${text}`];
  const letters = text.replaceAll(/[^\p{L}]/gu, "").length;
  if (!mayBearNumber || letters > NUMBERED_LETTERS_MAX) return keys;
  // "3 of 300": the second number stays the same, so each number is tried as the one that moves, and all at once.
  const moved = (digits: string) => `#${Number(digits) - page}`;
  keys.push(`${end} ${text.replaceAll(/\d+/g, moved)}`);
  for (const found of text.matchAll(/\d+/g)) {
    const after = found.index + found[0].length;
    keys.push(`${end} ${text.slice(0, found.index)}${moved(found[0])}${text.slice(after)}`);
  }
  return [...new Set(keys)];
}
