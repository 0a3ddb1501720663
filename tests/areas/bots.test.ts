// Bots over HTTP: who sees and uses which, making and changing, settings and their secrets, memory, session context.

import { describe, expect, test } from "bun:test";
import { desc, eq, isNotNull } from "drizzle-orm";
import { openConfig, settingKey } from "../../src/areas/bots/config.ts";
import { bots, botSettings } from "../../src/areas/bots/model.ts";
import type { BotAccess } from "../../src/areas/bots/rules.ts";
import { decideAccess, nameFault } from "../../src/areas/bots/rules.ts";
import { conversations } from "../../src/areas/conversations/model.ts";
import { auditLog, auditPersonal } from "../../src/core/audit/model.ts";
import type { Caller } from "../../src/core/context.ts";
import { anonymousCaller } from "../../src/core/context.ts";
import { uuidv7 } from "../../src/lib/ids/index.ts";
import { refusedUpgrade } from "../support/chat-socket.ts";
import { startTestServer, type TestServer } from "../support/server.ts";

type CallOptions = NonNullable<Parameters<TestServer["call"]>[2]>;

const main = await startTestServer({ LLM_URL: "http://127.0.0.1:9/v1", LLM_MODEL: "operator-model" });
const { clock } = main;
const { database: engine, cache } = main.engines;
const { bots: area, people } = main.services;

const call = <Data = Record<string, unknown>>(method: string, path: string, options: CallOptions = {}) =>
  main.call<Data>(method, `/api/v1${path}`, options);

const admin = await main.signIn();
const member = await main.person(["user"]);
const other = await main.person(["user"]);
const botManager = await main.person(["user", "bot_manager"]);

interface BotAnswer {
  bot_id: string;
  name: string;
  [field: string]: unknown;
}

let made = 0;
async function makeBot(fields: Record<string, unknown> = {}, token = botManager.token): Promise<BotAnswer> {
  made += 1;
  const answer = await call<BotAnswer>("POST", "/bots", { token, body: { name: `made-${made}`, ...fields } });
  if (answer.status !== 201) throw new Error(`${answer.status} ${JSON.stringify(answer.error)}`);
  return answer.data;
}

async function lastAudit() {
  const [entry] = await engine.db
    .select({ type: auditLog.eventType, resource: auditLog.resourceId, changes: auditPersonal.changes })
    .from(auditLog)
    .innerJoin(auditPersonal, eq(auditPersonal.auditId, auditLog.id))
    .orderBy(desc(auditLog.id))
    .limit(1);
  return entry;
}

/** A conversation of that person with that bot; its id. */
async function talk(userId: string, botId: string): Promise<string> {
  const id = uuidv7();
  await engine.db.insert(conversations).values({
    id,
    botId,
    botName: "x",
    userId,
    lastActivity: clock.date(),
    activityDay: clock.date().toISOString().slice(0, 10),
    startedAt: clock.date(),
  });
  return id;
}

describe("who may use a bot", () => {
  const anna = uuidv7();
  const org = uuidv7();
  const staff = uuidv7();
  const bot = (fields: Partial<BotAccess>): BotAccess => ({
    id: uuidv7(),
    status: "active",
    organizationId: org,
    visibility: "public",
    anonymousAllowed: false,
    allowedRoles: [],
    allowedGroups: [],
    allowedUsers: [],
    deniedUsers: [],
    ...fields,
  });
  const anonymous = anonymousCaller(new Set(["bots:use"]));
  const caller = (fields: Partial<Caller> = {}): Caller => ({
    ...anonymous,
    kind: "session",
    userId: anna,
    roles: new Set(["user", "guest"]),
    ...fields,
  });
  const inOrg = caller({ organizationId: org });
  const inStaff = caller({ groups: new Set([staff]) });
  const manager = caller({ roles: new Set(["bot_manager"]), permissions: new Set(["bots:read"]) });
  const root = caller({ roles: new Set(["admin"]), permissions: new Set(["*"]) });

  const cases: [string, Partial<BotAccess>, Caller, string][] = [
    ["public, any account", {}, caller(), "public"],
    ["public, anonymous", {}, anonymous, "none"],
    ["public, anonymous allowed", { anonymousAllowed: true }, anonymous, "public"],
    ["public, narrowed to others", { allowedRoles: ["manager"] }, caller(), "none"],
    ["public, narrowed to a held role", { allowedRoles: ["manager", "user"] }, caller(), "role:user"],
    ["public, narrowed to a group", { allowedGroups: [staff] }, inStaff, `group:${staff}`],
    ["public, narrowed to a person", { allowedUsers: [anna] }, caller(), "user"],
    ["public, narrowed, anonymous", { anonymousAllowed: true, allowedUsers: [anna] }, anonymous, "none"],
    ["denied beats public", { deniedUsers: [anna] }, caller(), "denied"],
    [
      "denied beats the allow list",
      { visibility: "private", allowedUsers: [anna], deniedUsers: [anna] },
      caller(),
      "denied",
    ],
    ["denied beats admin", { visibility: "admin", deniedUsers: [anna] }, root, "denied"],
    ["denied comes before inactive", { status: "inactive", deniedUsers: [anna] }, caller(), "denied"],
    ["inactive", { status: "inactive" }, root, "inactive"],
    ["in error", { status: "error" }, caller(), "inactive"],
    ["restarting", { status: "restarting" }, caller(), "public"],
    ["organization, member", { visibility: "organization" }, inOrg, "organization"],
    [
      "organization, member by group",
      { visibility: "organization" },
      caller({ groups: new Set([org]) }),
      "organization",
    ],
    ["organization, stranger", { visibility: "organization" }, caller({ organizationId: uuidv7() }), "none"],
    ["organization, admin of none", { visibility: "organization" }, root, "none"],
    ["organization, anonymous", { visibility: "organization", anonymousAllowed: true }, anonymous, "none"],
    ["organization, none set", { visibility: "organization", organizationId: null }, caller(), "organization"],
    ["organization, narrowed", { visibility: "organization", allowedGroups: [staff] }, inOrg, "none"],
    ["private, stranger", { visibility: "private" }, inOrg, "none"],
    ["private, admin", { visibility: "private" }, root, "none"],
    ["private, listed person", { visibility: "private", allowedUsers: [anna] }, caller(), "user"],
    ["private, listed group", { visibility: "private", allowedGroups: [staff] }, inStaff, `group:${staff}`],
    ["private, listed role", { visibility: "private", allowedRoles: ["guest"] }, caller(), "role:guest"],
    ["private, role of anonymous", { visibility: "private", allowedRoles: ["anonymous"] }, anonymous, "role:anonymous"],
    ["admin, plain account", { visibility: "admin" }, caller(), "none"],
    ["admin, holder of bots:read", { visibility: "admin" }, manager, "role:bot_manager"],
    ["admin, admin", { visibility: "admin" }, root, "role:admin"],
  ];
  test.each(cases)("%s", (_name, fields, who, reason) => {
    const allowed = !["none", "denied", "inactive"].includes(reason);
    expect(decideAccess(bot(fields), who)).toEqual({ allowed, reason: reason as never });
  });

  test("the bot's own service identity uses it, that of another bot does not", () => {
    const mine = bot({ visibility: "private" });
    const service = { ...anonymous, kind: "system" as const };
    expect(decideAccess(mine, { ...service, botId: mine.id }).allowed).toBe(true);
    expect(decideAccess(mine, { ...service, botId: uuidv7() }).allowed).toBe(false);
  });

  test("a private bot: 404 for strangers; the group opens it at once; denied_users closes it again", async () => {
    const { bot_id: id, name } = await makeBot({ visibility: "private" });
    const see = async () => (await call("GET", `/bots/${name}`, { token: member.token })).status;
    expect(await see()).toBe(404);
    const access = { allowed_users: [member.userId] };
    expect((await call("PUT", `/bots/${id}/access`, { token: botManager.token, body: access })).status).toBe(200);
    expect(await see()).toBe(200);
    expect((await call("GET", `/bots/${name}/access`, { token: member.token })).data).toEqual({
      allowed: true,
      reason: "user",
    });
    const denied = { denied_users: [member.userId] };
    await call("PUT", `/bots/${id}/access`, { token: botManager.token, body: denied });
    expect(await see()).toBe(404);
    expect((await call("GET", `/bots/${name}/access`, { token: member.token })).status).toBe(404);
    const asked = await call("GET", `/bots/${name}/access?user_id=${member.userId}`, { token: botManager.token });
    expect(asked.data).toMatchObject({ allowed: false, reason: "denied", denied_users: [member.userId] });
    const refused = await call("GET", `/bots/${name}/access?user_id=${member.userId}`, { token: other.token });
    expect([refused.status, refused.error?.details["required"]]).toEqual([403, "bots:read"]);
  });

  test("roles, groups and users that do not exist are named, all at once", async () => {
    const { name } = await makeBot();
    const body = { allowed_roles: ["user", "nobody"], allowed_groups: ["Users", "Nothing"], denied_users: [uuidv7()] };
    const refused = await call("PUT", `/bots/${name}/access`, { token: botManager.token, body });
    expect(refused.status).toBe(422);
    const fields = refused.error?.details["fields"] as { path: string }[];
    expect(fields.map(({ path }) => path)).toEqual(["allowed_roles", "allowed_groups", "denied_users"]);
  });
});

describe("lists", () => {
  test("anonymous callers see the default bot, and nothing that is not theirs", async () => {
    await makeBot({ display_name: "Hidden" });
    const { data } = await call<{ bots: BotAnswer[]; total: number }>("GET", "/bots");
    expect(data.bots.map(({ name }) => name)).toEqual(["default"]);
    expect(data).toMatchObject({ total: 1, limit: 20, offset: 0 });
    expect(data.bots[0]).toMatchObject({ title: "Assistant", display_name: "Assistant", is_default: true });
    expect(data.bots[0]).not.toHaveProperty("allowed_users");
  });

  test("GET /bots/available is the same list; a search narrows it; unknown parameters are refused", async () => {
    await makeBot({ display_name: "Payroll" });
    const path = "/bots/available?search=payr";
    const found = await call<{ bots: BotAnswer[] }>("GET", path, { token: member.token });
    expect(found.data.bots.map(({ display_name: title }) => title)).toEqual(["Payroll"]);
    expect((await call("GET", "/bots?colour=red", { token: member.token })).status).toBe(422);
    expect((await call("GET", "/bots?limit=101", { token: member.token })).status).toBe(422);
  });

  test("managers see the whole bots, filtered and sorted; others are refused", async () => {
    const { name } = await makeBot({ visibility: "admin" });
    const list = await call<{ bots: BotAnswer[]; total: number }>(
      "GET",
      "/admin/bots?visibility=admin&sort=created_at&order=desc",
      {
        token: botManager.token,
      },
    );
    expect(list.data.bots[0]).toMatchObject({
      name,
      visibility: "admin",
      loaded: { dialogs: 0, tools: 0, kb_collections: 0, documents: 0, schedules: 0 },
      engines: { llm: "operator-model", embeddings: "lexical-v1", vectors: "embedded" },
    });
    const refused = await call("GET", "/admin/bots", { token: member.token });
    expect([refused.status, refused.error?.details["required"]]).toEqual([403, "bots:read"]);
    expect((await call("GET", "/admin/bots")).status).toBe(401);
  });
});

describe("the page of a bot", () => {
  const shop = ["https://shop.example"];
  test.each([
    ["public", {}, 200],
    ["of an organization", { visibility: "organization" }, 404],
    ["private", { visibility: "private" }, 404],
    ["private, but for anonymous callers", { visibility: "private", anonymous_allowed: true }, 200],
    ["of an organization, but shown on another site", { visibility: "organization", embed: shop }, 200],
    ["public and closed", { status: "inactive" }, 404],
    ["shown on another site and closed", { embed: shop, status: "inactive" }, 404],
  ])("%s: %p is %p to strangers", async (_what, { embed, status, ...fields }: Record<string, unknown>, expected) => {
    const config = embed ? { config: { "embed-origins": shop.join(",") } } : {};
    const bot = await makeBot({ visibility: "public", ...fields, ...config });
    if (status) await call("PATCH", `/bots/${bot.name}`, { token: botManager.token, body: { status } });
    const page = await fetch(`${main.url}/${bot.name}`, { headers: { accept: "text/html" } });
    // Whoever may not know of it gets the page, too: it asks to sign in.
    expect([page.status, (await page.text()).includes("<!doctype html>")]).toEqual([expected, true]);
    const policy = page.headers.get("content-security-policy");
    expect(policy).toEndWith(`frame-ancestors 'self'${embed ? " https://shop.example" : ""}`);
  });
});

describe("how many talk to a bot at a time", () => {
  const begin = (bot: BotAnswer, options: CallOptions = {}) =>
    call<{ conversation_id: string; token: string }>("POST", "/conversations", {
      ...options,
      body: { bot_id: bot.name },
    });
  const open = { visibility: "public", anonymous_allowed: true };
  const reasonOf = ({ status, error }: Awaited<ReturnType<typeof begin>>) => [status, error?.details["reason"]];

  test("over its limit a new conversation is 429 bot_busy until one has ended or fallen silent", async () => {
    const bot = await makeBot({ ...open, limits: { max_concurrent_sessions: 2 }, config: { "session-timeout": 600 } });
    const first = await begin(bot, { token: member.token });
    clock.advance(100_000);
    const second = await begin(bot);
    expect([first.status, second.status]).toEqual([201, 201]);
    const refused = await begin(bot);
    expect(reasonOf(refused)).toEqual([429, "bot_busy"]);
    const seconds = Number(refused.headers.get("retry-after"));
    expect([seconds, refused.error?.details["retry_after"]]).toEqual([500, 500]);
    for (const path of ["/session", "/chat"]) {
      const body = { bot_id: bot.name, message: "Hello" };
      expect(reasonOf(await call("POST", path, { body }))).toEqual([429, "bot_busy"]);
    }
    // Who talks already goes on talking.
    const { conversation_id: id, token } = second.data;
    const said = await call("POST", `/conversations/${id}/messages`, { token, body: { content: "Hello" } });
    expect(said.status).toBe(201);
    expect((await begin(bot, { token: other.token })).status).toBe(429);

    clock.advance(499_000);
    expect((await begin(bot)).status).toBe(429);
    clock.advance(1000);
    const third = await begin(bot);
    expect(third.status).toBe(201);

    expect((await begin(bot)).status).toBe(429);
    const closed = await call("POST", `/conversations/${third.data.conversation_id}/close`, {
      token: third.data.token,
    });
    expect(closed.status).toBe(200);
    expect((await begin(bot)).status).toBe(201);
    const reopened = await call("POST", `/conversations/${third.data.conversation_id}/reopen`, {
      token: third.data.token,
    });
    expect([reopened.status, reopened.error?.details["reason"]]).toEqual([429, "bot_busy"]);
  });

  test("many who begin at once do not slip through; a socket hears it before the upgrade", async () => {
    const bot = await makeBot({ ...open, limits: { max_concurrent_sessions: 3 } });
    const all = await Promise.all(Array.from({ length: 8 }, () => begin(bot)));
    expect(all.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 201, 201, 429, 429, 429, 429, 429]);
    const upgrade = await refusedUpgrade(`${main.url}/ws?bot=${bot.name}`);
    expect([upgrade.status, upgrade.body.error?.details["reason"]]).toEqual([429, "bot_busy"]);
    expect(Number(upgrade.headers.get("retry-after"))).toBeGreaterThan(0);
    await call("PATCH", `/bots/${bot.name}`, {
      token: botManager.token,
      body: { limits: { max_concurrent_sessions: null } },
    });
    expect((await begin(bot)).status).toBe(201);
  });
});

describe("making, changing, deleting", () => {
  test("a new bot has what it was given and is audited", async () => {
    const bot = await makeBot({
      title: "Clara",
      description: "Knows it all",
      language: "pt-BR",
      limits: { max_concurrent_sessions: 5 },
      answer_mode: "document",
      config: { "welcome-message": "Oi" },
    });
    expect(bot).toMatchObject({
      display_name: "Clara",
      language: "pt-BR",
      visibility: "organization",
      anonymous_allowed: false,
      limits: { max_concurrent_sessions: 5 },
      answer_mode: "document",
      status: "active",
      system_permissions: ["files:read", "email:send", "calendar:write", "tasks:write", "notifications:send"],
      created_by: botManager.userId,
    });
    const types = await engine.db
      .select({ type: auditLog.eventType })
      .from(auditLog)
      .where(eq(auditLog.resourceId, bot.bot_id));
    expect(types.map(({ type }) => type).sort()).toEqual(["bot_config_changed", "bot_created"]);
  });

  test.each(["api", "ws", "healthz", "-a", "a", "Ümlaut", "a b", "x".repeat(64)])(
    "the name %p is refused",
    async (name) => {
      const refused = await call("POST", "/admin/bots", { token: botManager.token, body: { name } });
      expect(refused.status).toBe(422);
      expect(JSON.stringify(refused.error?.details)).toContain('"name"');
    },
  );

  test("names: rules", () => {
    expect([nameFault("well-known"), nameFault("my-bot-2"), nameFault("a".repeat(63))]).toEqual([
      expect.any(String),
      null,
      null,
    ]);
  });

  test("a taken name is 409; the same Idempotency-Key makes one bot", async () => {
    const taken = await call("POST", "/bots", { token: botManager.token, body: { name: "default" } });
    expect([taken.status, taken.error?.details["reason"]]).toEqual([409, "name_taken"]);
    const request = { token: botManager.token, body: { name: "only-once" }, headers: { "idempotency-key": "k1" } };
    const [first, again] = [await call("POST", "/bots", request), await call("POST", "/bots", request)];
    expect([first.status, again.status, again.data["bot_id"]]).toEqual([201, 201, first.data["bot_id"]]);
  });

  test("only holders of bots:create make bots", async () => {
    const refused = await call("POST", "/bots", { token: member.token, body: { name: "mine" } });
    expect([refused.status, refused.error?.details["required"]]).toEqual([403, "bots:create"]);
    expect((await call("POST", "/bots", { body: { name: "mine" } })).status).toBe(401);
  });

  test("public in its settings opens a new bot; afterwards the row decides", async () => {
    const bot = await makeBot({ config: { public: "TRUE" } });
    expect(bot).toMatchObject({ visibility: "public", anonymous_allowed: true });
    const closed = await makeBot({ config: { public: true, "require-authentication": true } });
    expect(closed).toMatchObject({ visibility: "public", anonymous_allowed: false });
    const path = `/bots/${bot.name}/config/public`;
    await call("PUT", path, { token: botManager.token, body: { value: false } });
    expect((await call("GET", `/bots/${bot.name}`)).status).toBe(200);
  });

  test("what was not sent stays; a stale If-Match is 412; the name is fixed", async () => {
    const bot = await makeBot({ description: "before", display_name: "Before" });
    const path = `/admin/bots/${bot.bot_id}`;
    const read = await call("GET", path, { token: botManager.token });
    const etag = read.headers.get("etag") ?? "";
    const headers = { "if-match": etag };
    const first = await call("PATCH", path, { token: botManager.token, headers, body: { display_name: "After" } });
    expect(first.data).toMatchObject({ display_name: "After", description: "before" });
    expect(first.headers.get("etag")).not.toBe(etag);
    const stale = await call("PUT", path, { token: botManager.token, headers, body: { display_name: "Late" } });
    expect(stale.status).toBe(412);
    const renamed = await call("PATCH", `/bots/${bot.name}`, { token: botManager.token, body: { name: "another" } });
    expect([renamed.status, renamed.error?.details["reason"]]).toEqual([409, "name_fixed"]);
    expect(await lastAudit()).toMatchObject({
      type: "bot_updated",
      resource: bot.bot_id,
      changes: { displayName: { from: "Before", to: "After" } },
    });
  });

  test("the default bot cannot be closed or deleted", async () => {
    const closed = await call("PATCH", "/bots/default", { token: admin, body: { status: "inactive" } });
    const deleted = await call("DELETE", "/bots/default", { token: admin, body: { confirm: "default" } });
    expect([closed.status, deleted.status]).toEqual([409, 409]);
  });

  test("an inactive bot is used by nobody and stays with its managers", async () => {
    const bot = await makeBot({ visibility: "public" });
    await call("PATCH", `/bots/${bot.name}`, { token: botManager.token, body: { status: "inactive" } });
    expect((await call("GET", `/bots/${bot.name}`, { token: member.token })).status).toBe(404);
    const full = await call("GET", `/admin/bots/${bot.name}`, { token: botManager.token });
    expect(full.data).toMatchObject({ status: "inactive" });
    const access = await call("GET", `/bots/${bot.name}/access`, { token: botManager.token });
    expect(access.data).toMatchObject({ allowed: false, reason: "inactive" });
  });

  test("permissions for a bot's own identity are only what the giver holds", async () => {
    const { name } = await makeBot();
    const give = (words: string[]) =>
      call("PATCH", `/bots/${name}`, { token: botManager.token, body: { system_permissions: words } });
    expect((await give(["read:files"])).data).toMatchObject({ system_permissions: ["files:read"] });
    expect((await give(["users:delete"])).error?.details).toMatchObject({ reason: "permission_not_held" });
    expect((await give(["foo:bar"])).status).toBe(422);
  });

  test("deleting needs the name, frees it, and can be taken back for 30 days", async () => {
    const bot = await makeBot({ visibility: "public" });
    const path = `/admin/bots/${bot.name}`;
    expect((await call("DELETE", path, { token: botManager.token })).status).toBe(422);
    expect((await call("DELETE", path, { token: botManager.token, body: { confirm: bot.name } })).status).toBe(204);
    expect((await call("GET", `/bots/${bot.name}`, { token: member.token })).status).toBe(404);
    expect((await call("GET", path, { token: admin })).status).toBe(404);

    const successor = await call<BotAnswer>("POST", "/bots", { token: botManager.token, body: { name: bot.name } });
    const restore = () => call<BotAnswer>("POST", `/admin/bots/${bot.bot_id}/restore`, { token: botManager.token });
    const taken = await restore();
    expect([taken.status, taken.error?.details["reason"]]).toEqual([409, "name_taken"]);
    await call("DELETE", `${path}?confirm=${bot.name}`, { token: botManager.token });
    const back = await restore();
    expect([back.status, back.data.bot_id, back.data["visibility"]]).toEqual([200, bot.bot_id, "public"]);
    expect((await call("GET", `/bots/${bot.name}`, { token: member.token })).status).toBe(200);

    clock.advance(31 * 86_400_000);
    const late = `/admin/bots/${successor.data.bot_id}/restore`;
    botManager.token = await main.signIn(botManager);
    member.token = await main.signIn(member);
    other.token = await main.signIn(other);
    expect((await call("POST", late, { token: botManager.token })).status).toBe(404);
    // The daily job may have been quicker.
    await area.eraseExpired();
    expect(await engine.db.select().from(bots).where(eq(bots.id, successor.data.bot_id))).toEqual([]);
  });
});

test("after 30 days conversations stay or go with their bot, as its deletion said", async () => {
  const conversationsOf = (id: string) => engine.db.select().from(conversations).where(eq(conversations.botId, id));
  const [kept, gone] = [await makeBot(), await makeBot()];
  for (const [bot, choice] of [
    [kept, "keep"],
    [gone, "delete"],
  ] as const) {
    await talk(member.userId, bot.bot_id);
    const body = { confirm: bot.name, conversations: choice };
    await call("DELETE", `/bots/${bot.name}`, { token: botManager.token, body });
  }
  await engine.db
    .update(bots)
    .set({ deletedAt: new Date(clock.now() - 31 * 86_400_000) })
    .where(isNotNull(bots.deletedAt));
  await area.eraseExpired();
  expect([(await conversationsOf(kept.bot_id)).length, (await conversationsOf(gone.bot_id)).length]).toEqual([1, 0]);
});

describe("settings", () => {
  const secret = "sk-very-secret-4711";
  interface Settings {
    settings: { name: string; value: unknown; source: string; secret: boolean }[];
  }
  const manager = () => ({ token: botManager.token });
  const find = (data: Settings, name: string) => data.settings.find((one) => one.name === name);

  test("defaults are shown with their values, overrides with theirs, typed", async () => {
    const { name } = await makeBot();
    const body = { "Max Tokens": "55", public: true, unknown_thing: "kept", temperature: 0.5 };
    const { data } = await call<Settings>("PUT", `/bots/${name}/config`, { ...manager(), body });
    expect(find(data, "max-tokens")).toEqual({ name: "max-tokens", value: 55, source: "override", secret: false });
    expect(find(data, "llm-temperature")).toMatchObject({ value: 0.5, source: "override" });
    expect(find(data, "unknown-thing")).toMatchObject({ value: "kept" });
    expect(find(data, "context-window")).toEqual({
      name: "context-window",
      value: 50,
      source: "default",
      secret: false,
    });
    const same = await call<Settings>("GET", `/admin/bots/${name}/config`, manager());
    expect(same.data).toEqual(data);
  });

  test("one key is set and put back by itself", async () => {
    const { name } = await makeBot();
    const path = `/bots/${name}/config/max-tokens`;
    const set = await call("PUT", path, { ...manager(), body: { value: 99 } });
    expect(set.data).toEqual({ name: "max-tokens", value: 99, source: "override", secret: false });
    expect((await call("DELETE", path, manager())).status).toBe(204);
    expect((await call("DELETE", path, manager())).status).toBe(404);
    const { data } = await call<Settings>("GET", `/bots/${name}/config`, manager());
    expect(find(data, "max-tokens")).toMatchObject({ value: 1024, source: "default" });
  });

  test("all faults are named and nothing is written", async () => {
    const { name } = await makeBot();
    const body = {
      "max-tokens": "many",
      "llm-fallback": "maybe",
      "server-port": 1,
      "welcome-message": "Hi",
      "rag-top-k": 999,
    };
    const refused = await call("PUT", `/bots/${name}/config`, { ...manager(), body });
    const fields = refused.error?.details["fields"] as { path: string }[];
    expect(fields.map(({ path }) => path)).toEqual(["max-tokens", "llm-fallback", "server-port", "rag-top-k"]);
    const { data } = await call<Settings>("GET", `/bots/${name}/config`, manager());
    expect(data.settings.every(({ source }) => source === "default")).toBe(true);
  });

  test("a secret is sealed, shown as *** everywhere, and kept when *** comes back", async () => {
    const bot = await makeBot();
    const body = { "llm-key": secret, "param-crm-token": secret };
    const put = await call<Settings>("PUT", `/bots/${bot.name}/config`, { ...manager(), body });
    expect(find(put.data, "llm-key")).toEqual({ name: "llm-key", value: "***", source: "override", secret: true });
    const again = await call<Settings>("PUT", `/bots/${bot.name}/config`, { ...manager(), body: { "llm-key": "***" } });
    const full = await call("GET", `/admin/bots/${bot.name}`, manager());
    const rows = await engine.db.select().from(botSettings).where(eq(botSettings.botId, bot.bot_id));
    const audit = await engine.db.select().from(auditPersonal);
    for (const seen of [put.data, again.data, full.data, rows, audit])
      expect(JSON.stringify(seen)).not.toContain(secret);
    expect((await area.directory.find(bot.bot_id))?.config.value("llm-key")).toBe(secret);
    expect(await lastAudit()).not.toBeNull();
  });

  test("an address that may not be called is refused without saying why", async () => {
    const { name } = await makeBot();
    const body = { value: "http://169.254.169.254/v1" };
    const refused = await call("PUT", `/bots/${name}/config/llm-url`, { ...manager(), body });
    expect([refused.status, refused.error?.details["reason"]]).toEqual([422, "address_refused"]);
  });

  test("outside databases are named by administrators only", async () => {
    const { name } = await makeBot();
    const request = { body: { value: "db.example.org" } };
    const path = `/bots/${name}/config/conn-erp-server`;
    expect((await call("PUT", path, { ...manager(), ...request })).status).toBe(403);
    expect((await call("PUT", path, { token: await main.signIn(), ...request })).status).toBe(200);
  });

  test("only holders of the words read and write them", async () => {
    const { name } = await makeBot({ visibility: "public" });
    const path = `/bots/${name}/config`;
    expect((await call("GET", path, { token: member.token })).error?.details["required"]).toBe("bots:read");
    expect((await call("PUT", path, { token: member.token, body: {} })).error?.details["required"]).toBe("bots:write");
    expect((await call("GET", "/bots/no-such-bot/config", manager())).status).toBe(404);
  });

  test("layers: built-in, package, override; bad values fall through; only named variables are read", () => {
    const open = (...stored: ["package" | "override", string, string][]) =>
      openConfig(
        stored.map(([source, key, value]) => ({ source, key, value })),
        { serverDefaults: { "llm-model": "m1" }, environment: (name) => (name === "BOT_X" ? "x" : undefined) },
      );
    const layered = open(
      ["override", "max-tokens", "3"],
      ["package", "max-tokens", "2"],
      ["package", "Answer Mode", "document"],
    );
    expect([layered.value("max-tokens"), layered.value("answer-mode"), layered.value("llm-model")]).toEqual([
      3,
      "document",
      "m1",
    ]);
    const faulty = open(["package", "max-tokens", "2"], ["override", "max-tokens", "lots"]);
    expect([faulty.value("max-tokens"), faulty.source("max-tokens")]).toEqual([2, "package"]);
    expect(faulty.problems).toMatchObject([{ key: "max-tokens" }]);
    const variables = open(["package", "welcome-message", "${BOT_X} ${DATABASE_URL}"]);
    expect(variables.value("welcome-message")).toBe("x ${DATABASE_URL}");
    expect(variables.problems).toMatchObject([{ key: "welcome-message" }]);
    expect(open(["package", "llm-server-url", "http://x"]).text("llm-server-url")).toBeNull();
    expect([settingKey("Session_Message History"), settingKey("rag-max-results")]).toEqual([
      "context-window",
      "rag-top-k",
    ]);
  });
});

describe("theme", () => {
  test("the colours become custom properties, with an ETag that is honoured", async () => {
    const { name } = await makeBot({
      visibility: "public",
      anonymous_allowed: true,
      config: { "theme-color1": "#336699" },
    });
    const first = await call<string>("GET", `/bots/${name}/theme.css`);
    expect(first.headers.get("content-type")).toStartWith("text/css");
    expect(first.data).toBe(":root {\n  --primary-color: #336699;\n}\n");
    const headers = { "if-none-match": first.headers.get("etag") ?? "" };
    expect((await call("GET", `/bots/${name}/theme.css`, { headers })).status).toBe(304);
    expect((await call("GET", `/bots/${name}/theme.css?name=dark`)).status).toBe(404);
  });

  test("a colour that is more than a colour is refused", async () => {
    const { name } = await makeBot();
    const body = { value: "red;} body{background:url(//evil)" };
    expect((await call("PUT", `/bots/${name}/config/theme-color1`, { token: botManager.token, body })).status).toBe(
      422,
    );
  });

  test("those who may not use the bot do not get it", async () => {
    const { name } = await makeBot({ visibility: "private" });
    expect((await call("GET", `/bots/${name}/theme.css`, { token: member.token })).status).toBe(404);
  });
});

describe("memory", () => {
  test("what a bot remembers of everybody: written, listed by prefix, guarded by If-Match, deleted", async () => {
    const { name } = await makeBot();
    const path = `/bots/${name}/memory`;
    const { token } = botManager;
    const first = await call("PUT", `${path}/price%2Fsoup`, { token, body: { value: { eur: 3.5 } } });
    expect(first.data).toMatchObject({ key: "price/soup", value: { eur: 3.5 }, kind: null, expires_at: null });
    await call("PUT", `${path}/other`, { token, body: { value: "4711" } });
    const listed = await call<{ entries: { key: string; value: unknown }[]; total: number }>(
      "GET",
      `${path}?prefix=price/`,
      { token },
    );
    expect([listed.data.total, listed.data.entries[0]?.key]).toEqual([1, "price/soup"]);
    // A text stays a text, a null stays a null.
    expect((await call("GET", `${path}/other`, { token })).data).toMatchObject({ value: "4711" });
    await call("PUT", `${path}/nothing`, { token, body: { value: null } });
    expect((await call("GET", `${path}/nothing`, { token })).data).toMatchObject({ value: null });
    const headers = { "if-match": first.headers.get("etag") ?? "" };
    const next = await call("PUT", `${path}/price%2Fsoup`, { token, headers, body: { value: 4 } });
    const stale = await call("PUT", `${path}/price%2Fsoup`, { token, headers, body: { value: 5 } });
    expect([next.status, stale.status]).toEqual([200, 412]);
    expect((await call("DELETE", `${path}/other`, { token })).status).toBe(204);
    expect((await call("GET", `${path}/other`, { token })).status).toBe(404);
    expect((await call("GET", path, { token: member.token })).status).toBe(403);
  });

  test("three scopes do not mix, and nobody sees another's", async () => {
    const { name, bot_id: botId } = await makeBot({ visibility: "public" });
    const put = (query: string, value: string, token: string) =>
      call("PUT", `/memory/colour${query}`, { token, body: { value, kind: "preference" } });
    await put("", "green", member.token);
    await put(`?bot_id=${name}`, "blue", member.token);
    await call("PUT", `/bots/${name}/memory/colour`, { token: botManager.token, body: { value: "white" } });
    const get = async (query: string, token: string) =>
      (await call("GET", `/memory/colour${query}`, { token })).data?.["value"];
    expect([await get("", member.token), await get(`?bot_id=${name}`, member.token)]).toEqual(["green", "blue"]);
    expect((await call("GET", "/memory/colour", { token: other.token })).status).toBe(404);
    const all = await call<{ entries: { bot_id: string | null }[] }>("GET", "/memory?kind=preference", {
      token: member.token,
    });
    expect(new Set(all.data.entries.map((entry) => entry.bot_id))).toEqual(new Set([botId, null]));
    const peek = await call("GET", `/memory?user_id=${member.userId}`, { token: other.token });
    expect(peek.status).toBe(403);
    const seen = await call<{ total: number }>("GET", `/memory?user_id=${member.userId}`, {
      token: await main.signIn(),
    });
    expect(seen.data.total).toBe(2);
    expect((await call("DELETE", "/memory", { token: member.token })).data).toEqual({ deleted: 2 });
    const kept = await call("GET", `/bots/${name}/memory/colour`, { token: botManager.token });
    expect(kept.data).toMatchObject({ value: "white" });
  });

  test("entries end with their time, and there are at most as many as the bot allows", async () => {
    const { name } = await makeBot({ visibility: "public", config: { "user-memory-max-keys": 2 } });
    const put = (key: string, ttl?: number) =>
      call("PUT", `/memory/${key}?bot_id=${name}`, {
        token: member.token,
        body: { value: key, ...(ttl ? { ttl } : {}) },
      });
    await put("one", 60);
    await put("two");
    const full = await put("three");
    expect([full.status, full.error?.details["reason"]]).toEqual([409, "memory_full"]);
    expect((await put("two")).status).toBe(200);
    clock.advance(61_000);
    expect((await call("GET", `/memory/one?bot_id=${name}`, { token: member.token })).status).toBe(404);
    expect((await put("three")).status).toBe(200);
  });

  test("too long and missing values are refused", async () => {
    const long = { value: "x".repeat(65_537) };
    expect((await call("PUT", "/memory/a", { token: member.token, body: long })).status).toBe(422);
    expect((await call("PUT", "/memory/a", { token: member.token, body: {} })).status).toBe(422);
    expect((await call("GET", "/memory")).status).toBe(401);
  });

  test("it is part of the data about a person: exported and erased", async () => {
    await call("PUT", "/memory/pet", { token: other.token, body: { value: "cat" } });
    const entry = people.all().find((one) => one.area === "bots");
    expect(entry?.tables).toContain("bot_memory");
    expect(JSON.stringify(await entry?.export(engine.db, other.userId))).toContain('"cat"');
    const { name } = await makeBot({ visibility: "public", allowed_users: [other.userId] }, botManager.token);
    await engine.transaction(async (tx) => entry?.erase(tx, other.userId));
    // The bot that was open to this person only is not open to everybody now.
    expect((await call("GET", `/bots/${name}`, { token: member.token })).status).toBe(404);
    expect((await call("GET", "/memory/pet", { token: other.token })).status).toBe(404);
  });
});

describe("the live state of a conversation", () => {
  test("switchers are switched by the owner, told to the sockets, and shown beside the suggestions", async () => {
    const { bot_id: botId } = await makeBot();
    const id = await talk(member.userId, botId);
    const { token } = member;
    const frames: { type: string }[] = [];
    const socket = new WebSocket(`${main.url.replace("http", "ws")}/ws?session_id=${id}&token=${token}`);
    const arrived = Promise.withResolvers<void>();
    const joined = Promise.withResolvers<void>();
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(String(data)) as { type: string };
      frames.push(frame);
      if (frame.type === "status") joined.resolve();
      if (frame.type === "suggestion") arrived.resolve();
    };
    await joined.promise;
    const on = await call("PUT", `/conversations/${id}/switchers/tables`, { token, body: { active: true } });
    const tables = { id: "tables", label: "Tables", color: null, active: true };
    expect(on.data).toEqual({ switchers: [tables] });
    await arrived.promise;
    socket.close();
    expect(frames.find(({ type }) => type === "suggestion")).toMatchObject({
      session_id: id,
      suggestions: [],
      switchers: [tables],
    });
    expect((await call("GET", `/suggestions?session_id=${id}`, { token })).data).toEqual({
      suggestions: [],
      switchers: [tables],
    });
    const unknown = await call("PUT", `/conversations/${id}/switchers/anything`, { token, body: { active: true } });
    const strange = await call("PUT", `/conversations/${id}/switchers/list`, {
      token: other.token,
      body: { active: true },
    });
    const peek = await call("GET", `/suggestions?session_id=${id}`, { token: other.token });
    expect([unknown.status, strange.status, peek.status]).toEqual([404, 404, 404]);
  });

  test("managers change the context, owners read it; variables are for those who may read conversations", async () => {
    const { bot_id: botId } = await makeBot();
    const id = await talk(member.userId, botId);
    await area.sessions.update({ id, botId }, () => ({ variables: { x: 1 } }));
    const path = `/conversations/${id}/context`;
    const body = { contexts: { order: "4711" }, active_kbs: ["manuals"], answer_mode: "document", model: "fast" };
    const changed = await call("PATCH", path, { token: botManager.token, body });
    expect(changed.data).toMatchObject({ ...body, active_tools: null, system_prompt: null });
    const own = await call("GET", path, { token: member.token });
    expect(own.data).toMatchObject(body);
    expect(own.data).not.toHaveProperty("variables");
    expect((await call("GET", path, { token: await main.signIn() })).data).toMatchObject({ variables: { x: 1 } });
    expect((await call("GET", path, { token: other.token })).status).toBe(404);
    expect((await call("PATCH", path, { token: member.token, body })).status).toBe(403);
    const wrong = await call("PATCH", path, { token: botManager.token, body: { answer_mode: "loud" } });
    expect(wrong.status).toBe(422);
  });

  test("it goes with its conversation", async () => {
    const { bot_id: botId } = await makeBot();
    const id = await talk(member.userId, botId);
    await area.sessions.setContext({ id, botId }, "a", "b");
    await engine.db.delete(conversations).where(eq(conversations.id, id));
    expect((await area.sessions.read({ id, botId })).contexts).toEqual({});
  });
});

describe("the directory that every message asks", () => {
  test("answers from memory, and at once with what has changed, also by another instance", async () => {
    const bot = await makeBot({ visibility: "public" });
    const first = await area.directory.find(bot.name);
    expect(await area.directory.find(bot.name)).toBe(first);
    expect(await area.directory.find(bot.bot_id)).not.toBeNull();
    await engine.db.update(bots).set({ displayName: "By another instance" }).where(eq(bots.id, bot.bot_id));
    expect((await area.directory.find(bot.name))?.row.displayName).not.toBe("By another instance");
    await cache.publish("bots", bot.bot_id);
    expect((await area.directory.find(bot.name))?.row.displayName).toBe("By another instance");
  });

  test("a message that got lost is made up for within two seconds", async () => {
    const bot = await makeBot();
    await area.directory.find(bot.name);
    await engine.db.update(bots).set({ displayName: "Unheard" }).where(eq(bots.id, bot.bot_id));
    clock.advance(2001);
    expect((await area.directory.find(bot.name))?.row.displayName).toBe("Unheard");
  });

  test("conversations learn what they follow, and who may talk", async () => {
    const bot = await makeBot({
      visibility: "private",
      allowed_users: [member.userId],
      config: { "session-timeout": 60 },
    });
    const found = await area.chat.find(bot.name);
    expect(found).toMatchObject({ id: bot.bot_id, isActive: true, isDefault: false, sessionTimeoutSeconds: 60 });
    expect((await area.chat.find(null))?.name).toBe("default");
    expect(await area.chat.find("nobody")).toBeNull();
    if (!found) throw new Error("no bot");
    const standing = async (userId: string) => {
      const caller = await main.services.authenticator.callerOf({ kind: "user", userId });
      if (!caller) throw new Error("no account");
      const ctx = { caller, requestId: "t", ip: null, userAgent: null, method: null, route: null };
      return area.chat.access(ctx, found);
    };
    expect([await standing(member.userId), await standing(other.userId), await standing(botManager.userId)]).toEqual([
      "allowed",
      "unknown",
      "forbidden",
    ]);
  });
});
