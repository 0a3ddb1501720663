// Drizzle over a Connection: the same session for both engines, so that results and errors do not differ.

import { PgDialect } from "drizzle-orm/pg-core";
import { PgRemoteDatabase, PgRemoteSession } from "drizzle-orm/pg-proxy";
import type { Connection, Field, Result, Transaction } from "./connection.ts";
import type { Database } from "./index.ts";

const TIMESTAMPTZ = 1184;
const dialect = new PgDialect({ casing: "snake_case" });

/** Rows as objects, `timestamptz` as Date, with `rowCount` beside them. */
export function toObjects<Row>(result: Result): Row[] & { rowCount: number } {
  const { fields } = result;
  const rows = result.rows.map((values) => {
    const row: Record<string, unknown> = {};
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i] as Field;
      const value = values[i];
      row[field.name] = field.type === TIMESTAMPTZ && typeof value === "string" ? new Date(value) : value;
    }
    return row as Row;
  });
  // Not enumerable: the rows are still equal to a plain array.
  return Object.defineProperty(rows, "rowCount", { value: result.rowCount }) as Row[] & { rowCount: number };
}

class EngineSession extends PgRemoteSession<Record<string, never>, Record<string, never>> {
  readonly #connection: Connection | Transaction;
  constructor(connection: Connection | Transaction) {
    const remote = async (sql: string, values: unknown[], method: "all" | "execute") => {
      const result = await connection.run(sql, values);
      return { rows: method === "execute" ? toObjects(result) : result.rows };
    };
    super(remote, dialect, undefined);
    this.#connection = connection;
  }

  override prepareQuery(...args: Parameters<PgRemoteSession<never, never>["prepareQuery"]>) {
    // Drizzle wraps errors with the parameters in the message, and those are people's content.
    return Object.assign(super.prepareQuery(...args), {
      queryWithCache: (_sql: string, _values: unknown[], run: () => Promise<unknown>) => run(),
    });
  }

  override async transaction<T>(work: (tx: never) => Promise<T>): Promise<T> {
    const connection = this.#connection;
    if (!("savepoint" in connection)) {
      throw new Error("Use the engine's transaction(), which knows of retries and afterCommit.");
    }
    return connection.savepoint((inner) => work(openSession(inner) as never));
  }
}

/** The query builder over `connection`; its `transaction` is a savepoint when `connection` is a transaction. */
export function openSession(connection: Connection | Transaction): Database {
  return new PgRemoteDatabase(dialect, new EngineSession(connection), undefined) as unknown as Database;
}
