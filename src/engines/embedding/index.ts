// Text to vectors: the built-in lexical embedding, or an OpenAI-compatible server. Also the search terms of texts,
// because the Worker that embeds is where long texts are taken apart.

import type { Language } from "../../lib/text/index.ts";

export type EmbeddingPurpose = "passage" | "query";

export interface Embedding {
  readonly kind: "lexical" | "openai-compatible";
  /** Name stored with each vector; another name means another space (`lexical-v1`). */
  readonly model: string;
  /** Null until a server whose configuration does not say it has answered once. */
  readonly dimensions: number | null;
  /** Unit vectors, one per text, in order. Throws `unavailable("embeddings")`. */
  embed(texts: readonly string[], purpose: EmbeddingPurpose, signal?: AbortSignal): Promise<Float32Array[]>;
}

/** Stored form of a text's search terms, as `countTerms` and `encodeTerms` of lib/text give it. */
export interface TextTerms {
  terms: string;
  length: number;
}

export interface EmbeddingEngine extends Embedding {
  /** The embedding that made older vectors: the built-in one by its name, another model of the same server; else null. */
  named(model: string): Embedding | null;
  /** Search terms of each text, taken apart in a Worker. */
  terms(texts: readonly string[], language: Language | null): Promise<TextTerms[]>;
  /** Embeds one word within 2 s. */
  ping(): Promise<{ latencyMs: number }>;
  close(): Promise<void>;
}

export interface EmbeddingOptions {
  /** Base URL of an OpenAI-compatible server; a full `…/embeddings` is cut, one without a path is tried as `/v1`. */
  url: string;
  apiKey: string | null;
  model: string;
  /** Asked of the server when given; null: whatever it answers. */
  dimensions: number | null;
  /** One call with its retries; 60,000 unless told. */
  timeoutMs?: number;
  /** Stands in for the platform's `fetch`: the outbound guard's, for addresses that come from input. */
  fetch?: (input: string | URL | Request, init?: RequestInit) => Promise<Response>;
  /** Waits between the tries; for tests that do not want to. Rejects when the signal fires. */
  wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** Judges texts against a question. */
export interface Reranker {
  /** One score for each text, 0..1, in order. Throws `unavailable("rerank")`. */
  rerank(query: string, texts: readonly string[], signal?: AbortSignal): Promise<number[]>;
}
