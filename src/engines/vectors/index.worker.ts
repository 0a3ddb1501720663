// Worker that holds the passage index and answers its owner, one message after another.

import { PassageMemory } from "./memory.ts";
import type { FromIndexWorker, ToIndexWorker } from "./messages.ts";

declare const self: Worker;

const memory = new PassageMemory();

function answer(message: ToIndexWorker): FromIndexWorker {
  const { id } = message;
  switch (message.type) {
    case "page":
      memory.stage(message.load, message.page);
      return { id, ok: true };
    case "commit":
      memory.commit(message.load, message.commit);
      return { id, ok: true };
    case "abandon":
      memory.abandon(message.load);
      return { id, ok: true };
    case "drop":
      memory.drop(message.collectionIds);
      return { id, ok: true };
    case "held":
      return { id, held: memory.held(message.collectionId, message.documents) };
    case "search":
      return { id, hits: memory.search(message.query) };
    case "fingerprint":
      return { id, fingerprint: memory.fingerprint(message.collectionIds, message.reader) };
    case "terms":
      return { id, terms: memory.terms(message.collectionIds, message.words) };
    case "figures":
      return { id, figures: memory.figures(message.collectionIds) };
  }
}

self.addEventListener("message", ({ data }: MessageEvent<ToIndexWorker>) => {
  try {
    self.postMessage(answer(data));
  } catch (error) {
    self.postMessage({
      id: data.id,
      fault: error instanceof Error ? `${error.message}\n${error.stack}` : String(error),
    });
  }
});
