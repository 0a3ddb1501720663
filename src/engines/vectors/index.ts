// Nearest passages by vector. Rows in the database are the truth; this is the index over them.

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

export interface VectorQuery {
  collectionIds: readonly string[];
  vector: Float32Array;
  limit: number;
  reader: Reader;
  /** Only these documents, when given. */
  documentIds?: ReadonlySet<string>;
}

export interface VectorHit {
  chunkId: string;
  documentId: string;
  /** Cosine, −1..1. */
  score: number;
}

export interface VectorIndex {
  readonly kind: "embedded" | "qdrant" | "off";
  /** Rights are part of the search, never applied afterwards. Throws `unavailable("vectors")`. */
  search(query: VectorQuery): Promise<VectorHit[]>;
  /** Told after a commit that changed these collections; other instances learn by the version in the database. */
  changed(collectionIds: readonly string[]): Promise<void>;
  ping(): Promise<{ latencyMs: number }>;
  close(): Promise<void>;
}
