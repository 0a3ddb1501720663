// A small OpenAI-compatible server for tests: answers as it is told, fails as it is told, and keeps what it was asked.

import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

export interface AskedOf {
  path: string;
  authorization: string | null;
  body: {
    model: string;
    messages: { role: string; content: string }[];
    temperature?: number;
    max_tokens?: number;
    max_completion_tokens?: number;
    stream_options?: { include_usage?: boolean };
  };
}

/** What one request is answered with. A promise among the pieces holds the stream until it resolves. */
export type Behaviour =
  | { kind: "answer"; pieces: (string | Promise<unknown>)[]; finish?: "stop" | "length"; usage?: [number, number] }
  /** Some pieces, then the connection breaks. */
  | { kind: "break"; pieces: string[] }
  /** Some pieces, then an orderly end without a finish reason. */
  | { kind: "cut"; pieces: string[] }
  | { kind: "status"; status: number; message?: string }
  /** Takes the request and never says a word. */
  | { kind: "hang" };

export interface ModelServer {
  /** Base URL, ends in `/v1`. */
  url: string;
  requests: AskedOf[];
  /** Requests whose client has gone away before the end. */
  aborted: number;
  /** These first, in order, one per request. */
  next(...behaviours: Behaviour[]): void;
  /** What is done when nothing is queued. */
  always(behaviour: Behaviour | ((asked: AskedOf) => Behaviour)): void;
  stop(): Promise<void>;
}

/** The pieces of an answer, as one behaviour. */
export function answer(...pieces: (string | Promise<unknown>)[]): Behaviour {
  return { kind: "answer", pieces };
}

/** Starts one on a free port of the loopback interface; `port` names a fixed one, to come back on the same. */
export async function startModelServer(
  options: { models?: string[]; port?: number; base?: string } = {},
): Promise<ModelServer> {
  const models = options.models ?? ["test-model"];
  const base = options.base ?? "/v1";
  const queue: Behaviour[] = [];
  let usual: Behaviour | ((asked: AskedOf) => Behaviour) = answer("Hello.");
  const requests: AskedOf[] = [];

  const event = (response: ServerResponse, body: unknown) => response.write(`data: ${JSON.stringify(body)}\n\n`);
  const common = (model: string) => ({ id: "chatcmpl-test", object: "chat.completion.chunk", created: 0, model });
  const chunk = (response: ServerResponse, model: string, delta: unknown, finish: string | null) =>
    event(response, { ...common(model), choices: [{ index: 0, delta, finish_reason: finish }] });
  const json = (response: ServerResponse, status: number, body: unknown) =>
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));

  async function stream(
    response: ServerResponse,
    behaviour: Extract<Behaviour, { pieces: unknown }>,
    asked: AskedOf,
  ): Promise<void> {
    const model = asked.body.model;
    response.writeHead(200, { "content-type": "text/event-stream" });
    chunk(response, model, { role: "assistant" }, null);
    for (const piece of behaviour.pieces) {
      if (typeof piece === "string") chunk(response, model, { content: piece }, null);
      else await piece;
      // Each piece leaves on its own, so that the client sees them one by one.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (behaviour.kind === "break") {
      response.destroy();
      return;
    }
    if (behaviour.kind === "answer") {
      const [prompt, completion] = behaviour.usage ?? [10, behaviour.pieces.length];
      chunk(response, model, {}, behaviour.finish ?? "stop");
      if (asked.body.stream_options?.include_usage) {
        const usage = { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
        event(response, { ...common(model), choices: [], usage });
      }
      response.write("data: [DONE]\n\n");
    }
    response.end();
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? "";
    if (path === `${base}/models`) {
      json(response, 200, { object: "list", data: models.map((id) => ({ id, object: "model" })) });
      return;
    }
    if (path !== `${base}/chat/completions`) {
      json(response, 404, { error: { message: "no" } });
      return;
    }
    const body = JSON.parse(await text(request)) as AskedOf["body"];
    const asked: AskedOf = { path, authorization: request.headers.authorization ?? null, body };
    response.on("close", () => {
      if (!response.writableEnded) server.aborted += 1;
    });
    requests.push(asked);
    const behaviour = queue.shift() ?? (typeof usual === "function" ? usual(asked) : usual);
    if (behaviour.kind === "hang") return;
    if (behaviour.kind === "status") {
      const message = behaviour.message ?? "refused on purpose";
      json(response, behaviour.status, { error: { message, type: "test", param: null, code: null } });
      return;
    }
    await stream(response, behaviour, asked);
  }

  const listening = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => response.destroy(error as Error));
  });
  listening.listen(options.port ?? 0, "127.0.0.1");
  await once(listening, "listening");

  const server: ModelServer = {
    url: `http://127.0.0.1:${(listening.address() as AddressInfo).port}${base}`,
    requests,
    aborted: 0,
    next: (...behaviours) => {
      queue.push(...behaviours);
    },
    always: (behaviour) => {
      usual = behaviour;
    },
    stop: async () => {
      if (!listening.listening) return;
      const closed = once(listening, "close");
      listening.close();
      listening.closeAllConnections();
      await closed;
    },
  };
  return server;
}
