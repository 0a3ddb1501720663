// What every database engine must do, as a function of an engine.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { count, eq, inArray, sql } from "drizzle-orm";
import { bigint, boolean, integer, jsonb, numeric, pgTable, text, timestamp, uuid } from "drizzle-orm/pg-core";
import { isAppError } from "../../src/core/errors.ts";
import { failure } from "../support/failure.ts";
import { faultOf, isForeignKeyViolation, isTransient, isUniqueViolation } from "../../src/engines/database/faults.ts";
import type { DatabaseEngine } from "../../src/engines/database/index.ts";

const things = pgTable("contract_things", {
  id: uuid().primaryKey().defaultRandom(),
  label: text().unique("contract_things_label"),
  big: bigint({ mode: "number" }),
  isOn: boolean(),
  price: numeric({ precision: 12, scale: 2 }),
  data: jsonb().$type<{ a: unknown }>(),
  tags: text().array(),
  madeAt: timestamp({ withTimezone: true }).notNull().defaultNow(),
  hits: integer().notNull().default(0),
});

async function until(condition: () => boolean, timeoutMs = 3_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!condition() && performance.now() < end) await Bun.sleep(5);
  expect(condition()).toBe(true);
}

/** `open` gives an engine on an empty database; `again` another engine on the same one, where that is possible. */
export function databaseContract(
  name: string,
  open: () => Promise<DatabaseEngine>,
  again: (() => Promise<DatabaseEngine>) | null,
): void {
  describe(name, () => {
    let engine: DatabaseEngine;
    const labels = async () =>
      (await engine.db.select({ label: things.label }).from(things)).map((row) => String(row.label));
    const clear = () => engine.db.delete(things);

    beforeAll(async () => {
      engine = await open();
      await engine.execute(`
        create table contract_things (
          id uuid primary key default gen_random_uuid(), label text constraint contract_things_label unique,
          big bigint, is_on boolean, price numeric(12,2), data jsonb, tags text[],
          made_at timestamptz not null default now(), hits integer not null default 0);
        create table contract_parts (id integer primary key, thing_id uuid constraint contract_parts_thing references contract_things);`);
    });
    afterAll(() => engine.close());

    test("migrations run on an empty database, and a second run applies nothing", async () => {
      const first = await engine.migrate();
      expect(await engine.migrate()).toEqual([]);
      const rows = await engine.query("select name, hash, applied_at from schema_migrations order by name");
      expect(rows.length).toBeGreaterThan(0);
      expect(rows[0]?.["applied_at"]).toBeInstanceOf(Date);
      expect(rows.map((row) => row["name"])).toEqual(expect.arrayContaining(first));
    });

    test("values of every used type come back through the builder as they went in", async () => {
      const madeAt = new Date("2026-03-29T01:30:00.123Z");
      const value = {
        label: "Ä'\"\\ 🙂",
        big: 9_007_199_254_740_991,
        isOn: true,
        price: "1234567890.10",
        data: { a: ["x", null, { b: 1.5 }] },
        tags: ["a,b", '"q"', "NULL", ""],
        madeAt,
      };
      const [row] = await engine.db.insert(things).values(value).returning();
      expect(row).toMatchObject(value);
      const [read] = await engine.db.select().from(things).where(eq(things.label, value.label));
      expect(read).toMatchObject(value);
      await clear();
    });

    test("plain queries give the same JavaScript values on both engines", async () => {
      const [row] = await engine.query(
        `select $1::int as i, $2::bigint as b, $3::numeric as n, $4::boolean as t, $5::jsonb as j, $6::timestamptz as z,
                $7::text[] as s, $8::bytea as y, $9::text as nothing, count(*) as c, 2.5::float8 as f, '2026-01-02'::date as d`,
        [1, "12", "1.50", false, { k: [1] }, new Date(0), ["a", 'b"', null], new Uint8Array([0, 255]), null],
      );
      expect(row).toEqual({
        i: 1,
        b: 12,
        n: "1.50",
        t: false,
        j: { k: [1] },
        z: new Date(0),
        s: ["a", 'b"', null],
        y: Buffer.from([0, 255]),
        nothing: null,
        c: 1,
        f: 2.5,
        d: "2026-01-02",
      });
    });

    test("one statement text takes values of different JavaScript types", async () => {
      for (const value of [1, "2", 3n, null]) {
        const [row] = await engine.query("select $1::bigint + 1 as n", [value]);
        expect(row?.["n"] as number | null).toBe(value === null ? null : Number(value) + 1);
      }
      const [row] = await engine.query("select id from contract_things where is_on = any($1)", [[true, false]]);
      expect(row).toBeUndefined();
    });

    test("a changed table is seen by statements that were run before the change", async () => {
      await engine.execute("create table contract_changing (a integer); insert into contract_changing values (1)");
      expect(await engine.query("select * from contract_changing")).toMatchObject([{ a: 1 }]);
      await engine.execute("alter table contract_changing add column b text default 'x'");
      expect(await engine.query("select * from contract_changing")).toMatchObject([{ a: 1, b: "x" }]);
      await engine.execute("drop table contract_changing");
    });

    test("the number of changed rows stands beside the rows", async () => {
      await engine.db.insert(things).values([{ label: "1" }, { label: "2" }, { label: "3" }]);
      expect(
        (
          await engine.db
            .update(things)
            .set({ hits: 1 })
            .where(inArray(things.label, ["1", "2"]))
        ).rowCount,
      ).toBe(2);
      const raw = await engine.db.execute<{ n: number }>(sql`select count(*) as n from ${things}`);
      expect(raw[0]?.n).toBe(3);
      expect(await engine.db.$count(things)).toBe(3);
      expect((await engine.db.delete(things)).rowCount).toBe(3);
    });

    test("a throw rolls everything back; a return commits it", async () => {
      const thrown = new Error("no");
      expect(
        await failure(
          engine.transaction(async (tx) => {
            await tx.insert(things).values({ label: "lost" });
            throw thrown;
          }),
        ),
      ).toBe(thrown);
      expect(await labels()).toEqual([]);
      expect(
        await engine.transaction(async (tx) => {
          await tx.insert(things).values({ label: "kept" });
          return 7;
        }),
      ).toBe(7);
      expect(await labels()).toEqual(["kept"]);
      await clear();
    });

    test("afterCommit runs after a commit only, in order, and its failure does not reach the caller", async () => {
      const seen: unknown[] = [];
      await failure(
        engine.transaction(async (_tx, afterCommit) => {
          afterCommit(() => void seen.push("rolled back"));
          throw new Error("no");
        }),
      );
      await engine.transaction(async (tx, afterCommit) => {
        afterCommit(async () => {
          seen.push(await labels());
        });
        afterCommit(() => {
          throw new Error("a broken listener");
        });
        afterCommit(() => void seen.push("last"));
        await tx.insert(things).values({ label: "visible" });
        expect(seen).toEqual([]);
      });
      expect(seen).toEqual([["visible"], "last"]);
      await clear();
    });

    test("the outer database inside an open transaction throws instead of waiting for ever", async () => {
      await engine.transaction(async (tx) => {
        await tx.insert(things).values({ label: "inner" });
        for (const use of [
          async () => engine.db.select().from(things),
          () => engine.query("select 1"),
          () => engine.execute("select 1"),
          () => engine.transaction(async () => 1),
        ]) {
          const error = await failure(use());
          expect(isAppError(error)).toBe(false);
          expect(String(error)).toContain("outer database");
        }
      });
      expect(await labels()).toEqual(["inner"]);
      await clear();
    });

    test("work started in a transaction and running on after it may use the outer database", async () => {
      let later: Promise<unknown> = Promise.resolve();
      const gate = Promise.withResolvers<void>();
      await engine.transaction(async (tx) => {
        await tx.execute(sql`select 1`);
        later = gate.promise.then(() => engine.query("select 1 as one"));
      });
      gate.resolve();
      expect(await later).toMatchObject([{ one: 1 }]);
    });

    test("a transaction's handle is refused after its end", async () => {
      const tx = await engine.transaction(async (handle) => handle);
      expect(String(await failure(tx.execute(sql`select 1`)))).toContain("already ended");
    });

    test("a refused statement dooms the transaction even when the error is swallowed", async () => {
      const error = await failure(
        engine.transaction(async (tx) => {
          await tx.insert(things).values({ label: "doomed" });
          await failure(tx.execute(sql`select 1 / 0`));
        }),
      );
      expect(faultOf(error)?.code).toBe("22012");
      expect(await labels()).toEqual([]);
    });

    test("a savepoint confines a refusal, also nested", async () => {
      await engine.transaction(async (tx) => {
        await tx.insert(things).values({ label: "a" });
        await failure(
          tx.transaction(async (inner) => {
            await inner.insert(things).values({ label: "b" });
            await inner.transaction(async (deep) => {
              await deep.insert(things).values({ label: "c" });
            });
            await failure(inner.transaction((deep) => deep.insert(things).values({ label: "a" })));
            await inner.insert(things).values({ label: "d" });
            await inner.insert(things).values({ label: "a" });
          }),
        );
        await tx.transaction((inner) => inner.insert(things).values({ label: "e" }));
      });
      expect((await labels()).toSorted()).toEqual(["a", "e"]);
      await clear();
    });

    test("refusals are told apart, with the name of the constraint and without parameters", async () => {
      await engine.db.insert(things).values({ label: "private words" });
      const unique = await failure(engine.db.insert(things).values({ label: "private words" }));
      expect(isUniqueViolation(unique)).toBe(true);
      expect(isUniqueViolation(unique, "contract_things_label")).toBe(true);
      expect(isUniqueViolation(unique, "contract_things_pkey")).toBe(false);
      expect(String(unique)).not.toContain("private words");
      const missing = await failure(engine.query("insert into contract_parts values (1, gen_random_uuid())"));
      expect(isForeignKeyViolation(missing, "contract_parts_thing")).toBe(true);
      expect(isUniqueViolation(missing)).toBe(false);
      expect(isUniqueViolation(new Error("other"))).toBe(false);
      await clear();
    });

    test("serialization failures are run again and then succeed", async () => {
      let runs = 0;
      const actions: number[] = [];
      const value = await engine.transaction(async (tx, afterCommit) => {
        runs++;
        const run = runs;
        afterCommit(() => void actions.push(run));
        await tx.insert(things).values({ label: `run ${runs}` });
        if (runs < 3) await tx.execute(sql.raw("do $$ begin raise exception 'again' using errcode = '40001'; end $$"));
        return runs;
      });
      expect(value).toBe(3);
      expect(actions).toEqual([3]);
      expect(await labels()).toEqual(["run 3"]);
      runs = 0;
      const error = await failure(
        engine.transaction(async (tx) => {
          runs++;
          await tx.execute(sql.raw("do $$ begin raise exception 'again' using errcode = '40P01'; end $$"));
        }),
      );
      expect(isTransient(error)).toBe(true);
      expect(runs).toBe(4);
      await clear();
    });

    test("100 concurrent read-modify-write transactions lose no update", async () => {
      const [row] = await engine.db.insert(things).values({ label: "counter" }).returning();
      const id = row?.id ?? "";
      await Promise.all(
        Array.from({ length: 100 }, () =>
          engine.transaction(async (tx) => {
            const [now] = await tx.select({ hits: things.hits }).from(things).where(eq(things.id, id)).for("update");
            await tx
              .update(things)
              .set({ hits: (now?.hits ?? 0) + 1 })
              .where(eq(things.id, id));
          }),
        ),
      );
      expect(await engine.db.select({ hits: things.hits }).from(things)).toEqual([{ hits: 100 }]);
      await clear();
    });

    test("statements and transactions issued together all end, none inside another's transaction", async () => {
      const jobs: Promise<unknown>[] = [];
      for (let i = 0; i < 60; i++) {
        if (i % 3 === 0) {
          jobs.push(
            failure(
              engine.transaction(async (tx) => {
                await tx.insert(things).values({ label: `rolled ${i}` });
                await Bun.sleep(0);
                throw new Error("back");
              }),
            ),
          );
        } else jobs.push(Promise.resolve(engine.db.insert(things).values({ label: `kept ${i}` })));
      }
      await Promise.all(jobs);
      const [row] = await engine.db.select({ n: count() }).from(things);
      expect(row?.n).toBe(40);
      await clear();
    });

    test("a notification reaches listeners, from a transaction only after its commit", async () => {
      const heard: string[] = [];
      const stop = await engine.listen("contract_chan", (payload) => heard.push(payload));
      await engine.notify("contract_chan", "plain");
      await until(() => heard.length === 1);
      await failure(
        engine.transaction(async () => {
          await engine.notify("contract_chan", "rolled back");
          throw new Error("no");
        }),
      );
      await engine.transaction(async (tx) => {
        await engine.notify("contract_chan", "from a transaction");
        await tx.execute(sql`select 1`);
        expect(heard).toEqual(["plain"]);
      });
      await until(() => heard.length === 2);
      await engine.notify("contract_chan", "x".repeat(7_900));
      await until(() => heard.length === 3);
      expect(heard.slice(0, 2)).toEqual(["plain", "from a transaction"]);
      expect(String(await failure(engine.notify("contract_chan", "x".repeat(7_901))))).toContain("7900");
      await stop();
      await engine.notify("contract_chan", "unheard");
      await engine.query("select 1");
      expect(heard.length).toBe(3);
    });

    if (again) {
      test("a notification reaches other instances", async () => {
        const other = await again();
        const heard: string[] = [];
        await other.listen("contract_other", (payload) => heard.push(payload));
        await engine.notify("contract_other", "hello");
        await until(() => heard.length === 1);
        expect(heard).toEqual(["hello"]);
        await other.close();
      });
    }

    test("a script runs all its statements, or none of them", async () => {
      await failure(engine.execute("insert into contract_things (label) values ('s1'); select 1/0"));
      expect(await labels()).toEqual([]);
      await engine.execute(
        "insert into contract_things (label) values ('s1'); insert into contract_things (label) values ('s2')",
      );
      expect((await labels()).toSorted()).toEqual(["s1", "s2"]);
      await clear();
    });

    test("a large result and a large parameter pass whole", async () => {
      const long = "é".repeat(1_500_000);
      await engine.db.insert(things).values({ label: null, data: { a: long } });
      const [row] = await engine.db.select().from(things);
      expect(row?.data?.a === long).toBe(true);
      const many = await engine.query("select i, repeat('x', 100) as t from generate_series(1, 20000) i");
      expect(many.length).toBe(20_000);
      await clear();
    });

    test("ping tells version and latency", async () => {
      const health = await engine.ping();
      expect(Number.parseInt(health.version)).toBeGreaterThanOrEqual(15);
      expect(health.latencyMs).toBeGreaterThan(0);
    });
  });
}
