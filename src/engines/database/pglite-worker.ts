// PGlite itself, in a Worker, made durable: PostgreSQL without -F, a real fsync below it, and wal_sync_method=fsync
// (the default fdatasync is an empty stub there). An fsync that fails ends the process with 74: PostgreSQL would hang.

import { existsSync, fsyncSync, writeSync } from "node:fs";
import { PGlite } from "@electric-sql/pglite";
import { NodeFS } from "@electric-sql/pglite/nodefs";
import initdbWasm from "../../../node_modules/@electric-sql/pglite/dist/initdb.wasm" with { type: "file" };
import pgliteData from "../../../node_modules/@electric-sql/pglite/dist/pglite.data" with { type: "file" };
import pgliteWasm from "../../../node_modules/@electric-sql/pglite/dist/pglite.wasm" with { type: "file" };
import type { Result } from "./connection.ts";
import type { Answer, FromWorker, Statement, ToWorker, WorkerFault, WorkerSettings } from "./pglite-messages.ts";

declare const self: Worker & { postMessage(message: FromWorker): void };

const EXIT_FSYNC_FAILED = 74;

/** Answers go out together, but none waits longer than this for the others. */
const HOLD_MS = 2;
/** A loop that never yields lets garbage pile up (measured: 655 MB instead of 315). */
const YIELD_EVERY = 16;

class SyncFS extends NodeFS {
  readonly #syncs: BigInt64Array;
  constructor(folder: string, syncs: SharedArrayBuffer) {
    super(folder);
    this.#syncs = new BigInt64Array(syncs);
  }
  override async init(...args: Parameters<NodeFS["init"]>): ReturnType<NodeFS["init"]> {
    const prepared = await super.init(...args);
    const syncs = this.#syncs;
    prepared.emscriptenOpts.preRun?.push((module) => {
      const nodefs = (module as unknown as { NODEFS: { stream_ops: { fsync?: (stream: { nfd: number }) => number } } })
        .NODEFS;
      nodefs.stream_ops.fsync = (stream) => {
        try {
          fsyncSync(stream.nfd);
          Atomics.add(syncs, 0, 1n);
          return 0;
        } catch (error) {
          writeSync(2, `fsync failed, the process ends so that recovery runs at the next start: ${String(error)}\n`);
          process.exit(EXIT_FSYNC_FAILED);
        }
      };
    });
    return prepared;
  }
}

const compile = async (path: string) => WebAssembly.compile(await Bun.file(path).arrayBuffer());
/** Begins at once, while the other side may still be unpacking the folder. */
const engine = compile(pgliteWasm);

let database: PGlite | undefined;
let pending: Statement[] = [];
let running = false;

async function open(settings: WorkerSettings, syncs: SharedArrayBuffer): Promise<void> {
  if (!settings.fresh && !existsSync(`${settings.folder}/PG_VERSION`))
    throw new Error(`${settings.folder} is no database`);
  const durability = settings.sync
    ? ["-c", "fsync=on", "-c", "wal_sync_method=fsync"]
    : ["-c", "fsync=off", "-c", "synchronous_commit=off"];
  database = await PGlite.create({
    dataDir: settings.folder,
    fs: new SyncFS(settings.folder, syncs),
    pgliteWasmModule: await engine,
    ...(settings.fresh ? { initdbWasmModule: await compile(initdbWasm) } : {}),
    fsBundle: Bun.file(pgliteData),
    // Small WAL files: less to unpack at the first start, and shorter pauses when one is added.
    initDbStartParams: ["--wal-segsize=1", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"],
    startParams: [
      ...PGlite.defaultStartParams.filter((parameter) => parameter !== "-F"),
      ...durability,
      "-c",
      "shared_buffers=16MB",
      "-c",
      "timezone=UTC",
    ],
  });
  database.onNotification((channel, payload) => self.postMessage({ type: "notification", channel, payload }));
}

const raw = (text: string) => text;
const options = {
  rowMode: "array" as const,
  // timestamptz, timestamp, date, interval and their arrays stay text, as Drizzle wants them.
  parsers: Object.fromEntries([1184, 1114, 1082, 1186, 1185, 1115, 1182, 1187].map((type) => [type, raw])),
};

async function run(statement: Statement): Promise<Answer> {
  const { id, sql, values } = statement;
  try {
    if (!database) throw new Error("PGlite is not open");
    if (values === null) {
      await database.exec(sql);
      return { id, result: { fields: [], rows: [], rowCount: 0 } };
    }
    const answer = await database.query(sql, values, options);
    const result: Result = {
      fields: answer.fields.map((field) => ({ name: field.name, type: field.dataTypeID })),
      rows: answer.rows as unknown[][],
      rowCount: answer.rowCount ?? answer.affectedRows ?? 0,
    };
    return { id, result };
  } catch (error) {
    return { id, fault: faultOf(error) };
  }
}

function faultOf(error: unknown): WorkerFault {
  const fields = error as Record<string, unknown>;
  const text = (name: string) => (typeof fields[name] === "string" ? { [name]: fields[name] } : {});
  return {
    code: typeof fields["code"] === "string" ? fields["code"] : null,
    message: error instanceof Error ? error.message : String(error),
    ...text("constraint"),
    ...text("table"),
    ...text("column"),
  };
}

async function drain(): Promise<void> {
  running = true;
  let answers: Answer[] = [];
  let since = performance.now();
  let count = 0;
  const flush = () => {
    if (answers.length > 0) self.postMessage({ type: "answers", answers });
    answers = [];
    since = performance.now();
  };
  while (pending.length > 0) {
    const batch = pending;
    pending = [];
    for (const statement of batch) {
      answers.push(await run(statement));
      if (performance.now() - since > HOLD_MS) flush();
      if (++count % YIELD_EVERY === 0) {
        flush();
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    flush();
  }
  running = false;
}

self.onmessage = async ({ data }: MessageEvent<ToWorker>) => {
  switch (data.type) {
    case "open":
      try {
        await open(data.settings, data.syncs);
        self.postMessage({ type: "opened" });
      } catch (error) {
        self.postMessage({ type: "failed", message: error instanceof Error ? error.message : String(error) });
      }
      return;
    case "run":
      pending.push(...data.statements);
      if (!running) await drain();
      return;
    case "close":
      await database?.close();
      self.postMessage({ type: "closed" });
  }
};
