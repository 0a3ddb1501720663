// Answers of the model that may be given again: to the same question under the same circumstances, or to one that
// means the same. Entries live in the shared cache; which questions there are is known to the instance that stored them.

import type { Clock } from "../../core/clock.ts";
import { isAppError } from "../../core/errors.ts";
import type { Cache } from "../../engines/cache/index.ts";
import type { Embedding } from "../../engines/embedding/index.ts";
import { randomToken, sha256Hex } from "../../lib/ids/index.ts";
import { canonicalJson } from "../../lib/json/canonical.ts";
import { fold, foldPhrase } from "../../lib/text/index.ts";
import type { Citation } from "../conversations/responder.ts";

export interface CachedAnswer {
  content: string;
  citations: Citation[];
  model: string;
}

/** Everything besides the question that an answer depends on. */
export type AnswerCircumstances = Readonly<Record<string, unknown>>;

export interface AnswerCacheRules {
  ttlSeconds: number;
  isSemantic: boolean;
  /** Cosine from which two questions mean the same. */
  threshold: number;
}

export interface AnswerCacheStats {
  entries: number;
  hits: number;
  semantic_hits: number;
  misses: number;
  bytes: number;
  hit_rate: number;
}

/** While the cache is away nothing is found and nothing stored: an answer need not wait for it. */
export interface AnswerCache {
  find(
    botId: string,
    circumstances: AnswerCircumstances,
    question: string,
    rules: AnswerCacheRules,
  ): Promise<{ answer: CachedAnswer; isSemantic: boolean } | null>;
  store(
    botId: string,
    circumstances: AnswerCircumstances,
    question: string,
    answer: CachedAnswer,
    rules: AnswerCacheRules,
  ): Promise<void>;
  /** Forgets the answers of one bot, or all, on every instance; how many this one knew of. */
  clear(botId: string | null): Promise<number>;
  /** Since the start of this instance. */
  stats(botId: string | null): AnswerCacheStats;
  /** Hears what other instances clear. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

const ENTRIES_MAX = 10_000;
const EPOCH_TTL_MS = 30 * 86_400_000;
/** Channel of clearings: a bot's id, or `all`. */
const CLEARED = "answers.cleared";
const ALL = "all";

const NEGATIONS = new Set(
  "not no never none without cannot dont doesnt isnt arent wont nao nunca jamais sem nenhum nenhuma nem sin jamas ningun ninguno ninguna ni".split(
    " ",
  ),
);
/** Words that point to what was said before. Alone they make a question that cannot be understood by itself. */
const REFERENCES = new Set(
  (
    "it its that this these those they them their he him his she her then same " +
    "ele ela eles elas isso isto aquilo esse essa este esta esses essas disso disto nele nela dele dela mesmo mesma " +
    "el ella ellos ellas eso esto aquello ese esa estos estas esos esas suyo mismo misma"
  ).split(" "),
);
const CONTINUATION = /^(and|but|so|or|what about|how about|e|mas|ou|y|pero|entonces)\b/;

/** A question as it is compared: case, accents, blanks and closing signs do not matter. */
export function normalizeQuestion(question: string): string {
  return foldPhrase(question)
    .replace(/[\s?!.…¿¡]+$/u, "")
    .replace(/^[\s¿¡]+/u, "");
}

const wordsOf = (question: string) =>
  fold(question)
    .replaceAll(/['’]/g, "")
    .match(/[\p{L}\p{N}]+/gu) ?? [];

/** True if a question can be understood without what was said before. */
export function standsAlone(question: string): boolean {
  const words = wordsOf(question);
  return (
    words.length > 0 && !words.some((word) => REFERENCES.has(word)) && !CONTINUATION.test(normalizeQuestion(question))
  );
}

/** What two questions must share besides their meaning: their numbers and their negations. */
function strictParts(question: string): string {
  const numbers = (question.match(/\d+(?:[.,]\d+)*/g) ?? []).toSorted();
  const negations = wordsOf(question).filter((word) => NEGATIONS.has(word)).length;
  return `${numbers.join(" ")}|${negations}`;
}

interface Known {
  /** Key in the shared cache. */
  key: string;
  /** Hash of the circumstances. */
  under: string;
  strict: string;
  vector: Float32Array | null;
  bytes: number;
  until: number;
}

interface Shelf {
  /** By cache key, least lately used first. */
  known: Map<string, Known>;
  hits: number;
  semanticHits: number;
  misses: number;
}

function cosine(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let index = 0; index < a.length; index += 1) sum += (a[index] ?? 0) * (b[index] ?? 0);
  return sum;
}

/** Makes the cache of answers; with the built-in lexical embedding only equal questions are found. */
export function openAnswerCache(deps: { cache: Cache; embedding: Embedding | null; clock: Clock }): AnswerCache {
  const { cache, clock } = deps;
  // Lexical vectors say which words there are, not what they mean: "A beats B" and "B beats A" are one to them.
  const embedding = deps.embedding?.kind === "lexical" ? null : deps.embedding;
  const shelves = new Map<string, Shelf>();

  function shelf(botId: string): Shelf {
    let found = shelves.get(botId);
    if (!found) {
      found = { known: new Map(), hits: 0, semanticHits: 0, misses: 0 };
      shelves.set(botId, found);
    }
    return found;
  }

  /** A word that changes with every clearing: entries of other instances, too, are out of reach afterwards. */
  async function epoch(scope: string): Promise<string> {
    const key = `answers:epoch:${scope}`;
    const known = await cache.get(key);
    if (known !== null) return known;
    const made = randomToken(9);
    await cache.set(key, made, EPOCH_TTL_MS);
    return made;
  }

  async function under(botId: string, circumstances: AnswerCircumstances): Promise<string> {
    const epochs = [await epoch(ALL), await epoch(botId)];
    return sha256Hex(canonicalJson({ ...circumstances, bot: botId, epochs }));
  }

  const keyOf = (hash: string, question: string) => `answers:${hash}:${sha256Hex(normalizeQuestion(question))}`;

  async function read(key: string): Promise<CachedAnswer | null> {
    const text = await cache.get(key);
    return text === null ? null : (JSON.parse(text) as CachedAnswer);
  }

  /** The nearest known question under equal circumstances, if it is near enough. */
  function nearest(known: Iterable<Known>, hash: string, strict: string, vector: Float32Array, threshold: number) {
    let best: Known | null = null;
    let bestScore = threshold;
    for (const one of known) {
      if (one.under !== hash || one.strict !== strict || one.vector === null || one.until <= clock.now()) continue;
      const score = cosine(one.vector, vector);
      if (score >= bestScore) [best, bestScore] = [one, score];
    }
    return best;
  }

  async function vectorOf(question: string): Promise<Float32Array | null> {
    if (!embedding) return null;
    try {
      const [vector] = await embedding.embed([question], "query");
      return vector ?? null;
    } catch {
      // Without its vector a question is found by its words only.
      return null;
    }
  }

  const renew = (scope: string) => cache.set(`answers:epoch:${scope}`, randomToken(9), EPOCH_TTL_MS);
  let endHearing: (() => Promise<void>) | null = null;

  const direct: AnswerCache = {
    find: async (botId, circumstances, question, rules) => {
      const hash = await under(botId, circumstances);
      const mine = shelf(botId);
      const key = keyOf(hash, question);
      const exact = await read(key);
      if (exact) {
        mine.hits += 1;
        const known = mine.known.get(key);
        if (known) {
          mine.known.delete(key);
          mine.known.set(key, known);
        }
        return { answer: exact, isSemantic: false };
      }
      const strict = strictParts(question);
      const canBeSemantic =
        rules.isSemantic && mine.known.values().some((one) => one.under === hash && one.vector !== null);
      const vector = canBeSemantic ? await vectorOf(question) : null;
      const near = vector ? nearest(mine.known.values(), hash, strict, vector, rules.threshold) : null;
      const answer = near ? await read(near.key) : null;
      if (!answer) {
        mine.misses += 1;
        return null;
      }
      mine.semanticHits += 1;
      return { answer, isSemantic: true };
    },

    store: async (botId, circumstances, question, answer, rules) => {
      const hash = await under(botId, circumstances);
      const key = keyOf(hash, question);
      const text = JSON.stringify(answer);
      await cache.set(key, text, rules.ttlSeconds * 1000);
      const mine = shelf(botId);
      mine.known.delete(key);
      mine.known.set(key, {
        key,
        under: hash,
        strict: strictParts(question),
        vector: rules.isSemantic ? await vectorOf(question) : null,
        bytes: Buffer.byteLength(text),
        until: clock.now() + rules.ttlSeconds * 1000,
      });
      for (const old of mine.known.values()) {
        if (mine.known.size <= ENTRIES_MAX && old.until > clock.now()) break;
        mine.known.delete(old.key);
        await cache.delete(old.key);
      }
    },

    clear: async (botId) => {
      await renew(botId ?? ALL);
      await cache.publish(CLEARED, botId ?? ALL);
      let cleared = 0;
      for (const [id, { known }] of shelves) {
        if (botId !== null && id !== botId) continue;
        cleared += known.size;
        const keys = [...known.keys()];
        known.clear();
        if (keys.length > 0) await cache.delete(...keys);
      }
      return cleared;
    },

    stats: (botId) => {
      const chosen = [...shelves].filter(([id]) => botId === null || id === botId).map(([, one]) => one);
      const sum = (value: (one: Shelf) => number) => chosen.reduce((total, one) => total + value(one), 0);
      const alive = (one: Shelf) => [...one.known.values()].filter(({ until }) => until > clock.now());
      const hits = sum((one) => one.hits);
      const semantic = sum((one) => one.semanticHits);
      const misses = sum((one) => one.misses);
      const asked = hits + semantic + misses;
      return {
        entries: sum((one) => alive(one).length),
        hits,
        semantic_hits: semantic,
        misses,
        bytes: sum((one) => alive(one).reduce((bytes, known) => bytes + known.bytes, 0)),
        hit_rate: asked === 0 ? 0 : (hits + semantic) / asked,
      };
    },

    start: async () => {
      // Values of the memory engine are each instance's own: so is the word under which answers are found.
      if (cache.kind === "memory") endHearing = await cache.subscribe(CLEARED, (scope) => void renew(scope));
    },
    stop: async () => {
      await endHearing?.();
      endHearing = null;
    },
  };

  const ifThere = async <T>(work: Promise<T>): Promise<T | null> => {
    try {
      return await work;
    } catch (error) {
      if (isAppError(error) && error.details["service"] === "cache") return null;
      throw error;
    }
  };
  return {
    ...direct,
    find: (...asked) => ifThere(direct.find(...asked)),
    store: async (...given) => {
      await ifThere(direct.store(...given));
    },
  };
}
