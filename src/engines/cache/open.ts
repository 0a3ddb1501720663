// Picks the cache: Valkey when its URL is set, else the process.

import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { Bridge } from "./bridge.ts";
import type { Cache } from "./index.ts";
import { memoryCache } from "./memory.ts";

export interface CacheOptions {
  /** `redis://` or `rediss://`; null for the cache in the process. */
  url: string | null;
  clock: Clock;
  log: Log;
  /** LISTEN/NOTIFY of the database when several instances share one; with Valkey only while that is away. */
  bridge?: Bridge | undefined;
}

/** The configured cache. A Valkey server that is away does not fail it: `isUp()` is false until it comes. */
export async function openCache({ url, clock, log, bridge }: CacheOptions): Promise<Cache> {
  if (url === null) return memoryCache({ clock, log, bridge });
  // Loaded only when configured.
  const { valkeyCache } = await import("./valkey.ts");
  return valkeyCache({ url, clock, log, bridge });
}
