// PGlite itself, in a Worker, made durable: PostgreSQL without -F, a real fsync below it, and wal_sync_method=fsync
// (the default fdatasync is an empty stub there). An fsync that fails ends the process with 74: PostgreSQL would hang.

import { existsSync, fsyncSync, writeSync } from "node:fs";
import { PGlite, protocol } from "@electric-sql/pglite";
import { NodeFS } from "@electric-sql/pglite/nodefs";
import type { Field, Result } from "./connection.ts";
import { packedBytes } from "../../lib/embedded/index.ts";
import type { Answer, FromWorker, Statement, ToWorker, WorkerFault, WorkerSettings } from "./pglite-messages.ts";
import { parseValue, serializeValue } from "./values.ts";

declare const self: Worker & { postMessage(message: FromWorker): void };

const { serialize } = protocol;
const EXIT_FSYNC_FAILED = 74;
/** Parsed statements that are kept: parsing and planning cost more than running most of them. */
const PREPARED_MAX = 200;
const DEFINITION = /^\s*(create|alter|drop|truncate|comment|grant|revoke|do)\b/i;

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

const compile = async (file: Parameters<typeof packedBytes>[0]) => WebAssembly.compile(await packedBytes(file));
/** Begins at once, while the other side may still be unpacking the folder. */
const engine = compile("@electric-sql/pglite/dist/pglite.wasm");

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
    ...(settings.fresh ? { initdbWasmModule: await compile("@electric-sql/pglite/dist/initdb.wasm") } : {}),
    fsBundle: new Blob([await packedBytes("@electric-sql/pglite/dist/pglite.data")]),
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

/** A statement that PostgreSQL has parsed under `name`. */
interface Prepared {
  name: string;
  parameters: number[];
  fields: Field[];
}

/** By text, the one used longest ago first. */
const prepared = new Map<string, Prepared>();
let names = 0;

/** One pass of the protocol; throws the server's refusal after everything was read. */
async function exchange(...messages: Uint8Array[]): ReturnType<PGlite["execProtocolStream"]> {
  if (!database) throw new Error("PGlite is not open");
  return database.execProtocolStream(Buffer.concat([...messages, serialize.sync()]), { syncToFs: false });
}

async function prepare(sql: string): Promise<Prepared> {
  const known = prepared.get(sql);
  if (known) {
    prepared.delete(sql);
    prepared.set(sql, known);
    return known;
  }
  const name = `s${++names}`;
  const answers = await exchange(serialize.parse({ name, text: sql }), serialize.describe({ type: "S", name }));
  const entry: Prepared = { name, parameters: [], fields: [] };
  for (const message of answers) {
    if (message instanceof protocol.messages.ParameterDescriptionMessage) entry.parameters = message.dataTypeIDs;
    else if (message instanceof protocol.messages.RowDescriptionMessage) {
      entry.fields = message.fields.map((field) => ({ name: field.name, type: field.dataTypeID }));
    }
  }
  prepared.set(sql, entry);
  const [oldest] = prepared;
  if (prepared.size > PREPARED_MAX && oldest) {
    prepared.delete(oldest[0]);
    await exchange(serialize.close({ type: "S", name: oldest[1].name }));
  }
  return entry;
}

async function execute(sql: string, values: unknown[]): Promise<Result> {
  const { name, parameters, fields } = await prepare(sql);
  if (values.length !== parameters.length) {
    throw new Error(`the statement has ${parameters.length} parameters, ${values.length} were given`);
  }
  const texts = values.map((value, i) =>
    value === null || value === undefined ? null : serializeValue(value, parameters[i] ?? 0),
  );
  const result: Result = { fields, rows: [], rowCount: 0 };
  for (const message of await exchange(serialize.bind({ statement: name, values: texts }), serialize.execute({}))) {
    if (message instanceof protocol.messages.DataRowMessage) {
      result.rows.push(
        message.fields.map((text, i) => (text === null ? null : parseValue(text, fields[i]?.type ?? 0))),
      );
    } else if (message instanceof protocol.messages.CommandCompleteMessage) {
      result.rowCount = Number(/ (\d+)$/.exec(message.text)?.[1] ?? 0);
    }
  }
  return result;
}

/** Definitions change what parsed statements give, so those are parsed anew. */
async function script(sql: string): Promise<Result> {
  if (!database) throw new Error("PGlite is not open");
  await database.exec(sql);
  if (!/^\s*(begin|commit|rollback|savepoint|release|listen|unlisten|checkpoint|vacuum|analyze)\b/i.test(sql))
    await forget();
  return { fields: [], rows: [], rowCount: 0 };
}

async function forget(): Promise<void> {
  const all = [...prepared.values()];
  prepared.clear();
  if (all.length > 0) await exchange(...all.map(({ name }) => serialize.close({ type: "S", name })));
}

async function run({ id, sql, values }: Statement): Promise<Answer> {
  try {
    if (values === null || (values.length === 0 && DEFINITION.test(sql))) return { id, result: await script(sql) };
    return { id, result: await execute(sql, values) };
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
