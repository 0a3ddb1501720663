// Second names of the contract ("≡"): each address answers as the one that it stands for, successes and refusals alike.

import { describe, expect, test } from "bun:test";
import { openSocket } from "../support/chat-socket.ts";
import { startTestServer, type Person } from "../support/server.ts";

const server = await startTestServer();
const admin = await server.signIn();
const person = await server.person();
const stranger = await server.person();

/** A conversation of its own for every call, prepared in the same way. */
interface World {
  /** A conversation of `person` with a question and its answer in it. */
  id: string;
  /** An anonymous one and its chat token. */
  anonymous: { id: string; token: string };
}

interface Call {
  method: string;
  path: string;
  body?: unknown;
}

async function started(token: string | null): Promise<{ id: string; token: string }> {
  const made = await server.call<{ conversation_id: string; token: string }>("POST", "/api/v1/conversations/start", {
    token,
    body: { title: "The same" },
  });
  expect(made.error).toBeNull();
  return { id: made.data.conversation_id, token: made.data.token };
}

async function world(): Promise<World> {
  const own = await started(person.token);
  const said = await server.call("POST", `/api/v1/conversations/${own.id}/messages?wait=true`, {
    token: person.token,
    body: { content: "What is botserver?", client_id: "first" },
  });
  expect(said.error).toBeNull();
  return { id: own.id, anonymous: await started(null) };
}

const UUID = /\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g;

/** A value without what differs from one call to the next: ids by their first appearance, moments, tokens, durations. */
function plain(value: unknown): unknown {
  const names = new Map<string, string>();
  const text = JSON.stringify(value)
    .replaceAll(UUID, (id) => {
      const name = names.get(id) ?? `id ${names.size}`;
      names.set(id, name);
      return name;
    })
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "moment")
    .replaceAll(/cs_[\w-]{43}/g, "token")
    .replaceAll(/"(took_ms|latency_ms)":[\d.]+/g, '"$1":0');
  return JSON.parse(text);
}

async function answered({ method, path, body }: Call, token: string | null) {
  const { status, data, error, headers } = await server.call(method, `/api/v1${path}`, { token, body });
  const told = error && { code: error.code, details: error.details };
  return plain({ status, type: headers.get("content-type"), tag: headers.get("etag"), data, told });
}

type Pair = [name: string, first: (made: World) => Call, second: (made: World) => Call, before?: (made: World) => Call];

const get = (path: string): Call => ({ method: "GET", path });
const post = (path: string, body?: unknown): Call => ({ method: "POST", path, body });

const history = "limit=2&order=desc";
const message = { content: "Hello", client_id: "second", metadata: { a: 1 } };
const rating = { rating: 4, comment: "Good", resolved: true };
const begin = { title: "Begun", language: "en", metadata: { a: [1] } };

/** Asked by the signed-in owner. */
const OF_A_PERSON: Pair[] = [
  ["POST /conversations", () => post("/conversations/start", begin), () => post("/conversations", begin)],
  [
    "GET /conversations/:id/messages",
    ({ id }) => get(`/conversations/${id}/history?${history}`),
    ({ id }) => get(`/conversations/${id}/messages?${history}`),
  ],
  [
    "GET /sessions/:id/history",
    ({ id }) => get(`/conversations/${id}/history?${history}`),
    ({ id }) => get(`/sessions/${id}/history?${history}`),
  ],
  [
    "GET /sessions/current/history",
    ({ id }) => get(`/conversations/${id}/history?${history}`),
    () => get(`/sessions/current/history?${history}`),
  ],
  ["GET /sessions/:id", ({ id }) => get(`/conversations/${id}`), ({ id }) => get(`/sessions/${id}`)],
  ["GET /sessions/current", ({ id }) => get(`/conversations/${id}`), () => get("/sessions/current")],
  [
    "POST /sessions/:id/message",
    ({ id }) => post(`/conversations/${id}/messages?wait=true`, message),
    ({ id }) => post(`/sessions/${id}/message?wait=true`, message),
  ],
  [
    "POST /sessions/current/message",
    ({ id }) => post(`/conversations/${id}/messages?wait=true`, message),
    () => post("/sessions/current/message?wait=true", message),
  ],
  [
    "POST /sessions/:id/message, said again",
    ({ id }) => post(`/conversations/${id}/messages`, { ...message, client_id: "first" }),
    ({ id }) => post(`/sessions/${id}/message`, { ...message, client_id: "first" }),
  ],
  [
    "POST /sessions/:id/end",
    ({ id }) => post(`/conversations/${id}/close`, { resolution: "resolved", rating: 5 }),
    ({ id }) => post(`/sessions/${id}/end`, { resolution: "resolved", rating: 5 }),
  ],
  [
    "POST /sessions/:id/start",
    ({ id }) => post(`/conversations/${id}/reopen`),
    ({ id }) => post(`/sessions/${id}/start`),
    ({ id }) => post(`/conversations/${id}/close`),
  ],
  [
    "POST /conversations/:id/feedback",
    ({ id }) => post(`/conversations/${id}/rating`, rating),
    ({ id }) => post(`/conversations/${id}/feedback`, rating),
  ],
  ["POST /sessions", () => post("/session", { language: "pt" }), () => post("/sessions", { language: "pt" })],
  [
    "a conversation that is none",
    () => get("/conversations/00000000-0000-7000-8000-000000000000"),
    () => get("/sessions/00000000-0000-7000-8000-000000000000"),
  ],
  [
    "input that is none",
    ({ id }) => post(`/conversations/${id}/messages`, { content: 5, type: "song" }),
    ({ id }) => post(`/sessions/${id}/message`, { content: 5, type: "song" }),
  ],
];

// A place for `before` in every row: the runner hands a callback to whoever takes more than the row has.
const ROWS = OF_A_PERSON.map(([name, first, second, before]) => [name, first, second, before ?? null] as const);

describe("conversations", () => {
  test.each(ROWS)("%s", async (_name, first, second, before) => {
    const answers: unknown[] = [];
    for (const of of [first, second]) {
      const made = await world();
      if (before) await answered(before(made), person.token);
      answers.push(await answered(of(made), person.token));
    }
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[0]).toHaveProperty("status");
  });

  // The current conversation of a stranger is the stranger's own.
  test.each(ROWS.filter(([name]) => !name.includes("/current")))(
    "%s refuses strangers and nobody as the first name does",
    async (_name, first, second) => {
      const made = await world();
      for (const token of [stranger.token, null]) {
        expect(await answered(second(made), token)).toEqual(await answered(first(made), token));
      }
    },
  );

  test("GET /sessions lists what GET /conversations lists", async () => {
    await world();
    for (const query of ["", "?limit=1&sort=title&order=asc", "?status=closed", "?colour=red", "?limit=1000"]) {
      const first = await server.call<Record<string, unknown>>("GET", `/api/v1/conversations${query}`, person);
      const second = await server.call<Record<string, unknown>>("GET", `/api/v1/sessions${query}`, person);
      expect([second.status, second.error]).toEqual([first.status, first.error]);
      if (!first.error) {
        const { conversations, ...rest } = first.data;
        expect(second.data).toEqual({ sessions: conversations, ...rest });
      }
    }
  });

  test("an anonymous chat begins alike by POST /session, POST /sessions and GET /auth", async () => {
    const first = await answered(post("/session"), null);
    expect(first).toMatchObject({ status: 201, data: { token: "token" } });
    expect(await answered(post("/sessions"), null)).toEqual(first);
    const { data } = first as { data: object };
    for (const path of ["/auth", "/auth?bot_name=default"]) {
      expect(await answered(get(path), null)).toMatchObject({ status: 201, data });
    }
  });

  test("the bearer of a chat token reaches the conversation by both names, and by `current`", async () => {
    const { anonymous } = await world();
    const { id, token } = anonymous;
    const first = await answered(get(`/conversations/${id}/history`), token);
    expect(first).toMatchObject({ status: 200 });
    for (const path of [`/sessions/${id}/history`, "/sessions/current/history"]) {
      expect(await answered(get(path), token)).toEqual(first);
    }
    expect(await answered(get("/sessions/current"), token)).toEqual(await answered(get(`/conversations/${id}`), token));
  });

  test("DELETE /session/:id does to a conversation what DELETE /sessions/:id does", async () => {
    const after: unknown[] = [];
    for (const path of ["/session", "/sessions"]) {
      const { anonymous } = await world();
      const { id, token } = anonymous;
      const gone = await answered({ method: "DELETE", path: `${path}/${id}` }, token);
      after.push([gone, await answered(get(`/conversations/${id}`), token)]);
    }
    expect(after[1]).toEqual(after[0]);
    expect(after[0]).toMatchObject([{ status: 204 }, { status: 401 }]);
  });

  test("GET /chat/stream tells the events of the conversation", async () => {
    const { id } = await world();
    const heard: unknown[] = [];
    for (const path of [`/conversations/${id}/events?last_seq=0`, `/chat/stream?session=${id}&last_seq=0`]) {
      const response = await fetch(`${server.url}/api/v1${path}`, {
        headers: { authorization: `Bearer ${person.token}` },
      });
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      let text = "";
      while ((text.match(/"type":"message"/g)?.length ?? 0) < 3) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`the stream ended after ${text}`);
        text += new TextDecoder().decode(value);
      }
      await reader.cancel();
      heard.push(plain([response.status, response.headers.get("content-type"), text]));
    }
    expect(heard[1]).toEqual(heard[0]);
  });

  test("the socket of a bot by its path and by its parameter; subscribe and resume", async () => {
    const told: unknown[] = [];
    for (const [path, query] of [
      ["/ws/default", {}],
      ["/ws", { bot: "default" }],
    ] as const) {
      const socket = await openSocket(server.url, query, { path });
      told.push(plain(await socket.status("connected")));
      socket.close();
    }
    expect(told[1]).toEqual(told[0]);

    const replayed: unknown[] = [];
    for (const type of ["subscribe", "resume"]) {
      const { id } = await world();
      const socket = await openSocket(server.url, { chat: "0" }, { token: person.token });
      await socket.status("connected");
      socket.send({ type, session_id: id, last_seq: 1 });
      const resumed = await socket.status("resumed");
      await socket.next(({ type: kind, seq }) => kind === "message" && seq === 3);
      replayed.push(plain([resumed, socket.seqs()]));
      socket.close();
    }
    expect(replayed[1]).toEqual(replayed[0]);
    expect(replayed[0]).toMatchObject([{ to_seq: 3 }, [2, 3]]);
  });
});

describe("knowledge", () => {
  const manager: Promise<Person> = server.person(["user", "kb_manager"]);

  test("GET /kb/search finds what POST /kb/search finds", async () => {
    const { token } = await manager;
    const cases: [string, Record<string, unknown>][] = [
      ["q=What+is+botserver%3F", { query: "What is botserver?" }],
      ["query=What+is+botserver%3F&limit=2&mode=sparse", { query: "What is botserver?", limit: 2, mode: "sparse" }],
      [
        "q=users&bot_id=default&highlight=false&explain=true",
        { query: "users", bot_id: "default", highlight: false, explain: true },
      ],
      ["q=users&filter[mime]=text/markdown", { query: "users", filter: { mime: "text/markdown" } }],
      ["q=users&bot_id=nobody", { query: "users", bot_id: "nobody" }],
      ["q=the+of", { query: "the of" }],
    ];
    for (const [query, body] of cases) {
      const first = await answered(post("/kb/search", body), token);
      const second = await answered(get(`/kb/search?${query}`), token);
      expect([query, second]).toEqual([query, first]);
      expect(await answered(get(`/kb/search?${query}`), null)).toEqual(await answered(post("/kb/search", body), null));
    }
    expect(await answered(get("/kb/search?q=botserver&limit=2"), token)).toMatchObject({
      status: 200,
      data: { results: [{ accessible: true }, {}] },
    });
  });

  test("POST /bots/:bot/kb/index indexes the collection that it names", async () => {
    const { token } = await manager;
    const of = async (bot: string) =>
      server.call("POST", "/api/v1/kb/collections", { token: admin, body: { name: "papers", bot_id: bot } });
    const made = await of("default");
    expect(made.status).toBe(201);
    const id = (made.data as { id: string }).id;
    const pairs: [Call, Call][] = [
      [post("/kb/collections/default:papers/reindex"), post("/bots/default/kb/index", { kb_name: "papers" })],
      [
        post(`/kb/collections/${id}/reindex`, { force: true }),
        post("/bots/default/kb/index", { kb_name: "Papers.gbkb", force: true }),
      ],
      [post("/kb/collections/default:none/reindex"), post("/bots/default/kb/index", { kb_name: "none" })],
      [post("/kb/collections/nobody:papers/reindex"), post("/bots/nobody/kb/index", { kb_name: "papers" })],
    ];
    for (const [first, second] of pairs) {
      for (const who of [token, person.token, null]) {
        expect(await answered(second, who)).toEqual(await answered(first, who));
      }
    }
    expect(await answered(post("/bots/default/kb/index", { kb_name: "papers" }), token)).toMatchObject({ status: 202 });
  });
});
