// The chat socket and server-sent events, seen from outside: who gets in, what comes out in which order, what is
// refused, how it ends.

import { connect } from "node:net";
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { messages as messageRows } from "../../src/areas/conversations/model.ts";
import { openSocket, refusedUpgrade, type ChatFrame, type ChatSocket } from "../support/chat-socket.ts";
import { answer, startModelServer } from "../support/model-server.ts";
import { waitFor } from "../support/processes.ts";
import { startTestServer, type Person, type TestServer } from "../support/server.ts";

const model = await startModelServer();
afterAll(() => model.stop());
/** What is answered to a question; others are repeated. Background work asks the model too, so a queue would not do. */
const scripted = new Map<string, ReturnType<typeof answer>>();
model.always((asked) => {
  const question = asked.body.messages.at(-1)?.content.trim().split("\n").at(-1) ?? "";
  return scripted.get(question) ?? answer("You ", "said: ", question.slice(0, 40));
});
const server = await startTestServer({ LLM_URL: model.url, LLM_MODEL: "test-model" });
const call = <Data = unknown>(...given: Parameters<TestServer["call"]>) => server.call<Data>(...given);
const { clock } = server;
const area = server.services.conversations;
const ann = await server.person();
const bob = await server.person();
const V1 = "/api/v1";

const opened: ChatSocket[] = [];
async function open(
  query: Record<string, string> = {},
  options: Parameters<typeof openSocket>[2] = {},
): Promise<ChatSocket> {
  const socket = await openSocket(server.url, query, options);
  opened.push(socket);
  return socket;
}
afterEach(async () => {
  for (const socket of opened.splice(0)) {
    socket.close();
    await socket.closed;
  }
  await waitFor(() => area.sockets.count() === 0);
  clock.advance(61_000);
});

const started = async (token: string | null): Promise<{ session_id: string; token?: string }> =>
  (await call<{ session_id: string; token?: string }>("POST", `${V1}/conversations/start`, { token, body: {} })).data;

const sender = (name: string) => (frame: ChatFrame) => frame.type === "message" && frame["sender"] === name;
const answerTo = (content: string) => (frame: ChatFrame) =>
  frame.type === "message" && frame["sender"] === "bot" && String(frame["content"]).includes(content);

describe("getting in", () => {
  test("without credentials: connected with a token, greeting, an answer; the token reads the history, another gets 404", async () => {
    const socket = await open();
    const connected = await socket.status("connected");
    expect(connected).toMatchObject({ user: null, last_seq: 0, heartbeat_seconds: 30 });
    expect(connected["bot"]).toMatchObject({ name: "default" });
    const token = String(connected["token"]);
    const id = String(connected["session_id"]);
    expect(token).toStartWith("cs_");
    await socket.next(sender("bot"));
    socket.send({ type: "message", content: "Hello there", client_id: "one" });
    const ack = await socket.next(({ type }) => type === "ack");
    expect(ack).toMatchObject({ client_id: "one", seq: 2, session_id: id, duplicate: false });
    await socket.next(answerTo("Hello there"));
    const deltas = socket.frames.filter(({ type }) => type === "delta");
    expect(deltas.map(({ index }) => index)).toEqual(deltas.map((_, i) => i));
    expect(deltas.map(({ content }) => content).join("")).toContain("Hello there");
    expect(socket.seqs()).toEqual([1, 2, 3]);
    const own = socket.frames.find(sender("user"));
    expect(own).toMatchObject({ client_id: "one", message_type: "text", status: "processing" });
    await socket.next((frame) => frame.type === "message_update" && frame["status"] === "answered");
    const history = await call<{ messages: unknown[] }>("GET", `${V1}/conversations/${id}/history`, { token });
    expect(history.data.messages.length).toBe(3);
    const other = await started(null);
    expect((await call("GET", `${V1}/conversations/${id}/history`, { token: other.token ?? "" })).status).toBe(404);
    const refused = await refusedUpgrade(`${server.url}/ws?session_id=${id}&token=${other.token ?? ""}`);
    expect(refused.status).toBe(404);
    const nobody = await refusedUpgrade(`${server.url}/ws?session_id=${id}`);
    expect(nobody.status).toBe(404);
  });

  test("credentials by query, subprotocol or header; a wrong one is 401 instead of the upgrade", async () => {
    const byQuery = await open({}, { token: ann.token });
    expect(await byQuery.status("connected")).toMatchObject({ user: { id: ann.userId } });
    const byProtocol = await open({}, { protocols: ["botserver.v1", `bearer.${ann.token}`] });
    expect(await byProtocol.status("connected")).toMatchObject({ user: { id: ann.userId } });
    for (const attempt of [`${server.url}/ws?token=wrong`, `${server.url}/ws?token=cs_wrong`]) {
      expect((await refusedUpgrade(attempt)).status).toBe(401);
    }
    expect((await refusedUpgrade(`${server.url}/ws`, { authorization: "Bearer wrong" })).status).toBe(401);
    expect((await refusedUpgrade(`${server.url}/ws?bot=nobody`)).status).toBe(404);
    const plain = await fetch(`${server.url}/ws`);
    expect(plain.status).toBe(400);
  });

  test("a signed-in caller comes back to the conversation that goes on; a chat token to its own", async () => {
    const first = await open({}, { token: bob.token });
    const { session_id: id } = await first.status("connected");
    const second = await open({}, { token: bob.token });
    expect((await second.status("connected"))["session_id"]).toBe(id);
    const { session_id: other, token } = await started(null);
    const third = await open({}, { token: token ?? "" });
    expect(await third.status("connected")).toMatchObject({ session_id: other, user: null });
  });

  test("?auth=frame waits for the frame, at most 10 s; a wrong token is told and ends it", async () => {
    const waiting = await open({ auth: "frame" });
    waiting.send({ type: "message", content: "too early" });
    expect(await waiting.next(({ type }) => type === "error")).toMatchObject({ code: "UNAUTHORIZED" });
    waiting.send({ type: "auth", token: ann.token });
    expect(await waiting.status("connected")).toMatchObject({ user: { id: ann.userId } });
    const wrong = await open({ auth: "frame" });
    wrong.send({ type: "auth", token: "nonsense" });
    expect(await wrong.next(({ type }) => type === "error")).toMatchObject({ code: "UNAUTHORIZED", fatal: true });
    expect((await wrong.closed).code).toBe(4401);
    const silent = await open({ auth: "frame" });
    clock.advance(11_000);
    await area.sockets.tick();
    expect((await silent.closed).code).toBe(4401);
    expect(silent.frames).toEqual([]);
  });

  test("chat=0 brings the frames of other areas and no conversation", async () => {
    const socket = await open({ chat: "0" }, { token: ann.token });
    expect(await socket.status("connected")).toMatchObject({ session_id: null, bot: null });
    area.toUser(ann.userId, { type: "notification", data: { n: 1 } });
    area.toUser(bob.userId, { type: "notification", data: { n: 2 } });
    expect(await socket.next(({ type }) => type === "notification")).toMatchObject({ data: { n: 1 } });
    socket.send({ type: "message", content: "to nobody" });
    expect(await socket.next(({ type }) => type === "error")).toMatchObject({ code: "NOT_FOUND" });
    expect((await refusedUpgrade(`${server.url}/ws?chat=0`)).status).toBe(401);
  });

  test("at most 10 sockets for a user and 5 anonymous ones for an address", async () => {
    for (let i = 0; i < 10; i++) await open({ chat: "0" }, { token: bob.token });
    const refused = await refusedUpgrade(`${server.url}/ws?chat=0&token=${bob.token}`);
    expect([refused.status, refused.body.error?.details["reason"]]).toEqual([429, "too_many_sockets"]);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    for (let i = 0; i < 5; i++) await open();
    expect((await refusedUpgrade(`${server.url}/ws`)).status).toBe(429);
    opened.pop()?.close();
    await waitFor(() => area.sockets.count() === 14);
    await (await open()).status("connected");
  });
});

describe("saying", () => {
  test("the same client_id five times at once over two sockets and REST: one message, one answer, five equal acks", async () => {
    const { session_id: id } = await started(ann.token);
    const [one, two] = [
      await open({ session_id: id }, { token: ann.token }),
      await open({ session_id: id }, { token: ann.token }),
    ];
    await Promise.all([one.status("connected"), two.status("connected")]);
    const asked = () =>
      model.requests.filter(({ body }) => body.messages.at(-1)?.content.includes("Only once, please")).length;
    const frame = { type: "message", content: "Only once, please", client_id: "same" };
    one.send(frame);
    two.send(frame);
    one.send(frame);
    two.send(frame);
    const rest = await call<{ message_id: string; seq: number }>("POST", `${V1}/conversations/${id}/messages`, {
      token: ann.token,
      body: { content: "Only once, please", client_id: "same" },
    });
    await waitFor(() => one.frames.filter(({ type }) => type === "ack").length === 2);
    await waitFor(() => two.frames.filter(({ type }) => type === "ack").length === 2);
    const acks = [...one.frames, ...two.frames].filter(({ type }) => type === "ack");
    expect(new Set(acks.map(({ message_id }) => message_id))).toEqual(new Set([rest.data.message_id]));
    expect(new Set(acks.map(({ seq, timestamp }) => `${String(seq)} ${String(timestamp)}`)).size).toBe(1);
    await one.next(answerTo("Only once"));
    const rows = await server.engines.database.db.select().from(messageRows).where(eq(messageRows.conversationId, id));
    expect(rows.filter(({ sender: who }) => who === "user").length).toBe(1);
    expect(rows.length).toBe(3);
    expect(asked()).toBe(1);
  });

  test("every device hears every message in seq order without a gap, whoever sends how fast", async () => {
    const { session_id: id } = await started(ann.token);
    await call("PATCH", `${V1}/conversations/${id}/context`, { token: await server.signIn(), body: {} });
    const devices = [];
    for (let i = 0; i < 3; i++) devices.push(await open({ session_id: id, last_seq: "0" }, { token: ann.token }));
    for (const device of devices) await device.status("connected");
    for (let i = 0; i < 45; i++) {
      devices[i % 3]?.send({ type: 4, name: `n${i}`, content: `note ${i}`, client_id: `n-${i}` });
    }
    for (const device of devices) {
      await device.next(({ seq }) => seq === 46);
      expect(device.seqs()).toEqual(Array.from({ length: 46 }, (_, i) => i + 1));
    }
  });

  test("messages that come during an answer wait in order, at most ten; then the queue is full", async () => {
    const hold = Promise.withResolvers<void>();
    scripted.set("Question 0", answer("First ", hold.promise, "done."));
    const { session_id: id } = await started(ann.token);
    const socket = await open({ session_id: id, last_seq: "0" }, { token: ann.token });
    await socket.next(sender("bot"));
    for (let i = 0; i < 12; i++) socket.send({ type: "message", content: `Question ${i}`, client_id: `q-${i}` });
    const full = await socket.next(({ type }) => type === "error");
    expect(full).toMatchObject({ code: "CONFLICT", details: { reason: "turn_queue_full" }, client_id: "q-11" });
    hold.resolve();
    await socket.next(answerTo("Question 10"), 10_000);
    const said = socket.frames.filter(({ type }) => type === "message");
    const answers = said.filter((frame) => frame["sender"] === "bot").map(({ content }) => String(content));
    expect(answers.slice(1)).toEqual([
      "First done.",
      ...Array.from({ length: 10 }, (_, i) => `You said: Question ${i + 1}`),
    ]);
    expect(socket.seqs()).toEqual(Array.from({ length: said.length }, (_, i) => i + 1));
  });

  test("cancel keeps what was written; a waiting message can be withdrawn", async () => {
    const hold = Promise.withResolvers<void>();
    scripted.set("Tell me all", answer("Half of ", hold.promise, "it"));
    const { session_id: id } = await started(ann.token);
    const socket = await open({ session_id: id }, { token: ann.token });
    socket.send({ type: "message", content: "Tell me all", client_id: "a" });
    await socket.next(({ type, content }) => type === "delta" && String(content).includes("Half"));
    socket.send({ type: "message", content: "And this", client_id: "b" });
    const second = await socket.next(({ type, client_id }) => type === "ack" && client_id === "b");
    const withdrawn = await call<{ cancelled: boolean }>("POST", `${V1}/conversations/${id}/cancel`, {
      token: ann.token,
      body: { message_id: second["message_id"] },
    });
    expect(withdrawn.data.cancelled).toBe(true);
    socket.send({ type: "cancel" });
    const kept = await socket.next((frame) => frame.type === "message" && frame["finish_reason"] === "cancelled");
    expect(String(kept["content"]).trim()).toBe("Half of");
    expect(kept["is_complete"]).toBe(false);
    hold.resolve();
    await socket.next(
      (frame) =>
        frame.type === "message_update" &&
        frame["message_id"] === second["message_id"] &&
        frame["status"] === "cancelled",
    );
    const none = await call<{ cancelled: boolean }>("POST", `${V1}/conversations/${id}/cancel`, { token: ann.token });
    expect(none.data.cancelled).toBe(false);
  });

  test("typing, read marks and a picked quick reply reach the other device", async () => {
    const { session_id: id } = await started(ann.token);
    const [one, two] = [
      await open({ session_id: id, last_seq: "0" }, { token: ann.token }),
      await open({ session_id: id }, { token: ann.token }),
    ];
    await two.status("connected");
    const greeting = await one.next(sender("bot"));
    one.send({ type: "typing", state: "start" });
    expect(await two.next((frame) => frame.type === "typing" && frame["sender"] === "user")).toMatchObject({
      state: "start",
    });
    one.send({ type: "read", message_id: greeting["id"] });
    expect(await two.next(({ type }) => type === "read")).toMatchObject({
      user_id: ann.userId,
      message_id: greeting["id"],
    });
    one.send({ type: "suggestion", value: "What is new?", client_id: "s" });
    const picked = await two.next(sender("user"));
    expect(picked).toMatchObject({ content: "What is new?", metadata: { suggestion: "What is new?" } });
    one.send({ type: "ping", t: 7 });
    expect(await one.next(({ type }) => type === "pong")).toMatchObject({ t: 7 });
  });

  test("content is cleaned: control characters vanish, half characters are replaced", async () => {
    const socket = await open({}, { token: ann.token });
    await socket.status("connected");
    socket.send(
      String.raw`{"type":4,"name":"n","content":"a\u0000b\u0007\td\ne \ud800f","client_id":"c","metadata":{"k":"x\u0000y"}}`,
    );
    const stored = await socket.next((frame) => frame.type === "message" && frame["client_id"] === "c");
    expect(stored["content"]).toBe("ab\td\ne \ufffdf");
    expect(stored["metadata"]).toMatchObject({ k: "xy" });
  });

  test("a listening socket hears of other conversations of its user by a status frame", async () => {
    const [first, second] = [await started(ann.token), await started(ann.token)];
    const socket = await open({ session_id: first.session_id }, { token: ann.token });
    await socket.status("connected");
    await call("POST", `${V1}/conversations/${second.session_id}/messages`, {
      token: ann.token,
      body: { content: "Elsewhere", type: "context", name: "n" },
    });
    const told = await socket.next(
      (frame) => frame["state"] === "conversation" && frame["last_message"] === "Elsewhere",
    );
    expect(told).toMatchObject({ session_id: second.session_id, last_seq: 2 });
    socket.send({ type: "subscribe", session_id: second.session_id, last_seq: 1 });
    expect(await socket.status("resumed")).toMatchObject({
      session_id: second.session_id,
      from_seq: 1,
      to_seq: 2,
      truncated: false,
    });
    socket.send({ type: "unsubscribe", session_id: second.session_id });
    socket.send({ type: "message", session_id: second.session_id, content: "Still mine" });
    await socket.next(({ type, session_id: id }) => type === "ack" && id === second.session_id);
  });
});

describe("coming back", () => {
  test("resume replays what was missed and then goes on", async () => {
    const { session_id: id } = await started(ann.token);
    const before = await open({ session_id: id, last_seq: "0" }, { token: ann.token });
    await before.next(({ seq }) => seq === 1);
    before.close();
    await before.closed;
    for (const content of ["one", "two", "three"]) {
      await call("POST", `${V1}/conversations/${id}/messages`, {
        token: ann.token,
        body: { content, type: "context", name: "n" },
      });
    }
    const after = await open({ session_id: id, last_seq: "1" }, { token: ann.token });
    expect(await after.status("resumed")).toMatchObject({ from_seq: 1, to_seq: 4, truncated: false });
    await after.message("three");
    after.send({ type: 4, name: "n", content: "four" });
    await after.message("four");
    expect(after.seqs()).toEqual([2, 3, 4, 5]);
    const byId = await open(
      { session_id: id, last_message_id: String(after.frames.find(({ seq }) => seq === 4)?.["id"]) },
      { token: ann.token },
    );
    await byId.message("four");
    expect(byId.seqs()).toEqual([5]);
  });

  test("more than 500 missed messages: the first 500 come, and it is told that there are more", async () => {
    const { session_id: id } = await started(ann.token);
    await waitFor(
      async () =>
        (await call<{ last_seq: number }>("GET", `${V1}/conversations/${id}`, { token: ann.token })).data.last_seq ===
        1,
    );
    await server.engines.database.query(
      `insert into messages (id, conversation_id, seq, sender, content, status, created_at)
       select gen_random_uuid(), $1, n, 'system', 'n ' || n, 'delivered', now() from generate_series(2, 600) n`,
      [id],
    );
    await server.engines.database.query("update conversations set last_seq = 600, message_count = 600 where id = $1", [
      id,
    ]);
    const socket = await open({ session_id: id, last_seq: "10" }, { token: ann.token });
    expect(await socket.status("resumed")).toMatchObject({ from_seq: 10, to_seq: 510, truncated: true });
    await socket.next(({ seq }) => seq === 510);
    socket.send({ type: 4, name: "n", content: "live again" });
    await socket.message("live again");
    expect(socket.seqs()).toEqual([...Array.from({ length: 500 }, (_, i) => i + 11), 601]);
  });

  test("whoever joins during an answer gets all of it so far in one reset delta, then the rest", async () => {
    const hold = Promise.withResolvers<void>();
    scripted.set("Go", answer("The beginning", hold.promise, " and the end."));
    const { session_id: id } = await started(ann.token);
    const first = await open({ session_id: id }, { token: ann.token });
    first.send({ type: "message", content: "Go" });
    const shown = await first.next(({ type }) => type === "delta");
    const second = await open({ session_id: id, last_seq: "2" }, { token: ann.token });
    const reset = await second.next(({ type }) => type === "delta");
    expect(reset).toMatchObject({ reset: true, content: "The beginning", message_id: shown["message_id"] });
    hold.resolve();
    const done = await second.message("The beginning and the end.");
    expect(done["id"]).toBe(shown["message_id"]);
    const rest = second.frames.filter(({ type }) => type === "delta").map(({ content }) => content);
    expect(rest.join("")).toBe("The beginning and the end.");
  });

  test("a change that was missed is told again", async () => {
    const { session_id: id } = await started(ann.token);
    const sent = await call<{ message_id: string }>("POST", `${V1}/conversations/${id}/messages`, {
      token: ann.token,
      body: { content: "Take me back", wait: true },
    });
    const live = await open({ session_id: id }, { token: ann.token });
    await live.status("connected");
    await call("DELETE", `${V1}/conversations/${id}/messages/${sent.data.message_id}`, { token: ann.token });
    const told = await live.next((frame) => frame.type === "message_update" && frame["deleted_at"] !== undefined);
    expect(told["message_id"]).toBe(sent.data.message_id);
    const later = await open({ session_id: id, last_seq: "3" }, { token: ann.token });
    expect(await later.next((frame) => frame.type === "message_update" && frame["deleted_at"] !== null)).toMatchObject({
      message_id: sent.data.message_id,
      content: "",
    });
  });

  test("stream=0 gets whole messages and no deltas", async () => {
    const { session_id: id } = await started(ann.token);
    const quiet = await open({ session_id: id, stream: "0" }, { token: ann.token });
    await quiet.status("connected");
    quiet.send({ type: "message", content: "Whole, please" });
    await quiet.next(answerTo("Whole, please"));
    expect(quiet.frames.filter(({ type }) => type === "delta")).toEqual([]);
  });
});

describe("refusing", () => {
  test("unknown types and bad frames are told; three malformed ones within a minute end it with 4400", async () => {
    const socket = await open({}, { token: ann.token });
    await socket.status("connected");
    socket.send({ type: "dance" });
    expect(await socket.next(({ type }) => type === "error")).toMatchObject({ details: { reason: "unknown_type" } });
    socket.send({ type: "message", content: "  " });
    await socket.next(({ code }) => code === "VALIDATION_ERROR");
    socket.send({ type: 5, content: "as the system" });
    socket.send({ type: "message", content: "x".repeat(33_000), client_id: "long" });
    expect(await socket.next(({ code }) => code === "PAYLOAD_TOO_LARGE")).toMatchObject({ client_id: "long" });
    socket.send({ type: "message", session_id: Bun.randomUUIDv7(), content: "whose?" });
    await socket.next(({ code }) => code === "NOT_FOUND");
    for (const bad of ["not json", '{"no":"type"}', "[1]"]) socket.send(bad);
    expect((await socket.closed).code).toBe(4400);
    const malformed = socket.frames.filter(
      (frame) => (frame["details"] as { reason?: string } | undefined)?.reason === "invalid_message",
    );
    expect(malformed.length).toBe(3);
  });

  test("binary frames end it with 1003, frames over 128 KiB with 1009", async () => {
    const binary = await open({}, { token: ann.token });
    binary.send(new Uint8Array([1, 2, 3]));
    expect((await binary.closed).code).toBe(1003);
    const long = await open({}, { token: ann.token });
    long.send(`{"type":"message","content":"${"x".repeat(129 * 1024)}"}`);
    expect((await long.closed).code).toBe(1009);
  });

  test("over the message limit the socket stays, five refusals within a minute end it with 4429", async () => {
    const person = await server.person();
    const socket = await open({}, { token: person.token });
    await socket.status("connected");
    for (let i = 0; i < 61; i++) {
      socket.send({ type: 4, name: "n", content: `n ${i}`, client_id: `n-${i}` });
      // A socket keeps at most 64 frames waiting.
      if (i % 30 === 29) await socket.next(({ type, client_id }) => type === "ack" && client_id === `n-${i}`);
    }
    const refused = await socket.next(({ type }) => type === "error");
    expect(refused).toMatchObject({ code: "RATE_LIMITED", client_id: "n-60", fatal: false });
    const rest = await call("POST", `${V1}/conversations/start`, {
      token: person.token,
      body: { initial_message: "also counted" },
    });
    expect(rest.status).toBe(429);
    socket.send({ type: "ping" });
    await socket.next(({ type }) => type === "pong");
    for (let i = 0; i < 4; i++) socket.send({ type: "message", content: "again" });
    expect((await socket.closed).code).toBe(4429);
  });

  test("a closed conversation takes no messages; end closes it for everybody who listens", async () => {
    const { session_id: id } = await started(ann.token);
    const [one, two] = [
      await open({ session_id: id }, { token: ann.token }),
      await open({ session_id: id }, { token: ann.token }),
    ];
    await two.status("connected");
    one.send({ type: "end", resolution: "resolved", rating: 5 });
    expect(await two.status("closed")).toMatchObject({ session_id: id, closed_reason: "user" });
    two.send({ type: "message", content: "too late", client_id: "late" });
    expect(await two.next(({ type }) => type === "error")).toMatchObject({
      code: "CONFLICT",
      details: { reason: "conversation_closed" },
      client_id: "late",
    });
    const { data } = await call<{ rating: number }>("GET", `${V1}/conversations/${id}`, { token: ann.token });
    expect(data.rating).toBe(5);
  });
});

describe("ending", () => {
  test("an ended session closes its sockets with 4401 within 2 s", async () => {
    const person = await server.person();
    const socket = await open({}, { token: person.token });
    await socket.status("connected");
    const began = performance.now();
    await call("POST", `${V1}/auth/logout`, { token: person.token, body: {} });
    expect((await socket.closed).code).toBe(4401);
    expect(performance.now() - began).toBeLessThan(2_000);
  });

  test("withdrawn access to the bot closes with 4403 within 2 s", async () => {
    const admin = await server.signIn();
    const person = await server.person();
    const socket = await open({}, { token: person.token });
    await socket.status("connected");
    const began = performance.now();
    const changed = await call("PUT", `${V1}/bots/default/access`, {
      token: admin,
      body: { denied_users: [person.userId] },
    });
    expect(changed.status).toBe(200);
    expect((await socket.closed).code).toBe(4403);
    expect(performance.now() - began).toBeLessThan(2_000);
    await call("PUT", `${V1}/bots/default/access`, { token: admin, body: { denied_users: [] } });
  });

  test("a session that ended by idleness is found by the rounds", async () => {
    const person = await server.person();
    const socket = await open({}, { token: person.token });
    await socket.status("connected");
    const admin = await server.signIn();
    expect(admin).toBeTruthy();
    clock.advance(31 * 60_000);
    // Every socket is looked at once in sixty rounds; the heartbeat sees the moved clock as silence, so it speaks up.
    let isClosed = false;
    void socket.closed.then(() => {
      isClosed = true;
    });
    for (let i = 0; i < 61 && !isClosed; i++) {
      socket.send({ type: "ping" });
      await waitFor(() => isClosed || socket.frames.some(({ type }) => type === "pong"));
      await area.sockets.tick();
      await Bun.sleep(0);
    }
    expect((await socket.closed).code).toBe(4401);
    for (const one of [ann, bob]) one.token = await server.signIn(one);
  });

  test("an anonymous socket signs in: its conversation becomes the user's, the token ends everywhere", async () => {
    const socket = await open();
    const { token, session_id: id } = await socket.status("connected");
    const other = await open({}, { token: String(token) });
    await other.status("connected");
    socket.send({ type: "message", content: "Before I signed in" });
    await socket.next(answerTo("Before I signed in"));
    socket.send({ type: "auth", token: bob.token });
    expect(await socket.next((frame) => frame["state"] === "connected" && frame["user"] !== null)).toMatchObject({
      user: { id: bob.userId },
      session_id: id,
    });
    expect((await other.closed).code).toBe(4401);
    expect((await call("GET", `${V1}/conversations/${String(id)}/history`, { token: String(token) })).status).toBe(401);
    const kept = await call<{ messages: { content: string }[] }>("GET", `${V1}/conversations/${String(id)}/history`, {
      token: bob.token,
    });
    expect(kept.data.messages.map(({ content }) => content)).toContain("Before I signed in");
    socket.send({ type: "message", content: "And after" });
    await socket.next(answerTo("And after"));
  });

  test("no pong for 90 s ends it with 4408", async () => {
    const raw = await rawSocket(ann.token);
    clock.advance(91_000);
    for (let i = 0; i < 31; i++) await area.sockets.tick();
    expect(await raw.closeCode()).toBe(4408);
  });
});

interface RawSocket {
  pause(): void;
  resume(): void;
  bytes(): number;
  closeCode(): Promise<number>;
  destroy(): void;
}

/** A client without WebSocket manners: answers no ping, and reads only when told. */
async function rawSocket(token: string, query = ""): Promise<RawSocket> {
  const { port, hostname } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  const code = Promise.withResolvers<number>();
  let received = 0;
  let buffered: Buffer = Buffer.alloc(0);
  let isUpgraded = false;
  socket.on("data", (chunk: Buffer) => {
    received += chunk.byteLength;
    buffered = Buffer.concat([buffered, chunk]);
    if (!isUpgraded) {
      const end = buffered.indexOf("\r\n\r\n");
      if (end < 0) return;
      isUpgraded = true;
      buffered = buffered.subarray(end + 4);
    }
    for (;;) {
      if (buffered.length < 2) return;
      const opcode = (buffered[0] ?? 0) & 0x0f;
      let length = (buffered[1] ?? 0) & 0x7f;
      let at = 2;
      if (length === 126) {
        if (buffered.length < 4) return;
        length = buffered.readUInt16BE(2);
        at = 4;
      } else if (length === 127) {
        if (buffered.length < 10) return;
        length = Number(buffered.readBigUInt64BE(2));
        at = 10;
      }
      if (buffered.length < at + length) return;
      if (opcode === 8) code.resolve(buffered.readUInt16BE(at));
      buffered = buffered.subarray(at + length);
    }
  });
  socket.on("error", () => undefined);
  socket.on("close", () => code.resolve(1006));
  socket.write(
    `GET /ws?token=${token}${query} HTTP/1.1\r\nHost: ${hostname}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
  );
  await waitFor(() => isUpgraded);
  afterAll(() => socket.destroy());
  return {
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    bytes: () => received,
    closeCode: () => code.promise,
    destroy: () => socket.destroy(),
  };
}

describe("slow readers", () => {
  test("a socket that never reads is closed with 4409 while memory stays flat; resume then yields everything", async () => {
    const person = await server.person();
    const { session_id: id } = await started(person.token);
    const raw = await rawSocket(person.token, `&session_id=${id}`);
    await waitFor(() => area.sockets.count() === 1);
    raw.pause();
    const rows = await server.engines.database.query<{ id: string }>(
      "select bot_id as id from conversations where id = $1",
      [id],
    );
    expect(rows.length).toBe(1);
    Bun.gc(true);
    const before = process.memoryUsage.rss();
    const text = "x".repeat(30_000);
    // The kernel's own buffers take several MiB before anything waits in the process.
    let sent = 0;
    while (area.sockets.count() > 0 && sent < 1_000) {
      await area.messages.sayAs(id, "system", null, {
        content: `${sent} ${text}`,
        contentType: "text/plain",
        citations: [],
        suggestions: [],
        metadata: {},
        usage: null,
        finishReason: "stop",
      });
      sent += 1;
    }
    expect(area.sockets.count()).toBe(0);
    Bun.gc(true);
    expect(process.memoryUsage.rss() - before).toBeLessThan(64 * 1024 * 1024);
    raw.resume();
    expect(await raw.closeCode()).toBe(4409);
    raw.destroy();
    const again = await open({ session_id: id, last_seq: "1" }, { token: person.token });
    await again.next(({ seq }) => seq === Math.min(sent, 500) + 1, 20_000);
    expect(again.seqs()).toEqual(Array.from({ length: Math.min(sent, 500) }, (_, i) => i + 2));
  }, 60_000);
});

interface ServerEvent {
  id: string | null;
  event: string;
  data: Record<string, unknown>;
}

/** Reads server-sent events until `enough`, then goes away. */
async function readEvents(
  path: string,
  options: RequestInit,
  enough: (events: ServerEvent[]) => boolean,
): Promise<{ events: ServerEvent[]; response: Response }> {
  const stop = new AbortController();
  const response = await fetch(server.url + path, { ...options, signal: stop.signal });
  const events: ServerEvent[] = [];
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return { events, response };
  let rest = "";
  const decoder = new TextDecoder();
  const timer = setTimeout(() => stop.abort(), 10_000);
  try {
    for await (const chunk of response.body as ReadableStream<Uint8Array>) {
      rest += decoder.decode(chunk, { stream: true });
      const parts = rest.split("\n\n");
      rest = parts.pop() ?? "";
      for (const part of parts) {
        const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(part)?.[1] ?? null;
        const data = field("data");
        if (data !== null)
          events.push({
            id: field("id"),
            event: field("event") ?? "message",
            data: JSON.parse(data) as Record<string, unknown>,
          });
      }
      if (enough(events)) break;
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
  return { events, response };
}

describe("server-sent events", () => {
  const note = (id: string, content: string) =>
    call("POST", `${V1}/conversations/${id}/messages`, {
      token: ann.token,
      body: { content, type: "context", name: "n" },
    });

  test("a client that comes back with Last-Event-ID misses nothing and gets nothing twice", async () => {
    const { session_id: id } = await started(ann.token);
    await waitFor(
      async () =>
        (await call<{ last_seq: number }>("GET", `${V1}/conversations/${id}`, { token: ann.token })).data.last_seq ===
        1,
    );
    const seqs: number[] = [];
    let last = "1";
    for (let round = 0; round < 3; round++) {
      const path =
        round === 0
          ? `${V1}/chat/stream?session=${id}&last_seq=1&token=${ann.token}`
          : `${V1}/conversations/${id}/events?token=${ann.token}`;
      const reading = readEvents(path, { headers: round === 0 ? {} : { "last-event-id": last } }, (events) => {
        return events.filter(({ id: eventId }) => eventId !== null).length >= 2;
      });
      await note(id, `live ${round}`);
      await note(id, `live again ${round}`);
      const { events } = await reading;
      const own = events.filter(({ id: eventId }) => eventId !== null);
      seqs.push(...own.map(({ id: eventId }) => Number(eventId)));
      last = own.at(-1)?.id ?? last;
      await note(id, `while away ${round}`);
      if (round < 2) continue;
      const rest = await readEvents(
        `${V1}/conversations/${id}/events`,
        { headers: { authorization: `Bearer ${ann.token}`, "last-event-id": last } },
        (all) => all.some(({ data }) => data["content"] === "while away 2"),
      );
      seqs.push(...rest.events.map(({ id: eventId }) => Number(eventId)));
    }
    expect(seqs).toEqual(Array.from({ length: seqs.length }, (_, i) => i + 2));
    expect(seqs.length).toBe(9);
  });

  test("POST /chat streams deltas, the message, then done", async () => {
    const { events } = await readEvents(
      `${V1}/chat`,
      {
        method: "POST",
        headers: { "content-type": "application/json", accept: "text/event-stream" },
        body: JSON.stringify({ message: "Stream this" }),
      },
      (all) => all.at(-1)?.event === "done",
    );
    const names = events.map(({ event }) => event);
    expect(names).toContain("delta");
    expect(names.at(-2)).toBe("message");
    expect(names.at(-1)).toBe("done");
    const whole = events.find(({ event }) => event === "message")?.data["content"];
    expect(
      events
        .filter(({ event }) => event === "delta")
        .map(({ data }) => data["content"])
        .join(""),
    ).toBe(String(whole));
    expect(events.at(-1)?.data).toMatchObject({ finish_reason: "stop" });
    expect(String(events.at(-1)?.data["token"])).toStartWith("cs_");
  });

  test("an ended token ends the stream, a stranger gets 404, a wrong seq 422", async () => {
    const { session_id: id, token } = await started(null);
    const reading = readEvents(`${V1}/conversations/${id}/events?token=${token ?? ""}`, {}, () => false);
    await waitFor(() => area.sockets.count() === 0);
    await Bun.sleep(100);
    await call("DELETE", `${V1}/sessions/${id}`, { token: token ?? "" });
    const { response } = await reading;
    expect(response.status).toBe(200);
    expect((await call("GET", `${V1}/conversations/${id}/events`, { token: ann.token })).status).toBe(404);
    const own = await started(ann.token);
    expect(
      (await call("GET", `${V1}/conversations/${own.session_id}/events?last_seq=x`, { token: ann.token })).status,
    ).toBe(422);
  });
});

describe("stopping", () => {
  test("sockets are told to come back, an answer under way is waited for, and all are closed with 1001", async () => {
    const own = await startTestServer({ LLM_URL: model.url, LLM_MODEL: "test-model" });
    const hold = Promise.withResolvers<void>();
    scripted.set("Before the stop", answer("Slowly ", hold.promise, "finished."));
    const person: Person = await own.person();
    const sockets: ChatSocket[] = [];
    for (let i = 0; i < 3; i++) sockets.push(await openSocket(own.url, {}, { token: person.token }));
    for (const socket of sockets) await socket.status("connected");
    sockets[0]?.send({ type: "message", content: "Before the stop" });
    await sockets[0]?.next(({ type }) => type === "delta");
    const stopping = own.stop(5_000);
    const restarting = await sockets[1]?.status("restarting");
    expect(Number(restarting?.["retry_after_ms"])).toBeWithin(500, 3_001);
    hold.resolve();
    await sockets[2]?.message("Slowly finished.");
    for (const socket of sockets) expect((await socket.closed).code).toBe(1001);
    await stopping;
  });
});
