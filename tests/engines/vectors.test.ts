// The passage index: exactness, rights, BM25 by hand, changes of this and of other instances.

import { afterAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { kbCollections, kbDocuments } from "../../src/areas/knowledge/model.ts";
import { passageId } from "../../src/areas/knowledge/passages.ts";
import type { PassageHit, PassageQuery, Reader } from "../../src/engines/vectors/index.ts";
import { Dictionary, passageTerms, Postings } from "../../src/engines/vectors/postings.ts";
import { admission } from "../../src/engines/vectors/rights.ts";
import { VectorSpace } from "../../src/engines/vectors/space.ts";
import { openEmbedding } from "../../src/engines/embedding/open.ts";
import { uuidv7 } from "../../src/lib/ids/index.ts";
import { silentLog } from "../../src/core/log.ts";
import { openDatabase } from "../../src/engines/database/open.ts";
import { startPostgres } from "../support/postgres.ts";
import { startEmbeddingServer } from "../support/embedding-server.ts";
import { openPassageBench, type PassageBench } from "../support/passages.ts";

let seed = 7;
function random(): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return seed / 2 ** 32;
}
function unit(values: Float32Array): Float32Array {
  const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return values.map((value) => value / norm);
}
const randomUnit = (dimensions: number) => unit(Float32Array.from({ length: dimensions }, () => random() - 0.5));
const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);

const ANYBODY: Reader = { userId: null, email: null, roles: [], groups: [], isAdmin: false };
const SPARSE = { stemming: true, dropStopWords: true, k1: 1.2, b: 0.75, limit: 50 };

describe("vectors", () => {
  test.each([1, 8, 31, 512, 1536])("cosines of %d dimensions are right to 5e-5", (dimensions) => {
    const space = new VectorSpace(dimensions);
    const vectors = Array.from({ length: 300 }, () => randomUnit(dimensions));
    const rows = Int32Array.from(vectors, (vector) => space.add(vector));
    const query = randomUnit(dimensions);
    const cosines = space.cosines(query, rows);
    for (const [index, vector] of vectors.entries()) {
      expect(Math.abs((cosines[index] ?? 9) - dot(vector, query))).toBeLessThan(5e-5);
    }
  });

  test("rows that are given back hold other vectors without traces of the former", () => {
    const space = new VectorSpace(4);
    const [first, second] = [space.add(Float32Array.of(1, 0, 0, 0)), space.add(Float32Array.of(0, 1, 0, 0))];
    space.remove(first);
    const third = space.add(Float32Array.of(0, 0, 1, 0));
    expect([third, space.count]).toEqual([first, 2]);
    const cosines = space.cosines(Float32Array.of(1, 0, 0, 0), Int32Array.of(third, second));
    expect([...cosines]).toEqual([0, 0]);
  });

  test("more rows than one call of the kernel takes are all scanned, each once", () => {
    const space = new VectorSpace(8);
    const vectors = Array.from({ length: 9001 }, () => randomUnit(8));
    for (const vector of vectors) space.add(vector);
    const rows = Int32Array.from(vectors, (_, index) => vectors.length - 1 - index);
    const query = randomUnit(8);
    const cosines = space.cosines(query, rows);
    expect(cosines.length).toBe(9001);
    for (const index of [0, 4095, 4096, 9000]) {
      expect(cosines[index]).toBeCloseTo(dot(vectors[9000 - index] ?? query, query), 4);
    }
    expect(space.cosines(query, new Int32Array(0)).length).toBe(0);
  });

  test("recall@10 against an exact scan is 0.99 or more, for dense vectors that lie close together", () => {
    const space = new VectorSpace(384);
    const centre = randomUnit(384);
    const vectors = Array.from({ length: 5000 }, () =>
      unit(randomUnit(384).map((value, at) => value + 3 * (centre[at] ?? 0))),
    );
    const rows = Int32Array.from(vectors, (vector) => space.add(vector));
    let found = 0;
    for (let turn = 0; turn < 20; turn++) {
      const query = unit(randomUnit(384).map((value, at) => value + 3 * (centre[at] ?? 0)));
      const nearest = (scores: ArrayLike<number>) =>
        Array.from({ length: scores.length }, (_, index) => index)
          .toSorted((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0))
          .slice(0, 10);
      const exact = nearest(vectors.map((vector) => dot(vector, query)));
      const ours = new Set(nearest(space.cosines(query, rows)));
      found += exact.filter((index) => ours.has(index)).length;
    }
    expect(found / 200).toBeGreaterThanOrEqual(0.99);
  });
});

describe("words", () => {
  test("lists and loose passages together give each passage once, through rebuilds, removals and reuse of numbers", () => {
    const postings = new Postings();
    const alive = new Map<number, Map<number, number>>();
    const free: number[] = [];
    const scratch = new Uint32Array(50);
    const check = () => {
      for (let term = 0; term < 50; term++) {
        const seen = new Map<number, number>();
        postings.visit(term, (slot, frequency) => {
          if (!alive.has(slot)) return;
          expect(seen.has(slot)).toBe(false);
          seen.set(slot, frequency);
        });
        const expected = [...alive]
          .filter(([, terms]) => terms.has(term))
          .map(([slot, terms]) => [slot, terms.get(term)]);
        expect([...seen].toSorted((a, b) => a[0] - b[0])).toEqual(
          expected.toSorted((a, b) => (a[0] ?? 0) - (b[0] ?? 0)) as never,
        );
      }
    };
    let next = 0;
    for (let step = 0; step < 600; step++) {
      if (random() < 0.65) {
        const slot = free.pop() ?? next++;
        const terms = new Map(
          Array.from({ length: 5 }, () => [Math.floor(random() * 50), 1 + Math.floor(random() * 9)]),
        );
        alive.set(slot, terms);
        postings.add(slot, passageTerms([...terms]));
      } else {
        const slots = [...alive.keys()];
        const slot = slots[Math.floor(random() * slots.length)];
        if (slot !== undefined) {
          alive.delete(slot);
          if (postings.remove(slot)) free.push(slot);
        }
      }
      if (postings.isDueForRebuild) free.push(...postings.rebuild(scratch, (slot) => alive.has(slot)));
      if (step % 100 === 99) check();
    }
    check();
    expect(scratch.every((count) => count === 0)).toBe(true);
  });

  test("a term that is swept is forgotten, and its number used again", () => {
    const dictionary = new Dictionary();
    const ids = ["a", "b", "c"].map((term) => dictionary.id(term));
    dictionary.sweep(Uint8Array.of(1, 0, 1));
    expect([dictionary.find("a"), dictionary.find("b"), dictionary.id("d")]).toEqual([
      ids[0],
      undefined,
      ids[1],
    ] as never);
  });
});

describe("rights", () => {
  const rights = {
    level: "none",
    visibility: "none",
    roles: ["hr"],
    groups: ["g1"],
    users: ["u1", "ann@example.org"],
  } as const;
  const somebody: Reader = { ...ANYBODY, userId: "u9", email: "bob@example.org" };

  test.each([
    ["all", ANYBODY, 2],
    ["authenticated", ANYBODY, 0],
    ["authenticated", somebody, 2],
    ["role_based", somebody, 0],
    ["role_based", { ...somebody, roles: ["hr"] }, 2],
    ["role_based", { ...somebody, roles: ["HR"] }, 0],
    ["role_based", { ...ANYBODY, roles: ["hr"] }, 0],
    ["group_based", { ...somebody, groups: ["g1"] }, 2],
    ["user_based", { ...somebody, userId: "u1" }, 2],
    ["user_based", { ...somebody, email: "ANN@example.org" }, 2],
    ["none", { ...somebody, userId: "u1", roles: ["hr"], groups: ["g1"] }, 0],
    ["none", { ...ANYBODY, isAdmin: true }, 2],
  ] as const)("%s for %j is %d", (level, reader, expected) => {
    expect(admission({ ...rights, level }, reader)).toBe(expected);
  });

  test("visibility shows the title and no more", () => {
    expect(admission({ ...rights, visibility: "all" }, ANYBODY)).toBe(1);
    expect(admission({ ...rights, visibility: "role_based" }, somebody)).toBe(0);
  });
});

describe("over a database", () => {
  let bench: PassageBench;
  const opened: Promise<void> = openPassageBench().then((made) => {
    bench = made;
  });
  const botId = uuidv7();
  afterAll(() => bench.close());

  async function search(
    collectionIds: string[],
    text: string,
    options: Partial<PassageQuery> & { index?: PassageBench["vectors"] } = {},
  ) {
    const { index = bench.vectors, ...rest } = options;
    const [vector] = await bench.embedding.embed([text], "query");
    return index.search({
      collections: await bench.marks(...collectionIds),
      reader: ANYBODY,
      withTitles: false,
      dense: vector ? { vectors: [{ model: bench.embedding.model, vector }], limit: 50 } : null,
      sparse: { ...SPARSE, text },
      ...rest,
    });
  }
  const documents = (hits: readonly PassageHit[]) => hits.map(({ documentId }) => documentId);

  test("BM25 is what the formula says, by hand", async () => {
    await opened;
    const collection = await bench.collection(botId, "bm25");
    const texts = ["pump pump garden", "pump", "hose reel", "garden hose and rain barrel"];
    const id = await bench.put(collection, { title: "x", language: "en", passages: texts });
    const { sparse } = await search([collection], "garden pumps");
    // The title is one word of each passage.
    const lengths = [4, 2, 3, 6];
    const average = lengths.reduce((a, b) => a + b) / 4;
    const gain = (frequency: number, length: number, holders: number) =>
      (Math.log(1 + (4 - holders + 0.5) / (holders + 0.5)) * frequency * 2.2) /
      (frequency + 1.2 * (1 - 0.75 + (0.75 * length) / average));
    const expected = [
      [0, gain(2, 4, 2) + gain(1, 4, 2)],
      [1, gain(1, 2, 2)],
      [3, gain(1, 6, 2)],
    ] as const;
    expect(sparse.map(({ chunkId }) => chunkId)).toEqual(expected.map(([ordinal]) => passageId(id, 1, ordinal)));
    for (const [index, [, score]] of expected.entries())
      expect(Math.abs((sparse[index]?.score ?? 0) - score)).toBeLessThan(1e-9);
  });

  test("stemming and stop words can be switched off", async () => {
    const collection = await bench.collection(botId, "switches");
    await bench.put(collection, { title: "t", language: "en", passages: ["The pump is here", "the pumps"] });
    const count = async (text: string, change: Partial<typeof SPARSE>) =>
      (await search([collection], text, { dense: null, sparse: { ...SPARSE, text, ...change } })).sparse.length;
    expect([await count("pumps", {}), await count("pumps", { stemming: false })]).toEqual([2, 1]);
    expect([await count("the", {}), await count("the", { dropStopWords: false })]).toEqual([0, 2]);
  });

  test("rights hold inside the search: a limit is filled with what may be seen", async () => {
    const collection = await bench.collection(botId, "rights");
    const passages = Array.from({ length: 30 }, (_, index) => `salary of grade ${index}`);
    await bench.put(collection, { title: "hr", passages, level: "role_based", roles: ["hr"] });
    const open = await bench.put(collection, { title: "open", passages: ["salary is paid monthly", "nothing here"] });
    const shown = await bench.put(collection, {
      title: "shown",
      passages: ["salary bands"],
      level: "none",
      visibility: "all",
    });

    const anonymous = await search([collection], "salary", {
      dense: null,
      sparse: { ...SPARSE, text: "salary", limit: 2 },
    });
    expect(documents(anonymous.sparse)).toEqual([open]);
    const titled = await search([collection], "salary", { withTitles: true });
    expect(new Set(documents([...titled.dense, ...titled.sparse]))).toEqual(new Set([open, shown]));
    expect(titled.sparse.map(({ documentId, isOpen }) => [documentId === open, isOpen])).toEqual(
      titled.sparse.map(({ documentId }) => [documentId === open, documentId === open]),
    );
    const inside = await search([collection], "salary", { reader: { ...ANYBODY, userId: "u", roles: ["hr"] } });
    expect(inside.sparse.length).toBe(31);
    expect(inside.candidates).toBe(32);
  });

  test("equal rights give equal fingerprints, whoever one is; other rights others", async () => {
    const collection = await bench.collection(botId, "prints");
    await bench.put(collection, { title: "a", passages: ["x"], level: "role_based", roles: ["hr"] });
    await bench.put(collection, { title: "b", passages: ["y"], level: "authenticated" });
    const print = async (reader: Reader) => bench.vectors.fingerprint(await bench.marks(collection), reader);
    const [ann, bob] = [
      { ...ANYBODY, userId: "ann" },
      { ...ANYBODY, userId: "bob", roles: ["sales"] },
    ];
    expect(await print(ann)).toBe(await print(bob));
    expect(await print(ann)).not.toBe(await print(ANYBODY));
    expect(await print({ ...ann, roles: ["hr"] })).not.toBe(await print(ann));
    expect(await print({ ...ann, roles: ["hr"] })).toBe(await print({ ...ANYBODY, isAdmin: true }));
  });

  test("only the documents and passages named are searched, when they are", async () => {
    const collection = await bench.collection(botId, "only");
    const [a, b] = [
      await bench.put(collection, { title: "a", passages: ["blue pump", "red pump"] }),
      await bench.put(collection, { title: "b", passages: ["green pump"] }),
    ];
    expect(documents((await search([collection], "pump", { documentIds: [b] })).sparse)).toEqual([b]);
    expect((await search([collection], "pump", { documentIds: [] })).sparse).toEqual([]);
    const chunkIds = [passageId(a, 1, 1)];
    const { dense, sparse } = await search([collection], "pump", { chunkIds });
    expect([dense.map(({ chunkId }) => chunkId), sparse.map(({ chunkId }) => chunkId)]).toEqual([chunkIds, chunkIds]);
    const required = { ...SPARSE, text: "pump", required: ["red", "pump"] };
    expect((await search([collection], "pump", { sparse: required })).sparse.map(({ chunkId }) => chunkId)).toEqual(
      chunkIds,
    );
  });

  test("a change is seen by the next search on every instance, without being told", async () => {
    const collection = await bench.collection(botId, "changes");
    const id = await bench.put(collection, { title: "a", passages: ["old pump"] });
    const other = bench.another();
    expect(documents((await search([collection], "pump", { index: other })).sparse)).toEqual([id]);

    await bench.put(collection, { id, title: "a", passages: ["new hose"] });
    for (const index of [bench.vectors, other]) {
      expect((await search([collection], "pump", { index })).sparse).toEqual([]);
      expect((await search([collection], "hose", { index })).sparse.map(({ chunkId }) => chunkId)).toEqual([
        passageId(id, 2, 0),
      ]);
    }

    await bench.database.transaction(async (tx) => {
      const { changeSeq } = await bench.store.raise(tx, collection);
      await tx
        .update(kbDocuments)
        .set({ accessLevel: "none", indexVisibility: "none", changeSeq })
        .where(eq(kbDocuments.id, id));
    });
    expect((await search([collection], "hose", { index: other })).sparse).toEqual([]);
    expect(
      (await search([collection], "hose", { index: other, reader: { ...ANYBODY, isAdmin: true } })).sparse.length,
    ).toBe(1);

    await bench.database.transaction(async (tx) => {
      await bench.store.remove(tx, [id]);
      await tx.delete(kbDocuments).where(eq(kbDocuments.id, id));
    });
    const admin = { ...ANYBODY, isAdmin: true };
    for (const index of [bench.vectors, other])
      expect((await search([collection], "hose", { index, reader: admin })).sparse).toEqual([]);
    expect(await other.figures([collection])).toEqual([
      { id: collection, passages: 0, vectors: 0, bytes: expect.any(Number) as number },
    ]);
  });

  test("an instance that was away longer than removals are kept reads the collection anew", async () => {
    const collection = await bench.collection(botId, "away");
    const [gone, kept] = [
      await bench.put(collection, { title: "a", passages: ["pump one"] }),
      await bench.put(collection, { title: "b", passages: ["pump two"] }),
    ];
    const other = bench.another();
    expect((await search([collection], "pump", { index: other })).sparse.length).toBe(2);
    await bench.database.transaction(async (tx) => {
      await bench.store.remove(tx, [gone]);
      await tx.delete(kbDocuments).where(eq(kbDocuments.id, gone));
    });
    bench.clock.advance(25 * 3_600_000);
    expect(await bench.store.sweep()).toBeGreaterThan(0);
    await bench.put(collection, { title: "c", passages: ["hose"] });
    expect(documents((await search([collection], "pump", { index: other })).sparse)).toEqual([kept]);
  });

  test("a document that is moved is found where it is, and only there", async () => {
    const [from, to] = [await bench.collection(botId, "from"), await bench.collection(botId, "to")];
    const id = await bench.put(from, { title: "a", passages: ["pump", "hose"] });
    expect((await search([from], "pump")).sparse.length).toBe(1);
    await bench.database.transaction((tx) => bench.store.move(tx, [id], to));
    expect([(await search([from], "pump")).sparse.length, documents((await search([to], "pump")).sparse)]).toEqual([
      0,
      [id],
    ]);
    expect(documents((await search([from, to], "pump")).dense.slice(0, 1))).toEqual([id]);
    const rows = await bench.database.db.select().from(kbCollections);
    const counts = new Map(rows.map((row) => [row.id, row.chunksCount]));
    expect([counts.get(from), counts.get(to)]).toEqual([0, 2]);
  });

  test("a collection that is deleted is gone from the index", async () => {
    const collection = await bench.collection(botId, "deleted");
    await bench.put(collection, { title: "a", passages: ["pump"] });
    const marks = await bench.marks(collection);
    await bench.database.db.delete(kbCollections).where(eq(kbCollections.id, collection));
    bench.vectors.changed([collection]);
    const [vector] = await bench.embedding.embed(["pump"], "query");
    const query: PassageQuery = {
      collections: marks.map(({ id, seq }) => ({ id, seq: seq + 1 })),
      reader: ANYBODY,
      withTitles: false,
      dense: vector ? { vectors: [{ model: "lexical-v1", vector }], limit: 5 } : null,
      sparse: null,
    };
    expect((await bench.vectors.search(query)).dense).toEqual([]);
  });

  test("while a document is replaced again and again, every search sees one version whole", async () => {
    const collection = await bench.collection(botId, "replaced");
    const passages = (version: number) => Array.from({ length: 5 }, (_, part) => `pump version${version} part${part}`);
    const id = await bench.put(collection, { title: "a", passages: passages(1) });
    let isDone = false;
    const seen: string[] = [];
    const looking = (async () => {
      while (!isDone) {
        const { sparse } = await search([collection], "pump");
        const versions = new Set(
          sparse.map(({ chunkId }) =>
            [1, 2, 3, 4, 5, 6, 7, 8].find((version) =>
              [0, 1, 2, 3, 4].some((part) => passageId(id, version, part) === chunkId),
            ),
          ),
        );
        seen.push(`${[...versions].join("+")}:${sparse.length}`);
      }
    })();
    for (let version = 2; version <= 8; version++)
      await bench.put(collection, { id, title: "a", passages: passages(version) });
    isDone = true;
    await looking;
    expect(seen.filter((state) => !/^\d:5$/.test(state))).toEqual([]);
  });

  test("loading at start takes in everything; figures tell how much", async () => {
    const collection = await bench.collection(botId, "started");
    const id = await bench.put(collection, {
      title: "long",
      passages: Array.from({ length: 700 }, (_, row) => `row ${row} code Q-${10_000 + row}`),
    });
    const other = bench.another();
    await other.start();
    expect((await other.figures([collection]))[0]).toMatchObject({ passages: 700, vectors: 700 });
    const { sparse, dense } = await search([collection], "Q-10468", { index: other });
    const wanted = passageId(id, 1, 468);
    expect([sparse[0]?.chunkId, dense[0]?.chunkId]).toEqual([wanted, wanted]);
    expect((await other.ping()).latencyMs).toBeGreaterThanOrEqual(0);
  });

  test("a closed index is unavailable", async () => {
    const other = bench.another();
    await other.close();
    const asked = search([await bench.collection(botId, "closed")], "x", { index: other });
    expect(await asked.catch((error: unknown) => error)).toMatchObject({
      code: "SERVICE_UNAVAILABLE",
      details: { service: "vectors" },
    });
  });
});

describe("another embedding model", () => {
  test("is built beside the searched one and taken when it is whole", async () => {
    const server = startEmbeddingServer({ dimensions: 16 });
    const bench = await openPassageBench();
    const remote = openEmbedding({ url: server.url, apiKey: null, model: "letters", dimensions: 16 });
    const later = await openPassageBench({ embedding: remote, database: bench.database });
    try {
      const collection = await bench.collection(uuidv7(), "models");
      await bench.put(collection, { title: "a", passages: ["garden pump", "rain barrel"] });
      const row = async () =>
        (await bench.database.db.select().from(kbCollections).where(eq(kbCollections.id, collection)))[0];
      expect(later.store.isStale((await row()) ?? { embeddingModel: null, dimensions: null })).toBe(true);

      const ask = async () => {
        const models = [bench.embedding, remote];
        const vectors = await Promise.all(
          models.map(async (engine) => ({
            model: engine.model,
            vector: (await engine.embed(["pump"], "query"))[0] ?? new Float32Array(),
          })),
        );
        const query = { reader: ANYBODY, withTitles: false, dense: { vectors, limit: 9 }, sparse: null };
        return later.vectors.search({ ...query, collections: await bench.marks(collection) });
      };
      const before = (await ask()).dense;
      expect(before.length).toBe(2);

      // What comes in meanwhile is found by both.
      await later.put(collection, { title: "b", passages: ["pump pump"] });
      expect((await ask()).dense.length).toBe(3);
      expect(await later.database.transaction((tx) => later.store.switchModel(tx, collection))).toBe(false);

      const missing = await later.store.missingVectors(collection, 10);
      expect(missing.map(({ text }) => text).toSorted((a, b) => (a < b ? -1 : 1))).toEqual([
        "garden pump",
        "rain barrel",
      ]);
      await later.store.addVectors(collection, missing);
      expect(await later.store.missingVectors(collection, 10)).toEqual([]);
      expect((await ask()).dense.map(({ score }) => score).slice(0, 2)).not.toEqual([]);
      expect(await later.database.transaction((tx) => later.store.switchModel(tx, collection))).toBe(true);
      expect(await row()).toMatchObject({ embeddingModel: "letters", dimensions: 16, nextEmbeddingModel: null });
      const after = await ask();
      expect([after.dense.length, after.withoutVectors]).toEqual([3, []]);
      expect(after.dense.map(({ score }) => score)).not.toEqual(before.map(({ score }) => score));
      const counted = await bench.database.query<{ model: string; n: number }>(
        "select model, count(*)::int as n from kb_vectors where collection_id = $1 group by model",
        [collection],
      );
      expect(counted).toEqual([{ model: "letters", n: 3 }]);
    } finally {
      await later.close();
      await bench.close();
      await server.stop();
    }
  });

  test("VECTORS=off keeps words only", async () => {
    const bench = await openPassageBench({ hasVectors: false });
    try {
      const collection = await bench.collection(uuidv7(), "off");
      await bench.put(collection, { title: "a", passages: ["garden pump"] });
      const found = await bench.vectors.search({
        collections: await bench.marks(collection),
        reader: ANYBODY,
        withTitles: false,
        dense: null,
        sparse: { ...SPARSE, text: "pumps garden" },
      });
      expect([bench.vectors.kind, found.sparse.length]).toEqual(["off", 1]);
      expect(await bench.database.query("select 1 from kb_vectors")).toEqual([]);
      expect(await bench.store.missingVectors(collection, 5)).toEqual([]);
    } finally {
      await bench.close();
    }
  });
});

describe("over PostgreSQL", () => {
  const postgres = startPostgres();
  afterAll(async () => (await postgres)?.stop());

  test("passages go in and out as over the embedded database", async () => {
    const server = await postgres;
    if (!server) return;
    const url = await server.database("passages");
    const database = await openDatabase({ url, dataDir: "", pool: 4, sync: true, log: silentLog });
    await database.migrate();
    const bench = await openPassageBench({ database });
    try {
      const [one, other] = [await bench.collection(uuidv7(), "one"), await bench.collection(uuidv7(), "other")];
      const id = await bench.put(one, {
        title: "a",
        language: "en",
        passages: Array.from({ length: 230 }, (_, row) => `pump number ${row}, code Q-${5000 + row}`),
        level: "group_based",
        groups: ['odd "name", {with} signs\\'],
      });
      const search = async (groups: string[], ...collections: string[]) => {
        const [vector] = await bench.embedding.embed(["Q-5123"], "query");
        return bench.vectors.search({
          collections: await bench.marks(...collections),
          reader: { ...ANYBODY, userId: "u", groups },
          withTitles: false,
          dense: vector ? { vectors: [{ model: bench.embedding.model, vector }], limit: 5 } : null,
          sparse: { ...SPARSE, text: "Q-5123" },
        });
      };
      const inside = ['odd "name", {with} signs\\'];
      const wanted = passageId(id, 1, 123);
      const { dense, sparse } = await search(inside, one);
      expect([dense[0]?.chunkId, sparse[0]?.chunkId]).toEqual([wanted, wanted]);
      expect((await search([], one)).dense).toEqual([]);

      await database.transaction((tx) => bench.store.move(tx, [id], other));
      expect([(await search(inside, one)).sparse.length, (await search(inside, other)).sparse[0]?.chunkId]).toEqual([
        0,
        wanted,
      ]);
      await bench.put(other, { id, title: "a", passages: ["pump Q-5123 alone"] });
      expect((await search(inside, other)).sparse.length).toBe(1);
      expect(await bench.store.missingVectors(other, 5)).toEqual([]);
      await database.transaction((tx) => bench.store.remove(tx, [id]));
      expect((await search([], other)).candidates).toBe(0);
      expect(await database.query("select 1 from kb_chunks")).toEqual([]);
    } finally {
      await bench.close();
      await database.close();
    }
  });

  test("documents of one collection that are published at once all count", async () => {
    const server = await postgres;
    if (!server) return;
    const url = await server.database("parallel");
    const database = await openDatabase({ url, dataDir: "", pool: 8, sync: true, log: silentLog });
    await database.migrate();
    const bench = await openPassageBench({ database });
    try {
      const [one, other] = [await bench.collection(uuidv7(), "one"), await bench.collection(uuidv7(), "other")];
      const ids = await Promise.all(
        Array.from({ length: 24 }, (_, index) =>
          bench.put(index % 2 ? one : other, { title: "t", passages: [`pump ${index}`, "hose"] }),
        ),
      );
      // Moves in both directions at once: always the same order of locks.
      await Promise.all([
        database.transaction((tx) => bench.store.move(tx, ids.slice(0, 6), one)),
        database.transaction((tx) => bench.store.move(tx, ids.slice(6, 12), other)),
        database.transaction((tx) => bench.store.remove(tx, ids.slice(20))),
      ]);
      const rows = await database.db.select().from(kbCollections);
      const counted = await database.query<{ id: string; n: number }>(
        "select c.id, count(k.id)::int as n from kb_collections c left join kb_chunks k on k.collection_id = c.id group by c.id",
      );
      for (const { id, n } of counted) expect([id, rows.find((row) => row.id === id)?.chunksCount]).toEqual([id, n]);
      const held = bench.another();
      await held.start();
      const figures = await held.figures([one, other]);
      expect(figures.reduce((sum, { passages }) => sum + passages, 0)).toBe(40);
    } finally {
      await bench.close();
      await database.close();
    }
  });
});
