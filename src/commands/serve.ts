// `botserver serve`: opens the engines, migrates, listens; stops in order when it is told to.

import { join } from "node:path";
import { createApp, type Engines } from "../app.ts";
import { ensureSecretKey, loadConfig, type Config } from "../config.ts";
import { systemClock, type Clock } from "../core/clock.ts";
import { openLog, type Log } from "../core/log.ts";
import { lockFolder } from "../engines/database/folder.ts";
import { openCache } from "../engines/cache/open.ts";
import { openEmbedding } from "../engines/embedding/open.ts";
import { openExtract } from "../engines/extract/pool.ts";
import { openFetch } from "../engines/fetch/open.ts";
import { openJobs } from "../engines/jobs/open.ts";
import { openPages } from "../pages/open.ts";
import { openModel } from "../engines/model/open.ts";
import { openObjects } from "../engines/objects/open.ts";
import { openVectors } from "../engines/vectors/open.ts";
import { passageSource } from "../areas/knowledge/passage-source.ts";
import { readOptions } from "./help.ts";
import { openConfiguredDatabase } from "./migrate.ts";
import { version } from "./version.ts";

/** Stands for an engine in commands that only look at the routes: any use throws. */
export function absent<Engine extends object>(name: string): Engine {
  return new Proxy({} as Engine, {
    get: (_, member) => {
      if (member === "kind") return "absent";
      throw new Error(`${name} is not open`);
    },
  });
}

/**
 * Opens every engine that the configuration names; what was opened is closed again when a later one fails. The data
 * folder is locked for this process (FolderLocked with the other's pid), unless `beside` says that a serving process
 * may have it, whose uploads are then left alone: PGlite locks in any case, PostgreSQL is there for several.
 */
export async function openEngines(
  config: Config,
  clock: Clock,
  log: Log,
  options: { beside?: boolean } = {},
): Promise<Engines & { close(): Promise<void> }> {
  const opened: (() => Promise<void>)[] = [];
  const close = async () => {
    for (const end of opened.toReversed()) await end();
  };
  const beside = options.beside ?? false;
  try {
    if (config.databaseUrl !== null && !beside) {
      const lock = lockFolder(config.dataDir);
      opened.push(() => Promise.resolve(lock.release()));
    }
    const database = await openConfiguredDatabase(config, log);
    opened.push(() => database.close());
    const bridge =
      database.kind === "postgres"
        ? {
            notify: (channel: string, payload: string) => database.notify(channel, payload),
            listen: (channel: string, handler: (payload: string) => void, restored?: () => void) =>
              database.listen(channel, handler, restored),
          }
        : undefined;
    const cache = await openCache({ url: config.valkeyUrl, clock, log, ...(bridge ? { bridge } : {}) });
    opened.push(() => cache.close());
    const objects = await openObjects({
      dir: join(config.dataDir, "objects"),
      s3Endpoint: config.s3Endpoint,
      shared: database.kind === "postgres" ? database : null,
      clock,
      log,
      sweep: !beside,
    });
    const { embeddingUrl, embeddingModel } = config;
    const embedding = openEmbedding(
      embeddingUrl === null || embeddingModel === null
        ? null
        : {
            url: embeddingUrl,
            apiKey: config.embeddingApiKey,
            model: embeddingModel,
            dimensions: config.embeddingDimensions,
          },
    );
    opened.push(() => embedding.close());
    if (config.vectors === "qdrant")
      throw new Error("VECTORS=qdrant is not supported by this version; use embedded or off");
    const vectors = openVectors({ kind: config.vectors, source: passageSource(database), log });
    opened.push(() => vectors.close());
    const extract = openExtract({ workers: config.documentWorkers, log });
    opened.push(() => extract.close());
    const fetcher = openFetch({ allowPrivateHosts: config.allowPrivateHosts, log });
    opened.push(() => Promise.resolve(fetcher.close()));
    const model =
      config.llmUrl === null
        ? null
        : openModel({
            url: config.llmUrl,
            apiKey: config.llmApiKey,
            model: config.llmModel,
            timeoutMs: config.llmTimeoutSeconds * 1000,
          });
    return {
      database,
      cache,
      objects,
      embedding,
      vectors,
      extract,
      fetcher,
      model,
      jobs: openJobs({ database, clock, log }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

export interface Server {
  url: string;
  port: number;
  services: ReturnType<typeof createApp>["services"];
  engines: Engines;
  /** One-time setup token of a server without an administrator. */
  setupToken: string | null;
  /** Lets requests and jobs under way finish, then closes everything. */
  stop(graceMs?: number): Promise<void>;
}

/** How long sockets that were told goodbye may take to answer it. */
const GOODBYE_MS = 500;
/** How long answers may take to leave once nothing is waited for any more. */
const LAST_WORD_MS = 400;

/** Resolves when no request is under way and sockets have had their time. */
async function silence(server: { readonly pendingRequests: number }): Promise<void> {
  const end = performance.now() + GOODBYE_MS;
  while (server.pendingRequests > 0 || performance.now() < end) await Bun.sleep(10);
}

/** Waits for the work, at most so long; no timer stays behind. */
async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: Timer | undefined;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** Starts a whole server from a configuration. */
export async function openServer(config: Config, options: { clock?: Clock; log?: Log } = {}): Promise<Server> {
  const clock = options.clock ?? systemClock;
  const log = options.log ?? openLog(config.logLevel, config.logFormat);
  const secretKey = ensureSecretKey(config);
  const [engines, pages] = await Promise.all([openEngines(config, clock, log), openPages()]);
  try {
    const applied = await engines.database.migrate();
    if (applied.length > 0) log.info("the database was brought up to date", { applied });
    const built = createApp({ config, secretKey, engines, clock, log, version, pages });
    await built.start();
    built.app.listen({ port: config.port, hostname: config.host });
    const { server } = built.app;
    if (!server) throw new Error("the server does not listen");
    const port = server.port ?? config.port;
    const host = config.host === "0.0.0.0" || config.host === "::" ? "127.0.0.1" : config.host;
    let stopping: Promise<void> | null = null;
    return {
      url: `http://${host}:${port}`,
      port,
      services: built.services,
      engines,
      setupToken: await built.services.signIn.setupToken(),
      stop: (graceMs = config.shutdownSeconds * 1000) => {
        stopping ??= (async () => {
          const end = performance.now() + graceMs;
          const left = () => Math.max(0, end - performance.now());
          built.announceStop();
          // New connections are refused and idle ones closed at once; requests under way and sockets go on.
          const closed = server.stop(false);
          await built.drain(graceMs);
          // Who has waited in vain is told so: that takes a moment after the time, too.
          await within(Math.max(LAST_WORD_MS, left()), Promise.race([closed, silence(server)]));
          await server.stop(true);
          await within(left(), built.stop());
          await engines.close();
        })();
        return stopping;
      },
    };
  } catch (error) {
    await engines.close();
    throw error;
  }
}

/** How long closing the engines may take after the last request. */
const CLOSING_MS = 900;

export async function run(args: string[]): Promise<number> {
  readOptions("serve", args, {});
  const config = loadConfig();
  // Heard from now on: one that comes while the server opens ends it as soon as it is open. A second ends at once.
  const told = Promise.withResolvers<void>();
  let signals = 0;
  const onSignal = () => {
    if (signals > 0) process.exit(1);
    signals += 1;
    told.resolve();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  const server = await openServer(config);
  const { database, cache, objects, model } = server.engines;
  process.stdout.write(
    `botserver ${version} listens on ${server.url} (database ${database.kind}, cache ${cache.kind}, ` +
      `objects ${objects.kind}, model ${model ? "configured" : "none: answers are quoted"})\n`,
  );
  if (server.setupToken !== null) {
    // Only for the eyes at the terminal: never through the log, which may be kept.
    process.stdout.write(
      `Make the first administrator: ${config.publicUrl ?? server.url}/setup#token=${server.setupToken}\n`,
    );
  }
  await told.promise;
  // What does not close in time is cut off by the end of the process: nothing that was acknowledged depends on it.
  await within(config.shutdownSeconds * 1000 + CLOSING_MS, server.stop());
  return 0;
}
