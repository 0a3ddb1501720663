// What an adapter gives to engine.ts: statements in, rows as arrays out, and one exclusive connection per transaction.

export interface Field {
  name: string;
  /** The type's OID. */
  type: number;
}

/** Times come as the server's text, `int8` as number (bigint beyond 2^53), `numeric` as text, JSON parsed. */
export interface Result {
  fields: Field[];
  rows: unknown[][];
  /** Rows returned or changed. */
  rowCount: number;
}

export interface Connection {
  /** One statement with $1… parameters. Refusals are thrown as DatabaseFault. */
  run(sql: string, values: unknown[]): Promise<Result>;
  /** Several statements without parameters. */
  script(sql: string): Promise<void>;
}

/** The connection that one open transaction has alone. */
export interface Transaction extends Connection {
  /** Undoes what `work` has done through its argument when it throws. */
  savepoint<T>(work: (inner: Transaction) => Promise<T>): Promise<T>;
}

export interface Driver extends Connection {
  readonly kind: "pglite" | "postgres";
  /** BEGIN, `work`, then COMMIT, or ROLLBACK when it throws. Runs in the caller's asynchronous context. */
  begin<T>(work: (own: Transaction) => Promise<T>): Promise<T>;
  /** `handler` is called for every notification of the channel, own ones included; `restored` as in the engine. */
  listen(channel: string, handler: (payload: string) => void, restored?: () => void): Promise<() => Promise<void>>;
  syncCount(): Promise<number | null>;
  close(): Promise<void>;
}
