// Search over passages (contract knowledge.md, "Search"): both sides inside the index with the reader's rights and the
// filters, fused, reranked where configured, read from the rows that are visible now.

import { and, asc, eq, gt, inArray, or, sql, type SQL } from "drizzle-orm";
import type { Clock } from "../../core/clock.ts";
import type { Context } from "../../core/context.ts";
import { conflict, invalid, isAppError, notFound, unavailable } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import type { EmbeddingEngine, Reranker } from "../../engines/embedding/index.ts";
import type { Model } from "../../engines/model/index.ts";
import type { PassageHits, PassageQuery, Reader, VectorIndex } from "../../engines/vectors/index.ts";
import { isUuid, sha256Hex } from "../../lib/ids/index.ts";
import { canonicalJson } from "../../lib/json/canonical.ts";
import { foldPhrase, isLanguage, queryWords, termsOf, type Language } from "../../lib/text/index.ts";
import type { BotConfig } from "../bots/config.ts";
import { collectionKey } from "./finder.ts";
import { firstOf, fuse, type Fused, type FusionRules } from "./fusion.ts";
import { kbChunks, kbCollections, kbDocuments } from "./model.ts";
import { modelReranker } from "./model-reranker.ts";
import { highlightsOf, quotedParts, saysNothing, wordsOfParts } from "./question.ts";
import type { Readers } from "./reader.ts";
import { searchCache, type SearchCacheStats } from "./search-cache.ts";

export type SearchMode = "hybrid" | "dense" | "sparse";

export interface SearchFilter {
  tags?: readonly string[];
  path?: string;
  mime?: readonly string[];
  documentIds?: readonly string[];
  updatedAfter?: Date;
  /** Key → value as text. */
  metadata?: Readonly<Record<string, string>>;
}

export interface SearchInput {
  query: string;
  /** Id or name; with neither bot nor collections the default bot. */
  bot?: string | null;
  /** Ids, `<bot>:<name>`, or names when `bot` is given. */
  collections?: readonly string[];
  limit?: number;
  mode?: SearchMode;
  minScore?: number;
  filter?: SearchFilter;
  highlight?: boolean;
  rerank?: boolean;
  explain?: boolean;
}

/** Where a passage stands in its document; null where it does not apply. */
export interface Place {
  page: number | null;
  slide: number | null;
  sheet: string | null;
  row: number | null;
  line: number | null;
}

export interface FoundChunk extends Place {
  chunkId: string;
  ordinal: number;
  headingPath: string[];
  text: string;
  tokens: number;
  charStart: number;
  charEnd: number;
  language: string | null;
}

export interface SearchResult {
  documentId: string;
  collectionId: string;
  collection: string;
  title: string;
  name: string;
  path: string;
  sourceUrl: string | null;
  updatedAt: Date;
  /** Null: the reader may see the title only. */
  chunk: FoundChunk | null;
  highlights: [number, number][];
  score: number;
  denseScore: number | null;
  sparseScore: number | null;
  denseRank: number | null;
  sparseRank: number | null;
  rerankScore: number | null;
}

export interface SearchAnswer {
  results: SearchResult[];
  mode: SearchMode;
  /** Missing sides and steps: `dense`, `rerank`. */
  degraded: string[];
  totalCandidates: number;
  explain: { rrfK: number; denseWeight: number | null; sparseWeight: number | null; words: string[] } | null;
}

/** An answer with the time it took. */
export interface TimedAnswer extends SearchAnswer {
  tookMs: number;
}

/** What a search asks of the bots area. */
export interface SearchBots {
  /** By id or name, null the default bot. Throws 404 when the caller may not use it. */
  usable(ctx: Context, ref: string | null): Promise<{ row: { id: string; name: string }; config: BotConfig }>;
}

export interface SearchScope {
  collections: ScopedCollection[];
  config: BotConfig;
}

export interface ScopedCollection {
  id: string;
  botId: string;
  name: string;
  /** Lower case: what makes the name unique within its bot. */
  nameKey: string;
  /** Active without being named. */
  isAuto: boolean;
  generation: number;
  seq: number;
  model: string | null;
}

const SIDE_LIMIT = 50;
/** When a few documents fill both sides, so many more are looked at. */
const DEEP_LIMIT = 1000;
const PER_DOCUMENT = 3;
/** How often a search begins anew because a document was replaced under its hands. */
const ATTEMPTS_MAX = 6;
const QUERY_TTL_MS = 600_000;
const QUERIES_MAX = 1000;
const QUERY_LENGTH_MAX = 2000;
/** Passages whose text is looked through for quoted parts, best first. */
const LITERAL_LOOKED_MAX = 2000;
const LITERAL_FOUND_MAX = 200;
/** Two texts without a word or spelling in common have a cosine of about 0 ± 0.044 in 512 dimensions. */
const LEXICAL_FLOOR = 0.12;

type Settings = ReturnType<typeof settingsOf>;

function settingsOf(config: BotConfig) {
  const denseWeight = config.value("rag-dense-weight");
  const sparseWeight = config.value("rag-sparse-weight");
  if (Math.abs(denseWeight + sparseWeight - 1) > 1e-6) {
    throw conflict("invalid_config", "rag-dense-weight and rag-sparse-weight must add up to 1.");
  }
  return {
    denseWeight,
    sparseWeight,
    isHybrid: config.value("rag-hybrid-enabled"),
    rrfK: config.value("rag-rrf-k"),
    hasSparse: config.value("bm25-enabled"),
    k1: config.value("bm25-k1"),
    b: config.value("bm25-b"),
    stemming: config.value("bm25-stemming"),
    dropStopWords: config.value("bm25-stopwords"),
    reranks: config.value("rag-reranker-enabled"),
    rerankTopN: config.value("rag-reranker-top-n"),
    minScore: config.value("rag-min-score"),
    cache: {
      isOn: config.value("rag-cache-enabled"),
      ttlMs: config.value("rag-cache-ttl") * 1000,
      entriesMax: config.value("rag-cache-max-size"),
    },
  };
}

/** Which sides take part and with what weight. */
function sidesOf(mode: SearchMode, settings: Settings, hasVectors: boolean): { mode: SearchMode; rules: FusionRules } {
  const k = settings.rrfK;
  if (mode === "dense") {
    if (!hasVectors) throw unavailable("vectors");
    return { mode, rules: { denseWeight: 1, sparseWeight: null, k } };
  }
  const wantsSparse = settings.hasSparse && settings.sparseWeight > 0;
  const wantsDense = hasVectors && settings.denseWeight > 0;
  if (mode === "sparse" || !wantsDense) return { mode: "sparse", rules: { denseWeight: null, sparseWeight: 1, k } };
  if (!wantsSparse || !settings.isHybrid) return { mode: "dense", rules: { denseWeight: 1, sparseWeight: null, k } };
  return { mode, rules: { denseWeight: settings.denseWeight, sparseWeight: settings.sparseWeight, k } };
}

function escapeLike(text: string): string {
  return text.replace(/[\\%_]/g, (character) => `\\${character}`);
}

function conditionsOf(filter: SearchFilter): SQL[] {
  const conditions: (SQL | undefined)[] = [];
  if (filter.tags && filter.tags.length > 0) {
    conditions.push(
      sql`${kbDocuments.tags} @> array(select jsonb_array_elements_text(${JSON.stringify(filter.tags)}::jsonb))`,
    );
  }
  if (filter.path !== undefined) {
    const path = filter.path.replace(/^\/+|\/+$/g, "");
    if (path !== "") {
      conditions.push(or(eq(kbDocuments.path, path), sql`${kbDocuments.path} like ${`${escapeLike(path)}/%`}`));
    }
  }
  if (filter.mime && filter.mime.length > 0) conditions.push(inArray(kbDocuments.mime, [...filter.mime]));
  if (filter.documentIds) {
    const ids = filter.documentIds.filter(isUuid);
    conditions.push(ids.length === 0 ? sql`false` : inArray(kbDocuments.id, ids));
  }
  if (filter.updatedAfter) conditions.push(gt(kbDocuments.updatedAt, filter.updatedAfter));
  for (const [key, value] of Object.entries(filter.metadata ?? {})) {
    conditions.push(sql`${kbDocuments.metadata} ->> ${key}::text = ${value}`);
  }
  return conditions.filter((condition) => condition !== undefined);
}

/** A document was replaced between the index and the rows: the search begins anew. */
const REPLACED = Symbol("replaced");

export type SearchService = ReturnType<typeof searchService>;

/** Makes the search. */
export function searchService(deps: {
  database: DatabaseEngine;
  vectors: VectorIndex;
  embedding: EmbeddingEngine;
  bots: SearchBots;
  readers: Readers;
  /** Null: none is configured, the bot's model judges if there is one. */
  reranker: Reranker | null;
  /** The bot's model; null without one. */
  modelFor?: (botId: string) => Promise<Model | null>;
  clock: Clock;
  log: Log;
}) {
  const { database, vectors, embedding, bots, readers, clock, log } = deps;
  const hasVectors = vectors.kind !== "off";
  const cache = searchCache<SearchAnswer>(clock);
  const queries = new Map<string, { vector: Float32Array; until: number }>();

  // --- where to search ---

  async function collectionsWhere(condition: SQL | undefined): Promise<ScopedCollection[]> {
    return database.db
      .select({
        id: kbCollections.id,
        botId: kbCollections.botId,
        name: kbCollections.name,
        nameKey: kbCollections.nameKey,
        isAuto: kbCollections.auto,
        generation: kbCollections.generation,
        seq: kbCollections.changeSeq,
        model: kbCollections.embeddingModel,
      })
      .from(kbCollections)
      .where(condition)
      .orderBy(asc(kbCollections.id));
  }

  /** The named collections, each of a bot that the caller may use; the first one's bot gives the settings. */
  async function scopeOfNames(ctx: Context, refs: readonly string[], bot: string | null): Promise<SearchScope> {
    const byId = refs.filter(isUuid);
    const byName: { bot: string | null; key: string }[] = refs
      .filter((ref) => !isUuid(ref))
      .map((ref) => {
        const at = ref.indexOf(":");
        return at < 0
          ? { bot, key: collectionKey(ref) }
          : { bot: ref.slice(0, at), key: collectionKey(ref.slice(at + 1)) };
      });
    const conditions = byId.length > 0 ? [inArray(kbCollections.id, byId)] : [];
    const isFound: ((collection: ScopedCollection) => boolean)[] = byId.map(
      (id) => (collection) => collection.id === id,
    );
    for (const { bot: ref, key } of byName) {
      const botId = (await bots.usable(ctx, ref)).row.id;
      const condition = and(eq(kbCollections.botId, botId), eq(kbCollections.nameKey, key));
      if (condition) conditions.push(condition);
      isFound.push((collection) => collection.botId === botId && collection.nameKey === key);
    }
    const collections = await collectionsWhere(or(...conditions));
    if (!isFound.every((test) => collections.some(test))) throw notFound("collection");
    let config = bot === null ? null : (await bots.usable(ctx, bot)).config;
    for (const botId of new Set(collections.map((collection) => collection.botId))) {
      // Of a bot that the caller may not use, not even the collections are known.
      const found = await bots.usable(ctx, botId).catch((error: unknown) => {
        throw isAppError(error) ? notFound("collection") : error;
      });
      config ??= found.config;
    }
    if (!config) throw notFound("collection");
    return { collections, config };
  }

  /** Where `input` searches. Throws 404 for bots and collections that the caller may not know of. */
  async function scopeOf(ctx: Context, input: Pick<SearchInput, "bot" | "collections">): Promise<SearchScope> {
    if (input.collections && input.collections.length > 0) {
      return scopeOfNames(ctx, input.collections, input.bot ?? null);
    }
    const { row, config } = await bots.usable(ctx, input.bot ?? null);
    return { collections: await collectionsWhere(eq(kbCollections.botId, row.id)), config };
  }

  /** The same collections as they are now; those that are gone are left out. */
  async function again(scope: SearchScope): Promise<SearchScope> {
    const ids = scope.collections.map(({ id }) => id);
    return ids.length === 0 ? scope : { ...scope, collections: await collectionsWhere(inArray(kbCollections.id, ids)) };
  }

  // --- the two sides ---

  async function embedQuery(model: string, query: string): Promise<Float32Array | null> {
    const engine = embedding.named(model);
    if (!engine) return null;
    const key = `${model}\n${query}`;
    const known = queries.get(key);
    if (known && known.until > clock.now()) return known.vector;
    const [vector] = await engine.embed([query], "query");
    if (!vector) return null;
    queries.delete(key);
    queries.set(key, { vector, until: clock.now() + QUERY_TTL_MS });
    const oldest = queries.size > QUERIES_MAX ? queries.keys().next().value : undefined;
    if (oldest !== undefined) queries.delete(oldest);
    return vector;
  }

  /** The question in the space of each model that the collections use; models that do not answer are left out. */
  async function vectorsOf(scope: SearchScope, query: string): Promise<{ model: string; vector: Float32Array }[]> {
    const models = [...new Set(scope.collections.flatMap(({ model }) => model ?? []))];
    const found = await Promise.all(
      models.map(async (model) => {
        try {
          const vector = await embedQuery(model, query);
          return vector ? { model, vector } : null;
        } catch (error) {
          log.warn("a question could not be embedded", { model, error });
          return null;
        }
      }),
    );
    return found.filter((each) => each !== null);
  }

  async function documentsOf(scope: SearchScope, filter: SearchFilter | undefined): Promise<string[] | undefined> {
    const conditions = filter ? conditionsOf(filter) : [];
    if (conditions.length === 0) return undefined;
    const ids = scope.collections.map(({ id }) => id);
    const rows = await database.db
      .select({ id: kbDocuments.id })
      .from(kbDocuments)
      .where(and(inArray(kbDocuments.collectionId, ids), ...conditions));
    return rows.map(({ id }) => id);
  }

  /** Passages in which every quoted part stands literally (case, accents and blanks aside), the best first. */
  async function literalOf(query: PassageQuery, parts: readonly string[]): Promise<string[]> {
    if (!query.sparse) return [];
    const { sparse: candidates } = await vectors.search({
      ...query,
      dense: null,
      sparse: {
        ...query.sparse,
        text: parts.join("\n"),
        stemming: false,
        dropStopWords: false,
        limit: LITERAL_LOOKED_MAX,
        required: wordsOfParts(parts),
      },
    });
    const found: string[] = [];
    for (let at = 0; at < candidates.length && found.length < LITERAL_FOUND_MAX; at += LITERAL_FOUND_MAX) {
      const ids = candidates.slice(at, at + LITERAL_FOUND_MAX).map(({ chunkId }) => chunkId);
      const rows = await database.db
        .select({ id: kbChunks.id, text: kbChunks.text, headingPath: kbChunks.headingPath })
        .from(kbChunks)
        .where(inArray(kbChunks.id, ids));
      for (const { id, text, headingPath } of rows) {
        const folded = foldPhrase(`${headingPath.join("\n")}\n${text}`);
        if (parts.every((part) => folded.includes(part))) found.push(id);
      }
    }
    return found;
  }

  // --- rows ---

  async function rowsOf(fused: readonly Fused[]) {
    if (fused.length === 0) return new Map<string, never>();
    const rows = await database.db
      .select({
        chunkId: kbChunks.id,
        ordinal: kbChunks.ordinal,
        headingPath: kbChunks.headingPath,
        text: kbChunks.text,
        tokens: kbChunks.tokens,
        page: kbChunks.page,
        slide: kbChunks.slide,
        sheet: kbChunks.sheet,
        row: kbChunks.row,
        line: kbChunks.line,
        charStart: kbChunks.charStart,
        charEnd: kbChunks.charEnd,
        language: kbDocuments.language,
        documentId: kbDocuments.id,
        collectionId: kbDocuments.collectionId,
        collection: kbCollections.name,
        title: kbDocuments.title,
        name: kbDocuments.name,
        path: kbDocuments.path,
        sourceUrl: kbDocuments.sourceUrl,
        updatedAt: kbDocuments.updatedAt,
      })
      .from(kbChunks)
      .innerJoin(
        kbDocuments,
        and(eq(kbDocuments.id, kbChunks.documentId), eq(kbDocuments.visibleVersion, kbChunks.version)),
      )
      .innerJoin(kbCollections, eq(kbCollections.id, kbDocuments.collectionId))
      .where(
        inArray(
          kbChunks.id,
          fused.map(({ chunkId }) => chunkId),
        ),
      );
    return new Map(rows.map((row) => [row.chunkId, row]));
  }

  async function resultsOf(fused: readonly Fused[]): Promise<SearchResult[] | typeof REPLACED> {
    const rows = await rowsOf(fused);
    const results: SearchResult[] = [];
    for (const passage of fused) {
      const row = rows.get(passage.chunkId);
      if (!row) return REPLACED;
      const { documentId, collectionId, collection, title, name, path, sourceUrl, updatedAt, ...chunk } = row;
      const { isOpen, score } = passage;
      results.push({
        documentId,
        collectionId,
        collection,
        title,
        name,
        path,
        sourceUrl: isOpen ? sourceUrl : null,
        updatedAt,
        chunk: isOpen ? chunk : null,
        highlights: [],
        score,
        // How near its text comes is already more than a title.
        denseScore: isOpen ? passage.denseScore : null,
        sparseScore: isOpen ? passage.sparseScore : null,
        denseRank: isOpen ? passage.denseRank : null,
        sparseRank: isOpen ? passage.sparseRank : null,
        rerankScore: null,
      });
    }
    return results;
  }

  // --- the whole ---

  interface Plan {
    input: SearchInput;
    scope: SearchScope;
    settings: Settings;
    reader: Reader;
    withTitles: boolean;
    mode: SearchMode;
    rules: FusionRules;
    limit: number;
    parts: string[];
  }

  /** One search over the state that `scope` names at least. */
  async function once(plan: Plan, scope: SearchScope, sideLimit: number): Promise<SearchAnswer | typeof REPLACED> {
    const { input, settings, rules, mode, limit } = plan;
    const degraded: string[] = [];
    const wantsDense = rules.denseWeight !== null;
    const wantsSparse = rules.sparseWeight !== null;
    const questions = wantsDense ? await vectorsOf(scope, input.query) : [];
    const hasModels = scope.collections.some(({ model }) => model !== null);
    if (mode === "dense" && hasModels && questions.length === 0) throw unavailable("embeddings");

    const query: PassageQuery = {
      collections: scope.collections.map(({ id, seq }) => ({ id, seq })),
      reader: plan.reader,
      withTitles: plan.withTitles,
      dense: questions.length > 0 ? { vectors: questions, limit: sideLimit } : null,
      sparse: {
        text: input.query,
        stemming: settings.stemming,
        dropStopWords: settings.dropStopWords && plan.parts.length === 0,
        k1: settings.k1,
        b: settings.b,
        limit: sideLimit,
      },
    };
    const documentIds = await documentsOf(scope, input.filter);
    if (documentIds) query.documentIds = documentIds;
    if (plan.parts.length > 0) query.chunkIds = await literalOf(query, plan.parts);

    const hits = await vectors.search(wantsSparse ? query : { ...query, sparse: null });
    const dense = hits.dense.filter(({ score }) => score > floorOf(questions));
    if (wantsDense && (hits.withoutVectors.length > 0 || (hasModels && questions.length === 0))) degraded.push("dense");
    // A side that is missing as a whole leaves its weight to the other.
    const isDenseMissing = wantsDense && questions.length === 0;
    const fused = fuse(dense, hits.sparse, isDenseMissing ? { ...rules, denseWeight: null } : rules);
    const minScore = input.minScore ?? settings.minScore;
    const enough = fused.filter(({ score }) => score >= minScore);

    const reranks = input.rerank ?? settings.reranks;
    const wanted = firstOf(enough, reranks ? Math.max(limit, settings.rerankTopN) : limit, PER_DOCUMENT);
    const isCutShort = wanted.length < limit && (hits.dense.length === sideLimit || hits.sparse.length === sideLimit);
    if (isCutShort && sideLimit < DEEP_LIMIT) return once(plan, scope, DEEP_LIMIT);

    let results = await resultsOf(wanted);
    if (results === REPLACED) return REPLACED;
    if (reranks) results = await reranked(plan, results, degraded);
    results = results.slice(0, limit);
    if (input.highlight ?? true) highlight(results, input.query, hits, settings);
    return {
      results,
      mode,
      degraded,
      totalCandidates: hits.candidates,
      explain: input.explain
        ? {
            rrfK: rules.k,
            denseWeight: isDenseMissing ? null : rules.denseWeight,
            sparseWeight: rules.sparseWeight,
            words: queryWords(input.query, hits.languages, settings.stemming)
              .filter(({ isStopWord }) => !isStopWord || !settings.dropStopWords)
              .map(({ text }) => text),
          }
        : null,
    };
  }

  function floorOf(questions: readonly { model: string }[]): number {
    return questions.every(({ model }) => embedding.named(model)?.kind === "lexical") ? LEXICAL_FLOOR : 0;
  }

  async function rerankerOf({ scope }: Plan): Promise<Reranker | null> {
    if (deps.reranker) return deps.reranker;
    const botId = scope.collections[0]?.botId;
    const model = botId === undefined ? null : await deps.modelFor?.(botId);
    return model ? modelReranker(model) : null;
  }

  /** The first ones in the order that the reranker gives them; all as they were when it fails or there is none. */
  async function reranked(plan: Plan, results: SearchResult[], degraded: string[]): Promise<SearchResult[]> {
    const first = results.slice(0, plan.settings.rerankTopN).filter(({ chunk }) => chunk !== null);
    if (first.length === 0) return results;
    try {
      const reranker = await rerankerOf(plan);
      if (!reranker) throw unavailable("rerank");
      const texts = first.map(({ chunk }) => chunk?.text ?? "");
      const scores = await reranker.rerank(plan.input.query, texts);
      for (const [index, result] of first.entries()) result.rerankScore = scores[index] ?? null;
      const rest = results.filter((result) => !first.includes(result));
      return [...first.toSorted((a, b) => (b.rerankScore ?? 0) - (a.rerankScore ?? 0)), ...rest];
    } catch (error) {
      log.warn("reranking failed; the fused order stands", { error });
      degraded.push("rerank");
      return results;
    }
  }

  function highlight(results: readonly SearchResult[], query: string, hits: PassageHits, settings: Settings): void {
    const wanted = new Set(
      queryWords(query, hits.languages, settings.stemming)
        .filter(({ isStopWord }) => !isStopWord || !settings.dropStopWords)
        .flatMap(({ variants }) => variants),
    );
    for (const result of results) {
      if (!result.chunk) continue;
      const language: Language | null =
        settings.stemming && isLanguage(result.chunk.language) ? result.chunk.language : null;
      result.highlights = highlightsOf(result.chunk.text, (word) =>
        termsOf(word, language).some((term) => wanted.has(term)),
      );
    }
  }

  async function run(plan: Plan): Promise<SearchAnswer> {
    let { scope } = plan;
    for (let attempt = 1; ; attempt++) {
      const answer = await once(plan, scope, SIDE_LIMIT);
      if (answer !== REPLACED) return answer;
      if (attempt === ATTEMPTS_MAX)
        throw unavailable("vectors", new Error("documents change faster than they are read"));
      scope = await again(scope);
    }
  }

  function fingerprint(scope: SearchScope, reader: Reader): Promise<string> {
    return vectors.fingerprint(
      scope.collections.map(({ id, seq }) => ({ id, seq })),
      reader,
    );
  }

  async function keyOf(plan: Plan): Promise<string> {
    const { input, scope, settings, reader, mode, rules, limit } = plan;
    const rights = await fingerprint(scope, reader);
    const { cache: _cache, ...relevant } = settings;
    const generations = scope.collections.map(({ id, generation, model }) => [id, generation, model]);
    return sha256Hex(
      canonicalJson([
        input.query,
        { ...input.filter, updatedAfter: input.filter?.updatedAfter?.toISOString() ?? null },
        [input.minScore ?? null, input.highlight ?? true, input.rerank ?? null, input.explain ?? false],
        [plan.withTitles, mode, limit],
        rules,
        relevant,
        rights,
        generations,
      ]),
    );
  }

  /** Searches the scope as the context's caller. Titles of documents that are only visible come with `withTitles`. */
  async function searchIn(
    ctx: Context,
    scope: SearchScope,
    input: SearchInput,
    options: { withTitles: boolean },
  ): Promise<SearchAnswer> {
    const settings = settingsOf(scope.config);
    const parts = quotedParts(input.query);
    if (input.query.length > QUERY_LENGTH_MAX) {
      throw invalid([{ path: "query", message: `has at most ${QUERY_LENGTH_MAX} characters` }]);
    }
    if (parts.length === 0 && saysNothing(input.query)) {
      throw invalid([{ path: "query", message: "has no word to search for" }], "empty_query");
    }
    const { mode, rules } = sidesOf(input.mode ?? "hybrid", settings, hasVectors);
    if (scope.collections.length === 0) {
      return { results: [], mode, degraded: [], totalCandidates: 0, explain: null };
    }
    const plan: Plan = {
      input,
      scope,
      settings,
      reader: await readers.of(ctx),
      withTitles: options.withTitles,
      mode,
      rules,
      limit: input.limit ?? 10,
      parts,
    };
    if (!settings.cache.isOn) return run(plan);
    const key = await keyOf(plan);
    const known = cache.get(key);
    if (known) return structuredClone(known);
    const answer = await run(plan);
    if (answer.degraded.length === 0) cache.set(key, structuredClone(answer), settings.cache);
    return answer;
  }

  return {
    scopeOf,
    searchIn,
    /** Search as the contract's route gives it. */
    search: async (ctx: Context, input: SearchInput): Promise<TimedAnswer> => {
      const begun = clock.now();
      const answer = await searchIn(ctx, await scopeOf(ctx, input), input, { withTitles: true });
      return { ...answer, tookMs: clock.now() - begun };
    },
    /** Equal as long as nothing in the scope has changed, for callers who may see the same there. */
    fingerprint: async (ctx: Context, scope: SearchScope): Promise<string> => {
      const generations = scope.collections.map(({ id, generation }) => [id, generation]);
      const rights = scope.collections.length === 0 ? "" : await fingerprint(scope, await readers.of(ctx));
      return sha256Hex(canonicalJson([generations, rights]));
    },
    /** How rare each word is in the scope: 1 when no passage has it, towards 0 when all have; null when that is not known. */
    rarities: async (scope: SearchScope, words: readonly (readonly string[])[]): Promise<number[] | null> => {
      try {
        const marks = scope.collections.map(({ id, seq }) => ({ id, seq }));
        const { passages, holders } = await vectors.terms(marks, words);
        const rarity = (count: number) => Math.log(1 + (passages - count + 0.5) / (count + 0.5));
        return holders.map((count) => rarity(count) / rarity(0));
      } catch (error) {
        log.warn("the words of a question could not be weighed", { error });
        return null;
      }
    },
    cacheStats: (): SearchCacheStats => cache.stats(),
    /** Forgets all kept results of this instance; how many there were. */
    clearCache: (): number => cache.clear(),
  };
}
