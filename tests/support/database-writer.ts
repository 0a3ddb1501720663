// A process to be killed: opens the data folder and inserts as fast as it can, printing each acknowledged id.

import { silentLog } from "../../src/core/log.ts";
import { openDatabase } from "../../src/engines/database/open.ts";

const [dataDir = "", round = "0"] = process.argv.slice(2);
const engine = await openDatabase({ url: null, dataDir, pool: 1, sync: true, log: silentLog });
await engine.execute("create table if not exists kept (id bigint primary key, text text not null)");
let next = Number(round) * 1_000_000;
const write = async () => {
  for (;;) {
    const id = ++next;
    await engine.query("insert into kept values ($1, repeat('x', 200))", [id]);
    process.stdout.write(`${id}\n`);
  }
};
await Promise.all([write(), write(), write(), write()]);
