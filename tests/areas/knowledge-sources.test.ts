// What taking documents in asks of the outside: addresses that are fetched, and embedding servers that fail, lie or
// are replaced by another model.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbeddingServer } from "../support/embedding-server.ts";
import { startTestServer, type TestServer } from "../support/server.ts";

// Indexing is bound by the processor, which other tests use, too.
setDefaultTimeout(60_000);

interface Document {
  id: string;
  name: string;
  title: string;
  status: string;
  error_code: string | null;
  error_message: string | null;
  version: number;
  mime: string;
}

interface TakenIn {
  documents: Document[];
  job_id: string;
}

interface Found {
  results: { text: string; score: number }[];
  mode: string;
  degraded: string[];
}

const dataDir = mkdtempSync(join(tmpdir(), "botserver-sources-"));
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

const ingest = async (server: TestServer, token: string, body: Record<string, unknown>) =>
  (await server.call<TakenIn>("POST", "/api/v1/kb/ingest", { token, body: { create: true, wait: 20, ...body } })).data;

const search = async (server: TestServer, token: string, query: string, collection: string) =>
  (
    await server.call<Found>("POST", "/api/v1/kb/search", {
      token,
      body: { query, collections: [`default:${collection}`] },
    })
  ).data;

const documentOf = async (server: TestServer, token: string, id: string) =>
  (await server.call<Document>("GET", `/api/v1/kb/documents/${id}`, { token })).data;

test("addresses are read through the outbound guard, again when they are sent again, and fail with a reason", async () => {
  let body = "<html><head><title>News</title></head><body><p>The bridge opens in May.</p></body></html>";
  const site = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/news/today") return new Response(body, { headers: { "content-type": "text/html" } });
      if (pathname === "/inside") return Response.redirect("http://169.254.169.254/latest/meta-data");
      if (pathname === "/file") return Response.redirect("file:///etc/passwd");
      return new Response("gone", { status: 404 });
    },
  });
  const server = await startTestServer({ ALLOW_PRIVATE_HOSTS: "127.0.0.1" });
  const token = await server.signIn();
  const url = (path: string) => `http://127.0.0.1:${site.port}${path}`;
  const items = ["/news/today", "/inside", "/file", "/missing"].map((path) => ({ url: url(path) }));
  const taken = await ingest(server, token, { collection: "News", items });
  const shown = taken.documents.map(({ name, title, status, error_code }) => [name, title, status, error_code]);
  expect(shown).toEqual([
    ["today", "News", "indexed", null],
    ["inside", "inside", "failed", "fetch_failed"],
    ["file", "file", "failed", "fetch_failed"],
    ["missing", "missing", "failed", "fetch_failed"],
  ]);
  expect((await search(server, token, "bridge", "News")).results[0]?.text).toBe("The bridge opens in May.");
  body = body.replace("May", "June");
  const again = await ingest(server, token, { collection: "News", items: items.slice(0, 1) });
  expect(again.documents[0]).toMatchObject({ id: taken.documents[0]?.id, version: 2, status: "indexed" });
  const found = await search(server, token, "bridge", "News");
  expect(found.results.map(({ text }) => text)).toEqual(["The bridge opens in June."]);
  await server.stop(0);
  await site.stop(true);
});

describe("embedding servers", () => {
  const model = startEmbeddingServer({ dimensions: 8 });
  afterAll(() => model.stop());
  const env = { DATA_DIR: dataDir, EMBEDDING_URL: model.url, EMBEDDING_MODEL: "first", SECRET_KEY: "s".repeat(40) };

  test("that are busy, lie or are away: waited for, told, waited for; what was searchable stays so", async () => {
    const server = await startTestServer(env);
    const token = await server.signIn();
    const text = (colour: string) => ({ text: `The gate is ${colour}.`, title: "Gate", external_id: "gate" });

    model.next({ kind: "status", status: 429, headers: { "retry-after": "0" } });
    model.next({ kind: "status", status: 429, headers: { "retry-after": "0" } });
    const busy = await ingest(server, token, { collection: "Yard", items: [text("red")] });
    expect(busy.documents[0]?.status).toBe("indexed");
    expect((await search(server, token, "gate", "Yard")).results[0]?.text).toBe("The gate is red.");

    model.always({
      kind: "vectors",
      spoil: (items) => items.map(({ index }) => ({ index, embedding: [1, 2, 3] })),
    });
    const lying = await ingest(server, token, { collection: "Yard", items: [text("blue")] });
    const job = await server.engines.jobs.get(lying.job_id);
    expect(job).toMatchObject({ status: "failed", error: { code: "bad_vectors" } });
    expect(lying.documents[0]).toMatchObject({ status: "failed", error_code: "bad_vectors", version: 2 });
    expect(lying.documents[0]?.error_message).toContain("a vector of length 3 instead of 8");
    model.always(null);
    expect((await search(server, token, "gate", "Yard")).results.map((one) => one.text)).toEqual(["The gate is red."]);

    model.always({ kind: "status", status: 401 });
    const away = await ingest(server, token, { collection: "Yard", items: [text("green")], wait: 0 });
    const id = away.documents[0]?.id ?? "";
    for (;;) {
      const view = await server.engines.jobs.get(away.job_id);
      if ((view?.attempt ?? 0) >= 1 && view?.status === "queued") break;
    }
    expect((await documentOf(server, token, id)).status).not.toBe("indexed");
    expect((await search(server, token, "gate red", "Yard")).results[0]?.text).toBe("The gate is red.");
    model.always(null);
    server.clock.advance(60_000);
    await server.engines.jobs.wait(away.job_id, 20_000);
    expect((await documentOf(server, token, id)).status).toBe("indexed");
    expect((await search(server, token, "gate", "Yard")).results.map((one) => one.text)).toEqual([
      "The gate is green.",
    ]);
    await server.stop(0);
  }, 30_000);

  test("another model: the collection is stale, searched on, re-indexed beside the old and switched", async () => {
    const server = await startTestServer({ ...env, EMBEDDING_MODEL: "second" });
    const token = await server.signIn();
    const collection = async () =>
      (
        await server.call<{ status: string; embedding_model: string; vectors_count: number; generation: number }>(
          "GET",
          "/api/v1/kb/collections/default:yard",
          { token },
        )
      ).data;
    const before = await collection();
    expect(before).toMatchObject({ status: "stale", embedding_model: "first", vectors_count: 1 });
    expect((await search(server, token, "gate", "Yard")).results).toHaveLength(1);

    let isDone = false;
    const counts = new Set<number>();
    const looking = (async () => {
      while (!isDone) counts.add((await search(server, token, "gate", "Yard")).results.length);
    })();
    const started = await server.call<{ job_id: string }>("POST", "/api/v1/kb/reindex", { token, body: {} });
    const ended = await server.engines.jobs.wait(started.data.job_id, 20_000);
    isDone = true;
    await looking;
    expect(ended?.status).toBe("completed");
    expect([...counts]).toEqual([1]);
    const after = await collection();
    expect(after).toMatchObject({ status: "ready", embedding_model: "second", vectors_count: 1 });
    expect(after.generation).toBeGreaterThan(before.generation);
    const kept = await server.engines.database.query("select distinct model from kb_vectors");
    expect(kept).toEqual([{ model: "second" }]);
    expect((await search(server, token, "gate", "Yard")).degraded).toEqual([]);
    await server.stop(0);
  }, 30_000);
});
