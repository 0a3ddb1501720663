// Nearest passages, by vector and by words, within what a reader may see. Rows in the database are the truth; this is
// the index over them.

import type { Language } from "../../lib/text/index.ts";

/** Who asks, as far as passages care. */
export interface Reader {
  /** Null: an anonymous caller, who sees only what is open to all. */
  userId: string | null;
  email: string | null;
  roles: readonly string[];
  /** Group ids and names. */
  groups: readonly string[];
  /** Holders of `admin` pass all rules. */
  isAdmin: boolean;
}

export type AccessWord = "all" | "authenticated" | "role_based" | "group_based" | "user_based" | "none";

/** Effective access of one document. The three `…_based` words admit whoever stands on any of the lists. */
export interface Rights {
  level: AccessWord;
  /** Who may see the title. */
  visibility: AccessWord;
  roles: readonly string[];
  groups: readonly string[];
  /** Ids, and e-mail addresses in lower case. */
  users: readonly string[];
}

export interface PassageQuery {
  /** Where to search, and the change of each collection that must be seen at least. */
  collections: readonly { id: string; seq: number }[];
  reader: Reader;
  /** Also documents of which the reader may see only the title. */
  withTitles: boolean;
  /** Unit vectors of the question, one for each embedding model that the collections use; null: words only. */
  dense: { vectors: readonly { model: string; vector: Float32Array }[]; limit: number } | null;
  /** Null: vectors only. */
  sparse: {
    text: string;
    stemming: boolean;
    /** Leave out words that say nothing. */
    dropStopWords: boolean;
    k1: number;
    b: number;
    limit: number;
    /** Folded words that a passage must all have. */
    required?: readonly string[];
  } | null;
  /** Only these documents, when given. */
  documentIds?: readonly string[];
  /** Only these passages, when given. */
  chunkIds?: readonly string[];
}

export interface PassageHit {
  chunkId: string;
  documentId: string;
  collectionId: string;
  /** Dense: cosine, −1..1. Sparse: BM25, above 0. */
  score: number;
  /** False: the reader may see the document's title only. */
  isOpen: boolean;
}

export interface PassageHits {
  /** Best first; equal scores in order of chunk id. */
  dense: PassageHit[];
  sparse: PassageHit[];
  /** Passages that the sides looked at: those with a word of the question, or all when vectors take part. */
  candidates: number;
  /** Collections with passages but without a vector of the models given: their dense side is missing. */
  withoutVectors: string[];
  /** Languages of the documents searched, most passages first. */
  languages: Language[];
}

/** How common words are in some collections. */
export interface TermFigures {
  /** All passages there, whoever may see them. */
  passages: number;
  /** Passages with any variant of each word, in the order asked. */
  holders: number[];
}

export interface CollectionFigures {
  id: string;
  passages: number;
  vectors: number;
  /** Memory of vectors and words. */
  bytes: number;
}

export interface VectorIndex {
  readonly kind: "embedded" | "qdrant" | "off";
  /**
   * Both sides over one state of the index. Rights are part of the search, never applied afterwards.
   * Throws `unavailable("vectors")`.
   */
  search(query: PassageQuery): Promise<PassageHits>;
  /**
   * Equal for readers who may see the same in these collections, whoever they are. Changes with the rules, too.
   * Throws `unavailable("vectors")`.
   */
  fingerprint(collections: PassageQuery["collections"], reader: Reader): Promise<string>;
  /** How many passages hold each word, given by its variants. Throws `unavailable("vectors")`. */
  terms(collections: PassageQuery["collections"], words: readonly (readonly string[])[]): Promise<TermFigures>;
  /**
   * Told after a commit that changed these collections: they are read in the background. Searches do not depend on it,
   * on this and on other instances they learn by the `seq` that they carry.
   */
  changed(collectionIds: readonly string[]): void;
  /** What is held of these collections; those not loaded yet are left out. */
  figures(collectionIds: readonly string[]): Promise<CollectionFigures[]>;
  /** Loads everything in the background; searches need not wait for it. */
  start(): Promise<void>;
  ping(): Promise<{ latencyMs: number }>;
  close(): Promise<void>;
}

/** A collection as its row says. */
export interface CollectionState {
  id: string;
  /** Grows with every change that the index must learn of. */
  seq: number;
  /** Model of the vectors that are searched, and their length; null before the first passage. */
  model: string | null;
  dimensions: number | null;
}

/** A document as its row says. */
export interface DocumentState {
  id: string;
  seq: number;
  /** The version whose passages are searched; null: none yet. */
  version: number | null;
  chunksCount: number;
  language: string | null;
  rights: Rights;
}

export interface StoredPassage {
  id: string;
  documentId: string;
  ordinal: number;
  /** Words in it. */
  length: number;
  /** As `encodeTerms` of lib/text writes them. */
  terms: string;
  /** Little-endian float32, a unit vector; null: none of that model. */
  vector: Uint8Array | null;
}

/** Where the index reads from. */
export interface PassageSource {
  /** Null: all collections. */
  collections(ids: readonly string[] | null): Promise<CollectionState[]>;
  /** Documents of the collection that changed after `seq`, by id; `after` is the last id of the page before. */
  documents(collectionId: string, seq: number, after: string | null, limit: number): Promise<DocumentState[]>;
  /** Ids of documents that left the collection after `seq`. Null: not known back to there, everything must be read anew. */
  removals(collectionId: string, seq: number): Promise<string[] | null>;
  /**
   * Passages of these versions in order of document id and ordinal, after that place, with vectors of `model`; none of
   * a version that is not the visible one any more.
   */
  passages(
    documents: readonly { id: string; version: number }[],
    model: string | null,
    after: { documentId: string; ordinal: number } | null,
    limit: number,
  ): Promise<StoredPassage[]>;
  /** Present visible versions of these documents and how many passages they have. */
  versions(
    documentIds: readonly string[],
  ): Promise<ReadonlyMap<string, { version: number | null; chunksCount: number }>>;
}
