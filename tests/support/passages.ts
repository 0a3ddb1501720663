// A database with the passage store and its index on it, and documents made of plain texts.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kbCollections, kbDocuments, type AccessLevel } from "../../src/areas/knowledge/model.ts";
import { passageSource } from "../../src/areas/knowledge/passage-source.ts";
import { BATCH_SIZE, passageStore, type Passage, type PassageStore } from "../../src/areas/knowledge/passages.ts";
import { movableClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import type { DatabaseEngine } from "../../src/engines/database/index.ts";
import { openDatabase } from "../../src/engines/database/open.ts";
import type { EmbeddingEngine } from "../../src/engines/embedding/index.ts";
import { openEmbedding } from "../../src/engines/embedding/open.ts";
import type { VectorIndex } from "../../src/engines/vectors/index.ts";
import { openVectors } from "../../src/engines/vectors/open.ts";
import { eq } from "drizzle-orm";
import { uuidv7 } from "../../src/lib/ids/index.ts";
import { countTokens } from "../../src/lib/text/index.ts";

export interface TestDocument {
  title: string;
  /** One passage each; a plain text stands for its passage. */
  passages: (string | (Partial<Passage> & { text: string }))[];
  id?: string;
  name?: string;
  path?: string;
  language?: string | null;
  mime?: string;
  tags?: string[];
  metadata?: Record<string, unknown>;
  level?: AccessLevel;
  visibility?: AccessLevel;
  roles?: string[];
  groups?: string[];
  users?: string[];
}

export interface PassageBench {
  database: DatabaseEngine;
  embedding: EmbeddingEngine;
  vectors: VectorIndex;
  store: PassageStore;
  clock: ReturnType<typeof movableClock>;
  /** Another instance on the same database: its own index. */
  another(): VectorIndex;
  collection(botId: string, name: string, defaultAccess?: AccessLevel): Promise<string>;
  /** Writes and publishes a document, or its next version if `id` is known; returns its id. */
  put(collectionId: string, document: TestDocument): Promise<string>;
  /** The collections with their present change, as searches name them. */
  marks(...collectionIds: string[]): Promise<{ id: string; seq: number }[]>;
  close(): Promise<void>;
}

export interface BenchOptions {
  hasVectors?: boolean;
  /** Another bench's, which closes it. */
  database?: DatabaseEngine;
  embedding?: EmbeddingEngine;
}

/** Opens everything on a data folder of its own, which `close` removes. */
export async function openPassageBench(options: BenchOptions = {}): Promise<PassageBench> {
  const dataDir = mkdtempSync(join(tmpdir(), "botserver-passages-"));
  const database =
    options.database ?? (await openDatabase({ url: null, dataDir, pool: 1, sync: false, log: silentLog }));
  if (!options.database) await database.migrate();
  const hasVectors = options.hasVectors ?? true;
  const embedding = options.embedding ?? openEmbedding(null);
  const indexes: VectorIndex[] = [];
  const another = () => {
    const index = openVectors({
      kind: hasVectors ? "embedded" : "off",
      source: passageSource(database),
      log: silentLog,
    });
    indexes.push(index);
    return index;
  };
  const vectors = another();
  const clock = movableClock();
  const store = passageStore({ database, embedding, vectors, hasVectors, clock, log: silentLog });

  return {
    database,
    embedding,
    vectors,
    store,
    clock,
    another,

    collection: async (botId, name, defaultAccess = "authenticated") => {
      const id = uuidv7();
      await database.db.insert(kbCollections).values({ id, botId, name, nameKey: name.toLowerCase(), defaultAccess });
      return id;
    },

    put: (collectionId, document) => putDocument({ database, store }, collectionId, document),

    marks: async (...collectionIds) => {
      const rows = await database.db.select({ id: kbCollections.id, seq: kbCollections.changeSeq }).from(kbCollections);
      return rows.filter(({ id }) => collectionIds.includes(id));
    },

    close: async () => {
      for (const index of indexes) await index.close();
      await embedding.close();
      if (!options.database) await database.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** Writes and publishes a document, or its next version if `id` is known; returns its id. */
export async function putDocument(
  { database, store }: { database: DatabaseEngine; store: PassageStore },
  collectionId: string,
  document: TestDocument,
): Promise<string> {
  const { db } = database;
  const known = document.id
    ? (await db.select().from(kbDocuments).where(eq(kbDocuments.id, document.id)))[0]
    : undefined;
  const id = document.id ?? uuidv7();
  const version = known ? known.version + 1 : 1;
  const [collection] = await db.select().from(kbCollections).where(eq(kbCollections.id, collectionId));
  const row = {
    id,
    collectionId,
    botId: collection?.botId ?? "",
    name: document.name ?? `${id}.txt`,
    path: document.path ?? "",
    title: document.title,
    mime: document.mime ?? "text/plain",
    bytes: 1,
    sha256: "",
    language: document.language ?? null,
    version,
    tags: document.tags ?? [],
    metadata: document.metadata ?? {},
    accessLevel: document.level ?? "all",
    indexVisibility: document.visibility ?? document.level ?? "all",
    allowedRoles: document.roles ?? [],
    allowedGroups: document.groups ?? [],
    allowedUsers: document.users ?? [],
    blobId: "",
  } satisfies typeof kbDocuments.$inferInsert;
  if (known) await db.update(kbDocuments).set(row).where(eq(kbDocuments.id, id));
  else await db.insert(kbDocuments).values(row);
  let at = 0;
  const passages = document.passages.map((given, ordinal): Passage => {
    const passage = typeof given === "string" ? { text: given } : given;
    const charStart = at;
    at += passage.text.length + 1;
    return {
      ordinal,
      headingPath: [],
      tokens: countTokens(passage.text),
      charStart,
      charEnd: charStart + passage.text.length,
      ...passage,
    };
  });
  for (let from = 0; from < passages.length; from += BATCH_SIZE) {
    const batch = passages.slice(from, from + BATCH_SIZE);
    const prepared = await store.prepare({
      collectionId,
      language: document.language ?? null,
      title: document.title,
      passages: batch,
    });
    await database.transaction((tx) => store.write(tx, { collectionId, documentId: id, version }, prepared));
  }
  await database.transaction((tx) => store.publish(tx, { collectionId, documentId: id, version }));
  store.announce([collectionId]);
  return id;
}
