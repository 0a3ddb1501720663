// `botserver migrate`: the database brought up to date, without serving.

import type { Config } from "../config.ts";
import { loadConfig } from "../config.ts";
import type { Log } from "../core/log.ts";
import { openLog } from "../core/log.ts";
import type { DatabaseEngine } from "../engines/database/index.ts";
import { openDatabase } from "../engines/database/open.ts";
import { readOptions } from "./help.ts";

/** The configured database, not migrated yet. Throws FolderLocked while another process has the data folder. */
export function openConfiguredDatabase(config: Config, log: Log): Promise<DatabaseEngine> {
  const { databaseUrl: url, dataDir, databasePool: pool, databaseSync: sync } = config;
  return openDatabase({ url, dataDir, pool, sync, log });
}

export async function run(args: string[]): Promise<number> {
  readOptions("migrate", args, {});
  const config = loadConfig();
  const database = await openConfiguredDatabase(config, openLog(config.logLevel, config.logFormat));
  try {
    const applied = await database.migrate();
    const lines = applied.map((name) => `applied ${name}\n`).join("");
    await Bun.write(Bun.stdout, `${lines}The database is up to date.\n`);
  } finally {
    await database.close();
  }
  return 0;
}
