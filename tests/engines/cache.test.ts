// The cache in the process, alone and joined by the database's notifications, and in Valkey.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { resolve } from "node:path";
import { movableClock, systemClock } from "../../src/core/clock.ts";
import { isAppError, unavailable } from "../../src/core/errors.ts";
import { silentLog, type Log } from "../../src/core/log.ts";
import type { Bridge } from "../../src/engines/cache/bridge.ts";
import { ExpiringMap } from "../../src/engines/cache/expiring.ts";
import type { Cache } from "../../src/engines/cache/index.ts";
import { memoryCache } from "../../src/engines/cache/memory.ts";
import { openCache } from "../../src/engines/cache/open.ts";
import { openDatabase } from "../../src/engines/database/open.ts";
import { selfSignedCertificate } from "../support/certificates.ts";
import { programMissing, spawnProcess, waitFor } from "../support/processes.ts";
import { startPostgres } from "../support/postgres.ts";
import { redisMissing, startRedis, type RedisServer } from "../support/redis.ts";
import { refusal } from "../support/refusals.ts";
import { cacheContract } from "./cache.contract.ts";

/** LISTEN/NOTIFY as PostgreSQL does it: every listener hears everything, the sender too; 7,900 bytes; through a pool. */
function notifications() {
  const listeners = new Map<string, Set<(payload: string) => void>>();
  const state = { sent: 0, failure: null as Error | null, restored: [] as (() => void)[] };
  const bridge: Bridge = {
    notify: async (channel, payload) => {
      // Connections of a pool are not equally fast: without care the second would overtake the first.
      await Bun.sleep(Math.random() * 3);
      if (state.failure !== null) throw state.failure;
      if (Buffer.byteLength(payload) > 7_900) throw new Error("payload string too long");
      if (payload.includes("\0")) throw new Error("invalid byte sequence");
      state.sent += 1;
      for (const handler of listeners.get(channel) ?? []) handler(payload);
    },
    listen: async (channel, handler, restored) => {
      if (state.failure !== null) throw state.failure;
      const handlers = listeners.get(channel) ?? new Set();
      listeners.set(channel, handlers.add(handler));
      if (restored) state.restored.push(restored);
      return async () => {
        handlers.delete(handler);
      };
    },
  };
  return { bridge, state, listeners };
}

cacheContract("in the process", async () => {
  const clock = movableClock();
  const cache = await openCache({ url: null, clock, log: silentLog });
  const elapse = (ms: number) => clock.advance(ms);
  return { first: cache, second: cache, sharesState: true, elapse, close: () => cache.close() };
});

cacheContract("in the process, joined by the database", async () => {
  const clock = movableClock();
  const { bridge, listeners } = notifications();
  const first = await openCache({ url: null, clock, log: silentLog, bridge });
  const second = await openCache({ url: null, clock, log: silentLog, bridge });
  const close = async () => {
    await first.close();
    await second.close();
    expect([...listeners.values()].every((handlers) => handlers.size === 0)).toBe(true);
  };
  return { first, second, sharesState: false, elapse: (ms) => clock.advance(ms), close };
});

const postgres = await startPostgres();
afterAll(() => postgres?.stop());
if (postgres !== null) {
  cacheContract("in the process, joined by PostgreSQL", async () => {
    const clock = movableClock();
    const url = await postgres.database("cache");
    const join = async () => {
      const database = await openDatabase({ url, dataDir: "", pool: 3, sync: true, log: silentLog });
      return { database, cache: await openCache({ url: null, clock, log: silentLog, bridge: database }) };
    };
    const [one, two] = [await join(), await join()];
    const close = async () => {
      for (const { cache, database } of [one, two]) {
        await cache.close();
        await database.close();
      }
    };
    return { first: one.cache, second: two.cache, sharesState: false, elapse: (ms) => clock.advance(ms), close };
  });
}

describe("cache joined by the database", () => {
  test("messages that wait for a notification travel together in the next", async () => {
    const { bridge, state } = notifications();
    const cache = memoryCache({ clock: systemClock, log: silentLog, bridge });
    await Promise.all(Array.from({ length: 300 }, (_, at) => cache.publish("c", `message ${at}`)));
    expect(state.sent).toBeLessThan(10);
    await cache.close();
  });

  test("a failing database fails the publication, still delivers here, and the next one passes", async () => {
    const { bridge, state } = notifications();
    const [cache, other] = [0, 1].map(() => memoryCache({ clock: systemClock, log: silentLog, bridge })) as [
      Cache,
      Cache,
    ];
    const here: string[] = [];
    const there: string[] = [];
    await cache.subscribe("c", (message) => here.push(message));
    await other.subscribe("c", (message) => there.push(message));
    state.failure = unavailable("database");
    expect(isAppError(await refusal(cache.publish("c", "lost")))).toBe(true);
    state.failure = null;
    await cache.publish("c", "kept");
    await waitFor(() => there.length > 0);
    expect(here).toEqual(["lost", "kept"]);
    expect(there).toEqual(["kept"]);
    await cache.close();
    await other.close();
  });

  test("a subscription that the database refuses fails and can be tried again", async () => {
    const { bridge, state } = notifications();
    const cache = memoryCache({ clock: systemClock, log: silentLog, bridge });
    state.failure = unavailable("database");
    const seen: string[] = [];
    expect(isAppError(await refusal(cache.subscribe("c", (message) => seen.push(message))))).toBe(true);
    state.failure = null;
    await cache.subscribe("c", (message) => seen.push(message));
    await cache.publish("c", "once");
    await waitFor(() => seen.length > 0);
    expect(seen).toEqual(["once"]);
    await cache.close();
  });

  test("notifications that were not heard for a while are told as a state that is over", async () => {
    const { bridge, state } = notifications();
    const cache = memoryCache({ clock: systemClock, log: silentLog, bridge });
    const statuses: boolean[] = [];
    const end = cache.onStatus((isUp) => statuses.push(isUp));
    await cache.subscribe("c", () => undefined);
    for (const restored of state.restored) restored();
    expect(statuses).toEqual([false, true]);
    expect(cache.isUp()).toBe(true);
    end();
    for (const restored of state.restored) restored();
    expect(statuses).toHaveLength(2);
    await cache.close();
  });

  test("a foreign notification on the channel is logged and harms nothing", async () => {
    const { bridge } = notifications();
    const errors: string[] = [];
    const log: Log = { ...silentLog, error: (message) => errors.push(message) };
    const cache = memoryCache({ clock: systemClock, log, bridge });
    const seen: string[] = [];
    await cache.subscribe("c", (message) => seen.push(message));
    for (const payload of ["", "x", "somebody\nnot frames", "somebody\n3:ab", "somebody\n-1:a", "somebody\n1:c2:ok"]) {
      await bridge.notify("botserver_cache", payload);
    }
    expect(seen).toEqual(["ok"]);
    expect(errors.length).toBeGreaterThanOrEqual(4);
    await cache.close();
  });
});

describe("cache in the process", () => {
  test("a hit is synchronous", async () => {
    const cache = memoryCache({ clock: systemClock, log: silentLog });
    expect(cache.hit("k", 1_000)).toEqual({ count: 1, resetAt: expect.any(Number) });
    expect(cache.peek("k")).toEqual({ count: 1, resetAt: expect.any(Number) });
    await cache.close();
  });

  test("at its bounds what ends soonest makes room, never what was just written, and never a lock", async () => {
    const clock = movableClock();
    const warnings: string[] = [];
    const log: Log = { ...silentLog, warn: (message) => warnings.push(message) };
    const cache = memoryCache({ clock, log, bounds: { valuesMax: 100, charactersMax: 2_000, windowsMax: 100 } });
    const lock = await cache.lock("held", 1);
    for (let at = 0; at < 100; at += 1) await cache.set(`k${at}`, "v", 1_000_000 + at);
    await cache.set("new", "v", 10);
    expect(await cache.get("new")).toBe("v");
    expect(await cache.get("k0")).toBeNull();
    expect(await cache.get("k1")).toBe("v");
    await cache.set("large", "x".repeat(1_900), 1_000);
    expect(await cache.get("large")).toHaveLength(1_900);
    expect(await cache.get("k50")).toBeNull();
    for (let at = 0; at < 150; at += 1) void cache.hit(`w${at}`, 1_000_000 + at);
    expect(cache.peek("w49")).toBeNull();
    expect(await cache.peek("w50")).toMatchObject({ count: 1 });
    expect(warnings).toHaveLength(1);
    expect(lock).not.toBeNull();
    await cache.close();
  });

  test("the map stays in order under random writes, removals and sweeps", () => {
    const bounds = { entriesMax: 200, weightMax: 5_000 };
    const map = new ExpiringMap<{ key: string; expiresAt: number; weight: number; place: number }>(bounds);
    const model = new Map<string, { expiresAt: number; weight: number }>();
    let seed = 42;
    const random = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((seed / 2_147_483_648) * below);
    };
    const soonest = () => [...model].reduce((a, b) => (b[1].expiresAt < a[1].expiresAt ? b : a));
    const weight = () => [...model.values()].reduce((sum, entry) => sum + entry.weight, 0);
    let now = 0;
    for (let step = 0; step < 20_000; step += 1) {
      const key = `k${random(400)}`;
      const choice = random(10);
      if (choice < 7) {
        // Ends never tie, so that map and model must agree on who makes room.
        const entry = { key, expiresAt: now + 1 + random(5_000) + step / 100_000, weight: random(60), place: 0 };
        model.delete(key);
        while (model.size >= bounds.entriesMax || (model.size > 0 && weight() + entry.weight > bounds.weightMax)) {
          model.delete(soonest()[0]);
        }
        model.set(key, entry);
        map.put(entry, now);
      } else if (choice < 9) {
        expect(map.remove(key) !== undefined).toBe(model.delete(key));
      } else {
        now += random(100);
        expect(map.sweep(now, 1_000_000)).toBe(false);
        for (const [old, entry] of model) if (entry.expiresAt <= now) model.delete(old);
      }
      expect(map.size).toBe(model.size);
    }
    for (const key of model.keys()) expect(map.get(key, now)?.expiresAt).toBe(model.get(key)?.expiresAt as number);
  });

  test("a sweep of 200,000 ended entries leaves the event loop free", async () => {
    const clock = movableClock();
    const cache = memoryCache({ clock, log: silentLog });
    for (let at = 0; at < 200_000; at += 1) void cache.hit(`w${at}`, 1_000);
    clock.advance(1_000);
    let longestMs = 0;
    let turns = 0;
    let last = performance.now();
    const end = last + 1_500;
    await waitFor(() => {
      const now = performance.now();
      // waitFor itself pauses for 10 ms between its questions.
      longestMs = Math.max(longestMs, now - last - 10);
      last = now;
      turns += 1;
      return now > end;
    });
    expect(turns).toBeGreaterThan(20);
    expect(longestMs).toBeLessThan(50);
    await cache.close();
  });
});

describe.skipIf(redisMissing() !== null)("cache in Valkey", () => {
  cacheContract("Valkey", async () => {
    const server = await startRedis();
    const first = await openCache({ url: server.url, clock: systemClock, log: silentLog });
    const second = await openCache({ url: server.url, clock: systemClock, log: silentLog });
    const close = async () => {
      await first.close();
      await second.close();
      await server.close();
    };
    return { first, second, sharesState: true, elapse: () => undefined, close };
  });

  describe("when the server goes away", () => {
    let server: RedisServer;
    let cache: Cache;
    let other: Cache;
    const statuses: boolean[] = [];
    const seen: string[] = [];
    const logged: string[] = [];
    const log: Log = {
      ...silentLog,
      info: (message) => logged.push(`info ${message}`),
      warn: (message) => logged.push(`warn ${message}`),
    };

    beforeAll(async () => {
      server = await startRedis({ password: "p@ss/wörd" });
      cache = await openCache({ url: server.url, clock: systemClock, log });
      other = await openCache({ url: server.url, clock: systemClock, log: silentLog });
      cache.onStatus((isUp) => statuses.push(isUp));
      await cache.subscribe("c", (message) => seen.push(message));
    });
    afterAll(async () => {
      await cache.close();
      await other.close();
      await server.close();
    });

    /** Each verb's failure with how long it took. */
    const failures = () =>
      Promise.all(
        [
          cache.get("k"),
          cache.set("k", "v", 1_000),
          cache.delete("k"),
          cache.take("k"),
          cache.lock("k", 1_000),
          cache.publish("c", "x"),
          cache.ping(),
        ].map(async (answer) => {
          const begin = performance.now();
          const error: unknown = await answer.then(
            () => "no failure",
            (failure: unknown) => failure,
          );
          return { error, tookMs: performance.now() - begin };
        }),
      );
    const expectFastRefusals = async () => {
      for (const { error, tookMs } of await failures()) {
        expect(error).toMatchObject({ code: "SERVICE_UNAVAILABLE", details: { service: "cache" } });
        expect(tookMs).toBeLessThan(1_000);
      }
    };

    test("killed: told, verbs refuse at once, hits are counted here, locks end themselves", async () => {
      const lock = await cache.lock("held", 60_000);
      expect((await cache.hit("w", 60_000, 7)).count).toBe(7);
      await server.kill9();
      await waitFor(() => !cache.isUp());
      expect(statuses).toEqual([false]);
      await expectFastRefusals();
      expect(cache.hit("w", 60_000)).toEqual({ count: 1, resetAt: expect.any(Number) });
      expect(cache.hit("w", 60_000)).toMatchObject({ count: 2 });
      expect(cache.peek("w")).toMatchObject({ count: 2 });
      expect(await lock?.extend(1_000)).toBe(false);
      await lock?.release();
      const told = logged.filter((line) => line.includes("cache server"));
      expect(told).toEqual(["info the cache server is connected", "warn the cache server is away"]);
    });

    test("subscribing while it is away succeeds, for the time after", async () => {
      await cache.subscribe("later", (message) => seen.push(`later ${message}`));
      const gone = await cache.subscribe("gone", (message) => seen.push(`gone ${message}`));
      await gone();
    });

    test("restarted: back by itself within 10 s with all subscriptions alive", async () => {
      await server.start();
      await waitFor(() => cache.isUp() && other.isUp(), 10_000);
      expect(statuses).toEqual([false, true]);
      await other.publish("c", "again");
      await other.publish("later", "too");
      await other.publish("gone", "no");
      await other.publish("c", "last");
      await waitFor(() => seen.includes("last"));
      expect(seen).toEqual(["again", "later too", "last"]);
      expect((await cache.hit("w", 60_000)).count).toBe(1);
      expect((await other.hit("w", 60_000)).count).toBe(2);
      await cache.set("k", "v", 60_000);
      expect(await other.get("k")).toBe("v");
    });

    test("hanging: refused within a second each, counted here, and back when it answers again", async () => {
      server.pause();
      const hit = cache.hit("h", 60_000);
      await expectFastRefusals();
      expect((await hit).count).toBe(1);
      await waitFor(() => !cache.isUp());
      expect(cache.hit("h", 60_000)).toMatchObject({ count: 2 });
      server.resume();
      await waitFor(() => cache.isUp() && other.isUp(), 10_000);
      await other.publish("c", "after the pause");
      await waitFor(() => seen.includes("after the pause"));
    }, 20_000);

    test("hanging without any traffic is found out by the heartbeat", async () => {
      server.pause();
      await waitFor(() => !cache.isUp(), 5_000);
      server.resume();
      await waitFor(() => cache.isUp(), 10_000);
    }, 20_000);
  });

  test("while it is away short messages go through the database, also from one instance that alone is cut off", async () => {
    const server = await startRedis();
    const { bridge } = notifications();
    const cut = await startRedis();
    const options = { clock: systemClock, log: silentLog, bridge };
    const [first, second] = [
      await openCache({ url: server.url, ...options }),
      await openCache({ url: server.url, ...options }),
    ];
    const alone = await openCache({ url: cut.url, ...options });
    const seen: string[] = [];
    for (const [name, cache] of Object.entries({ first, second, alone })) {
      await cache.subscribe("c", (message) => seen.push(`${name} ${message}`));
    }
    const heard = async (message: string, names: string[]) => {
      await waitFor(() => seen.length >= names.length);
      expect(seen.splice(0).toSorted()).toEqual(names.map((name) => `${name} ${message}`).toSorted());
    };
    await first.publish("c", "by the server");
    await heard("by the server", ["first", "second"]);
    await cut.kill9();
    await waitFor(() => !alone.isUp());
    await alone.publish("c", "cut off");
    await heard("cut off", ["first", "second", "alone"]);
    await server.kill9();
    await waitFor(() => !first.isUp() && !second.isUp());
    for (let at = 0; at < 20; at += 1) await first.publish("c", String(at));
    await waitFor(() => seen.length === 60);
    for (const name of ["first", "second", "alone"]) {
      const own = seen.filter((line) => line.startsWith(name)).map((line) => Number(line.split(" ")[1]));
      expect(own).toEqual(Array.from({ length: 20 }, (_, at) => at));
    }
    expect(isAppError(await refusal(first.publish("c", "x".repeat(8_000))))).toBe(true);
    seen.length = 0;
    await server.start();
    await waitFor(() => first.isUp() && second.isUp(), 10_000);
    await second.publish("c", "again");
    await heard("again", ["first", "second"]);
    for (const cache of [first, second, alone]) await cache.close();
    await server.close();
    await cut.close();
  }, 20_000);

  test("a server that is away at the start is no failure: down first, up when it comes", async () => {
    const server = await startRedis();
    await server.kill9();
    const cache = await openCache({ url: server.url, clock: systemClock, log: silentLog });
    expect(cache.isUp()).toBe(false);
    expect(cache.hit("w", 60_000)).toMatchObject({ count: 1 });
    const told = Promise.withResolvers<boolean>();
    cache.onStatus(told.resolve);
    await server.start();
    expect(await told.promise).toBe(true);
    await cache.set("k", "v", 1_000);
    await cache.close();
    await server.close();
  }, 15_000);

  test("wrong credentials leave it down, and no password is logged", async () => {
    const server = await startRedis({ password: "right" });
    const lines: string[] = [];
    const keep = (message: string, fields?: object) => lines.push(message + Bun.inspect(fields));
    const log: Log = { ...silentLog, debug: keep, info: keep, warn: keep, error: keep };
    const cache = await openCache({ url: server.url.replace("right", "wr0ng-s3cret"), clock: systemClock, log });
    expect(cache.isUp()).toBe(false);
    expect(isAppError(await refusal(cache.get("k")))).toBe(true);
    expect(lines.join("\n")).toContain("WRONGPASS");
    expect(lines.join("\n")).not.toContain("wr0ng-s3cret");
    await cache.close();
    await server.close();
  });

  test.skipIf(programMissing("openssl") !== null)(
    "rediss:// speaks TLS and takes no certificate that is not trusted",
    async () => {
      const trusted = await selfSignedCertificate("IP:127.0.0.1", "DNS:localhost");
      const server = await startRedis({ tls: trusted });
      const engine = resolve(import.meta.dir, "../../src/engines/cache/open.ts");
      const ask = async (url: string, env: Record<string, string>) => {
        const program = `
        const { openCache } = await import(${JSON.stringify(engine)});
        const quiet = { debug() {}, info() {}, warn(_, fields) { console.error(fields.error.code); }, error() {} };
        const clock = { now: () => Date.now(), date: () => new Date() };
        const cache = await openCache({ url: ${JSON.stringify(url)}, clock, log: quiet });
        await cache.set("k", "over TLS", 1000).catch((error) => console.log(error.details.service));
        console.log(cache.isUp(), await cache.get("k").catch(() => "nothing"));
        await cache.close();`;
        const child = spawnProcess({ command: [process.execPath, "-e", program], env });
        expect(await child.exited).toBe(0);
        return { out: child.stdout(), error: child.stderr() };
      };
      const trust = { NODE_EXTRA_CA_CERTS: trusted.file };
      expect((await ask(server.url, trust)).out).toBe("true over TLS\n");
      expect((await ask(server.url.replace("127.0.0.1", "localhost"), trust)).out).toBe("true over TLS\n");
      const refused = await ask(server.url, {});
      expect(refused.out).toBe("cache\nfalse nothing\n");
      expect(refused.error).toContain("DEPTH_ZERO_SELF_SIGNED_CERT");
      await server.close();
      await trusted.remove();
    },
    20_000,
  );

  test("databases of one server do not hear each other", async () => {
    const server = await startRedis();
    const open = (db: number) => openCache({ url: `${server.url}/${db}`, clock: systemClock, log: silentLog });
    const [zero, one] = [await open(0), await open(1)];
    const seen: string[] = [];
    await zero.subscribe("c", (message) => seen.push(message));
    await one.publish("c", "from one");
    await zero.publish("c", "from zero");
    await one.set("k", "v", 60_000);
    await waitFor(() => seen.length > 0);
    expect(seen).toEqual(["from zero"]);
    expect(await zero.get("k")).toBeNull();
    await zero.close();
    await one.close();
    await server.close();
  });
});
