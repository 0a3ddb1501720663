// The jobs contract on PGlite and on PostgreSQL, and what only a killed process shows.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { openDatabase } from "../../src/engines/database/open.ts";
import { nextTick } from "../../src/engines/jobs/cron.ts";
import { openJobs } from "../../src/engines/jobs/open.ts";
import { startPostgres } from "../support/postgres.ts";
import { jobsContract } from "./jobs.contract.ts";

// Processes are started and killed here, on machines that may be busy.
setDefaultTimeout(60_000);
const root = mkdtempSync(join(tmpdir(), "botserver-jobs-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const openPglite = (name: string) =>
  openDatabase({ url: null, dataDir: join(root, name), pool: 1, sync: true, log: silentLog });

jobsContract(
  "jobs on PGlite",
  () => openPglite("contract"),
  async (first) => first,
);

/** Kills a worker three times in the middle of its work, then finishes the work and counts its effects. */
async function killRounds(url: string, dataDir: string): Promise<void> {
  const worker = join(import.meta.dir, "../support/jobs-worker.ts");
  const COUNT = 120;
  let done = 0;
  for (let round = 0; round < 3; round++) {
    const child = Bun.spawn([process.execPath, worker, url, dataDir, round === 0 ? String(COUNT) : "0"], {
      stdout: "pipe",
      stderr: "inherit",
    });
    let mine = 0;
    for await (const chunk of child.stdout) {
      mine += new TextDecoder().decode(chunk).split(".").length - 1;
      if (mine >= 10) child.kill("SIGKILL");
    }
    await child.exited;
    done += mine;
  }
  const database = await openDatabase({ url: url === "" ? null : url, dataDir, pool: 4, sync: true, log: silentLog });
  const jobs = openJobs({ database, clock: systemClock, log: silentLog });
  jobs.define({
    kind: "effect",
    concurrency: 8,
    run: async (job) => {
      await database.transaction(async (tx) => {
        await job.hold(tx);
        await tx.execute(`insert into job_effects values ('${job.id}', 'last')`);
        await job.finish(tx);
      });
      return undefined;
    },
  });
  await jobs.start();
  for (const job of (await jobs.list({ kind: "effect", limit: COUNT, offset: 0 })).jobs) {
    expect((await jobs.wait(job.id, 10_000))?.status).toBe("completed");
  }
  const [row] = await database.query(
    `select count(*) as effects, count(distinct id) as ids, (select count(*) from jobs) as jobs,
       (select count(*) from jobs where attempt > 1) > 0 as interrupted from job_effects`,
  );
  expect(row).toEqual({ effects: COUNT, ids: COUNT, jobs: COUNT, interrupted: true });
  expect(done).toBeGreaterThanOrEqual(30);
  await jobs.stop(0);
  await database.close();
}

test("kill -9 in the middle of running jobs: every job ends, each effect is there once (PGlite)", async () => {
  await killRounds("", join(root, "kill"));
});

describe("cron in a time zone", () => {
  const next = (cron: string, zone: string, after: string) => nextTick(cron, zone, new Date(after)).toISOString();

  test("keeps the local hour through changes of the clock, and runs a repeated hour once", () => {
    expect(next("0 9 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z")).toBe("2026-03-29T07:00:00.000Z");
    expect(next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z")).toBe("2026-03-29T01:30:00.000Z");
    expect(next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z")).toBe("2026-10-25T00:30:00.000Z");
    expect(next("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z")).toBe("2026-10-26T01:30:00.000Z");
  });

  test("takes names, steps, the last day and six fields", () => {
    expect(next("0 0 L 2 *", "UTC", "2028-01-01T00:00:00Z")).toBe("2028-02-29T00:00:00.000Z");
    expect(next("0 8 * * MON-FRI", "UTC", "2026-01-03T09:00:00Z")).toBe("2026-01-05T08:00:00.000Z");
    expect(next("*/20 * * * * *", "UTC", "2026-01-01T00:00:01Z")).toBe("2026-01-01T00:00:20.000Z");
  });
});

const server = await startPostgres();
describe.skipIf(!server)("jobs on PostgreSQL", () => {
  if (!server) return;
  afterAll(() => server.stop());
  const open = async (database: string) =>
    openDatabase({ url: await server.database(database), dataDir: root, pool: 8, sync: true, log: silentLog });

  jobsContract(
    "with the contract",
    () => open("jobs"),
    () => open("jobs"),
  );

  test("kill -9 in the middle of running jobs: every job ends, each effect is there once", async () => {
    await killRounds(await server.database("kill"), root);
  });
});
