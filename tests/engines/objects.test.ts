// The object store in files and in PostgreSQL: the contract, and what a killed process and a failing disk leave behind.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { movableClock, systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import type { DatabaseEngine } from "../../src/engines/database/index.ts";
import { openDatabase } from "../../src/engines/database/open.ts";
import { openObjects } from "../../src/engines/objects/open.ts";
import { startPostgres } from "../support/postgres.ts";
import { spawnProcess, temporaryFolder, waitFor } from "../support/processes.ts";
import { refusal } from "../support/refusals.ts";
import { byteAt, objectsContract, streamOf } from "./objects.contract.ts";

const opened = (dir: string, clock = systemClock) => openObjects({ dir, s3Endpoint: null, clock, log: silentLog });

/** All files below a folder, with their paths from it. */
async function filesBelow(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath.slice(dir.length), entry.name));
}

objectsContract("files", async () => {
  const folder = await temporaryFolder("objects");
  const clock = movableClock();
  const store = await opened(folder.path, clock);
  const close = async () => {
    expect((await filesBelow(folder.path)).filter((path) => path.startsWith("/tmp/"))).toEqual([]);
    await folder.remove();
  };
  return { store, elapse: (ms) => clock.advance(ms), close };
});

const postgres = await startPostgres();
afterAll(() => postgres?.stop());
if (postgres !== null) {
  const open = async (name: string, clock = movableClock()) => {
    const url = await postgres.database(name);
    const database = await openDatabase({ url, dataDir: "", pool: 4, sync: true, log: silentLog });
    await database.migrate();
    const store = await openObjects({ dir: "", s3Endpoint: null, shared: database, clock, log: silentLog });
    return { database, store, clock };
  };
  const counts = async (database: DatabaseEngine) => {
    const [row] = await database.query(
      "select (select count(*)::int from blobs) as blobs, (select count(*)::int from blob_parts) as parts",
    );
    return row;
  };

  objectsContract("PostgreSQL", async () => {
    const { database, store, clock } = await open("objects");
    const close = async () => {
      const left = await database.query("select id from blobs where completed_at is null");
      expect(left).toHaveLength(0);
      await database.close();
    };
    return { store, elapse: (ms) => clock.advance(ms), close };
  });

  describe("objects in PostgreSQL", () => {
    test("what one instance has written another one reads, ranges over many parts too, and deletes with all parts", async () => {
      const one = await open("objects-two");
      const two = await open("objects-two");
      const { id, sha256 } = await one.store.put(streamOf(9_000_001, 10_007));
      const read = new Bun.CryptoHasher("sha256");
      for await (const piece of await two.store.get(id)) read.update(piece);
      expect(read.digest("hex")).toBe(sha256);
      const range = await new Response(await two.store.get(id, { start: 262_143, end: 8_000_000 })).bytes();
      expect(range.length).toBe(7_737_858);
      expect([range[0], range[1], range.at(-1)]).toEqual([byteAt(262_143), byteAt(262_144), byteAt(8_000_000)]);
      await two.store.delete(id);
      expect(await one.store.stat(id)).toBeNull();
      expect(await counts(one.database)).toEqual({ blobs: 0, parts: 0 });
      await one.database.close();
      await two.database.close();
    });

    test("a large blob that is deleted under its reader ends in a failure, never in silence", async () => {
      const { database, store } = await open("objects-deleted");
      const { id } = await store.put(streamOf(6_000_000));
      const reader = (await store.get(id)).getReader();
      await reader.read();
      await store.delete(id);
      const rest = async () => {
        while (!(await reader.read()).done);
      };
      expect(await refusal(rest())).toMatchObject({ code: "NOT_FOUND" });
      await database.close();
    });

    test("what a process that died left unfinished is never seen, and gone after a day", async () => {
      const { database, store, clock } = await open("objects-killed");
      const endless = new ReadableStream<Uint8Array>({
        pull: (controller) => {
          if (started.isOver) return new Promise<void>(() => undefined);
          controller.enqueue(new Uint8Array(300_000));
          return undefined;
        },
      });
      const started = { isOver: false };
      void store.put(endless);
      await waitFor(async () => Number((await counts(database))?.["parts"]) > 2);
      started.isOver = true;
      expect(await Array.fromAsync(store.list(-3_600_000))).toEqual([]);
      const other = await open("objects-killed", clock);
      clock.advance(86_400_001);
      await other.store.put(new Uint8Array(1));
      await waitFor(async () => Bun.deepEquals(await counts(database), { blobs: 1, parts: 1 }));
      await database.close();
      await other.database.close();
    });

    test("a database that is away is storage that is not available", async () => {
      const { database, store } = await open("objects-away");
      await database.close();
      const id = Bun.randomUUIDv7();
      for (const failing of [store.put(new Uint8Array(1)), store.get(id), store.stat(id), store.delete(id)]) {
        expect(await refusal(failing)).toMatchObject({
          code: "SERVICE_UNAVAILABLE",
          details: { service: "storage" },
        });
      }
    });
  });
}

describe("objects in files", () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  beforeAll(async () => {
    folder = await temporaryFolder("objects");
  });
  afterAll(() => folder.remove());

  /** A process of its own that opens the store in `dir` and runs `program` with it. */
  const child = (dir: string, program: string) => {
    const engine = resolve(import.meta.dir, "../../src/engines/objects/open.ts");
    const contract = resolve(import.meta.dir, "objects.contract.ts");
    const quiet = "{ debug() {}, info() {}, warn() {}, error() {} }";
    const prelude = `
      const { openObjects } = await import(${JSON.stringify(engine)});
      const clock = { now: () => Date.now(), date: () => new Date() };
      const store = await openObjects({ dir: ${JSON.stringify(dir)}, s3Endpoint: null, clock, log: ${quiet} });`;
    return spawnProcess({ command: [process.execPath, "-e", prelude + program], env: { CONTRACT: contract } });
  };

  test("kill -9 in the middle of a put leaves nothing visible, and the next start sweeps the rest", async () => {
    const dir = join(folder.path, "killed");
    const running = child(
      dir,
      `let sent = 0;
      await store.put(new ReadableStream({
        async pull(controller) {
          if (sent === 8_000_000) { console.log("half"); await new Promise(() => setInterval(() => {}, 1000)); }
          sent += 100_000;
          controller.enqueue(new Uint8Array(100_000));
        },
      }));`,
    );
    await waitFor(() => running.stdout().includes("half"), 10_000);
    await running.kill9();
    const left = await filesBelow(dir);
    expect(left).toHaveLength(1);
    expect(left[0]).toStartWith("/tmp/");
    const store = await opened(dir);
    expect(await Array.fromAsync(store.list(-60_000))).toEqual([]);
    expect(await filesBelow(dir)).toEqual([]);
  });

  test("a command that looks in leaves what a server is writing", async () => {
    const dir = join(folder.path, "looked-into");
    const store = await opened(dir);
    const gate = Promise.withResolvers<void>();
    const slow = new ReadableStream<Uint8Array>({
      async start(controller) {
        controller.enqueue(new Uint8Array(1_000));
        await gate.promise;
        controller.close();
      },
    });
    const writing = store.put(slow);
    await waitFor(async () => (await filesBelow(dir)).length === 1);
    const looking = await openObjects({ dir, s3Endpoint: null, clock: systemClock, log: silentLog, sweep: false });
    await looking.ping();
    gate.resolve();
    const { id } = await writing;
    expect(await looking.stat(id)).toEqual({ sizeBytes: 1_000 });
  });

  test("a put that was acknowledged is there after kill -9", async () => {
    const dir = join(folder.path, "acknowledged");
    const running = child(
      dir,
      `const { id } = await store.put(new Uint8Array(100_000).fill(7));
      console.log(id);
      setInterval(() => {}, 1000);`,
    );
    const id = (await waitFor(() => /^(\S{36})\n/.exec(running.stdout())?.[1], 10_000)).trim();
    await running.kill9();
    const store = await opened(dir);
    expect(await store.bytes(id)).toEqual(new Uint8Array(100_000).fill(7));
    expect(await Array.fromAsync(store.list(-60_000))).toEqual([id]);
  });

  test("64 MB put and read grow the process by less than 48 MB", async () => {
    const running = child(
      join(folder.path, "large"),
      `let sent = 0, largest = 0;
      const watch = () => { largest = Math.max(largest, process.memoryUsage.rss()); };
      const size = 64 * 1024 * 1024;
      await store.put(new Uint8Array(1_000_000));
      Bun.gc(true);
      const before = process.memoryUsage.rss();
      const { id } = await store.put(new ReadableStream({
        pull(controller) {
          watch();
          if (sent === size) return controller.close();
          sent += 65_536;
          controller.enqueue(new Uint8Array(65_536));
        },
      }));
      let got = 0;
      for await (const chunk of await store.get(id)) { got += chunk.length; watch(); }
      console.log(JSON.stringify({ got, size, grownMb: (largest - before) / 1e6 }));`,
    );
    expect(await running.exited).toBe(0);
    const { got, size, grownMb } = JSON.parse(running.stdout()) as Record<string, number>;
    expect(got).toBe(size as number);
    expect(grownMb).toBeLessThan(48);
  }, 20_000);

  test("a large array in memory is hashed and written without stopping the event loop", async () => {
    const store = await opened(join(folder.path, "pieces"));
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 1);
    await store.put(new Uint8Array(48 * 1024 * 1024));
    clearInterval(timer);
    expect(turns).toBeGreaterThan(10);
  });

  test("blobs made one after the other spread over the folders", async () => {
    const dir = join(folder.path, "spread");
    const store = await opened(dir);
    for (let at = 0; at < 40; at += 1) await store.put(new Uint8Array([at]));
    const folders = new Set((await filesBelow(dir)).map((path) => path.split("/").slice(0, 4).join("/")));
    expect(folders.size).toBeGreaterThan(30);
    for (const path of folders) expect(path).toMatch(/^\/blobs\/[0-9a-f]{2}\/[0-9a-f]{2}$/);
  });

  test("files that are not blobs are neither listed nor swept", async () => {
    const dir = join(folder.path, "foreign");
    await mkdir(join(dir, "blobs", "ab", "cd"), { recursive: true });
    await writeFile(join(dir, "blobs", "ab", "cd", "notes.txt"), "mine");
    await writeFile(join(dir, "blobs", "lost+found"), "mine");
    const store = await opened(dir);
    expect(await Array.fromAsync(store.list(-60_000))).toEqual([]);
    expect(await filesBelow(dir)).toHaveLength(2);
  });

  test("a folder that is gone makes verbs unavailable by the name of the service", async () => {
    const dir = join(folder.path, "gone");
    const gone = await opened(dir);
    await rm(dir, { recursive: true });
    for (const work of [() => gone.put(streamOf(10)), () => gone.ping()]) {
      expect(await refusal(work())).toMatchObject({
        code: "SERVICE_UNAVAILABLE",
        details: { service: "storage" },
      });
    }
  });

  test("a configured S3 is refused instead of being replaced by files", async () => {
    const options = {
      dir: join(folder.path, "s3"),
      s3Endpoint: "http://127.0.0.1:9",
      clock: systemClock,
      log: silentLog,
    };
    expect(String(await refusal(openObjects(options)))).toContain("S3_ENDPOINT");
  });
});
