// Turns and delivery over several processes: an instance that dies in the middle of an answer, two instances on one
// PostgreSQL and one Valkey, the Valkey going away, a stop with answers under way.

import { afterAll, afterEach, describe, expect, test } from "bun:test";
import postgres from "postgres";
import { openSocket, type ChatFrame, type ChatSocket } from "../support/chat-socket.ts";
import { answer, startModelServer, type Behaviour } from "../support/model-server.ts";
import { startPostgres } from "../support/postgres.ts";
import { serverCommand, startProcess, temporaryFolder, waitFor, type RunningProcess } from "../support/processes.ts";
import { redisMissing, startRedis } from "../support/redis.ts";
import { ADMIN } from "../support/server.ts";

const V1 = "/api/v1";
const LIMITS = { RATE_LIMIT_ANONYMOUS: "0", RATE_LIMIT_USER: "0", RATE_LIMIT_ADMIN: "0" };

const scripted = new Map<string, Behaviour>();
const model = await startModelServer();
model.always((asked) => {
  const question = asked.body.messages.at(-1)?.content.trim().split("\n").at(-1) ?? "";
  return scripted.get(question) ?? answer("You said: ", question);
});

const running: RunningProcess[] = [];
const removing: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const one of running) await one.kill9();
  for (const remove of removing) await remove();
  await model.stop();
});

async function launch(env: Record<string, string>, dataDir?: string): Promise<RunningProcess & { dataDir: string }> {
  let path = dataDir;
  if (path === undefined) {
    const folder = await temporaryFolder("turns");
    removing.push(() => folder.remove());
    ({ path } = folder);
  }
  const process = await startProcess({
    command: serverCommand.source,
    cwd: path,
    env: {
      HOST: "127.0.0.1",
      PORT: "0",
      DATA_DIR: path,
      ADMIN_EMAIL: ADMIN.email,
      ADMIN_PASSWORD: ADMIN.password,
      LLM_URL: model.url,
      LLM_MODEL: "test-model",
      LOG_LEVEL: "warn",
      ...LIMITS,
      ...env,
    },
  });
  running.push(process);
  return { ...process, dataDir: path };
}

interface Answered<Data> {
  status: number;
  data: Data;
}

async function call<Data>(
  url: string,
  method: string,
  path: string,
  token: string | null,
  body?: unknown,
): Promise<Answered<Data>> {
  const response = await fetch(`${url}${V1}${path}`, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, data: (text === "" ? {} : (JSON.parse(text) as { data: Data })).data as Data };
}

interface Message {
  id: string;
  seq: number;
  sender: string;
  content: string;
  status: string;
}

const signIn = async (url: string): Promise<string> =>
  (await call<{ access_token: string }>(url, "POST", "/auth/login", null, ADMIN)).data.access_token;
const start = async (url: string, token: string | null) =>
  (await call<{ session_id: string; token?: string }>(url, "POST", "/conversations/start", token, {})).data;
const history = async (url: string, token: string, id: string): Promise<Message[]> =>
  (await call<{ messages: Message[] }>(url, "GET", `/conversations/${id}/history?limit=100`, token)).data.messages;

const opened: ChatSocket[] = [];
async function open(url: string, query: Record<string, string>, token: string): Promise<ChatSocket> {
  const socket = await openSocket(url, query, { token });
  opened.push(socket);
  await socket.status("connected");
  return socket;
}
afterEach(() => {
  for (const socket of opened.splice(0)) socket.close();
});

const fromBot = (content: string) => (frame: ChatFrame) =>
  frame.type === "message" && frame["sender"] === "bot" && frame["content"] === content;

describe("one process on its own data folder", () => {
  test("killed in the middle of an answer: what was acknowledged is answered after the restart, once, under the same id", async () => {
    const hold = Promise.withResolvers<void>();
    scripted.set("Will you survive?", answer("I will", hold.promise));
    const first = await launch({});
    const began = await start(first.url, null);
    const token = began.token ?? "";
    const socket = await open(first.url, { session_id: began.session_id, last_seq: "0" }, token);
    await socket.next(({ seq }) => seq === 1);
    socket.send({ type: "message", content: "Will you survive?", client_id: "one" });
    socket.send({ type: "message", content: "And this one?", client_id: "two" });
    const acks = [
      await socket.next(({ client_id, type }) => type === "ack" && client_id === "one"),
      await socket.next(({ client_id, type }) => type === "ack" && client_id === "two"),
    ];
    const shown = await socket.next(({ type }) => type === "delta");
    await first.kill9();
    scripted.set("Will you survive?", answer("I did survive."));
    hold.resolve();
    const second = await launch({}, first.dataDir);
    const again = await open(second.url, { session_id: began.session_id, last_seq: "3" }, token);
    const answered = await again.next(fromBot("I did survive."), 15_000);
    expect(answered["id"]).toBe(shown["message_id"]);
    await again.next(fromBot("You said: And this one?"), 15_000);
    const said = await history(second.url, token, began.session_id);
    expect(said.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
    expect(said.map(({ sender, status }) => [sender, status])).toEqual([
      ["bot", "delivered"],
      ["user", "answered"],
      ["user", "answered"],
      ["bot", "delivered"],
      ["bot", "delivered"],
    ]);
    expect(said.slice(1, 3).map(({ id }) => id)).toEqual(acks.map(({ message_id }) => String(message_id)));
    await second.stop();
  }, 60_000);

  test("stopped with 100 open sockets: all get 1001, and the message in flight is answered after the restart", async () => {
    const hold = Promise.withResolvers<void>();
    scripted.set("Before the stop", answer("Too slow", hold.promise));
    const first = await launch({ SHUTDOWN_SECONDS: "1", TRUST_PROXY: "1" });
    const token = await signIn(first.url);
    const mine = await start(first.url, token);
    const sockets = [await open(first.url, { session_id: mine.session_id }, token)];
    // Five anonymous sockets for an address at most.
    for (let i = 0; i < 99; i++) {
      const socket = await openSocket(
        first.url,
        {},
        { headers: { "x-forwarded-for": `198.51.100.${Math.floor(i / 5)}` } },
      );
      opened.push(socket);
      sockets.push(socket);
    }
    await Promise.all(sockets.map((socket) => socket.status("connected")));
    sockets[0]?.send({ type: "message", content: "Before the stop" });
    await sockets[0]?.next(({ type }) => type === "delta");
    const stopping = first.stop();
    const codes = await Promise.all(sockets.map(async (socket) => (await socket.closed).code));
    expect(new Set(codes)).toEqual(new Set([1001]));
    expect(sockets.every(({ frames }) => frames.some(({ state }) => state === "restarting"))).toBe(true);
    expect(await stopping).toBe(0);
    scripted.set("Before the stop", answer("Here it is."));
    hold.resolve();
    const second = await launch({}, first.dataDir);
    await waitFor(
      async () => (await history(second.url, token, mine.session_id)).some(({ content }) => content === "Here it is."),
      15_000,
    );
    const said = await history(second.url, token, mine.session_id);
    expect(said.filter(({ sender }) => sender === "bot").length).toBe(2);
    await second.stop();
  }, 90_000);
});

const database = await startPostgres();
const noRedis = redisMissing();

describe.skipIf(database === null || noRedis !== null)("two processes on one PostgreSQL and one Valkey", async () => {
  if (database === null || noRedis !== null) return;
  afterAll(() => database.stop());
  const redis = await startRedis();
  afterAll(() => redis.close());
  const url = await database.database("turns");
  const env = { DATABASE_URL: url, VALKEY_URL: redis.url, SECRET_KEY: "a secret key of more than thirty-two bytes" };
  const sql = postgres(url, { max: 1 });
  afterAll(() => sql.end());
  const a = await launch(env);
  const b = await launch(env);
  const token = await signIn(a.url);

  test("a message sent through one shows on the other within 200 ms, with the same seq", async () => {
    const { session_id: id } = await start(a.url, token);
    const [here, there] = [
      await open(a.url, { session_id: id, last_seq: "0" }, token),
      await open(b.url, { session_id: id, last_seq: "0" }, token),
    ];
    await there.next(({ seq }) => seq === 1);
    const took: number[] = [];
    for (let i = 0; i < 9; i++) {
      const began = performance.now();
      here.send({ type: 4, name: "n", content: `note ${i}`, client_id: `c-${i}` });
      await there.message(`note ${i}`);
      took.push(performance.now() - began);
    }
    expect(took.toSorted((x, y) => x - y)[4]).toBeLessThan(200);
    for (let i = 0; i < 40; i++) (i % 2 === 0 ? here : there).send({ type: 4, name: "n", content: `mixed ${i}` });
    for (const socket of [here, there]) {
      await socket.next(({ seq }) => seq === 50, 10_000);
      expect(socket.seqs()).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    }
  }, 30_000);

  test("deltas and typing of an answer written here are seen there, and one that joins there gets all of it so far", async () => {
    const hold = Promise.withResolvers<void>();
    scripted.set("Both of you", answer("The first half", hold.promise, " and the second."));
    const { session_id: id } = await start(a.url, token);
    const here = await open(a.url, { session_id: id }, token);
    const there = await open(b.url, { session_id: id }, token);
    here.send({ type: "message", content: "Both of you" });
    const shown = await there.next(({ type }) => type === "delta");
    const late = await open(b.url, { session_id: id, last_seq: "2" }, token);
    const reset = await late.next(({ type }) => type === "delta");
    expect(reset).toMatchObject({ reset: true, content: "The first half", message_id: shown["message_id"] });
    hold.resolve();
    for (const socket of [here, there, late]) await socket.next(fromBot("The first half and the second."));
    const stopped = await call<{ cancelled: boolean }>(b.url, "POST", `/conversations/${id}/cancel`, token);
    expect(stopped.data.cancelled).toBe(false);
  }, 30_000);

  test("cancel at one stops the answer that the other writes", async () => {
    const hold = Promise.withResolvers<void>();
    scripted.set("Stop me", answer("Half", hold.promise, " more"));
    const { session_id: id } = await start(a.url, token);
    const here = await open(a.url, { session_id: id }, token);
    here.send({ type: "message", content: "Stop me" });
    await here.next(({ type }) => type === "delta");
    const stopped = await call<{ cancelled: boolean }>(b.url, "POST", `/conversations/${id}/cancel`, token);
    expect(stopped.data.cancelled).toBe(true);
    expect(await here.next(({ finish_reason: reason }) => reason === "cancelled")).toMatchObject({ content: "Half" });
    hold.resolve();
  }, 30_000);

  test("a claimed conversation's old token is 401 on both", async () => {
    const began = await start(a.url, null);
    const old = began.token ?? "";
    const claimed = await call(b.url, "POST", `/conversations/${began.session_id}/claim`, token, { token: old });
    expect(claimed.status).toBe(200);
    for (const { url: base } of [a, b]) {
      expect((await call(base, "GET", `/conversations/${began.session_id}`, old)).status).toBe(401);
      expect((await call(base, "GET", `/conversations/${began.session_id}`, token)).status).toBe(200);
    }
  }, 30_000);

  test("Valkey stops during a chat: degraded, messages still arrive within 3 s, restored afterwards, none lost", async () => {
    const { session_id: id } = await start(a.url, token);
    const here = await open(a.url, { session_id: id, last_seq: "0" }, token);
    const there = await open(b.url, { session_id: id, last_seq: "0" }, token);
    await there.next(({ seq }) => seq === 1);
    await redis.kill9();
    await there.status("degraded", 10_000);
    for (let i = 0; i < 3; i++) {
      const began = performance.now();
      here.send({ type: 4, name: "n", content: `alone ${i}`, client_id: `a-${i}` });
      await there.message(`alone ${i}`, 4_000);
      expect(performance.now() - began).toBeLessThan(3_500);
    }
    await redis.start();
    await there.status("restored", 20_000);
    await here.status("restored", 20_000);
    await waitFor(async () => {
      here.send({ type: 4, name: "n", content: "together", client_id: "t" });
      return there.frames.some(({ content, type }) => type === "message" && content === "together");
    }, 10_000);
    const seqs = there.seqs();
    expect(seqs).toEqual(Array.from({ length: seqs.length }, (_, i) => i + 1));
  }, 60_000);

  test("killed in the middle of an answer: the other finishes the same message, and a resuming client has no gap", async () => {
    const hold = Promise.withResolvers<void>();
    scripted.set("Will you be replaced?", answer("I am being", hold.promise));
    const { session_id: id } = await start(a.url, token);
    const here = await open(a.url, { session_id: id, last_seq: "0" }, token);
    const there = await open(b.url, { session_id: id, last_seq: "0" }, token);
    here.send({ type: "message", content: "Will you be replaced?", client_id: "one" });
    await here.next(({ type }) => type === "ack");
    const shown = await there.next(({ type }) => type === "delta");
    await a.kill9();
    const before = there.frames.length;
    scripted.set("Will you be replaced?", answer("I was replaced."));
    hold.resolve();
    // Thirty seconds pass: the lease of the dead instance is over.
    await sql`update turns set lease_until = now() - interval '1 second' where state = 'running'`;
    const answered = await there.next(fromBot("I was replaced."), 15_000);
    expect(answered["id"]).toBe(shown["message_id"]);
    const deltas = there.frames.slice(before).filter(({ type }) => type === "delta");
    expect(deltas[0]).toMatchObject({ reset: true, message_id: shown["message_id"] });
    expect(deltas.map(({ content }) => content).join("")).toBe("I was replaced.");
    const resuming = await open(b.url, { session_id: id, last_seq: "1" }, token);
    await resuming.next(fromBot("I was replaced."));
    expect(resuming.seqs()).toEqual([2, 3]);
    expect((await history(b.url, token, id)).map(({ seq }) => seq)).toEqual([1, 2, 3]);
    await b.stop();
  }, 60_000);
});
