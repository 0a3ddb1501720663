// Opens the configured embedding: the built-in one, or a server's. Client library and Worker are loaded with the first
// call that needs them.

import type { Embedding, EmbeddingEngine, EmbeddingOptions } from "./index.ts";
import { LEXICAL_DIMENSIONS, LEXICAL_MODEL, embedLexically } from "./lexical.ts";
import { textWorker, type TextWorker } from "./text-worker.ts";

const PING_TIMEOUT_MS = 2000;
/** A few questions are embedded where they are; all else goes to the Worker. */
const INLINE_LENGTH_MAX = 8_000;

function lexical(worker: TextWorker): Embedding {
  return {
    kind: "lexical",
    model: LEXICAL_MODEL,
    dimensions: LEXICAL_DIMENSIONS,
    embed: async (texts, _purpose, signal) => {
      signal?.throwIfAborted();
      const length = texts.reduce((sum, text) => sum + text.length, 0);
      return length <= INLINE_LENGTH_MAX ? texts.map(embedLexically) : worker.embed(texts);
    },
  };
}

function remote(options: EmbeddingOptions): Embedding {
  let opened: Promise<Embedding> | null = null;
  let loaded: Embedding | null = null;
  const load = () => {
    opened ??= import("./openai.ts").then(({ openaiEmbedding }) => (loaded = openaiEmbedding(options)));
    return opened;
  };
  return {
    kind: "openai-compatible",
    model: options.model,
    get dimensions() {
      return loaded?.dimensions ?? options.dimensions;
    },
    embed: async (texts, purpose, signal) => (await load()).embed(texts, purpose, signal),
  };
}

/** The embedding behind `options`, or the built-in one without them. Nothing is connected before the first call. */
export function openEmbedding(options: EmbeddingOptions | null): EmbeddingEngine {
  const worker = textWorker();
  const builtIn = lexical(worker);
  const current = options ? remote(options) : builtIn;
  const others = new Map<string, Embedding>();
  return {
    kind: current.kind,
    model: current.model,
    get dimensions() {
      return current.dimensions;
    },
    embed: (texts, purpose, signal) => current.embed(texts, purpose, signal),
    named: (model) => {
      if (model === current.model) return current;
      if (model === builtIn.model) return builtIn;
      if (!options) return null;
      const known = others.get(model) ?? remote({ ...options, model, dimensions: null });
      others.set(model, known);
      return known;
    },
    terms: (texts, language) => worker.terms(texts, language),
    ping: async () => {
      const begun = performance.now();
      await current.embed(["ping"], "query", AbortSignal.timeout(PING_TIMEOUT_MS));
      return { latencyMs: performance.now() - begun };
    },
    close: async () => worker.close(),
  };
}
