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
const HYPHEN_MARK = 0xfffe;

/** The page's runs in the order of its content. */
export function readRuns(page: PageCharacters): Run[] {
  const { text } = page;
  const builder = new RunBuilder(page);
  let wordStart = -1;
  for (let index = 0; index < text.length; index++) {
    const code = (typeof text === "string" ? text.charCodeAt(index) : text[index]?.codePointAt(0)) ?? 0;
    if (code > 32 && code !== 0xa0 && !isBlank(code) && code !== HYPHEN_MARK) {
      if (wordStart < 0) wordStart = index;
      continue;
    }
    if (wordStart >= 0) builder.word(wordStart, index);
    wordStart = -1;
    if (code === CARRIAGE_RETURN || code === LINE_FEED) builder.end();
    else if (code === LINE_END_HYPHEN || code === HYPHEN_MARK) builder.endHyphenated();
  }
  if (wordStart >= 0) builder.word(wordStart, text.length);
  builder.end();
  return builder.runs;
}

/** Joins words to runs. Only the first and last character of a word are asked for their place. */
class RunBuilder {
  readonly runs: Run[] = [];
  readonly #page: PageCharacters;
  readonly #box = new Float32Array(4);
  #run: Run | null = null;
  #heights: number[] = [];
  #boldWords = 0;
  #start = -1;
  #end = -1;

  constructor(page: PageCharacters) {
    this.#page = page;
  }

  word(start: number, end: number): void {
    this.#page.place(start, this.#box);
    const [left = 0, bottom = 0, right = 0, top = 0] = this.#box;
    if (this.#run && isApart(this.#run, left, bottom, right, top)) this.end();
    this.#run ??= { text: "", left, bottom, right, top, size: top - bottom, isBold: false, isHyphenated: false };
    const run = this.#run;
    if (this.#start < 0) this.#start = start;
    this.#end = end;
    this.#widen(run);
    if (end - start > 1) {
      this.#page.place(end - 1, this.#box);
      this.#widen(run);
    }
    this.#heights.push(top - bottom);
    if (this.#page.isBold(start)) this.#boldWords++;
  }

  end(): void {
    const run = this.#run;
    if (run) {
      // Words and the blanks between them stand side by side on the page as in its text.
      const { text } = this.#page;
      const whole =
        typeof text === "string" ? text.slice(this.#start, this.#end) : text.slice(this.#start, this.#end).join("");
      run.text = run.isHyphenated ? `${whole}-` : whole;
      run.size = this.#heights.sort((a, b) => a - b)[Math.floor((this.#heights.length - 1) / 2)] ?? run.size;
      run.isBold = this.#boldWords > this.#heights.length / 2;
      this.runs.push(run);
    }
    this.#run = null;
    this.#heights = [];
    this.#boldWords = 0;
    this.#start = -1;
  }

  endHyphenated(): void {
    if (this.#run) this.#run.isHyphenated = true;
    this.end();
  }

  #widen(run: Run): void {
    const [left = 0, bottom = 0, right = 0, top = 0] = this.#box;
    run.left = Math.min(run.left, left);
    run.bottom = Math.min(run.bottom, bottom);
    run.right = Math.max(run.right, right);
    run.top = Math.max(run.top, top);
  }
}

function isBlank(code: number): boolean {
  return (code >= 0x2000 && code <= 0x200a) || code === 0x3000;
}

function isApart(run: Run, left: number, bottom: number, right: number, top: number): boolean {
  const height = Math.max(run.size, top - bottom, 1);
  const gap = Math.max(left - run.right, run.left - right);
  const shift = Math.abs((top + bottom) / 2 - (run.top + run.bottom) / 2);
  return gap > WIDE_GAP * height || shift > 0.7 * height;
}
