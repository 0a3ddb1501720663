// The quoted answer: sentences of passages scored against a question, the best 1–3 neighbouring ones word for word,
// and how sure that is. Pure but for the vectors, which are handed in.

import { fold, queryWords, splitSentences, termsOf, words, type Language, type Span } from "../../lib/text/index.ts";

export interface QuotablePassage {
  title: string;
  text: string;
  headingPath?: readonly string[];
  language?: string | null;
  /** 0..1, from the search. */
  score: number;
}

export interface Quote {
  /** Index into the passages. */
  passage: number;
  start: number;
  end: number;
  /** 0..1 */
  confidence: number;
}

/** One sentence with where it stands. */
interface Sentence extends Span {
  passage: number;
  /** Which words of the question it has, by their index; 1, or less for a similar spelling. */
  has: Float64Array;
  /** Cosine with the question. */
  cosine: number;
  hasNumber: boolean;
  /** It asks: what answers stands behind it. */
  asks: boolean;
}

/** A word of a question that a quote should have. */
export interface QuestionWord {
  variants: ReadonlySet<string>;
  text: string;
  /** What it counts; `absentWeight` when the quote lacks it. */
  weight: number;
  absentWeight: number;
}

const ASKING = /[?？؟]["'”’»)\]]*$/;
const WINDOW_MAX = 3;
/** A further sentence must bring this much of the question's weight. */
const GAIN_MIN = 0.12;
const TITLE_SHARE = 0.6;
const NEIGHBOUR_SHARE = 0.35;
const SPELLING_SHARE = 0.7;
const SPELLING_LIKENESS = 0.62;
const QUOTE_LENGTH_MAX = 1200;

/** Questions that a number answers. */
const ASKS_NUMBER =
  /\b(how (?:many|much|long|often|old|far|big|large)|what time|when|quant[oa]s?|quando|a que horas|que horas|cuant[oa]s?|cuando|combien|wie ?viele?|wann|wie lange)\b/;

/** Words that only shape a question: an answer to it need not have them. */
const SHAPING = new Set(
  (
    "allow allowed amount answer back big bring call called close contact cost costs date deadline does exact exactly explain find get " +
    "given happen happens high hour hours info information kind know limit long made maximum mean means minimum name number old own paid " +
    "pay person phone " +
    "possible price required rule rules say says start take takes tall tell time total type use value way work works " +
    "ajuda acontece aproximadamente chama contato custa custo data dia dizer exato fazer forma fica funciona hora horario horarios " +
    "idade informacao limite maximo minimo nome numero ocorre pessoa possivel prazo preciso preco pode quantia regra saber telefone tempo " +
    "tipo usar valor vez " +
    "cuesta costo fecha numero nombre precio plazo telefono tiempo hora horario valor manera"
  ).split(" "),
);
const SHAPING_SHARE = 0.3;
const WHOLE_WEIGHT = 1.6;

/** Without knowledge of the texts, the length of a word tells best how rare it is. */
function rarityOf(text: string): number {
  if (text.length <= 3) return 0.6;
  if (text.length <= 4) return 0.7;
  return text.length <= 6 ? 0.8 : 0.9;
}

function trigrams(text: string): Set<string> {
  const framed = `^${text}$`;
  const found = new Set<string>();
  for (let index = 0; index + 3 <= framed.length; index++) found.add(framed.slice(index, index + 3));
  return found;
}

/** Dice coefficient of the letter trigrams of two words. */
function likeness(a: string, b: string): number {
  const [left, right] = [trigrams(a), trigrams(b)];
  let common = 0;
  for (const each of left) if (right.has(each)) common++;
  return (2 * common) / (left.size + right.size);
}

const isWhole = (text: string) => /[^\p{L}\p{M}\p{N}]/u.test(text);

/** The words of a question that say something; all of them when none does. */
export function questionWords(question: string, languages: readonly Language[]): QuestionWord[] {
  const all = queryWords(question, languages);
  const telling = all.filter(({ isStopWord }) => !isStopWord);
  // The parts of a whole are found with it and would count it several times.
  const parts = new Set(
    telling
      .filter(({ text }) => isWhole(text))
      .flatMap(({ text }) =>
        words(text)
          .filter((word) => !word.isWhole)
          .map((word) => fold(word.text)),
      ),
  );
  return (telling.length > 0 ? telling : all)
    .filter(({ text }) => !parts.has(text))
    .map(({ text, variants }) =>
      weighed({ text, variants: new Set(variants), weight: 0, absentWeight: 0 }, rarityOf(text)),
    );
}

/** The word with the weight that its rarity (0..1) gives it; codes and numbers are meant exactly. */
export function weighed(word: QuestionWord, rarity: number): QuestionWord {
  const weight = (0.25 + 0.75 * rarity) * (isWhole(word.text) || /\d/.test(word.text) ? WHOLE_WEIGHT : 1);
  return { ...word, weight, absentWeight: SHAPING.has(word.text) ? weight * SHAPING_SHARE : weight };
}

/** How much of each question word the text has. */
function presence(text: string, language: Language | null, asked: readonly QuestionWord[]): Float64Array {
  const has = new Float64Array(asked.length);
  for (const word of words(text)) {
    const terms = termsOf(word, language);
    for (const [index, { variants, text: wanted }] of asked.entries()) {
      if (has[index] === 1) continue;
      if (terms.some((term) => variants.has(term))) has[index] = 1;
      else if (
        has[index] === 0 &&
        wanted.length >= 6 &&
        !word.isWhole &&
        likeness(fold(word.text), wanted) >= SPELLING_LIKENESS
      ) {
        has[index] = SPELLING_SHARE;
      }
    }
  }
  return has;
}

/** The share of the question's weight that is there. */
function coverage(has: Float64Array, asked: readonly QuestionWord[]): number {
  let covered = 0;
  let total = 0;
  for (const [index, { weight, absentWeight }] of asked.entries()) {
    const present = has[index] ?? 0;
    covered += present * weight;
    total += present * weight + (1 - present) * absentWeight;
  }
  return total === 0 ? 0 : covered / total;
}

const atLeast = (into: Float64Array, from: Float64Array, share: number) => {
  for (let index = 0; index < into.length; index++)
    into[index] = Math.max(into[index] ?? 0, (from[index] ?? 0) * share);
};

export interface Quoting {
  /** Words of the question, in the order in which `weigh` takes their rarities. */
  words: readonly QuestionWord[];
  /** How rare each word is where was searched, 0..1. */
  weigh(rarities: readonly number[]): void;
  /** Texts whose vectors are wanted: the question first, then each sentence. */
  texts: string[];
  /** The best quote, given those vectors (or null: words only); null when no sentence has a word of the question. */
  choose(vectors: readonly Float32Array[] | null): Quote | null;
}

/** Takes the passages apart into sentences; `languageOf` says whose stems a passage's words have. */
export function quoting(
  question: string,
  passages: readonly QuotablePassage[],
  languageOf: (passage: QuotablePassage) => Language | null,
): Quoting {
  const languages = [...new Set(passages.flatMap((passage) => languageOf(passage) ?? []))];
  let asked = questionWords(question, languages);
  const asksNumber = ASKS_NUMBER.test(fold(question));
  const byPassage = passages.map((passage, index): Sentence[] => {
    const language = languageOf(passage);
    return splitSentences(passage.text, passage.language ?? null).map((span) => {
      const text = passage.text.slice(span.start, span.end);
      return {
        ...span,
        passage: index,
        has: presence(text, language, asked),
        cosine: 0,
        hasNumber: /\d/.test(text),
        asks: ASKING.test(text),
      };
    });
  });
  const all = byPassage.flat();

  /** What the sentences from `first` on say of the question, with what stands around them. */
  function judge(passage: QuotablePassage, sentences: readonly Sentence[], first: number, count: number) {
    const own = new Float64Array(asked.length);
    let cosine = 0;
    let hasNumber = false;
    for (const sentence of sentences.slice(first, first + count)) {
      atLeast(own, sentence.has, 1);
      cosine = Math.max(cosine, sentence.cosine);
      hasNumber ||= sentence.hasNumber;
    }
    const ownCoverage = coverage(own, asked);
    const withContext = Float64Array.from(own);
    const context = `${passage.title}\n${(passage.headingPath ?? []).join("\n")}`;
    atLeast(withContext, presence(context, languageOf(passage), asked), TITLE_SHARE);
    for (const at of [first - 1, first + count]) {
      const neighbour = sentences[at];
      if (neighbour) atLeast(withContext, neighbour.has, NEIGHBOUR_SHARE);
    }
    return { ownCoverage, fullCoverage: coverage(withContext, asked), cosine, hasNumber };
  }

  function choose(vectors: readonly Float32Array[] | null): Quote | null {
    const [asking, ...given] = vectors ?? [];
    if (asking) {
      for (const [index, sentence] of all.entries()) {
        const vector = given[index];
        if (vector) sentence.cosine = vector.reduce((sum, value, at) => sum + value * (asking[at] ?? 0), 0);
      }
    }
    let best: (Quote & { rank: number }) | null = null;
    for (const [index, passage] of passages.entries()) {
      const sentences = byPassage[index] ?? [];
      for (let first = 0; first < sentences.length; first++) {
        let before = 0;
        for (let count = 1; count <= WINDOW_MAX && first + count <= sentences.length; count++) {
          const [begin, end] = [sentences[first]?.start ?? 0, sentences[first + count - 1]?.end ?? 0];
          if (count > 1 && end - begin > QUOTE_LENGTH_MAX) break;
          // A question is no answer, not even to itself.
          if (sentences[first + count - 1]?.asks) continue;
          const { ownCoverage, fullCoverage, cosine, hasNumber } = judge(passage, sentences, first, count);
          if (count > 1 && ownCoverage < before + GAIN_MIN) break;
          before = ownCoverage;
          // A sentence that shares no word is no quote, whatever its vector says, unless the vector is very sure.
          if (ownCoverage === 0 && cosine < SURE_COSINE) continue;
          const confidence = confidenceOf(fullCoverage, cosine);
          const fits = asksNumber && hasNumber ? 0.08 : 0;
          const rank = confidence + 0.25 * ownCoverage + fits + 0.1 * passage.score - 0.03 * (count - 1);
          if (!best || rank > best.rank) best = { passage: index, start: begin, end, confidence, rank };
        }
      }
    }
    return best ? { passage: best.passage, start: best.start, end: best.end, confidence: best.confidence } : null;
  }

  return {
    words: asked,
    weigh: (rarities) => {
      asked = asked.map((word, index) => weighed(word, rarities[index] ?? 1));
    },
    texts: [question, ...all.map(({ passage, start, end }) => passages[passage]?.text.slice(start, end) ?? "")],
    choose,
  };
}

const SURE_COSINE = 0.75;
/** Half of the words in common is not half an answer. */
const COVERAGE_POWER = 1.8;

/** Words in common carry it; a vector that is sure lifts what the words leave open. */
function confidenceOf(covered: number, cosine: number): number {
  const sure = Math.max(0, Math.min(1, (cosine - 0.5) / 0.5));
  return Math.min(1, (covered + (1 - covered) * 0.5 * sure) ** COVERAGE_POWER);
}
