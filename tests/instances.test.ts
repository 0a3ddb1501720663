// Several instances behave as one server: two processes on one PostgreSQL with Valkey between them, and two on
// PostgreSQL alone, whose notifications are then the bus. Order under load, deaths in the middle of answers and the
// moments of a lost Valkey are looked at more closely in areas/conversations-turns.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { makeAccount, makeKey, openSession, type AccountSource } from "./support/callers.ts";
import type { ChatFrame, ChatSocket } from "./support/chat-socket.ts";
import { newAddress, openCluster, SECRET_KEY, type Answer, type Cluster, type Instance } from "./support/instances.ts";
import { answer, startModelServer, type Behaviour } from "./support/model-server.ts";
import { startPostgres } from "./support/postgres.ts";
import { spawnProcess, temporaryFolder, waitFor } from "./support/processes.ts";
import { redisMissing, startRedis } from "./support/redis.ts";

const scripted = new Map<string, Behaviour>();
const model = await startModelServer();
afterAll(() => model.stop());
model.always((asked) => {
  const question = asked.body.messages.at(-1)?.content.trim().split("\n").at(-1) ?? "";
  return scripted.get(question) ?? answer("You said: ", question);
});

const postgres = await startPostgres();
afterAll(() => postgres?.stop());
const noRedis = redisMissing();

const MODEL = { LLM_URL: model.url, LLM_MODEL: "test-model" };
/** What is at once for a person: a request later. The bus needs a millisecond, a busy machine more. */
const AT_ONCE_MS = 1_000;
const SOCKET_CLOSED_MS = 2_000;
const SEEN_MS = 2_000;

interface Group {
  cluster: Cluster;
  a: Instance;
  b: Instance;
  office: AccountSource;
  admin: string;
}

async function begin(cluster: Cluster): Promise<Group> {
  const [a, b] = await Promise.all([cluster.launch(), cluster.launch()]);
  const office = await cluster.office();
  return { cluster, a, b, office, admin: await cluster.signIn(a) };
}

const person = ({ office }: Group, roles: readonly string[] = ["user"]) => makeAccount(office, roles);

/** Milliseconds until it holds. */
async function until(holds: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<number> {
  const begun = performance.now();
  await waitFor(holds, timeoutMs);
  return performance.now() - begun;
}

/** Milliseconds until the instance answers a request of that credential with the status. */
const untilStatus = (at: Instance, token: string, status: number, path = "/auth/validate") =>
  until(async () => (await at.call("GET", path, { token })).status === status);

/** Milliseconds until the socket is closed, which must be with that code. */
async function closedWith(socket: ChatSocket, code: number, timeoutMs = 10_000): Promise<number> {
  const begun = performance.now();
  const ended = await Promise.race([socket.closed, Bun.sleep(timeoutMs)]);
  expect(ended).toMatchObject({ code });
  return performance.now() - begun;
}

const isBot = (content?: string) => (frame: ChatFrame) =>
  frame.type === "message" && frame["sender"] === "bot" && (content === undefined || frame["content"] === content);

const counted = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

const figures: string[] = [];
const tell = (what: string, ms: number) => figures.push(`${what}: ${ms.toFixed(0)} ms`);
afterAll(() => console.log(`seen:\n  ${figures.join("\n  ")}`));

// What both kinds of bus have to bring about.

async function everythingOnce({ a, b, office, admin }: Group): Promise<void> {
  for (const { url } of [a, b]) expect((await fetch(`${url}/readyz`)).status).toBe(200);
  const [rows] = await office.engines.database.query<Record<string, number>>(`select
    (select count(*)::int from bots where name = 'default') as bots,
    (select count(*)::int from kb_collections where name_key = 'about') as collections,
    (select count(*)::int from users) as users,
    (select count(*)::int from user_roles where role_id = 'admin') as admins,
    (select count(*)::int from groups where type = 'organization') as organizations,
    (select count(*)::int - count(distinct (name_key, type))::int from groups) as doubled_groups,
    (select count(*)::int - count(distinct name)::int from job_schedules) as doubled_schedules,
    (select count(*)::int - count(distinct external_id)::int from kb_documents) as doubled_documents`);
  expect(rows).toEqual({
    bots: 1,
    collections: 1,
    users: 1,
    admins: 1,
    organizations: 1,
    doubled_groups: 0,
    doubled_schedules: 0,
    doubled_documents: 0,
  });
  await until(async () => {
    const [left] = await office.engines.database.query("select id from kb_documents where status <> 'indexed'");
    return left === undefined;
  }, 20_000);
  for (const at of [a, b]) {
    const found = await at.call<{ results: unknown[] }>("POST", "/kb/search", {
      token: admin,
      body: { query: "What is botserver?" },
    });
    expect(found.data.results.length).toBeGreaterThan(0);
  }
}

async function revocationsArrive(group: Group, bus: string): Promise<void> {
  const { a, b, office, admin } = group;
  const ann = await person(group);
  const { token, sessionId } = await openSession(office, ann.userId);
  const socket = await b.open(token);
  expect((await b.call("GET", "/auth/validate", { token })).status).toBe(200);
  expect((await a.call("DELETE", `/users/me/sessions/${sessionId}`, { token: ann.token })).status).toBe(200);
  const closing = closedWith(socket, 4401);
  const refused = await untilStatus(b, token, 401);
  tell(`${bus}: session ended on A, 401 on B`, refused);
  expect(refused).toBeLessThan(AT_ONCE_MS);
  expect(await closing).toBeLessThan(SOCKET_CLOSED_MS);
  expect((await b.call("GET", "/auth/validate", { token: ann.token })).status).toBe(200);

  const key = await makeKey(office, ann, ["chat:read", "chat:write", "bots:use"]);
  const withKey = await b.open(key.secret);
  expect((await b.call("GET", "/auth/validate", { token: key.secret })).status).toBe(200);
  expect((await a.call("DELETE", `/security/keys/${key.keyId}`, { token: ann.token })).status).toBe(204);
  const keyClosing = closedWith(withKey, 4401);
  const keyRefused = await untilStatus(b, key.secret, 401);
  tell(`${bus}: key revoked on A, 401 on B`, keyRefused);
  expect(keyRefused).toBeLessThan(AT_ONCE_MS);
  expect(await keyClosing).toBeLessThan(SOCKET_CLOSED_MS);

  const bob = await person(group);
  const bobKey = await makeKey(office, bob, ["chat:read", "chat:write", "bots:use"]);
  const sockets = [await b.open(bob.token), await b.open(bobKey.secret)];
  for (const credential of [bob.token, bobKey.secret]) {
    expect((await b.call("GET", "/auth/validate", { token: credential })).status).toBe(200);
  }
  const suspended = await a.call("POST", `/users/${bob.userId}/suspend`, { token: admin, body: { reason: "test" } });
  expect(suspended.status).toBe(200);
  const bobClosing = Promise.all(sockets.map((one) => closedWith(one, 4401)));
  const bobRefused = await Promise.all([bob.token, bobKey.secret].map((one) => untilStatus(b, one, 401)));
  tell(`${bus}: user suspended on A, 401 on B`, Math.max(...bobRefused));
  expect(Math.max(...bobRefused)).toBeLessThan(AT_ONCE_MS);
  expect(Math.max(...(await bobClosing))).toBeLessThan(SOCKET_CLOSED_MS);
  const refresh = await b.call("POST", "/auth/refresh", {
    body: { refresh_token: bob.refreshToken },
    headers: { "x-forwarded-for": newAddress() },
  });
  expect(refresh.status).toBe(401);
}

async function rightsArrive(group: Group, bus: string): Promise<void> {
  const { a, b, office } = group;
  const carl = await person(group, ["user", "kb_manager"]);
  const key = await makeKey(office, carl, ["kb:write", "chat:read"]);
  const counts = (at: Instance, token: string) => at.call("GET", "/kb/stats", { token });
  expect((await counts(b, key.secret)).status).toBe(200);
  const changed = await a.call("PUT", `/security/keys/${key.keyId}`, {
    token: carl.token,
    body: { scopes: ["chat:read"] },
  });
  expect(changed.status).toBe(200);
  tell(`${bus}: scope taken from a key on A, 403 on B`, await untilStatus(b, key.secret, 403, "/kb/stats"));

  expect((await counts(b, carl.token)).status).toBe(200);
  // No route takes a role away yet: this is what one does.
  await office.engines.database.query("delete from user_roles where user_id = $1 and role_id = 'kb_manager'", [
    carl.userId,
  ]);
  await office.services.authenticator.rightsChanged(carl.userId);
  const refused = await untilStatus(b, carl.token, 403, "/kb/stats");
  tell(`${bus}: role taken away, 403 on B`, refused);
  expect(refused).toBeLessThan(AT_ONCE_MS);
  const own = await b.call<{ roles: string[] }>("GET", "/users/me", { token: carl.token });
  expect(own.data.roles).not.toContain("kb_manager");
}

/** Clients of several people on both instances, who all write: every socket gets everything of its conversation once and in order. */
async function orderHolds(
  group: Group,
  bus: string,
  size: { people: number; sockets: number; messages: number },
): Promise<void> {
  const { a, b } = group;
  const rooms = await Promise.all(
    Array.from({ length: size.people }, async () => {
      const someone = await person(group);
      const first = await a.open(someone.token);
      const { session_id: id } = await first.status("connected");
      await first.next(isBot());
      const query = { session_id: String(id), last_seq: "0" };
      const sockets = await Promise.all(
        Array.from({ length: size.sockets }, (_, i) => (i % 2 === 0 ? a : b).open(someone.token, query)),
      );
      first.close();
      return { someone, id: String(id), sockets };
    }),
  );
  const sentAt = new Map<string, number>();
  const took: number[] = [];
  const each = size.messages / size.people;
  await Promise.all(
    rooms.map(async ({ someone, id, sockets }) => {
      const watching = sockets.find((_, i) => i % 2 === 1);
      for (let n = 0; n < each; n++) {
        const content = `${id} ${n}`;
        const from = n % sockets.length;
        sentAt.set(content, performance.now());
        if (n % 10 === 9) {
          const body = { content, type: 4, name: "n" };
          const posted = await a.call("POST", `/conversations/${id}/messages`, { token: someone.token, body });
          expect(posted.status).toBe(201);
        } else sockets[from]?.send({ type: 4, name: "n", content, client_id: `c-${n}` });
        if (from % 2 === 0) {
          await watching?.message(content, 10_000);
          took.push(performance.now() - (sentAt.get(content) ?? 0));
        }
      }
      for (const socket of sockets) {
        await socket.next(({ seq }) => seq === each + 1, 10_000);
        expect(socket.seqs()).toEqual(counted(1, each + 1));
        const contents = socket.frames.filter(({ type }) => type === "message").map(({ content }) => content);
        expect(new Set(contents).size).toBe(each + 1);
      }
    }),
  );
  const sorted = took.toSorted((x, y) => x - y);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  tell(`${bus}: message through A on a socket at B, median of ${took.length}`, at(0.5));
  tell(`${bus}: the same, 95 of 100`, at(0.95));
  expect(at(0.5)).toBeLessThan(200);
  for (const { sockets } of rooms) for (const socket of sockets) socket.close();
}

interface Taken {
  documents: { id: string; status: string }[];
}

async function knowledgeArrives(group: Group, bus: string): Promise<void> {
  const { a, b, admin } = group;
  const reader = await person(group);
  const found = async (at: Instance, query: string, token: string) => {
    const answered = await at.call<{ results: { text: string }[] }>("POST", "/kb/search", { token, body: { query } });
    expect(answered.status).toBe(200);
    return answered.data.results.some(({ text }) => text.includes(query));
  };
  const word = `zanzibarium${Date.now().toString(36)}`;
  const taken = await a.call<Taken>("POST", "/kb/ingest", {
    token: admin,
    body: {
      collection: "shared",
      bot_id: "default",
      create: true,
      items: [{ text: `The word of the day is ${word}.`, title: "Word", external_id: "word" }],
      wait: 20,
    },
  });
  expect(taken.status).toBe(200);
  const id = taken.data.documents[0]?.id ?? "";
  const seen = await until(() => found(b, word, reader.token));
  tell(`${bus}: document indexed through A, found on B`, seen);
  expect(seen).toBeLessThan(SEEN_MS);
  const text = await fetch(`${b.url}/api/v1/kb/documents/${id}/content`, {
    headers: { authorization: `Bearer ${reader.token}` },
  });
  expect(await text.text()).toContain(word);

  const closed = await a.call("PUT", `/kb/documents/${id}/access`, {
    token: admin,
    body: { level: "role_based", roles: ["manager"] },
  });
  expect(closed.status).toBe(200);
  expect(await found(b, word, reader.token)).toBe(false);
  expect(await found(b, word, admin)).toBe(true);
  expect((await b.call("GET", `/kb/documents/${id}`, { token: reader.token })).status).toBe(404);
  expect((await a.call("DELETE", `/kb/documents/${id}`, { token: admin })).status).toBe(204);
  expect(await found(b, word, admin)).toBe(false);
}

async function settingsArrive(group: Group, bus: string): Promise<void> {
  const { a, b, admin } = group;
  const name = `greeter-${bus.toLowerCase()}`;
  const made = await a.call("POST", "/bots", { token: admin, body: { name, title: "Greeter", visibility: "public" } });
  expect(made.status).toBe(201);
  const dora = await person(group);
  const start = () =>
    b.call<{ messages: { content: string }[] }>("POST", "/conversations/start", {
      token: dora.token,
      body: { bot_id: name },
    });
  await until(async () => (await start()).status === 201, SEEN_MS);
  const welcome = `Welcome by ${bus}`;
  const set = await a.call("PUT", `/bots/${name}/config/welcome-message`, { token: admin, body: { value: welcome } });
  expect(set.status).toBe(200);
  const greeted = await until(async () => (await start()).data.messages.some(({ content }) => content === welcome));
  tell(`${bus}: welcome-message set on A, greets on B`, greeted);
  expect(greeted).toBeLessThan(SEEN_MS);

  const { data: talk } = await b.call<{ session_id: string }>("POST", "/conversations/start", {
    token: dora.token,
    body: { bot_id: name },
  });
  const closed = await a.call("PATCH", `/bots/${name}`, { token: admin, body: { status: "inactive" } });
  expect(closed.status).toBe(200);
  let last: Answer<unknown> | null = null;
  const refused = await until(async () => {
    const sent = { content: "Are you there?" };
    last = await b.call("POST", `/conversations/${talk.session_id}/messages`, { token: dora.token, body: sent });
    return last.status === 409;
  });
  expect(last).toMatchObject({ error: { details: { reason: "bot_inactive" } } });
  tell(`${bus}: bot disabled on A, refuses on B`, refused);
  expect(refused).toBeLessThan(SEEN_MS);
}

describe.skipIf(postgres === null || noRedis !== null)("two processes, one PostgreSQL, one Valkey", async () => {
  if (postgres === null || noRedis !== null) return;
  const redis = await startRedis();
  afterAll(() => redis.close());
  const cluster = openCluster({
    databaseUrl: await postgres.database("both"),
    valkeyUrl: redis.url,
    env: { ...MODEL, RATE_LIMIT_USER: "100", SHUTDOWN_SECONDS: "5" },
  });
  let group: Group;
  let a: Instance;
  let b: Instance;
  beforeAll(async () => {
    group = await begin(cluster);
    ({ a, b } = group);
  }, 60_000);

  test("started at once on an empty database: both serve, and everything is there once", async () => {
    await everythingOnce(group);
  }, 30_000);

  test("ended sessions, revoked keys and suspended people are refused by the other at once, sockets with 4401", async () => {
    await revocationsArrive(group, "Valkey");
  }, 30_000);

  test("rights taken away on one count at the other's next request", async () => {
    await rightsArrive(group, "Valkey");
  }, 30_000);

  test("nothing that is asked after a revocation was answered is let in by a busy instance", async () => {
    // Of a class that is not limited: this asks some hundred times.
    const eve = await person(group, ["admin"]);
    for (let round = 0; round < 5; round++) {
      const { token, sessionId } = await openSession(group.office, eve.userId);
      const state = { isOver: false };
      const late: number[] = [];
      let revokedAt = Number.POSITIVE_INFINITY;
      const lane = async () => {
        while (!state.isOver) {
          const begun = performance.now();
          const { status } = await b.call("GET", "/auth/validate", { token });
          if (status === 200 && begun > revokedAt) late.push(begun - revokedAt);
        }
      };
      const lanes = [lane(), lane(), lane()];
      await until(async () => (await b.call("GET", "/auth/validate", { token })).status === 200);
      await group.office.engines.database.transaction((tx, afterCommit) =>
        group.office.services.sessions.end(tx, afterCommit, [sessionId], "terminated"),
      );
      revokedAt = performance.now();
      await Bun.sleep(100);
      state.isOver = true;
      await Promise.all(lanes);
      expect(Math.max(0, ...late)).toBeLessThan(100);
    }
  }, 30_000);

  test("a refresh token used on both is handed the same successor within the grace, and ends the session after it", async () => {
    const fay = await person(group);
    const refresh = (at: Instance, token: string) =>
      at.call<{ refresh_token: string; access_token: string }>("POST", "/auth/refresh", {
        body: { refresh_token: token },
        headers: { "x-forwarded-for": newAddress() },
      });
    const both = await Promise.all([a, b, a, b].map((at) => refresh(at, fay.refreshToken)));
    expect(both.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(new Set(both.map(({ data }) => data.refresh_token)).size).toBe(1);
    const fresh = both[0]?.data.access_token ?? "";
    expect((await b.call("GET", "/auth/validate", { token: fresh })).status).toBe(200);
    await group.office.engines.database.query(
      "update refresh_tokens set used_at = used_at - interval '11 seconds' where session_id = $1 and used_at is not null",
      [fay.sessionId],
    );
    const reused = await refresh(b, fay.refreshToken);
    expect(reused.status).toBe(401);
    expect(reused.error?.details["reason"]).toBe("token_reuse");
    for (const at of [a, b]) {
      expect(await untilStatus(at, fresh, 401)).toBeLessThan(AT_ONCE_MS);
      expect((await refresh(at, both[0]?.data.refresh_token ?? "")).status).toBe(401);
    }
  }, 30_000);

  test("one Idempotency-Key at both at once has one effect, with and without an account", async () => {
    const { admin, office } = group;
    const headers = { "idempotency-key": "make-it-once-0001" };
    const make = (at: Instance) =>
      at.call<{ id: string }>("POST", "/bots", { token: admin, body: { name: "once", title: "Once" }, headers });
    const made = await Promise.all([a, b, a, b, a, b].map(make));
    expect(made.filter(({ status }) => status === 201).length).toBeGreaterThan(0);
    for (const { status, error } of made) {
      if (status !== 201) expect([status, error?.details["reason"]]).toEqual([409, "request_running"]);
    }
    const later = await Promise.all([a, b].map(make));
    expect(later.map(({ status }) => status)).toEqual([201, 201]);
    expect(new Set([...made.filter(({ status }) => status === 201), ...later].map(({ data }) => data.id)).size).toBe(1);

    const anonymous = { "idempotency-key": "an-anonymous-beginning-0001", "x-forwarded-for": newAddress() };
    const starts = await Promise.all(
      [a, b, a, b].map((at) =>
        at.call<{ session_id: string; token: string }>("POST", "/conversations/start", {
          body: {},
          headers: anonymous,
        }),
      ),
    );
    expect(starts.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
    expect(new Set(starts.map(({ data }) => data.session_id)).size).toBe(1);
    const id = starts[0]?.data.session_id ?? "";
    for (const { data } of starts) {
      expect((await b.call("GET", `/conversations/${id}`, { token: data.token })).status).toBe(200);
    }

    const gus = await person(group);
    const { session_id: room } = (
      await a.call<{ session_id: string }>("POST", "/conversations/start", { token: gus.token, body: {} })
    ).data;
    const sent = await Promise.all(
      [a, b, a, b].map((at) =>
        at.call<{ message_id: string; duplicate: boolean }>("POST", `/conversations/${room}/messages`, {
          token: gus.token,
          body: { content: "Only once", client_id: "only-once", wait: 10 },
        }),
      ),
    );
    expect(new Set(sent.map(({ data }) => data.message_id)).size).toBe(1);
    expect(sent.filter(({ status }) => status === 201)).toHaveLength(1);
    const [row] = await office.engines.database.query(
      "select count(*)::int as n from messages where conversation_id = $1 and content like '%Only once%'",
      [room],
    );
    expect(row).toEqual({ n: 2 });
  }, 30_000);

  test("hourly limits, the window of sign-ins, the lock of a name and the messages of a minute are counted together", async () => {
    const hal = await person(group);
    const limited: Answer<unknown>[] = [];
    for (let i = 0; i < 100; i += 10) {
      limited.push(
        ...(await Promise.all(
          counted(1, 10).map((n) => (n % 2 === 0 ? a : b).call("GET", "/auth/validate", { token: hal.token })),
        )),
      );
    }
    expect(limited.every(({ status }) => status === 200)).toBe(true);
    const remaining = limited.map(({ headers }) => Number(headers.get("x-ratelimit-remaining")));
    expect(remaining.toSorted((x, y) => x - y)).toEqual(counted(0, 99));
    for (const at of [a, b]) {
      const over = await at.call("GET", "/auth/validate", { token: hal.token });
      expect(over.status).toBe(429);
      expect(Number(over.headers.get("retry-after"))).toBeWithin(1, 3_601);
    }

    const headers = { "x-forwarded-for": newAddress() };
    const attempt = (at: Instance, n: number) =>
      at.call("POST", "/auth/login", { body: { username: `nobody-${n}`, password: "not it at all" }, headers });
    const attempts = await Promise.all(counted(1, 8).map((n) => attempt(n % 2 === 0 ? a : b, n)));
    expect(attempts.map(({ status }) => status).toSorted((one, two) => one - two)).toEqual([
      401, 401, 401, 401, 401, 429, 429, 429,
    ]);

    const guess = (at: Instance) =>
      at.call("POST", "/auth/login", {
        body: { username: "somebody", password: "not it at all" },
        headers: { "x-forwarded-for": newAddress() },
      });
    const guesses: number[] = [];
    for (const at of [a, b, a, b, a]) guesses.push((await guess(at)).status);
    expect(guesses).toEqual([401, 401, 401, 401, 401]);
    for (const at of [a, b]) expect((await guess(at)).status).toBe(423);

    const ida = await person(group);
    const sockets = [await a.open(ida.token), await b.open(ida.token)];
    const id = String((await sockets[0]?.status("connected"))?.["session_id"]);
    const note = { type: 4, name: "n", content: "note" };
    for (const n of counted(1, 50)) sockets[n % 2]?.send({ ...note, client_id: `n-${n}` });
    await until(() => sockets.flatMap(({ frames }) => frames.filter(({ type }) => type === "ack")).length === 50);
    for (const n of counted(1, 10)) {
      const at = n % 2 === 0 ? a : b;
      const body = { ...note, client_id: `r-${n}` };
      expect((await at.call("POST", `/conversations/${id}/messages`, { token: ida.token, body })).status).toBe(201);
    }
    for (const socket of sockets) {
      socket.send({ ...note, client_id: "over" });
      const error = await socket.next(({ type }) => type === "error");
      expect(error).toMatchObject({ code: "RATE_LIMITED", client_id: "over" });
      expect(Number((error["details"] as Record<string, unknown>)["retry_after"])).toBeWithin(1, 61);
    }
    const over = await a.call("POST", `/conversations/${id}/messages`, { token: ida.token, body: note });
    expect(over.status).toBe(429);
    for (const socket of sockets) socket.close();
  }, 40_000);

  test("20 clients on both and 200 messages: on every socket each conversation is whole, once, in order", async () => {
    await orderHolds(group, "Valkey", { people: 4, sockets: 5, messages: 200 });
  }, 60_000);

  test("an answer written on one is watched on the other piece by piece", async () => {
    const jan = await person(group);
    const hold = Promise.withResolvers<void>();
    scripted.set("Tell me slowly", answer("One, ", hold.promise, "two."));
    const here = await a.open(jan.token);
    const { session_id: id } = await here.status("connected");
    await here.next(isBot());
    const there = await b.open(jan.token, { session_id: String(id) });
    here.send({ type: "message", content: "Tell me slowly" });
    const delta = await there.next(({ type }) => type === "delta");
    hold.resolve();
    expect(await there.next(isBot("One, two."))).toMatchObject({ id: delta["message_id"] });
    const shown = there.frames.filter(({ type }) => type === "delta");
    expect(shown.map(({ content }) => content).join("")).toBe("One, two.");
    expect(shown.map(({ index }) => index)).toEqual(shown.map((_, i) => i));
    for (const socket of [here, there]) socket.close();
  }, 30_000);

  test("a document taken in, closed or deleted on one is found, closed or gone on the other", async () => {
    await knowledgeArrives(group, "Valkey");
  }, 40_000);

  test("a bot's settings and its end on one hold on the other within 2 s", async () => {
    await settingsArrive(group, "Valkey");
  }, 30_000);

  test("Valkey dies during a chat: told, requests and answers go on marked, revocations and settings arrive within 5 s, nothing is lost", async () => {
    const { admin, office } = group;
    const kim = await person(group);
    const leo = await person(group);
    const leoKey = await makeKey(office, leo, ["chat:read", "chat:write", "bots:use"]);
    const cached = await a.call("PUT", "/bots/default/config/llm-cache", { token: admin, body: { value: "true" } });
    expect(cached.status).toBe(200);
    const here = await a.open(kim.token);
    const { session_id: id } = await here.status("connected");
    await here.next(isBot());
    const there = await b.open(kim.token, { session_id: String(id), last_seq: "0" });
    await there.next(isBot());
    const sockets = [await b.open(leo.token), await b.open(leoKey.secret)];
    for (const token of [leo.token, leoKey.secret]) {
      expect((await b.call("GET", "/auth/validate", { token })).status).toBe(200);
    }
    await redis.kill9();
    for (const socket of [here, there]) await socket.status("degraded", 10_000);

    const took: number[] = [];
    for (let i = 0; i < 3; i++) {
      const begun = performance.now();
      here.send({ type: "message", content: `alone ${i}`, client_id: `alone-${i}` });
      await there.next(({ client_id, type }) => type === "message" && client_id === `alone-${i}`, 10_000);
      took.push(performance.now() - begun);
      await there.next(isBot(`You said: alone ${i}`), 10_000);
    }
    tell("Valkey away: message through A on a socket at B, slowest of 3", Math.max(...took));
    expect(Math.max(...took)).toBeLessThan(3_000);
    const whole = await b.call("GET", "/users/me", { token: kim.token });
    expect(whole.status).toBe(200);
    expect(whole.headers.get("x-degraded")).toBe("cache");
    expect(whole.headers.get("x-ratelimit-limit")).toBe("100");

    const suspended = await a.call("POST", `/users/${leo.userId}/suspend`, { token: admin, body: { reason: "test" } });
    expect(suspended.status).toBe(200);
    const closing = Promise.all(sockets.map((one) => closedWith(one, 4401)));
    const refused = await Promise.all([leo.token, leoKey.secret].map((one) => untilStatus(b, one, 401)));
    tell("Valkey away: user suspended on A, 401 on B", Math.max(...refused));
    const closed = Math.max(...(await closing));
    tell("Valkey away: the sockets on B closed", closed);
    expect(Math.max(...refused, closed)).toBeLessThan(5_000);
    await a.call("PUT", "/bots/default/config/welcome-message", { token: admin, body: { value: "Alone too" } });
    const greeted = await until(async () => {
      const begun = await b.call<{ messages: { content: string }[] }>("POST", "/conversations/start", {
        token: kim.token,
        body: {},
      });
      expect(begun.status).toBe(201);
      return begun.data.messages.some(({ content }) => content === "Alone too");
    });
    tell("Valkey away: welcome-message set on A, greets on B", greeted);
    expect(greeted).toBeLessThan(5_000);

    await redis.start();
    for (const socket of [here, there]) await socket.status("restored", 20_000);
    here.send({ type: "message", content: "together", client_id: "together" });
    for (const socket of [here, there]) {
      await socket.next(isBot("You said: together"), 10_000);
      expect(socket.seqs().slice(-8)).toEqual(counted(2, 9));
    }
    expect((await b.call("GET", "/users/me", { token: kim.token })).headers.get("x-degraded")).toBeNull();
    for (const socket of [here, there]) socket.close();
  }, 60_000);

  test("a stop with 50 sockets: they are told and closed with 1001, requests under way are answered, new ones go elsewhere", async () => {
    const mia = await person(group);
    const sockets = await Promise.all(counted(1, 50).map(() => a.open(null)));
    const hold = Promise.withResolvers<void>();
    const rooms = await Promise.all(
      counted(1, 10).map(async (n) => {
        scripted.set(`Finish ${n}`, answer("It is ", hold.promise, `finished ${n}.`));
        const someone = await person(group);
        const { data } = await a.call<{ session_id: string }>("POST", "/conversations/start", {
          token: someone.token,
          body: {},
        });
        return { n, token: someone.token, id: data.session_id };
      }),
    );
    const asked = model.requests.length;
    const under = rooms.map(({ n, token, id }) =>
      a.call<{ answer: { content: string } | null }>("POST", `/conversations/${id}/messages`, {
        token,
        body: { content: `Finish ${n}`, wait: 20 },
      }),
    );
    const streamed = fetch(`${a.url}/api/v1/chat`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-forwarded-for": newAddress() },
      body: JSON.stringify({ message: "Finish 1", stream: true }),
    }).then((response) => response.text());
    await until(() => model.requests.length >= asked + 11);
    // Somebody who asks again and again over connections that stay open.
    const outcomes = new Map<string, number>();
    const state = { isOver: false };
    const lane = async () => {
      while (!state.isOver) {
        const outcome = await a.call("GET", "/auth/validate", { token: mia.token }).then(
          ({ status }) => (status === 429 ? "200" : String(status)),
          (error: unknown) => (error instanceof Error && "code" in error ? String(error.code) : "failed"),
        );
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        if (outcome === "ECONNREFUSED") await Bun.sleep(5);
      }
    };
    const lanes = [lane(), lane(), lane()];
    await Bun.sleep(50);
    const begun = performance.now();
    const stopping = a.stop();
    await Promise.all(sockets.map((socket) => socket.status("restarting")));
    await until(() => (outcomes.get("ECONNREFUSED") ?? 0) > 0);
    await Bun.sleep(300);
    hold.resolve();
    const answers = await Promise.all(under);
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
    expect(answers.every(({ headers }) => headers.get("connection") === "close")).toBe(true);
    expect(answers.map(({ data }) => data.answer?.content)).toEqual(rooms.map(({ n }) => `It is finished ${n}.`));
    expect(await streamed).toContain("event: done");
    const codes = await Promise.all(sockets.map(async (socket) => (await socket.closed).code));
    expect(new Set(codes)).toEqual(new Set([1001]));
    expect(await stopping).toBe(0);
    tell("stop with 50 sockets and 11 answers under way", performance.now() - begun);
    expect(performance.now() - begun).toBeLessThan(6_000);
    state.isOver = true;
    await Promise.all(lanes);
    expect([...outcomes.keys()].toSorted()).toEqual(["200", "ECONNREFUSED"]);
    const logged = a.stderr().split("\n");
    expect(logged.filter((line) => line !== "" && !line.includes("the cache server is away"))).toEqual([]);
    expect((await b.call("GET", "/auth/validate", { token: group.admin })).status).toBe(200);
  }, 60_000);

  test("a stop that an answer outlasts ends in its time, answers who waits, and the other finishes the answer", async () => {
    const c = await cluster.launch({ SHUTDOWN_SECONDS: "1" });
    const noa = await person(group);
    const { data } = await c.call<{ session_id: string }>("POST", "/conversations/start", {
      token: noa.token,
      body: {},
    });
    const id = data.session_id;
    const there = await b.open(noa.token, { session_id: id });
    const hold = Promise.withResolvers<void>();
    scripted.set("Take your time", answer("It takes ", hold.promise, "too long."));
    const waiting = c.call<{ answer: unknown; message_id: string }>("POST", `/conversations/${id}/messages`, {
      token: noa.token,
      body: { content: "Take your time", wait: 30 },
    });
    const shown = await there.next(({ type }) => type === "delta");
    scripted.set("Take your time", answer("Here ", "it is."));
    const begun = performance.now();
    expect(await c.stop()).toBe(0);
    const took = performance.now() - begun;
    tell("stop of 1 s with an answer that hangs", took);
    expect(took).toBeLessThan(2_000);
    const answered = await waiting;
    expect(answered.status).toBe(201);
    expect(answered.data.answer).toBeNull();
    hold.resolve();
    expect(await there.next(isBot("Here it is."), 10_000)).toMatchObject({ id: shown["message_id"] });
    expect(there.frames.filter(isBot())).toHaveLength(1);
    there.close();
  }, 40_000);
});

describe.skipIf(postgres === null)("two processes on PostgreSQL alone", async () => {
  if (postgres === null) return;
  const databaseUrl = await postgres.database("alone");
  const cluster = openCluster({ databaseUrl, valkeyUrl: null, env: MODEL });
  let group: Group;
  beforeAll(async () => {
    group = await begin(cluster);
  }, 60_000);

  test("started at once on an empty database: both serve, and everything is there once", async () => {
    await everythingOnce(group);
  }, 30_000);

  test("revocations and rights reach the other at once", async () => {
    await revocationsArrive(group, "PostgreSQL");
    await rightsArrive(group, "PostgreSQL");
  }, 40_000);

  test("messages of both arrive everywhere once and in order", async () => {
    await orderHolds(group, "PostgreSQL", { people: 2, sockets: 4, messages: 60 });
  }, 40_000);

  test("messages of every size arrive, also those that no notification takes", async () => {
    const { a, b } = group;
    const quinn = await person(group);
    const here = await a.open(quinn.token);
    const { session_id: id } = await here.status("connected");
    await here.next(isBot());
    const there = await b.open(quinn.token, { session_id: String(id), last_seq: "1" });
    const sizes = [...counted(0, 15).map((n) => 6_500 + n * 100), 10_000, 32_000];
    for (const [n, size] of sizes.entries()) {
      const content = (n % 2 === 0 ? "x" : "ж").repeat(n % 2 === 0 ? size : size / 2);
      here.send({ type: 4, name: "n", content, client_id: `s-${n}` });
      const arrived = await there.next(({ client_id }) => client_id === `s-${n}`, SEEN_MS);
      expect(String(arrived["content"]).length).toBe(content.length);
    }
    expect(there.seqs()).toEqual(counted(2, sizes.length + 1));
    for (const socket of [here, there]) socket.close();
  }, 30_000);

  test("documents and settings reach the other", async () => {
    await knowledgeArrives(group, "PostgreSQL");
    await settingsArrive(group, "PostgreSQL");
  }, 40_000);

  test("what was said while notifications were not heard is read when they are heard again", async () => {
    const { a, b, office } = group;
    const ole = await person(group);
    const here = await a.open(ole.token);
    const { session_id: id } = await here.status("connected");
    await here.next(isBot());
    const there = await b.open(ole.token, { session_id: String(id), last_seq: "0" });
    await there.next(isBot());
    const { database } = office.engines;
    // The one who listens is found by its last statement. B's is cut off again and again while A says something.
    const cut = () =>
      database.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query ilike 'listen%'",
      );
    for (let i = 0; i < 5; i++) {
      await cut();
      here.send({ type: 4, name: "n", content: `unheard ${i}`, client_id: `u-${i}` });
      await Bun.sleep(20);
    }
    const seen = await until(() => there.seqs().length === 6);
    tell("PostgreSQL: messages said while nobody listened, on a socket at B", seen);
    expect(there.seqs()).toEqual(counted(1, 6));
    for (const socket of [here, there]) socket.close();
  }, 30_000);

  test("a stopped server leaves nothing that keeps its process alive", async () => {
    const folder = await temporaryFolder("stopped");
    const module = (path: string) => JSON.stringify(join(import.meta.dir, "../src", path));
    const program = `
      const { openServer } = await import(${module("commands/serve.ts")});
      const { loadConfig } = await import(${module("config.ts")});
      const server = await openServer(loadConfig());
      const socket = new WebSocket(server.url.replace("http", "ws") + "/ws");
      await new Promise((told) => { socket.onmessage = told; });
      await server.stop();
      const stopped = performance.now();
      process.on("exit", () => console.log(performance.now() - stopped));`;
    const env = { HOST: "127.0.0.1", PORT: "0", DATA_DIR: folder.path, DATABASE_URL: databaseUrl, SECRET_KEY };
    const child = spawnProcess({ command: [process.execPath, "-e", program], cwd: folder.path, env });
    expect(await Promise.race([child.exited, Bun.sleep(20_000)])).toBe(0);
    expect(Number(child.stdout())).toBeLessThan(2_000);
    await folder.remove();
  }, 30_000);

  test("killed in the middle of an answer: the other finishes the same message, and who resumes there has all of it", async () => {
    const { a, b, office } = group;
    const pia = await person(group);
    const hold = Promise.withResolvers<void>();
    scripted.set("Will you live?", answer("I will", hold.promise));
    const here = await a.open(pia.token);
    const { session_id: id } = await here.status("connected");
    await here.next(isBot());
    here.send({ type: "message", content: "Will you live?", client_id: "live" });
    const shown = await here.next(({ type }) => type === "delta");
    await a.kill9();
    scripted.set("Will you live?", answer("I do ", "live."));
    hold.resolve();
    const there = await b.open(pia.token, { session_id: String(id), last_seq: "1" });
    // The lease of the dead is over after 30 s.
    await office.engines.database.query(
      "update turns set lease_until = now() - interval '1 second' where state = 'running'",
    );
    const answered = await there.next(isBot("I do live."), 15_000);
    expect(answered["id"]).toBe(shown["message_id"]);
    expect(there.seqs()).toEqual([2, 3]);
    const resumed = await b.open(pia.token, { session_id: String(id), last_seq: "0" });
    await resumed.next(isBot("I do live."));
    expect(resumed.seqs()).toEqual([1, 2, 3]);
    for (const socket of [there, resumed]) socket.close();
  }, 40_000);
});
