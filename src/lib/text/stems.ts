// Word stems by the Snowball algorithms.

import { newStemmer, type Stemmer } from "snowball-stemmers";
import type { Language } from "./languages.ts";

const ALGORITHMS: Readonly<Record<Language, string>> = {
  da: "danish",
  de: "german",
  en: "english",
  es: "spanish",
  fi: "finnish",
  fr: "french",
  hu: "hungarian",
  it: "italian",
  nl: "dutch",
  no: "norwegian",
  pt: "portuguese",
  ro: "romanian",
  ru: "russian",
  sv: "swedish",
  tr: "turkish",
};

const stemmers = new Map<Language, Stemmer>();

/** The stem of a lower-case word. */
export function stem(word: string, language: Language): string {
  let stemmer = stemmers.get(language);
  if (!stemmer) {
    stemmer = newStemmer(ALGORITHMS[language]);
    stemmers.set(language, stemmer);
  }
  return stemmer.stem(word);
}
