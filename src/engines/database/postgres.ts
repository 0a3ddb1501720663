// PostgreSQL by postgres.js behind the Driver interface.

import postgres from "postgres";
import { isAppError, unavailable } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Connection, Driver, Result, Transaction } from "./connection.ts";
import { DatabaseFault } from "./faults.ts";
import { openNotifications } from "./notifications.ts";
import { knownTypes, parseValue, serializeValue } from "./values.ts";

const CONNECT_TIMEOUT_SECONDS = 5;
/** Longest pause between attempts to connect: a server that is back is used again within this. */
const RETRY_MAX_SECONDS = 1;
/** How long `close` waits for statements under way. */
const CLOSE_TIMEOUT_SECONDS = 1;
/** A transaction whose owner has gone silent holds its locks no longer than this. */
const IDLE_IN_TRANSACTION_MS = 60_000;

/** SQLSTATE classes and codes that mean "not reachable" rather than "refused". */
const AWAY = /^(0800[013467]|28...|3D000|53300|57P0[123])$/;

type Client = postgres.Sql<Record<string, never>> | postgres.TransactionSql<Record<string, never>>;

/** Pool on `url`; connects with the first statement. */
export function openPostgres(url: string, pool: number, log: Log): Driver {
  const database = databaseName(url);
  const options = {
    ...(database ? { database } : {}),
    connect_timeout: CONNECT_TIMEOUT_SECONDS,
    backoff: (attempt: number) => Math.min(3 ** attempt / 100, RETRY_MAX_SECONDS) * (0.5 + Math.random() / 2),
    connection: {
      application_name: "botserver",
      TimeZone: "UTC",
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
      // The planner takes a recursive query over rights for a huge one, and compiling it costs half a second each time.
      jit: "off",
    },
    onnotice: (notice: postgres.Notice) => log.debug("database notice", { notice: notice["message"] }),
    fetch_types: false,
  };
  const client = postgres(url, { ...options, max: pool }) as unknown as postgres.Sql<Record<string, never>>;
  const notifications = openNotifications(
    (hooks) => postgres(url, { ...options, ...hooks, max: 1, idle_timeout: 0, max_lifetime: null }) as never,
    log,
  );
  const { parsers, serializers } = client.options;
  for (const type of knownTypes) {
    serializers[type] = (value: unknown) => serializeValue(value, type);
    parsers[type] = (value: string) => parseValue(value, type);
  }

  const connection = (on: Client): Connection => ({
    run: async (sql, values) => {
      // Type 0 lets the server tell each parameter's type, whatever the value looks like in JavaScript.
      const typed = values.map((value) => (value === null || value === undefined ? null : on.typed(value as never, 0)));
      try {
        const answer = await on.unsafe(sql, typed as never[], { prepare: true }).values();
        const columns = (answer as unknown as { columns?: { name: string; type: number }[] }).columns ?? [];
        const result: Result = {
          fields: columns.map((column) => ({ name: column.name, type: column.type })),
          rows: [...answer],
          rowCount: answer.count ?? 0,
        };
        return result;
      } catch (error) {
        throw translate(error, sql);
      }
    },
    script: async (sql) => {
      try {
        await on.unsafe(sql).simple();
      } catch (error) {
        throw translate(error, sql);
      }
    },
  });
  const shared = connection(client as Client);

  return {
    kind: "postgres",
    ...shared,
    begin: async <T>(work: (own: Transaction) => Promise<T>): Promise<T> => {
      const lost = Promise.withResolvers<never>();
      lost.promise.catch(() => undefined);
      let failure: { error: unknown } | undefined;
      let ended = false;
      /**
       * What postgres.js runs between BEGIN and COMMIT or ROLLBACK. When the connection is gone it never returns:
       * postgres.js would write the ROLLBACK to a socket that is null, from a timer, and bring the process down.
       */
      const step = async <V>(action: () => Promise<V>): Promise<[V]> => {
        let error: unknown;
        try {
          const value = await action();
          if (!ended) return [value];
        } catch (thrown) {
          error = thrown;
        }
        if (ended || isAway(error)) return new Promise(() => undefined);
        throw error;
      };
      const transaction = (on: postgres.TransactionSql<Record<string, never>>): Transaction => {
        const plain = connection(on);
        const alive = <V>(action: () => Promise<V>) => (ended ? lost.promise : Promise.race([action(), lost.promise]));
        return {
          run: (sql, values) => alive(() => plain.run(sql, values)),
          script: (sql) => alive(() => plain.script(sql)),
          savepoint: async (inner) => {
            const kept = await alive(() => on.savepoint((deeper) => step(() => inner(transaction(deeper)))));
            return kept[0] as never;
          },
        };
      };
      try {
        const kept = await client.begin((on) =>
          step(async () => {
            try {
              return await work(transaction(on));
            } catch (error) {
              failure = { error };
              throw error;
            }
          }),
        );
        return kept[0] as T;
      } catch (error) {
        ended = true;
        lost.reject(unavailable("database", error));
        throw failure ? failure.error : translate(error, "commit");
      } finally {
        ended = true;
      }
    },
    listen: async (channel, handler, restored) => {
      try {
        return await notifications.listen(channel, handler, restored);
      } catch (error) {
        throw translate(error, `listen ${channel}`);
      }
    },
    syncCount: async () => null,
    close: async () => {
      await notifications.close();
      await client.end({ timeout: CLOSE_TIMEOUT_SECONDS });
    },
  };
}

/** postgres.js leaves the path's percent signs as they are. */
function databaseName(url: string): string | null {
  const path = /^[a-z]+:\/\/[^/]*\/([^?]*)/.exec(url)?.[1];
  return path ? decodeURIComponent(path) : null;
}

function isAway(error: unknown): boolean {
  return isAppError(error) && error.code === "SERVICE_UNAVAILABLE" && error.details["service"] === "database";
}

function translate(error: unknown, sql: string): unknown {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return error;
  if (error.name !== "PostgresError" || AWAY.test(error.code)) return unavailable("database", error);
  const from = error as unknown as postgres.PostgresError;
  return new DatabaseFault(
    {
      code: from.code,
      message: from.message,
      ...(from.constraint_name ? { constraint: from.constraint_name } : {}),
      ...(from.table_name ? { table: from.table_name } : {}),
      ...(from.column_name ? { column: from.column_name } : {}),
    },
    sql,
  );
}
