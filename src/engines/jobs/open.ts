// The jobs engine: takes due jobs, runs their handlers under a lease that it renews, and writes how they end.
// It asks the database only when there is a reason: a notification, the time of the next job, or a slow fallback.

import { isAppError } from "../../core/errors.ts";
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { DatabaseEngine } from "../database/index.ts";
import { nextTick } from "./cron.ts";
import { JobFailure, type JobKind, type JobRun, type Jobs, type JobView } from "./index.ts";
import { backoff, CHANNEL, type Claimed, type Ending, type Held, jobStore } from "./store.ts";

const CONCURRENCY = 2;
const ATTEMPTS_MAX = 3;
const BACKOFF_MS = 1_000;
const LEASE_SECONDS = 30;
const REPORT_MS = 500;
/** How long a cancelled handler may take to end. */
const CANCEL_GRACE_MS = 10_000;
const STOP_GRACE_MS = 1_000;
/** A notification may be lost with its connection; PGlite has none to lose. */
const FALLBACK_MS = { pglite: 60_000, postgres: 5_000 };
const RETRY_MS = 2_000;
/** How soon a jump of the clock (or a night of the machine) is noticed. */
const DRIFT_LOOK_MS = 250;
const DRIFT_MS = 200;
const SWEEP_MS = 3_600_000;
const KEEP_MS = 30 * 86_400_000;
const WAIT_POLL_MS = 2_000;
/** Of an instance that was not started and hears nothing. */
const WAIT_DEAF_POLL_MS = 300;

/** Why a handler's signal is aborted. */
class JobAborted extends Error {
  constructor(reason: "cancelled" | "lost" | "stopping") {
    super(`The job was ${reason === "stopping" ? "handed back because the server stops" : reason}.`);
    this.name = "JobAborted";
  }
}

interface Kind {
  definition: JobKind<unknown>;
  running: number;
}

/** A job that this instance works on. */
interface Active {
  hold: Held;
  job: Claimed;
  kind: Kind;
  until: number;
  controller: AbortController;
  aborted: "cancelled" | "lost" | "stopping" | null;
  /** A transaction of the handler's ends the job, if it commits. */
  isFinishing: boolean;
  /** The row is no longer ours to write: ended in a transaction, given back, or ended over the handler's head. */
  isSettled: boolean;
  ended: Promise<void>;
}

/** Jobs on either database; `define` kinds, then `start`. Every instance on one database shares the work. */
export function openJobs(deps: { database: DatabaseEngine; clock: Clock; log: Log }): Jobs {
  const { database, clock, log } = deps;
  const store = jobStore(database);
  const kinds = new Map<string, Kind>();
  const active = new Map<string, Active>();
  const waiters = new Map<string, Set<() => void>>();
  const fallbackMs = FALLBACK_MS[database.kind];

  let state: "new" | "running" | "stopping" | "stopped" = "new";
  let unlisten: (() => Promise<void>) | undefined;
  let wakeTimer: Timer | undefined;
  let wakeAt = Number.POSITIVE_INFINITY;
  let renewTimer: Timer | undefined;
  let driftTimer: Timer | undefined;
  let drift = 0;
  let looking: Promise<void> | null = null;
  let lookAgain = false;
  let sweptAt = 0;

  const kindOf = (name: string): Kind => {
    const kind = kinds.get(name);
    if (!kind) throw new Error(`No job kind ${name} is defined.`);
    return kind;
  };
  const limitsOf = ({ definition }: Kind) => ({
    attemptsMax: definition.attemptsMax ?? ATTEMPTS_MAX,
    backoffMs: definition.backoffMs ?? BACKOFF_MS,
  });
  const leaseMs = ({ definition }: Kind) => (definition.leaseSeconds ?? LEASE_SECONDS) * 1_000;

  const abort = (entry: Active, cause: "cancelled" | "lost" | "stopping") => {
    if (entry.aborted) return;
    entry.aborted = cause;
    if (cause === "lost") entry.isSettled = true;
    entry.controller.abort(new JobAborted(cause));
    if (cause === "cancelled") void endOverHandler(entry);
  };

  /** A handler that does not listen to its signal keeps its place here, but the job does not wait for it. */
  const endOverHandler = async (entry: Active) => {
    const isOver = await Promise.race([entry.ended.then(() => true), pause(CANCEL_GRACE_MS).then(() => false)]);
    if (isOver || entry.isSettled) return;
    entry.isSettled = true;
    await settle(entry, () => store.end(entry.hold, { status: "cancelled" }, clock.date()));
    log.warn("a cancelled job's handler goes on", { kind: entry.job.kind, jobId: entry.job.id });
  };

  /** Writes how a job ends, again and again while the database is away and the lease lasts. */
  const settle = async (entry: Active, write: () => Promise<boolean>) => {
    for (;;) {
      try {
        await write();
        return;
      } catch (error) {
        if (clock.now() > entry.until || state === "stopped") {
          log.error("how a job ended could not be stored; it will run again", { jobId: entry.job.id, error });
          return;
        }
        await pause(RETRY_MS);
      }
    }
  };

  const progressOf = (entry: Active) => {
    let latest: { progress: number; detail: Record<string, unknown> | undefined } | null = null;
    let storedAt = Number.NEGATIVE_INFINITY;
    let timer: Timer | undefined;
    const store_ = async () => {
      clearTimeout(timer);
      timer = undefined;
      if (!latest || entry.isSettled) return;
      const { progress, detail } = latest;
      latest = null;
      storedAt = performance.now();
      const state = await store.report(entry.hold, progress, detail);
      if (state !== "held") abort(entry, state);
    };
    const report = async (percent: number, detail?: Record<string, unknown>) => {
      entry.controller.signal.throwIfAborted();
      latest = { progress: Math.max(0, Math.min(100, Math.round(percent))), detail: detail ?? latest?.detail };
      const wait = storedAt + REPORT_MS - performance.now();
      if (wait <= 0) await store_();
      else
        timer ??= setTimeout(
          () => void store_().catch((error: unknown) => log.warn("progress was not stored", { error })),
          wait,
        );
      entry.controller.signal.throwIfAborted();
    };
    return { report, flush: store_ };
  };

  const run = async (entry: Active): Promise<void> => {
    const { job, hold, kind, controller } = entry;
    const progress = progressOf(entry);
    const lost = () => new JobAborted("lost");
    const handed: JobRun<unknown> = {
      id: job.id,
      payload: job.payload,
      attempt: job.attempt,
      signal: controller.signal,
      progress: progress.report,
      hold: async (tx) => {
        if (entry.isSettled || !(await store.lock(hold, tx))) throw lost();
      },
      finish: async (tx, detail = {}) => {
        if (entry.isSettled || !(await store.end(hold, { status: "completed", detail }, clock.date(), tx)))
          throw lost();
      },
    };
    let outcome: { value: Record<string, unknown> } | { error: unknown };
    try {
      outcome = { value: (await kind.definition.run(handed)) ?? {} };
    } catch (error) {
      outcome = { error };
    }
    try {
      await progress.flush();
    } catch (error) {
      log.warn("progress was not stored", { jobId: job.id, error });
    }
    if (entry.isSettled) return;
    entry.isSettled = true;
    await settle(entry, () => write(entry, outcome));
  };

  const write = async (
    entry: Active,
    outcome: { value: Record<string, unknown> } | { error: unknown },
  ): Promise<boolean> => {
    const { job, hold } = entry;
    const now = clock.date();
    const end = (ending: Ending) => store.end(hold, ending, now);
    if (entry.aborted === "cancelled") return end({ status: "cancelled" });
    if ("value" in outcome) return end({ status: "completed", detail: outcome.value });
    if (entry.aborted === "stopping") return store.giveBack(hold, now, false);
    const { error } = outcome;
    const isFinal = error instanceof JobFailure || job.attempt >= job.attemptsMax;
    log.warn("a job failed", { kind: job.kind, jobId: job.id, attempt: job.attempt, isFinal, error });
    if (isFinal) return end({ status: "failed", ...told(error) });
    return store.giveBack(hold, new Date(now.getTime() + backoff(job.backoffMs, job.attempt)), true);
  };

  const launch = (job: Claimed, kind: Kind, until: number) => {
    const entry: Active = {
      hold: { id: job.id, lease: job.lease },
      job,
      kind,
      until,
      controller: new AbortController(),
      aborted: null,
      isFinishing: false,
      isSettled: false,
      ended: Promise.resolve(),
    };
    kind.running++;
    active.set(job.id, entry);
    entry.ended = run(entry)
      .catch((error: unknown) => log.error("the jobs engine failed", { error }))
      .finally(() => {
        kind.running--;
        if (active.get(job.id) === entry) active.delete(job.id);
        look();
      });
    armRenewal();
  };

  const armRenewal = () => {
    if (renewTimer || active.size === 0) return;
    const shortest = Math.min(...[...active.values()].map((entry) => leaseMs(entry.kind)));
    renewTimer = setTimeout(() => {
      renewTimer = undefined;
      void renew().finally(armRenewal);
    }, shortest / 3);
    renewTimer.unref();
  };

  const renew = async () => {
    const held = [...active.values()].filter((entry) => !entry.isSettled);
    if (held.length === 0) return;
    const now = clock.now();
    const asked = held.map((entry) => ({ ...entry.hold, until: new Date(now + leaseMs(entry.kind)) }));
    try {
      const kept = await store.renew(asked);
      for (const entry of held) {
        const answer = kept.get(entry.job.id);
        if (entry.isSettled) continue;
        if (!answer && entry.isFinishing) entry.isSettled = true;
        else if (!answer) abort(entry, "lost");
        else {
          entry.until = now + leaseMs(entry.kind);
          if (answer.isCancelled) abort(entry, "cancelled");
        }
      }
    } catch (error) {
      log.warn("job leases were not renewed", { error });
      for (const entry of held) if (clock.now() > entry.until) abort(entry, "lost");
    }
  };

  /** Looks for due work now; calls during a look lead to one more. */
  const look = () => {
    if (state !== "running") return;
    lookAgain = true;
    looking ??= (async () => {
      while (lookAgain && state === "running") {
        lookAgain = false;
        try {
          await lookOnce();
        } catch (error) {
          log.warn("jobs could not be looked for", { error });
          arm(RETRY_MS);
        }
      }
    })().finally(() => {
      looking = null;
      if (lookAgain) look();
    });
  };

  const arm = (delayMs: number) => {
    clearTimeout(wakeTimer);
    wakeAt = clock.now() + delayMs;
    wakeTimer = setTimeout(look, Math.min(delayMs, 2 ** 31 - 1));
    wakeTimer.unref();
  };

  const lookOnce = async () => {
    const now = clock.now();
    const outlook = await store.outlook([...kinds.keys()], new Date(now));
    let isChanged = false;
    if (outlook.tick && outlook.tick.getTime() <= now) {
      const { broken } = await store.tick(clock.date(), (name) => {
        const kind = kinds.get(name);
        return kind ? limitsOf(kind) : null;
      });
      if (broken.length > 0) log.warn("schedules of unknown job kinds", { schedules: broken });
      isChanged = true;
    }
    if (outlook.leaseEnd && outlook.leaseEnd.getTime() < now) {
      // First our own: after a jump of the clock they look lost, too.
      await renew();
      isChanged = (await store.recover(clock.date(), false)) > 0 || isChanged;
    }
    let next = now + fallbackMs;
    const consider = (at: Date | null | undefined) => {
      if (at && at.getTime() > now) next = Math.min(next, at.getTime());
    };
    consider(outlook.next);
    for (const name of outlook.due) {
      const kind = kinds.get(name);
      const free = kind ? (kind.definition.concurrency ?? CONCURRENCY) - kind.running : 0;
      if (!kind || free <= 0) continue;
      const until = clock.now() + leaseMs(kind);
      let claimed: Claimed[];
      try {
        claimed = await store.claim(name, free, clock.date(), new Date(until));
      } catch (error) {
        // Another instance has taken a job of the same group at the same moment.
        if (!isUnique(error)) throw error;
        isChanged = true;
        continue;
      }
      for (const job of claimed) launch(job, kind, until);
      if (claimed.length > 0) isChanged = true;
    }
    consider(outlook.leaseEnd);
    consider(outlook.tick);
    if (now - sweptAt > SWEEP_MS) {
      const swept = await store.sweep(new Date(now - KEEP_MS));
      if (swept < 1_000) sweptAt = now;
      else isChanged = true;
    }
    if (isChanged) lookAgain = true;
    arm(Math.max(1, next - now));
  };

  const hear = (payload: string) => {
    const [word, id = "", flag] = payload.split(" ");
    if (word === "due") {
      const at = Number(id);
      // A look under way may have read before this job was there, and would set the timer without it.
      if (at <= clock.now() || looking) look();
      else if (at < wakeAt && state === "running") arm(at - clock.now());
    } else if (word === "cancel") {
      const entry = active.get(id);
      if (entry) abort(entry, "cancelled");
    } else if (word === "end") {
      for (const wake of waiters.get(id) ?? []) wake();
      if (flag) look();
    }
  };

  const isOver = (view: JobView | null) => view === null || !["queued", "running"].includes(view.status);

  return {
    define: (definition) => {
      if (state !== "new") throw new Error("Job kinds are defined before the start.");
      if (kinds.has(definition.kind)) throw new Error(`The job kind ${definition.kind} is defined twice.`);
      kinds.set(definition.kind, { definition: definition as JobKind<unknown>, running: 0 });
    },

    enqueue: async (tx, kind, payload, options = {}) => {
      const now = clock.date();
      return store.enqueue(tx, kind, payload, { ...options, runAt: options.runAt ?? now }, limitsOf(kindOf(kind)), now);
    },

    schedule: async (name, cron, timezone, kind, payload, tx) => {
      kindOf(kind);
      const nextAt = nextTick(cron, timezone, clock.date());
      await store.schedule({ name, cron, timezone, kind, payload: payload ?? null, nextAt }, tx);
    },
    unschedule: (name, tx) => store.unschedule(name, tx),

    get: (id) => store.get(id),
    list: (filter) => store.list(filter),
    cancel: async (id, tx) => (await store.cancel(id, clock.date(), tx)) !== null,

    wait: async (id, timeoutMs) => {
      const end = performance.now() + timeoutMs;
      for (;;) {
        const woken = Promise.withResolvers<void>();
        const mine = waiters.get(id) ?? new Set();
        waiters.set(id, mine.add(woken.resolve));
        try {
          const view = await store.get(id);
          if (isOver(view)) return view;
          const left = end - performance.now();
          if (left <= 0 || state === "stopped") return null;
          await Promise.race([woken.promise, pause(Math.min(left, unlisten ? WAIT_POLL_MS : WAIT_DEAF_POLL_MS))]);
        } finally {
          mine.delete(woken.resolve);
          if (mine.size === 0) waiters.delete(id);
        }
      }
    },

    start: async () => {
      if (state !== "new") throw new Error("The jobs engine was started before.");
      state = "running";
      unlisten = await database.listen(CHANNEL, hear);
      // PGlite's folder is ours alone, so whatever was running there died with the last process.
      const lost = await store.recover(clock.date(), database.kind === "pglite");
      if (lost > 0) log.info("jobs of a server that died are run again", { jobs: lost });
      drift = clock.now() - performance.now();
      driftTimer = setInterval(() => {
        const present = clock.now() - performance.now();
        if (Math.abs(present - drift) < DRIFT_MS) return;
        drift = present;
        look();
      }, DRIFT_LOOK_MS);
      driftTimer.unref();
      look();
    },

    stop: async (graceMs) => {
      if (state !== "running") return;
      state = "stopping";
      clearTimeout(wakeTimer);
      clearInterval(driftTimer);
      await looking;
      const ends = () => Promise.all([...active.values()].map((entry) => entry.ended));
      await Promise.race([ends(), pause(graceMs)]);
      for (const entry of active.values()) abort(entry, "stopping");
      await Promise.race([ends(), pause(STOP_GRACE_MS)]);
      for (const entry of active.values()) {
        if (entry.isSettled) continue;
        entry.isSettled = true;
        const giveBack = () => store.giveBack(entry.hold, clock.date(), false);
        await giveBack().catch((error: unknown) => log.warn("a job could not be handed back", { error }));
      }
      clearTimeout(renewTimer);
      state = "stopped";
      for (const mine of waiters.values()) for (const wake of mine) wake();
      await unlisten?.();
    },
  };
}

/** What the owner is told of an error: refusals speak for themselves, everything else stays in the log. */
function told(error: unknown): { code: string; message: string } {
  if (error instanceof JobFailure) return { code: error.code, message: error.message };
  if (isAppError(error)) {
    const reason = error.details["reason"];
    return { code: typeof reason === "string" ? reason : error.code, message: error.message };
  }
  return { code: "SERVER_ERROR", message: "Something went wrong on the server." };
}

function isUnique(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "23505";
}

/** A pause that does not keep the process alive. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
