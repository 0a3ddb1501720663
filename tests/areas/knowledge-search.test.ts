// Searching and answering: fusion by hand, rights, exact strings, filters, what is missing, quotes, the routes.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { openConfig } from "../../src/areas/bots/config.ts";
import { answerService, mergeNeighbours } from "../../src/areas/knowledge/answer.ts";
import { citedOf } from "../../src/areas/knowledge/cited.ts";
import { firstOf, fuse, type Ranked } from "../../src/areas/knowledge/fusion.ts";
import { kbCollections, kbDocuments } from "../../src/areas/knowledge/model.ts";
import { marksOf } from "../../src/areas/knowledge/model-reranker.ts";
import { passageId } from "../../src/areas/knowledge/passages.ts";
import { quotedParts, wordsOfParts } from "../../src/areas/knowledge/question.ts";
import { quoting } from "../../src/areas/knowledge/quoting.ts";
import { readers } from "../../src/areas/knowledge/reader.ts";
import { readFilter, filterOfUrl } from "../../src/areas/knowledge/search-filter.ts";
import { searchService, type SearchInput, type SearchResult } from "../../src/areas/knowledge/search.ts";
import { anonymousCaller, systemContext, type Caller, type Context } from "../../src/core/context.ts";
import { isAppError, notFound, unavailable } from "../../src/core/errors.ts";
import { silentLog } from "../../src/core/log.ts";
import { groups } from "../../src/core/permissions/model.ts";
import type { Reranker } from "../../src/engines/embedding/index.ts";
import { openEmbedding } from "../../src/engines/embedding/open.ts";
import type { Model, ModelRequest } from "../../src/engines/model/index.ts";
import { uuidv7 } from "../../src/lib/ids/index.ts";
import { startEmbeddingServer } from "../support/embedding-server.ts";
import { ANSWERED, HANDBOOK, PARAPHRASED, UNANSWERED } from "../support/handbook.ts";
import { openPassageBench, type PassageBench } from "../support/passages.ts";

const NO_MODEL = async () => null;

async function refusal(promise: Promise<unknown>): Promise<{ code: string; details: Record<string, unknown> }> {
  try {
    await promise;
  } catch (error) {
    if (isAppError(error)) return { code: error.code, details: error.details };
    throw error;
  }
  throw new Error("it was expected to be refused");
}

function contextOf(caller: Partial<Caller> = {}): Context {
  const base = anonymousCaller(new Set(["kb:read"]));
  return { caller: { ...base, ...caller }, requestId: "test", ip: null, userAgent: null, method: null, route: null };
}
const ANONYMOUS = contextOf();
const person = (roles: string[], groupIds: string[] = [], userId = uuidv7(), email: string | null = null) =>
  contextOf({ kind: "session", userId, email, roles: new Set(roles), groups: new Set(groupIds) });

interface Area {
  bench: PassageBench;
  botId: string;
  search: ReturnType<typeof searchService>;
  answers: ReturnType<typeof answerService>;
  /** Settings of the one bot, from now on. */
  settings: Record<string, string>;
}

function areaOn(bench: PassageBench, options: { reranker?: Reranker | null; model?: () => Model | null } = {}): Area {
  const botId = uuidv7();
  const settings: Record<string, string> = {};
  const config = () =>
    openConfig(
      Object.entries(settings).map(([key, value]) => ({ source: "override" as const, key, value })),
      { serverDefaults: {}, environment: () => undefined },
    );
  const bots = {
    usable: async (_: Context, ref: string | null) => {
      if (ref !== null && ref !== botId && ref !== "default") throw notFound("bot");
      return { row: { id: botId, name: "default" }, config: config() };
    },
  };
  const modelFor = options.model ? async () => options.model?.() ?? null : NO_MODEL;
  const own = { ...bench, bots, readers: readers(bench), modelFor, log: silentLog };
  const search = searchService({ ...own, reranker: options.reranker ?? null });
  return { bench, botId, search, answers: answerService({ ...own, search }), settings };
}

const ranked = (chunkId: string, documentId = chunkId, isOpen = true): Ranked => ({
  chunkId,
  documentId,
  collectionId: "c",
  score: 1,
  isOpen,
});

describe("fusion", () => {
  const rules = { denseWeight: 0.7, sparseWeight: 0.3, k: 60 };

  test("is the weighted sum of reciprocal ranks, divided by the best possible", () => {
    const fused = fuse(
      ["a", "b", "c"].map((id) => ranked(id)),
      ["c", "a", "d"].map((id) => ranked(id)),
      rules,
    );
    const best = 1 / 61;
    const expected = {
      a: (0.7 / 61 + 0.3 / 62) / best,
      c: (0.7 / 63 + 0.3 / 61) / best,
      b: 0.7 / 62 / best,
      d: 0.3 / 63 / best,
    };
    expect(fused.map(({ chunkId }) => chunkId)).toEqual(["a", "c", "b", "d"]);
    for (const { chunkId, score } of fused) expect(Math.abs(score - expected[chunkId as "a"])).toBeLessThan(1e-9);
    expect(fused[1]).toMatchObject({ denseRank: 3, sparseRank: 1 });
    expect(fused[3]).toMatchObject({ denseRank: null, denseScore: null, sparseRank: 3 });
  });

  test("first on every side that takes part is 1", () => {
    expect(fuse([ranked("a")], [ranked("a")], rules)[0]?.score).toBeCloseTo(1, 12);
    expect(fuse([], [ranked("a")], { ...rules, denseWeight: null })[0]?.score).toBeCloseTo(1, 12);
    expect(fuse([ranked("a")], [ranked("b")], { ...rules, sparseWeight: null }).map(({ chunkId }) => chunkId)).toEqual([
      "a",
    ]);
  });

  test("equal scores have one order, whoever comes first", () => {
    const equal = { ...rules, denseWeight: 0.5, sparseWeight: 0.5 };
    expect(fuse([ranked("b")], [ranked("a")], equal).map(({ chunkId }) => chunkId)).toEqual(["b", "a"]);
  });

  test("at most so many of one document, and a title once", () => {
    const fused = fuse(
      [
        ...["1", "2", "3", "4"].map((id) => ranked(id, "doc")),
        ranked("5", "shown", false),
        ranked("6", "shown", false),
        ranked("7"),
      ],
      [],
      rules,
    );
    expect(firstOf(fused, 10, 3).map(({ chunkId }) => chunkId)).toEqual(["1", "2", "3", "5", "7"]);
    expect(firstOf(fused, 2, 3).length).toBe(2);
  });
});

describe("questions and filters as people write them", () => {
  test("quoted parts are found in every kind of quotation marks", () => {
    expect(quotedParts('find "Annual  Report" and “AB-12” or «Été» „so“ "" "!"')).toEqual([
      "annual report",
      "ab-12",
      "ete",
      "so",
    ]);
    expect(wordsOfParts(["annual report", "ab-12"])).toEqual(["annual", "report", "ab", "12"]);
  });

  test("a filter is read from a body and from an address alike", () => {
    const expected = {
      tags: ["a", "b"],
      path: "hr/2026",
      mime: ["text/plain"],
      documentIds: ["x"],
      updatedAfter: new Date("2026-01-01T00:00:00Z"),
      metadata: { author: "Ann", year: "2026" },
    };
    expect(
      readFilter({
        tags: ["a", "b"],
        path: "hr/2026",
        mime: "text/plain",
        document_id: "x",
        updated_after: "2026-01-01T00:00:00Z",
        "metadata.author": "Ann",
        metadata: { year: 2026 },
      }),
    ).toEqual(expected);
    const url =
      "http://x/kb?q=1&filter[tags]=a,b&path=hr/2026&mime=text/plain&filter[document_id]=x&updated_after=2026-01-01T00:00:00Z&filter[metadata.author]=Ann&metadata.year=2026";
    expect(filterOfUrl(url, new Set(["q"]))).toEqual(expected);
  });

  test("every fault of a filter is named at once", async () => {
    const { code, details } = await refusal(
      (async () => readFilter({ owner: "x", updated_after: "soon", path: { a: 1 } }))(),
    );
    expect(code).toBe("VALIDATION_ERROR");
    expect((details["fields"] as { path: string }[]).map(({ path }) => path)).toEqual([
      "filter.owner",
      "filter.updated_after",
      "filter.path",
    ]);
  });
});

describe("citations of a model's answer", () => {
  test("those that point nowhere are removed, the others listed in order of mention", () => {
    expect(citedOf("A [2]. B [9] and [1, 7][2].", 3)).toEqual({ text: "A [2]. B and [1][2].", cited: [2, 1] });
    expect(citedOf("none", 0)).toEqual({ text: "none", cited: [] });
  });

  test("marks of a model are numbers, one for each passage", () => {
    expect(marksOf("Sure: [10, 0, 2.5]", 3)).toEqual([1, 0, 0.25]);
    for (const bad of ["[1]", "[11, 0, 0]", "no", "[1,,2]"]) expect(() => marksOf(bad, 3)).toThrow();
  });
});

describe("search", () => {
  let bench: PassageBench;
  let area: Area;
  beforeAll(async () => {
    bench = await openPassageBench();
    area = areaOn(bench);
  });
  afterAll(() => bench.close());

  const find = (query: string, input: Partial<SearchInput> = {}, ctx = ANONYMOUS) =>
    area.search.search(ctx, { query, ...input });
  const titles = (results: readonly SearchResult[]) => results.map(({ title }) => title);
  const texts = (results: readonly SearchResult[]) => results.map(({ chunk }) => chunk?.text);
  const collection = (name: string) => bench.collection(area.botId, name);

  test("ranks of both sides reproduce every score", async () => {
    const id = await collection("explain");
    for (const document of HANDBOOK) await bench.put(id, document);
    for (const query of ["vacation days", "Quantos dias de férias?", "price of PX-1002", "refund of shipping costs"]) {
      const { results, explain, mode } = await find(query, { collections: [id], explain: true, limit: 20 });
      expect([mode, explain?.rrfK, explain?.denseWeight, explain?.sparseWeight]).toEqual(["hybrid", 60, 0.7, 0.3]);
      expect(results.length).toBeGreaterThan(0);
      for (const { score, denseRank, sparseRank } of results) {
        const sum = (denseRank ? 0.7 / (60 + denseRank) : 0) + (sparseRank ? 0.3 / (60 + sparseRank) : 0);
        expect(Math.abs(score - sum * 61)).toBeLessThan(1e-9);
      }
      expect(results.map(({ score }) => score)).toEqual(results.map(({ score }) => score).toSorted((a, b) => b - a));
    }
  });

  test("a product code among thousands of rows returns its row first, on either side and on both", async () => {
    const id = await collection("codes");
    const rows = Array.from({ length: 3000 }, (_, row) => ({
      text: `Code: SKU-${40_000 + row}; Name: ${["pump", "hose", "barrel"][row % 3]} ${row % 7}; Price: ${row}.90`,
      row: row + 2,
      sheet: "Prices",
    }));
    await bench.put(id, { title: "Prices", passages: rows });
    for (const mode of ["hybrid", "sparse", "dense"] as const) {
      const { results } = await find("SKU-41717", { collections: [id], mode });
      expect([mode, results[0]?.chunk?.text, results[0]?.chunk?.row]).toEqual([mode, rows[1717]?.text, 1719]);
    }
  });

  test("quoted parts must occur literally; case, accents and line breaks aside", async () => {
    const id = await collection("literal");
    await bench.put(id, { title: "a", passages: ["The annual report of 2025"] });
    await bench.put(id, { title: "b", passages: ["A report on annual leave"] });
    await bench.put(id, { title: "c", passages: ["The ANNUAL\nREPORT is late"] });
    await bench.put(id, { title: "d", passages: ["Relatório de férias anual"] });
    const found = async (query: string, mode: SearchInput["mode"] = "hybrid") =>
      titles((await find(query, { collections: [id], mode })).results).toSorted((a, b) => (a < b ? -1 : 1));
    expect(await found("annual report")).toEqual(["a", "b", "c", "d"].slice(0, 3));
    for (const mode of ["hybrid", "sparse", "dense"] as const)
      expect(await found('"annual report"', mode)).toEqual(["a", "c"]);
    expect(await found('"annual report" 2025', "sparse")).toEqual(["a", "c"]);
    expect(await found('"relatorio de ferias"')).toEqual(["d"]);
    expect(await found('"report annual"')).toEqual([]);
    expect(await found('"the"')).toEqual(["a", "c"]);
  });

  test("case, accents and inflection do not matter", async () => {
    const id = await collection("folding");
    await bench.put(id, { title: "pt", language: "pt", passages: ["As férias dos colaboradores são remuneradas."] });
    await bench.put(id, { title: "de", language: "de", passages: ["Die Häuser stehen an der Straße."] });
    const sparse = async (query: string) => titles((await find(query, { collections: [id], mode: "sparse" })).results);
    expect([
      await sparse("FERIAS"),
      await sparse("colaborador"),
      await sparse("Haus"),
      await sparse("strasse"),
    ]).toEqual([["pt"], ["pt"], ["de"], ["de"]]);
  });

  test("filters narrow inside the search: the limit is filled from what is left", async () => {
    const id = await collection("filters");
    for (let index = 0; index < 60; index++)
      await bench.put(id, { title: `noise ${index}`, passages: ["pump pump pump"] });
    const wanted = await bench.put(id, {
      title: "wanted",
      path: "hr/2026/q1",
      mime: "text/markdown",
      tags: ["red", "blue"],
      metadata: { author: "Ann", year: 2026 },
      passages: ["a pump, after many words that make it the last of all by far and away"],
    });
    const found = async (filter: NonNullable<SearchInput["filter"]>) =>
      titles((await find("pump", { collections: [id], filter, limit: 5 })).results);
    expect(await found({ path: "hr" })).toEqual(["wanted"]);
    expect(await found({ path: "/hr/2026/" })).toEqual(["wanted"]);
    expect(await found({ path: "h" })).toEqual([]);
    expect(await found({ path: "hr/2026/q1", tags: ["red", "blue"] })).toEqual(["wanted"]);
    expect(await found({ tags: ["red", "green"] })).toEqual([]);
    expect(await found({ mime: ["text/markdown", "text/html"] })).toEqual(["wanted"]);
    expect(await found({ documentIds: [wanted, "no id"] })).toEqual(["wanted"]);
    expect(await found({ metadata: { author: "Ann", year: "2026" } })).toEqual(["wanted"]);
    expect(await found({ metadata: { author: "Bob" } })).toEqual([]);
    expect((await found({ updatedAfter: new Date(Date.now() - 3_600_000) })).length).toBe(5);
    expect(await found({ updatedAfter: new Date(Date.now() + 3_600_000) })).toEqual([]);
  });

  test("one document takes three places at most, and others fill the rest however many it has", async () => {
    const id = await collection("three");
    await bench.put(id, { title: "long", passages: Array.from({ length: 200 }, () => "pump pump pump") });
    for (let index = 0; index < 4; index++)
      await bench.put(id, { title: `short ${index}`, passages: ["one pump among other things"] });
    const { results } = await find("pump", { collections: [id], limit: 10 });
    expect(titles(results).filter((title) => title === "long").length).toBe(3);
    expect(results.length).toBe(7);
  });

  test("modes and settings switch sides off; what took part is said", async () => {
    const id = await collection("modes");
    await bench.put(id, { title: "a", passages: ["garden pump"] });
    const ranks = async (input: Partial<SearchInput> = {}) => {
      const { results, mode } = await find("pump", { collections: [id], ...input });
      return [mode, results[0]?.denseRank ?? null, results[0]?.sparseRank ?? null, results[0]?.score];
    };
    expect(await ranks()).toEqual(["hybrid", 1, 1, 1]);
    expect(await ranks({ mode: "dense" })).toEqual(["dense", 1, null, 1]);
    expect(await ranks({ mode: "sparse" })).toEqual(["sparse", null, 1, 1]);
    for (const [settings, mode] of [
      [{ "bm25-enabled": "false" }, "dense"],
      [{ "rag-hybrid-enabled": "false" }, "dense"],
      [{ "rag-dense-weight": "0", "rag-sparse-weight": "1" }, "sparse"],
      [{ "rag-dense-weight": "1", "rag-sparse-weight": "0" }, "dense"],
    ] as const) {
      Object.assign(area.settings, settings);
      expect((await ranks())[0]).toBe(mode);
      for (const key of Object.keys(settings)) delete area.settings[key];
    }
    area.settings["rag-dense-weight"] = "0.6";
    expect(await refusal(find("pump", { collections: [id] }))).toMatchObject({
      code: "CONFLICT",
      details: { reason: "invalid_config" },
    });
    delete area.settings["rag-dense-weight"];
  });

  test("questions without a word to look for, or too long, are refused", async () => {
    for (const query of ["", "  ", "?!", "the of and", "o que é isso", "x".repeat(2001)]) {
      expect([query.slice(0, 20), (await refusal(find(query))).code]).toEqual([query.slice(0, 20), "VALIDATION_ERROR"]);
    }
  });

  test("highlights are the words of the question in the text, whatever their form", async () => {
    const id = await collection("highlights");
    const text = "Pumps for the garden: pump PX-1 (new).";
    await bench.put(id, { title: "a", language: "en", passages: [text] });
    const marked = async (query: string, highlight = true) => {
      const { results } = await find(query, { collections: [id], highlight });
      return results[0]?.highlights.map(([start, end]) => text.slice(start, end));
    };
    expect(await marked("the pump PX-1")).toEqual(["Pumps", "pump", "PX-1"]);
    expect(await marked("pump", false)).toEqual([]);
  });

  test("a least score cuts the tail", async () => {
    const { results } = await find("vacation days", { collections: ["explain"], bot: area.botId, minScore: 0.9 });
    expect(results.length).toBeGreaterThan(0);
    expect(results.every(({ score }) => score >= 0.9)).toBe(true);
  });

  test("collections are named by id, by name, or by bot and name; others are not found", async () => {
    const id = await collection("Named One");
    await bench.put(id, { title: "here", passages: ["zeppelin"] });
    for (const ref of [id, "named one", "NAMED ONE.gbkb", `${area.botId}:Named One`, "default:named one"]) {
      expect(titles((await find("zeppelin", { collections: [ref, ref], bot: area.botId })).results)).toEqual(["here"]);
    }
    expect(titles((await find("zeppelin")).results)).toContain("here");
    for (const ref of [uuidv7(), "nothing", "other:named one", `${uuidv7()}:named one`]) {
      expect((await refusal(find("zeppelin", { collections: [ref], bot: area.botId }))).code).toBe("NOT_FOUND");
    }
    expect((await refusal(find("zeppelin", { bot: "other" }))).code).toBe("NOT_FOUND");
  });

  test("an empty collection gives nothing, and no fault", async () => {
    expect(await find("pump", { collections: [await collection("empty")] })).toMatchObject({
      results: [],
      degraded: [],
      totalCandidates: 0,
    });
  });

  describe("rights", () => {
    const QUESTIONS = Array.from(
      { length: 20 },
      (_, index) =>
        ["What is the salary of grade G", "bonus for grade G", '"bonus for grade" G'][index % 3] + String(index),
    );

    test("a reader outside the group gets no text and no quote; the title only where it may be shown", async () => {
      const id = await collection("hr");
      const groupId = uuidv7();
      await bench.database.db
        .insert(groups)
        .values({ id: groupId, name: "hr", nameKey: "hr", createdAt: new Date(), updatedAt: new Date() });
      const passages = Array.from(
        { length: 20 },
        (_, grade) =>
          `The salary of grade G${grade} is ${3000 + grade} and the bonus for grade G${grade} is ${grade} percent.`,
      );
      const secret = { passages, level: "group_based", groups: ["hr"] } as const;
      await bench.put(id, { title: "Hidden pay", ...secret, passages: [...passages], groups: ["hr"] });
      await bench.put(id, {
        title: "Shown pay",
        ...secret,
        passages: [...passages],
        groups: ["hr"],
        visibility: "all",
      });
      const outsider = person(["user"]);
      const insider = person(["user"], [groupId]);

      for (const query of QUESTIONS) {
        // The insider asks first: nothing that is kept for them may reach anybody else.
        const inside = await find(query, { collections: [id] }, insider);
        expect(inside.results.every(({ chunk }) => chunk !== null)).toBe(true);
        for (const ctx of [outsider, ANONYMOUS]) {
          const { results } = await find(query, { collections: [id], explain: true }, ctx);
          expect(results.filter(({ title }) => title === "Hidden pay")).toEqual([]);
          expect(titles(results)).toEqual(["Shown pay"]);
          expect(JSON.stringify(results)).not.toContain("percent");
          expect(results[0]).toMatchObject({
            chunk: null,
            highlights: [],
            denseScore: null,
            sparseRank: null,
            sourceUrl: null,
          });
          const answer = await area.answers.answer(ctx, { query, collections: [id] });
          expect([answer.noAnswer, answer.citations, answer.suggestions]).toEqual([true, [], []]);
        }
      }
      const answer = await area.answers.answer(insider, {
        query: "What is the salary of grade G7?",
        collections: [id],
      });
      expect(answer.answer).toContain("3007");
    });

    test("rules name users by id or address, roles by name; admin passes all; a bot reads as itself", async () => {
      const id = await collection("named");
      const userId = uuidv7();
      await bench.put(id, { title: "by id", passages: ["pump"], level: "user_based", users: [userId] });
      await bench.put(id, { title: "by mail", passages: ["pump"], level: "user_based", users: ["ann@example.org"] });
      await bench.put(id, { title: "by role", passages: ["pump"], level: "role_based", roles: ["sales"] });
      await bench.put(id, { title: "bot's", passages: ["pump"], level: "user_based", users: [area.botId] });
      await bench.put(id, { title: "members", passages: ["pump"], level: "authenticated" });
      const seen = async (ctx: Context) =>
        titles((await find("pump", { collections: [id] }, ctx)).results).toSorted((a, b) => (a < b ? -1 : 1));
      expect(await seen(ANONYMOUS)).toEqual([]);
      expect(await seen(person(["user"], [], userId))).toEqual(["by id", "members"]);
      expect(await seen(person(["user"], [], uuidv7(), "Ann@Example.org"))).toEqual(["by mail", "members"]);
      expect(await seen(person(["sales"]))).toEqual(["by role", "members"]);
      expect(await seen(person(["Sales"]))).toEqual(["members"]);
      expect(await seen(systemContext([], "x", area.botId))).toEqual(["bot's", "members"]);
      expect((await seen(person(["admin"]))).length).toBe(5);
    });
  });

  describe("what is kept", () => {
    test("results are kept for readers of equal rights, and every change makes them new", async () => {
      const id = await collection("cache");
      const document = await bench.put(id, { title: "a", passages: ["old answer pump"] });
      const before = area.search.cacheStats();
      const ask = (ctx: Context) => find("answer pump", { collections: [id] }, ctx);
      await ask(person(["user"]));
      await ask(person(["user", "sales"]));
      const after = area.search.cacheStats();
      expect([after.hits - before.hits, after.misses - before.misses]).toEqual([1, 1]);

      await bench.put(id, { id: document, title: "a", passages: ["new answer pump"] });
      expect(texts((await ask(ANONYMOUS)).results)).toEqual(["new answer pump"]);
      await bench.database.transaction(async (tx) => {
        const { changeSeq } = await bench.store.raise(tx, id);
        await tx
          .update(kbDocuments)
          .set({ accessLevel: "none", indexVisibility: "none", changeSeq })
          .where(eq(kbDocuments.id, document));
      });
      expect((await ask(ANONYMOUS)).results).toEqual([]);
    });

    test("what a caller does with a result does not change the kept one", async () => {
      const first = await find("vacation days", { collections: ["explain"], bot: area.botId });
      const title = first.results[0]?.title;
      Object.assign(first.results[0] ?? {}, { title: "changed" });
      expect((await find("vacation days", { collections: ["explain"], bot: area.botId })).results[0]?.title).toBe(
        title ?? "",
      );
    });

    test("they end with their time, and can be switched off", async () => {
      const ask = () => find("carry over vacation", { collections: ["explain"], bot: area.botId });
      await ask();
      const hits = () => area.search.cacheStats().hits;
      let before = hits();
      await ask();
      expect(hits() - before).toBe(1);
      bench.clock.advance(3_600_001);
      before = hits();
      await ask();
      area.settings["rag-cache-enabled"] = "false";
      await ask();
      delete area.settings["rag-cache-enabled"];
      expect(hits() - before).toBe(0);
    });
  });

  test("while a document is replaced, 20 clients see the old text or the new one, never both, never neither", async () => {
    const id = await collection("replacing");
    const passages = (version: number) => ["alpha", "beta"].map((part) => `pump ${part} in version${version} of it`);
    const document = await bench.put(id, { title: "a", passages: passages(1) });
    area.settings["rag-cache-enabled"] = "false";
    let isDone = false;
    const seen = new Map<string, number>();
    const client = async () => {
      while (!isDone) {
        const { results } = await find("pump alpha beta", { collections: [id] });
        const versions = new Set(texts(results).map((text) => /version\d+/.exec(text ?? "")?.[0]));
        const state = `${versions.size} of ${results.length}`;
        seen.set(state, (seen.get(state) ?? 0) + 1);
      }
    };
    const clients = Promise.all(Array.from({ length: 20 }, client));
    for (let version = 2; version <= 10; version++)
      await bench.put(id, { id: document, title: "a", passages: passages(version) });
    isDone = true;
    await clients;
    delete area.settings["rag-cache-enabled"];
    expect([...seen.keys()]).toEqual(["1 of 2"]);
    expect(seen.get("1 of 2") ?? 0).toBeGreaterThan(20);
  });

  test("neighbours of one document become one passage, their overlap once", async () => {
    const id = await collection("neighbours");
    const text = "First part about pumps. The middle is shared. Last part about pumps.";
    const [a, b] = ["First part about pumps. The middle is shared.", "The middle is shared. Last part about pumps."];
    const cut = { headingPath: [], tokens: 9, page: 3 };
    await bench.put(id, {
      title: "a",
      passages: [
        { ...cut, text: a, charStart: 0, charEnd: a.length },
        { ...cut, text: b, charStart: text.length - b.length, charEnd: text.length },
        { ...cut, text: "pumps on the next page", page: 4, charStart: text.length + 1, charEnd: text.length + 23 },
      ],
    });
    const { results } = await find("parts about pumps", { collections: [id] });
    const merged = mergeNeighbours(results);
    expect(
      merged.map((passage) => [passage.text, passage.page]).toSorted((one, other) => Number(one[1]) - Number(other[1])),
    ).toEqual([
      [text, 3],
      ["pumps on the next page", 4],
    ]);
  });
});

describe("without its services", () => {
  test("an embedding server that is down leaves the words, and says so; vectors alone are unavailable", async () => {
    const server = startEmbeddingServer({ dimensions: 32 });
    const embedding = openEmbedding({
      url: server.url,
      apiKey: null,
      model: "letters",
      dimensions: 32,
      wait: async () => undefined,
    });
    const bench = await openPassageBench({ embedding });
    try {
      const area = areaOn(bench);
      const id = await bench.collection(area.botId, "one");
      await bench.put(id, { title: "a", passages: ["garden pump"] });
      expect((await area.search.search(ANONYMOUS, { query: "pump" })).degraded).toEqual([]);
      server.always({ kind: "status", status: 500 });
      const found = await area.search.search(ANONYMOUS, { query: "garden" });
      expect([found.mode, found.degraded, found.results.map(({ score }) => score)]).toEqual(["hybrid", ["dense"], [1]]);
      expect(await refusal(area.search.search(ANONYMOUS, { query: "garden", mode: "dense" }))).toEqual({
        code: "SERVICE_UNAVAILABLE",
        details: { service: "embeddings" },
      });
      server.always(null);
      expect((await area.search.search(ANONYMOUS, { query: "garden" })).degraded).toEqual([]);
    } finally {
      await bench.close();
      await server.stop();
    }
  });

  test("with VECTORS=off the words search alone, and the mode says so", async () => {
    const bench = await openPassageBench({ hasVectors: false });
    try {
      const area = areaOn(bench);
      const id = await bench.collection(area.botId, "one");
      await bench.put(id, { title: "a", passages: ["garden pump"] });
      const found = await area.search.search(ANONYMOUS, { query: "pumps garden" });
      expect([found.mode, found.degraded, found.results.length]).toEqual(["sparse", [], 1]);
      expect((await refusal(area.search.search(ANONYMOUS, { query: "pump", mode: "dense" }))).code).toBe(
        "SERVICE_UNAVAILABLE",
      );
    } finally {
      await bench.close();
    }
  });

  test("the reranker's order is taken; without it the fused order stands, and is said to", async () => {
    const bench = await openPassageBench();
    try {
      let scores: (texts: readonly string[]) => number[] = (texts) =>
        texts.map((text) => (text.includes("third") ? 1 : 0));
      const area = areaOn(bench, { reranker: { rerank: async (_, texts) => scores(texts) } });
      const id = await bench.collection(area.botId, "one");
      for (const word of ["first pump pump", "second pump and more", "third pump among a good many other things"]) {
        await bench.put(id, { title: word, passages: [word] });
      }
      const ask = () => area.search.search(ANONYMOUS, { query: "pump", rerank: true });
      const reranked = await ask();
      expect([reranked.results[0]?.title.slice(0, 5), reranked.results[0]?.rerankScore, reranked.degraded]).toEqual([
        "third",
        1,
        [],
      ]);
      scores = () => {
        throw new Error("down");
      };
      area.search.clearCache();
      const plain = await area.search.search(ANONYMOUS, { query: "pump", rerank: false });
      const failed = await ask();
      expect(failed.degraded).toEqual(["rerank"]);
      expect(failed.results.map(({ title }) => title)).toEqual(plain.results.map(({ title }) => title));
      const without = areaOn(bench);
      await bench.database.db.update(kbCollections).set({ botId: without.botId });
      expect((await without.search.search(ANONYMOUS, { query: "pump", rerank: true })).degraded).toEqual(["rerank"]);
    } finally {
      await bench.close();
    }
  });
});

describe("answers without a model", () => {
  let bench: PassageBench;
  let area: Area;
  beforeAll(async () => {
    bench = await openPassageBench();
    area = areaOn(bench);
    const id = await bench.collection(area.botId, "handbook");
    for (const document of HANDBOOK) await bench.put(id, document);
  });
  afterAll(() => bench.close());
  const ask = (query: string) => area.answers.answer(ANONYMOUS, { query });

  test("questions in two languages get the right sentence, word for word and with its place", async () => {
    let first = 0;
    const wrong: string[] = [];
    for (const { question, quote, title } of ANSWERED) {
      const { results } = await area.search.search(ANONYMOUS, { query: question });
      if (results[0]?.title === title && results[0].chunk?.text.includes(quote)) first++;
      const answer = await ask(question);
      const [citation] = answer.citations;
      if (answer.noAnswer || !answer.answer.includes(quote) || citation?.passage.title !== title) {
        wrong.push(`${question} → ${answer.answer || "none"}`);
        continue;
      }
      expect(answer).toMatchObject({ engine: "quoted", degraded: [] });
      const text = (HANDBOOK.find((document) => document.title === title)?.passages ?? [])
        .map((passage) => (typeof passage === "string" ? passage : passage.text))
        .join("\n");
      expect(text.slice(citation.charStart, citation.charEnd)).toBe(citation.snippet);
    }
    console.log(
      `  ${ANSWERED.length} questions: right passage first ${first}, right quote ${ANSWERED.length - wrong.length}`,
    );
    expect(wrong).toEqual([]);
    expect(first / ANSWERED.length).toBeGreaterThanOrEqual(0.9);
  });

  test("paraphrases that keep the main words mostly get it, too", async () => {
    const missed: string[] = [];
    for (const { question, quote } of PARAPHRASED) {
      const { answer } = await ask(question);
      if (!answer.includes(quote)) missed.push(question);
    }
    console.log(`  ${PARAPHRASED.length} paraphrases: right quote ${PARAPHRASED.length - missed.length}`);
    expect(missed.length / PARAPHRASED.length).toBeLessThanOrEqual(0.15);
  });

  test("what the texts do not answer is not answered, however many words are theirs", async () => {
    const answered: string[] = [];
    for (const question of UNANSWERED) {
      const { noAnswer, answer, citations } = await ask(question);
      if (noAnswer) expect([answer, citations]).toEqual(["", []]);
      else answered.push(`${question} → ${answer}`);
    }
    console.log(`  ${UNANSWERED.length} questions without an answer: wrongly answered ${answered.length}`);
    expect(answered.length / UNANSWERED.length).toBeLessThanOrEqual(0.05);
  });

  test("instead of an answer come up to three titles of the nearest documents", async () => {
    const { noAnswer, suggestions, confidence } = await ask("Is there a company car for vacation?");
    expect([noAnswer, suggestions.length > 0, suggestions.length <= 3, confidence < 0.35]).toEqual([
      true,
      true,
      true,
      true,
    ]);
    for (const title of suggestions) expect(HANDBOOK.map((document) => document.title)).toContain(title);
  });

  test("the threshold is the bot's", async () => {
    area.settings["quoted-min-confidence"] = "1";
    expect((await ask("What time does the cafeteria close?")).noAnswer).toBe(true);
    delete area.settings["quoted-min-confidence"];
    expect((await ask("What time does the cafeteria close?")).noAnswer).toBe(false);
  });

  test("neighbouring sentences are taken together when each brings a part of the answer", () => {
    const text = "The pump weighs 12 kg. The hose is 20 metres long. Nothing else matters here.";
    const passages = [{ title: "t", text, language: "en", score: 1 }];
    const quote = quoting("How heavy is the pump and how long the hose in metres?", passages, () => "en").choose(null);
    expect(text.slice(quote?.start, quote?.end)).toBe("The pump weighs 12 kg. The hose is 20 metres long.");
  });

  test.each([
    ["Do apes swim? They never do, for their bodies are too heavy.", "Do apes swim?"],
    ["Do apes swim? Apes do not swim at all.", "Apes do not swim at all."],
    ["How do apes live? Do apes swim?\n\nNo ape was ever seen to swim.", "No ape was ever seen to swim."],
  ])("a question in the text is never the answer to itself: %p", (text, part) => {
    const passages = [{ title: "t", text, language: "en", score: 1 }];
    const quote = quoting("Do apes swim?", passages, () => "en").choose(null);
    const quoted = text.slice(quote?.start, quote?.end);
    expect(quoted).toContain(part);
    expect(quoted).not.toEndWith("?");
  });

  test("nothing but questions is no answer", () => {
    const passages = [{ title: "t", text: "Do apes swim? Where do apes swim?", language: "en", score: 1 }];
    expect(quoting("Do apes swim?", passages, () => "en").choose(null)).toBeNull();
  });

  test("bots get passages, quotes and questions of the same code", async () => {
    const { knowledge } = area.answers;
    const config = openConfig([], { serverDefaults: {}, environment: () => undefined });
    const scope = { botId: area.botId, collections: "all", config } as const;
    const { signal } = new AbortController();
    const question = "How many vacation days do full-time employees get?";
    const { passages, degraded } = await knowledge.find(ANONYMOUS, scope, question, signal);
    expect(degraded).toEqual([]);
    const { quotations, confidence } = await knowledge.quote(question, passages, "en");
    expect(confidence).toBeGreaterThan(0.35);
    const [quotation] = quotations;
    expect(passages[quotation?.passage ?? -1]?.text).toContain(quotation?.text ?? "missing");
    expect(quotation?.text).toContain("25 days");

    expect(await knowledge.find(ANONYMOUS, scope, "and you?", signal)).toEqual({ passages: [], degraded: [] });
    expect((await knowledge.find(ANONYMOUS, { ...scope, collections: "auto" }, question, signal)).passages).toEqual([]);
    expect(
      (await knowledge.find(ANONYMOUS, { ...scope, collections: ["HANDBOOK.gbkb"] }, question, signal)).passages.length,
    ).toBeGreaterThan(0);
    expect((await knowledge.find(ANONYMOUS, { ...scope, collections: ["gone"] }, question, signal)).passages).toEqual(
      [],
    );

    const questions = await knowledge.questions(ANONYMOUS, scope, "en", 3);
    expect(questions.length).toBeGreaterThan(0);
    for (const each of questions) {
      const found = await knowledge.find(ANONYMOUS, scope, each, signal);
      expect((await knowledge.quote(each, found.passages, "en")).confidence).toBeGreaterThan(0.35);
    }
  });

  test("questions come from headings and texts, one of each document in turn, then titles; only those that are answered", async () => {
    const { knowledge } = area.answers;
    const config = openConfig([], { serverDefaults: {}, environment: () => undefined });
    const scope = { botId: area.botId, collections: ["asked"], config } as const;
    const id = await bench.collection(area.botId, "asked");
    const under = (heading: string, text: string) => ({ headingPath: ["Zoo", heading], text });
    await bench.put(id, {
      title: "Bears",
      passages: [
        under("What do the bears eat?", "The bears eat salmon and berries."),
        under("Where do the bears sleep?", "The bears sleep in the northern cave."),
        under("What is the meaning of purple?", "Nobody has written this part."),
      ],
    });
    await bench.put(id, {
      title: "Apes",
      passages: [
        under("When are the apes fed?", "The apes are fed at noon."),
        "Do apes swim? Apes do not swim at all.",
      ],
    });
    await bench.put(id, {
      title: "Board",
      passages: [under("Which keeper will be dismissed?", "The keeper who will be dismissed is Bruno.")],
      level: "role_based",
      roles: ["board"],
    });
    expect(await knowledge.questions(ANONYMOUS, scope, "en", 9)).toEqual([
      "When are the apes fed?",
      "What do the bears eat?",
      "Do apes swim?",
      "Where do the bears sleep?",
      "Apes",
      "Bears",
    ]);
    expect(await knowledge.questions(ANONYMOUS, scope, "en", 2)).toHaveLength(2);
    expect(await knowledge.questions(person(["user", "board"]), scope, "en", 3)).toContain(
      "Which keeper will be dismissed?",
    );
  });

  test("the fingerprint changes with content and with rights, and only then", async () => {
    const { knowledge } = area.answers;
    const config = openConfig([], { serverDefaults: {}, environment: () => undefined });
    const scope = { botId: area.botId, collections: "all", config } as const;
    const before = await knowledge.fingerprint(ANONYMOUS, scope);
    expect(await knowledge.fingerprint(person(["user"]), scope)).toBe(before);
    const id = await bench.collection(area.botId, "more");
    await bench.put(id, { title: "a", passages: ["only for members"], level: "authenticated" });
    const after = await knowledge.fingerprint(ANONYMOUS, scope);
    expect(after).not.toBe(before);
    expect(await knowledge.fingerprint(person(["user"]), scope)).not.toBe(after);
  });
});

describe("answers of a model", () => {
  const asked: ModelRequest[] = [];
  let says: string | Error = "";
  const model: Model = {
    name: "test",
    stream: async function* (request) {
      asked.push(request);
      if (says instanceof Error) throw says;
      yield { type: "text", text: says };
      yield { type: "end", finishReason: "stop", model: "test", usage: null };
    },
    ping: async () => ({ latencyMs: 1 }),
  };
  let bench: PassageBench;
  let area: Area;
  beforeAll(async () => {
    bench = await openPassageBench();
    area = areaOn(bench, { model: () => model });
    const id = await bench.collection(area.botId, "handbook");
    for (const document of HANDBOOK) await bench.put(id, document);
    await bench.put(id, {
      title: "Secret",
      passages: ["The secret vacation days of directors are 99 days."],
      level: "none",
    });
  });
  afterAll(() => bench.close());

  test("stand on numbered passages that the reader may open, and cite what exists", async () => {
    says = "You get 25 days [1], as policy [42] says.";
    const answer = await area.answers.answer(ANONYMOUS, { query: "How many vacation days?" });
    expect([answer.answer, answer.engine, answer.noAnswer]).toEqual([
      "You get 25 days [1], as policy says.",
      "llm",
      false,
    ]);
    expect(answer.citations.map(({ n }) => n)).toEqual([1]);
    const prompt =
      asked
        .at(-1)
        ?.messages.map(({ content }) => content)
        .join("\n") ?? "";
    expect(prompt).toContain("[1] Vacation policy");
    expect(prompt).not.toContain("99 days");
    expect(prompt).toContain(answer.citations[0]?.passage.text ?? "missing");
    expect(answer.citations[0]?.passage.title).toBe("Vacation policy");
  });

  test("the passages stay within 2,000 tokens", async () => {
    const id = await bench.collection(area.botId, "long");
    for (let index = 0; index < 12; index++) {
      await bench.put(id, {
        title: `Long ${index}`,
        passages: [`zeppelin number ${index} ${"and more words about airships ".repeat(90)}`],
      });
    }
    says = "Yes [1].";
    await area.answers.answer(ANONYMOUS, { query: "zeppelin airships", collections: [id] });
    const prompt = asked.at(-1)?.messages[1]?.content ?? "";
    const count = prompt.match(/^\[\d+\] Long/gm)?.length ?? 0;
    expect([count > 1, count < 6]).toEqual([true, true]);
  });

  test("a model that finds no answer gives none", async () => {
    says = "NO_ANSWER";
    expect(await area.answers.answer(ANONYMOUS, { query: "vacation on Mars" })).toMatchObject({
      noAnswer: true,
      engine: "llm",
      answer: "",
    });
  });

  test("a model that does not answer leaves the quote, or the error where that is wanted", async () => {
    says = unavailable("llm");
    const query = "How many vacation days do full-time employees get?";
    const quoted = await area.answers.answer(ANONYMOUS, { query });
    expect([quoted.engine, quoted.degraded, quoted.answer.includes("25 days")]).toEqual(["quoted", ["llm"], true]);
    area.settings["llm-fallback"] = "error";
    expect(await refusal(area.answers.answer(ANONYMOUS, { query }))).toMatchObject({ details: { service: "llm" } });
    delete area.settings["llm-fallback"];
  });
});

test("the id of a passage is that of its document, version and ordinal", () => {
  const id = "0190c3a4-0000-7000-8000-000000000001";
  expect(passageId(id, 1, 0)).toBe(passageId(id, 1, 0));
  expect(new Set([passageId(id, 1, 0), passageId(id, 1, 1), passageId(id, 2, 0)]).size).toBe(3);
});
