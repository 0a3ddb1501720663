// Tables of the jobs engine: one row per job with everything its status route shows, one per schedule.

import { sql } from "drizzle-orm";
import { bigint, index, integer, jsonb, pgTable, text, timestamp, uniqueIndex, uuid } from "drizzle-orm/pg-core";
import type { JobStatus } from "./index.ts";

const moment = () => timestamp({ withTimezone: true, mode: "date" });

export const jobs = pgTable(
  "jobs",
  {
    id: uuid().primaryKey(),
    /** Order of arrival. */
    seq: bigint({ mode: "number" }).generatedAlwaysAsIdentity().notNull(),
    kind: text().notNull(),
    status: text().$type<JobStatus>().notNull().default("queued"),
    payload: jsonb().$type<unknown>().notNull(),
    /** The user who started it. */
    ownerId: uuid(),
    dedupeKey: text(),
    groupKey: text(),
    runAt: moment().notNull(),
    attempt: integer().notNull().default(0),
    attemptsMax: integer().notNull(),
    backoffMs: integer().notNull(),
    progress: integer().notNull().default(0),
    detail: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    errorCode: text(),
    errorMessage: text(),
    /** The claim: whoever does not know it may neither report nor end the job. */
    lease: uuid(),
    leaseUntil: moment(),
    cancelRequestedAt: moment(),
    createdAt: moment().notNull(),
    startedAt: moment(),
    endedAt: moment(),
  },
  (table) => [
    index("jobs_due")
      .on(table.kind, table.runAt, table.seq)
      .where(sql`status = 'queued'`),
    index("jobs_leases")
      .on(table.leaseUntil)
      .where(sql`status = 'running'`),
    index("jobs_groups")
      .on(table.groupKey, table.seq)
      .where(sql`group_key is not null and status in ('queued', 'running')`),
    uniqueIndex("jobs_group_running")
      .on(table.groupKey)
      .where(sql`group_key is not null and status = 'running'`),
    uniqueIndex("jobs_dedupe")
      .on(table.kind, table.dedupeKey)
      .where(sql`dedupe_key is not null and status in ('queued', 'running')`),
    index("jobs_owner").on(table.ownerId, table.seq),
    index("jobs_kind").on(table.kind, table.seq),
    index("jobs_ended")
      .on(table.endedAt)
      .where(sql`ended_at is not null`),
  ],
);

export const jobSchedules = pgTable(
  "job_schedules",
  {
    name: text().primaryKey(),
    /** Five fields, or six with seconds first. */
    cron: text().notNull(),
    timezone: text().notNull(),
    kind: text().notNull(),
    payload: jsonb().$type<unknown>().notNull(),
    nextAt: moment().notNull(),
  },
  (table) => [index("job_schedules_next").on(table.nextAt)],
);

export type JobRow = typeof jobs.$inferSelect;
