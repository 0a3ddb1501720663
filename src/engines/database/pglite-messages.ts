// The messages between pglite.ts and its Worker.

import type { Result } from "./connection.ts";

export interface WorkerSettings {
  folder: string;
  /** The folder is still to be made, by initdb; else a missing database is an error. */
  fresh: boolean;
  sync: boolean;
}

/** `values` null: a script of several statements. */
export interface Statement {
  id: number;
  sql: string;
  values: unknown[] | null;
}

export interface WorkerFault {
  /** SQLSTATE; null when it is not the server that failed. */
  code: string | null;
  message: string;
  constraint?: string;
  table?: string;
  column?: string;
}

export type ToWorker =
  | { type: "open"; settings: WorkerSettings; syncs: SharedArrayBuffer }
  | { type: "run"; statements: Statement[] }
  | { type: "close" };

export type Answer = { id: number; result: Result } | { id: number; fault: WorkerFault };

export type FromWorker =
  | { type: "opened" }
  | { type: "failed"; message: string }
  | { type: "answers"; answers: Answer[] }
  | { type: "notification"; channel: string; payload: string }
  | { type: "closed" };
