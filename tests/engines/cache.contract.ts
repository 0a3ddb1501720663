// What every cache guarantees, whatever it runs on.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { isAppError } from "../../src/core/errors.ts";
import type { Cache } from "../../src/engines/cache/index.ts";
import { waitFor } from "../support/processes.ts";
import { refusal } from "../support/refusals.ts";

export interface CacheUnderTest {
  /** Two clients as two instances have them; the same one twice where there can be only one. */
  first: Cache;
  second: Cache;
  /** True when values, windows and locks are the same for both; messages always are. */
  sharesState: boolean;
  /** Moves the engine's clock; nothing where time is the outside server's, tests then wait for the outcome. */
  elapse(ms: number): void;
  close(): Promise<void>;
}

/** Runs the suite on the engine that `open` gives. */
export function cacheContract(name: string, open: () => Promise<CacheUnderTest>): void {
  describe(`cache contract: ${name}`, () => {
    let under: CacheUnderTest;
    let cache: Cache;
    beforeAll(async () => {
      under = await open();
      cache = under.first;
    });
    afterAll(async () => {
      await under.close();
    });
    const another = () => (under.sharesState ? under.second : under.first);

    describe("values", () => {
      test("are read back as they were written, the latest wins", async () => {
        for (const value of ["", "plain", 'ünï "çödé" 🤖\n\0', "x".repeat(100_000)]) {
          await cache.set("value", value, 60_000);
          expect(await another().get("value")).toBe(value);
        }
        expect(await cache.get("never written")).toBeNull();
      });

      test("end with their life, and writing anew begins a new one", async () => {
        await cache.set("short", "a", 60);
        await cache.set("renewed", "a", 60);
        await cache.set("renewed", "b", 60_000);
        under.elapse(60);
        await waitFor(async () => (await cache.get("short")) === null);
        expect(await cache.get("renewed")).toBe("b");
        expect(await cache.take("short")).toBeNull();
      });

      test("a life of 0 or less deletes, a fraction of a millisecond counts as one", async () => {
        await cache.set("gone", "a", 60_000);
        await cache.set("gone", "b", 0);
        expect(await cache.get("gone")).toBeNull();
        await cache.set("gone", "b", -5);
        expect(await cache.get("gone")).toBeNull();
        await cache.set("kept", "c", 59_999.5);
        expect(await cache.get("kept")).toBe("c");
      });

      test("delete takes several keys, absent ones and none at all", async () => {
        await cache.set("d1", "a", 60_000);
        await cache.set("d2", "b", 60_000);
        await another().delete("d1", "absent", "d2");
        await cache.delete();
        expect([await cache.get("d1"), await cache.get("d2")]).toEqual([null, null]);
      });

      test("of many that take at once exactly one gets the value", async () => {
        await cache.set("ticket", "one", 60_000);
        const taken = await Promise.all(
          Array.from({ length: 20 }, (_, at) => (at % 2 ? cache : another()).take("ticket")),
        );
        expect(taken.filter((value) => value === "one")).toHaveLength(1);
        expect(taken.filter((value) => value === null)).toHaveLength(19);
        expect(await cache.get("ticket")).toBeNull();
      });

      test("a value, a window and a lock of one key know nothing of each other", async () => {
        await cache.set("same", "value", 60_000);
        expect((await cache.hit("same", 60_000)).count).toBe(1);
        const lock = await cache.lock("same", 60_000);
        expect(lock).not.toBeNull();
        expect(await cache.get("same")).toBe("value");
        await lock?.release();
        expect((await cache.peek("same"))?.count).toBe(1);
      });
    });

    describe("windows", () => {
      test("count from 1, by the given number, and peek counts nothing", async () => {
        expect(await cache.peek("w1")).toBeNull();
        expect((await cache.hit("w1", 60_000)).count).toBe(1);
        expect((await another().hit("w1", 60_000, 5)).count).toBe(6);
        expect((await cache.peek("w1"))?.count).toBe(6);
        expect((await cache.peek("w1"))?.count).toBe(6);
      });

      test("end a fixed time after the first hit, however many follow", async () => {
        const first = await cache.hit("w2", 60_000);
        under.elapse(20_000);
        const later = await cache.hit("w2", 60_000);
        expect(later.count).toBe(2);
        expect(Math.abs(later.resetAt - first.resetAt)).toBeLessThan(100);
        expect(Math.abs(((await cache.peek("w2"))?.resetAt ?? 0) - first.resetAt)).toBeLessThan(100);
      });

      test("after the end the next hit begins a new window", async () => {
        const first = await cache.hit("w3", 80);
        await cache.hit("w3", 80);
        under.elapse(80);
        await waitFor(async () => (await cache.peek("w3")) === null);
        const next = await cache.hit("w3", 80);
        expect(next.count).toBe(1);
        expect(next.resetAt).toBeGreaterThan(first.resetAt);
      });

      test("hits at once from both clients are each counted once", async () => {
        const counts = await Promise.all(
          Array.from({ length: 200 }, async (_, at) => (await (at % 2 ? cache : another()).hit("w4", 60_000)).count),
        );
        expect(counts.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, at) => at + 1));
      });

      test("are ended by delete", async () => {
        await cache.hit("w5", 60_000, 9);
        await cache.delete("w5");
        expect(await cache.peek("w5")).toBeNull();
        expect((await cache.hit("w5", 60_000)).count).toBe(1);
      });
    });

    describe("locks", () => {
      test("have one holder; of many that try at once one wins, and release lets the next in", async () => {
        const tries = await Promise.all(
          Array.from({ length: 20 }, (_, at) => (at % 2 ? cache : another()).lock("l1", 60_000)),
        );
        const held = tries.filter((lock) => lock !== null);
        expect(held).toHaveLength(1);
        await held[0]?.release();
        const next = await another().lock("l1", 60_000);
        expect(next).not.toBeNull();
        await next?.release();
      });

      test("each holder's token is larger than those before", async () => {
        const tokens: number[] = [];
        for (let round = 0; round < 5; round += 1) {
          const lock = await (round % 2 ? cache : another()).lock("l2", 60_000);
          tokens.push(lock?.token ?? 0);
          await lock?.release();
        }
        expect(tokens).toEqual(tokens.toSorted((a, b) => a - b));
        expect(new Set(tokens).size).toBe(5);
        expect(tokens.every((token) => Number.isSafeInteger(token) && token > 0)).toBe(true);
      });

      test("extend keeps it beyond its first life", async () => {
        const lock = await cache.lock("l3", 80);
        expect(await lock?.extend(60_000)).toBe(true);
        under.elapse(80);
        const until = performance.now() + 100;
        await waitFor(() => performance.now() > until);
        expect(await another().lock("l3", 60_000)).toBeNull();
        await lock?.release();
      });

      test("who lost it can neither extend it nor release the next holder's", async () => {
        const lost = await cache.lock("l4", 40);
        under.elapse(40);
        const next = await waitFor(() => another().lock("l4", 60_000));
        expect(await lost?.extend(60_000)).toBe(false);
        await lost?.release();
        expect(await cache.lock("l4", 60_000)).toBeNull();
        expect(await next.extend(60_000)).toBe(true);
        await next.release();
      });
    });

    describe("messages", () => {
      test("of each client reach the subscribers of both in the order of sending", async () => {
        const seen: string[][] = [[], []];
        const stops = [
          await under.first.subscribe("order", (message) => seen[0]?.push(message)),
          await under.second.subscribe("order", (message) => seen[1]?.push(message)),
        ];
        const sent: Promise<void>[] = [];
        for (let at = 0; at < 500; at += 1) {
          sent.push(under.first.publish("order", `a${at}`), under.second.publish("order", `b${at}`));
        }
        await Promise.all(sent);
        await waitFor(() => seen.every((messages) => messages.length === 1_000));
        for (const messages of seen) {
          for (const sender of ["a", "b"]) {
            const expected = Array.from({ length: 500 }, (_, at) => `${sender}${at}`);
            expect(messages.filter((message) => message.startsWith(sender))).toEqual(expected);
          }
        }
        for (const stop of stops) await stop();
      });

      test("arrive as they were sent and on their channel only", async () => {
        const seen: string[] = [];
        const stop = await under.second.subscribe("text", (message) => seen.push(message));
        const texts = ["", '{"a":"12:3\\n"}', "ünï 🤖\n\t", "é".repeat(1_000)];
        await under.first.publish("text2", "other");
        for (const text of texts) await under.first.publish("text", text);
        await waitFor(() => seen.length >= texts.length);
        expect(seen).toEqual(texts);
        await stop();
      });

      test("reach every subscriber once, though one throws and one function subscribes twice", async () => {
        let calls = 0;
        const count = () => {
          calls += 1;
        };
        const stops = [
          await cache.subscribe("many", () => {
            throw new Error("a handler that fails");
          }),
          await cache.subscribe("many", count),
          await cache.subscribe("many", count),
        ];
        await cache.publish("many", "x");
        await waitFor(() => calls === 2);
        await stops[1]?.();
        await stops[1]?.();
        await cache.publish("many", "x");
        await waitFor(() => calls === 3);
        for (const stop of stops) await stop();
      });

      test("stop with the last unsubscription and come again with a new subscription", async () => {
        const seen: string[] = [];
        const marks: string[] = [];
        const stopMarks = await cache.subscribe("marks", (message) => marks.push(message));
        const stop = await cache.subscribe("onoff", (message) => seen.push(message));
        await stop();
        await cache.publish("onoff", "unheard");
        await cache.publish("marks", "1");
        await waitFor(() => marks.length === 1);
        const again = await cache.subscribe("onoff", (message) => seen.push(message));
        await cache.publish("onoff", "heard");
        await waitFor(() => seen.length > 0);
        expect(seen).toEqual(["heard"]);
        await again();
        await stopMarks();
      });

      test("of the greatest length pass, longer ones are refused as the caller's fault", async () => {
        const seen: string[] = [];
        const stop = await under.second.subscribe("long", (message) => seen.push(message));
        const longest = "é".repeat(under.first.messageBytesMax / 2);
        await under.first.publish("long", longest);
        const refused = await refusal(under.first.publish("long", `${longest}x`));
        expect(refused).toBeInstanceOf(Error);
        expect(isAppError(refused)).toBe(false);
        await under.first.publish("long", "end");
        await waitFor(() => seen.includes("end"));
        expect(seen).toEqual([longest, "end"]);
        await stop();
      });
    });

    test("is up and answers a ping with its version", async () => {
      expect(cache.isUp()).toBe(true);
      const { version, latencyMs } = await cache.ping();
      expect(version).not.toBe("");
      expect(latencyMs).toBeGreaterThanOrEqual(0);
      expect(latencyMs).toBeLessThan(1_000);
    });
  });
}
