// Characters of a page to runs: stretches of one line without a wide gap, with their place and size.

import type { PageCharacters } from "./pdfium.ts";

/** Text that stands together on a line. Coordinates in points from the page's lower left corner. */
export interface Run {
  text: string;
  left: number;
  bottom: number;
  right: number;
  top: number;
  /** Typical height of its words' boxes, which grows with the font size. */
  size: number;
  /** Most of its words are. */
  isBold: boolean;
  /** Ends with a hyphen that only the line's end made. */
  isHyphenated: boolean;
}

/** Gaps wider than this many times the text's height part columns or cells. */
const WIDE_GAP = 1.4;
const CARRIAGE_RETURN = 13;
const LINE_FEED = 10;
const LINE_END_HYPHEN = 2;

/** The page's runs in the order of its content. */
export function readRuns(page: PageCharacters): Run[] {
  const runs: Run[] = [];
  const box = new Float32Array(4);
  let run: Run | null = null;
  let parts: string[] = [];
  let heights: number[] = [];
  let boldWords = 0;
  let isInWord = false;
  let lastIndex = -1;

  const widen = (to: Run, index: number) => {
    page.place(index, box);
    to.left = Math.min(to.left, box[0] ?? 0);
    to.bottom = Math.min(to.bottom, box[1] ?? 0);
    to.right = Math.max(to.right, box[2] ?? 0);
    to.top = Math.max(to.top, box[3] ?? 0);
  };
  const endWord = () => {
    if (isInWord && run) widen(run, lastIndex);
    isInWord = false;
  };
  const endRun = () => {
    endWord();
    if (run) {
      run.text = parts.join("").trim();
      run.size = heights.sort((a, b) => a - b)[Math.floor((heights.length - 1) / 2)] ?? run.size;
      run.isBold = boldWords > heights.length / 2;
      if (run.text !== "") runs.push(run);
    }
    run = null;
    parts = [];
    heights = [];
    boldWords = 0;
  };

  for (let index = 0; index < page.count; index++) {
    const code = page.code(index);
    if (code === CARRIAGE_RETURN || code === LINE_FEED) {
      endRun();
    } else if (code === LINE_END_HYPHEN || code === 0xfffe) {
      parts.push("-");
      if (run) run.isHyphenated = true;
      endRun();
    } else if (isBlank(code)) {
      endWord();
      if (run) parts.push(" ");
    } else if (code >= 32 && code <= 0x10ffff) {
      if (!isInWord) {
        page.place(index, box);
        const [left = 0, bottom = 0, right = 0, top = 0] = box;
        if (run && isApart(run, left, bottom, right, top)) endRun();
        run ??= { text: "", left, bottom, right, top, size: top - bottom, isBold: false, isHyphenated: false };
        heights.push(top - bottom);
        if (page.isBold(index)) boldWords++;
        widen(run, index);
        isInWord = true;
      }
      // Halves of a surrogate pair come one by one and join again in the text.
      parts.push(code < 0x10000 ? String.fromCharCode(code) : String.fromCodePoint(code));
      lastIndex = index;
    }
  }
  endRun();
  return runs;
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9 || code === 0xa0 || (code >= 0x2000 && code <= 0x200a) || code === 0x3000;
}

function isApart(run: Run, left: number, bottom: number, right: number, top: number): boolean {
  const height = Math.max(run.size, top - bottom, 1);
  const gap = Math.max(left - run.right, run.left - right);
  const shift = Math.abs((top + bottom) / 2 - (run.top + run.bottom) / 2);
  return gap > WIDE_GAP * height || shift > 0.7 * height;
}
