// `botserver openapi`: the document that /docs/json serves, printed without a server. No engine is opened.

import { createApp, type Engines } from "../app.ts";
import type { Config } from "../config.ts";
import { loadConfig } from "../config.ts";
import { systemClock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import { openapiDocument } from "../http/openapi.ts";
import { readOptions } from "./help.ts";
import { version } from "./version.ts";

/** The whole app on engines that cannot be called: for reading its routes. */
export function appWithoutEngines(config: Config): ReturnType<typeof createApp> {
  const engines: Engines = {
    database: unopened("database"),
    cache: unopened("cache"),
    objects: unopened("objects"),
    jobs: unopened<Engines["jobs"]>("jobs", { define: () => undefined }),
    embedding: unopened("embedding"),
    extract: unopened("extract"),
    vectors: unopened("vectors"),
    fetcher: unopened("fetcher"),
    model: null,
  };
  // The key signs nothing here.
  return createApp({
    config,
    secretKey: "0".repeat(32),
    engines,
    clock: systemClock,
    log: silentLog,
    version,
    pages: { get: () => null },
  });
}

export async function run(args: string[]): Promise<number> {
  readOptions("openapi", args, {});
  const { app } = appWithoutEngines(loadConfig());
  await Bun.write(Bun.stdout, `${JSON.stringify(openapiDocument(app, { version }), null, 2)}\n`);
  return 0;
}

/** Stands for an engine: its members can be handed on while the app is built, but any call but of `known` throws. */
function unopened<Engine extends object>(name: string, known: Partial<Engine> = {}): Engine {
  const refuse = (): never => {
    throw new Error(`The engine ${name} is not open.`);
  };
  const stand: object = new Proxy(refuse, {
    get: (_, member) => (member === "then" ? undefined : ((known as Record<PropertyKey, unknown>)[member] ?? stand)),
  });
  return stand as Engine;
}
