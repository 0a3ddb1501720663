// A language model behind one interface: any OpenAI-compatible server.

export interface ModelMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface ModelRequest {
  messages: ModelMessage[];
  model?: string;
  temperature?: number;
  maxTokens?: number;
  signal?: AbortSignal;
}

export interface ModelUsage {
  promptTokens: number;
  completionTokens: number;
}

/** Pieces of text as they come; the last piece carries the reason and the usage. */
export type ModelPiece =
  | { type: "text"; text: string }
  | { type: "end"; finishReason: "stop" | "length" | "error"; model: string; usage: ModelUsage | null };

export interface Model {
  readonly name: string;
  /** Throws `unavailable("llm")` before the first piece; retries twice (0.5 s, 2 s) before that. */
  stream(request: ModelRequest): AsyncIterable<ModelPiece>;
  /** Listing models within 2 s. */
  ping(): Promise<{ latencyMs: number }>;
}

/** How a model is reached. */
export interface ModelOptions {
  /** Base URL of an OpenAI-compatible server; a full `…/chat/completions` is cut, one without a path is tried as `/v1`. */
  url: string;
  apiKey: string | null;
  /** Null: the first model that the server lists. */
  model: string | null;
  /** One call in all, its retries included. */
  timeoutMs: number;
  /** Stands in for the platform's `fetch`: the outbound guard's, for addresses that come from input. */
  fetch?: (input: string | URL | Request, init?: RequestInit) => Promise<Response>;
  /** Waits between the tries; for tests that do not want to. Rejects when the signal fires. */
  wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}
