// A map whose entries have an end: bounded, ordered by that end in a binary heap, swept in slices.

export interface Expiring {
  readonly key: string;
  /** Milliseconds since the epoch; from then on the entry is gone. */
  readonly expiresAt: number;
  /** What it counts against the map's weight. */
  readonly weight: number;
  /** Its index in the heap; the map's own. */
  place: number;
}

export interface Bounds {
  entriesMax: number;
  weightMax: number;
}

/** Entries by key. At a bound the entries that end soonest make room, never the one just put. */
export class ExpiringMap<Entry extends Expiring> {
  readonly #entries = new Map<string, Entry>();
  readonly #heap: Entry[] = [];
  readonly #bounds: Bounds;
  #weight = 0;

  constructor(bounds: Bounds) {
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#heap.length;
  }

  /** The entry that is alive at `now`. */
  get(key: string, now: number): Entry | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && entry.expiresAt > now ? entry : undefined;
  }

  /** Adds or replaces; returns how many living entries had to make room. */
  put(entry: Entry, now: number): number {
    this.remove(entry.key);
    let evicted = 0;
    while (
      this.#heap.length > 0 &&
      (this.#heap.length >= this.#bounds.entriesMax || this.#weight + entry.weight > this.#bounds.weightMax)
    ) {
      const soonest = this.#heap[0];
      if (soonest === undefined) break;
      if (soonest.expiresAt > now) evicted += 1;
      this.remove(soonest.key);
    }
    this.#entries.set(entry.key, entry);
    this.#weight += entry.weight;
    this.#heap.push(entry);
    this.#rise(this.#heap.length - 1, entry);
    return evicted;
  }

  /** The removed entry, alive or not. */
  remove(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    this.#weight -= entry.weight;
    const last = this.#heap.pop();
    if (last !== undefined && last !== entry) {
      this.#rise(entry.place, last);
      this.#sink(last.place, last);
    }
    return entry;
  }

  /** Removes up to `limit` entries that have ended; true when there may be more. */
  sweep(now: number, limit: number): boolean {
    for (let removed = 0; removed < limit; removed += 1) {
      const soonest = this.#heap[0];
      if (soonest === undefined || soonest.expiresAt > now) return false;
      this.remove(soonest.key);
    }
    return true;
  }

  clear(): void {
    this.#entries.clear();
    this.#heap.length = 0;
    this.#weight = 0;
  }

  #set(place: number, entry: Entry): void {
    this.#heap[place] = entry;
    entry.place = place;
  }

  #rise(from: number, entry: Entry): void {
    let place = from;
    while (place > 0) {
      const up = (place - 1) >> 1;
      const parent = this.#heap[up];
      if (parent === undefined || parent.expiresAt <= entry.expiresAt) break;
      this.#set(place, parent);
      place = up;
    }
    this.#set(place, entry);
  }

  #sink(from: number, entry: Entry): void {
    let place = from;
    for (;;) {
      const left = this.#heap[2 * place + 1];
      const right = this.#heap[2 * place + 2];
      const child = right !== undefined && left !== undefined && right.expiresAt < left.expiresAt ? right : left;
      if (child === undefined || child.expiresAt >= entry.expiresAt) break;
      const down = child.place;
      this.#set(place, child);
      place = down;
    }
    this.#set(place, entry);
  }
}

/** Sweeps the maps each second in slices that leave the event loop free; returns how to stop it. */
export function sweepEachSecond(maps: Pick<ExpiringMap<Expiring>, "sweep">[], now: () => number): () => void {
  const slice = 1_000;
  let more: NodeJS.Immediate | null = null;
  const sweep = () => {
    more = null;
    const left = maps.map((map) => map.sweep(now(), slice));
    if (left.includes(true)) more = setImmediate(sweep);
  };
  const timer = setInterval(() => {
    if (more === null) sweep();
  }, 1_000);
  timer.unref();
  return () => {
    clearInterval(timer);
    if (more !== null) clearImmediate(more);
  };
}
