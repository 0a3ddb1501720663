// Picks the engine: PostgreSQL when a URL is set, else PGlite in the data folder.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "../../core/log.ts";
import { openEngine } from "./engine.ts";
import { lockFolder } from "./folder.ts";
import { imageBytes, unpackImage } from "./image.ts";
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
    const folder = currentFolder(options.dataDir);
    const driver = await openPglite({ folder, fresh: false, sync: options.sync }, log, async () => {
      if (!existsSync(folder)) await unpackImage(await imageBytes(log), folder, options.sync);
    });
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

/** `dataDir`/db, or what a restore has put in its place by naming it in `db.current`. */
function currentFolder(dataDir: string): string {
  const pointer = join(dataDir, "db.current");
  const name = existsSync(pointer) ? readFileSync(pointer, "utf8").trim() : "db";
  if (!/^db[a-z0-9-]*$/i.test(name)) throw new Error(`${pointer} does not name a database folder.`);
  if (name !== "db" && !existsSync(join(dataDir, name))) throw new Error(`${pointer} names a folder that is missing.`);
  return join(dataDir, name);
}
