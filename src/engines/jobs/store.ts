// The statements behind the jobs engine. Whatever a worker writes is tied to its lease, so that one that has lost
// the job cannot report or end it. Times come from the caller's clock.

import { and, count, desc, eq, inArray, type SQL, sql } from "drizzle-orm";
import { isUuid, uuidv7 } from "../../lib/ids/index.ts";
import type { Database, DatabaseEngine } from "../database/index.ts";
import { nextTick } from "./cron.ts";
import type { EnqueueOptions, JobStatus, JobView } from "./index.ts";
import { type JobRow, jobSchedules, jobs } from "./model.ts";

/** Notifications: `due <ms>` for work at that time, `cancel <id>`, `end <id>`, followed by ` g` for one of a group. */
export const CHANNEL = "jobs";

/** When a schedule that cannot be read any more is looked at again. */
const BROKEN_MS = 3_600_000;

export interface Claimed {
  id: string;
  kind: string;
  payload: unknown;
  attempt: number;
  attemptsMax: number;
  backoffMs: number;
  lease: string;
}

export interface Held {
  id: string;
  lease: string;
}

export interface Limits {
  attemptsMax: number;
  backoffMs: number;
}

/** What there is to do, and when next; null for never. */
export interface Outlook {
  /** Kinds with jobs that are due, whether or not they can be taken. */
  due: string[];
  /** Earliest job that is not due yet. */
  next: Date | null;
  leaseEnd: Date | null;
  tick: Date | null;
}

export type Ending =
  | { status: "completed"; detail: Record<string, unknown> }
  | { status: "cancelled" }
  | { status: "failed"; code: string; message: string };

/** Delay before the try after `attempt`: doubling, an hour at most, up to a fifth later so that herds disperse. */
export function backoff(backoffMs: number, attempt: number): number {
  return Math.min(backoffMs * 2 ** Math.min(attempt - 1, 20), 3_600_000) * (1 + Math.random() / 5);
}

function view(row: JobRow): JobView {
  return {
    id: row.id,
    kind: row.kind,
    ownerId: row.ownerId,
    status: row.status,
    progress: row.progress,
    detail: row.detail,
    error: row.errorCode === null ? null : { code: row.errorCode, message: row.errorMessage ?? "" },
    attempt: row.attempt,
    createdAt: row.createdAt,
    startedAt: row.startedAt,
    endedAt: row.endedAt,
  };
}

export type JobStore = ReturnType<typeof jobStore>;

/** Statements on `database`, single ones unless they take a `tx`. */
export function jobStore(database: DatabaseEngine) {
  const { db } = database;
  const isOpen = inArray(jobs.status, ["queued", "running"]);
  const held = ({ id, lease }: Held) => and(eq(jobs.id, id), eq(jobs.lease, lease), eq(jobs.status, "running"));

  const notify = (tx: Database, payload: string | SQL) => tx.execute(sql`select pg_notify(${CHANNEL}, ${payload})`);

  return {
    async enqueue(
      tx: Database,
      kind: string,
      payload: unknown,
      options: EnqueueOptions & { runAt: Date },
      limits: Limits,
      now: Date,
    ): Promise<string> {
      const dedupeKey = options.dedupeKey ?? null;
      for (let tries = 0; tries < 5; tries++) {
        const [made] = await tx
          .insert(jobs)
          .values({
            id: uuidv7(),
            kind,
            payload: payload ?? null,
            ownerId: options.ownerId ?? null,
            dedupeKey,
            groupKey: options.groupKey ?? null,
            runAt: options.runAt,
            attemptsMax: limits.attemptsMax,
            backoffMs: limits.backoffMs,
            createdAt: now,
          })
          .onConflictDoNothing()
          .returning({ id: jobs.id });
        if (made) {
          await notify(tx, `due ${options.runAt.getTime()}`);
          return made.id;
        }
        const [other] = await tx
          .select({ id: jobs.id })
          .from(jobs)
          .where(and(eq(jobs.kind, kind), eq(jobs.dedupeKey, dedupeKey ?? ""), isOpen));
        // None: it has ended between the two statements, and its key is free again.
        if (other) return other.id;
      }
      throw new Error(`The job ${kind} with the key ${dedupeKey} could not be queued.`);
    },

    async outlook(kinds: string[], now: Date): Promise<Outlook> {
      const [row] = await database.query<{
        due: string[] | null;
        next: Date | null;
        lease: Date | null;
        tick: Date | null;
      }>(
        `select
           (select array_agg(k.kind) from unnest($1::text[]) as k(kind) where exists (
              select 1 from jobs j where j.kind = k.kind and j.status = 'queued' and j.run_at <= $2)) as due,
           (select min(n.at) from unnest($1::text[]) as k(kind) cross join lateral (
              select j.run_at as at from jobs j where j.kind = k.kind and j.status = 'queued' and j.run_at > $2
              order by j.run_at limit 1) n) as next,
           (select min(lease_until) from jobs where status = 'running') as lease,
           (select min(next_at) from job_schedules) as tick`,
        [kinds, now],
      );
      return { due: row?.due ?? [], next: row?.next ?? null, leaseEnd: row?.lease ?? null, tick: row?.tick ?? null };
    },

    /**
     * Takes up to `limit` due jobs of the kind. Of a group only the first one is taken, and only while none runs;
     * one that waits for a later time does not hold the others back, one that waits for its next try does.
     */
    async claim(kind: string, limit: number, now: Date, leaseUntil: Date): Promise<Claimed[]> {
      return database.query<Record<string, unknown> & Claimed>(
        `with picked as materialized (
           select j.id from jobs j
           where j.kind = $1 and j.status = 'queued' and j.run_at <= $3
             and (j.group_key is null or not exists (
               select 1 from jobs g where g.group_key = j.group_key and (
                 g.status = 'running'
                 or (g.status = 'queued' and g.seq < j.seq and (g.run_at <= $3 or g.attempt > 0)))))
           order by j.run_at, j.seq limit $2
           for update skip locked)
         update jobs set status = 'running', attempt = attempt + 1, progress = 0, lease = gen_random_uuid(),
           lease_until = $4, started_at = coalesce(started_at, $3), error_code = null, error_message = null
         from picked where jobs.id = picked.id
         returning jobs.id, kind, payload, attempt, attempts_max as "attemptsMax", backoff_ms as "backoffMs", lease`,
        [kind, limit, now, leaseUntil],
      );
    },

    /** Prolongs what is still held; gives the ids, and of which somebody asked to cancel. */
    async renew(holds: (Held & { until: Date })[]): Promise<Map<string, { isCancelled: boolean }>> {
      const rows = await database.query<{ id: string; cancelled: boolean }>(
        `update jobs set lease_until = h.until
         from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as h(id, lease, until)
         where jobs.id = h.id and jobs.lease = h.lease and jobs.status = 'running'
         returning jobs.id, cancel_requested_at is not null as cancelled`,
        [holds.map((hold) => hold.id), holds.map((hold) => hold.lease), holds.map((hold) => hold.until)],
      );
      return new Map(rows.map((row) => [row.id, { isCancelled: row.cancelled }]));
    },

    async report(
      hold: Held,
      progress: number,
      detail: Record<string, unknown> | undefined,
    ): Promise<"held" | "cancelled" | "lost"> {
      const [row] = await db
        .update(jobs)
        .set({ progress, ...(detail === undefined ? {} : { detail }) })
        .where(held(hold))
        .returning({ cancelRequestedAt: jobs.cancelRequestedAt });
      if (!row) return "lost";
      return row.cancelRequestedAt === null ? "held" : "cancelled";
    },

    /** Locks a held job until `tx` has ended; false if the lease is lost. */
    async lock(hold: Held, tx: Database): Promise<boolean> {
      const rows = await tx.select({ id: jobs.id }).from(jobs).where(held(hold)).for("update");
      return rows.length === 1;
    },

    /** Ends a held job, in `tx` if given; false if the lease is lost or the job has ended. */
    async end(hold: Held, ending: Ending, now: Date, tx: Database = db): Promise<boolean> {
      const set =
        ending.status === "completed"
          ? { progress: 100, detail: sql`${jobs.detail} || ${JSON.stringify(ending.detail)}::jsonb` }
          : ending.status === "failed"
            ? { errorCode: ending.code, errorMessage: ending.message }
            : {};
      const ended = tx.$with("ended").as(
        tx
          .update(jobs)
          .set({ status: ending.status, endedAt: now, lease: null, leaseUntil: null, ...set })
          .where(held(hold))
          .returning({ id: jobs.id, groupKey: jobs.groupKey }),
      );
      const told = sql`pg_notify(${CHANNEL}, 'end ' || ${ended.id} || case when ${ended.groupKey} is null then '' else ' g' end)`;
      const rows = await tx.with(ended).select({ told }).from(ended);
      return rows.length === 1;
    },

    /** Lets the job run again at `runAt`; `counts` is false when the try was not the job's fault. */
    async giveBack(hold: Held, runAt: Date, counts: boolean): Promise<boolean> {
      const result = await db
        .update(jobs)
        .set({
          status: "queued",
          runAt,
          lease: null,
          leaseUntil: null,
          ...(counts ? {} : { attempt: sql`${jobs.attempt} - 1` }),
        })
        .where(held(hold));
      if (result.rowCount !== 1) return false;
      await notify(db, `due ${runAt.getTime()}`);
      return true;
    },

    /** Jobs whose worker is gone (`all`: every running one) are queued again or ended; gives how many. */
    async recover(now: Date, all: boolean): Promise<number> {
      const rows = await database.query<{ told: unknown }>(
        `with lost as (
           select id from jobs where status = 'running' and (lease_until < $1 or $2) for update skip locked),
         changed as (
           update jobs set lease = null, lease_until = null,
             status = case when cancel_requested_at is not null then 'cancelled'
                           when attempt >= attempts_max then 'failed' else 'queued' end,
             ended_at = case when cancel_requested_at is not null or attempt >= attempts_max then $1 end,
             error_code = case when cancel_requested_at is null and attempt >= attempts_max then 'worker_lost' end,
             error_message = case when cancel_requested_at is null and attempt >= attempts_max
               then 'The server stopped while it worked on this, each time it tried.' end
           from lost where jobs.id = lost.id returning jobs.id, status)
         select pg_notify('${CHANNEL}', 'end ' || id || ' g') as told from changed`,
        [now, all],
      );
      return rows.length;
    },

    /** What was asked for: ended at once, to be ended by its worker, or neither because it has ended. */
    async cancel(id: string, now: Date, tx: Database = db): Promise<"ended" | "asked" | null> {
      const [row] = await tx.execute<{ status: JobStatus }>(
        sql`with changed as (
              update jobs set
                cancel_requested_at = coalesce(cancel_requested_at, ${now}),
                ended_at = case when status = 'queued' then ${now}::timestamptz end,
                status = case when status = 'queued' then 'cancelled' else status end
              where id = ${id} and status in ('queued', 'running') returning id, status)
            select status, pg_notify(${CHANNEL}, case when status = 'cancelled' then 'end ' || id || ' g' else 'cancel ' || id end)
            from changed`,
      );
      if (!row) return null;
      return row.status === "cancelled" ? "ended" : "asked";
    },

    /** Makes the jobs of all schedules that are due, each once, whoever else looks at the same time. */
    async tick(now: Date, limits: (kind: string) => Limits | null): Promise<{ broken: string[] }> {
      const broken: string[] = [];
      await database.transaction(async (tx) => {
        const due = await tx
          .select()
          .from(jobSchedules)
          .where(sql`${jobSchedules.nextAt} <= ${now.toISOString()}::timestamptz`)
          .orderBy(jobSchedules.nextAt)
          .limit(100)
          .for("update", { skipLocked: true });
        for (const schedule of due) {
          const { name, kind, payload } = schedule;
          const limit = limits(kind);
          // While the last run is still waiting or under way the tick is left out: slow work must not pile up.
          const options = { runAt: now, dedupeKey: `schedule:${name}` };
          if (limit) await this.enqueue(tx, kind, payload, options, limit, now);
          else broken.push(name);
          let nextAt = new Date(now.getTime() + BROKEN_MS);
          try {
            nextAt = nextTick(schedule.cron, schedule.timezone, now);
          } catch {
            broken.push(name);
          }
          await tx.update(jobSchedules).set({ nextAt }).where(eq(jobSchedules.name, schedule.name));
        }
      });
      return { broken };
    },

    async schedule(schedule: typeof jobSchedules.$inferInsert, tx: Database = db): Promise<void> {
      // Registering the same again, as every start does, must not move a tick that is due.
      const same = sql`${jobSchedules.cron} = excluded.cron and ${jobSchedules.timezone} = excluded.timezone`;
      await tx
        .insert(jobSchedules)
        .values(schedule)
        .onConflictDoUpdate({
          target: jobSchedules.name,
          set: {
            cron: sql`excluded.cron`,
            timezone: sql`excluded.timezone`,
            kind: sql`excluded.kind`,
            payload: sql`excluded.payload`,
            nextAt: sql`case when ${same} then ${jobSchedules.nextAt} else excluded.next_at end`,
          },
        });
      await notify(tx, `due ${schedule.nextAt.getTime()}`);
    },

    async unschedule(name: string, tx: Database = db): Promise<void> {
      await tx.delete(jobSchedules).where(eq(jobSchedules.name, name));
    },

    async get(id: string): Promise<JobView | null> {
      if (!isUuid(id)) return null;
      const [row] = await db.select().from(jobs).where(eq(jobs.id, id));
      return row ? view(row) : null;
    },

    async list(filter: { kind?: string; ownerId?: string; status?: JobStatus; limit: number; offset: number }) {
      const where = and(
        filter.kind === undefined ? undefined : eq(jobs.kind, filter.kind),
        filter.ownerId === undefined ? undefined : eq(jobs.ownerId, filter.ownerId),
        filter.status === undefined ? undefined : eq(jobs.status, filter.status),
      );
      const rows = await db
        .select()
        .from(jobs)
        .where(where)
        .orderBy(desc(jobs.seq))
        .limit(filter.limit)
        .offset(filter.offset);
      const [sum] = await db.select({ total: count() }).from(jobs).where(where);
      return { jobs: rows.map(view), total: sum?.total ?? 0 };
    },

    /** Deletes up to 1,000 jobs that ended before `before`. */
    async sweep(before: Date): Promise<number> {
      const rows = await database.query(
        `delete from jobs where id in (select id from jobs where ended_at < $1 order by ended_at limit 1000) returning 1 as one`,
        [before],
      );
      return rows.length;
    },
  };
}
