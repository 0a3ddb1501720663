// The built-in embedding `lexical-v1`: words, stems and letter trigrams hashed into 512 signed dimensions. It matches
// words and spellings, not meaning. Only exactly rounded operations (+ × ÷ √) are used, so every machine gives the
// same bytes; whatever changes a weight here must change the model's name.

import { fold, isStopWord, languageOfWords, termsOf, words, type Language, type Word } from "../../lib/text/index.ts";

export const LEXICAL_MODEL = "lexical-v1";
export const LEXICAL_DIMENSIONS = 512;

/** Whose stems stand for a word when nothing tells the language of its text. */
const USUAL: readonly Language[] = ["en", "pt", "es", "fr", "de"];

const STEM_WEIGHT = 1;
/** Of all trigrams of one word together. */
const TRIGRAMS_WEIGHT = 0.6;
/** Codes, addresses, numbers: who writes one means exactly that. */
const WHOLE_WEIGHT = 2;
/** Word length → weight: without a corpus, length is what tells rare words from common ones. */
const LENGTH_WEIGHTS = [0.5, 0.5, 0.6, 0.7, 0.85, 1, 1.05, 1.15, 1.2, 1.3];
const DIGITS = /\d/;

/** FNV-1a over UTF-16 units, finished as MurmurHash3 does, so that low bits are usable. */
function hash(kind: number, text: string, start: number, end: number): number {
  let value = 0x811c9dc5 ^ kind;
  for (let index = start; index < end; index++) {
    value ^= text.charCodeAt(index);
    value = Math.imul(value, 0x01000193);
  }
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}

const KIND_WORD = 1;
const KIND_STEM = 2;
const KIND_TRIGRAM = 3;

/** What one word adds to a vector: pairs of dimension and amount. */
type Contribution = Float64Array;

function contributionOf(word: Pick<Word, "text" | "isWhole">, language: Language | null): Contribution {
  const pairs: number[] = [];
  const add = (kind: number, text: string, start: number, end: number, amount: number) => {
    const value = hash(kind, text, start, end);
    pairs.push(value & (LEXICAL_DIMENSIONS - 1), value & 0x80000000 ? -amount : amount);
  };
  const folded = fold(word.text);
  const importance = word.isWhole || DIGITS.test(folded) ? WHOLE_WEIGHT : (LENGTH_WEIGHTS[folded.length] ?? 1.4);
  add(KIND_WORD, folded, 0, folded.length, importance);
  if (!word.isWhole && !DIGITS.test(folded)) {
    const stems = new Set((language ? [language] : USUAL).flatMap((each) => termsOf(word, each).slice(-1)));
    const amount = (importance * STEM_WEIGHT) / Math.sqrt(stems.size);
    for (const stem of stems) add(KIND_STEM, stem, 0, stem.length, amount);
  }
  const framed = `^${folded}$`;
  const count = framed.length - 2;
  const amount = (importance * TRIGRAMS_WEIGHT) / Math.sqrt(Math.max(1, count));
  for (let index = 0; index < count; index++) add(KIND_TRIGRAM, framed, index, index + 3, amount);
  return Float64Array.from(pairs);
}

const CACHE_SIZE = 30_000;
const cache = new Map<Language | null, Map<string, Contribution>>();

function cached(word: Pick<Word, "text" | "isWhole">, language: Language | null): Contribution {
  let known = cache.get(language);
  if (!known) cache.set(language, (known = new Map()));
  const key = word.isWhole ? ` ${word.text}` : word.text;
  const found = known.get(key);
  if (found) return found;
  if (known.size >= CACHE_SIZE) known.clear();
  const contribution = contributionOf(word, language);
  known.set(key, contribution);
  return contribution;
}

interface Counted {
  word: Word;
  folded: string;
  count: number;
}

/** The unit vector of `text`; never zero for a text that is not empty. */
export function embedLexically(text: string): Float32Array {
  const counted = new Map<string, Counted>();
  const plain: string[] = [];
  for (const word of words(text)) {
    const folded = fold(word.text);
    if (!word.isWhole) plain.push(folded);
    const known = counted.get(word.text);
    if (known) known.count++;
    else counted.set(word.text, { word, folded, count: 1 });
  }
  const language = languageOfWords(plain);
  const sums = new Float64Array(LEXICAL_DIMENSIONS);
  const add = ({ word, count }: Counted) => {
    const pairs = cached(word, language);
    const times = Math.sqrt(count);
    for (let index = 0; index < pairs.length; index += 2) {
      const dimension = pairs[index] ?? 0;
      sums[dimension] = (sums[dimension] ?? 0) + (pairs[index + 1] ?? 0) * times;
    }
  };
  const entries = [...counted.values()];
  const telling = entries.filter(({ word, folded }) => word.isWhole || !isStopWord(folded, language));
  for (const entry of telling.length > 0 ? telling : entries) add(entry);
  return unit(sums, text);
}

function unit(sums: Float64Array, text: string): Float32Array {
  let squares = 0;
  for (const value of sums) squares += value * value;
  if (squares === 0) {
    // Signs only, or amounts that cancelled out: the text as a whole is its one feature.
    sums[hash(KIND_WORD, text, 0, text.length) & (LEXICAL_DIMENSIONS - 1)] = 1;
    squares = 1;
  }
  const norm = Math.sqrt(squares);
  const vector = new Float32Array(LEXICAL_DIMENSIONS);
  for (let index = 0; index < LEXICAL_DIMENSIONS; index++) vector[index] = (sums[index] ?? 0) / norm;
  return vector;
}
