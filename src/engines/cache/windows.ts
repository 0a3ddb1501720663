// Fixed windows counted in this process: the memory engine's, and Valkey's own while the server is away.

import type { Clock } from "../../core/clock.ts";
import { ExpiringMap, type Expiring } from "./expiring.ts";
import type { WindowCount } from "./index.ts";

interface Window extends Expiring {
  count: number;
}

export interface Windows {
  hit(key: string, windowMs: number, by: number): WindowCount;
  peek(key: string): WindowCount | null;
  end(key: string): void;
  readonly map: ExpiringMap<Window>;
}

/** Counters of at most `entriesMax` windows; `evicted` is told when living ones had to make room. */
export function countWindows(clock: Clock, entriesMax: number, evicted: () => void): Windows {
  const map = new ExpiringMap<Window>({ entriesMax, weightMax: Number.POSITIVE_INFINITY });
  return {
    map,
    hit: (key, windowMs, by) => {
      const now = clock.now();
      const open = map.get(key, now);
      if (open !== undefined) {
        open.count += by;
        return { count: open.count, resetAt: open.expiresAt };
      }
      if (map.put({ key, expiresAt: now + windowMs, weight: 0, place: 0, count: by }, now) > 0) evicted();
      return { count: by, resetAt: now + windowMs };
    },
    peek: (key) => {
      const open = map.get(key, clock.now());
      return open === undefined ? null : { count: open.count, resetAt: open.expiresAt };
    },
    end: (key) => {
      map.remove(key);
    },
  };
}
