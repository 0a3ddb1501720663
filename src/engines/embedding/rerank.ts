// Reranking by an HTTP endpoint, in the two forms that servers have: `documents` → `results[].relevance_score`
// (Cohere, Jina, vLLM, llama.cpp) and `texts` → `[].score` (text-embeddings-inference).

import { unavailable } from "../../core/errors.ts";
import type { Reranker } from "./index.ts";

export interface RerankOptions {
  /** The endpoint; `/rerank` is put behind an address that does not end in it. A user name or password in it is sent as Basic. */
  url: string;
  timeoutMs?: number;
  fetch?: (input: string, init: RequestInit) => Promise<Response>;
}

function endpoint(text: string): { url: string; headers: Record<string, string> } {
  const url = new URL(text);
  const { username, password } = url;
  url.username = "";
  url.password = "";
  url.pathname = url.pathname.replace(/\/+$/, "");
  if (!url.pathname.endsWith("/rerank")) url.pathname += "/rerank";
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (username || password) {
    const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    headers["authorization"] = `Basic ${Buffer.from(pair).toString("base64")}`;
  }
  return { url: url.href, headers };
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

/** Scores by index, out of either form; throws for anything else. */
function scoresOf(answer: unknown, count: number): number[] {
  const list: unknown = Array.isArray(answer)
    ? answer
    : isRecord(answer)
      ? (answer["results"] ?? answer["data"])
      : null;
  if (!Array.isArray(list)) throw new Error("the reranker gave no list of scores");
  const scores = new Map<number, number>();
  for (const item of list as unknown[]) {
    if (!isRecord(item)) continue;
    const score = item["relevance_score"] ?? item["score"];
    if (typeof item["index"] === "number" && typeof score === "number" && Number.isFinite(score)) {
      scores.set(item["index"], score);
    }
  }
  const found = Array.from({ length: count }, (_, index) => scores.get(index));
  if (found.some((score) => score === undefined)) throw new Error("the reranker left out a text");
  const numbers = found.map((score) => score ?? 0);
  // Some servers give the raw logits.
  const isRaw = numbers.some((score) => score < 0 || score > 1);
  return isRaw ? numbers.map((score) => 1 / (1 + Math.exp(-score))) : numbers;
}

/** The reranker at that address; nothing is connected before the first call. */
export function openReranker(options: RerankOptions): Reranker {
  const { url, headers } = endpoint(options.url);
  const send = options.fetch ?? fetch;
  let form: "documents" | "texts" = "documents";

  async function ask(query: string, texts: readonly string[], signal: AbortSignal): Promise<Response> {
    const body = form === "documents" ? { query, documents: texts, top_n: texts.length } : { query, texts };
    return send(url, { method: "POST", headers, body: JSON.stringify(body), signal, redirect: "manual" });
  }

  return {
    rerank: async (query, texts, signal) => {
      signal?.throwIfAborted();
      const deadline = AbortSignal.timeout(options.timeoutMs ?? 10_000);
      const both = signal ? AbortSignal.any([deadline, signal]) : deadline;
      try {
        let response = await ask(query, texts, both);
        if (response.status === 400 || response.status === 422) {
          form = form === "documents" ? "texts" : "documents";
          response = await ask(query, texts, both);
        }
        if (!response.ok) throw new Error(`the reranker answered ${response.status}`);
        return scoresOf(await response.json(), texts.length);
      } catch (error) {
        signal?.throwIfAborted();
        throw unavailable("rerank", error);
      }
    },
  };
}
