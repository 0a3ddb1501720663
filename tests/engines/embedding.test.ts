// Texts to vectors: the built-in embedding, an OpenAI-compatible server, reranking.

import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { isAppError } from "../../src/core/errors.ts";
import type { EmbeddingOptions } from "../../src/engines/embedding/index.ts";
import { embedLexically, LEXICAL_DIMENSIONS } from "../../src/engines/embedding/lexical.ts";
import { openEmbedding } from "../../src/engines/embedding/open.ts";
import { openReranker } from "../../src/engines/embedding/rerank.ts";
import { countTerms, encodeTerms } from "../../src/lib/text/index.ts";
import { sha256Hex } from "../../src/lib/ids/index.ts";
import { startEmbeddingServer, type EmbeddingServer } from "../support/embedding-server.ts";

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);
const alike = (a: string, b: string) => dot(embedLexically(a), embedLexically(b));

async function failure(promise: Promise<unknown>): Promise<{ code: string; details: unknown }> {
  try {
    await promise;
  } catch (error) {
    if (isAppError(error)) return { code: error.code, details: error.details };
    throw error;
  }
  throw new Error("it was expected to be refused");
}
const MISSING = { code: "SERVICE_UNAVAILABLE", details: { service: "embeddings" } };

describe("lexical-v1", () => {
  const engine = openEmbedding(null);
  afterAll(() => engine.close());

  test("gives the same bytes on every machine", () => {
    const bytes = Buffer.from(embedLexically("Quantos dias de férias? 25 days, AB-1234, 東京.").buffer);
    expect(sha256Hex(bytes)).toBe("d1d70d024cbdd0df5b6913987da038b90a309aa0a3e5fbe1bf6c5ae389ae085b");
  });

  test("gives unit vectors of 512, also for texts without a word", async () => {
    for (const text of ["vacation", "the of and", "?!", "🙂", " ", "日本語", "a".repeat(5000)]) {
      const [vector] = await engine.embed([text], "passage");
      expect(vector?.length).toBe(LEXICAL_DIMENSIONS);
      expect(Math.abs(dot(vector ?? new Float32Array(), vector ?? new Float32Array()) - 1)).toBeLessThan(1e-5);
    }
    expect({ model: engine.model, dimensions: engine.dimensions }).toEqual({ model: "lexical-v1", dimensions: 512 });
  });

  test("accents, case and inflection hardly matter; spelling errors little; other words much", () => {
    expect(alike("Férias", "ferias")).toBeGreaterThan(0.7);
    expect(alike("vacation policy", "VACATION POLICIES")).toBeGreaterThan(0.6);
    expect(alike("vacation policy", "vacaton policy")).toBeGreaterThan(0.4);
    expect(Math.abs(alike("vacation policy", "garden pump"))).toBeLessThan(0.2);
  });

  test("a code is nearest to the text that has it", () => {
    const rows = Array.from(
      { length: 500 },
      (_, index) => `Code: PX-${1000 + index}; Product: pump; Price: ${index}.00`,
    );
    const scores = rows.map((row) => alike("PX-1234", row));
    expect(scores.indexOf(Math.max(...scores))).toBe(234);
  });

  test("the Worker gives the same vectors and terms as this thread", async () => {
    const texts = Array.from({ length: 70 }, (_, index) => `Passage ${index} about vacations and pumps. `.repeat(10));
    const vectors = await engine.embed(texts, "passage");
    expect(vectors.length).toBe(70);
    for (const [index, vector] of vectors.entries()) expect(vector).toEqual(embedLexically(texts[index] ?? ""));
    const terms = await engine.terms(texts, "en");
    const { counts, length } = countTerms(texts[69] ?? "", "en");
    expect(terms[69]).toEqual({ terms: encodeTerms(counts), length });
  });

  test("an aborted call is the caller's abort", async () => {
    const reason = new Error("gone");
    expect(await engine.embed(["x"], "query", AbortSignal.abort(reason)).catch((error: unknown) => error)).toBe(reason);
  });
});

describe("an OpenAI-compatible server", () => {
  const servers: EmbeddingServer[] = [];
  const waits: number[] = [];
  function serve(options?: Parameters<typeof startEmbeddingServer>[0]) {
    const server = startEmbeddingServer(options);
    servers.push(server);
    waits.length = 0;
    return server;
  }
  const open = (server: EmbeddingServer, options: Partial<EmbeddingOptions> = {}) =>
    openEmbedding({
      url: server.url,
      apiKey: null,
      model: "m",
      dimensions: null,
      wait: async (ms) => {
        waits.push(ms);
      },
      ...options,
    });
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => server.stop()));
  });

  test("gets at most 64 texts at a time; the vectors come in order, as units", async () => {
    const server = serve();
    server.next({ kind: "vectors", spoil: (items) => items.toReversed() });
    const engine = open(server, { apiKey: "secret" });
    expect(engine.dimensions).toBeNull();
    const texts = Array.from({ length: 130 }, (_, index) => `${"a".repeat(index)}b`);
    const vectors = await engine.embed(texts, "passage");
    expect(server.requests.map(({ input }) => input.length)).toEqual([64, 64, 2]);
    expect(server.requests[0]).toMatchObject({ model: "m", authorization: "Bearer secret", dimensions: undefined });
    expect(engine.dimensions).toBe(8);
    const a = "a".charCodeAt(0) % 8;
    const ratios = vectors.map((vector) => vector[a] ?? 0);
    expect(ratios).toEqual(ratios.toSorted((one, other) => one - other));
    for (const vector of vectors) expect(Math.abs(dot(vector, vector) - 1)).toBeLessThan(1e-5);
  });

  test("no key is sent where none is configured, and configured dimensions are asked for", async () => {
    const server = serve();
    const engine = open(server, { dimensions: 4 });
    expect((await engine.embed(["x"], "query"))[0]?.length).toBe(4);
    expect(server.requests[0]).toMatchObject({ authorization: null, dimensions: 4 });
  });

  test.each(["", "/v1", "/v1/embeddings", "/v1/"])("is found by an address that ends in %j", async (path) => {
    const server = serve();
    expect((await open(server, { url: server.url + path }).embed(["x"], "query")).length).toBe(1);
  });

  test("is found without a version in its path", async () => {
    const server = serve({ base: "" });
    const engine = open(server);
    await engine.embed(["x"], "query");
    await engine.embed(["y"], "query");
    expect(server.requests.length).toBe(2);
  });

  test("429 and 5xx are tried again three times, as long as Retry-After says", async () => {
    const server = serve();
    server.next(
      { kind: "status", status: 429, headers: { "retry-after": "2" } },
      { kind: "status", status: 503 },
      { kind: "status", status: 429, headers: { "retry-after": "0" } },
    );
    expect((await open(server).embed(["x"], "query")).length).toBe(1);
    expect(waits).toEqual([2000, 1000, 0]);
    server.next(...Array.from({ length: 4 }, () => ({ kind: "status", status: 500 }) as const));
    expect(await failure(open(server).embed(["x"], "query"))).toEqual(MISSING);
    expect(server.requests.length).toBe(8);
  });

  test("a refusal is not tried again", async () => {
    const server = serve();
    server.next({ kind: "status", status: 401 });
    expect(await failure(open(server).embed(["x"], "query"))).toEqual(MISSING);
    expect(server.requests.length).toBe(1);
  });

  test.each([
    ["another length", (items: { embedding: unknown }[]) => items.map((item) => ({ ...item, embedding: [1, 2] }))],
    [
      "null inside",
      (items: { embedding: unknown }[]) => items.map((item) => ({ ...item, embedding: [1, null, 1, 1] })),
    ],
    ["text inside", (items: { embedding: unknown }[]) => items.map((item) => ({ ...item, embedding: ["a", 1, 1, 1] }))],
    ["zeros", (items: { embedding: unknown }[]) => items.map((item) => ({ ...item, embedding: [0, 0, 0, 0] }))],
    ["one vector less", (items: unknown[]) => items.slice(1)],
    ["one index twice", (items: object[]) => items.map((item) => ({ ...item, index: 0 }))],
    ["no list", () => ({})],
  ])("vectors with %s are refused, not padded", async (_, spoil) => {
    const server = serve();
    server.next({ kind: "vectors", spoil: spoil as (items: unknown[]) => unknown });
    const refused = await failure(open(server, { dimensions: 4 }).embed(["x", "y"], "passage"));
    expect(refused).toEqual({ ...MISSING, details: { service: "embeddings", reason: "bad_vectors" } });
    expect(server.requests.length).toBe(1);
  });

  test("an address where nobody answers is unavailable", async () => {
    const server = serve();
    const { url } = server;
    await server.stop();
    expect(await failure(open({ ...server, url }).embed(["x"], "query"))).toEqual(MISSING);
  });

  test("silence ends with the time that a call may take; the caller's abort at once", async () => {
    const server = serve();
    server.always({ kind: "hang" });
    expect(await failure(open(server, { timeoutMs: 50 }).embed(["x"], "query"))).toEqual(MISSING);
    const reason = new Error("gone");
    const controller = new AbortController();
    const asked = open(server).embed(["x"], "query", controller.signal);
    controller.abort(reason);
    expect(await asked.catch((error: unknown) => error)).toBe(reason);
  });

  test("older vectors keep their embedding: the built-in one and other models of the server", async () => {
    const server = serve();
    const engine = open(server);
    expect(engine.named("lexical-v1")?.dimensions).toBe(512);
    await engine.named("older")?.embed(["x"], "query");
    expect(server.requests.map(({ model }) => model)).toEqual(["older"]);
    const builtIn = openEmbedding(null);
    expect([builtIn.named("m"), builtIn.named("lexical-v1")?.model]).toEqual([null, "lexical-v1"]);
    await builtIn.close();
  });
});

describe("reranking", () => {
  const answering = (answer: (body: Record<string, unknown>) => Response) => {
    const asked: { url: string; body: Record<string, unknown>; authorization: string | undefined }[] = [];
    const fetch = async (url: string, init: RequestInit) => {
      const body = JSON.parse(init.body as string) as Record<string, unknown>;
      asked.push({ url, body, authorization: (init.headers as Record<string, string>)["authorization"] });
      return answer(body);
    };
    return { asked, fetch };
  };

  test("scores come in the order of the texts, whatever the order of the answer", async () => {
    const { asked, fetch } = answering(() =>
      Response.json({
        results: [
          { index: 1, relevance_score: 0.9 },
          { index: 0, relevance_score: 0.2 },
        ],
      }),
    );
    const reranker = openReranker({ url: "http://user:p%20w@rerank.test:9/v1", fetch });
    expect(await reranker.rerank("q", ["a", "b"])).toEqual([0.2, 0.9]);
    expect(asked).toEqual([
      {
        url: "http://rerank.test:9/v1/rerank",
        body: { query: "q", documents: ["a", "b"], top_n: 2 },
        authorization: `Basic ${btoa("user:p w")}`,
      },
    ]);
  });

  test("a server that wants `texts` gets them from then on; raw scores become 0..1", async () => {
    const { asked, fetch } = answering((body) =>
      "texts" in body
        ? Response.json([
            { index: 0, score: 3 },
            { index: 1, score: -3 },
          ])
        : new Response("no", { status: 422 }),
    );
    const reranker = openReranker({ url: "http://rerank.test/rerank", fetch });
    const [high, low] = await reranker.rerank("q", ["a", "b"]);
    expect([(high ?? 0) > 0.95, (low ?? 1) < 0.05]).toEqual([true, true]);
    await reranker.rerank("q", ["a", "b"]);
    expect(asked.map(({ body }) => "texts" in body)).toEqual([false, true, true]);
  });

  test.each([
    ["500", () => new Response("no", { status: 500 })],
    ["no JSON", () => new Response("no")],
    ["a text left out", () => Response.json({ results: [{ index: 0, relevance_score: 1 }] })],
  ])("%s is unavailable", async (_, answer) => {
    const { fetch } = answering(answer);
    const refused = await failure(openReranker({ url: "http://rerank.test", fetch }).rerank("q", ["a", "b"]));
    expect(refused).toEqual({ code: "SERVICE_UNAVAILABLE", details: { service: "rerank" } });
  });
});
