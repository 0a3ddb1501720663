// Search terms of texts and questions: folded words, their stems, wholes like codes and addresses.

import { fold } from "./fold.ts";
import { languageOfWords } from "./language.ts";
import type { Language } from "./languages.ts";
import { stem } from "./stems.ts";
import { isStopWord } from "./stopwords.ts";
import { words, type Word } from "./words.ts";

const CACHE_SIZE = 50_000;
const cache = new Map<Language | null, Map<string, readonly string[]>>();
const PLAIN = /^[^\p{L}]|\d/u;

function derive(word: string, language: Language | null): readonly string[] {
  const folded = fold(word);
  if (language === null || PLAIN.test(word)) return [folded];
  // Stemmers know accents, writers leave them out: both readings stand for the word.
  const stems = [fold(stem(word, language)), stem(folded, language)];
  return [...new Set([folded, ...stems])].filter((term) => term !== "");
}

/** The terms a lower-case word stands for, its folded form first; `isWhole`: codes and the like have no stem. */
export function termsOf(word: Pick<Word, "text" | "isWhole">, language: Language | null): readonly string[] {
  const kind = word.isWhole ? null : language;
  let known = cache.get(kind);
  if (!known) cache.set(kind, (known = new Map()));
  const found = known.get(word.text);
  if (found) return found;
  if (known.size >= CACHE_SIZE) known.clear();
  const terms = derive(word.text, kind);
  known.set(word.text, terms);
  return terms;
}

export interface TermCounts {
  /** Term → how often it stands in the text. */
  counts: Map<string, number>;
  /** Words of the text, wholes not counted again: the length that BM25 uses. */
  length: number;
}

/** The terms of a text in `language`, stop words included. */
export function countTerms(text: string, language: Language | null): TermCounts {
  const counts = new Map<string, number>();
  let length = 0;
  for (const word of words(text)) {
    if (!word.isWhole) length++;
    for (const term of termsOf(word, language)) counts.set(term, (counts.get(term) ?? 0) + 1);
  }
  return { counts, length };
}

/** Counts in their stored form: one line per frequency, `2 term term`. */
export function encodeTerms(counts: ReadonlyMap<string, number>): string {
  const lines = new Map<number, string[]>();
  for (const [term, count] of counts) {
    const line = lines.get(count);
    if (line) line.push(term);
    else lines.set(count, [term]);
  }
  return [...lines].map(([count, terms]) => `${count} ${terms.join(" ")}`).join("\n");
}

/** Gives each term of the stored form with its frequency. */
export function decodeTerms(stored: string, each: (term: string, count: number) => void): void {
  if (stored === "") return;
  for (const line of stored.split("\n")) {
    const terms = line.split(" ");
    const count = Number(terms[0]);
    for (let index = 1; index < terms.length; index++) each(terms[index] ?? "", count);
  }
}

/** One word of a question: a passage has it if it has any of the variants. */
export interface QueryWord {
  /** Folded; what the word is called in explanations. */
  text: string;
  variants: readonly string[];
  isStopWord: boolean;
}

/**
 * The words of a question without repetitions, each with its folded form and its stems: in the question's own language,
 * as its stop words show it; in all of `languages` when they do not, or when it is none of them. A word is a stop word
 * if it is one in the question's own language, or failing that in the first of `languages`.
 */
export function queryWords(query: string, languages: readonly Language[], useStems = true): QueryWord[] {
  const found = words(query);
  const plain = found.filter((word) => !word.isWhole).map((word) => fold(word.text));
  const shown = languageOfWords(plain);
  const own = shown ?? languages[0] ?? null;
  // Stems of a language that the question is not written in would only be mistaken for other words.
  const stemmedIn = shown === null ? languages : languages.includes(shown) ? [shown] : [shown, ...languages];
  const byText = new Map<string, QueryWord>();
  for (const word of found) {
    const text = fold(word.text);
    if (text === "" || byText.has(text)) continue;
    const variants = new Set<string>([text]);
    if (useStems && !word.isWhole) {
      for (const language of stemmedIn) {
        for (const term of termsOf(word, language)) variants.add(term);
      }
    }
    byText.set(text, { text, variants: [...variants], isStopWord: !word.isWhole && isStopWord(text, own) });
  }
  return [...byText.values()];
}
