// Opens the language model that is configured. The client library is loaded with the first call, so that a server
// without a model never pays for it.

import type { Model } from "./index.ts";

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

/** The model behind `options`, or null without them. Nothing is connected before the first call. */
export function openModel(options: ModelOptions): Model;
export function openModel(options: null): null;
export function openModel(options: ModelOptions | null): Model | null;
export function openModel(options: ModelOptions | null): Model | null {
  if (options === null) return null;
  let opened: Promise<Model> | null = null;
  const model = () => {
    opened ??= import("./openai.ts").then(({ openaiModel }) => openaiModel(options));
    return opened;
  };
  return {
    name: options.model ?? "default",
    stream: async function* (request) {
      yield* (await model()).stream(request);
    },
    ping: async () => (await model()).ping(),
  };
}
