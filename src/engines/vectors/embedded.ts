// The index over the rows of the database, in a Worker of this process. A query carries the change of each collection
// that it must see; what is older here is read first, so that a search sees every change committed before it began,
// on whichever instance that was.

import type { Log } from "../../core/log.ts";
import type { CollectionState, PassageQuery, PassageSource, VectorIndex } from "./index.ts";
import { Loader } from "./loader.ts";
import { IndexWorker } from "./worker-client.ts";

/** Collections read at a time, so that a start does not take the database for itself. */
const LOADS_MAX = 2;

interface Held {
  /** Null: nothing is held. */
  state: CollectionState | null;
  /** The load that is under way. */
  loading: Promise<void> | null;
}

export interface EmbeddedOptions {
  source: PassageSource;
  /** False: words only. */
  vectors: boolean;
  log: Log;
}

/** Opens an empty index; `start` fills it. */
export function embeddedIndex(options: EmbeddedOptions): VectorIndex {
  const { source, log } = options;
  const held = new Map<string, Held>();
  const dirty = new Set<string>();
  let draining: Promise<void> | null = null;
  let isClosed = false;
  let worker = openWorker();
  let loader = new Loader(source, worker, options.vectors);

  function openWorker(): IndexWorker {
    return new IndexWorker((cause) => {
      if (isClosed) return;
      // Not loaded at once: if loading is what kills it, only searches should try again.
      log.error("the index worker died; searches load what they need anew", { cause });
      held.clear();
      worker = openWorker();
      loader = new Loader(source, worker, options.vectors);
    });
  }

  function heldOf(id: string): Held {
    const known = held.get(id) ?? { state: null, loading: null };
    held.set(id, known);
    return known;
  }

  /** Reads what changed in one collection, or waits for the load that is under way. */
  async function load(id: string, known: CollectionState | null = null): Promise<void> {
    const entry = heldOf(id);
    if (entry.loading) {
      await entry.loading;
      return;
    }
    const work = async () => {
      const state = await loader.load(id, entry.state, known);
      if (state) entry.state = state;
      else if (held.get(id) === entry) held.delete(id);
    };
    entry.loading = work().finally(() => {
      entry.loading = null;
    });
    await entry.loading;
  }

  /** Until the collection is as new as `seq`, or gone. */
  async function ensure({ id, seq }: { id: string; seq: number }): Promise<void> {
    while ((held.get(id)?.state?.seq ?? -1) < seq) {
      await load(id);
      if (!held.has(id)) return;
    }
  }

  async function inTurns<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
    const rest = [...items];
    const lane = async () => {
      for (let item = rest.shift(); item !== undefined; item = rest.shift()) await work(item);
    };
    await Promise.all(Array.from({ length: Math.min(LOADS_MAX, rest.length) }, lane));
  }

  async function ensureAll(collections: PassageQuery["collections"]): Promise<void> {
    const behind = collections.filter(({ id, seq }) => (held.get(id)?.state?.seq ?? -1) < seq);
    if (behind.length > 0) await inTurns(behind, ensure);
  }

  /** Reads what was announced, several announcements of one collection at once. Searches do not depend on it. */
  async function drain(): Promise<void> {
    while (dirty.size > 0 && !isClosed) {
      const ids = [...dirty];
      dirty.clear();
      try {
        const states = await source.collections(ids);
        const present = new Set(states.map(({ id }) => id));
        await inTurns(
          ids.filter((id) => !present.has(id) && held.has(id)),
          (id) => load(id),
        );
        await ensureAll(states);
      } catch (error) {
        if (!isClosed) log.warn("the index did not take in a change; searches will", { collections: ids, error });
      }
    }
  }

  async function start(): Promise<void> {
    const collections = await source.collections(null);
    await inTurns(collections, async (collection) => {
      if (isClosed || (held.get(collection.id)?.state?.seq ?? -1) >= collection.seq) return;
      await load(collection.id, collection).catch((error: unknown) => {
        if (!isClosed) log.error("a collection could not be loaded into the index", { id: collection.id, error });
      });
    });
  }

  return {
    kind: options.vectors ? "embedded" : "off",
    search: async (query) => {
      await ensureAll(query.collections);
      const answer = await worker.ask({ type: "search", query });
      if (!("hits" in answer)) throw new Error("the index worker answered something else");
      return answer.hits;
    },
    fingerprint: async (collections, reader) => {
      await ensureAll(collections);
      const collectionIds = collections.map(({ id }) => id);
      const answer = await worker.ask({ type: "fingerprint", collectionIds, reader });
      if (!("fingerprint" in answer)) throw new Error("the index worker answered something else");
      return answer.fingerprint;
    },
    terms: async (collections, words) => {
      await ensureAll(collections);
      const collectionIds = collections.map(({ id }) => id);
      const answer = await worker.ask({ type: "terms", collectionIds, words });
      if (!("terms" in answer)) throw new Error("the index worker answered something else");
      return answer.terms;
    },
    changed: (collectionIds) => {
      for (const id of collectionIds) dirty.add(id);
      draining ??= drain().finally(() => {
        draining = null;
      });
    },
    figures: async (collectionIds) => {
      const answer = await worker.ask({ type: "figures", collectionIds });
      return "figures" in answer ? answer.figures : [];
    },
    start,
    ping: async () => {
      const begun = performance.now();
      await worker.ask({ type: "figures", collectionIds: [] });
      return { latencyMs: performance.now() - begun };
    },
    close: async () => {
      isClosed = true;
      worker.close();
      await draining;
      await Promise.allSettled([...held.values()].flatMap(({ loading }) => loading ?? []));
    },
  };
}
