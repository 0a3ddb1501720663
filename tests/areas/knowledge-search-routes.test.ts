// Search and answer by their routes: what they give, to whom, and what they refuse.

import { expect, test } from "bun:test";
import { kbCollections } from "../../src/areas/knowledge/model.ts";
import { systemContext } from "../../src/core/context.ts";
import { uuidv7 } from "../../src/lib/ids/index.ts";
import { HANDBOOK } from "../support/handbook.ts";
import { putDocument } from "../support/passages.ts";
import { startTestServer } from "../support/server.ts";

interface Found {
  results: {
    title: string;
    text: string | null;
    accessible: boolean;
    chunk_id: string | null;
    score: number;
    page: number | null;
  }[];
  mode: string;
  degraded: string[];
  took_ms: number;
  total_candidates: number;
  explain?: { rrf_k: number };
}
const server = await startTestServer();
const { bots, knowledge } = server.services;
const bot = await bots.bots.usable(systemContext(["*"], "test"), null);
const collectionId = uuidv7();
const { database } = server.engines;
await database.db
  .insert(kbCollections)
  .values({ id: collectionId, botId: bot.row.id, name: "Handbook", nameKey: "handbook" });
const target = { database, store: knowledge.passages };
for (const document of HANDBOOK) await putDocument(target, collectionId, { ...document, level: "authenticated" });
await putDocument(target, collectionId, {
  title: "Pay",
  passages: ["Directors' vacation is 99 days."],
  level: "role_based",
  roles: ["hr"],
  visibility: "authenticated",
});
const { token } = await server.person();

test("search by body and by address give the same", async () => {
  const body = { query: "vacation days", collections: [collectionId], limit: 5, explain: true };
  const posted = await server.call<Found>("POST", "/api/v1/kb/search", { token, body });
  expect(posted.status).toBe(200);
  const path = `/api/v1/kb/search?q=vacation+days&collections=${collectionId}&limit=5&explain=true`;
  const got = await server.call<Found>("GET", path, { token });
  expect(got.status).toBe(200);
  const { took_ms: _a, ...first } = posted.data;
  const { took_ms: _b, ...second } = got.data;
  expect(second).toEqual(first);
  expect(first).toMatchObject({ mode: "hybrid", degraded: [], explain: { rrf_k: 60 } });
  expect(first.results.map(({ title }) => title)).toContain("Vacation policy");
  const named = await server.call<Found>("POST", "/api/kb/search", {
    token,
    body: { ...body, collections: ["default:handbook"] },
  });
  expect(named.data.results).toEqual(first.results);
});

test("what is only visible comes by title and path alone", async () => {
  const { data } = await server.call<Found>("POST", "/api/v1/kb/search", {
    token,
    body: { query: "directors vacation", collections: [collectionId] },
  });
  expect(data.results.find(({ title }) => title === "Pay")).toMatchObject({
    accessible: false,
    text: null,
    chunk_id: null,
    page: null,
  });
  expect(JSON.stringify(data)).not.toContain("99 days");
});

test("an answer quotes with its citation", async () => {
  const body = { question: "How many vacation days do full-time employees get?", collections: [collectionId] };
  const { status, data } = await server.call<Record<string, unknown>>("POST", "/api/v1/kb/answer", { token, body });
  expect([status, data["engine"], data["no_answer"]]).toEqual([200, "quoted", false]);
  expect(data["answer"]).toStartWith("> Full-time employees are entitled to 25 days");
  expect(data["citations"]).toEqual([
    expect.objectContaining({
      n: 1,
      title: "Vacation policy",
      collection: "Handbook",
      path: "",
      page: null,
      heading_path: [],
      snippet: "Full-time employees are entitled to 25 days of paid vacation per calendar year.",
      char_start: 0,
      char_end: 79,
    }),
  ]);
});

test.each([
  ["POST", "/api/v1/kb/search", { query: "x" }, 401],
  ["GET", "/api/v1/kb/search?q=x", undefined, 401],
  ["POST", "/api/v1/kb/answer", { question: "x" }, 401],
])("%s %s without a credential: %j %d", async (method, path, body, status) => {
  expect((await server.call(method, path, { body })).status).toBe(status);
});

test.each([
  ["POST", "/api/v1/kb/search", {}, 422],
  ["POST", "/api/v1/kb/search", { query: "" }, 422],
  ["POST", "/api/v1/kb/search", { query: "the of" }, 422],
  ["POST", "/api/v1/kb/search", { query: "x".repeat(2001) }, 422],
  ["POST", "/api/v1/kb/search", { query: "pump", limit: 51 }, 422],
  ["POST", "/api/v1/kb/search", { query: "pump", mode: "magic" }, 422],
  ["POST", "/api/v1/kb/search", { query: "pump", min_score: 2 }, 422],
  ["POST", "/api/v1/kb/search", { query: "pump", filter: { owner: "x" } }, 422],
  ["POST", "/api/v1/kb/search", { query: "pump", collections: ["nothing-here"] }, 404],
  ["POST", "/api/v1/kb/search", { query: "pump", bot_id: "no-such-bot" }, 404],
  ["GET", "/api/v1/kb/search", undefined, 422],
  ["GET", "/api/v1/kb/search?q=pump&owner=x", undefined, 422],
  ["GET", "/api/v1/kb/search?q=pump&filter[updated_after]=soon", undefined, 422],
  ["POST", "/api/v1/kb/answer", {}, 422],
  ["POST", "/api/v1/kb/answer", { question: "pump", bot_id: "no-such-bot" }, 404],
  ["DELETE", "/api/v1/kb/search", undefined, 405],
])("%s %s %j is refused with %d", async (method, path, body, status) => {
  expect((await server.call(method, path, { token, body })).status).toBe(status);
});
