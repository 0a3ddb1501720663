// The answers that bots keep: counted and forgotten by those who may.

import { afterAll, describe, expect, test } from "bun:test";
import { desc, eq } from "drizzle-orm";
import { auditLog } from "../../src/core/audit/model.ts";
import { answer, startModelServer } from "../support/model-server.ts";
import { startTestServer } from "../support/server.ts";

interface Stats {
  entries: number;
  hits: number;
  semantic_hits: number;
  misses: number;
  bytes: number;
  hit_rate: number;
}

const model = await startModelServer();
afterAll(() => model.stop());
model.always(answer("Of course."));
const server = await startTestServer({ LLM_URL: model.url, LLM_MODEL: "test-model" });
const admin = await server.signIn();
const manager = await server.person(["user", "kb_manager"]);
const person = await server.person();

async function makeBot(name: string): Promise<void> {
  const body = { name, visibility: "public", anonymous_allowed: true, config: { "llm-cache": true } };
  expect((await server.call("POST", "/api/v1/bots", { token: admin, body })).status).toBe(201);
}

/** Whether the answer came from the cache. */
async function isCached(bot: string, message: string): Promise<boolean> {
  const said = await server.call<{ answer: { usage: { cached: boolean } } }>("POST", "/api/v1/chat", {
    body: { bot_id: bot, message },
  });
  expect(said.error).toBeNull();
  return said.data.answer.usage.cached;
}

const stats = async (bot: string | null, token = manager.token): Promise<Stats> => {
  const answered = await server.call<Stats>("GET", `/api/v1/kb/cache/stats${bot ? `?bot_id=${bot}` : ""}`, { token });
  expect(answered.error).toBeNull();
  return answered.data;
};

const clear = (bot: string | null, token: string | null = manager.token) =>
  server.call<{ cleared: number }>("DELETE", `/api/v1/kb/cache${bot ? `?bot_id=${bot}` : ""}`, { token });

describe("kept answers", () => {
  test("are counted for one bot and for all, and forgotten for one bot by who manages knowledge", async () => {
    await makeBot("one");
    await makeBot("two");
    for (const bot of ["one", "two"]) {
      expect(await isCached(bot, "Is the canteen open?")).toBe(false);
      expect(await isCached(bot, "Is the canteen open?")).toBe(true);
    }
    const of = { entries: 1, hits: 1, semantic_hits: 0, misses: 1, hit_rate: 0.5 };
    expect(await stats("one")).toMatchObject(of);
    const all = await stats(null);
    expect(all).toMatchObject({ ...of, entries: 2, hits: 2, misses: 2 });
    expect(all.bytes).toBe((await stats("one")).bytes + (await stats("two")).bytes);
    expect(all.bytes).toBeGreaterThan(10);

    const cleared = await clear("one");
    expect([cleared.status, cleared.data]).toEqual([200, { cleared: 1 }]);
    expect((await stats("one")).entries).toBe(0);
    expect(await isCached("one", "Is the canteen open?")).toBe(false);
    expect(await isCached("two", "Is the canteen open?")).toBe(true);
    const [entry] = await server.engines.database.db
      .select({ user: auditLog.userId, details: auditLog.details })
      .from(auditLog)
      .where(eq(auditLog.eventType, "cache_cleared"))
      .orderBy(desc(auditLog.id))
      .limit(1);
    expect(entry).toEqual({ user: manager.userId, details: { scope: "answers", cleared: 1 } });
  });

  test("of all bots are forgotten by holders of admin:cache only", async () => {
    const refused = await clear(null);
    expect([refused.status, refused.error?.details["required"]]).toEqual([403, "admin:cache"]);
    expect(await isCached("two", "Is the canteen open?")).toBe(true);
    const cleared = await clear(null, admin);
    expect(cleared.status).toBe(200);
    expect((await stats(null)).entries).toBe(0);
    expect(await isCached("two", "Is the canteen open?")).toBe(false);
  });

  test("are nobody else's business", async () => {
    for (const bot of ["two", null]) {
      expect((await clear(bot, person.token)).status).toBe(403);
      expect((await clear(bot, null)).status).toBe(401);
      const path = `/api/v1/kb/cache/stats${bot ? `?bot_id=${bot}` : ""}`;
      expect((await server.call("GET", path, { token: person.token })).error?.details["required"]).toBe("kb:write");
    }
    expect((await clear("no-such-bot")).status).toBe(404);
  });
});
