// Which language a text is written in: letter trigrams (franc) and stop words together.

import { francAll } from "franc-min";
import { fold } from "./fold.ts";
import type { Language } from "./languages.ts";
import { stopWordHits } from "./stopwords.ts";
import { words } from "./words.ts";

const LENGTH_MIN = 12;
const SAMPLE_LENGTH = 2_000;

/** ISO 639-3 as franc says it → ISO 639-1. Rare languages are left out, they only blur short texts. */
const CODES: Readonly<Record<string, string>> = {
  arb: "ar",
  ben: "bn",
  bul: "bg",
  ces: "cs",
  cmn: "zh",
  deu: "de",
  ell: "el",
  eng: "en",
  fra: "fr",
  heb: "he",
  hin: "hi",
  hrv: "hr",
  hun: "hu",
  ind: "id",
  ita: "it",
  jpn: "ja",
  kor: "ko",
  nld: "nl",
  pes: "fa",
  pol: "pl",
  por: "pt",
  ron: "ro",
  rus: "ru",
  spa: "es",
  swe: "sv",
  tam: "ta",
  tha: "th",
  tur: "tr",
  ukr: "uk",
  vie: "vi",
};
const ONLY = Object.keys(CODES);

/** What a stop word counts against the trigram score: short texts hang on them, long ones hardly. */
const STOP_WORD_WEIGHT = 1.5;
/** A smaller lead over the second language is a guess; short texts need a larger one. */
const leadMin = (length: number) => 0.01 + 2 / length;

/** Beginning, middle and end of a long text, so that a foreign preface does not decide. */
function sample(text: string): string {
  if (text.length <= SAMPLE_LENGTH) return text;
  const part = Math.floor(SAMPLE_LENGTH / 3);
  const middle = Math.floor((text.length - part) / 2);
  return `${text.slice(0, part)} ${text.slice(middle, middle + part)} ${text.slice(-part)}`;
}

/**
 * ISO 639-1 code of the text's language; null for fewer than 12 characters or when it cannot be told.
 * `among`: only these are possible.
 */
export function detectLanguage(text: string, among?: readonly string[]): string | null {
  const piece = sample(text);
  if (piece.trim().length < LENGTH_MIN) return null;
  const allowed = among ? new Set(among) : null;
  const trigrams = new Map<string, number>();
  for (const [code, score] of francAll(piece, { only: ONLY, minLength: LENGTH_MIN })) {
    const language = CODES[code];
    if (language !== undefined) trigrams.set(language, score);
  }
  const found = words(piece).filter((word) => !word.isWhole);
  const scores = new Map(trigrams);
  for (const [language, count] of stopWordHits(found.map((word) => fold(word.text)))) {
    const share = found.length === 0 ? 0 : count / found.length;
    // Danish, Norwegian and Finnish have no trigrams here: those of a neighbour stand for them.
    const base = trigrams.get(language) ?? baseOf(language, trigrams);
    scores.set(language, base + share * STOP_WORD_WEIGHT);
  }
  const order = [...scores].filter(([language]) => !allowed || allowed.has(language)).toSorted((a, b) => b[1] - a[1]);
  const [best, second] = order;
  if (!best || best[1] <= 0) return null;
  if (second && best[1] - second[1] < leadMin(piece.length)) return null;
  return best[0];
}

function baseOf(language: Language, trigrams: ReadonlyMap<string, number>): number {
  if (language === "da" || language === "no") return (trigrams.get("sv") ?? 0) * 0.95;
  return (trigrams.get("hu") ?? 0) * 0.9;
}

/** The language of words that are already folded, by stop words alone; null when they do not tell. Cheap. */
export function languageOfWords(folded: readonly string[]): Language | null {
  let best: Language | null = null;
  let most = 0;
  let next = 0;
  for (const [language, count] of stopWordHits(folded)) {
    if (count > most) {
      next = most;
      most = count;
      best = language;
    } else if (count > next) next = count;
  }
  return most > next ? best : null;
}
