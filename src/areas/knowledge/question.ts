// A question as people write it: quoted parts, words that say something. Pure.

import { foldPhrase, fold, queryWords, words, type Language } from "../../lib/text/index.ts";

const QUOTED = /"([^"]+)"|“([^”]+)”|«([^»]+)»|„([^“”]+)[“”]/g;

/** Parts in quotation marks, folded; what holds no word is not one. */
export function quotedParts(text: string): string[] {
  const parts = [...text.matchAll(QUOTED)].map((match) => foldPhrase(match.slice(1).find((part) => part) ?? ""));
  return [...new Set(parts.filter((part) => words(part).length > 0))];
}

/** The folded words that a passage with these parts must have. */
export function wordsOfParts(parts: readonly string[]): string[] {
  const found = parts.flatMap((part) => words(part).filter(({ isWhole }) => !isWhole));
  return [...new Set(found.map(({ text }) => fold(text)))];
}

/** True if the text has no word but those that say nothing by themselves. */
export function saysNothing(text: string, languages: readonly Language[] = []): boolean {
  return queryWords(text, languages).every(({ isStopWord }) => isStopWord);
}

/** Places in `text` of words that have one of the terms: [start, end) in UTF-16 units, in order. */
export function highlightsOf(
  text: string,
  isWanted: (word: { text: string; isWhole: boolean }) => boolean,
): [number, number][] {
  const found: [number, number][] = [];
  for (const word of words(text)) {
    if (!isWanted(word)) continue;
    const last = found.at(-1);
    // A whole comes before its parts: they lie within it.
    if (last && word.start < last[1]) last[1] = Math.max(last[1], word.end);
    else found.push([word.start, word.end]);
  }
  return found;
}
