// Picks the object store: files of the data folder, or rows of the database that several instances share.

import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import { fileObjects } from "./files.ts";
import type { ObjectStore } from "./index.ts";
import { rowObjects, type Rows } from "./rows.ts";

export interface ObjectsOptions {
  /** Folder of the blobs. */
  dir: string;
  /** `S3_ENDPOINT`. */
  s3Endpoint: string | null;
  /** A database that other instances may share; without one this process has everything to itself. */
  shared?: Rows | null;
  clock: Clock;
  log: Log;
  /** False for a command that looks in while a server may be writing; default true: leftovers are removed. */
  sweep?: boolean;
}

/** The configured store. A configured S3 is refused, for another store would silently take its place. */
export async function openObjects({ s3Endpoint, shared, ...options }: ObjectsOptions): Promise<ObjectStore> {
  if (s3Endpoint !== null) throw new Error("S3_ENDPOINT is set, but this build stores objects without S3 only");
  return !shared ? fileObjects(options) : rowObjects({ rows: shared, ...options });
}
