// The database contract on PGlite and on PostgreSQL, and what each promises by itself: durability, the folder lock,
// the first start, unreachable servers.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AppError } from "../../src/core/errors.ts";
import { silentLog } from "../../src/core/log.ts";
import { FolderLocked, lockFolder } from "../../src/engines/database/folder.ts";
import { applyMigrations } from "../../src/engines/database/migrate.ts";
import { openDatabase } from "../../src/engines/database/open.ts";
import { failure } from "../support/failure.ts";
import { startPostgres } from "../support/postgres.ts";
import { databaseContract } from "./database.contract.ts";

// Processes are started and killed here, on machines that may be busy.
setDefaultTimeout(60_000);
const root = mkdtempSync(join(tmpdir(), "botserver-database-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const newFolder = () => join(root, `data-${++folders}`);
const openPglite = (dataDir: string, sync = true) =>
  openDatabase({ url: null, dataDir, pool: 1, sync, log: silentLog });

const writer = join(import.meta.dir, "../support/database-writer.ts");

databaseContract("PGlite", () => openPglite(newFolder()), null);

describe("PGlite", () => {
  test("N single inserts are N fsyncs, and so are N transactions of 10 inserts", async () => {
    const engine = await openPglite(newFolder());
    await engine.execute("create table t (id int primary key); insert into t values (0)");
    const before = (await engine.syncCount()) ?? 0;
    for (let i = 1; i <= 50; i++) await engine.query("insert into t values ($1)", [i]);
    const single = ((await engine.syncCount()) ?? 0) - before;
    expect(single).toBeGreaterThanOrEqual(50);
    expect(single).toBeLessThanOrEqual(54);
    for (let i = 1; i <= 20; i++) {
      await engine.transaction(async (tx) => {
        for (let j = 0; j < 10; j++) await tx.execute(`insert into t values (${i * 1000 + j})`);
      });
    }
    const grouped = ((await engine.syncCount()) ?? 0) - before - single;
    expect(grouped).toBeGreaterThanOrEqual(20);
    expect(grouped).toBeLessThanOrEqual(24);
    await engine.close();
  });

  test("with DATABASE_SYNC=off writes ask for no fsync", async () => {
    const engine = await openPglite(newFolder(), false);
    await engine.execute("create table t (id int primary key)");
    for (let i = 1; i <= 20; i++) await engine.query("insert into t values ($1)", [i]);
    expect(await engine.syncCount()).toBe(0);
    await engine.close();
  });

  test("kill -9 under load loses no acknowledged row, in three rounds on one folder", async () => {
    const dataDir = newFolder();
    const acknowledged = new Set<number>();
    for (let round = 0; round < 3; round++) {
      const child = Bun.spawn([process.execPath, writer, dataDir, String(round)], {
        stdout: "pipe",
        stderr: "inherit",
      });
      const killAfter = 200 + round * 150;
      let text = "";
      let mine = 0;
      for await (const chunk of child.stdout) {
        text += new TextDecoder().decode(chunk);
        const lines = text.split("\n");
        text = lines.pop() ?? "";
        for (const line of lines) {
          acknowledged.add(Number(line));
          if (++mine === killAfter) child.kill("SIGKILL");
        }
      }
      expect(await child.exited).not.toBe(0);
      expect(mine).toBeGreaterThanOrEqual(killAfter);
    }
    const engine = await openPglite(dataDir);
    const rows = await engine.query<{ id: number }>("select id from kept");
    const stored = new Set(rows.map((row) => row.id));
    expect([...acknowledged].filter((id) => !stored.has(id))).toEqual([]);
    await engine.close();
  });

  test("a second start on the folder is refused with the first one's pid, and taken over after kill -9", async () => {
    const dataDir = newFolder();
    const child = Bun.spawn([process.execPath, writer, dataDir, "0"], { stdout: "pipe", stderr: "inherit" });
    const reader = child.stdout.getReader();
    await reader.read();
    const refused = await openPglite(dataDir).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(FolderLocked);
    expect((refused as FolderLocked).pid).toBe(child.pid);
    expect(String(refused)).toContain(String(child.pid));
    child.kill("SIGKILL");
    await child.exited;
    expect(JSON.parse(readFileSync(join(dataDir, "lock"), "utf8"))).toMatchObject({ pid: child.pid });
    const engine = await openPglite(dataDir);
    expect(await failure(openPglite(dataDir))).toBeInstanceOf(FolderLocked);
    await engine.close();
    expect(existsSync(join(dataDir, "lock"))).toBe(false);
    await (await openPglite(dataDir)).close();
  });

  test("a lock file whose pid now belongs to another process is stale", () => {
    const dataDir = newFolder();
    mkdirSync(dataDir);
    writeFileSync(join(dataDir, "lock"), JSON.stringify({ pid: 1, started: "another boot:1" }));
    lockFolder(dataDir).release();
    const started = readFileSync("/proc/1/stat", "utf8").split(") ")[1]?.split(" ")[19];
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    writeFileSync(join(dataDir, "lock"), JSON.stringify({ pid: 1, started: `${boot}:${started}` }));
    expect(() => lockFolder(dataDir)).toThrow(FolderLocked);
  });

  test("a half unpacked folder of a start that was killed is replaced", async () => {
    const dataDir = newFolder();
    mkdirSync(join(dataDir, "db.unpack-1/base"), { recursive: true });
    const engine = await openPglite(dataDir);
    expect(await engine.migrate()).toEqual([]);
    await engine.close();
    expect(readdirSync(dataDir).sort()).toEqual(["db", "lock.db"]);
  });

  test("a folder that is no database is told, not overwritten, and the lock is given back", async () => {
    const dataDir = newFolder();
    mkdirSync(join(dataDir, "db"), { recursive: true });
    writeFileSync(join(dataDir, "db/precious"), "x");
    expect(await failure(openPglite(dataDir))).toMatchObject({ code: "SERVICE_UNAVAILABLE" });
    expect(readdirSync(join(dataDir, "db"))).toEqual(["precious"]);
    lockFolder(dataDir).release();
  });

  test("the folder that db.current names is opened", async () => {
    const dataDir = newFolder();
    const first = await openPglite(dataDir);
    await first.execute("create table original (id int)");
    await first.close();
    Bun.spawnSync(["cp", "-r", join(dataDir, "db"), join(dataDir, "db-copy")]);
    writeFileSync(join(dataDir, "db.current"), "db-copy\n");
    const second = await openPglite(dataDir);
    await second.execute("drop table original");
    await second.close();
    rmSync(join(dataDir, "db.current"));
    const third = await openPglite(dataDir);
    expect(await third.query("select count(*) as n from original")).toMatchObject([{ n: 0 }]);
    await third.close();
    writeFileSync(join(dataDir, "db.current"), "../elsewhere");
    expect(String(await failure(openPglite(dataDir)))).toContain("db.current");
  });

  test("after close statements are refused with 503", async () => {
    const engine = await openPglite(newFolder(), false);
    await engine.close();
    expect(await failure(engine.query("select 1"))).toMatchObject({ code: "SERVICE_UNAVAILABLE" });
    expect(await failure(engine.transaction(async () => 1))).toMatchObject({ details: { service: "database" } });
  });

  test("the event loop keeps turning while a slow query runs", async () => {
    const engine = await openPglite(newFolder(), false);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    await engine.query("select count(*) from generate_series(1, 3000000)");
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(10);
    await engine.close();
  });
});

describe("migrations", () => {
  const one = {
    name: "0000_one",
    sql: "create table m1 (id int);\n--> statement-breakpoint\ncreate table m2 (id int);",
  };
  const two = { name: "0001_two", sql: "create table m3 (id int)" };
  const broken = {
    name: "0001_two",
    sql: "create table m3 (id int);\n--> statement-breakpoint\ncreate table m1 (id int)",
  };

  test("each is one transaction; a changed or an unknown one stops the start", async () => {
    const engine = await openPglite(newFolder(), false);
    await engine.execute("drop table schema_migrations");
    expect(String(await failure(applyMigrations(engine, silentLog, [one, broken])))).toContain("m1");
    expect(
      await engine.query("select to_regclass('m1') is not null as m1, to_regclass('m3') is null as m3"),
    ).toMatchObject([{ m1: true, m3: true }]);
    expect(await applyMigrations(engine, silentLog, [one, two])).toEqual(["0001_two"]);
    expect(String(await failure(applyMigrations(engine, silentLog, [one])))).toContain("newer version");
    const changed = [{ ...one, sql: "select 1" }, two];
    expect(String(await failure(applyMigrations(engine, silentLog, changed)))).toContain("other content");
    await engine.close();
  });
});

const server = await startPostgres();
describe.skipIf(!server)("PostgreSQL", () => {
  if (!server) return;
  afterAll(() => server.stop());
  const open = async (database: string, role?: string, pool = 8) =>
    openDatabase({ url: await server.database(database, role), dataDir: root, pool, sync: true, log: silentLog });

  databaseContract(
    "with the contract",
    () => open("contract"),
    () => open("contract"),
  );

  test("two processes that migrate one empty database at the same time apply each migration once", async () => {
    const url = await server.database("together");
    const script = join(import.meta.dir, "../support/database-migrator.ts");
    const children = [1, 2, 3].map(() =>
      Bun.spawn([process.execPath, script, url], { stdout: "pipe", stderr: "inherit" }),
    );
    const lists = await Promise.all(children.map((child) => new Response(child.stdout).json() as Promise<string[]>));
    const engine = await open("together");
    const rows = await engine.query<{ name: string }>("select name from schema_migrations order by name");
    expect(lists.flat().sort()).toEqual(rows.map((row) => row.name));
    expect(rows.length).toBeGreaterThan(0);
    await engine.close();
  });

  test("an odd database name and a role that owns nothing are enough", async () => {
    const name = 'Odd näme "x" 100%';
    await server.database(name);
    await server.admin(name, "create role guest login; grant create, usage on schema public to guest");
    const engine = await open(name, "guest");
    expect((await engine.migrate()).length).toBeGreaterThan(0);
    expect(await engine.query("select current_database() as name, current_user as role")).toMatchObject([
      { name, role: "guest" },
    ]);
    await engine.close();
  });

  test("no statement is compiled, also none that the planner takes for huge", async () => {
    const engine = await open("compiled");
    const lines = await engine.query<{ "QUERY PLAN": string }>(
      "explain analyze select count(*) from generate_series(1, 10) a, (select from generate_series(1, 10) limit 1) b where exists (with recursive r(n) as (select 1 union select n + 1 from r, generate_series(1, 1000) where n < 3) select from r x, r y, r z where x.n = a)",
    );
    expect(lines.some((line) => line["QUERY PLAN"].includes("JIT"))).toBe(false);
    expect(await engine.query("show jit")).toMatchObject([{ jit: "off" }]);
    await engine.close();
  });

  test("deadlocks are resolved by running one of the two again", async () => {
    const engine = await open("deadlock");
    await engine.execute("create table t (id int primary key, n int not null); insert into t values (1, 0), (2, 0)");
    const both = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let runs = 0;
    const cross = (first: number, second: number, own: number) =>
      engine.transaction(async (tx) => {
        runs++;
        await tx.execute(`update t set n = n + 1 where id = ${first}`);
        both[own]?.resolve();
        await Promise.all(both.map((gate) => gate.promise));
        await tx.execute(`update t set n = n + 1 where id = ${second}`);
      });
    await Promise.all([cross(1, 2, 0), cross(2, 1, 1)]);
    expect(await engine.query("select n from t")).toMatchObject([{ n: 2 }, { n: 2 }]);
    expect(runs).toBe(3);
    await engine.close();
  });

  test("an unreachable server, a wrong database and a lost connection are 503 database", async () => {
    const away = { code: "SERVICE_UNAVAILABLE", details: { service: "database" } };
    const nowhere = await openDatabase({
      url: "postgres://u@127.0.0.1:1/x",
      dataDir: root,
      pool: 2,
      sync: true,
      log: silentLog,
    });
    const error = await nowhere.query("select 1").catch((refusal: unknown) => refusal);
    expect(error).toBeInstanceOf(AppError);
    expect(error).toMatchObject(away);
    expect(await failure(nowhere.transaction(async () => 1))).toMatchObject(away);
    expect(await failure(nowhere.ping())).toMatchObject(away);
    expect(await failure(nowhere.listen("x", () => undefined))).toMatchObject(away);
    await nowhere.close();

    const engine = await open("lost");
    await engine.execute("create table t (id int)");
    const end =
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'lost' and pid <> pg_backend_pid()";
    const rejected = await engine
      .transaction(async (tx) => {
        await tx.execute("insert into t values (1)");
        await server.admin("postgres", end);
        await Bun.sleep(20);
        await tx.execute("insert into t values (2)");
      })
      .catch((refusal: unknown) => refusal);
    expect(rejected).toMatchObject(away);
    expect(await engine.query("select count(*) as n from t")).toMatchObject([{ n: 0 }]);
    await engine.close();
  });

  test("listeners hear again after their connection was lost", async () => {
    const engine = await open("relisten");
    const heard: string[] = [];
    let restored = 0;
    await engine.listen(
      "c",
      (payload) => heard.push(payload),
      () => {
        restored += 1;
      },
    );
    await server.admin(
      "postgres",
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'relisten' and query ilike 'listen%'",
    );
    for (let tries = 0; tries < 200 && heard.length === 0; tries++) {
      await engine.notify("c", "again");
      await Bun.sleep(20);
    }
    expect(heard[0]).toBe("again");
    expect(restored).toBe(1);
    // Also while it is being made anew, on several channels.
    await engine.listen("d", (payload) => heard.push(payload));
    for (let round = 0; round < 20; round++) {
      await server.admin(
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'relisten' and application_name = 'botserver' and query not ilike '%pg_notify%'",
      );
      await Bun.sleep(round);
    }
    heard.length = 0;
    for (let tries = 0; tries < 200 && !(heard.includes("c") && heard.includes("d")); tries++) {
      for (const channel of ["c", "d"]) await engine.notify(channel, channel).catch(() => undefined);
      await Bun.sleep(20);
    }
    expect(heard).toContain("c");
    expect(heard).toContain("d");
    await engine.close();
  });

  test("a connection for notifications that hangs is replaced", async () => {
    const engine = await open("hanging");
    const heard: string[] = [];
    const restored = Promise.withResolvers<void>();
    await engine.listen("c", (payload) => heard.push(payload), restored.resolve);
    const [row] = await engine.query<{ pid: number }>(
      "select pid from pg_stat_activity where datname = 'hanging' and query ilike 'listen%'",
    );
    const pid = row?.pid ?? 0;
    process.kill(pid, "SIGSTOP");
    try {
      await restored.promise;
      await engine.notify("c", "heard");
      for (let tries = 0; tries < 100 && heard.length === 0; tries++) await Bun.sleep(10);
      expect(heard).toEqual(["heard"]);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await engine.close();
  }, 30_000);
});
