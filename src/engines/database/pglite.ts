// PGlite behind the Driver interface: a Worker runs it, this side orders the work. There is one connection, so an
// open transaction has it alone and everything else waits in line.

import { EventEmitter } from "node:events";
import { unavailable } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Connection, Driver, Result, Transaction } from "./connection.ts";
import { DatabaseFault } from "./faults.ts";
import type { Answer, FromWorker, Statement, ToWorker, WorkerSettings } from "./pglite-messages.ts";
import { startUpkeep } from "./upkeep.ts";

const EXIT_DATABASE_DIED = 74;
const IDLE_IN_TRANSACTION_MS = 60_000;

interface Waiting {
  sql: string;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

/** Starts PGlite on `settings.folder`, which `prepare` may bring meanwhile, and waits until it answers. */
export async function openPglite(
  settings: WorkerSettings,
  log: Log,
  prepare: () => Promise<void> = () => Promise.resolve(),
): Promise<Driver> {
  const worker = new Worker(workerUrl());
  const syncs = new SharedArrayBuffer(8);
  const waiting = new Map<number, Waiting>();
  const notifications = new EventEmitter();
  notifications.setMaxListeners(0);
  let nextId = 1;
  let outbox: Statement[] = [];
  let state: "opening" | "open" | "closing" | "closed" = "opening";
  const tell = (message: ToWorker) => worker.postMessage(message);

  const settle = (answer: Answer) => {
    const entry = waiting.get(answer.id);
    if (!entry) return;
    waiting.delete(answer.id);
    if ("result" in answer) entry.resolve(answer.result);
    else if (answer.fault.code === null) entry.reject(new Error(answer.fault.message));
    else entry.reject(new DatabaseFault({ ...answer.fault, code: answer.fault.code }, entry.sql));
  };

  const opened = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<void>();
  worker.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => {
    if (data.type === "answers") {
      // Not within this event: Bun delivers no further message while code resumed by it blocks, as a test's
      // `expect(…).rejects` does.
      setImmediate(() => {
        for (const answer of data.answers) settle(answer);
      });
    } else if (data.type === "notification") notifications.emit(data.channel, data.payload);
    else if (data.type === "opened") opened.resolve();
    else if (data.type === "failed") opened.reject(unavailable("database", new Error(data.message)));
    else closed.resolve();
  });
  worker.addEventListener("error", (event) => log.error("the database worker failed", { error: event.message }));
  worker.addEventListener("close", () => {
    if (state === "closed") return;
    log.error("the database worker died; the process ends so that recovery runs at the next start");
    process.exit(EXIT_DATABASE_DIED);
  });
  try {
    await prepare();
    tell({ type: "open", settings, syncs });
    await opened.promise;
  } catch (error) {
    state = "closed";
    worker.terminate();
    throw error;
  }
  state = "open";
  const post = (sql: string, values: unknown[] | null): Promise<Result> =>
    new Promise((resolve, reject) => {
      upkeep.count();
      const id = nextId++;
      waiting.set(id, { sql, resolve, reject });
      if (outbox.length === 0) {
        // Statements of one turn of the event loop share a message.
        queueMicrotask(() => {
          tell({ type: "run", statements: outbox });
          outbox = [];
        });
      }
      outbox.push({ id, sql, values });
    });

  // Whoever waits for the connection, in order of arrival: single statements pass at once unless a transaction has it.
  const line: (() => void)[] = [];
  let taken = false;
  const turn = () => {
    while (!taken && line.length > 0) line.shift()?.();
  };
  const single = (sql: string, values: unknown[] | null): Promise<Result> => {
    if (state !== "open") return Promise.reject(unavailable("database", new Error("the database is closed")));
    if (!taken && line.length === 0) return post(sql, values);
    return new Promise((resolve, reject) => {
      line.push(() => post(sql, values).then(resolve, reject));
    });
  };
  const take = (): Promise<void> => {
    if (state !== "open") return Promise.reject(unavailable("database", new Error("the database is closed")));
    return new Promise((resolve) => {
      line.push(() => {
        taken = true;
        resolve();
      });
      turn();
    });
  };
  const release = () => {
    taken = false;
    turn();
  };
  const begin = async <T>(work: (own: Transaction) => Promise<T>): Promise<T> => {
    await take();
    let ended = false;
    let lastUse = performance.now();
    let underWay = 0;
    const inside = async (sql: string, values: unknown[] | null): Promise<Result> => {
      if (ended) throw new Error("The transaction has already ended.");
      underWay++;
      try {
        return await post(sql, values);
      } finally {
        underWay--;
        lastUse = performance.now();
      }
    };
    const own = (depth: number): Transaction => ({
      run: (sql, values) => inside(sql, values),
      script: async (sql) => {
        await inside(sql, null);
      },
      savepoint: async (inner) => {
        const name = `level_${depth}`;
        await inside(`savepoint ${name}`, []);
        try {
          const value = await inner(own(depth + 1));
          await inside(`release savepoint ${name}`, []);
          return value;
        } catch (error) {
          await inside(`rollback to savepoint ${name}; release savepoint ${name}`, null);
          throw error;
        }
      },
    });
    // The only connection must not hang on a transaction that waits for something else.
    const idle = Promise.withResolvers<never>();
    const watch = setInterval(() => {
      if (underWay > 0 || performance.now() - lastUse < IDLE_IN_TRANSACTION_MS) return;
      idle.reject(
        new Error(`A transaction was rolled back after ${IDLE_IN_TRANSACTION_MS / 1000} s without a statement.`),
      );
    }, IDLE_IN_TRANSACTION_MS / 4);
    watch.unref();
    try {
      // Not awaited before the work: its first statement travels in the same message.
      const begun = post("begin", []);
      begun.catch(() => undefined);
      try {
        const value = await Promise.race([work(own(1)), idle.promise]);
        await begun;
        await inside("commit", []);
        return value;
      } catch (error) {
        ended = true;
        await post("rollback", []);
        throw error;
      }
    } finally {
      ended = true;
      clearInterval(watch);
      release();
    }
  };

  const shared: Connection = {
    run: (sql, values) => single(sql, values),
    script: async (sql) => {
      await single(sql, null);
    },
  };
  const upkeep = startUpkeep(shared, log);
  return {
    kind: "pglite",
    ...shared,
    begin,
    listen: async (channel, handler) => {
      if (notifications.listenerCount(channel) === 0) await single(`listen "${channel.replaceAll('"', '""')}"`, null);
      notifications.on(channel, handler);
      return async () => {
        notifications.off(channel, handler);
        if (notifications.listenerCount(channel) === 0 && state === "open") {
          await single(`unlisten "${channel.replaceAll('"', '""')}"`, null);
        }
      };
    },
    syncCount: async () => Number(new BigInt64Array(syncs)[0]),
    close: async () => {
      if (state !== "open") return;
      upkeep.stop();
      const last = take();
      state = "closing";
      await last;
      tell({ type: "close" });
      await closed.promise;
      state = "closed";
      worker.terminate();
    },
  };
}

/** In the compiled binary the Worker is an entry point of its own, addressed from the root of the sources. */
function workerUrl(): string {
  const compiled = /\/(\$bunfs|~BUN)\//.test(import.meta.url);
  return new URL(compiled ? "./engines/database/pglite-worker.ts" : "./pglite-worker.ts", import.meta.url).href;
}
