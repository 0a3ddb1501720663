// Opens the language model that is configured. The client library is loaded with the first call, so that a server
// without a model never pays for it.

import type { Model, ModelOptions } from "./index.ts";

/** The model behind `options`, or null without them. Nothing is connected before the first call. */
export function openModel(options: ModelOptions): Model;
export function openModel(options: null): null;
export function openModel(options: ModelOptions | null): Model | null;
export function openModel(options: ModelOptions | null): Model | null {
  if (options === null) return null;
  let opened: Promise<Model> | null = null;
  const model = () => {
    opened ??= import("./openai.ts").then(({ openaiModel }) => openaiModel(options));
    return opened;
  };
  return {
    name: options.model ?? "default",
    stream: async function* (request) {
      yield* (await model()).stream(request);
    },
    ping: async () => (await model()).ping(),
  };
}
