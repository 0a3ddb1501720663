// Passages as search needs them: their terms and vectors, written beside the visible version and switched in one step.
// Whoever takes documents in calls this; who searches reads what it wrote.
//
// How a document is taken in (each line its own transaction, except where said):
//   for each batch of ≤ 100 passages:  prepared = await store.prepare(…)      outside of any transaction: CPU, network
//                                      tx: store.write(tx, …, prepared)      invisible until published
//   tx: store.publish(tx, …) + the document's own columns (status, indexed_at …) + events; afterCommit: store.announce([collectionId])
// Deleting, moving, changing access: `remove`, `move`, `raise` inside the transaction of the change, `announce` after it.
// Order of locks: the collection's row first (all verbs here take it), then documents, then passages.

import { and, asc, count, eq, inArray, isNull, lt, ne, sql, sum } from "drizzle-orm";
import { conflict, notFound } from "../../core/errors.ts";
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type { EmbeddingEngine } from "../../engines/embedding/index.ts";
import type { VectorIndex } from "../../engines/vectors/index.ts";
import { uuidv5 } from "../../lib/ids/index.ts";
import { isLanguage } from "../../lib/text/index.ts";
import { kbChunks, kbCollections, kbDocuments, kbRemovals, kbVectors } from "./model.ts";

/** Most passages of one call of `prepare` and `write`. */
export const BATCH_SIZE = 100;

/** One passage as the chunker made it. */
export interface Passage {
  ordinal: number;
  /** The quoted text; the heading path is not part of it. */
  text: string;
  /** Put in front of the text for terms and vector. */
  headingPath: readonly string[];
  tokens: number;
  page?: number | null;
  slide?: number | null;
  sheet?: string | null;
  row?: number | null;
  line?: number | null;
  charStart: number;
  charEnd: number;
}

/** What `prepare` made of one passage; opaque to its caller. */
export interface PreparedPassage {
  passage: Passage;
  language: string | null;
  /** The `terms` column. */
  terms: string;
  termsCount: number;
  /** One for each embedding model in use; none with VECTORS=off. */
  vectors: { model: string; vector: Float32Array }[];
}

/** A visible passage as it is embedded. */
export interface PassageText {
  chunkId: string;
  documentId: string;
  text: string;
}

export interface PassageTarget {
  collectionId: string;
  documentId: string;
  version: number;
}

export interface PassageStore {
  /**
   * Terms (in a Worker) and vectors of a batch of ≤ 100 passages. The title counts as words, not for the vector.
   * Throws `unavailable("embeddings")`; the caller's job waits and tries again.
   */
  prepare(
    input: { collectionId: string; language: string | null; title: string; passages: readonly Passage[] },
    signal?: AbortSignal,
  ): Promise<PreparedPassage[]>;
  /** Inserts a batch for a version that is not visible yet. Writing one batch twice changes nothing. */
  write(tx: Database, target: PassageTarget, batch: readonly PreparedPassage[]): Promise<void>;
  /**
   * Makes `version` the visible one, removes the passages of older versions, sets the document's visible_version,
   * chunks_count, tokens and change_seq, the collection's chunks_count, generation, change_seq and last_indexed_at, and
   * its embedding model if it had none. 404 when the document is gone, 409 `older_version` after a newer one.
   */
  publish(tx: Database, target: PassageTarget): Promise<{ generation: number; chunks: number }>;
  /** Takes documents out of every search (rows of kb_documents are the caller's to delete, afterwards). */
  remove(tx: Database, documentIds: readonly string[]): Promise<{ collectionIds: string[] }>;
  /** Moves documents with their passages: kb_documents.collection_id is set here. */
  move(tx: Database, documentIds: readonly string[], toCollectionId: string): Promise<{ collectionIds: string[] }>;
  /**
   * Raises a collection's generation and change_seq. Whoever changes access, title or visibility columns of kb_documents
   * sets their change_seq to the returned one in the same transaction: that is how every instance's index learns of it.
   */
  raise(tx: Database, collectionId: string): Promise<{ generation: number; changeSeq: number }>;
  /** Visible passages that have no vector of the present embedding model, at most `limit`. */
  missingVectors(collectionId: string, limit: number): Promise<PassageText[]>;
  /** Embeds those passages and stores the vectors beside the searched ones. Throws `unavailable("embeddings")`. */
  addVectors(collectionId: string, passages: readonly PassageText[], signal?: AbortSignal): Promise<void>;
  /** Searches go on with the present embedding model, if every visible passage has its vector; else false. Drops the others. */
  switchModel(tx: Database, collectionId: string): Promise<boolean>;
  /** True if the collection's vectors are of another model or length than the present embedding's. */
  isStale(collection: { embeddingModel: string | null; dimensions: number | null }): boolean;
  /** After a commit: this instance's index reads the changes in the background; searches anywhere see them without it. */
  announce(collectionIds: readonly string[]): void;
  /** Forgets removals older than a day; indexes that have not read them by then read the collection anew. */
  sweep(): Promise<number>;
}

const REMOVALS_KEPT_MS = 24 * 60 * 60 * 1000;

/** The id of a passage: writing one twice writes the same row. */
export function passageId(documentId: string, version: number, ordinal: number): string {
  return uuidv5(documentId, `${version}/${ordinal}`);
}

/** The text that is embedded: what the passage stands under, then the passage. */
function embeddedText(passage: { headingPath: readonly string[]; text: string }): string {
  return passage.headingPath.length === 0 ? passage.text : `${passage.headingPath.join(" > ")}\n${passage.text}`;
}

function bytesOf(vector: Float32Array): Uint8Array {
  return new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
}

/** Makes the store. `hasVectors` false: VECTORS=off, words only. */
export function passageStore(deps: {
  database: DatabaseEngine;
  embedding: EmbeddingEngine;
  vectors: VectorIndex;
  hasVectors: boolean;
  clock: Clock;
  log: Log;
}): PassageStore {
  const { database, embedding, clock, log } = deps;

  /** Vectors of the model that is searched and, while a newer one is being built, of that too. */
  async function vectorsOf(collectionId: string, texts: readonly string[], signal: AbortSignal | undefined) {
    if (!deps.hasVectors) return texts.map(() => []);
    const [collection] = await database.db
      .select({ model: kbCollections.embeddingModel, next: kbCollections.nextEmbeddingModel })
      .from(kbCollections)
      .where(eq(kbCollections.id, collectionId));
    const present = await embedding.embed(texts, "passage", signal);
    const found = present.map((vector) => [{ model: embedding.model, vector }]);
    const searched = collection?.model ?? embedding.model;
    const older = searched === embedding.model ? null : embedding.named(searched);
    if (!older) return found;
    try {
      const vectors = await older.embed(texts, "passage", signal);
      for (const [index, vector] of vectors.entries()) found[index]?.push({ model: searched, vector });
    } catch (error) {
      signal?.throwIfAborted();
      // The collection's own model is gone: the words find these passages until the re-index has ended.
      log.warn("the embedding model of a collection does not answer", {
        collection: collectionId,
        model: searched,
        error,
      });
    }
    return found;
  }

  /** Locks the collection's row until the end of the transaction. */
  async function raise(tx: Database, collectionId: string): Promise<{ generation: number; changeSeq: number }> {
    const [row] = await tx
      .update(kbCollections)
      .set({
        generation: sql`${kbCollections.generation} + 1`,
        changeSeq: sql`${kbCollections.changeSeq} + 1`,
        updatedAt: clock.date(),
      })
      .where(eq(kbCollections.id, collectionId))
      .returning({ generation: kbCollections.generation, changeSeq: kbCollections.changeSeq });
    if (!row) throw notFound("collection");
    return row;
  }

  const addChunks = (tx: Database, collectionId: string, by: number) =>
    tx
      .update(kbCollections)
      .set({ chunksCount: sql`${kbCollections.chunksCount} + ${by}` })
      .where(eq(kbCollections.id, collectionId));

  /** The documents' rows, their collections raised and locked first, always in the same order. */
  async function lockOf(tx: Database, documentIds: readonly string[], alsoCollection: string | null) {
    const before = await tx
      .select({ collectionId: kbDocuments.collectionId })
      .from(kbDocuments)
      .where(inArray(kbDocuments.id, [...documentIds]));
    const ids = new Set(before.map(({ collectionId }) => collectionId));
    if (alsoCollection !== null) ids.add(alsoCollection);
    const seqs = new Map<string, number>();
    for (const id of [...ids].toSorted()) seqs.set(id, (await raise(tx, id)).changeSeq);
    const documents = await tx
      .select({ id: kbDocuments.id, collectionId: kbDocuments.collectionId, chunksCount: kbDocuments.chunksCount })
      .from(kbDocuments)
      .where(inArray(kbDocuments.id, [...documentIds]))
      .orderBy(asc(kbDocuments.id))
      .for("update");
    // One that was moved between the two looks is in no locked collection: the transaction is worth another try.
    if (documents.some(({ collectionId }) => !seqs.has(collectionId))) throw conflict("document_moved");
    return { documents, seqs };
  }

  async function leave(
    tx: Database,
    documents: readonly { id: string; collectionId: string; chunksCount: number }[],
    seqs: ReadonlyMap<string, number>,
  ) {
    if (documents.length === 0) return;
    await tx
      .insert(kbRemovals)
      .values(
        documents.map(({ id, collectionId }) => ({
          collectionId,
          documentId: id,
          changeSeq: seqs.get(collectionId) ?? 0,
          removedAt: clock.date(),
        })),
      )
      .onConflictDoNothing();
    const chunks = Map.groupBy(documents, ({ collectionId }) => collectionId);
    for (const [collectionId, group] of chunks) {
      await addChunks(tx, collectionId, -group.reduce((total, { chunksCount }) => total + chunksCount, 0));
    }
  }

  const visible = and(eq(kbDocuments.id, kbChunks.documentId), eq(kbDocuments.visibleVersion, kbChunks.version));

  /** True for passages without a vector of the present model and length. */
  const lacksVector = () => sql`not exists (select 1 from ${kbVectors} where ${kbVectors.chunkId} = ${kbChunks.id}
    and ${kbVectors.model} = ${embedding.model}
    and (${embedding.dimensions}::int is null or octet_length(${kbVectors.embedding}) = 4 * ${embedding.dimensions}::int))`;

  const putVectors = (tx: Database, rows: (typeof kbVectors.$inferInsert)[]) =>
    tx
      .insert(kbVectors)
      .values(rows)
      .onConflictDoUpdate({
        target: [kbVectors.chunkId, kbVectors.model],
        set: { embedding: sql`excluded.embedding`, collectionId: sql`excluded.collection_id` },
      });

  return {
    prepare: async ({ collectionId, language, title, passages }, signal) => {
      const texts = passages.map(embeddedText);
      const words = texts.map((text) => `${title}\n${text}`);
      const [terms, vectors] = await Promise.all([
        embedding.terms(words, isLanguage(language) ? language : null),
        vectorsOf(collectionId, texts, signal),
      ]);
      signal?.throwIfAborted();
      return passages.map((passage, index) => ({
        passage,
        language,
        terms: terms[index]?.terms ?? "",
        termsCount: terms[index]?.length ?? 0,
        vectors: vectors[index] ?? [],
      }));
    },

    write: async (tx, { collectionId, documentId, version }, batch) => {
      if (batch.length === 0) return;
      const rows = batch.map(({ passage, language, terms, termsCount }) => ({
        id: passageId(documentId, version, passage.ordinal),
        documentId,
        collectionId,
        version,
        ordinal: passage.ordinal,
        text: passage.text,
        headingPath: [...passage.headingPath],
        page: passage.page ?? null,
        slide: passage.slide ?? null,
        sheet: passage.sheet ?? null,
        row: passage.row ?? null,
        line: passage.line ?? null,
        charStart: passage.charStart,
        charEnd: passage.charEnd,
        tokens: passage.tokens,
        termsCount,
        language,
        terms,
      }));
      await tx
        .insert(kbChunks)
        .values(rows)
        .onConflictDoUpdate({
          target: kbChunks.id,
          set: {
            collectionId: sql`excluded.collection_id`,
            text: sql`excluded.text`,
            headingPath: sql`excluded.heading_path`,
            page: sql`excluded.page`,
            slide: sql`excluded.slide`,
            sheet: sql`excluded.sheet`,
            row: sql`excluded.row`,
            line: sql`excluded.line`,
            charStart: sql`excluded.char_start`,
            charEnd: sql`excluded.char_end`,
            tokens: sql`excluded.tokens`,
            termsCount: sql`excluded.terms_count`,
            language: sql`excluded.language`,
            terms: sql`excluded.terms`,
          },
        });
      const vectors = batch.flatMap(({ passage, vectors: made }) =>
        made.map(({ model, vector }) => ({
          chunkId: passageId(documentId, version, passage.ordinal),
          documentId,
          collectionId,
          model,
          embedding: bytesOf(vector),
        })),
      );
      if (vectors.length > 0) await putVectors(tx, vectors);
    },

    publish: async (tx, { collectionId, documentId, version }) => {
      const { generation, changeSeq } = await raise(tx, collectionId);
      const [document] = await tx
        .select({
          collectionId: kbDocuments.collectionId,
          visible: kbDocuments.visibleVersion,
          chunks: kbDocuments.chunksCount,
        })
        .from(kbDocuments)
        .where(eq(kbDocuments.id, documentId))
        .for("update");
      if (document?.collectionId !== collectionId) throw notFound("document");
      if (document.visible !== null && document.visible > version) throw conflict("older_version");
      await tx.delete(kbChunks).where(and(eq(kbChunks.documentId, documentId), lt(kbChunks.version, version)));
      const [totals] = await tx
        .select({ chunks: count(), tokens: sum(kbChunks.tokens) })
        .from(kbChunks)
        .where(and(eq(kbChunks.documentId, documentId), eq(kbChunks.version, version)));
      const chunks = totals?.chunks ?? 0;
      await tx
        .update(kbDocuments)
        .set({ visibleVersion: version, chunksCount: chunks, tokens: Number(totals?.tokens ?? 0), changeSeq })
        .where(eq(kbDocuments.id, documentId));
      await addChunks(tx, collectionId, chunks - (document.visible === null ? 0 : document.chunks));
      await tx.update(kbCollections).set({ lastIndexedAt: clock.date() }).where(eq(kbCollections.id, collectionId));
      if (deps.hasVectors && embedding.dimensions !== null) {
        await tx
          .update(kbCollections)
          .set({ embeddingModel: embedding.model, dimensions: embedding.dimensions })
          .where(and(eq(kbCollections.id, collectionId), isNull(kbCollections.embeddingModel)));
      }
      return { generation, chunks };
    },

    remove: async (tx, documentIds) => {
      if (documentIds.length === 0) return { collectionIds: [] };
      const { documents, seqs } = await lockOf(tx, documentIds, null);
      await leave(tx, documents, seqs);
      const ids = documents.map(({ id }) => id);
      if (ids.length > 0) {
        await tx.delete(kbChunks).where(inArray(kbChunks.documentId, ids));
        for (const [collectionId, changeSeq] of seqs) {
          await tx
            .update(kbDocuments)
            .set({ visibleVersion: null, chunksCount: 0, tokens: 0, changeSeq })
            .where(and(eq(kbDocuments.collectionId, collectionId), inArray(kbDocuments.id, ids)));
        }
      }
      return { collectionIds: [...seqs.keys()] };
    },

    move: async (tx, documentIds, toCollectionId) => {
      if (documentIds.length === 0) return { collectionIds: [] };
      const { documents, seqs } = await lockOf(tx, documentIds, toCollectionId);
      const moving = documents.filter(({ collectionId }) => collectionId !== toCollectionId);
      await leave(tx, moving, seqs);
      const ids = moving.map(({ id }) => id);
      if (ids.length > 0) {
        await tx.update(kbChunks).set({ collectionId: toCollectionId }).where(inArray(kbChunks.documentId, ids));
        await tx.update(kbVectors).set({ collectionId: toCollectionId }).where(inArray(kbVectors.documentId, ids));
        await tx
          .update(kbDocuments)
          .set({ collectionId: toCollectionId, changeSeq: seqs.get(toCollectionId) ?? 0 })
          .where(inArray(kbDocuments.id, ids));
        await addChunks(
          tx,
          toCollectionId,
          moving.reduce((total, { chunksCount }) => total + chunksCount, 0),
        );
        if (deps.hasVectors && embedding.dimensions !== null) {
          await tx
            .update(kbCollections)
            .set({ embeddingModel: embedding.model, dimensions: embedding.dimensions })
            .where(and(eq(kbCollections.id, toCollectionId), isNull(kbCollections.embeddingModel)));
        }
      }
      return { collectionIds: [...seqs.keys()] };
    },

    raise,

    missingVectors: async (collectionId, limit) => {
      if (!deps.hasVectors) return [];
      const rows = await database.db
        .select({
          chunkId: kbChunks.id,
          documentId: kbChunks.documentId,
          headingPath: kbChunks.headingPath,
          text: kbChunks.text,
        })
        .from(kbChunks)
        .innerJoin(kbDocuments, visible)
        .where(and(eq(kbChunks.collectionId, collectionId), lacksVector()))
        .orderBy(asc(kbChunks.id))
        .limit(limit);
      return rows.map((row) => ({ chunkId: row.chunkId, documentId: row.documentId, text: embeddedText(row) }));
    },

    addVectors: async (collectionId, passages, signal) => {
      const vectors = await embedding.embed(
        passages.map(({ text }) => text),
        "passage",
        signal,
      );
      await database.transaction(async (tx) => {
        await tx
          .update(kbCollections)
          .set({ nextEmbeddingModel: embedding.model, nextDimensions: embedding.dimensions })
          .where(eq(kbCollections.id, collectionId));
        // A passage may have been replaced meanwhile; its vector has no row to belong to any more.
        const present = await tx
          .select({ id: kbChunks.id })
          .from(kbChunks)
          .where(
            inArray(
              kbChunks.id,
              passages.map(({ chunkId }) => chunkId),
            ),
          )
          .for("key share");
        const ids = new Set(present.map(({ id }) => id));
        const rows = passages.flatMap(({ chunkId, documentId }, index) => {
          const vector = vectors[index];
          if (!vector || !ids.has(chunkId)) return [];
          return { chunkId, documentId, collectionId, model: embedding.model, embedding: bytesOf(vector) };
        });
        if (rows.length > 0) await putVectors(tx, rows);
      });
    },

    switchModel: async (tx, collectionId) => {
      await raise(tx, collectionId);
      const [missing] = await tx
        .select({ id: kbChunks.id })
        .from(kbChunks)
        .innerJoin(kbDocuments, visible)
        .where(and(eq(kbChunks.collectionId, collectionId), lacksVector()))
        .limit(1);
      if (missing) return false;
      await tx
        .update(kbCollections)
        .set({
          embeddingModel: embedding.model,
          dimensions: embedding.dimensions,
          nextEmbeddingModel: null,
          nextDimensions: null,
        })
        .where(eq(kbCollections.id, collectionId));
      await tx
        .delete(kbVectors)
        .where(and(eq(kbVectors.collectionId, collectionId), ne(kbVectors.model, embedding.model)));
      return true;
    },

    isStale: ({ embeddingModel, dimensions }) => {
      if (!deps.hasVectors || embeddingModel === null) return false;
      if (embeddingModel !== embedding.model) return true;
      return dimensions !== null && embedding.dimensions !== null && dimensions !== embedding.dimensions;
    },

    announce: (collectionIds) => deps.vectors.changed(collectionIds),

    sweep: () =>
      database.transaction(async (tx) => {
        const before = new Date(clock.now() - REMOVALS_KEPT_MS);
        const swept = await tx
          .delete(kbRemovals)
          .where(lt(kbRemovals.removedAt, before))
          .returning({ collectionId: kbRemovals.collectionId, changeSeq: kbRemovals.changeSeq });
        for (const [collectionId, group] of Map.groupBy(swept, (row) => row.collectionId)) {
          const seq = Math.max(...group.map(({ changeSeq }) => changeSeq));
          await tx
            .update(kbCollections)
            .set({ sweptSeq: seq })
            .where(and(eq(kbCollections.id, collectionId), lt(kbCollections.sweptSeq, seq)));
        }
        return swept.length;
      }),
  };
}
