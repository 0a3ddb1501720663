// The embedding interface over any OpenAI-compatible server, by the `openai` package. Batches, retries and the check
// of what comes back are decided here; the package only speaks the protocol.

import OpenAI from "openai";
import { AppError, isAppError, unavailable } from "../../core/errors.ts";
import type { Embedding, EmbeddingOptions } from "./index.ts";

const BATCH_SIZE = 64;
const TRIES = 4;
const FIRST_DELAY_MS = 500;
/** A server that asks for more is not waited for within a call; the caller's job comes back. */
const RETRY_AFTER_MAX_MS = 30_000;

function baseUrls(url: string): string[] {
  const cut = url.replace(/\/+$/, "").replace(/\/embeddings$/, "");
  return new URL(cut).pathname === "/" ? [`${cut}/v1`, cut] : [cut];
}

function statusOf(error: unknown): number | undefined {
  return error instanceof OpenAI.APIError ? (error.status as number | undefined) : undefined;
}

/** Worth another try: no connection, overload, fault of the server. */
function isPassing(error: unknown): boolean {
  if (isAppError(error)) return false;
  const code = statusOf(error);
  return code === undefined || code === 408 || code === 425 || code === 429 || code >= 500;
}

/** What `Retry-After` asks for: seconds or a date; null without it. */
function retryAfterMs(error: unknown): number | null {
  const headers = error instanceof OpenAI.APIError ? (error.headers as Headers | undefined) : undefined;
  const value = headers?.get("retry-after");
  if (!value) return null;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  // A date counts from the server's own clock, which the answer tells.
  const waitMs = Date.parse(value) - Date.parse(headers?.get("date") ?? "");
  return Number.isNaN(waitMs) ? null : Math.max(0, waitMs);
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

/** `values` as a unit vector; throws for a wrong length, NaN, infinity or nothing but zeros. */
function unitVector(values: unknown, dimensions: number | null): Float32Array {
  if (!Array.isArray(values)) throw new Error("the server gave no vector");
  if (dimensions !== null && values.length !== dimensions) {
    throw new Error(`the server gave a vector of length ${values.length} instead of ${dimensions}`);
  }
  if (values.some((value) => typeof value !== "number"))
    throw new Error("the server gave a vector that is not all numbers");
  const vector = Float32Array.from(values as number[]);
  let squares = 0;
  for (const value of vector) squares += value * value;
  if (!Number.isFinite(squares)) throw new Error("the server gave a vector that is not all numbers");
  if (squares === 0) throw new Error("the server gave a vector of zeros");
  const norm = Math.sqrt(squares);
  for (let index = 0; index < vector.length; index++) vector[index] = (vector[index] ?? 0) / norm;
  return vector;
}

/** An answer that waiting does not cure: `reason` tells jobs not to. */
function useless(error: unknown): AppError {
  const fault = error instanceof Error ? error.message : "it is no vector";
  const details = { service: "embeddings", reason: "bad_vectors" };
  return new AppError("SERVICE_UNAVAILABLE", `The embeddings are of no use: ${fault}.`, details, { cause: error });
}

/** Speaks to the server of `options`; every failure but the caller's abort is `unavailable("embeddings")`. */
export function openaiEmbedding(options: EmbeddingOptions): Embedding {
  const pause = options.wait ?? wait;
  let urls = baseUrls(options.url);
  let dimensions = options.dimensions;
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
      // A redirect would take the key along to another host.
      fetchOptions: { redirect: "manual" },
      ...(options.apiKey === null ? { defaultHeaders: { Authorization: null } } : {}),
      ...(options.fetch ? { fetch: options.fetch } : {}),
    });
  let client = clientFor(urls[0] ?? options.url);

  async function request(batch: readonly string[], signal: AbortSignal) {
    const body = {
      model: options.model,
      input: [...batch],
      encoding_format: "float" as const,
      ...(options.dimensions === null ? {} : { dimensions: options.dimensions }),
    };
    try {
      const answer = await client.embeddings.create(body, { signal });
      urls = urls.slice(0, 1);
      return answer;
    } catch (error) {
      const next = urls[1];
      if (statusOf(error) !== 404 || next === undefined) throw error;
      urls = [next];
      client = clientFor(next);
      return client.embeddings.create(body, { signal });
    }
  }

  async function embedBatch(batch: readonly string[], signal: AbortSignal): Promise<Float32Array[]> {
    for (let tries = 1; ; tries++) {
      try {
        const { data } = await request(batch, signal);
        if (!Array.isArray(data) || data.length !== batch.length) {
          throw useless(new Error("the server gave another number of vectors"));
        }
        const byIndex = new Map(data.map((item, position) => [item.index ?? position, checked(item.embedding)]));
        const vectors = batch.flatMap((_, index) => byIndex.get(index) ?? []);
        if (vectors.length !== batch.length) throw useless(new Error("the server gave one vector twice"));
        return vectors;
      } catch (error) {
        const asked = retryAfterMs(error);
        if (tries === TRIES || signal.aborted || !isPassing(error) || (asked ?? 0) > RETRY_AFTER_MAX_MS) throw error;
        await pause(asked ?? FIRST_DELAY_MS * 2 ** (tries - 1), signal);
      }
    }
  }

  function checked(values: unknown): Float32Array {
    try {
      const vector = unitVector(values, dimensions);
      dimensions ??= vector.length;
      return vector;
    } catch (error) {
      throw useless(error);
    }
  }

  return {
    kind: "openai-compatible",
    model: options.model,
    get dimensions() {
      return dimensions;
    },
    embed: async (texts, _purpose, signal) => {
      signal?.throwIfAborted();
      const deadline = AbortSignal.timeout(options.timeoutMs ?? 60_000);
      const both = signal ? AbortSignal.any([deadline, signal]) : deadline;
      try {
        const vectors: Float32Array[] = [];
        for (let at = 0; at < texts.length; at += BATCH_SIZE) {
          vectors.push(...(await embedBatch(texts.slice(at, at + BATCH_SIZE), both)));
        }
        return vectors;
      } catch (error) {
        signal?.throwIfAborted();
        throw isAppError(error) ? error : unavailable("embeddings", error);
      }
    },
  };
}
