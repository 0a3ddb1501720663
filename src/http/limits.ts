// The hourly limits by class of caller (contract README, "Rate limits"): counted by the kernel before anything else,
// in the cache engine, so that all instances share them.

import type { Cache, WindowCount } from "../engines/cache/index.ts";
import type { Clock } from "../core/clock.ts";
import { rateLimited } from "../core/errors.ts";

export type LimitClass = "anonymous" | "user" | "admin";

/** Requests an hour of each class; 0 switches a class off. */
export type HourlyLimits = Record<LimitClass, number>;

const HOUR_MS = 3_600_000;

export interface Limits {
  /**
   * Counts one request of `subject` and writes the X-RateLimit headers.
   * Throws `rateLimited` over the limit; a promise only where the cache is outside the process.
   */
  count(kind: LimitClass, subject: string, headers: Record<string, unknown>): void | Promise<void>;
  /** Throws `rateLimited` if the window is used up already; counts nothing. */
  check(kind: LimitClass, subject: string): Promise<void>;
}

/** `limits` is asked at each request, because configuration changes live. */
export function openLimits(deps: { cache: Cache; clock: Clock; limits: () => HourlyLimits }): Limits {
  const judge = (window: WindowCount, max: number, headers: Record<string, unknown>) => {
    headers["x-ratelimit-limit"] = String(max);
    headers["x-ratelimit-remaining"] = String(Math.max(0, max - window.count));
    headers["x-ratelimit-reset"] = String(Math.ceil(window.resetAt / 1000));
    if (window.count > max) throw rateLimited(Math.max(1, Math.ceil((window.resetAt - deps.clock.now()) / 1000)));
  };
  const keyOf = (kind: LimitClass, subject: string) => `limit:${kind === "anonymous" ? "a" : "u"}:${subject}`;
  return {
    check: async (kind, subject) => {
      const max = deps.limits()[kind];
      const window = max === 0 ? null : await deps.cache.peek(keyOf(kind, subject));
      if (window && window.count >= max) judge({ ...window, count: window.count + 1 }, max, {});
    },
    count: (kind, subject, headers) => {
      const max = deps.limits()[kind];
      if (max === 0) return;
      const window = deps.cache.hit(keyOf(kind, subject), HOUR_MS);
      if (window instanceof Promise) return window.then((counted) => judge(counted, max, headers));
      judge(window, max, headers);
    },
  };
}
