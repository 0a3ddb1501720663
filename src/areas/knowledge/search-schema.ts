// What searches and answers take and give, as on the wire.

import { t, type Static } from "elysia";
import { Moment, nullable, oneOf } from "../../http/schema.ts";

export const SearchMode = oneOf(["hybrid", "dense", "sparse"]);

const filter = t.Optional(
  t.Record(t.String(), t.Unknown(), {
    description:
      "`tags` (all of them), `path` (the folder and what is below), `mime`, `document_id` (one or several), `updated_after`, `metadata.<key>`",
  }),
);

const where = {
  bot_id: t.Optional(t.String({ maxLength: 64, description: "id or name; the default bot without it" })),
  collections: t.Optional(
    t.Array(t.String({ maxLength: 200 }), { maxItems: 50, description: "ids, `<bot>:<name>`, or names with `bot_id`" }),
  ),
};
const how = {
  limit: t.Optional(t.Integer({ minimum: 1, maximum: 50, description: "10 unless told" })),
  mode: t.Optional(SearchMode),
  min_score: t.Optional(t.Number({ minimum: 0, maximum: 1 })),
  filter,
  rerank: t.Optional(t.Boolean()),
};

export const SearchBody = t.Object({
  query: t.String({ minLength: 1, maxLength: 2000 }),
  ...where,
  ...how,
  highlight: t.Optional(t.Boolean()),
  explain: t.Optional(t.Boolean()),
});
export type SearchBody = Static<typeof SearchBody>;

/** The same as parameters; `filter[…]` and plain names of filters are read from the address. */
export const SearchQuery = t.Object({
  q: t.Optional(t.String({ minLength: 1, maxLength: 2000 })),
  query: t.Optional(t.String({ minLength: 1, maxLength: 2000 })),
  bot_id: where.bot_id,
  collections: t.Optional(t.Union([t.Array(t.String({ maxLength: 200 })), t.String({ maxLength: 2000 })])),
  limit: how.limit,
  mode: how.mode,
  min_score: how.min_score,
  rerank: t.Optional(t.Boolean()),
  highlight: t.Optional(t.Boolean()),
  explain: t.Optional(t.Boolean()),
});
export type SearchQuery = Static<typeof SearchQuery>;

export const AnswerBody = t.Object({ question: t.String({ minLength: 1, maxLength: 2000 }), ...where, ...how });
export type AnswerBody = Static<typeof AnswerBody>;

const place = {
  page: nullable(t.Integer()),
  slide: nullable(t.Integer()),
  sheet: nullable(t.String()),
  row: nullable(t.Integer()),
  line: nullable(t.Integer()),
};

export const SearchResult = t.Object({
  chunk_id: nullable(t.String()),
  document_id: t.String(),
  collection_id: t.String(),
  collection: t.String(),
  title: t.String(),
  name: t.String(),
  path: t.String(),
  source_url: nullable(t.String()),
  ...place,
  heading_path: t.Array(t.String()),
  text: nullable(t.String({ description: "null where only the title may be shown" })),
  highlights: t.Array(t.Array(t.Integer()), { description: "[start, end) in UTF-16 units of `text`" }),
  score: t.Number({ description: "0..1; 1 is first on both sides" }),
  dense_score: nullable(t.Number({ description: "cosine" })),
  sparse_score: nullable(t.Number({ description: "BM25" })),
  dense_rank: nullable(t.Integer()),
  sparse_rank: nullable(t.Integer()),
  rerank_score: nullable(t.Number()),
  accessible: t.Boolean({ description: "false: visible in the index, not to be opened" }),
  updated_at: Moment,
});

export const SearchAnswer = t.Object({
  results: t.Array(SearchResult),
  took_ms: t.Number(),
  mode: SearchMode,
  degraded: t.Array(t.String(), { description: "missing sides and steps: `dense`, `rerank`" }),
  total_candidates: t.Integer(),
  explain: t.Optional(
    t.Object({
      rrf_k: t.Integer(),
      dense_weight: nullable(t.Number()),
      sparse_weight: nullable(t.Number()),
      words: t.Array(t.String()),
    }),
  ),
});

export const Citation = t.Object({
  n: t.Integer(),
  document_id: t.String(),
  title: t.String(),
  collection: nullable(t.String()),
  path: nullable(t.String()),
  ...place,
  heading_path: t.Array(t.String()),
  source_url: nullable(t.String()),
  snippet: t.String(),
  score: t.Number(),
  char_start: t.Integer(),
  char_end: t.Integer(),
});

export const Answer = t.Object({
  answer: t.String({ description: "Markdown; empty without an answer" }),
  citations: t.Array(Citation),
  confidence: t.Number({ description: "0..1" }),
  engine: oneOf(["llm", "quoted"]),
  no_answer: t.Boolean(),
  suggestions: t.Array(t.String(), { description: "titles of the nearest documents, without an answer" }),
  degraded: t.Array(t.String()),
});
