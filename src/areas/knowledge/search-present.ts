// Results, citations and answers as they leave the server.

import type { Static } from "elysia";
import type { AnswerCitation, KnowledgeAnswer } from "./answer.ts";
import type {
  Answer,
  Citation,
  SearchAnswer as SearchAnswerSchema,
  SearchResult as ResultSchema,
} from "./search-schema.ts";
import type { SearchResult, TimedAnswer } from "./search.ts";

const NOWHERE = { page: null, slide: null, sheet: null, row: null, line: null };

function presentResult(result: SearchResult): Static<typeof ResultSchema> {
  const { chunk } = result;
  const { page, slide, sheet, row, line } = chunk ?? NOWHERE;
  return {
    chunk_id: chunk?.chunkId ?? null,
    document_id: result.documentId,
    collection_id: result.collectionId,
    collection: result.collection,
    title: result.title,
    name: result.name,
    path: result.path,
    source_url: result.sourceUrl,
    page,
    slide,
    sheet,
    row,
    line,
    heading_path: [...(chunk?.headingPath ?? [])],
    text: chunk?.text ?? null,
    highlights: result.highlights,
    score: result.score,
    dense_score: result.denseScore,
    sparse_score: result.sparseScore,
    dense_rank: result.denseRank,
    sparse_rank: result.sparseRank,
    rerank_score: result.rerankScore,
    accessible: chunk !== null,
    updated_at: result.updatedAt.toISOString(),
  };
}

/** A search's answer. */
export function presentSearch(answer: TimedAnswer): Static<typeof SearchAnswerSchema> {
  const { explain } = answer;
  return {
    results: answer.results.map(presentResult),
    took_ms: answer.tookMs,
    mode: answer.mode,
    degraded: answer.degraded,
    total_candidates: answer.totalCandidates,
    ...(explain
      ? {
          explain: {
            rrf_k: explain.rrfK,
            dense_weight: explain.denseWeight,
            sparse_weight: explain.sparseWeight,
            words: explain.words,
          },
        }
      : {}),
  };
}

function presentCitation({ n, passage, snippet, charStart, charEnd }: AnswerCitation): Static<typeof Citation> {
  const { page, slide, sheet, row, line } = passage;
  return {
    n,
    document_id: passage.documentId,
    title: passage.title,
    collection: passage.collection,
    path: passage.path,
    page,
    slide,
    sheet,
    row,
    line,
    heading_path: [...passage.headingPath],
    source_url: passage.sourceUrl,
    snippet,
    score: passage.score,
    char_start: charStart,
    char_end: charEnd,
  };
}

/** An answer with its citations. */
export function presentAnswer(answer: KnowledgeAnswer): Static<typeof Answer> {
  return {
    answer: answer.answer,
    citations: answer.citations.map(presentCitation),
    confidence: answer.confidence,
    engine: answer.engine,
    no_answer: answer.noAnswer,
    suggestions: answer.suggestions,
    degraded: answer.degraded,
  };
}
