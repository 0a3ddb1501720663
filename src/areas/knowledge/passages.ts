// Passages as search needs them: their terms and vectors, written beside the visible version and switched in one step.
// Whoever takes documents in calls this; who searches reads what it wrote.
//
// How a document is taken in (each line its own transaction, except where said):
//   for each batch of ≤ 100 passages:  prepared = await store.prepare(…)      outside of any transaction: CPU, network
//                                       tx: store.write(tx, …prepared)         invisible until published
//   tx: store.publish(tx, …) + the document's own columns (status, indexed_at …) + events; afterCommit: store.announce([collectionId])
// Deleting, moving, changing access: `remove`, `move`, `raise` inside the transaction of the change, `announce` after it.
// Order of locks: the collection's row first (all verbs here take it), then documents, then passages.

import type { Database } from "../../engines/database/index.ts";

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
  /** The `terms` column. */
  terms: string;
  termsCount: number;
  /** Null with VECTORS=off. */
  vector: Float32Array | null;
  model: string | null;
  language: string | null;
}

export interface PassageStore {
  /**
   * Terms (in a Worker) and vectors of a batch of passages (≤ 100). `model`: another than the current embedding model.
   * Throws `unavailable("embeddings")`; the caller's job waits and tries again.
   */
  prepare(
    input: { language: string | null; title: string; passages: readonly Passage[] },
    signal?: AbortSignal,
  ): Promise<PreparedPassage[]>;
  /** Inserts a batch for a version that is not visible yet. Writing one batch twice changes nothing. */
  write(
    tx: Database,
    target: { collectionId: string; documentId: string; version: number },
    batch: readonly PreparedPassage[],
  ): Promise<void>;
  /**
   * Makes `version` the visible one, removes the passages of every other version, sets the document's
   * visible_version, chunks_count, tokens and change_seq, the collection's counts, generation and change_seq, and its
   * embedding model if it had none.
   */
  publish(
    tx: Database,
    target: { collectionId: string; documentId: string; version: number },
  ): Promise<{ generation: number; chunks: number }>;
  /** Takes documents out of every search (rows of kb_documents are the caller's to delete, afterwards). */
  remove(tx: Database, documentIds: readonly string[]): Promise<{ collectionIds: string[] }>;
  /** Re-keys the passages of documents whose kb_documents.collection_id the caller changes in the same transaction. */
  move(tx: Database, documentIds: readonly string[], toCollectionId: string): Promise<{ collectionIds: string[] }>;
  /**
   * Raises a collection's generation and change_seq. Whoever changes access, title or visibility columns of kb_documents
   * sets their change_seq to the returned one in the same transaction: that is how every instance's index learns of it.
   */
  raise(tx: Database, collectionId: string): Promise<{ generation: number; changeSeq: number }>;
  /** Vectors of the present embedding model for visible passages that lack one (≤ `limit` passages); how many are left. */
  missingVectors(collectionId: string, limit: number): Promise<{ chunkId: string; documentId: string; text: string }[]>;
  /** Embeds those passages and stores the vectors beside the searched ones. */
  addVectors(
    collectionId: string,
    passages: readonly { chunkId: string; documentId: string; text: string }[],
    signal?: AbortSignal,
  ): Promise<void>;
  /** Searches go on with the present embedding model, if every visible passage has its vector; else false. Drops the others. */
  switchModel(tx: Database, collectionId: string): Promise<boolean>;
  /** True if the collection's vectors are of another model or length than the present embedding's. */
  isStale(collection: { embeddingModel: string | null; dimensions: number | null }): boolean;
  /** After a commit: this instance's index reads the changes; others learn of them by change_seq. */
  announce(collectionIds: readonly string[]): Promise<void>;
}
