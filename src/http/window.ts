// Routes with a window of their own (login, reset, …) by elysia-rate-limit on the cache engine.
// The package's counters, headers and error are replaced by ours: its store never learns the maximum, its header
// names are fixed, and its one constant error cannot tell the seconds.

import { rateLimit, type Context as LimiterStore } from "elysia-rate-limit";
import type { Elysia } from "elysia";
import type { Context } from "../core/context.ts";
import type { Clock } from "../core/clock.ts";
import { rateLimited } from "../core/errors.ts";
import type { Cache } from "../engines/cache/index.ts";
import { countedAddress } from "./address.ts";

export interface WindowOptions {
  /** Routes with equal names share one count. */
  name: string;
  max: number;
  seconds: number;
  /** Who is counted: the client's address, the account (address for anonymous callers), or what `key` says. */
  by: "address" | "user" | ((ctx: Context, request: Request) => string);
}

/** Counts in the cache engine and refuses by itself, with the seconds that are left. */
function windowStore(deps: { cache: Cache; clock: Clock }, options: WindowOptions): LimiterStore {
  return {
    init: () => undefined,
    increment: async (key) => {
      const { count, resetAt } = await deps.cache.hit(`window:${options.name}:${key}`, options.seconds * 1000);
      if (count > options.max) throw rateLimited(Math.max(1, Math.ceil((resetAt - deps.clock.now()) / 1000)));
      return { count, nextReset: new Date(resetAt), start: resetAt - options.seconds * 1000 };
    },
    decrement: () => undefined,
    reset: () => undefined,
    kill: () => undefined,
  };
}

/** A plugin for the routes that follow in the same instance. */
export function ownWindow(deps: { cache: Cache; clock: Clock }, options: WindowOptions): (app: Elysia) => Elysia {
  const { by } = options;
  return rateLimit({
    scoping: "scoped",
    // A function, because limiters with equal fixed numbers are taken for one and the same plugin.
    max: () => Number.MAX_SAFE_INTEGER,
    duration: options.seconds * 1000,
    headers: false,
    countFailedRequest: true,
    context: windowStore(deps, options),
    generator: (request, _server, derived: { ctx: Context }) => {
      const { ctx } = derived;
      if (typeof by === "function") return by(ctx, request);
      return by === "user" && ctx.caller.userId ? ctx.caller.userId : countedAddress(ctx.ip ?? "unknown");
    },
  }) as unknown as (app: Elysia) => Elysia;
}
