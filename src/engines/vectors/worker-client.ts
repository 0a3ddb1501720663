// The owner's side of the index Worker: questions and answers by number.

import { unavailable } from "../../core/errors.ts";
import { startWorker } from "../../lib/embedded/index.ts";
import type { FromIndexWorker, ToIndexWorker } from "./messages.ts";

/** A message before it has its number. */
type Unnumbered<Message> = Message extends unknown ? Omit<Message, "id"> : never;
export type IndexQuestion = Unnumbered<ToIndexWorker>;

interface Waiting {
  resolve(answer: FromIndexWorker): void;
  reject(error: unknown): void;
}

export class IndexWorker {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #fault: unknown = null;

  /** `onDeath` is called once when the Worker has died by itself: its index is lost. */
  constructor(onDeath: (cause: unknown) => void) {
    this.#worker = startWorker("src/engines/vectors/index.worker.ts");
    this.#worker.addEventListener("message", ({ data }: MessageEvent<FromIndexWorker>) => {
      const entry = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if ("fault" in data) entry?.reject(unavailable("vectors", new Error(data.fault)));
      else entry?.resolve(data);
    });
    this.#worker.addEventListener("error", (event) => {
      if (this.#fault !== null) return;
      const cause = new Error(event.message);
      this.close(cause);
      onDeath(cause);
    });
  }

  /** The Worker's answer. Throws `unavailable("vectors")` when it fails, has died or is closed. */
  ask(question: IndexQuestion, transfer: Transferable[] = []): Promise<FromIndexWorker> {
    if (this.#fault !== null) return Promise.reject(unavailable("vectors", this.#fault));
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<FromIndexWorker>();
    this.#waiting.set(id, { resolve, reject });
    this.#worker.postMessage({ ...question, id }, transfer);
    return promise;
  }

  close(cause: unknown = new Error("closed")): void {
    if (this.#fault !== null) return;
    this.#fault = cause;
    this.#worker.terminate();
    for (const entry of this.#waiting.values()) entry.reject(unavailable("vectors", cause));
    this.#waiting.clear();
  }
}
