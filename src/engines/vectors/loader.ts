// Keeps the index Worker in step with the rows: reads what changed in a collection since it was last read, and makes
// it visible there in one step.

import type { CollectionState, DocumentState, PassageSource, StoredPassage } from "./index.ts";
import type { LoadCommit, LoadedPassage, LoadPage } from "./messages.ts";
import type { IndexWorker } from "./worker-client.ts";

const DOCUMENTS_PER_PAGE = 500;
/** Keeps one message, and the step that clones it, to a few milliseconds. */
const PASSAGES_PER_PAGE = 128;
/** How often a document that is replaced while it is read is read again. */
const ATTEMPTS_MAX = 5;

type Versioned = DocumentState & { version: number };
const isVisible = (document: DocumentState): document is Versioned => document.version !== null;

/** Documents in groups whose passages fit in about one page. */
function* groups(documents: readonly Versioned[]): Generator<Versioned[]> {
  let group: Versioned[] = [];
  let passages = 0;
  for (const document of documents) {
    if (group.length > 0 && passages + document.chunksCount > PASSAGES_PER_PAGE) {
      yield group;
      group = [];
      passages = 0;
    }
    group.push(document);
    passages += document.chunksCount;
  }
  if (group.length > 0) yield group;
}

/** One page as the Worker takes it: the vectors lie in one buffer, which is handed over instead of copied. */
function pageOf(documents: readonly Versioned[], rows: readonly StoredPassage[]): LoadPage {
  const bytes = rows.find((row) => row.vector)?.vector?.byteLength ?? 0;
  const withVector = rows.filter((row) => row.vector?.byteLength === bytes && bytes > 0);
  const buffer = new Uint8Array(withVector.length * bytes);
  let at = 0;
  const passages: LoadedPassage[] = rows.map(({ vector, ...passage }) => {
    const hasVector = vector !== null && vector.byteLength === bytes && bytes > 0;
    if (hasVector) {
      buffer.set(vector, at);
      at += bytes;
    }
    return { ...passage, hasVector };
  });
  return { documents, passages, vectors: new Float32Array(buffer.buffer) };
}

export class Loader {
  readonly #source: PassageSource;
  readonly #worker: IndexWorker;
  readonly #withVectors: boolean;
  #nextLoad = 1;

  constructor(source: PassageSource, worker: IndexWorker, withVectors: boolean) {
    this.#source = source;
    this.#worker = worker;
    this.#withVectors = withVectors;
  }

  /**
   * Brings the collection from what is held (null: nothing) to its present state, or at least to `known`, and returns
   * that; null: there is no such collection any more.
   */
  async load(
    collectionId: string,
    held: CollectionState | null,
    known: CollectionState | null = null,
  ): Promise<CollectionState | null> {
    const collection = known ?? (await this.#source.collections([collectionId]))[0];
    if (!collection) {
      await this.#worker.ask({ type: "drop", collectionIds: [collectionId] });
      return null;
    }
    const isSameSpace = held?.model === collection.model && held.dimensions === collection.dimensions;
    if (isSameSpace && held.seq === collection.seq) return held;
    const since = isSameSpace ? held.seq : null;
    const removed = since === null ? null : await this.#source.removals(collectionId, since);
    const isWhole = removed === null;
    const load = this.#nextLoad++;
    try {
      const documents = await this.#documents(collectionId, isWhole ? -1 : (since ?? -1));
      const commit: LoadCommit = { collection, isWhole, removed: removed ?? [], documents: [] };
      await this.#stage(load, documents, commit);
      await this.#worker.ask({ type: "commit", load, commit });
      return collection;
    } catch (error) {
      await this.#worker.ask({ type: "abandon", load }).catch(() => undefined);
      throw error;
    }
  }

  async #documents(collectionId: string, seq: number): Promise<DocumentState[]> {
    const documents: DocumentState[] = [];
    for (;;) {
      const after = documents.at(-1)?.id ?? null;
      const page = await this.#source.documents(collectionId, seq, after, DOCUMENTS_PER_PAGE);
      documents.push(...page);
      if (page.length < DOCUMENTS_PER_PAGE) return documents;
    }
  }

  /** Loads passages of the documents whose version is not held, and says in `commit` what becomes of each document. */
  async #stage(load: number, documents: readonly DocumentState[], commit: LoadCommit): Promise<void> {
    const visible = documents.filter(isVisible);
    const held = commit.isWhole ? new Set<string>() : await this.#held(commit.collection.id, visible);
    const states: (DocumentState & { hasPassages: boolean })[] = visible
      .filter(({ id }) => held.has(id))
      .map((document) => ({ ...document, hasPassages: false }));
    const removed = [...commit.removed, ...documents.filter((document) => !isVisible(document)).map(({ id }) => id)];

    let wanted = visible.filter(({ id }) => !held.has(id));
    for (let attempt = 1; wanted.length > 0; attempt++) {
      const doubtful: Versioned[] = [];
      for (const group of groups(wanted)) {
        const counts = await this.#passages(load, group, commit.collection.model);
        for (const document of group) {
          if (counts.get(document.id) === document.chunksCount) states.push({ ...document, hasPassages: true });
          else doubtful.push(document);
        }
      }
      // Replaced while it was read, unless its version still stands and only the count was wrong.
      wanted = [];
      const present = doubtful.length === 0 ? null : await this.#source.versions(doubtful.map(({ id }) => id));
      for (const document of doubtful) {
        const state = present?.get(document.id);
        if (!state || state.version === null) removed.push(document.id);
        else if (state.version === document.version) states.push({ ...document, hasPassages: true });
        else wanted.push({ ...document, version: state.version, chunksCount: state.chunksCount });
      }
      if (wanted.length > 0 && attempt === ATTEMPTS_MAX) throw new Error("documents change faster than they are read");
    }
    Object.assign(commit, { removed, documents: states });
  }

  async #held(collectionId: string, documents: readonly Versioned[]): Promise<Set<string>> {
    if (documents.length === 0) return new Set();
    const wanted = documents.map(({ id, version }) => ({ id, version }));
    const answer = await this.#worker.ask({ type: "held", collectionId, documents: wanted });
    return new Set("held" in answer ? answer.held : []);
  }

  /** Hands over the passages of the documents; how many there were of each. */
  async #passages(load: number, documents: readonly Versioned[], model: string | null): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    const wanted = documents.map(({ id, version }) => ({ id, version }));
    let after: { documentId: string; ordinal: number } | null = null;
    for (let isFirst = true; ; isFirst = false) {
      const rows = await this.#source.passages(wanted, this.#withVectors ? model : null, after, PASSAGES_PER_PAGE);
      for (const { documentId } of rows) counts.set(documentId, (counts.get(documentId) ?? 0) + 1);
      const page = pageOf(isFirst ? documents : [], rows);
      await this.#worker.ask({ type: "page", load, page }, [page.vectors.buffer as ArrayBuffer]);
      const last = rows.at(-1);
      if (!last || rows.length < PASSAGES_PER_PAGE) return counts;
      after = { documentId: last.documentId, ordinal: last.ordinal };
    }
  }
}
