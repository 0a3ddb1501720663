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
  /**
   * Stored at most twice a second; also what makes `cancel` visible: rejects with the signal's reason once it is
   * aborted, so that a loop which reports ends by itself.
   */
  progress(percent: number, detail?: Record<string, unknown>): Promise<void>;
  /**
   * For effects that must not happen twice, as the first statement of their transaction: throws if the job has been
   * lost, and keeps it from being taken by another worker until `tx` has ended.
   */
  hold(tx: Database): Promise<void>;
  /**
   * Ends the job within `tx`, as `completed`: its effects and its end are one commit, whatever dies when. Throws if
   * the job has been lost. What `run` returns afterwards is ignored.
   */
  finish(tx: Database, detail?: Record<string, unknown>): Promise<void>;
}

export interface JobKind<Payload> {
  kind: string;
  /** Runs at a time on one instance (2). */
  concurrency?: number;
  /** Tries in all (3). */
  attemptsMax?: number;
  /** First delay, doubling (1,000). */
  backoffMs?: number;
  /** A worker that does not renew within this time has lost the job (30). */
  leaseSeconds?: number;
  /** What it gives is merged into `detail`. Throw JobFailure to end it; any other error is tried again. */
  run(job: JobRun<Payload>): Promise<Record<string, unknown> | undefined>;
}

export interface EnqueueOptions {
  ownerId?: string | null;
  /** While a job of the same kind with this key is queued or running, its id is returned instead of a new one. */
  dedupeKey?: string;
  runAt?: Date;
  /**
   * Runs one after another within the same key, over all kinds and instances, in the order of arrival: begin it with
   * the area's name. A job waiting for its next try holds the later ones back; one with a `runAt` ahead does not.
   */
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
  /**
   * Registers or replaces a schedule: cron of 5 fields (6: seconds first) in an IANA time zone; one run per tick over
   * all instances. Ticks missed while no server ran are made up by one run. VALIDATION_ERROR names a bad field.
   */
  schedule(name: string, cron: string, timezone: string, kind: string, payload: unknown, tx?: Database): Promise<void>;
  unschedule(name: string, tx?: Database): Promise<void>;
  get(id: string): Promise<JobView | null>;
  list(filter: {
    kind?: string;
    ownerId?: string;
    status?: JobStatus;
    limit: number;
    offset: number;
  }): Promise<{ jobs: JobView[]; total: number }>;
  /**
   * Queued: ends at once. Running: its signal is aborted and it ends `cancelled`, after 10 s even if its handler does
   * not stop. False if it had ended or does not exist.
   */
  cancel(id: string, tx?: Database): Promise<boolean>;
  /** Resolves when the job has ended; null after `timeoutMs` or `stop`, and at once for an id that does not exist. */
  wait(id: string, timeoutMs: number): Promise<JobView | null>;
  start(): Promise<void>;
  /** Takes no more, waits `graceMs` for what runs, hands the rest back. */
  stop(graceMs: number): Promise<void>;
}
