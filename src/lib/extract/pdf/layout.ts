// Runs of a page to lines in reading order: columns of prose one after the other, table rows across.

import type { Run } from "./runs.ts";

export interface Line {
  text: string;
  left: number;
  bottom: number;
  right: number;
  top: number;
  size: number;
  isBold: boolean;
  isHyphenated: boolean;
}

/** Lines of one column or band, from top to bottom. */
export type Region = Line[];

/** Fewest lines on each side of a gutter, and fewest characters in the typical one, for it to part columns of prose. */
const COLUMN_LINES_MIN = 3;
const COLUMN_CHARACTERS_MIN = 14;
/** Columns within columns; more depth does not occur and costs time. */
const DEPTH_MAX = 4;

/** The page's regions in reading order. */
export function readingOrder(runs: readonly Run[], depth = 0): Region[] {
  if (runs.length === 0) return [];
  const gutter = depth < DEPTH_MAX ? findGutter(runs) : null;
  if (!gutter) return [joinLines(runs)];
  const { leftSide, rightSide, across } = gutter;
  const regions: Region[] = [];
  const sides = { left: [...leftSide].sort(fromTop), right: [...rightSide].sort(fromTop) };
  let band: Run[] = [];
  const endBand = () => {
    if (band.length > 0) regions.push(joinLines(band));
    band = [];
  };
  const columnsAbove = (y: number) => {
    const above = [sides.left, sides.right].map((side) => takeWhile(side, (run) => middle(run) > y));
    if (above.every((side) => side.length === 0)) return;
    endBand();
    for (const side of above) regions.push(...readingOrder(side, depth + 1));
  };
  for (const run of [...across].sort(fromTop)) {
    columnsAbove(middle(run));
    band.push(run);
  }
  endBand();
  columnsAbove(Number.NEGATIVE_INFINITY);
  return regions;
}

/** Groups runs by height into lines and joins each line's runs from left to right (right to left in such scripts). */
export function joinLines(runs: readonly Run[]): Line[] {
  const rows: Run[][] = [];
  let row: Run[] = [];
  for (const run of [...runs].sort(fromTop)) {
    const first = row[0];
    if (first && middle(first) - middle(run) > 0.5 * Math.min(first.size, run.size)) {
      rows.push(row);
      row = [];
    }
    row.push(run);
  }
  if (row.length > 0) rows.push(row);
  return rows.map(joinRow);
}

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

function joinRow(row: Run[]): Line {
  const isRightToLeft = row.some((run) => RIGHT_TO_LEFT.test(run.text));
  const ordered = row.sort((a, b) => (isRightToLeft ? b.right - a.right : a.left - b.left));
  let text = "";
  let previous: Run | null = null;
  let widest: Run | null = null;
  for (const run of ordered) {
    if (previous) {
      const gap = isRightToLeft ? previous.left - run.right : run.left - previous.right;
      const height = Math.max(previous.size, run.size, 1);
      text += gap > height ? "\t" : gap > 0.12 * height ? " " : "";
    }
    text += run.text;
    previous = run;
    if (!widest || run.text.length > widest.text.length) widest = run;
  }
  return {
    text,
    left: Math.min(...ordered.map((run) => run.left)),
    bottom: Math.min(...ordered.map((run) => run.bottom)),
    right: Math.max(...ordered.map((run) => run.right)),
    top: Math.max(...ordered.map((run) => run.top)),
    size: widest?.size ?? 0,
    isBold: ordered.every((run) => run.isBold),
    isHyphenated: previous?.isHyphenated ?? false,
  };
}

interface Gutter {
  leftSide: Run[];
  rightSide: Run[];
  /** Runs that cross it: titles, wide figures, notes. */
  across: Run[];
}

const BINS = 160;

/** The emptiest upright strip in the middle of the runs, if both its sides read like columns of prose. */
function findGutter(runs: readonly Run[]): Gutter | null {
  if (runs.length < 2 * COLUMN_LINES_MIN) return null;
  const left = Math.min(...runs.map((run) => run.left));
  const right = Math.max(...runs.map((run) => run.right));
  const width = right - left;
  if (width <= 0) return null;
  const covered = new Uint32Array(BINS);
  const bin = (x: number) => Math.min(BINS - 1, Math.max(0, Math.floor(((x - left) / width) * BINS)));
  for (const run of runs) {
    for (let at = bin(run.left); at <= bin(run.right); at++) covered[at] = (covered[at] ?? 0) + 1;
  }
  let best = -1;
  for (let at = Math.floor(BINS * 0.15); at < Math.ceil(BINS * 0.85); at++) {
    const isBetter = best < 0 || (covered[at] ?? 0) < (covered[best] ?? 0);
    if (isBetter) best = at;
  }
  const fewest = covered[best] ?? 0;
  if (best < 0 || fewest > runs.length * 0.2) return null;
  let end = best;
  while (end + 1 < BINS && (covered[end + 1] ?? 0) <= fewest) end++;
  const x = left + ((best + end + 1) / 2 / BINS) * width;
  const leftSide = runs.filter((run) => run.right <= x);
  const rightSide = runs.filter((run) => run.left >= x);
  const across = runs.filter((run) => run.right > x && run.left < x);
  return readsAsColumn(leftSide) && readsAsColumn(rightSide) ? { leftSide, rightSide, across } : null;
}

function readsAsColumn(runs: readonly Run[]): boolean {
  if (runs.length < COLUMN_LINES_MIN) return false;
  const left = Math.min(...runs.map((run) => run.left));
  const right = Math.max(...runs.map((run) => run.right));
  const typicalWidth = median(runs.map((run) => run.right - run.left));
  const typicalLength = median(runs.map((run) => run.text.length));
  return typicalLength >= COLUMN_CHARACTERS_MIN && typicalWidth >= 0.5 * (right - left);
}

/** The middle value; 0 of nothing. */
export function median(values: number[]): number {
  const sorted = values.sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function middle(run: Run): number {
  return (run.top + run.bottom) / 2;
}

function fromTop(a: Run, b: Run): number {
  return middle(b) - middle(a) || a.left - b.left;
}

/** Removes and returns the leading items that satisfy `test`. */
function takeWhile<T>(items: T[], test: (item: T) => boolean): T[] {
  let count = 0;
  for (const item of items) {
    if (!test(item)) break;
    count++;
  }
  return items.splice(0, count);
}
