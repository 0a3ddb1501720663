// What the jobs engine must do on every database, as a function of a database engine.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { type Clock, movableClock } from "../../src/core/clock.ts";
import { conflict, isAppError } from "../../src/core/errors.ts";
import { type Log, silentLog } from "../../src/core/log.ts";
import type { DatabaseEngine } from "../../src/engines/database/index.ts";
import { JobFailure, type JobKind, type JobRun, type Jobs, type JobView } from "../../src/engines/jobs/index.ts";
import { openJobs } from "../../src/engines/jobs/open.ts";
import { failure } from "../support/failure.ts";

const OWNER = "018f0000-0000-7000-8000-000000000001";

/** A gate that a handler waits at until the test opens it, or its signal is aborted. */
function gate() {
  const opened = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  return {
    open: () => opened.resolve(),
    reached: reached.promise,
    pass: async (signal: AbortSignal) => {
      reached.resolve();
      const aborted = Promise.withResolvers<never>();
      signal.addEventListener("abort", () => aborted.reject(signal.reason));
      signal.throwIfAborted();
      await Promise.race([opened.promise, aborted.promise]);
    },
  };
}

async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 8_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (performance.now() < end) {
    if (await condition()) return;
    await Bun.sleep(10);
  }
  throw new Error("it did not come to pass in time");
}

/** `open` gives an engine on a migrated database; `again` another on the same one, for a second instance. */
export function jobsContract(
  name: string,
  open: () => Promise<DatabaseEngine>,
  again: (first: DatabaseEngine) => Promise<DatabaseEngine>,
): void {
  describe(name, () => {
    let database: DatabaseEngine;
    let second: DatabaseEngine;
    const running: Jobs[] = [];
    let clock = movableClock();

    beforeAll(async () => {
      database = await open();
      await database.migrate();
      second = await again(database);
      await database.execute("create table job_effects (id uuid, worker text)");
    });
    afterEach(async () => {
      await Promise.all(running.splice(0).map((jobs) => jobs.stop(0)));
      await database.execute("delete from jobs; delete from job_schedules; delete from job_effects");
      clock = movableClock();
    });
    afterAll(async () => {
      if (second !== database) await second.close();
      await database.close();
    });

    /** A started instance with the kinds. */
    const instance = async (
      kinds: JobKind<never>[],
      options: { on?: DatabaseEngine; clock?: Clock; log?: Log } = {},
    ): Promise<Jobs> => {
      const jobs = openJobs({
        database: options.on ?? database,
        clock: options.clock ?? clock,
        log: options.log ?? silentLog,
      });
      for (const kind of kinds) jobs.define(kind);
      await jobs.start();
      running.push(jobs);
      return jobs;
    };
    const simple = (
      kind: string,
      run: (job: JobRun<never>) => Promise<Record<string, unknown> | undefined>,
      more: Partial<JobKind<never>> = {},
    ) => ({
      kind,
      run,
      ...more,
    });
    const enqueue = (jobs: Jobs, kind: string, payload: unknown = {}, options = {}) =>
      jobs.enqueue(database.db, kind, payload, options);
    const ended = async (jobs: Jobs, id: string, timeoutMs = 8_000): Promise<JobView> => {
      const view = await jobs.wait(id, timeoutMs);
      if (!view) throw new Error("the job did not end");
      return view;
    };

    test("a job runs at once, with its payload, and shows progress, detail and times", async () => {
      const jobs = await instance([
        simple("double", async (job) => {
          await job.progress(40.4, { step: "halfway" });
          return { sum: (job.payload as { n: number }).n * 2 };
        }),
      ]);
      const start = performance.now();
      const id = await enqueue(jobs, "double", { n: 21 }, { ownerId: OWNER });
      const view = await ended(jobs, id);
      expect(performance.now() - start).toBeLessThan(2_000);
      expect(view).toMatchObject({
        id,
        kind: "double",
        ownerId: OWNER,
        status: "completed",
        progress: 100,
        error: null,
        attempt: 1,
      });
      expect(view.detail).toEqual({ step: "halfway", sum: 42 });
      expect(view.startedAt?.getTime()).toBeGreaterThanOrEqual(view.createdAt.getTime());
      expect(view.endedAt?.getTime()).toBeGreaterThanOrEqual(view.startedAt?.getTime() ?? Number.POSITIVE_INFINITY);
      expect(await jobs.get(id)).toEqual(view);
    });

    test("a job is part of the caller's transaction: no commit, no job", async () => {
      const seen: unknown[] = [];
      const jobs = await instance([simple("note", async (job) => void seen.push(job.payload) as undefined)]);
      let lost = "";
      await failure(
        database.transaction(async (tx) => {
          lost = await jobs.enqueue(tx, "note", "lost");
          throw new Error("rolled back");
        }),
      );
      expect(await jobs.get(lost)).toBeNull();
      const id = await database.transaction(async (tx) => {
        const made = await jobs.enqueue(tx, "note", "kept");
        await Bun.sleep(50);
        expect(seen).toEqual([]);
        return made;
      });
      await ended(jobs, id);
      expect(seen).toEqual(["kept"]);
    });

    test("an unknown kind is refused, a kind is defined once and before the start", async () => {
      const jobs = await instance([simple("known", async () => undefined)]);
      expect(String(await failure(enqueue(jobs, "unknown")))).toContain("unknown");
      expect(() => jobs.define(simple("late", async () => undefined))).toThrow("before the start");
    });

    test("errors are tried again with doubling delays, then told without their text", async () => {
      const times: number[] = [];
      const jobs = await instance([
        simple(
          "flaky",
          async () => {
            times.push(clock.now());
            throw new Error("select secret from words");
          },
          { attemptsMax: 3, backoffMs: 60_000 },
        ),
      ]);
      const id = await enqueue(jobs, "flaky");
      await until(async () => (await jobs.get(id))?.status === "queued" && times.length === 1);
      clock.advance(59_000);
      await Bun.sleep(400);
      expect(times.length).toBe(1);
      clock.advance(13_500);
      await until(() => times.length === 2);
      await until(async () => (await jobs.get(id))?.status === "queued");
      clock.advance(119_000);
      await Bun.sleep(400);
      expect(times.length).toBe(2);
      clock.advance(26_000);
      const view = await ended(jobs, id);
      expect(view).toMatchObject({ status: "failed", attempt: 3, error: { code: "SERVER_ERROR" } });
      expect(JSON.stringify(view)).not.toContain("secret");
    });

    test("a second try that succeeds leaves no error behind", async () => {
      const jobs = await instance([
        simple(
          "second",
          async (job) => {
            if (job.attempt === 1) throw new Error("first");
            return { attempt: job.attempt };
          },
          { backoffMs: 1 },
        ),
      ]);
      const view = await ended(jobs, await enqueue(jobs, "second"));
      expect(view).toMatchObject({ status: "completed", attempt: 2, error: null, detail: { attempt: 2 } });
    });

    test("JobFailure ends a job at the first try; refusals tell their reason", async () => {
      const jobs = await instance([
        simple("broken", async () => {
          throw new JobFailure("bad_file", "The file is no zip.");
        }),
        simple(
          "refused",
          async () => {
            throw conflict("already_there", "It is already there.");
          },
          { attemptsMax: 1 },
        ),
      ]);
      const first = await ended(jobs, await enqueue(jobs, "broken"));
      expect(first).toMatchObject({
        status: "failed",
        attempt: 1,
        error: { code: "bad_file", message: "The file is no zip." },
      });
      const other = await ended(jobs, await enqueue(jobs, "refused"));
      expect(other.error).toEqual({ code: "already_there", message: "It is already there." });
    });

    test("a queued job is cancelled at once and never runs", async () => {
      let runs = 0;
      const jobs = await instance([simple("later", async () => void runs++ as undefined)]);
      const id = await enqueue(jobs, "later", {}, { runAt: new Date(clock.now() + 3_600_000) });
      expect(await jobs.cancel(id)).toBe(true);
      expect(await jobs.get(id)).toMatchObject({ status: "cancelled", startedAt: null, error: null });
      expect(await jobs.cancel(id)).toBe(false);
      clock.advance(7_200_000);
      await Bun.sleep(400);
      expect(runs).toBe(0);
    });

    test("a running job's signal is aborted by cancel, also from another instance, and it ends cancelled", async () => {
      const waiting = gate();
      const kind = simple("endless", (job) => waiting.pass(job.signal).then(() => ({})), { concurrency: 1 });
      const jobs = await instance([kind]);
      const other = openJobs({ database: second, clock, log: silentLog });
      const id = await enqueue(jobs, "endless");
      await waiting.reached;
      const start = performance.now();
      expect(await other.cancel(id)).toBe(true);
      const view = await ended(jobs, id);
      expect(performance.now() - start).toBeLessThan(2_000);
      expect(view).toMatchObject({ status: "cancelled", error: null });
      expect(await other.cancel(id)).toBe(false);
      expect(await jobs.cancel("018f0000-0000-7000-8000-00000000ffff")).toBe(false);
    });

    test("progress rejects after a cancel, so that a loop that only reports ends, too", async () => {
      const started = Promise.withResolvers<void>();
      let steps = 0;
      const jobs = await instance([
        simple("loop", async (job) => {
          for (;;) {
            await job.progress(steps++ % 100);
            started.resolve();
            await Bun.sleep(5);
          }
        }),
      ]);
      const id = await enqueue(jobs, "loop");
      await started.promise;
      await jobs.cancel(id);
      expect((await ended(jobs, id)).status).toBe("cancelled");
    });

    test("progress is stored at most twice a second, the last one in any case", async () => {
      const waiting = gate();
      const jobs = await instance([
        simple("busy", async (job) => {
          for (let i = 0; i <= 300; i++) await job.progress(i / 4, { i });
          await Bun.sleep(600);
          await waiting.pass(job.signal);
          return undefined;
        }),
      ]);
      const id = await enqueue(jobs, "busy");
      await waiting.reached;
      expect(await jobs.get(id)).toMatchObject({ status: "running", progress: 75, detail: { i: 300 } });
      waiting.open();
      expect(await ended(jobs, id)).toMatchObject({ status: "completed", detail: { i: 300 } });
    });

    test("a dedupe key gives the id of the job that is queued or running, then frees itself", async () => {
      const waiting = gate();
      const kind = (name_: string) => simple(name_, (job) => waiting.pass(job.signal).then(() => ({})));
      const jobs = await instance([kind("once"), kind("other")]);
      const ids = await Promise.all(Array.from({ length: 8 }, () => enqueue(jobs, "once", {}, { dedupeKey: "k" })));
      expect(new Set(ids).size).toBe(1);
      await waiting.reached;
      expect(await enqueue(jobs, "once", {}, { dedupeKey: "k" })).toBe(ids[0] ?? "");
      expect(await enqueue(jobs, "once", {}, { dedupeKey: "l" })).not.toBe(ids[0] ?? "");
      expect(await enqueue(jobs, "other", {}, { dedupeKey: "k" })).not.toBe(ids[0] ?? "");
      waiting.open();
      await ended(jobs, ids[0] ?? "");
      expect(await enqueue(jobs, "once", {}, { dedupeKey: "k" })).not.toBe(ids[0] ?? "");
    });

    test("jobs of a group run one after another in order, over two instances and through retries", async () => {
      const log: string[] = [];
      let inside = 0;
      let most = 0;
      const run = async (job: JobRun<never>) => {
        inside++;
        most = Math.max(most, inside);
        const { n } = job.payload as { n: number };
        try {
          await Bun.sleep(3);
          if (n === 3 && job.attempt === 1) throw new Error("again");
          log.push(String(n));
        } finally {
          inside--;
        }
        return undefined;
      };
      const kinds = [simple("send", run, { concurrency: 4, backoffMs: 20 })];
      const jobs = await instance(kinds);
      await instance(kinds, { on: second });
      const ids: string[] = [];
      for (let n = 0; n < 12; n++) ids.push(await enqueue(jobs, "send", { n }, { groupKey: "test:one" }));
      const far = await enqueue(
        jobs,
        "send",
        { n: 99 },
        { groupKey: "test:one", runAt: new Date(clock.now() + 3_600_000) },
      );
      for (const id of ids) expect((await ended(jobs, id)).status).toBe("completed");
      expect(log).toEqual(Array.from({ length: 12 }, (_, n) => String(n)));
      expect(most).toBe(1);
      expect((await jobs.get(far))?.status).toBe("queued");
    });

    test("at most `concurrency` jobs of a kind run at a time on an instance", async () => {
      let inside = 0;
      let most = 0;
      const jobs = await instance([
        simple(
          "narrow",
          async () => {
            inside++;
            most = Math.max(most, inside);
            await Bun.sleep(2);
            inside--;
            return undefined;
          },
          { concurrency: 3 },
        ),
      ]);
      const ids = await database.transaction(async (tx) => {
        const made: string[] = [];
        for (let n = 0; n < 20; n++) made.push(await jobs.enqueue(tx, "narrow", n));
        return made;
      });
      for (const id of ids) await ended(jobs, id);
      expect(most).toBe(3);
    });

    test("300 jobs on two instances each run once", async () => {
      const seen: number[] = [];
      const kinds = [
        simple("count", async (job) => void seen.push(job.payload as unknown as number) as undefined, {
          concurrency: 5,
        }),
      ];
      const jobs = await instance(kinds);
      await instance(kinds, { on: second });
      await database.transaction(async (tx) => {
        for (let n = 0; n < 300; n++) await jobs.enqueue(tx, "count", n);
      });
      await until(() => seen.length >= 300, 8_000);
      await until(
        async () => (await jobs.list({ kind: "count", status: "completed", limit: 1, offset: 0 })).total === 300,
      );
      expect(new Set(seen).size).toBe(300);
      expect(seen.length).toBe(300);
    });

    test("runAt is waited for, and no longer", async () => {
      const at: number[] = [];
      const jobs = await instance([simple("timed", async () => void at.push(performance.now()) as undefined)]);
      const start = performance.now();
      await enqueue(jobs, "timed", {}, { runAt: new Date(clock.now() + 600) });
      await until(() => at.length === 1);
      expect((at[0] ?? 0) - start).toBeGreaterThan(590);
      expect((at[0] ?? 0) - start).toBeLessThan(2_500);
    });

    test("a schedule runs once a tick over two instances, and makes up a missed time by one run", async () => {
      const ticks: string[] = [];
      const kinds = [simple("tick", async (job) => void ticks.push(String(job.payload)) as undefined)];
      const jobs = await instance(kinds);
      const other = await instance(kinds, { on: second });
      for (const one of [jobs, other]) await one.schedule("test.tick", "*/10 * * * *", "Europe/Berlin", "tick", "t");
      expect(ticks).toEqual([]);
      for (let n = 1; n <= 3; n++) {
        clock.advance(600_000);
        await until(() => ticks.length === n);
        await until(
          async () => (await jobs.list({ kind: "tick", status: "completed", limit: 1, offset: 0 })).total === n,
        );
      }
      clock.advance(86_400_000);
      await until(() => ticks.length === 4);
      await Bun.sleep(400);
      expect(ticks.length).toBe(4);
      // Registered again, as each start does: the tick that is due stays due.
      await jobs.schedule("test.tick", "*/10 * * * *", "Europe/Berlin", "tick", "new");
      clock.advance(600_000);
      await until(() => ticks.length === 5);
      expect(ticks[4]).toBe("new");
      await jobs.unschedule("test.tick");
      clock.advance(3_600_000);
      await Bun.sleep(400);
      expect(ticks.length).toBe(5);
    });

    test("a schedule with a bad expression or zone is refused by the field's name", async () => {
      const jobs = await instance([simple("tick", async () => undefined)]);
      for (const [cron, zone, path] of [
        ["* * * *", "UTC", "cron"],
        ["61 * * * *", "UTC", "cron"],
        ["0 0 30 2 *", "UTC", "cron"],
        ["* * * * *", "Berlin", "timezone"],
      ] as const) {
        const error = await failure(jobs.schedule("x", cron, zone, "tick", null));
        expect(isAppError(error) && error.details["fields"]).toMatchObject([{ path }]);
      }
    });

    test("a job whose worker has gone silent runs again elsewhere, and the old worker can neither report nor end it", async () => {
      const waiting = gate();
      let kept: JobRun<never> | undefined;
      const old = gate();
      // A clock that stands still is a process that was frozen: it renews nothing in the others' eyes.
      const frozen = movableClock();
      const first = await instance(
        [
          simple(
            "moved",
            async (job) => {
              kept = job;
              await old.pass(new AbortController().signal);
              return { by: "first" };
            },
            { leaseSeconds: 30, concurrency: 1 },
          ),
        ],
        { clock: frozen },
      );
      const id = await enqueue(first, "moved");
      await old.reached;
      clock.advance(31_000);
      const later = await instance(
        [
          simple("moved", async (job) => {
            await waiting.pass(job.signal);
            return { by: "second" };
          }),
        ],
        { on: second },
      );
      await waiting.reached;
      expect(await later.get(id)).toMatchObject({ status: "running", attempt: 2 });
      await failure(kept?.progress(77, { by: "ghost" }) ?? Promise.resolve());
      expect(kept?.signal.aborted).toBe(true);
      const job = kept;
      if (!job) throw new Error("the first run did not start");
      await failure(database.transaction((tx) => job.hold(tx)));
      await failure(database.transaction((tx) => job.finish(tx)));
      old.open();
      await Bun.sleep(50);
      expect(await later.get(id)).toMatchObject({ status: "running", progress: 0, detail: {} });
      waiting.open();
      expect(await ended(later, id)).toMatchObject({ status: "completed", attempt: 2, detail: { by: "second" } });
    });

    test("a lease is renewed as long as the work lasts", async () => {
      const waiting = gate();
      const kinds = [simple("long", (job) => waiting.pass(job.signal).then(() => ({})), { leaseSeconds: 0.3 })];
      const jobs = await instance(kinds);
      await instance(kinds, { on: second });
      const id = await enqueue(jobs, "long");
      await waiting.reached;
      await Bun.sleep(1_200);
      expect(await jobs.get(id)).toMatchObject({ status: "running", attempt: 1 });
      waiting.open();
      expect(await ended(jobs, id)).toMatchObject({ status: "completed", attempt: 1 });
    });

    test("finish ends the job in the handler's own transaction, or not at all", async () => {
      const jobs = await instance([
        simple(
          "exact",
          async (job) => {
            await database.transaction(async (tx) => {
              await job.hold(tx);
              await tx.execute(sql`insert into job_effects values (${job.id}, 'x')`);
              await job.finish(tx, { attempt: job.attempt });
              if (job.attempt === 1) throw new Error("rolled back after all");
            });
            throw new Error("after the commit: of no consequence");
          },
          { backoffMs: 1 },
        ),
      ]);
      const id = await enqueue(jobs, "exact");
      expect(await ended(jobs, id)).toMatchObject({ status: "completed", attempt: 2, detail: { attempt: 2 } });
      expect(await database.query("select count(*) as n from job_effects")).toMatchObject([{ n: 1 }]);
    });

    test("stop waits, then hands back what still runs, without counting the try", async () => {
      const waiting = gate();
      const quick = gate();
      const jobs = await instance([
        simple("slow", (job) => waiting.pass(job.signal).then(() => ({}))),
        simple("quick", async (job) => {
          await quick.pass(job.signal);
          return { done: true };
        }),
      ]);
      const slow = await enqueue(jobs, "slow");
      const fast = await enqueue(jobs, "quick");
      await Promise.all([waiting.reached, quick.reached]);
      const stopping = jobs.stop(300);
      quick.open();
      await stopping;
      expect(await jobs.get(fast)).toMatchObject({ status: "completed", detail: { done: true } });
      expect(await jobs.get(slow)).toMatchObject({ status: "queued", attempt: 0 });
      const next = await instance([
        simple("slow", async () => ({ by: "next" })),
        simple("quick", async () => undefined),
      ]);
      expect(await ended(next, slow)).toMatchObject({ status: "completed", attempt: 1, detail: { by: "next" } });
    });

    test("stop returns although a handler does not listen to its signal, and that one can do no more", async () => {
      const deaf = gate();
      const jobs = await instance([
        simple("deaf", async () => {
          await deaf.pass(new AbortController().signal);
          return { late: true };
        }),
      ]);
      const id = await enqueue(jobs, "deaf");
      await deaf.reached;
      const start = performance.now();
      await jobs.stop(50);
      expect(performance.now() - start).toBeLessThan(2_500);
      deaf.open();
      await Bun.sleep(50);
      expect(await jobs.get(id)).toMatchObject({ status: "queued", attempt: 0, detail: {} });
    });

    test("wait resolves at the end, gives null after its time, and null for an unknown id", async () => {
      const waiting = gate();
      const jobs = await instance([simple("waited", (job) => waiting.pass(job.signal).then(() => ({})))]);
      const id = await enqueue(jobs, "waited");
      await waiting.reached;
      const start = performance.now();
      expect(await jobs.wait(id, 60)).toBeNull();
      expect(performance.now() - start).toBeLessThan(500);
      expect(await jobs.wait("018f0000-0000-7000-8000-00000000ffff", 5_000)).toBeNull();
      expect(await jobs.get("no uuid")).toBeNull();
      const both = Promise.all([
        jobs.wait(id, 5_000),
        openJobs({ database: second, clock, log: silentLog }).wait(id, 5_000),
      ]);
      waiting.open();
      expect((await both).map((view) => view?.status)).toEqual(["completed", "completed"]);
    });

    test("list filters by kind, owner and status, newest first, with the total", async () => {
      const jobs = await instance([simple("a", async () => undefined), simple("b", async () => undefined)]);
      const runAt = new Date(clock.now() + 3_600_000);
      const ids: string[] = [];
      for (let n = 0; n < 5; n++) ids.push(await enqueue(jobs, "a", n, { ownerId: n % 2 ? OWNER : null, runAt }));
      await jobs.cancel(await enqueue(jobs, "b", {}, { ownerId: OWNER, runAt }));
      const mine = await jobs.list({ ownerId: OWNER, limit: 10, offset: 0 });
      expect(mine.total).toBe(3);
      const page = await jobs.list({ kind: "a", status: "queued", limit: 2, offset: 1 });
      expect(page.total).toBe(5);
      expect(page.jobs.map((job) => job.id)).toEqual([ids[3] ?? "", ids[2] ?? ""]);
      expect((await jobs.list({ status: "cancelled", limit: 10, offset: 0 })).jobs.map((job) => job.kind)).toEqual([
        "b",
      ]);
    });

    test("an idle engine with 40 kinds asks the database nearly nothing", async () => {
      let statements = 0;
      const counted: DatabaseEngine = {
        ...database,
        query: (text, values) => {
          statements++;
          return database.query(text, values);
        },
      };
      const kinds = Array.from({ length: 40 }, (_, n) => simple(`idle${n}`, async () => undefined));
      await instance(kinds, { on: counted });
      await Bun.sleep(300);
      statements = 0;
      await Bun.sleep(1_500);
      expect(statements).toBeLessThanOrEqual(1);
    });

    test("ended jobs are deleted after 30 days", async () => {
      const jobs = await instance([simple("old", async () => undefined)]);
      const id = await enqueue(jobs, "old");
      await ended(jobs, id);
      clock.advance(29 * 86_400_000);
      await Bun.sleep(400);
      expect(await jobs.get(id)).not.toBeNull();
      clock.advance(2 * 86_400_000);
      await until(async () => (await jobs.get(id)) === null);
    });
  });
}
