// PGlite has no background processes: nobody checkpoints, vacuums or analyzes. This does, by PostgreSQL's own
// rules, on a timer and by statements, and nothing at all while nothing is asked of the database.

import type { Log } from "../../core/log.ts";
import type { Connection } from "./connection.ts";

const TIMER_MS = 30_000;
const STATEMENTS = 2_000;
/** Log written since the last checkpoint; recovery after a kill reads at most about this much. */
const WAL_BYTES_MAX = 32 * 1024 * 1024;
const CHECKPOINT_MS = 300_000;
const VACUUM_MS = 60_000;
/** PostgreSQL forces a freeze at 200 million transactions. */
const FREEZE_AGE = 150_000_000;

export interface Upkeep {
  /** To be called for every statement. */
  count(): void;
  stop(): void;
}

/** Looks after the database behind `connection`, whose statements wait in line like everybody's. */
export function startUpkeep(connection: Connection, log: Log): Upkeep {
  let statements = 0;
  let busy = false;
  let stopped = false;
  let checkpointLsn = 0;
  let checkpointAt = performance.now();
  let vacuumAt = performance.now();

  const number = async (sql: string): Promise<number> => Number((await connection.run(sql, [])).rows[0]?.[0] ?? 0);

  const checkpoint = async () => {
    const written = await number("select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint");
    const bytes = written - checkpointLsn;
    const isDue = bytes > WAL_BYTES_MAX || (bytes > 0 && performance.now() - checkpointAt > CHECKPOINT_MS);
    if (!isDue) return;
    await connection.script("checkpoint");
    checkpointAt = performance.now();
    checkpointLsn = await number("select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint");
    log.debug("database checkpoint", { walBytes: bytes });
  };

  const vacuum = async () => {
    if (performance.now() - vacuumAt < VACUUM_MS) return;
    vacuumAt = performance.now();
    await connection.run("select pg_stat_force_next_flush()", []);
    // The thresholds of autovacuum and autoanalyze.
    const due = await connection.run(
      `select format('%I.%I', s.schemaname, s.relname)
       from pg_stat_all_tables s join pg_class c on c.oid = s.relid
       where c.relkind = 'r' and (
         s.n_dead_tup > 50 + 0.2 * greatest(c.reltuples, 0)
         or s.n_ins_since_vacuum > 1000 + 0.2 * greatest(c.reltuples, 0)
         or s.n_mod_since_analyze > 50 + 0.1 * greatest(c.reltuples, 0)
         or age(c.relfrozenxid) > $1)`,
      [FREEZE_AGE],
    );
    for (const [table] of due.rows) {
      if (stopped) return;
      await connection.script(`vacuum (analyze) ${String(table)}`);
    }
    if (due.rows.length > 0) log.debug("database tables vacuumed", { tables: due.rows.length });
  };

  const look = async () => {
    if (busy || stopped || statements === 0) return;
    busy = true;
    try {
      await checkpoint();
      if (!stopped) await vacuum();
    } catch (error) {
      if (!stopped) log.warn("database upkeep failed", { error });
    } finally {
      // Its own statements are no reason to look again.
      statements = 0;
      busy = false;
    }
  };

  const timer = setInterval(() => void look(), TIMER_MS);
  timer.unref();
  return {
    count: () => {
      if (++statements >= STATEMENTS && !busy) void look();
    },
    stop: () => {
      stopped = true;
      clearInterval(timer);
    },
  };
}
