// A process to be killed: works on jobs of the kind `effect`, each of which is to leave exactly one row.

import { sql } from "drizzle-orm";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { openDatabase } from "../../src/engines/database/open.ts";
import { openJobs } from "../../src/engines/jobs/open.ts";

const [url = "", dataDir = "", count = "0"] = process.argv.slice(2);
const database = await openDatabase({ url: url === "" ? null : url, dataDir, pool: 6, sync: true, log: silentLog });
await database.migrate();
await database.execute("create table if not exists job_effects (id uuid, worker text)");
const jobs = openJobs({ database, clock: systemClock, log: silentLog });
jobs.define({
  kind: "effect",
  concurrency: 4,
  leaseSeconds: 2,
  attemptsMax: 20,
  run: async (job) => {
    await Bun.sleep(10);
    await job.progress(50);
    await database.transaction(async (tx) => {
      await job.hold(tx);
      await tx.execute(sql`insert into job_effects values (${job.id}, ${String(process.pid)})`);
      await job.finish(tx);
    });
    process.stdout.write(".");
    await Bun.sleep(5);
    return undefined;
  },
});
await jobs.start();
await database.transaction(async (tx) => {
  for (let n = 0; n < Number(count); n++) await jobs.enqueue(tx, "effect", n);
});
process.stdout.write("ready");
setInterval(() => undefined, 1_000);
