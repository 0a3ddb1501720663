// The pool of extraction Workers. A document that takes too long costs its Worker, never another document.

import type { Log } from "../../core/log.ts";
import { startWorker } from "../../lib/embedded/index.ts";
import { ExtractFailure } from "../../lib/extract/index.ts";
import type { ExtractEngine, ExtractedDocument, ExtractedPassage, ExtractRequest } from "./index.ts";
import type { ExtractAnswer, FromExtractWorker, ToExtractWorker } from "./messages.ts";

export interface ExtractOptions {
  /** DOCUMENT_WORKERS. */
  workers: number;
  log: Log;
  /** Time for one document (5 minutes). */
  timeoutMs?: number;
  /** What a Worker gets beyond that to come to an end by itself (5 s). */
  graceMs?: number;
  /** Pages of one document (2,000). */
  pagesMax?: number;
  /** Characters of one document (20 million). */
  charactersMax?: number;
}

const TIMEOUT_MS = 5 * 60_000;
const PAGES_MAX = 2_000;
const CHARACTERS_MAX = 20_000_000;
const GRACE_MS = 5_000;
/** WebAssembly memory never shrinks: a Worker without work gives it back. */
const IDLE_MS = 60_000;
/** A thread that has not ended this long after `terminate` is counted as lost. */
const END_MS = 10_000;

interface Task {
  request: ExtractRequest;
  resolve(document: ExtractedDocument): void;
  reject(error: unknown): void;
}

interface Slot {
  worker: Worker;
  task: Task | null;
  /** While it works: its hard stop. While it does not: its end. */
  timer: Timer | null;
}

/** Workers are started with the first documents and end when idle. */
export function openExtract(options: ExtractOptions): ExtractEngine {
  const {
    log,
    timeoutMs = TIMEOUT_MS,
    graceMs = GRACE_MS,
    pagesMax = PAGES_MAX,
    charactersMax = CHARACTERS_MAX,
  } = options;
  const slots = new Set<Slot>();
  const waiting: Task[] = [];
  let lost = 0;
  let isClosed = false;

  const discard = (slot: Slot) => {
    if (!slots.delete(slot)) return;
    if (slot.timer) clearTimeout(slot.timer);
    const end = setTimeout(() => {
      lost++;
      log.error("an extraction thread does not end", { lost });
    }, END_MS);
    end.unref();
    slot.worker.addEventListener("close", () => clearTimeout(end));
    slot.worker.terminate();
  };

  const open = (): Slot => {
    const slot: Slot = { worker: startWorker("src/engines/extract/extract.worker.ts"), task: null, timer: null };
    const crash = (message: string) => {
      const { task } = slot;
      slot.task = null;
      if (slots.has(slot)) log.warn("an extraction worker died", { error: message });
      discard(slot);
      task?.reject(new ExtractFailure("corrupted_file", "The document could not be read."));
      next();
    };
    slot.worker.addEventListener("error", (event) => {
      event.preventDefault();
      crash(event.message);
    });
    slot.worker.addEventListener("close", () => crash("closed"));
    slots.add(slot);
    return slot;
  };

  const begin = (slot: Slot, task: Task) => {
    if (slot.timer) clearTimeout(slot.timer);
    slot.task = task;
    slot.timer = setTimeout(() => {
      slot.task = null;
      discard(slot);
      task.reject(new ExtractFailure("timeout", "Reading the document took too long."));
      next();
    }, timeoutMs + graceMs);
    slot.worker.onmessage = ({ data }: MessageEvent<FromExtractWorker>) => {
      if (slot.task !== task) return;
      if (data.type === "chunking") {
        task.request.onChunking?.();
        return;
      }
      if (slot.timer) clearTimeout(slot.timer);
      slot.task = null;
      if (data.type === "done") task.resolve(toDocument(data.answer));
      else {
        if (data.spent) discard(slot);
        task.reject(new ExtractFailure(data.code, data.message));
      }
      next();
      if (slots.has(slot) && slot.task === null) {
        slot.timer = setTimeout(() => discard(slot), IDLE_MS);
        slot.timer.unref();
      }
    };
    const { bytes, name, chunkTokens, overlapTokens } = task.request;
    const message: ToExtractWorker = {
      bytes,
      name,
      chunkTokens,
      overlapTokens,
      timeoutMs,
      pagesMax,
      charactersMax,
    };
    slot.worker.postMessage(message, [bytes.buffer]);
  };

  const next = () => {
    while (!isClosed && waiting.length > 0) {
      const free = [...slots].find((slot) => slot.task === null);
      if (!free && slots.size >= options.workers) return;
      const task = waiting.shift();
      if (task) begin(free ?? open(), task);
    }
  };

  return {
    size: options.workers,
    extract: async (request, signal) => {
      signal?.throwIfAborted();
      const { promise, resolve, reject } = Promise.withResolvers<ExtractedDocument>();
      const task: Task = { request, resolve, reject };
      const abort = () => {
        const at = waiting.indexOf(task);
        if (at >= 0) waiting.splice(at, 1);
        for (const slot of slots) {
          if (slot.task !== task) continue;
          slot.task = null;
          discard(slot);
          next();
        }
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", abort, { once: true });
      waiting.push(task);
      next();
      try {
        return await promise;
      } finally {
        signal?.removeEventListener("abort", abort);
      }
    },
    health: () => ({
      workers: slots.size,
      busy: [...slots].filter((slot) => slot.task !== null).length,
      waiting: waiting.length,
      lost,
    }),
    close: async () => {
      isClosed = true;
      const reason = new Error("the extraction engine is closed");
      for (const task of waiting.splice(0)) task.reject(reason);
      for (const slot of slots) {
        slot.task?.reject(reason);
        slot.task = null;
        discard(slot);
      }
    },
  };
}

const LINE_FEED = 10;

function toDocument({ passages: lines, ...answer }: ExtractAnswer): ExtractedDocument {
  const decoder = new TextDecoder();
  return {
    ...answer,
    *passages(size, from = 0) {
      let batch: ExtractedPassage[] = [];
      let ordinal = 0;
      for (let at = 0; at < lines.length; ordinal++) {
        const end = lines.indexOf(LINE_FEED, at);
        // The Worker wrote them: their shape is known.
        if (ordinal >= from) batch.push(JSON.parse(decoder.decode(lines.subarray(at, end))) as ExtractedPassage);
        at = end + 1;
        if (batch.length === size) {
          yield batch;
          batch = [];
        }
      }
      if (batch.length > 0) yield batch;
    },
  };
}
