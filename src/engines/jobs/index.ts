// Background work: queued in the caller's transaction, leased, retried, scheduled, cancelled; on either database.
// Every job ends (`completed`, `failed`, `cancelled`), whatever dies meanwhile.

import type { Database } from "../database/index.ts";

export type JobStatus = "queued" | "running" | "completed" | "failed" | "cancelled";

/** A job as its status routes show it. */
export interface JobView {
  id: string;
  kind: string;
  ownerId: string | null;
  status: JobStatus;
  /** 0–100. */
  progress: number;
  /** What the handler last reported. */
  detail: Record<string, unknown>;
  /** Told to the owner: code and sentence; null unless failed. */
  error: { code: string; message: string } | null;
  attempt: number;
  createdAt: Date;
  startedAt: Date | null;
  endedAt: Date | null;
}

export interface JobRun<Payload> {
  id: string;
  payload: Payload;
  /** 1 at the first try. */
  attempt: number;
  /** Aborted on cancel, on loss of the lease and when the server stops. */
  signal: AbortSignal;
  /** Stored at most twice a second; also what makes `cancel` visible. */
  progress(percent: number, detail?: Record<string, unknown>): Promise<void>;
}

export interface JobKind<Payload> {
  kind: string;
  /** Runs at a time on one instance. */
  concurrency?: number;
  /** Tries in all (3). */
  attemptsMax?: number;
  /** First delay, doubling (1,000). */
  backoffMs?: number;
  /** A worker that does not renew within this time has lost the job (30). */
  leaseSeconds?: number;
  run(job: JobRun<Payload>): Promise<Record<string, unknown> | undefined>;
}

export interface EnqueueOptions {
  ownerId?: string | null;
  /** While a job with this key is queued or running, its id is returned instead of a new one. */
  dedupeKey?: string;
  runAt?: Date;
  /** Runs one after another within the same key. */
  groupKey?: string;
}

/** Thrown by a handler: do not try again. */
export class JobFailure extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface Jobs {
  /** Before `start`. */
  define<Payload>(kind: JobKind<Payload>): void;
  /** Part of `tx`: no commit, no job. Returns the job id. */
  enqueue(tx: Database, kind: string, payload: unknown, options?: EnqueueOptions): Promise<string>;
  /** Registers or replaces a schedule: 5-field cron in an IANA time zone; one run per tick over all instances. */
  schedule(name: string, cron: string, timezone: string, kind: string, payload: unknown): Promise<void>;
  unschedule(name: string): Promise<void>;
  get(id: string): Promise<JobView | null>;
  list(filter: {
    kind?: string;
    ownerId?: string;
    status?: JobStatus;
    limit: number;
    offset: number;
  }): Promise<{ jobs: JobView[]; total: number }>;
  /** Queued: ends at once. Running: its signal is aborted and it ends `cancelled`. False if it had ended. */
  cancel(id: string): Promise<boolean>;
  /** Resolves when the job has ended, or null after `timeoutMs`. */
  wait(id: string, timeoutMs: number): Promise<JobView | null>;
  start(): Promise<void>;
  /** Takes no more, waits `graceMs` for what runs, hands the rest back. */
  stop(graceMs: number): Promise<void>;
}
