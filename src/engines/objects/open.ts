// Picks the object store. Files are the only one in this build.

import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import { fileObjects } from "./files.ts";
import type { ObjectStore } from "./index.ts";

export interface ObjectsOptions {
  /** Folder of the blobs. */
  dir: string;
  /** `S3_ENDPOINT`. */
  s3Endpoint: string | null;
  clock: Clock;
  log: Log;
  /** False for a command that looks in while a server may be writing; default true: leftovers are removed. */
  sweep?: boolean;
}

/** The configured store. A configured S3 is refused, for files would silently take its place. */
export async function openObjects({ s3Endpoint, ...options }: ObjectsOptions): Promise<ObjectStore> {
  if (s3Endpoint !== null) throw new Error("S3_ENDPOINT is set, but this build stores objects as files only");
  return fileObjects(options);
}
