// Words of a text with their places. Codes, e-mail addresses and numbers come out whole and in their parts;
// scripts without blanks come out as pairs of characters.

export interface Word {
  /** Lower case, accents kept (stemmers need them). */
  text: string;
  /** UTF-16 offsets in the text. */
  start: number;
  end: number;
  /** A whole of several parts (`ab-1234`, `a@b.org`, `3.500,00`); the parts follow on their own. */
  isWhole: boolean;
}

/** Longer ones are cut: nobody searches for them, and they would fill an index. */
const WORD_LENGTH_MAX = 64;

const OTHER = 1;
const LETTER = 2;
const DIGIT = 3;
const PAIRED = 4;
const IS_LETTER = /^[\p{L}\p{M}]$/u;
const IS_DIGIT = /^\p{N}$/u;
const IS_PAIRED =
  /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}]$/u;

const CLASSES = new Uint8Array(0x10000);

function classify(character: string): number {
  if (IS_DIGIT.test(character)) return DIGIT;
  if (!IS_LETTER.test(character)) return OTHER;
  return IS_PAIRED.test(character) ? PAIRED : LETTER;
}

/** What stands at `index`; both halves of a surrogate pair belong to their character. */
function classAt(text: string, index: number): number {
  const code = text.charCodeAt(index);
  if (code >= 0xd800 && code < 0xe000) {
    const start = code >= 0xdc00 ? index - 1 : index;
    const point = text.codePointAt(Math.max(0, start));
    return point !== undefined && point > 0xffff ? classify(String.fromCodePoint(point)) : OTHER;
  }
  const known = CLASSES[code] ?? 0;
  if (known !== 0) return known;
  const found = classify(String.fromCharCode(code));
  CLASSES[code] = found;
  return found;
}

const isWordClass = (kind: number) => kind === LETTER || kind === DIGIT;
const APOSTROPHES = "'’ʼ";
const JOINERS = "._@-/+#&\\·‐‑";
const isUpper = (character: string) => character !== character.toLowerCase();

/** True if the character at `index` joins what stands on its two sides into one whole. */
function joins(text: string, index: number): boolean {
  const character = text.charAt(index);
  const before = classAt(text, index - 1);
  const after = index + 1 < text.length ? classAt(text, index + 1) : OTHER;
  if (!isWordClass(after)) return false;
  if (character === "," || character === ":") return before === DIGIT && after === DIGIT;
  // A full stop without a blank after it is more often a missing blank than a name.
  if (character === ".")
    return !(isUpper(text.charAt(index + 1)) && !isUpper(text.charAt(index - 1)) && before === LETTER);
  return JOINERS.includes(character);
}

const THOUSANDS = /^\d{1,3}(?:[.,]\d{3})+(?:[.,]\d{1,2})?$/;
const DECIMALS = /[.,]\d{1,2}$/;
const MIXED = /^(?:\p{L}{2,}\d{2,}|\d{2,}\p{L}{2,})$/u;

class Collector {
  readonly words: Word[] = [];
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }
  add(start: number, end: number, isWhole: boolean): void {
    const text = this.#text.slice(start, Math.min(end, start + WORD_LENGTH_MAX)).toLowerCase();
    this.words.push({ text, start, end, isWhole });
  }
  /** A run of letters and digits; `abc123` also in its two parts. */
  run(start: number, end: number): void {
    const text = this.#text.slice(start, Math.min(end, start + WORD_LENGTH_MAX));
    if (!MIXED.test(text)) return this.add(start, end, false);
    this.add(start, end, true);
    const first = classAt(this.#text, start);
    let middle = start + 1;
    while (classAt(this.#text, middle) === first) middle++;
    this.add(start, middle, false);
    this.add(middle, end, false);
  }
  whole(start: number, end: number): void {
    if (end - start > WORD_LENGTH_MAX) return;
    this.add(start, end, true);
    const text = this.#text.slice(start, end);
    // Thousands are written in several ways; the plain digits meet all of them.
    if (!THOUSANDS.test(text)) return;
    const digits = text.replace(DECIMALS, "").replace(/[.,]/g, "");
    this.words.push({ text: digits, start, end, isWhole: true });
  }
  pairs(start: number, end: number): void {
    if (end - start === 1) return this.add(start, end, false);
    for (let index = start; index + 1 < end; index++) this.add(index, index + 2, false);
  }
}

/** The words of `text` in order; a whole comes before its parts. */
export function words(text: string): Word[] {
  const found = new Collector(text);
  const length = text.length;
  let index = 0;
  while (index < length) {
    const kind = classAt(text, index);
    if (kind === OTHER) {
      index++;
      continue;
    }
    const start = index;
    if (kind === PAIRED) {
      while (index < length && classAt(text, index) === PAIRED) index++;
      found.pairs(start, index);
      continue;
    }
    index = chunk(text, start, found);
  }
  return found.words;
}

/** Takes one blank-separated chunk from `start`; returns where it ends. */
function chunk(text: string, start: number, found: Collector): number {
  const length = text.length;
  const runs: number[] = [];
  let wholeStart = start;
  let joined = false;
  let index = start;
  const flush = (end: number) => {
    if (joined) found.whole(wholeStart, end);
    for (let at = 0; at < runs.length; at += 2) found.run(runs[at] ?? 0, runs[at + 1] ?? 0);
    runs.length = 0;
    joined = false;
  };
  while (index < length) {
    const runStart = index;
    while (index < length && isWordClass(classAt(text, index))) index++;
    const isAfterApostrophe = runStart > start && APOSTROPHES.includes(text.charAt(runStart - 1));
    const isBeforeApostrophe =
      index + 1 < length && APOSTROPHES.includes(text.charAt(index)) && isWordClass(classAt(text, index + 1));
    // A single letter beside an apostrophe is grammar: l'acqua, Anna's, don't.
    const isGrammar = index - runStart === 1 && (isAfterApostrophe || isBeforeApostrophe);
    if (!isGrammar) runs.push(runStart, index);
    if (isBeforeApostrophe) {
      flush(index);
      index++;
      wholeStart = index;
      continue;
    }
    const next = text.charAt(index);
    if (index - runStart <= 3 && (next === "+" || next === "#") && classAt(text, runStart) === LETTER) {
      let end = index;
      while (text.charAt(end) === next) end++;
      if (end === length || !isWordClass(classAt(text, end))) {
        joined = true;
        flush(end);
        return end;
      }
    }
    if (index < length && joins(text, index)) {
      joined = true;
      index++;
      continue;
    }
    break;
  }
  flush(index);
  return index;
}
