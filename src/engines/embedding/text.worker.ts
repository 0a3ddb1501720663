// Worker that takes texts apart: lexical vectors and search terms, so that the event loop stays free while indexing.

import { countTerms, encodeTerms } from "../../lib/text/index.ts";
import { embedLexically } from "./lexical.ts";
import type { FromTextWorker, ToTextWorker } from "./text-messages.ts";

declare const self: Worker;

function answer(message: ToTextWorker): FromTextWorker {
  if (message.type === "embed") return { id: message.id, vectors: message.texts.map(embedLexically) };
  const terms = message.texts.map((text) => {
    const { counts, length } = countTerms(text, message.language);
    return { terms: encodeTerms(counts), length };
  });
  return { id: message.id, terms };
}

self.addEventListener("message", ({ data }: MessageEvent<ToTextWorker>) => {
  try {
    self.postMessage(answer(data));
  } catch (error) {
    self.postMessage({ id: data.id, fault: error instanceof Error ? error.message : String(error) });
  }
});
