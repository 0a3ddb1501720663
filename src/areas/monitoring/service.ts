// Health: what runs underneath, looked at most once in five seconds however many ask.

import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";

/** One thing that the server stands on. */
export interface Component {
  name: string;
  /** Without it nothing works. */
  required: boolean;
  /** Null: not configured. Throws when it does not answer. */
  ping: (() => Promise<{ latencyMs: number }>) | null;
}

export type ComponentStatus = "healthy" | "degraded" | "unhealthy" | "not_configured";
export type Phase = "starting" | "serving" | "stopping";

interface Checked {
  name: string;
  required: boolean;
  status: ComponentStatus;
}

const KEPT_MS = 5_000;
const DEADLINE_MS = 2_000;

/** Makes the health service over the given components. */
export function healthService(deps: { components: readonly Component[]; clock: Clock; log: Log; version: string }) {
  const startedAt = deps.clock.now();
  let phase: Phase = "starting";
  let last: { at: number; result: Promise<Checked[]> } | null = null;

  const once = (ping: () => Promise<{ latencyMs: number }>) =>
    Promise.race([
      ping(),
      new Promise<never>((_, reject) => {
        setTimeout(() => reject(new Error(`no answer within ${DEADLINE_MS} ms`)), DEADLINE_MS).unref();
      }),
    ]);

  const check = async ({ name, required, ping }: Component): Promise<Checked> => {
    if (!ping) return { name, required, status: "not_configured" };
    try {
      // A failed check is repeated once at once before it counts.
      await once(ping).catch(() => once(ping));
      return { name, required, status: "healthy" };
    } catch (cause) {
      deps.log.warn("a component does not answer", { component: name, cause });
      return { name, required, status: "unhealthy" };
    }
  };

  const look = (): Promise<Checked[]> => {
    const now = deps.clock.now();
    if (last && now - last.at < KEPT_MS) return last.result;
    last = { at: now, result: Promise.all(deps.components.map(check)) };
    return last.result;
  };

  return {
    setPhase: (next: Phase) => {
      phase = next;
    },
    isStopping: (): boolean => phase === "stopping",
    /** Names of what is down at the moment, for `X-Degraded`. */
    health: async () => {
      const components = await look();
      const isDown = components.some(({ required, status }) => required && status === "unhealthy");
      const isDegraded = components.some(({ status }) => status === "unhealthy");
      const seconds = Math.floor((deps.clock.now() - startedAt) / 1000);
      const days = Math.floor(seconds / 86_400);
      return {
        status: isDown ? ("unhealthy" as const) : isDegraded ? ("degraded" as const) : ("healthy" as const),
        uptime: `${days}d ${Math.floor((seconds % 86_400) / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`,
        uptime_seconds: seconds,
        version: deps.version,
        timestamp: deps.clock.date().toISOString(),
        components: components.map(({ name, status }) => ({ name, status })),
      };
    },
    /** The name of what keeps the server from taking requests, or null when it is ready. */
    notReady: async (): Promise<string | null> => {
      if (phase !== "serving") return phase;
      const components = await look();
      return components.find(({ required, status }) => required && status === "unhealthy")?.name ?? null;
    },
    checks: async () => {
      const components = await look();
      return Object.fromEntries(components.map(({ name, status }) => [name, status]));
    },
  };
}

export type Health = ReturnType<typeof healthService>;
