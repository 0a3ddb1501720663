// Drizzle over a Connection: the same session for both engines, so that results and errors do not differ.

import { PgDialect } from "drizzle-orm/pg-core";
import { PgRemoteDatabase, PgRemoteSession } from "drizzle-orm/pg-proxy";
import type { Connection, Field, Result } from "./connection.ts";
import type { Database } from "./index.ts";

const TIMESTAMPTZ = 1184;
const dialect = new PgDialect({ casing: "snake_case" });

type Savepoint = (work: (connection: Connection) => Promise<unknown>) => Promise<unknown>;

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
  return Object.assign(rows, { rowCount: result.rowCount });
}

class EngineSession extends PgRemoteSession<Record<string, never>, Record<string, never>> {
  readonly #savepoint: Savepoint | null;
  constructor(connection: Connection, savepoint: Savepoint | null) {
    const remote = async (sql: string, values: unknown[], method: "all" | "execute") => {
      const result = await connection.run(sql, values);
      return { rows: method === "execute" ? toObjects(result) : result.rows };
    };
    super(remote, dialect, undefined);
    this.#savepoint = savepoint;
  }

  override prepareQuery(...args: Parameters<PgRemoteSession<never, never>["prepareQuery"]>) {
    // Drizzle wraps errors with the parameters in the message, and those are people's content.
    return Object.assign(super.prepareQuery(...args), {
      queryWithCache: (_sql: string, _values: unknown[], run: () => Promise<unknown>) => run(),
    });
  }

  override transaction<T>(work: (tx: never) => Promise<T>): Promise<T> {
    const savepoint = this.#savepoint;
    if (!savepoint) throw new Error("Use the engine's transaction(), which knows of retries and afterCommit.");
    return savepoint((connection) => work(openSession(connection, savepoint) as never)) as Promise<T>;
  }
}

/** The query builder over `connection`; `savepoint` runs what is given to its `transaction`. */
export function openSession(connection: Connection, savepoint: Savepoint | null): Database {
  const session = new EngineSession(connection, savepoint);
  return new PgRemoteDatabase(dialect, session, undefined) as unknown as Database;
}
