// The cache in the process, for one instance. With PostgreSQL and without Valkey its messages also reach other
// instances through the bridge; values, windows and locks stay in the process.

import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import { BRIDGED_MESSAGE_BYTES_MAX, openCarrier, type Bridge } from "./bridge.ts";
import { ExpiringMap, sweepEachSecond, type Expiring } from "./expiring.ts";
import { openHub, openStatus } from "./hub.ts";
import type { Cache, Lock } from "./index.ts";
import { countWindows } from "./windows.ts";

export const MESSAGE_BYTES_MAX = 1024 * 1024;

/** How much the maps may hold before the entries that end soonest make room. */
export interface MemoryBounds {
  valuesMax: number;
  /** Characters of keys and values. */
  charactersMax: number;
  windowsMax: number;
}

export const MEMORY_BOUNDS: MemoryBounds = { valuesMax: 200_000, charactersMax: 64 * 1024 * 1024, windowsMax: 500_000 };

interface Value extends Expiring {
  readonly value: string;
}

interface Hold extends Expiring {
  readonly token: number;
}

export interface MemoryCacheOptions {
  clock: Clock;
  log: Log;
  bridge?: Bridge | undefined;
  bounds?: MemoryBounds;
}

/** Refuses a message that is too long, as the caller's fault. */
export function checkMessage(message: string, bytesMax: number): void {
  // A UTF-16 unit is at most three bytes of UTF-8, so most messages need no counting.
  if (message.length * 3 <= bytesMax) return;
  const bytes = Buffer.byteLength(message);
  if (bytes > bytesMax) throw new Error(`a message of ${bytes} bytes; at most ${bytesMax} are taken, send a reference`);
}

/** A cache of this process alone; `bridge` joins its messages with those of other instances. */
export function memoryCache({ clock, log, bridge, bounds = MEMORY_BOUNDS }: MemoryCacheOptions): Cache {
  let warnedAt = Number.NEGATIVE_INFINITY;
  const evicted = () => {
    if (clock.now() - warnedAt < 60_000) return;
    warnedAt = clock.now();
    log.warn("the cache is full; entries that end soonest make room", {
      values: values.size,
      windows: windows.map.size,
    });
  };
  const values = new ExpiringMap<Value>({ entriesMax: bounds.valuesMax, weightMax: bounds.charactersMax });
  const windows = countWindows(clock, bounds.windowsMax, evicted);
  // Never evicted: a lock that makes room for another would let two holders in.
  const locks = new ExpiringMap<Hold>({ entriesMax: Number.POSITIVE_INFINITY, weightMax: Number.POSITIVE_INFINITY });
  const stopSweep = sweepEachSecond([values, windows.map, locks], () => clock.now());
  const hub = openHub(log);
  const status = openStatus(log);
  const restored = () => {
    log.warn("messages of other instances were not heard for a while");
    status.tell(false);
    status.tell(true);
  };
  const carrier =
    bridge === undefined
      ? null
      : openCarrier(bridge, log, (channel, message) => hub.deliver(channel, message), restored);
  const messageBytesMax = carrier === null ? MESSAGE_BYTES_MAX : BRIDGED_MESSAGE_BYTES_MAX;
  let lastToken = 0;

  const hold = (key: string, token: number): Lock => {
    const held = () => {
      const present = locks.get(key, clock.now());
      return present?.token === token;
    };
    return {
      token,
      extend: async (ttlMs) => {
        if (!held()) return false;
        locks.put({ key, token, expiresAt: clock.now() + ttlMs, weight: 0, place: 0 }, clock.now());
        return true;
      },
      release: async () => {
        if (held()) locks.remove(key);
      },
    };
  };

  return {
    kind: "memory",
    messageBytesMax,
    get: async (key) => values.get(key, clock.now())?.value ?? null,
    set: async (key, value, ttlMs) => {
      const now = clock.now();
      if (ttlMs <= 0) {
        values.remove(key);
        return;
      }
      const weight = key.length + value.length;
      if (values.put({ key, value, expiresAt: now + ttlMs, weight, place: 0 }, now) > 0) evicted();
    },
    delete: async (...keys) => {
      for (const key of keys) {
        values.remove(key);
        windows.end(key);
      }
    },
    take: async (key) => {
      const now = clock.now();
      const value = values.get(key, now)?.value ?? null;
      values.remove(key);
      return value;
    },
    hit: (key, windowMs, by = 1) => windows.hit(key, windowMs, by),
    peek: (key) => windows.peek(key),
    lock: async (key, ttlMs) => {
      const now = clock.now();
      if (locks.get(key, now) !== undefined) return null;
      // Microseconds of the clock, so that tokens also grow over restarts.
      lastToken = Math.max(lastToken + 1, now * 1_000);
      locks.put({ key, token: lastToken, expiresAt: now + ttlMs, weight: 0, place: 0 }, now);
      return hold(key, lastToken);
    },
    publish: async (channel, message) => {
      checkMessage(message, messageBytesMax);
      const sent = carrier?.send(channel, message);
      // Not in the publisher's own turn, as with an outside server; microtasks keep the order.
      queueMicrotask(() => hub.deliver(channel, message));
      await sent;
    },
    subscribe: async (channel, handler) => {
      const remove = hub.add(channel, handler);
      try {
        await carrier?.listen();
      } catch (error) {
        remove();
        throw error;
      }
      return async () => remove();
    },
    isUp: () => true,
    onStatus: (handler) => status.add(handler),
    ping: async () => ({ version: "in the process", latencyMs: 0 }),
    close: async () => {
      stopSweep();
      hub.clear();
      status.clear();
      values.clear();
      windows.map.clear();
      locks.clear();
      await carrier?.close();
    },
  };
}
