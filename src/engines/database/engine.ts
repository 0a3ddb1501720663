// What both engines share: transactions with retries and afterCommit, the guard against using the outer
// connection inside one, notifications, health.

import { AsyncLocalStorage } from "node:async_hooks";
import { isAppError, unavailable } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Connection, Driver, Result } from "./connection.ts";
import { isTransient } from "./faults.ts";
import type { Database, DatabaseEngine, DatabaseHealth } from "./index.ts";
import { applyMigrations } from "./migrate.ts";
import { openSession, toObjects } from "./session.ts";

const RETRIES_MAX = 3;
const PING_TIMEOUT_MS = 2_000;
const PAYLOAD_BYTES_MAX = 7_900;

/** One open transaction. A statement refused outside a savepoint dooms it, as it does in PostgreSQL. */
interface Scope {
  open: boolean;
  depth: number;
  refusal: unknown;
  connection: Connection;
}

/** Wraps a driver into the interface that services use. */
export function openEngine(driver: Driver, log: Log): DatabaseEngine {
  const scopes = new AsyncLocalStorage<Scope>();

  const outside = () => {
    if (scopes.getStore()?.open) {
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

  const inside = (scope: Scope): Connection => {
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
      run: (sql, values) => watch(() => scope.connection.run(sql, values)),
      script: (sql) => watch(() => scope.connection.script(sql)),
    };
  };

  const savepoint =
    (scope: Scope) =>
    async (work: (connection: Connection) => Promise<unknown>): Promise<unknown> => {
      const connection = inside(scope);
      const name = `level_${++scope.depth}`;
      await connection.script(`savepoint ${name}`);
      const before = scope.refusal;
      try {
        const value = await work(connection);
        if (scope.refusal !== before) throw scope.refusal;
        await connection.script(`release savepoint ${name}`);
        return value;
      } catch (error) {
        await connection.script(`rollback to savepoint ${name}; release savepoint ${name}`);
        scope.refusal = before;
        throw error;
      } finally {
        scope.depth--;
      }
    };

  const attempt = async <T>(
    work: (tx: Database, afterCommit: (action: () => void | Promise<void>) => void) => Promise<T>,
    actions: (() => void | Promise<void>)[],
  ): Promise<T> =>
    driver.begin(async (connection) => {
      const scope: Scope = { open: true, depth: 0, refusal: null, connection };
      const tx = openSession(inside(scope), savepoint(scope));
      try {
        const value = await scopes.run(scope, () => work(tx, (action) => actions.push(action)));
        if (scope.refusal) throw scope.refusal;
        return value;
      } finally {
        scope.open = false;
      }
    });

  const engine: DatabaseEngine = {
    kind: driver.kind,
    db: openSession(guarded, null),

    transaction: async (work) => {
      outside();
      for (let tries = 0; ; tries++) {
        const actions: (() => void | Promise<void>)[] = [];
        try {
          const value = await attempt(work, actions);
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
      const scope = scopes.getStore();
      const connection = scope?.open ? inside(scope) : driver;
      await connection.run("select pg_notify($1, $2)", [channel, payload]);
    },

    listen: (channel, handler) => driver.listen(channel, handler),

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
        return {
          version: String(result.rows[0]?.[0] ?? ""),
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
