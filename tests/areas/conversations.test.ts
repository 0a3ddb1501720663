// Conversations over REST, seen from outside: beginning, talking, history, files, rating, claiming, erasing.

import { afterAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { auditLog } from "../../src/core/audit/model.ts";
import { events } from "../../src/core/events/model.ts";
import { attachments, chatTokens, conversationOutcomes, conversations } from "../../src/areas/conversations/model.ts";
import { answer, startModelServer } from "../support/model-server.ts";
import { startTestServer, type Person, type TestServer } from "../support/server.ts";

interface Started {
  conversation_id: string;
  session_id: string;
  status: string;
  token?: string;
  bot: { id: string; name: string };
  messages: Message[];
}

interface Message {
  id: string;
  seq: number;
  sender: string;
  content: string;
  status: string;
  attachments: { id: string; name: string; mime: string; size: number; url: string }[];
  is_complete: boolean;
  finish_reason: string | null;
  superseded_by: string | null;
  feedback: string | null;
  deleted_at: string | null;
  client_id: string | null;
  metadata: Record<string, unknown>;
  timestamp: string;
}

interface Conversation {
  id: string;
  session_id: string;
  user_id: string | null;
  title: string | null;
  status: string;
  closed_reason: string | null;
  last_seq: number;
  last_message: string;
  message_count: number;
  unread_count: number;
  language: string | null;
  pinned: boolean;
  tags: string[];
  rating: number | null;
  resolution: string | null;
  resolved_by: string | null;
  expires_at: string | null;
  version: number;
}

interface History {
  messages: Message[];
  has_more: boolean;
  next_before: string | null;
  next_after: string | null;
}

interface Sent {
  message_id: string;
  seq: number;
  status: string;
  duplicate: boolean;
  answer?: Message | null;
}

const model = await startModelServer();
afterAll(() => model.stop());
model.always((asked) =>
  answer(`You said: ${asked.body.messages.at(-1)?.content.trim().split("\n").at(-1)?.slice(0, 40) ?? ""}`),
);
const server = await startTestServer({ LLM_URL: model.url, LLM_MODEL: "test-model" });
const { clock } = server;
const call = <Data = unknown>(...given: Parameters<TestServer["call"]>) => server.call<Data>(...given);
const { db } = server.engines.database;
const ann = await server.person();
const bob = await server.person();
const agent = await server.person(["user", "support_agent"]);
const admin = await server.signIn();
const area = server.services.conversations;

const V1 = "/api/v1";
const minute = () => clock.advance(60_001);

async function begin(token: string | null, body: Record<string, unknown> = {}): Promise<Started> {
  const { status, data, error } = await call<Started>("POST", `${V1}/conversations/start`, { token, body });
  if (status !== 201) throw new Error(`start answered ${status} ${JSON.stringify(error)}`);
  return data;
}

async function say(token: string, id: string, content: string, more: Record<string, unknown> = {}) {
  return call<Sent>("POST", `${V1}/conversations/${id}/messages`, { token, body: { content, wait: true, ...more } });
}

const get = (token: string, id: string) => call<Conversation>("GET", `${V1}/conversations/${id}`, { token });
const history = (token: string, id: string, query = "") =>
  call<History>("GET", `${V1}/conversations/${id}/history${query}`, { token });

describe("beginning", () => {
  test("anybody may talk to the default bot and gets a token that opens this conversation only", async () => {
    const started = await begin(null);
    expect(started.session_id).toBe(started.conversation_id);
    expect(started.token).toMatch(/^cs_[A-Za-z0-9_-]{43}$/);
    expect(started.messages.map(({ seq, sender }) => [seq, sender])).toEqual([[1, "bot"]]);
    const token = started.token ?? "";
    expect((await history(token, started.session_id)).status).toBe(200);
    const other = await begin(null);
    expect((await history(token, other.session_id)).status).toBe(404);
    expect((await history(ann.token, started.session_id)).status).toBe(404);
    expect((await call("GET", `${V1}/conversations`, { token })).status).toBe(403);
    expect((await call("GET", `${V1}/conversations/${started.session_id}`)).status).toBe(401);
    const [row] = await db.select().from(chatTokens).where(eq(chatTokens.conversationId, started.session_id));
    expect(row?.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(row?.hash).not.toContain(token.slice(3, 20));
  });

  test("a signed-in caller gets no token from start, but one from a session, and both leave an audit entry and an event", async () => {
    const started = await begin(ann.token, { title: "  About   bees ", language: "en", metadata: { from: "test" } });
    expect(started.token).toBeUndefined();
    const row = (await get(ann.token, started.session_id)).data;
    expect(row).toMatchObject({
      title: "About bees",
      language: "en",
      user_id: ann.userId,
      status: "active",
      expires_at: null,
    });
    const session = await call<{ token: string; session_id: string }>("POST", `${V1}/session`, {
      token: ann.token,
      body: {},
    });
    expect(session.status).toBe(201);
    expect((await history(session.data.token, session.data.session_id)).status).toBe(200);
    expect((await history(session.data.token, started.session_id)).status).toBe(404);
    const entries = await db.select().from(auditLog).where(eq(auditLog.resourceId, started.session_id));
    expect(entries.map(({ eventType }) => eventType)).toContain("conversation_started");
    const told = await db.select().from(events).where(eq(events.subjectId, started.session_id));
    expect(told.map(({ type }) => type)).toContain("conversation.started");
  });

  test("an unknown bot is 404, a wrong language 422, and text of the wrong type 415", async () => {
    const unknown = await call("POST", `${V1}/conversations`, { token: ann.token, body: { bot_id: "nobody" } });
    expect(unknown.status).toBe(404);
    const wrong = await call("POST", `${V1}/conversations`, { token: ann.token, body: { language: "not a language" } });
    expect(wrong.status).toBe(422);
    const text = await call("POST", `${V1}/conversations`, {
      token: ann.token,
      body: "hello",
      headers: { "content-type": "text/plain" },
    });
    expect(text.status).toBe(415);
  });

  test("the same Idempotency-Key begins one conversation", async () => {
    const headers = { "idempotency-key": "a-key-of-ann-0001" };
    const [first, second] = [
      await call<Started>("POST", `${V1}/conversations/start`, { token: ann.token, body: {}, headers }),
      await call<Started>("POST", `${V1}/conversations/start`, { token: ann.token, body: {}, headers }),
    ];
    expect(second.data.session_id).toBe(first.data.session_id);
    const anonymous = { "idempotency-key": "0b0e6bb2-2d38-4b0e-8a3b-anonymous" };
    const one = await call<Started>("POST", `${V1}/conversations/start`, { body: {}, headers: anonymous });
    const two = await call<Started>("POST", `${V1}/conversations/start`, { body: {}, headers: anonymous });
    expect(two.data.session_id).toBe(one.data.session_id);
    expect(two.data.token).not.toBe(one.data.token);
    for (const { data } of [one, two]) expect((await history(data.token ?? "", data.session_id)).status).toBe(200);
    const stored = await server.engines.database.query<{ n: number }>(
      "select count(*)::int as n from idempotency_keys where answer like '%cs\\_%'",
    );
    expect(stored[0]?.n).toBe(0);
  });

  test("GET /auth begins an anonymous chat at both addresses", async () => {
    for (const path of ["/auth", `${V1}/auth`]) {
      const made = await call<{ session_id: string; token: string; user_id: string; status: string }>("GET", path);
      expect(made.status).toBe(201);
      expect(made.data.status).toBe("authenticated");
      expect((await history(made.data.token, made.data.session_id)).status).toBe(200);
    }
  });
});

describe("talking", () => {
  test("a message is stored, counted and answered, and the first one names the conversation", async () => {
    const { session_id: id } = await begin(ann.token);
    const sent = await say(ann.token, id, "What do bees eat in the winter months?");
    expect(sent.status).toBe(201);
    expect(sent.data).toMatchObject({ seq: 2, duplicate: false });
    expect(sent.data.answer).toMatchObject({ seq: 3, sender: "bot", is_complete: true, finish_reason: "stop" });
    expect(sent.data.answer?.content).toStartWith("You said: What do bees eat");
    const row = (await get(ann.token, id)).data;
    expect(row).toMatchObject({
      title: "What do bees eat in the winter months?",
      language: "en",
      last_seq: 3,
      message_count: 3,
      unread_count: 2,
    });
    expect(row.last_message).toBe(sent.data.answer?.content ?? "");
    const said = (await history(ann.token, id)).data.messages;
    expect(said.map(({ seq, sender, status }) => [seq, sender, status])).toEqual([
      [1, "bot", "delivered"],
      [2, "user", "answered"],
      [3, "bot", "delivered"],
    ]);
  });

  test("the same client_id again gives the first result and runs nothing", async () => {
    const { session_id: id } = await begin(ann.token);
    const asked = () =>
      model.requests.filter(({ body }) => /Only once|By header/.test(body.messages.at(-1)?.content ?? "")).length;
    const first = await say(ann.token, id, "Only once", { client_id: "c-1" });
    const second = await say(ann.token, id, "Only once", { client_id: "c-1" });
    expect([first.status, second.status]).toEqual([201, 200]);
    expect(second.data).toMatchObject({ message_id: first.data.message_id, seq: first.data.seq, duplicate: true });
    expect(second.data.answer?.id).toBe(first.data.answer?.id ?? "");
    const key = { "idempotency-key": "as-client-id" };
    const body = { content: "By header", wait: true };
    const third = await call<Sent>("POST", `${V1}/conversations/${id}/messages`, {
      token: ann.token,
      body,
      headers: key,
    });
    const fourth = await call<Sent>("POST", `${V1}/conversations/${id}/messages`, {
      token: ann.token,
      body,
      headers: key,
    });
    expect(fourth.data.message_id).toBe(third.data.message_id);
    expect(asked()).toBe(2);
  });

  test("what cannot be a message is refused with its reason, and nothing is stored", async () => {
    const { session_id: id } = await begin(ann.token);
    const post = (body: Record<string, unknown>) =>
      call("POST", `${V1}/conversations/${id}/messages`, { token: ann.token, body });
    expect((await post({ content: "  " })).error?.code).toBe("VALIDATION_ERROR");
    expect((await post({ content: "x".repeat(32_769) })).status).toBe(413);
    expect((await post({ content: "x", type: 5 })).status).toBe(422);
    expect((await post({ content: "x", type: "voice" })).status).toBe(422);
    expect((await post({ content: "x", client_id: "no spaces please" })).status).toBe(422);
    expect((await post({ content: "x", attachments: [Bun.randomUUIDv7()] })).status).toBe(404);
    expect((await post({ content: "x", reply_to: Bun.randomUUIDv7() })).status).toBe(404);
    expect((await post({ content: "x", metadata: { big: "y".repeat(17_000) } })).status).toBe(422);
    expect((await get(ann.token, id)).data.last_seq).toBe(1);
    minute();
  });

  test("control characters vanish, HTML stays as it was written", async () => {
    const { session_id: id } = await begin(ann.token);
    await say(ann.token, id, "a\u0001b\u0007c\td\r\ne \u009bf <b>g</b>", { metadata: { note: "n\u0002o" } });
    const [, message] = (await history(ann.token, id)).data.messages;
    expect(message?.content).toBe("abc\td\ne f <b>g</b>");
    expect(message?.metadata["note"]).toBe("no");
  });

  test("32,768 characters are taken, four-byte ones too", async () => {
    const { session_id: id } = await begin(ann.token);
    const sent = await say(ann.token, id, "😀".repeat(32_768), { wait: false });
    expect(sent.status).toBe(201);
    expect((await history(ann.token, id, "?after=seq:1")).data.messages[0]?.content.length).toBe(65_536);
  });

  test("a sign-in session's id stands for the conversation that goes on with its bot", async () => {
    const session = await call<{ session_id: string; conversation_id: string; authenticated: boolean }>(
      "GET",
      `${V1}/session`,
      {
        token: bob.token,
      },
    );
    expect(session.data).toMatchObject({ authenticated: true, conversation_id: null });
    const sent = await say(bob.token, session.data.session_id, "By my session");
    expect(sent.status).toBe(201);
    const after = await call<{ conversation_id: string }>("GET", `${V1}/session`, { token: bob.token });
    const row = (await get(bob.token, after.data.conversation_id)).data;
    expect(row.last_seq).toBeGreaterThanOrEqual(sent.data.seq);
    const current = await call<Conversation>("GET", `${V1}/sessions/current`, { token: bob.token });
    expect(current.data.id).toBe(after.data.conversation_id);
    const again = await say(bob.token, "current", "x").then(({ status }) => status);
    expect(again).toBe(404); // only the /sessions routes know the word
    const quick = await call<Sent>("POST", `${V1}/sessions/current/message`, {
      token: bob.token,
      body: { content: "Quick", wait: true },
    });
    expect(quick.data.seq).toBeGreaterThan(sent.data.seq);
  });

  test("POST /session/create chooses the bot and opens a conversation; a bot one may not use is 404", async () => {
    const made = await call<{ session_id: string; conversation_id: string; status: string; bot_id: string }>(
      "POST",
      `${V1}/session/create`,
      { token: ann.token, body: { bot_id: "default" } },
    );
    expect(made.data.status).toBe("active");
    expect((await get(ann.token, made.data.conversation_id)).status).toBe(200);
    const none = await call("POST", `${V1}/session/create`, { token: ann.token, body: { bot_id: "secret-bot" } });
    expect(none.status).toBe(404);
  });

  test("POST /chat makes a session, waits for the whole answer, and goes on in it", async () => {
    interface Answer {
      session_id: string;
      message_id: string;
      answer: Message;
      token?: string;
    }
    const first = await call<Answer>("POST", `${V1}/chat`, { body: { message: "Hello there" } });
    expect(first.status).toBe(200);
    expect(first.data.answer.content).toContain("Hello there");
    const token = first.data.token ?? "";
    const second = await call<Answer>("POST", `${V1}/chat`, {
      token,
      body: { message: "And again", session_id: first.data.session_id },
    });
    expect(second.data.session_id).toBe(first.data.session_id);
    expect(second.data.token).toBeUndefined();
    expect((await history(token, first.data.session_id)).data.messages.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
    const foreign = await call("POST", `${V1}/chat`, { body: { message: "x", session_id: first.data.session_id } });
    expect(foreign.status).toBe(404);
    expect((await call("POST", `${V1}/chat`, { body: { message: "" } })).status).toBe(422);
  });

  test("a failing model is told over REST with the service's name", async () => {
    const { session_id: id } = await begin(ann.token);
    await call("PUT", `${V1}/bots/default/config/llm-fallback`, { token: admin, body: { value: "error" } });
    model.always({ kind: "status", status: 400 });
    const sent = await say(ann.token, id, "Is anybody there?");
    model.always((asked) =>
      answer(`You said: ${asked.body.messages.at(-1)?.content.trim().split("\n").at(-1)?.slice(0, 40) ?? ""}`),
    );
    await call("DELETE", `${V1}/bots/default/config/llm-fallback`, { token: admin });
    // The bot's error text is stored; the message counts as failed.
    const said = (await history(ann.token, id)).data.messages;
    expect(said.find(({ seq }) => seq === 2)?.status).toBe("failed");
    expect([201, 503]).toContain(sent.status);
  });
});

describe("limits", () => {
  test("the 61st message of a minute is RATE_LIMITED with a true retry_after, over all of a person's conversations", async () => {
    minute();
    const person = await server.person();
    const [one, two] = [await begin(person.token), await begin(person.token)];
    const began = clock.now();
    const statuses: number[] = [];
    let last: Awaited<ReturnType<typeof say>> | null = null;
    for (let i = 0; i < 61; i++) {
      const id = i % 2 === 0 ? one.session_id : two.session_id;
      last = await call<Sent>("POST", `${V1}/conversations/${id}/messages`, {
        token: person.token,
        body: { content: `n ${i}`, client_id: `n-${i}`, type: "context", name: "n" },
      });
      statuses.push(last.status);
    }
    expect(statuses.slice(0, 60).every((status) => status === 201)).toBe(true);
    expect(statuses[60]).toBe(429);
    const retryAfter = Number(last?.error?.details["retry_after"]);
    expect(retryAfter).toBeGreaterThan(0);
    clock.advance(began + 60_000 - clock.now() > 0 ? retryAfter * 1000 : 0);
    const after = await say(person.token, one.session_id, "Now again", { wait: false });
    expect(after.status).toBe(201);
  });

  test("the list is limited to 30 a minute", async () => {
    minute();
    const person = await server.person();
    const statuses: number[] = [];
    for (let i = 0; i < 31; i++)
      statuses.push((await call("GET", `${V1}/conversations`, { token: person.token })).status);
    expect(statuses.filter((status) => status === 200).length).toBe(30);
    expect(statuses.at(-1)).toBe(429);
    minute();
  });
});

describe("history and list", () => {
  test("pages go back from the newest and forward from a mark, without a gap", async () => {
    const person = await server.person();
    const { session_id: id } = await begin(person.token);
    for (let i = 0; i < 11; i++) {
      await call("POST", `${V1}/conversations/${id}/messages`, {
        token: person.token,
        body: { content: `note ${i}`, type: "context", name: `n${i}` },
      });
    }
    const newest = (await history(person.token, id, "?limit=5")).data;
    expect(newest.messages.map(({ seq }) => seq)).toEqual([8, 9, 10, 11, 12]);
    expect(newest).toMatchObject({ has_more: true, next_before: "seq:8", next_after: "seq:12" });
    const older = (await history(person.token, id, `?limit=5&before=${newest.next_before}`)).data;
    expect(older.messages.map(({ seq }) => seq)).toEqual([3, 4, 5, 6, 7]);
    const oldest = (await history(person.token, id, `?limit=5&before=${older.next_before}&order=desc`)).data;
    expect(oldest.messages.map(({ seq }) => seq)).toEqual([2, 1]);
    expect(oldest).toMatchObject({ has_more: false, next_before: null });
    const byId = (await history(person.token, id, `?after=${older.messages[4]?.id}&limit=3`)).data;
    expect(byId.messages.map(({ seq }) => seq)).toEqual([8, 9, 10]);
    const at = encodeURIComponent(older.messages[0]?.timestamp ?? "");
    expect((await history(person.token, id, `?before=${at}`)).data.messages.every(({ seq }) => seq < 3)).toBe(true);
    expect((await history(person.token, id, "?after=yesterday")).status).toBe(422);
    expect((await history(person.token, id, "?limit=101")).status).toBe(422);
    const alias = await call<History>("GET", `${V1}/sessions/${id}/history?limit=2`, { token: person.token });
    expect(alias.data.messages.map(({ seq }) => seq)).toEqual([11, 12]);
  });

  test("lists are one's own, filtered, searched by words in titles and messages, newest activity first", async () => {
    const person = await server.person();
    const made: string[] = [];
    for (const title of ["Honey", "Wax", "Pollen"]) made.push((await begin(person.token, { title })).session_id);
    await say(person.token, made[0] ?? "", "The queen lays eggs");
    await begin(ann.token, { title: "Honey of somebody else" });
    const list = async (query: string) => {
      const { data, status } = await call<{ conversations: Conversation[]; total: number }>(
        "GET",
        `${V1}/conversations${query}`,
        {
          token: person.token,
        },
      );
      expect(status).toBe(200);
      return data;
    };
    const all = await list("");
    expect(all.conversations.map(({ title }) => title)).toEqual(["Honey", "Pollen", "Wax"]);
    expect(all).toMatchObject({ total: 3, limit: 20, offset: 0 });
    expect((await list("?sort=title")).conversations.map(({ title }) => title)).toEqual(["Honey", "Pollen", "Wax"]);
    expect((await list("?q=queen")).conversations.map(({ title }) => title)).toEqual(["Honey"]);
    expect((await list("?q=pol")).conversations.map(({ title }) => title)).toEqual(["Pollen"]);
    expect((await list("?q=%27%20%26%20drop")).total).toBe(0);
    expect((await list("?limit=1&offset=1")).conversations.map(({ title }) => title)).toEqual(["Pollen"]);
    await call("POST", `${V1}/conversations/${made[1]}/archive`, { token: person.token });
    expect((await list("")).total).toBe(2);
    expect((await list("?status=archived")).conversations.map(({ title }) => title)).toEqual(["Wax"]);
    expect((await list("?filter[status]=archived")).total).toBe(1);
    expect((await list("?channel=sms")).total).toBe(0);
    const unknown = await call("GET", `${V1}/conversations?colour=red`, { token: person.token });
    expect(unknown.status).toBe(422);
    const others = await call("GET", `${V1}/conversations?user_id=${ann.userId}`, { token: person.token });
    expect(others.error?.details["required"]).toBe("conversations:read");
    minute();
  });

  test("holders of conversations:read see any conversation, and each such read is audited", async () => {
    const { session_id: id } = await begin(ann.token);
    expect((await history(agent.token, id)).status).toBe(200);
    const entries = await db.select().from(auditLog).where(eq(auditLog.resourceId, id));
    const read = entries.find(({ eventType }) => eventType === "data_access");
    expect(read).toMatchObject({ userId: agent.userId, action: "history_read" });
    expect((await say(agent.token, id, "hello")).error?.details["required"]).toBe("conversations:respond");
    expect((await call("DELETE", `${V1}/conversations/${id}`, { token: agent.token })).status).toBe(403);
    expect((await say(bob.token, id, "hello")).status).toBe(404);
  });
});

describe("changing", () => {
  test("PATCH changes what the owner may change, and If-Match keeps two writers apart", async () => {
    const { session_id: id } = await begin(ann.token);
    const before = await get(ann.token, id);
    const tag = before.headers.get("etag") ?? "";
    const patch = (body: Record<string, unknown>, headers: Record<string, string> = {}) =>
      call<Conversation>("PATCH", `${V1}/conversations/${id}`, { token: ann.token, body, headers });
    const changed = await patch(
      { title: "New", pinned: true, tags: ["a", "b", "a"], language: "pt-BR" },
      { "if-match": tag },
    );
    expect(changed.data).toMatchObject({ title: "New", pinned: true, tags: ["a", "b"], language: "pt-BR" });
    expect((await patch({ title: "Late" }, { "if-match": tag })).status).toBe(412);
    expect((await patch({ tags: Array.from({ length: 21 }, (_, i) => `t${i}`) })).status).toBe(422);
    expect((await patch({ title: "" })).status).toBe(422);
    expect((await call("PATCH", `${V1}/conversations/${id}`, { token: bob.token, body: { title: "x" } })).status).toBe(
      404,
    );
  });

  test("feedback is for the bot's messages, read marks never go back", async () => {
    const { session_id: id } = await begin(ann.token);
    const sent = await say(ann.token, id, "Rate me");
    const answerId = sent.data.answer?.id ?? "";
    const up = await call<Message>("POST", `${V1}/conversations/${id}/messages/${answerId}/feedback`, {
      token: ann.token,
      body: { value: "up", comment: "nice" },
    });
    expect(up.data.feedback).toBe("up");
    const own = await call("POST", `${V1}/conversations/${id}/messages/${sent.data.message_id}/feedback`, {
      token: ann.token,
      body: { value: "up" },
    });
    expect(own.status).toBe(409);
    const read = async (messageId: string) =>
      (
        await call<{ unread_count: number }>("POST", `${V1}/conversations/${id}/read`, {
          token: ann.token,
          body: { message_id: messageId },
        })
      ).data.unread_count;
    expect(await read(answerId)).toBe(0);
    const [greeting] = (await history(ann.token, id)).data.messages;
    expect(await read(greeting?.id ?? "")).toBe(0);
  });

  test("an answer is made again in its place, once it is the last", async () => {
    const { session_id: id } = await begin(ann.token);
    const first = await say(ann.token, id, "First question");
    const old = first.data.answer?.id ?? "";
    const again = (message: string) =>
      call<{ message_id: string }>("POST", `${V1}/conversations/${id}/messages/${message}/regenerate`, {
        token: ann.token,
      });
    const made = await again(old);
    expect(made.status).toBe(202);
    await Bun.sleep(0);
    for (let i = 0; i < 100; i++) {
      const { data } = await call<Message>("GET", `${V1}/conversations/${id}/messages/${old}`, { token: ann.token });
      if (data.superseded_by !== null) break;
      await Bun.sleep(20);
    }
    const said = (await history(ann.token, id)).data.messages;
    expect(said.find((one) => one.id === old)?.superseded_by).toBe(made.data.message_id);
    expect(said.at(-1)).toMatchObject({ id: made.data.message_id, sender: "bot" });
    expect((await again(old)).status).toBe(409);
    expect((await again(said[0]?.id ?? "")).status).toBe(409);
  });

  test("deleting a message erases what it said and keeps its place", async () => {
    const { session_id: id } = await begin(ann.token);
    const sent = await say(ann.token, id, "A secret");
    const path = `${V1}/conversations/${id}/messages/${sent.data.message_id}`;
    expect((await call("DELETE", path, { token: bob.token })).status).toBe(404);
    expect((await call("DELETE", path, { token: ann.token })).status).toBe(204);
    const { data } = await call<Message>("GET", path, { token: ann.token });
    expect(data).toMatchObject({ seq: 2, content: "" });
    expect(data.deleted_at).not.toBeNull();
    const answerPath = `${V1}/conversations/${id}/messages/${sent.data.answer?.id}`;
    expect((await call("DELETE", answerPath, { token: ann.token })).status).toBe(409);
    expect((await call("DELETE", answerPath, { token: admin })).status).toBe(204);
  });
});

describe("files", () => {
  const upload = async (
    token: string,
    id: string,
    name: string,
    bytes: BlobPart,
    type = "application/octet-stream",
  ) => {
    const form = new FormData();
    form.append("file", new File([bytes], name, { type }));
    return call<{ attachments: Message["attachments"] }>("POST", `${V1}/conversations/${id}/attachments`, {
      token,
      body: form,
    });
  };
  const PNG = Uint8Array.from(
    atob("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="),
    (c) => c.charCodeAt(0),
  );

  test("the bytes say what a file is, ranges are served, and markup is never shown inline", async () => {
    const { session_id: id } = await begin(ann.token);
    const png = (await upload(ann.token, id, "../évil;.html", PNG, "text/html")).data.attachments[0];
    expect(png).toMatchObject({ mime: "image/png", size: PNG.byteLength, name: "évil;.html" });
    const fetched = await fetch(server.url + (png?.url ?? ""), { headers: { authorization: `Bearer ${ann.token}` } });
    expect(fetched.headers.get("content-type")).toBe("image/png");
    expect(fetched.headers.get("content-disposition")).toBe(
      "inline; filename=\"_vil;.html\"; filename*=UTF-8''%C3%A9vil%3B.html",
    );
    expect(new Uint8Array(await fetched.arrayBuffer())).toEqual(PNG);
    const part = await fetch(server.url + (png?.url ?? ""), {
      headers: { authorization: `Bearer ${ann.token}`, range: "bytes=1-3" },
    });
    expect(part.status).toBe(206);
    expect(await part.text()).toBe("PNG");
    expect(part.headers.get("content-range")).toBe(`bytes 1-3/${PNG.byteLength}`);
    const beyond = await fetch(server.url + (png?.url ?? ""), {
      headers: { authorization: `Bearer ${ann.token}`, range: "bytes=9999-" },
    });
    expect(beyond.status).toBe(416);
    expect(beyond.headers.get("content-range")).toBe(`bytes */${PNG.byteLength}`);
    for (const markup of [
      "<!doctype html><script>alert(1)</script>",
      '<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>',
    ]) {
      const file = (await upload(ann.token, id, "x.png", markup, "image/png")).data.attachments[0];
      const shown = await fetch(server.url + (file?.url ?? ""), { headers: { authorization: `Bearer ${ann.token}` } });
      expect(shown.headers.get("content-type")).toBe("application/octet-stream");
      expect(shown.headers.get("content-disposition")).toStartWith("attachment");
      expect(shown.headers.get("x-content-type-options")).toBe("nosniff");
    }
    const stranger = await fetch(server.url + (png?.url ?? ""), { headers: { authorization: `Bearer ${bob.token}` } });
    expect(stranger.status).toBe(404);
  });

  test("a file goes with one message of its own conversation, and vanishes with it", async () => {
    const { session_id: id } = await begin(ann.token);
    const { session_id: other } = await begin(ann.token);
    const file = (await upload(ann.token, id, "a.txt", "hello")).data.attachments[0];
    const ids = [file?.id ?? ""];
    expect((await say(ann.token, other, "not mine", { attachments: ids })).status).toBe(404);
    const sent = await say(ann.token, id, "", { attachments: ids, wait: false });
    expect(sent.status).toBe(201);
    expect((await say(ann.token, id, "twice", { attachments: ids })).status).toBe(409);
    const message = (await history(ann.token, id)).data.messages.find(({ seq }) => seq === sent.data.seq);
    expect(message?.attachments).toEqual([
      { id: ids[0] ?? "", name: "a.txt", mime: "text/plain", size: 5, url: file?.url ?? "" },
    ]);
    const [row] = await db
      .select()
      .from(attachments)
      .where(eq(attachments.id, ids[0] ?? ""));
    expect(await server.engines.objects.stat(row?.blobId ?? "")).toMatchObject({ sizeBytes: 5 });
    await call("DELETE", `${V1}/conversations/${id}/messages/${sent.data.message_id}`, { token: ann.token });
    expect(await server.engines.objects.stat(row?.blobId ?? "")).toBeNull();
  });

  test("what no message takes within 24 hours is gone", async () => {
    const { session_id: id } = await begin(ann.token);
    const file = (await upload(ann.token, id, "a.txt", "hello")).data.attachments[0];
    await area.jobs.seldom();
    expect(
      (
        await db
          .select()
          .from(attachments)
          .where(eq(attachments.id, file?.id ?? ""))
      ).length,
    ).toBe(1);
    clock.advance(24 * 3_600_000 + 1000);
    for (const person of [ann, bob, agent]) await renew(person);
    await area.jobs.seldom();
    expect(
      (
        await db
          .select()
          .from(attachments)
          .where(eq(attachments.id, file?.id ?? ""))
      ).length,
    ).toBe(0);
  });

  test("a form without a file is 422, another content type 415, a form that breaks off 400", async () => {
    const token = (await server.person()).token;
    const { session_id: id } = await begin(token);
    const path = `${V1}/conversations/${id}/attachments`;
    const empty = new FormData();
    empty.append("note", "no file");
    expect((await call("POST", path, { token, body: empty })).status).toBe(422);
    expect((await call("POST", path, { token, body: {} })).status).toBe(415);
    const broken = await call("POST", path, {
      token,
      body: '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf',
      headers: { "content-type": "multipart/form-data; boundary=x" },
    });
    expect(broken.status).toBe(400);
  });
});

describe("closing", () => {
  test("closing is idempotent, keeps history, refuses messages, and can be undone", async () => {
    const { session_id: id } = await begin(ann.token);
    await say(ann.token, id, "Goodbye");
    const closed = await call<Conversation>("POST", `${V1}/conversations/${id}/close`, {
      token: ann.token,
      body: { resolution: "resolved", rating: 4, comment: "fine" },
    });
    expect(closed.data).toMatchObject({
      status: "closed",
      closed_reason: "user",
      resolution: "resolved",
      resolved_by: "user",
      rating: 4,
    });
    const again = await call<Conversation>("POST", `${V1}/sessions/${id}/end`, { token: ann.token });
    expect(again.status).toBe(200);
    const refused = await say(ann.token, id, "One more thing");
    expect([refused.status, refused.error?.details["reason"]]).toEqual([409, "conversation_closed"]);
    const [outcome] = await db.select().from(conversationOutcomes).where(eq(conversationOutcomes.conversationId, id));
    expect(outcome).toMatchObject({
      closed: true,
      userMessages: 1,
      botMessages: 2,
      attendantMessages: 0,
      handedOver: false,
      resolution: "resolved",
      rating: 4,
    });
    expect(outcome?.firstAnswerMs).toBeGreaterThanOrEqual(0);
    const opened = await call<Conversation>("POST", `${V1}/conversations/${id}/reopen`, { token: ann.token });
    expect(opened.data).toMatchObject({ status: "active", closed_reason: null });
    expect((await say(ann.token, id, "Here again")).status).toBe(201);
    const archived = await call<Conversation>("POST", `${V1}/conversations/${id}/archive`, { token: ann.token });
    expect(archived.data.status).toBe("archived");
    const back = await call<Conversation>("POST", `${V1}/conversations/${id}/unarchive`, { token: ann.token });
    expect(back.data.status).toBe("closed");
    const told = (await db.select().from(events).where(eq(events.subjectId, id))).map(({ type }) => type);
    expect(told).toContain("conversation.closed");
    expect(told).toContain("conversation.completed");
    expect(told).toContain("conversation.rated");
  });

  test("a rating may be changed for seven days after closing", async () => {
    const { session_id: id } = await begin(ann.token);
    await say(ann.token, id, "Hi");
    await call("POST", `${V1}/conversations/${id}/close`, { token: ann.token });
    const rate = (body: Record<string, unknown>) =>
      call<Conversation>("POST", `${V1}/conversations/${id}/rating`, { token: ann.token, body });
    expect((await rate({ rating: 5, resolved: true })).data).toMatchObject({ rating: 5, resolution: "resolved" });
    expect((await rate({ rating: 6 })).status).toBe(422);
    const [outcome] = await db.select().from(conversationOutcomes).where(eq(conversationOutcomes.conversationId, id));
    expect(outcome).toMatchObject({ rating: 5, resolution: "resolved", resolvedBy: "user" });
    clock.advance(7 * 86_400_000 + 1000);
    const fresh = await server.signIn(ann);
    ann.token = fresh;
    const late = await call("POST", `${V1}/conversations/${id}/rating`, { token: fresh, body: { rating: 1 } });
    expect([late.status, late.error?.details["reason"]]).toEqual([409, "rating_closed"]);
    for (const person of [bob, agent]) person.token = await server.signIn(person);
  });

  test("silence ends a span of a signed-in conversation and counts it; the conversation stays open", async () => {
    const { session_id: id } = await begin(ann.token);
    await say(ann.token, id, "First stretch");
    clock.advance(1_801_000);
    await area.jobs.often();
    await renew(ann);
    await say(ann.token, id, "Second stretch");
    clock.advance(1_801_000);
    await area.jobs.often();
    await area.jobs.often();
    await renew(ann);
    expect((await get(ann.token, id)).data.status).toBe("active");
    const outcomes = await db
      .select()
      .from(conversationOutcomes)
      .where(eq(conversationOutcomes.conversationId, id))
      .orderBy(conversationOutcomes.firstSeq);
    expect(
      outcomes.map(({ firstSeq, lastSeq, userMessages, closed, resolution }) => [
        firstSeq,
        lastSeq,
        userMessages,
        closed,
        resolution,
      ]),
    ).toEqual([
      [1, 3, 1, false, null],
      [4, 5, 1, false, null],
    ]);
  });
});

async function renew(person: Person): Promise<void> {
  person.token = await server.signIn(person);
}

describe("anonymous", () => {
  test("silence closes it, ends its token, and erases it a week later", async () => {
    const started = await begin(null);
    const token = started.token ?? "";
    expect((await get(token, started.session_id)).data.expires_at).not.toBeNull();
    clock.advance(1_801_000);
    expect((await get(token, started.session_id)).status).toBe(401);
    await area.jobs.often();
    const [row] = await db.select().from(conversations).where(eq(conversations.id, started.session_id));
    expect(row).toMatchObject({ status: "closed", closedReason: "idle" });
    clock.advance(7 * 86_400_000 + 1000);
    await area.jobs.often();
    expect((await db.select().from(conversations).where(eq(conversations.id, started.session_id))).length).toBe(0);
    for (const person of [ann, bob, agent]) await renew(person);
  });

  test("claim makes it the caller's: history kept, token ended, twice is 409", async () => {
    const started = await begin(null);
    const token = started.token ?? "";
    await call("POST", `${V1}/conversations/${started.session_id}/messages`, {
      token,
      body: { content: "Before", wait: true },
    });
    const claim = (who: string, given: string) =>
      call<Conversation>("POST", `${V1}/conversations/${started.session_id}/claim`, {
        token: who,
        body: { token: given },
      });
    expect((await claim(ann.token, "cs_wrong")).status).toBe(404);
    const claimed = await claim(ann.token, token);
    expect(claimed.data).toMatchObject({ user_id: ann.userId, expires_at: null, last_seq: 3 });
    expect((await history(token, started.session_id)).status).toBe(401);
    expect((await history(ann.token, started.session_id)).data.messages.map(({ content }) => content)[1]).toBe(
      "Before",
    );
    const again = await claim(bob.token, token);
    expect([again.status, again.error?.details["reason"]]).toEqual([409, "already_claimed"]);
    expect((await history(bob.token, started.session_id)).status).toBe(404);
  });

  test("DELETE /sessions ends the token and keeps the history", async () => {
    const started = await begin(null);
    const token = started.token ?? "";
    const before = await call<{ authenticated: boolean; session_id: string }>("GET", `${V1}/session`, { token });
    expect(before.data).toMatchObject({ authenticated: false, session_id: started.session_id });
    expect((await call("DELETE", `${V1}/sessions/${started.session_id}`, { token })).status).toBe(204);
    expect((await history(token, started.session_id)).status).toBe(401);
    expect((await history(agent.token, started.session_id)).data.messages.length).toBe(1);
  });
});

describe("out and away", () => {
  test("the export holds everything, in three forms, and is audited", async () => {
    const { session_id: id } = await begin(ann.token, { title: "Export me" });
    await say(ann.token, id, "A *starred* question");
    const file = async (format: string) =>
      fetch(`${server.url}${V1}/conversations/${id}/export?format=${format}`, {
        headers: { authorization: `Bearer ${ann.token}` },
      });
    const json = (await (await file("json")).json()) as { conversation: Conversation; messages: Message[] };
    expect(json.conversation.id).toBe(id);
    expect(json.messages.map(({ seq }) => seq)).toEqual([1, 2, 3]);
    const markdown = await file("markdown");
    expect(markdown.headers.get("content-disposition")).toContain(`conversation-${id}.md`);
    expect(await markdown.text()).toContain("A \\*starred\\* question");
    expect(await (await file("text")).text()).toContain("A *starred* question");
    expect((await file("pdf")).status).toBe(422);
    const foreign = await call("GET", `${V1}/conversations/${id}/export`, { token: bob.token });
    expect(foreign.status).toBe(404);
    const entries = await db.select().from(auditLog).where(eq(auditLog.resourceId, id));
    expect(entries.filter(({ eventType }) => eventType === "conversation_exported").length).toBe(3);
  });

  test("deleting erases conversation, messages and files; counts without a person stay", async () => {
    const { session_id: id } = await begin(ann.token);
    await say(ann.token, id, "Forget me");
    await call("POST", `${V1}/conversations/${id}/close`, { token: ann.token });
    expect((await call("DELETE", `${V1}/conversations/${id}`, { token: bob.token })).status).toBe(404);
    expect((await call("DELETE", `${V1}/conversations/${id}`, { token: ann.token })).status).toBe(204);
    expect((await get(ann.token, id)).status).toBe(404);
    const left = await server.engines.database.query<{ n: number }>(
      "select (select count(*) from messages where conversation_id = $1)::int + (select count(*) from turns where conversation_id = $1)::int as n",
      [id],
    );
    expect(left[0]?.n).toBe(0);
    const [outcome] = await db.select().from(conversationOutcomes).where(eq(conversationOutcomes.conversationId, id));
    expect(outcome).toMatchObject({ userId: null, userMessages: 1 });
  });

  test("a person's data is found, handed out and erased", async () => {
    const person = await server.person();
    const { session_id: id } = await begin(person.token, { title: "Mine" });
    await say(person.token, id, "Something personal");
    const entry = server.services.people.all().find((one) => one.area === "conversations");
    const data = (await entry?.export(db, person.userId)) as { conversations: { messages: Message[] }[] };
    expect(data.conversations[0]?.messages.map(({ content }) => content)).toContain("Something personal");
    await server.engines.database.transaction(async (tx) => {
      await entry?.erase(tx, person.userId);
    });
    const found = await server.engines.database.query<{ n: number }>(
      "select count(*)::int as n from messages where sender_id = $1 or content = 'Something personal'",
      [person.userId],
    );
    expect(found[0]?.n).toBe(0);
    expect((await db.select().from(conversations).where(eq(conversations.userId, person.userId))).length).toBe(0);
  });
});
