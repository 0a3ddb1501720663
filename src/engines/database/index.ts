// The relational database behind one interface: PGlite in a Worker, or PostgreSQL by postgres.js.

import type { PgDatabase, PgQueryResultHKT } from "drizzle-orm/pg-core";

/** What statements without `returning` and `execute` give: rows as objects (`timestamptz` as Date) and their count. */
export interface QueryResult extends PgQueryResultHKT {
  type: this["row"][] & { rowCount: number };
}

/** Drizzle's query builder over either engine, or over a transaction of it; its own `transaction` is a savepoint. */
export type Database = PgDatabase<QueryResult, Record<string, never>>;

export interface DatabaseHealth {
  version: string;
  latencyMs: number;
}

export interface DatabaseEngine {
  readonly kind: "pglite" | "postgres";
  /** For single statements. Inside `transaction` use its argument: using this one there throws. */
  readonly db: Database;
  /**
   * Runs `work` in one transaction, read committed, and returns what it returns; any throw rolls back.
   * Deadlocks and serialization failures are run again (3 times). Functions pushed to `afterCommit` run after
   * a commit only: publishing belongs there.
   */
  transaction<T>(
    work: (tx: Database, afterCommit: (action: () => void | Promise<void>) => void) => Promise<T>,
  ): Promise<T>;
  /** Rows of a plain SQL text with $1… parameters; for what the builder cannot say. */
  query<Row extends Record<string, unknown>>(text: string, values?: unknown[]): Promise<Row[]>;
  /** Several statements without parameters. */
  execute(script: string): Promise<void>;
  /** Brings the schema up to date under a lock; safe when several instances start at once. Returns what it applied. */
  migrate(): Promise<string[]>;
  /** How many fsyncs the embedded engine has asked of the disk; null where the engine is not embedded. */
  syncCount(): Promise<number | null>;
  /** Sends `payload` (≤ 7,900 bytes) to listeners of `channel` on every instance, after commit when in a transaction. */
  notify(channel: string, payload: string): Promise<void>;
  /**
   * Hears notifications until the returned function is called; a lost connection comes back by itself, and `restored`
   * is told: what was sent meanwhile is lost.
   */
  listen(channel: string, handler: (payload: string) => void, restored?: () => void): Promise<() => Promise<void>>;
  /** Throws `unavailable("database")` when it does not answer within 2 s. */
  ping(): Promise<DatabaseHealth>;
  close(): Promise<void>;
}
