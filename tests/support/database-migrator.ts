// A process that migrates a PostgreSQL database and prints what it applied, as JSON.

import { silentLog } from "../../src/core/log.ts";
import { openDatabase } from "../../src/engines/database/open.ts";

const engine = await openDatabase({ url: process.argv[2] ?? "", dataDir: ".", pool: 2, sync: true, log: silentLog });
process.stdout.write(JSON.stringify(await engine.migrate()));
await engine.close();
