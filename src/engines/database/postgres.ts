// PostgreSQL by postgres.js behind the Driver interface.

import postgres from "postgres";
import { unavailable } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Connection, Driver, Result, Transaction } from "./connection.ts";
import { DatabaseFault } from "./faults.ts";

const CONNECT_TIMEOUT_SECONDS = 5;
/** A transaction whose owner has gone silent holds its locks no longer than this. */
const IDLE_IN_TRANSACTION_MS = 60_000;

/** SQLSTATE classes and codes that mean "not reachable" rather than "refused". */
const AWAY = /^(08...|28...|3D000|53300|57P0[123])$/;

type Client = postgres.Sql<Record<string, never>> | postgres.TransactionSql<Record<string, never>>;

/** Pool on `url`; connects with the first statement. */
export function openPostgres(url: string, pool: number, log: Log): Driver {
  const text = (types: number[]) => ({
    to: types[0] as number,
    from: types,
    serialize: asText,
    parse: (value: string) => value,
  });
  const database = databaseName(url);
  const client = postgres(url, {
    ...(database ? { database } : {}),
    max: pool,
    connect_timeout: CONNECT_TIMEOUT_SECONDS,
    connection: {
      application_name: "botserver",
      TimeZone: "UTC",
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
    },
    onnotice: (notice) => log.debug("database notice", { notice: notice["message"] }),
    types: {
      // The same values as PGlite gives: times as text, int8 as number, JSON accepted as text or value.
      timestamptz: text([1184]),
      timestamp: text([1114]),
      date: text([1082]),
      time: text([1083]),
      interval: text([1186]),
      int8: { to: 20, from: [20], serialize: String, parse: parseInt8 },
      json: { to: 114, from: [114, 3802], serialize: asJson, parse: (value: string): unknown => JSON.parse(value) },
    },
  }) as unknown as postgres.Sql<Record<string, never>>;
  client.options.serializers[3802] = asJson;

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
      let failure: { error: unknown } | undefined;
      let ended = false;
      // Statements on a connection that was lost meanwhile would wait for ever.
      const transaction = (on: postgres.TransactionSql<Record<string, never>>): Transaction => {
        const plain = connection(on);
        const alive = <V>(action: () => Promise<V>) =>
          ended ? Promise.reject(unavailable("database", new Error("the connection was lost"))) : action();
        return {
          run: (sql, values) => alive(() => plain.run(sql, values)),
          script: (sql) => alive(() => plain.script(sql)),
          savepoint: async (inner) => {
            const kept = await alive(() => on.savepoint(async (deeper) => [await inner(transaction(deeper))]));
            return kept[0] as never;
          },
        };
      };
      try {
        const kept = await client.begin(async (on) => {
          try {
            return [await work(transaction(on))];
          } catch (error) {
            failure = { error };
            throw error;
          }
        });
        return kept[0] as T;
      } catch (error) {
        throw failure ? failure.error : translate(error, "commit");
      } finally {
        ended = true;
      }
    },
    listen: async (channel, handler) => {
      try {
        const listening = await client.listen(channel, handler);
        return () => listening.unlisten();
      } catch (error) {
        throw translate(error, `listen ${channel}`);
      }
    },
    syncCount: async () => null,
    close: () => client.end({ timeout: 5 }),
  };
}

/** postgres.js leaves the path's percent signs as they are. */
function databaseName(url: string): string | null {
  const path = /^[a-z]+:\/\/[^/]*\/([^?]*)/.exec(url)?.[1];
  return path ? decodeURIComponent(path) : null;
}

function asText(value: unknown): string {
  return value instanceof Date ? value.toISOString() : String(value);
}

function asJson(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function parseInt8(value: string): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : BigInt(value);
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
