// An OpenAI-compatible embedding server for tests: says what it is told to, counts what it is asked.

export interface EmbeddingRequest {
  path: string;
  authorization: string | null;
  model: string;
  input: string[];
  dimensions: number | undefined;
}

export type EmbeddingReply =
  /** A vector of that length for each text; `spoil` may change the items before they are sent. */
  | { kind: "vectors"; spoil?: (items: { index: number; embedding: unknown }[]) => unknown }
  | { kind: "status"; status: number; headers?: Record<string, string> }
  | { kind: "hang" };

export interface EmbeddingServer {
  url: string;
  requests: EmbeddingRequest[];
  /** What the next requests get, one after another; then vectors again. */
  next(...replies: EmbeddingReply[]): void;
  /** Every request from now on. */
  always(reply: EmbeddingReply | null): void;
  stop(): Promise<void>;
}

/** A vector that texts with words in common share: letters counted, so that the nearest is not a matter of chance. */
export function lettersVector(text: string, dimensions: number): number[] {
  const vector = Array.from({ length: dimensions }, () => 0.001);
  for (const character of text.toLowerCase()) {
    const at = (character.codePointAt(0) ?? 0) % dimensions;
    vector[at] = (vector[at] ?? 0) + 1;
  }
  return vector;
}

/** Starts it on a free port of the loopback interface; `base` is the path in front of `/embeddings`. */
export function startEmbeddingServer(options: { dimensions?: number; base?: string } = {}): EmbeddingServer {
  const { dimensions = 8, base = "/v1" } = options;
  const requests: EmbeddingRequest[] = [];
  const replies: EmbeddingReply[] = [];
  let standing: EmbeddingReply | null = null;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      const path = new URL(request.url).pathname;
      if (path !== `${base}/embeddings`) return Response.json({ error: { message: "no such path" } }, { status: 404 });
      const body = (await request.json()) as { model: string; input: string[]; dimensions?: number };
      requests.push({
        path,
        authorization: request.headers.get("authorization"),
        model: body.model,
        input: body.input,
        dimensions: body.dimensions,
      });
      const reply = standing ?? replies.shift() ?? { kind: "vectors" };
      if (reply.kind === "hang") return new Promise<Response>(() => undefined);
      if (reply.kind === "status") {
        return Response.json(
          { error: { message: `status ${reply.status}` } },
          { status: reply.status, ...(reply.headers ? { headers: reply.headers } : {}) },
        );
      }
      const items = body.input.map((text, index) => ({
        object: "embedding",
        index,
        embedding: lettersVector(text, body.dimensions ?? dimensions) as unknown,
      }));
      const data = reply.spoil ? reply.spoil(items) : items;
      return Response.json({ object: "list", model: body.model, data, usage: { prompt_tokens: 1, total_tokens: 1 } });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    requests,
    next: (...given) => replies.push(...given),
    always: (reply) => {
      standing = reply;
    },
    stop: () => server.stop(true),
  };
}
