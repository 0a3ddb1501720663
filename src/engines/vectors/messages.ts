// What the index Worker and its owner say to each other.

import type {
  CollectionFigures,
  CollectionState,
  DocumentState,
  PassageHits,
  PassageQuery,
  Reader,
  StoredPassage,
  TermFigures,
} from "./index.ts";

/** A passage without its vector, which travels with those of its page in one buffer. */
export type LoadedPassage = Omit<StoredPassage, "vector"> & { hasVector: boolean };

export interface LoadPage {
  documents: readonly DocumentState[];
  passages: readonly LoadedPassage[];
  /** The vectors of those that have one, one after another. */
  vectors: Float32Array;
}

/** What becomes visible in one step. */
export interface LoadCommit {
  collection: CollectionState;
  /** Everything held before of the collection goes. */
  isWhole: boolean;
  /** Documents that left; also those that have no visible version any more. */
  removed: readonly string[];
  /** Documents that changed, whose passages were loaded before or stay as they are (only rights changed). */
  documents: readonly (DocumentState & { hasPassages: boolean })[];
}

export type ToIndexWorker =
  | { id: number; type: "page"; load: number; page: LoadPage }
  | { id: number; type: "commit"; load: number; commit: LoadCommit }
  | { id: number; type: "abandon"; load: number }
  | { id: number; type: "drop"; collectionIds: readonly string[] }
  | { id: number; type: "held"; collectionId: string; documents: readonly { id: string; version: number }[] }
  | { id: number; type: "search"; query: PassageQuery }
  | { id: number; type: "fingerprint"; collectionIds: readonly string[]; reader: Reader }
  | { id: number; type: "terms"; collectionIds: readonly string[]; words: readonly (readonly string[])[] }
  | { id: number; type: "figures"; collectionIds: readonly string[] };

export type FromIndexWorker =
  | { id: number; ok: true }
  | { id: number; held: string[] }
  | { id: number; hits: PassageHits }
  | { id: number; fingerprint: string }
  | { id: number; terms: TermFigures }
  | { id: number; figures: CollectionFigures[] }
  | { id: number; fault: string };
