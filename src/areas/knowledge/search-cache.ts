// Results of searches, kept while nothing that they depend on has changed. The key says what they depend on, so
// nothing has to be taken out when something changes.

import type { Clock } from "../../core/clock.ts";

const BYTES_MAX = 64 * 1024 * 1024;

export interface SearchCacheStats {
  entries: number;
  hits: number;
  misses: number;
  bytes: number;
}

export interface SearchCache<Value> {
  get(key: string): Value | null;
  set(key: string, value: Value, rules: { ttlMs: number; entriesMax: number }): void;
  clear(): number;
  stats(): SearchCacheStats;
}

/** A cache of this process that drops what was not used for longest: over `entriesMax` entries or 64 MiB. */
export function searchCache<Value>(clock: Clock): SearchCache<Value> {
  const entries = new Map<string, { value: Value; until: number; bytes: number }>();
  let bytes = 0;
  let hits = 0;
  let misses = 0;

  function drop(key: string): void {
    bytes -= entries.get(key)?.bytes ?? 0;
    entries.delete(key);
  }

  return {
    get: (key) => {
      const found = entries.get(key);
      if (!found || found.until <= clock.now()) {
        if (found) drop(key);
        misses++;
        return null;
      }
      hits++;
      entries.delete(key);
      entries.set(key, found);
      return found.value;
    },
    set: (key, value, { ttlMs, entriesMax }) => {
      drop(key);
      // Two bytes a character, as the engine keeps most texts.
      const size = 2 * JSON.stringify(value).length;
      entries.set(key, { value, until: clock.now() + ttlMs, bytes: size });
      bytes += size;
      for (const oldest of entries.keys()) {
        if (entries.size <= entriesMax && bytes <= BYTES_MAX) break;
        drop(oldest);
      }
    },
    clear: () => {
      const count = entries.size;
      entries.clear();
      bytes = 0;
      return count;
    },
    stats: () => ({ entries: entries.size, hits, misses, bytes }),
  };
}
