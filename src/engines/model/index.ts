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
