// The language model over an OpenAI-compatible server: streaming, retries, deadlines, aborts, what a failure becomes.

import { afterEach, describe, expect, test } from "bun:test";
import { isAppError } from "../../src/core/errors.ts";
import type { ModelOptions, ModelPiece, ModelRequest } from "../../src/engines/model/index.ts";
import { openModel } from "../../src/engines/model/open.ts";
import type { ModelServer } from "../support/model-server.ts";
import { answer, startModelServer } from "../support/model-server.ts";

const servers: ModelServer[] = [];
async function serve(options?: Parameters<typeof startModelServer>[0]): Promise<ModelServer> {
  const server = await startModelServer(options);
  servers.push(server);
  return server;
}
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

const waits: number[] = [];
function open(server: ModelServer, options: Partial<ModelOptions> = {}) {
  waits.length = 0;
  return openModel({
    url: server.url,
    apiKey: null,
    model: "test-model",
    timeoutMs: 5000,
    wait: async (ms) => {
      waits.push(ms);
    },
    ...options,
  });
}

const QUESTION: ModelRequest = { messages: [{ role: "user", content: "Hello?" }] };

async function collect(pieces: AsyncIterable<ModelPiece>): Promise<{ texts: string[]; end: ModelPiece | undefined }> {
  const texts: string[] = [];
  let end: ModelPiece | undefined;
  for await (const piece of pieces) {
    if (piece.type === "text") texts.push(piece.text);
    else end = piece;
  }
  return { texts, end };
}

async function failure(pieces: AsyncIterable<ModelPiece>): Promise<unknown> {
  try {
    await collect(pieces);
  } catch (error) {
    return error;
  }
  return null;
}

function expectUnavailable(error: unknown): void {
  expect(isAppError(error) ? [error.code, error.details] : error).toEqual(["SERVICE_UNAVAILABLE", { service: "llm" }]);
}

describe("streaming", () => {
  test("gives the text piece by piece, then the reason, the model and the usage", async () => {
    const server = await serve();
    server.next({ kind: "answer", pieces: ["Good ", "day", "."], usage: [12, 3] });
    expect(await collect(open(server).stream(QUESTION))).toEqual({
      texts: ["Good ", "day", "."],
      end: {
        type: "end",
        finishReason: "stop",
        model: "test-model",
        usage: { promptTokens: 12, completionTokens: 3 },
      },
    });
  });

  test("sends what the request says, and no credentials where none are configured", async () => {
    const server = await serve();
    await collect(open(server).stream({ ...QUESTION, model: "other", temperature: 0.3, maxTokens: 99 }));
    expect(server.requests).toMatchObject([
      {
        authorization: null,
        body: { model: "other", temperature: 0.3, max_tokens: 99, messages: [{ role: "user", content: "Hello?" }] },
      },
    ]);
    await collect(open(server, { apiKey: "sesame" }).stream(QUESTION));
    expect(server.requests[1]?.authorization).toBe("Bearer sesame");
  });

  test("an answer at the length limit says so", async () => {
    const server = await serve();
    server.next({ kind: "answer", pieces: ["cut"], finish: "length" });
    expect((await collect(open(server).stream(QUESTION))).end).toMatchObject({ finishReason: "length" });
  });

  test("without a configured name the first listed model is asked", async () => {
    const server = await serve({ models: ["first", "second"] });
    await collect(open(server, { model: null }).stream(QUESTION));
    expect(server.requests[0]?.body.model).toBe("first");
  });
});

describe("addresses", () => {
  test("a URL without a path is tried under /v1", async () => {
    const server = await serve();
    const model = open(server, { url: new URL(server.url).origin });
    expect((await collect(model.stream(QUESTION))).texts).toEqual(["Hello."]);
  });

  test("and as it is, where /v1 is not there", async () => {
    const server = await serve({ base: "" });
    const model = open(server, { url: server.url });
    expect((await collect(model.stream(QUESTION))).texts).toEqual(["Hello."]);
    await collect(model.stream(QUESTION));
    expect(server.requests).toHaveLength(2);
  });

  test("a whole completions address is cut to its base", async () => {
    const server = await serve();
    const model = open(server, { url: `${server.url}/chat/completions` });
    expect((await collect(model.stream(QUESTION))).texts).toEqual(["Hello."]);
  });
});

describe("failures before the first token", () => {
  test("two overloads, then an answer: tried again after 0.5 s and 2 s", async () => {
    const server = await serve();
    server.next({ kind: "status", status: 503 }, { kind: "status", status: 429 }, answer("There."));
    expect((await collect(open(server).stream(QUESTION))).texts).toEqual(["There."]);
    expect(waits).toEqual([500, 2000]);
  });

  test("the third failure is final", async () => {
    const server = await serve();
    server.always({ kind: "status", status: 500 });
    expectUnavailable(await failure(open(server).stream(QUESTION)));
    expect(server.requests).toHaveLength(3);
  });

  test.each([400, 401, 403, 404])("%p is not tried again", async (status) => {
    const server = await serve();
    server.always({ kind: "status", status });
    expectUnavailable(await failure(open(server).stream(QUESTION)));
    expect([server.requests.length, waits]).toEqual([1, []]);
  });

  test("a server that is not there is tried three times, then unavailable; when it is back it answers again", async () => {
    const server = await serve();
    const port = Number(new URL(server.url).port);
    await server.stop();
    const model = open(server);
    expectUnavailable(await failure(model.stream(QUESTION)));
    expect(waits).toEqual([500, 2000]);
    await serve({ port });
    expect((await collect(model.stream(QUESTION))).texts).toEqual(["Hello."]);
  });

  test("a connection that breaks before any text is tried again", async () => {
    const server = await serve();
    server.next({ kind: "break", pieces: [] }, { kind: "cut", pieces: [] });
    expect((await collect(open(server).stream(QUESTION))).texts).toEqual(["Hello."]);
    expect(server.requests).toHaveLength(3);
  });

  test("a server that never says a word is given up at the deadline, once", async () => {
    const server = await serve();
    server.always({ kind: "hang" });
    const begun = performance.now();
    expectUnavailable(await failure(open(server, { timeoutMs: 150 }).stream(QUESTION)));
    expect(performance.now() - begun).toBeLessThan(1500);
    expect(server.requests).toHaveLength(1);
  });
});

describe("failures after the first token", () => {
  test.each(["break", "cut"] as const)("what there is stays, and the end says error (%s)", async (kind) => {
    const server = await serve();
    server.next({ kind, pieces: ["Half an ans"] });
    const { texts, end } = await collect(open(server).stream(QUESTION));
    expect(texts).toEqual(["Half an ans"]);
    expect(end).toMatchObject({ type: "end", finishReason: "error" });
    expect([server.requests.length, waits]).toEqual([1, []]);
  });

  test("the deadline counts in mid-answer too", async () => {
    const server = await serve();
    server.next(answer("Half", new Promise(() => undefined)));
    const { texts, end } = await collect(open(server, { timeoutMs: 200 }).stream(QUESTION));
    expect(texts).toEqual(["Half"]);
    expect(end).toMatchObject({ finishReason: "error" });
  });
});

describe("abort", () => {
  test("the caller's abort ends the call with the caller's reason, in mid-answer", async () => {
    const server = await serve();
    const { promise: never } = Promise.withResolvers<undefined>();
    server.next(answer("One", never));
    const stop = new AbortController();
    const seen: string[] = [];
    const run = (async () => {
      for await (const piece of open(server).stream({ ...QUESTION, signal: stop.signal })) {
        if (piece.type === "text") seen.push(piece.text);
        stop.abort(new Error("enough"));
      }
    })();
    const outcome = await run.catch((error: unknown) => error);
    expect(outcome).toEqual(new Error("enough"));
    expect(seen).toEqual(["One"]);
  });

  test("an abort between two tries ends the waiting", async () => {
    const server = await serve();
    server.always({ kind: "status", status: 503 });
    const stop = new AbortController();
    const model = openModel({ url: server.url, apiKey: null, model: "m", timeoutMs: 5000 });
    const run = failure(model.stream({ ...QUESTION, signal: stop.signal }));
    while (server.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    stop.abort(new Error("enough"));
    expect(await run).toEqual(new Error("enough"));
  });

  test("a reader that leaves in the middle ends the request at the server", async () => {
    const server = await serve();
    server.next(answer("One", new Promise((resolve) => setTimeout(resolve, 50)), "Two"));
    for await (const piece of open(server).stream(QUESTION)) {
      if (piece.type === "text") break;
    }
    const deadline = performance.now() + 2000;
    while (server.aborted === 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(server.aborted).toBe(1);
  });
});

describe("dialects", () => {
  test.each([
    ["Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_completion_tokens"],
    ["unknown field stream_options", "max_tokens"],
    ["temperature is not supported with this model", "max_tokens"],
  ])("a refused parameter is left out from then on: %s", async (message, limitName) => {
    const server = await serve();
    const model = open(server);
    server.next({ kind: "status", status: 400, message });
    const request = { ...QUESTION, temperature: 0.3, maxTokens: 5 };
    expect((await collect(model.stream(request))).texts).toEqual(["Hello."]);
    await collect(model.stream(request));
    expect(server.requests).toHaveLength(3);
    const last = server.requests[2]?.body;
    expect(last).toHaveProperty(limitName, 5);
    expect(JSON.stringify(last)).not.toContain(message.includes("temperature") ? "temperature" : "nothing of the kind");
    expect(last?.stream_options === undefined).toBe(message.includes("stream_options"));
  });
});

describe("ping", () => {
  test("measures a server that answers, and throws for one that does not", async () => {
    const server = await serve();
    expect((await open(server).ping()).latencyMs).toBeGreaterThan(0);
    await server.stop();
    expectUnavailable(
      await open(server)
        .ping()
        .catch((error: unknown) => error),
    );
  });
});
