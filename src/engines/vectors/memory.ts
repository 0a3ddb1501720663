// The index itself, as it lies in the Worker: documents with their rights, words and vectors of every passage. All
// verbs are synchronous, so a search sees one state: of a document that is replaced either all old passages or all new.

import { sha256Hex } from "../../lib/ids/index.ts";
import { decodeTerms, isLanguage, queryWords, type Language } from "../../lib/text/index.ts";
import { Best, type Scored } from "./best.ts";
import type {
  CollectionFigures,
  CollectionState,
  DocumentState,
  PassageHit,
  PassageHits,
  PassageQuery,
  Reader,
  Rights,
  TermFigures,
} from "./index.ts";
import type { LoadCommit, LoadedPassage, LoadPage } from "./messages.ts";
import { Dictionary, passageTerms, Postings, SLOTS_MAX, type PassageTerms } from "./postings.ts";
import { admission, rightsKey } from "./rights.ts";
import { VectorSpace } from "./space.ts";

interface Document {
  id: string;
  version: number;
  language: string | null;
  rights: number;
  collection: Collection;
  slots: number[];
}

interface Collection {
  id: string;
  model: string | null;
  documents: Map<string, Document>;
  postings: Postings;
  passages: number;
  vectors: number;
  /** Sum of the passages' lengths in words. */
  length: number;
  /** Passages by language. */
  languages: Map<string, number>;
}

/** A passage that waits for its commit, already taken apart: a commit holds up the searches. */
interface Staged {
  id: string;
  length: number;
  terms: PassageTerms;
  vector: Float32Array | null;
}

/** Typed array of one element more than `index`, at least doubled, with the old content. */
function grown<T extends Int32Array | Uint32Array | Uint8Array>(array: T, index: number): T {
  if (index < array.length) return array;
  const larger = new (array.constructor as new (length: number) => T)(Math.max(index + 1, array.length * 2));
  larger.set(array);
  return larger;
}

const NO_ROW = -1;
const SPACES_MAX = 256;

export class PassageMemory {
  readonly #collections = new Map<string, Collection>();
  readonly #documents = new Map<string, Document>();
  readonly #staged = new Map<number, Map<string, Staged[]>>();
  /** One for each embedding model and length. */
  readonly #spaces: { model: string; vectors: VectorSpace }[] = [];
  readonly #dictionary = new Dictionary();
  readonly #rights: Rights[] = [];
  readonly #rightsByKey = new Map<string, number>();

  // By slot: one number for each passage.
  readonly #chunkIds: string[] = [];
  readonly #owners: (Document | null)[] = [];
  #lengths = new Uint32Array(1024);
  /** Where its vector lies: number of the space, row in it. */
  #spaceNumbers = new Uint8Array(1024);
  #rows = new Int32Array(1024);
  readonly #freeSlots: number[] = [];

  // Scratch of searches, all zeros between them.
  #states = new Uint8Array(1024);
  #frequencies = new Uint8Array(1024);
  #scores = new Float64Array(1024);
  #termCounts = new Uint32Array(1024);
  // Lists of one search: what it admits, and rows of it in one space with the slots that they belong to.
  #admitted = new Int32Array(1024);
  #scanRows = new Int32Array(1024);
  #scanSlots = new Int32Array(1024);

  // --- taking in ---

  /** Keeps passages until the commit of the same load. */
  stage(load: number, page: LoadPage): void {
    const documents = this.#staged.get(load) ?? new Map<string, Staged[]>();
    this.#staged.set(load, documents);
    for (const { id } of page.documents) documents.set(id, []);
    const withVector = page.passages.filter((passage) => passage.hasVector).length;
    const dimensions = withVector === 0 ? 0 : page.vectors.length / withVector;
    let at = 0;
    for (const passage of page.passages) {
      const vector = passage.hasVector ? page.vectors.subarray(at, at + dimensions) : null;
      if (vector) at += dimensions;
      documents.get(passage.documentId)?.push({
        id: passage.id,
        length: passage.length,
        terms: this.#termsOf(passage),
        vector,
      });
    }
  }

  #termsOf(passage: LoadedPassage): PassageTerms {
    const pairs: [number, number][] = [];
    decodeTerms(passage.terms, (term, count) => pairs.push([this.#dictionary.id(term), count]));
    return passageTerms(pairs);
  }

  abandon(load: number): void {
    this.#staged.delete(load);
  }

  /** Makes the staged passages of a load visible and the replaced ones invisible, in one step. */
  commit(load: number, commit: LoadCommit): void {
    const staged = this.#staged.get(load) ?? new Map<string, Staged[]>();
    this.#staged.delete(load);
    if (commit.isWhole) this.drop([commit.collection.id]);
    const collection = this.#collectionOf(commit.collection);
    for (const id of commit.removed) {
      const document = collection.documents.get(id);
      if (document) this.#removeDocument(document);
    }
    for (const state of commit.documents) {
      if (state.hasPassages) this.#put(collection, state, staged.get(state.id) ?? []);
      else this.#restate(collection, state);
    }
    if (commit.isWhole || collection.postings.isDueForRebuild) this.#rebuild(collection);
    if (this.#dictionary.isDueForSweep) this.#sweep();
  }

  /** Which of these documents are held in that version, as the collection's: one that was moved is not. */
  held(collectionId: string, documents: readonly { id: string; version: number }[]): string[] {
    const own = this.#collections.get(collectionId)?.documents;
    return documents.filter(({ id, version }) => own?.get(id)?.version === version).map(({ id }) => id);
  }

  drop(collectionIds: readonly string[]): void {
    for (const id of collectionIds) {
      const collection = this.#collections.get(id);
      if (!collection) continue;
      for (const document of collection.documents.values()) this.#removeDocument(document);
      this.#freeSlots.push(...collection.postings.rebuild(this.#termScratch(), () => false));
      this.#collections.delete(id);
    }
  }

  #collectionOf(state: CollectionState): Collection {
    const known = this.#collections.get(state.id);
    if (known) {
      known.model = state.model;
      return known;
    }
    const made: Collection = {
      id: state.id,
      model: state.model,
      documents: new Map(),
      postings: new Postings(),
      passages: 0,
      vectors: 0,
      length: 0,
      languages: new Map(),
    };
    this.#collections.set(state.id, made);
    return made;
  }

  #rightsNumber(rights: Rights): number {
    const key = rightsKey(rights);
    const known = this.#rightsByKey.get(key);
    if (known !== undefined) return known;
    const number = this.#rights.length;
    this.#rights.push(rights);
    this.#rightsByKey.set(key, number);
    return number;
  }

  #restate(collection: Collection, state: DocumentState): void {
    const document = collection.documents.get(state.id);
    if (document) document.rights = this.#rightsNumber(state.rights);
  }

  #put(collection: Collection, state: DocumentState, passages: readonly Staged[]): void {
    const before = this.#documents.get(state.id);
    if (before) this.#removeDocument(before);
    const document: Document = {
      id: state.id,
      version: state.version ?? 0,
      language: state.language,
      rights: this.#rightsNumber(state.rights),
      collection,
      slots: [],
    };
    for (const staged of passages) document.slots.push(this.#putPassage(document, staged));
    collection.documents.set(document.id, document);
    this.#documents.set(document.id, document);
  }

  #takeSlot(): number {
    const slot = this.#freeSlots.pop() ?? this.#chunkIds.length;
    if (slot > SLOTS_MAX) throw new Error("more passages than one index can number");
    if (slot >= this.#rows.length) {
      this.#lengths = grown(this.#lengths, slot);
      this.#spaceNumbers = grown(this.#spaceNumbers, slot);
      this.#rows = grown(this.#rows, slot);
      this.#states = grown(this.#states, slot);
      this.#frequencies = grown(this.#frequencies, slot);
      this.#scores = new Float64Array(this.#rows.length);
      this.#admitted = new Int32Array(this.#rows.length);
      this.#scanRows = new Int32Array(this.#rows.length);
      this.#scanSlots = new Int32Array(this.#rows.length);
    }
    return slot;
  }

  #putPassage(document: Document, { id, length, terms, vector }: Staged): number {
    const { collection } = document;
    const slot = this.#takeSlot();
    collection.postings.add(slot, terms);
    this.#chunkIds[slot] = id;
    this.#owners[slot] = document;
    this.#lengths[slot] = length;
    this.#rows[slot] = NO_ROW;
    if (vector && collection.model !== null) {
      const number = this.#spaceNumber(collection.model, vector.length);
      this.#spaceNumbers[slot] = number;
      this.#rows[slot] = this.#spaces[number]?.vectors.add(vector) ?? NO_ROW;
    }
    collection.passages++;
    collection.length += length;
    if (this.#rows[slot] !== NO_ROW) collection.vectors++;
    if (document.language !== null) {
      collection.languages.set(document.language, (collection.languages.get(document.language) ?? 0) + 1);
    }
    return slot;
  }

  #spaceNumber(model: string, dimensions: number): number {
    const known = this.#spaces.findIndex((space) => space.model === model && space.vectors.dimensions === dimensions);
    if (known >= 0) return known;
    if (this.#spaces.length === SPACES_MAX) throw new Error("more embedding models than one index can number");
    return this.#spaces.push({ model, vectors: new VectorSpace(dimensions) }) - 1;
  }

  #removeDocument(document: Document): void {
    const { collection } = document;
    for (const slot of document.slots) {
      const row = this.#rows[slot] ?? NO_ROW;
      const length = this.#lengths[slot] ?? 0;
      if (row !== NO_ROW) {
        this.#spaces[this.#spaceNumbers[slot] ?? 0]?.vectors.remove(row);
        collection.vectors--;
      }
      collection.passages--;
      collection.length -= length;
      this.#rows[slot] = NO_ROW;
      this.#owners[slot] = null;
      this.#chunkIds[slot] = "";
      if (collection.postings.remove(slot)) this.#freeSlots.push(slot);
    }
    if (document.language !== null) {
      const left = (collection.languages.get(document.language) ?? 0) - document.slots.length;
      if (left > 0) collection.languages.set(document.language, left);
      else collection.languages.delete(document.language);
    }
    collection.documents.delete(document.id);
    if (this.#documents.get(document.id) === document) this.#documents.delete(document.id);
  }

  #termScratch(): Uint32Array {
    this.#termCounts = grown(this.#termCounts, this.#dictionary.bound);
    return this.#termCounts;
  }

  #rebuild(collection: Collection): void {
    this.#freeSlots.push(...collection.postings.rebuild(this.#termScratch(), (slot) => this.#owners[slot] !== null));
  }

  #sweep(): void {
    const isUsed = new Uint8Array(this.#dictionary.bound);
    for (const collection of this.#collections.values()) collection.postings.mark(isUsed);
    for (const documents of this.#staged.values()) {
      for (const passages of documents.values()) {
        for (const { terms } of passages) for (const packed of terms) isUsed[packed >>> 8] = 1;
      }
    }
    this.#dictionary.sweep(isUsed);
  }

  // --- searching ---

  /** What `reader` may do under each rule, by its number. */
  #admissions(reader: Reader): Uint8Array {
    return Uint8Array.from(this.#rights, (rights) => admission(rights, reader));
  }

  #collectionsOf(ids: Iterable<string>): Collection[] {
    const found: Collection[] = [];
    for (const id of new Set(ids)) {
      const collection = this.#collections.get(id);
      if (collection) found.push(collection);
    }
    return found;
  }

  /** Passages that the reader may meet, in `#states`: 1 by title only, 2 open. Their list is the beginning of `#admitted`. */
  #admit(query: PassageQuery, collections: readonly Collection[]): Int32Array {
    const admissions = this.#admissions(query.reader);
    const least = query.withTitles ? 1 : 2;
    const only = query.documentIds ? new Set(query.documentIds) : null;
    const chunks = query.chunkIds ? new Set(query.chunkIds) : null;
    const admitted = this.#admitted;
    const states = this.#states;
    let count = 0;
    const take = (document: Document) => {
      const state = admissions[document.rights] ?? 0;
      if (state < least) return;
      for (const slot of document.slots) {
        if (chunks && !chunks.has(this.#chunkIds[slot] ?? "")) continue;
        states[slot] = state;
        admitted[count++] = slot;
      }
    };
    for (const collection of collections) {
      if (only && only.size < collection.documents.size) {
        for (const id of only) {
          const document = collection.documents.get(id);
          if (document) take(document);
        }
      } else {
        for (const document of collection.documents.values()) if (!only || only.has(document.id)) take(document);
      }
    }
    return admitted.subarray(0, count);
  }

  search(query: PassageQuery): PassageHits {
    const collections = this.#collectionsOf(query.collections.map(({ id }) => id));
    const languages = this.#languagesOf(collections);
    const admitted = this.#admit(query, collections);
    try {
      const dense = query.dense ? this.#dense(query.dense, collections, admitted) : { hits: [], withoutVectors: [] };
      const sparse = query.sparse ? this.#sparse(query.sparse, collections, languages) : { hits: [], matched: 0 };
      return {
        dense: dense.hits,
        sparse: sparse.hits,
        candidates: query.dense ? admitted.length : sparse.matched,
        withoutVectors: dense.withoutVectors,
        languages,
      };
    } finally {
      for (const slot of admitted) this.#states[slot] = 0;
    }
  }

  #languagesOf(collections: readonly Collection[]): Language[] {
    const counts = new Map<Language, number>();
    for (const { languages } of collections) {
      for (const [language, count] of languages) {
        if (isLanguage(language)) counts.set(language, (counts.get(language) ?? 0) + count);
      }
    }
    return [...counts].toSorted((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([language]) => language);
  }

  #best(limit: number): Best {
    return new Best(limit, (a, b) => (this.#chunkIds[a] ?? "") < (this.#chunkIds[b] ?? ""));
  }

  #hits(scored: readonly Scored[]): PassageHit[] {
    return scored.flatMap(({ slot, score }) => {
      const document = this.#owners[slot];
      if (!document) return [];
      return {
        chunkId: this.#chunkIds[slot] ?? "",
        documentId: document.id,
        collectionId: document.collection.id,
        score,
        isOpen: this.#states[slot] === 2,
      };
    });
  }

  #dense(
    dense: NonNullable<PassageQuery["dense"]>,
    collections: readonly Collection[],
    admitted: Int32Array,
  ): { hits: PassageHit[]; withoutVectors: string[] } {
    const given = new Map(dense.vectors.map(({ model, vector }) => [model, vector]));
    const best = this.#best(dense.limit);
    const mismatched = new Set<string>();
    for (const [number, { model, vectors }] of this.#spaces.entries()) {
      const vector = given.get(model);
      if (!vector) continue;
      const count = this.#rowsIn(number, admitted);
      if (count === 0) continue;
      if (vector.length !== vectors.dimensions) {
        mismatched.add(model);
        continue;
      }
      const cosines = vectors.cosines(vector, this.#scanRows.subarray(0, count));
      for (let index = 0; index < count; index++) best.offer(this.#scanSlots[index] ?? 0, cosines[index] ?? 0);
    }
    const withoutVectors = collections.filter(
      ({ model, passages, vectors }) =>
        passages > 0 && (vectors < passages || model === null || !given.has(model) || mismatched.has(model)),
    );
    return { hits: this.#hits(best.sorted()), withoutVectors: withoutVectors.map(({ id }) => id) };
  }

  /** Lists the admitted passages with a vector in that space, in `#scanRows` and `#scanSlots`; how many there are. */
  #rowsIn(space: number, admitted: Int32Array): number {
    const [rows, spaces, scanRows, scanSlots] = [this.#rows, this.#spaceNumbers, this.#scanRows, this.#scanSlots];
    let count = 0;
    for (const slot of admitted) {
      const row = rows[slot] ?? NO_ROW;
      if (row === NO_ROW || spaces[slot] !== space) continue;
      scanRows[count] = row;
      scanSlots[count++] = slot;
    }
    return count;
  }

  #sparse(
    sparse: NonNullable<PassageQuery["sparse"]>,
    collections: readonly Collection[],
    languages: readonly Language[],
  ): { hits: PassageHit[]; matched: number } {
    const { k1, b } = sparse;
    const all = queryWords(sparse.text, languages, sparse.stemming);
    const telling = sparse.dropStopWords ? all.filter((word) => !word.isStopWord) : all;
    const passages = collections.reduce((sum, collection) => sum + collection.passages, 0);
    const length = collections.reduce((sum, collection) => sum + collection.length, 0);
    const average = passages === 0 ? 1 : length / passages || 1;
    const matched: number[] = [];
    const scores = this.#scores;
    for (const word of telling) {
      const holders = this.#holders(word.variants, collections);
      const rarity = Math.log(1 + (passages - holders.length + 0.5) / (holders.length + 0.5));
      for (const slot of holders) {
        const frequency = this.#frequencies[slot] ?? 0;
        this.#frequencies[slot] = 0;
        if (this.#states[slot] === 0) continue;
        if (scores[slot] === 0) matched.push(slot);
        const relative = (this.#lengths[slot] ?? 0) / average;
        const gain = (rarity * frequency * (k1 + 1)) / (frequency + k1 * (1 - b + b * relative));
        scores[slot] = (scores[slot] ?? 0) + gain;
      }
    }
    const required = sparse.required ? this.#holdingAll(sparse.required, collections) : null;
    const best = this.#best(sparse.limit);
    let count = 0;
    for (const slot of matched) {
      const score = scores[slot] ?? 0;
      scores[slot] = 0;
      if (required && !required.has(slot)) continue;
      count++;
      best.offer(slot, score);
    }
    return { hits: this.#hits(best.sorted()), matched: count };
  }

  /** Passages of the collections with any of the terms; how often the most frequent one stands there is in `#frequencies`. */
  #holders(terms: readonly string[], collections: readonly Collection[]): number[] {
    const found: number[] = [];
    const frequencies = this.#frequencies;
    const take = (slot: number, frequency: number) => {
      const before = frequencies[slot] ?? 0;
      if (before === 0) {
        if (this.#owners[slot] === null) return;
        found.push(slot);
      }
      if (frequency > before) frequencies[slot] = frequency;
    };
    for (const term of terms) {
      const id = this.#dictionary.find(term);
      if (id !== undefined) for (const { postings } of collections) postings.visit(id, take);
    }
    return found;
  }

  #holdingAll(terms: readonly string[], collections: readonly Collection[]): Set<number> {
    const held = new Map<number, number>();
    for (const term of terms) {
      for (const slot of this.#holders([term], collections)) {
        this.#frequencies[slot] = 0;
        held.set(slot, (held.get(slot) ?? 0) + 1);
      }
    }
    return new Set([...held].filter(([, count]) => count === terms.length).map(([slot]) => slot));
  }

  // --- figures ---

  /** Equal for readers who may see the same in these collections. */
  fingerprint(collectionIds: readonly string[], reader: Reader): string {
    const seen = new Set<number>();
    for (const collection of this.#collectionsOf(collectionIds)) {
      for (const document of collection.documents.values()) seen.add(document.rights);
    }
    const admissions = this.#admissions(reader);
    const parts = [...seen].map((number) => {
      const rights = this.#rights[number];
      return `${admissions[number]}${rights ? rightsKey(rights) : ""}`;
    });
    return sha256Hex(parts.toSorted().join("\n"));
  }

  /** How many passages of the collections hold each word, given by its variants. */
  terms(collectionIds: readonly string[], words: readonly (readonly string[])[]): TermFigures {
    const collections = this.#collectionsOf(collectionIds);
    const holders = words.map((variants) => {
      const slots = this.#holders(variants, collections);
      for (const slot of slots) this.#frequencies[slot] = 0;
      return slots.length;
    });
    return { passages: collections.reduce((sum, { passages }) => sum + passages, 0), holders };
  }

  figures(collectionIds: readonly string[]): CollectionFigures[] {
    return this.#collectionsOf(collectionIds).map((collection) => {
      let bytes = collection.postings.bytes;
      for (const document of collection.documents.values()) {
        for (const slot of document.slots) {
          if (this.#rows[slot] !== NO_ROW) bytes += this.#spaces[this.#spaceNumbers[slot] ?? 0]?.vectors.stride ?? 0;
        }
      }
      return { id: collection.id, passages: collection.passages, vectors: collection.vectors, bytes };
    });
  }
}
