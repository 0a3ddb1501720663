// What every object store guarantees, whatever it runs on.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import type { ByteRange, ObjectStore } from "../../src/engines/objects/index.ts";
import { refusal } from "../support/refusals.ts";

export interface ObjectsUnderTest {
  store: ObjectStore;
  /** Moves the clock that ages are told by. */
  elapse(ms: number): void;
  close(): Promise<void>;
}

/** A body in chunks that are made when they are asked for; `fail` ends it with that error instead. */
export function streamOf(sizeBytes: number, chunkBytes = 64 * 1024, fail?: Error): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= sizeBytes) {
        if (fail) controller.error(fail);
        else controller.close();
        return;
      }
      const chunk = new Uint8Array(Math.min(chunkBytes, sizeBytes - at));
      for (let index = 0; index < chunk.length; index += 1) chunk[index] = byteAt(at + index);
      at += chunk.length;
      controller.enqueue(chunk);
    },
  });
}

/** The byte of `streamOf` at a place. */
export function byteAt(at: number): number {
  return (at * 7 + (at >> 8)) & 0xff;
}

function expected(sizeBytes: number): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, at) => byteAt(at));
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Runs the suite on the store that `open` gives. */
export function objectsContract(name: string, open: () => Promise<ObjectsUnderTest>): void {
  describe(`objects contract: ${name}`, () => {
    let under: ObjectsUnderTest;
    let store: ObjectStore;
    beforeAll(async () => {
      under = await open();
      store = under.store;
    });
    afterAll(() => under.close());

    /** Every id that is there, whatever its age. */
    const all = async () => (await Array.fromAsync(store.list(-3_600_000))).toSorted();
    const read = async (id: string, range?: ByteRange) => new Response(await store.get(id, range)).bytes();

    for (const sizeBytes of [0, 1, 65_536, 65_537, 1_000_000]) {
      test(`${sizeBytes} bytes come back as they were, from a stream, an array and a Blob`, async () => {
        const bytes = expected(sizeBytes);
        for (const body of [streamOf(sizeBytes), bytes, new Blob([bytes.slice()])]) {
          const info = await store.put(body);
          expect(info).toEqual({ id: expect.any(String), sizeBytes, sha256: sha256(bytes) });
          expect(info.id).toMatch(/^[0-9a-f-]{36}$/);
          expect(await store.stat(info.id)).toEqual({ sizeBytes });
          expect(Buffer.compare(await store.bytes(info.id), bytes)).toBe(0);
          expect(Buffer.compare(await read(info.id), bytes)).toBe(0);
        }
      });
    }

    test("ranges give exactly their bytes, also the first, the last and all", async () => {
      const size = 700_001;
      const { id } = await store.put(streamOf(size));
      const bytes = expected(size);
      const ranges = [
        [0, 0],
        [size - 1, size - 1],
        [0, size - 1],
        [65_535, 65_536],
        [262_143, 524_289],
      ] as const;
      for (const [start, end] of ranges) {
        expect(Buffer.compare(await read(id, { start, end }), bytes.subarray(start, end + 1))).toBe(0);
      }
    });

    test("ranges outside are refused with the size", async () => {
      const { id } = await store.put(expected(10));
      const empty = await store.put(new Uint8Array());
      const ranges = [
        [id, 0, 10],
        [id, 10, 10],
        [id, 5, 4],
        [id, -1, 3],
        [id, 0.5, 3],
        [id, Number.NaN, 3],
        [empty.id, 0, 0],
      ] as const;
      for (const [of, start, end] of ranges) {
        const size = of === id ? 10 : 0;
        expect(await refusal(store.get(of, { start, end }))).toMatchObject({
          code: "RANGE_NOT_SATISFIABLE",
          details: { size },
        });
      }
    });

    test("a reader that stops early harms nothing, and one that has begun keeps the bytes of a deleted blob", async () => {
      const size = 3_000_000;
      const { id } = await store.put(streamOf(size));
      await (await store.get(id)).getReader().cancel();
      const reader = (await store.get(id)).getReader();
      const parts = [(await reader.read()).value ?? new Uint8Array()];
      await store.delete(id);
      for (let part = await reader.read(); !part.done; part = await reader.read()) parts.push(part.value);
      expect(sha256(Buffer.concat(parts))).toBe(sha256(expected(size)));
      expect(await store.stat(id)).toBeNull();
    });

    test("maxBytes takes that many bytes; one more is refused and leaves nothing", async () => {
      const before = await all();
      const bytes = expected(100_000);
      for (const make of [() => streamOf(100_000, 1_000), () => bytes, () => new Blob([bytes.slice()])]) {
        expect(await refusal(store.put(make(), { maxBytes: 99_999 }))).toMatchObject({
          code: "PAYLOAD_TOO_LARGE",
          details: { max_bytes: 99_999 },
        });
        const { id } = await store.put(make(), { maxBytes: 100_000 });
        await store.delete(id);
      }
      expect(await all()).toEqual(before);
    });

    test("a body that is too long is not read to its end", async () => {
      const asked = { bytes: 0, isCancelled: false };
      const endless = new ReadableStream<Uint8Array>({
        pull(controller) {
          asked.bytes += 10_000;
          controller.enqueue(new Uint8Array(10_000));
        },
        cancel() {
          asked.isCancelled = true;
        },
      });
      expect(await refusal(store.put(endless, { maxBytes: 50_000 }))).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
      expect(asked.isCancelled).toBe(true);
      expect(asked.bytes).toBeLessThan(200_000);
    });

    test("a source that fails in the middle fails the put with its own error and leaves nothing", async () => {
      const before = await all();
      const failure = new Error("the client went away");
      for (const sizeBytes of [0, 10, 500_000]) {
        expect(await refusal(store.put(streamOf(sizeBytes, 1_000, failure)))).toBe(failure);
      }
      expect(await all()).toEqual(before);
    });

    test("an id of the caller's is taken once; a second or simultaneous put of it is a conflict", async () => {
      const id = Bun.randomUUIDv7();
      const tries = await Promise.allSettled([1, 2, 3].map((size) => store.put(streamOf(size), { id })));
      expect(tries.filter((one) => one.status === "fulfilled")).toHaveLength(1);
      const { sizeBytes } = (await store.stat(id)) ?? { sizeBytes: -1 };
      expect([1, 2, 3]).toContain(sizeBytes);
      expect(await refusal(store.put(new Uint8Array(9), { id }))).toMatchObject({
        code: "CONFLICT",
        details: { reason: "blob_exists" },
      });
      expect(await store.stat(id)).toEqual({ sizeBytes });
      await store.delete(id);
      expect(await store.put(new Uint8Array(9), { id })).toMatchObject({ id, sizeBytes: 9 });
    });

    test("64 puts at once are each whole and their own", async () => {
      const infos = await Promise.all(Array.from({ length: 64 }, (_, at) => store.put(streamOf(10_000 + at, 777))));
      expect(new Set(infos.map(({ id }) => id)).size).toBe(64);
      for (const [at, { id, sha256: digest }] of infos.entries()) {
        const bytes = await store.bytes(id);
        expect(bytes.length).toBe(10_000 + at);
        expect(sha256(bytes)).toBe(digest);
      }
    });

    test("delete removes, may be repeated, and what is gone is not found", async () => {
      const { id } = await store.put(new Uint8Array(5));
      await store.delete(id);
      await store.delete(id);
      expect(await store.stat(id)).toBeNull();
      expect(await refusal(store.get(id))).toMatchObject({ code: "NOT_FOUND" });
      expect(await refusal(store.get(id, { start: 0, end: 0 }))).toMatchObject({ code: "NOT_FOUND" });
      expect(await refusal(store.bytes(id))).toMatchObject({ code: "NOT_FOUND" });
      expect(await all()).not.toContain(id);
    });

    test("list gives each complete blob once it is old enough", async () => {
      const { id: older } = await store.put(new Uint8Array(1));
      under.elapse(7_200_000);
      expect(await Array.fromAsync(store.list(3_600_000))).toContain(older);
      expect(await Array.fromAsync(store.list(10_800_000))).not.toContain(older);
      const ids = await Array.fromAsync(store.list(3_600_000));
      expect(new Set(ids).size).toBe(ids.length);
    });

    test("what is no id of a blob is nothing, for every verb", async () => {
      const uuid = Bun.randomUUIDv7();
      const hostile = [
        "",
        ".",
        "..",
        "../../secret",
        `../${uuid}`,
        `${uuid}/..`,
        `${uuid}\0`,
        `${uuid}\n`,
        uuid.toUpperCase(),
        "00000000-0000-4000-8000-000000000000",
        "%2e%2e%2f",
        "C:\\secret",
        "__proto__",
      ];
      for (const id of hostile) {
        expect(await store.stat(id)).toBeNull();
        await store.delete(id);
        expect(await refusal(store.get(id))).toMatchObject({ code: "NOT_FOUND" });
        expect(await refusal(store.bytes(id))).toMatchObject({ code: "NOT_FOUND" });
        expect(await refusal(store.put(new Uint8Array(1), { id }))).toBeInstanceOf(Error);
      }
    });

    test("answers a ping without leaving anything", async () => {
      const before = await all();
      const { latencyMs, freeBytes } = await store.ping();
      expect(latencyMs).toBeGreaterThan(0);
      expect(freeBytes === null || freeBytes > 0).toBe(true);
      expect(await all()).toEqual(before);
    });
  });
}
