// Picks the engine: PostgreSQL when a URL is set, else PGlite in the data folder.

import { join } from "node:path";
import type { Log } from "../../core/log.ts";
import { openEngine } from "./engine.ts";
import { lockFolder } from "./folder.ts";
import type { DatabaseEngine } from "./index.ts";
import { openPglite } from "./pglite.ts";
import { openPostgres } from "./postgres.ts";

export interface DatabaseOptions {
  /** PostgreSQL's URL; null for PGlite in `dataDir`/db. */
  url: string | null;
  dataDir: string;
  /** Connections to PostgreSQL. */
  pool: number;
  /** PGlite: whether a commit waits for the disk. */
  sync: boolean;
  log: Log;
}

/**
 * Opens the database; its schema is brought up to date by `migrate`. With PGlite the data folder is locked until
 * `close` (FolderLocked with the other's pid when it is in use).
 */
export async function openDatabase(options: DatabaseOptions): Promise<DatabaseEngine> {
  const { log } = options;
  if (options.url !== null) return openEngine(openPostgres(options.url, options.pool, log), log);
  const lock = lockFolder(options.dataDir);
  try {
    const driver = await openPglite({ folder: join(options.dataDir, "db"), sync: options.sync }, log);
    return openEngine(
      {
        ...driver,
        close: async () => {
          await driver.close();
          lock.release();
        },
      },
      log,
    );
  } catch (error) {
    lock.release();
    throw error;
  }
}
