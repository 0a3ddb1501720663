// Routes of searching and answering; collections and documents are in routes.ts.

import { Elysia } from "elysia";
import type { Context } from "../../core/context.ts";
import { invalid } from "../../core/errors.ts";
import { enveloped, ok } from "../../http/envelope.ts";
import { kernel } from "../../http/failures.ts";
import { mark } from "../../http/mark.ts";
import type { AnswerService } from "./answer.ts";
import { filterOfUrl, readFilter } from "./search-filter.ts";
import { presentAnswer, presentSearch } from "./search-present.ts";
import * as schema from "./search-schema.ts";
import type { SearchInput, SearchService } from "./search.ts";

export interface SearchRoutesDeps {
  search: Pick<SearchService, "search">;
  answers: Pick<AnswerService, "answer">;
}

const TAG = "Knowledge";
const PARAMETERS: ReadonlySet<string> = new Set(Object.keys(schema.SearchQuery.properties));

/** What search and answer bodies have in common. */
function inputOf(query: string, body: Omit<schema.AnswerBody, "question">): SearchInput {
  const { bot_id: bot, collections, limit, mode, min_score: minScore, filter, rerank } = body;
  return {
    query,
    bot: bot ?? null,
    ...(collections ? { collections } : {}),
    ...(limit === undefined ? {} : { limit }),
    ...(mode === undefined ? {} : { mode }),
    ...(minScore === undefined ? {} : { minScore }),
    ...(filter ? { filter: readFilter(filter) } : {}),
    ...(rerank === undefined ? {} : { rerank }),
  };
}

function inputOfBody(body: schema.SearchBody): SearchInput {
  return { ...inputOf(body.query, body), highlight: body.highlight ?? true, explain: body.explain ?? false };
}

function inputOfQuery(query: schema.SearchQuery, url: string): SearchInput {
  const text = query.q ?? query.query;
  if (text === undefined) throw invalid([{ path: "q", message: "is required" }]);
  const { q: _q, query: _query, collections, highlight, explain, ...rest } = query;
  const names = [collections ?? []].flat().flatMap((list) => list.split(",").map((name) => name.trim()));
  return {
    ...inputOf(text, { ...rest, ...(names.length > 0 ? { collections: names } : {}) }),
    filter: filterOfUrl(url, PARAMETERS),
    highlight: highlight ?? true,
    explain: explain ?? false,
  };
}

/** Search and answers. */
export function searchRoutes({ search, answers }: SearchRoutesDeps) {
  const answer = { response: { 200: enveloped(schema.SearchAnswer) } };
  const description =
    "Cut to what the caller may see. Quoted parts must occur literally. A collection that is still being indexed is searched as far as it is.";
  return new Elysia({ name: "knowledge-search" })
    .use(kernel)
    .post(
      "/api/v1/kb/search",
      async ({ ctx, body }) => ok(presentSearch(await search.search(ctx, inputOfBody(body)))),
      {
        ...answer,
        body: schema.SearchBody,
        detail: mark({ access: "kb:read", summary: "Search passages", tag: TAG, description }),
      },
    )
    .get(
      "/api/v1/kb/search",
      async ({ ctx, query, request }) => ok(presentSearch(await search.search(ctx, inputOfQuery(query, request.url)))),
      {
        ...answer,
        query: schema.SearchQuery,
        detail: mark({ access: "kb:read", summary: "Search passages, by address", tag: TAG, description }),
      },
    )
    .post(
      "/api/v1/kb/answer",
      async ({ ctx, body, request }: { ctx: Context; body: schema.AnswerBody; request: Request }) =>
        ok(presentAnswer(await answers.answer(ctx, inputOf(body.question, body), request.signal))),
      {
        body: schema.AnswerBody,
        response: { 200: enveloped(schema.Answer) },
        detail: mark({
          access: "kb:read",
          summary: "Answer a question from the knowledge, with citations",
          tag: TAG,
          description: "Without a language model the best sentences are quoted word for word.",
        }),
      },
    );
}
