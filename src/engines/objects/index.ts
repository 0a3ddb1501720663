// Blobs: write-once bytes under an opaque id. Names, owners and versions are rows elsewhere.

export interface BlobInfo {
  id: string;
  sizeBytes: number;
  /** Hex SHA-256 of the bytes. */
  sha256: string;
}

export interface ByteRange {
  /** First byte, from 0. */
  start: number;
  /** Last byte, inclusive. */
  end: number;
}

export interface PutOptions {
  /** More bytes are `payloadTooLarge`, and nothing stays behind. */
  maxBytes?: number;
  /**
   * A UUIDv7 of the caller's, where the bytes depend on it (encryption) or must come back under it (restore);
   * without it the store makes one. An id that exists or is being written: `conflict("blob_exists")`.
   */
  id?: string;
}

export type BlobSource = ReadableStream<Uint8Array> | Uint8Array | Blob;

/** When the medium fails (full, unreachable, not writable) every verb throws `unavailable("storage")`. */
export interface ObjectStore {
  readonly kind: "files" | "database" | "s3";
  /**
   * Streams the bytes to a new blob; it is visible only when complete and synced.
   * A failing source fails it with the source's own error, and nothing stays behind.
   */
  put(body: BlobSource, options?: PutOptions): Promise<BlobInfo>;
  /**
   * The bytes, or `notFound("blob")`. A `range` outside of the blob: `rangeNotSatisfiable`.
   * Whoever has read the first of them gets them all, though the blob is deleted meanwhile; in the database only up
   * to 4 MiB, beyond that the stream fails by `notFound("blob")`.
   */
  get(id: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>>;
  /** All of them at once, or `notFound("blob")`; for what is known to be small. */
  bytes(id: string): Promise<Uint8Array>;
  stat(id: string): Promise<{ sizeBytes: number } | null>;
  /** Deleting what is not there is no error. */
  delete(id: string): Promise<void>;
  /** Ids of blobs completed more than `olderThanMs` ago, in no order, for the sweep of orphans. */
  list(olderThanMs: number): AsyncIterable<string>;
  /** Writes, reads and deletes a probe of one byte. `freeBytes` is null where the medium does not tell. */
  ping(): Promise<{ latencyMs: number; freeBytes: number | null }>;
}
