// What goes wrong in a database, in one form for both engines. Server messages and SQL stay in these errors, which
// are for the log; callers learn no more than `unavailable("database")`.

import { isAppError } from "../../core/errors.ts";

/** A statement that the server refused. `code` is the SQLSTATE; parameters are never kept. */
export class DatabaseFault extends Error {
  readonly code: string;
  readonly constraint: string | null;
  readonly table: string | null;
  readonly column: string | null;
  constructor(
    fault: { code: string; message: string; constraint?: string; table?: string; column?: string },
    sql: string,
  ) {
    super(`${fault.message} [${fault.code}] in: ${sql.length > 300 ? `${sql.slice(0, 300)}…` : sql}`);
    this.name = "DatabaseFault";
    this.code = fault.code;
    this.constraint = fault.constraint ?? null;
    this.table = fault.table ?? null;
    this.column = fault.column ?? null;
  }
}

/** The refusal of a statement inside `error` or its causes, else null. */
export function faultOf(error: unknown): DatabaseFault | null {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if (at instanceof DatabaseFault) return at;
    if (isAppError(at)) return null;
  }
  return null;
}

/** True if a unique index refused the row; with `constraint`, that index only. */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  const fault = faultOf(error);
  return fault?.code === "23505" && (constraint === undefined || fault.constraint === constraint);
}

/** True if a foreign key refused: the row pointed to is missing, or the row is still pointed to. */
export function isForeignKeyViolation(error: unknown, constraint?: string): boolean {
  const fault = faultOf(error);
  return fault?.code === "23503" && (constraint === undefined || fault.constraint === constraint);
}

/** True for deadlocks and serialization failures: the same transaction may well succeed when run again. */
export function isTransient(error: unknown): boolean {
  const code = faultOf(error)?.code;
  return code === "40001" || code === "40P01";
}
