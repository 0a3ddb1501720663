// The model interface over any OpenAI-compatible server, by the `openai` package. Retries, deadlines and what a
// failure means are decided here; the package only speaks the protocol.

import OpenAI from "openai";
import type { ChatCompletionCreateParamsStreaming } from "openai/resources/chat/completions";
import { isAppError, unavailable } from "../../core/errors.ts";
import type { Model, ModelOptions, ModelPiece, ModelRequest, ModelUsage } from "./index.ts";

/** Before the second and the third try. */
const RETRY_DELAYS_MS = [500, 2000] as const;
const PING_TIMEOUT_MS = 2000;

/** What a server has shown not to take; learned from its refusals and kept for the following calls. */
interface Dialect {
  streamOptions: boolean;
  temperature: boolean;
  /** Newer OpenAI models refuse `max_tokens`. */
  maxTokens: "max_tokens" | "max_completion_tokens";
}

function baseUrls(url: string): string[] {
  const cut = url.replace(/\/+$/, "").replace(/\/(chat\/)?completions$/, "");
  return new URL(cut).pathname === "/" ? [`${cut}/v1`, cut] : [cut];
}

function status(error: unknown): number | undefined {
  return error instanceof OpenAI.APIError ? (error.status as number | undefined) : undefined;
}

/** Worth another try: no connection, broken connection, overload, fault of the server. */
function isPassing(error: unknown): boolean {
  if (isAppError(error)) return false;
  // The outbound guard's refusal does not pass by waiting.
  if (error instanceof Error && isAppError(error.cause)) return error.cause.details["reason"] !== "address_refused";
  const code = status(error);
  return code === undefined || code === 408 || code === 409 || code === 425 || code === 429 || code >= 500;
}

function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

/** Speaks to the server of `options`; every failure before the first piece is `unavailable("llm")`. */
export function openaiModel(options: ModelOptions): Model {
  const dialect: Dialect = { streamOptions: true, temperature: true, maxTokens: "max_tokens" };
  const pause = options.wait ?? wait;
  let urls = baseUrls(options.url);
  let firstListed: string | null = null;

  const clientFor = (baseURL: string) =>
    new OpenAI({
      baseURL,
      // The environment's OPENAI_* variables are no part of this server's configuration.
      apiKey: options.apiKey ?? "none",
      adminAPIKey: null,
      organization: null,
      project: null,
      webhookSecret: null,
      logLevel: "off",
      maxRetries: 0,
      timeout: options.timeoutMs,
      // A redirect would take the key along to another host.
      fetchOptions: { redirect: "manual" },
      ...(options.apiKey === null ? { defaultHeaders: { Authorization: null } } : {}),
      ...(options.fetch ? { fetch: options.fetch } : {}),
    });
  let client = clientFor(urls[0] ?? options.url);

  /** Runs `work`; a 404 under the first of two possible base URLs moves on to the second for good. */
  async function atBase<T>(work: () => Promise<T>): Promise<T> {
    try {
      const result = await work();
      urls = urls.slice(0, 1);
      return result;
    } catch (error) {
      const next = urls[1];
      if (status(error) !== 404 || next === undefined) throw error;
      urls = [next];
      client = clientFor(next);
      return work();
    }
  }

  async function modelName(request: ModelRequest, signal: AbortSignal): Promise<string> {
    const named = request.model ?? options.model ?? firstListed;
    if (named !== null) return named;
    const page = await atBase(() => client.models.list({ signal }));
    const first = page.data[0]?.id;
    if (first === undefined) throw unavailable("llm", new Error("the server lists no model"));
    firstListed = first;
    return first;
  }

  function body(request: ModelRequest, model: string): ChatCompletionCreateParamsStreaming {
    return {
      model,
      messages: request.messages,
      stream: true,
      ...(dialect.streamOptions ? { stream_options: { include_usage: true } } : {}),
      ...(dialect.temperature && request.temperature !== undefined ? { temperature: request.temperature } : {}),
      ...(request.maxTokens === undefined ? {} : { [dialect.maxTokens]: request.maxTokens }),
    };
  }

  /** Takes note of a parameter that the server refused; true if another try without it makes sense. */
  function learn(error: unknown): boolean {
    const code = status(error);
    if ((code !== 400 && code !== 422) || !(error instanceof Error)) return false;
    const said = error.message;
    if (dialect.maxTokens === "max_tokens" && said.includes("max_completion_tokens")) {
      dialect.maxTokens = "max_completion_tokens";
      return true;
    }
    if (dialect.streamOptions && said.includes("stream_options")) {
      dialect.streamOptions = false;
      return true;
    }
    if (dialect.temperature && said.includes("temperature")) {
      dialect.temperature = false;
      return true;
    }
    return false;
  }

  async function connect(request: ModelRequest, signal: AbortSignal) {
    const model = await modelName(request, signal);
    for (;;) {
      try {
        return await atBase(() => client.chat.completions.create(body(request, model), { signal }));
      } catch (error) {
        if (!learn(error)) throw error;
      }
    }
  }

  /** One try. Ends by itself with an `end` piece; throws when the connection or the server fails. */
  async function* attempt(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelPiece> {
    const chunks = await connect(request, signal);
    let usage: ModelUsage | null = null;
    let reason: string | null = null;
    let model = request.model ?? options.model ?? firstListed ?? "";
    for await (const chunk of chunks) {
      if (chunk.model) model = chunk.model;
      if (chunk.usage) {
        usage = { promptTokens: chunk.usage.prompt_tokens, completionTokens: chunk.usage.completion_tokens };
      }
      const choice = chunk.choices?.[0];
      if (choice?.delta?.content) yield { type: "text", text: choice.delta.content };
      if (choice?.finish_reason) reason = choice.finish_reason;
    }
    // A stream that ends without its reason was cut off, however orderly the connection was closed.
    if (reason === null) throw new Error("the stream ended without a finish reason");
    yield { type: "end", finishReason: reason === "length" ? "length" : "stop", model, usage };
  }

  async function* stream(request: ModelRequest): AsyncGenerator<ModelPiece> {
    request.signal?.throwIfAborted();
    const deadline = AbortSignal.timeout(options.timeoutMs);
    const stopped = new AbortController();
    const signals = [deadline, stopped.signal, ...(request.signal ? [request.signal] : [])];
    const signal = AbortSignal.any(signals);
    let hasBegun = false;
    try {
      for (let tries = 0; ; tries += 1) {
        try {
          for await (const piece of attempt(request, signal)) {
            hasBegun = true;
            yield piece;
          }
          return;
        } catch (error) {
          request.signal?.throwIfAborted();
          if (hasBegun) {
            yield { type: "end", finishReason: "error", model: request.model ?? options.model ?? "", usage: null };
            return;
          }
          const delay = RETRY_DELAYS_MS[tries];
          if (delay === undefined || deadline.aborted || !isPassing(error)) throw unavailable("llm", error);
          await pause(delay, signal).catch((reason: unknown) => {
            request.signal?.throwIfAborted();
            throw unavailable("llm", reason);
          });
        }
      }
    } finally {
      // The reader may have left in the middle: the server must not write on for nobody.
      stopped.abort();
    }
  }

  return {
    name: options.model ?? "default",
    stream,
    ping: async () => {
      const begun = performance.now();
      try {
        await atBase(() => client.models.list({ signal: AbortSignal.timeout(PING_TIMEOUT_MS) }));
      } catch (error) {
        throw unavailable("llm", error);
      }
      return { latencyMs: performance.now() - begun };
    },
  };
}
