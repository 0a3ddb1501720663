// What both engines share: transactions with retries and afterCommit, the guard against using the outer
// connection inside one, notifications, health.

import { AsyncLocalStorage } from "node:async_hooks";
import { isAppError, unavailable } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Connection, Driver, Result, Transaction } from "./connection.ts";
import { isTransient } from "./faults.ts";
import type { DatabaseEngine, DatabaseHealth } from "./index.ts";
import { applyMigrations } from "./migrate.ts";
import { openSession, toObjects } from "./session.ts";

const RETRIES_MAX = 3;
const PING_TIMEOUT_MS = 2_000;
const PAYLOAD_BYTES_MAX = 7_900;

/** One open transaction, or a savepoint in it. A statement refused in it dooms it, as it does in PostgreSQL. */
interface Scope {
  open: boolean;
  refusal: unknown;
}

interface Open {
  scope: Scope;
  connection: Transaction;
}

/** Wraps a driver into the interface that services use. */
export function openEngine(driver: Driver, log: Log): DatabaseEngine {
  const opened = new AsyncLocalStorage<Open>();

  const outside = () => {
    if (opened.getStore()?.scope.open) {
      throw new Error("The outer database was used inside an open transaction; use the transaction's own handle.");
    }
  };
  const guarded: Connection = {
    run: async (sql, values) => {
      outside();
      return driver.run(sql, values);
    },
    script: async (sql) => {
      outside();
      return driver.script(sql);
    },
  };

  const inside = (scope: Scope, connection: Transaction): Transaction => {
    const watch = async <T>(action: () => Promise<T>): Promise<T> => {
      if (!scope.open) throw new Error("The transaction has already ended; one of its statements was not awaited.");
      try {
        return await action();
      } catch (error) {
        scope.refusal ??= error;
        throw error;
      }
    };
    return {
      run: (sql, values) => watch(() => connection.run(sql, values)),
      script: (sql) => watch(() => connection.script(sql)),
      savepoint: (work) => {
        if (!scope.open) throw new Error("The transaction has already ended.");
        return connection.savepoint((inner) => within(inner, (_, own) => work(own)));
      },
    };
  };

  /** Runs `work` on `connection`; a refusal that `work` swallowed is thrown at the end. */
  const within = async <T>(
    connection: Transaction,
    work: (scope: Open, own: Transaction) => Promise<T>,
  ): Promise<T> => {
    const scope: Scope = { open: true, refusal: null };
    const own = inside(scope, connection);
    try {
      const value = await work({ scope, connection: own }, own);
      if (scope.refusal) throw scope.refusal;
      return value;
    } finally {
      scope.open = false;
    }
  };

  const engine: DatabaseEngine = {
    kind: driver.kind,
    db: openSession(guarded),

    transaction: async (work) => {
      outside();
      for (let tries = 0; ; tries++) {
        const actions: (() => void | Promise<void>)[] = [];
        try {
          const value = await driver.begin((connection) =>
            within(connection, (open, own) =>
              opened.run(open, () => work(openSession(own), (action) => actions.push(action))),
            ),
          );
          for (const action of actions) {
            try {
              await action();
            } catch (error) {
              log.error("an action after a commit failed", { error });
            }
          }
          return value;
        } catch (error) {
          if (tries >= RETRIES_MAX || !isTransient(error)) throw error;
          await Bun.sleep(2 ** tries * (5 + Math.random() * 10));
        }
      }
    },

    query: async <Row extends Record<string, unknown>>(text: string, values: unknown[] = []) =>
      toObjects<Row>(await guarded.run(text, values)),

    execute: (script) => guarded.script(script),

    migrate: () => applyMigrations(engine, log),

    syncCount: () => driver.syncCount(),

    notify: async (channel, payload) => {
      if (Buffer.byteLength(payload) > PAYLOAD_BYTES_MAX)
        throw new Error(`A payload has at most ${PAYLOAD_BYTES_MAX} bytes.`);
      const open = opened.getStore();
      const connection = open?.scope.open ? open.connection : driver;
      await connection.run("select pg_notify($1, $2)", [channel, payload]);
    },

    listen: (channel, handler, restored) => driver.listen(channel, handler, restored),

    ping: async (): Promise<DatabaseHealth> => {
      const start = performance.now();
      let timer: Timer | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(unavailable("database", new Error(`no answer in ${PING_TIMEOUT_MS} ms`))),
          PING_TIMEOUT_MS,
        );
      });
      try {
        const result: Result = await Promise.race([driver.run("show server_version", []), late]);
        const version = result.rows[0]?.[0];
        return {
          version: typeof version === "string" ? version : "",
          latencyMs: Math.round((performance.now() - start) * 100) / 100,
        };
      } catch (error) {
        throw isAppError(error) ? error : unavailable("database", error);
      } finally {
        clearTimeout(timer);
      }
    },

    close: () => driver.close(),
  };
  return engine;
}
