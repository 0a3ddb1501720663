// The owner's side of the text Worker: started with the first text, started anew when it has died.

import { unavailable } from "../../core/errors.ts";
import { startWorker } from "../../lib/embedded/index.ts";
import type { Language } from "../../lib/text/index.ts";
import type { TextTerms } from "./index.ts";
import type { FromTextWorker, ToTextWorker } from "./text-messages.ts";

/** Texts of one message; longer lists go as several, so that no answer is cloned in one long step. */
const BATCH_SIZE = 32;

interface Waiting {
  resolve(answer: FromTextWorker): void;
  reject(error: unknown): void;
}

export interface TextWorker {
  embed(texts: readonly string[]): Promise<Float32Array[]>;
  terms(texts: readonly string[], language: Language | null): Promise<TextTerms[]>;
  close(): void;
}

type Ask =
  { type: "embed"; texts: readonly string[] } | { type: "terms"; texts: readonly string[]; language: Language | null };

/** A Worker for lexical vectors and terms; costs nothing before the first text. */
export function textWorker(): TextWorker {
  const waiting = new Map<number, Waiting>();
  let worker: Worker | null = null;
  let nextId = 1;

  function fail(cause: unknown): void {
    worker?.terminate();
    worker = null;
    for (const entry of waiting.values()) entry.reject(unavailable("embeddings", cause));
    waiting.clear();
  }

  function start(): Worker {
    const started = startWorker("src/engines/embedding/text.worker.ts");
    started.addEventListener("message", ({ data }: MessageEvent<FromTextWorker>) => {
      const entry = waiting.get(data.id);
      waiting.delete(data.id);
      entry?.resolve(data);
    });
    started.addEventListener("error", (event) => fail(new Error(event.message)));
    return started;
  }

  function ask(message: Ask): Promise<FromTextWorker> {
    worker ??= start();
    const id = nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<FromTextWorker>();
    waiting.set(id, { resolve, reject });
    const addressed: ToTextWorker = { ...message, id };
    worker.postMessage(addressed);
    return promise;
  }

  return {
    embed: async (texts) => {
      const vectors: Float32Array[] = [];
      for (let at = 0; at < texts.length; at += BATCH_SIZE) {
        const answer = await ask({ type: "embed", texts: texts.slice(at, at + BATCH_SIZE) });
        if (!("vectors" in answer)) throw unavailable("embeddings", answer);
        vectors.push(...answer.vectors);
      }
      return vectors;
    },
    terms: async (texts, language) => {
      const found: TextTerms[] = [];
      for (let at = 0; at < texts.length; at += BATCH_SIZE) {
        const answer = await ask({ type: "terms", texts: texts.slice(at, at + BATCH_SIZE), language });
        if (!("terms" in answer)) throw unavailable("embeddings", answer);
        found.push(...answer.terms);
      }
      return found;
    },
    close: () => fail(new Error("closed")),
  };
}
