// Which passages hold a term, and how often: one inverted list per collection, made in one pass over its passages,
// and the passages that came since. Terms are numbers of a dictionary that all collections share.

/** A passage's number and the frequency share 32 bits. */
export const SLOTS_MAX = 0xffffff;
const FREQUENCY_MAX = 0xff;
/** Below this, new passages are looked through one by one; above, when they are more than a quarter, lists are made anew. */
const LOOSE_MIN = 64;

/** Terms ↔ numbers. Numbers of terms that are gone are used again after a sweep. */
export class Dictionary {
  readonly #ids = new Map<string, number>();
  readonly #free: number[] = [];
  #next = 0;
  #sizeAtSweep = 0;

  get size(): number {
    return this.#ids.size;
  }

  /** One above the highest number given. */
  get bound(): number {
    return this.#next;
  }

  id(term: string): number {
    const known = this.#ids.get(term);
    if (known !== undefined) return known;
    const id = this.#free.pop() ?? this.#next++;
    this.#ids.set(term, id);
    return id;
  }

  find(term: string): number | undefined {
    return this.#ids.get(term);
  }

  /** True when so many terms have come since the last sweep that looking for unused ones pays. */
  get isDueForSweep(): boolean {
    return this.#ids.size > 2 * this.#sizeAtSweep + 200_000;
  }

  /** Forgets every term whose number is not marked. */
  sweep(isUsed: Uint8Array): void {
    for (const [term, id] of this.#ids) {
      if (isUsed[id] === 1) continue;
      this.#ids.delete(term);
      this.#free.push(id);
    }
    this.#sizeAtSweep = this.#ids.size;
  }
}

/** Terms of one passage that is not in the lists yet: `terms[i]` stands in it `frequencies[i]` times; terms ascend. */
export interface LoosePassage {
  slot: number;
  terms: Uint32Array;
  frequencies: Uint8Array;
}

/** Makes a loose passage of unordered (term, frequency) pairs. */
export function loosePassage(slot: number, pairs: readonly (readonly [number, number])[]): LoosePassage {
  const sorted = pairs.toSorted((a, b) => a[0] - b[0]);
  return {
    slot,
    terms: Uint32Array.from(sorted, ([term]) => term),
    frequencies: Uint8Array.from(sorted, ([, frequency]) => Math.min(frequency, FREQUENCY_MAX)),
  };
}

const EMPTY = new Uint32Array(0);

function find(terms: Uint32Array, term: number): number {
  let low = 0;
  let high = terms.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const value = terms[middle] ?? 0;
    if (value === term) return middle;
    if (value < term) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

export class Postings {
  #terms = EMPTY;
  #starts = EMPTY;
  /** slot × 256 + frequency, by term. */
  #entries = EMPTY;
  readonly #loose = new Map<number, LoosePassage>();
  #listed = 0;
  /** Slots that are gone but still in the lists: they must not be given to other passages before `rebuild`. */
  #gone: number[] = [];

  get bytes(): number {
    return (this.#terms.length + this.#starts.length + this.#entries.length) * 4;
  }

  add(passage: LoosePassage): void {
    this.#loose.set(passage.slot, passage);
  }

  /** Takes a passage out; true if its slot may be used again at once. */
  remove(slot: number): boolean {
    if (this.#loose.delete(slot)) return true;
    this.#gone.push(slot);
    return false;
  }

  get isDueForRebuild(): boolean {
    return (
      this.#loose.size > Math.max(LOOSE_MIN, this.#listed / 4) ||
      this.#gone.length > Math.max(LOOSE_MIN, this.#listed / 4)
    );
  }

  /** Calls `each` for every passage that holds `term`, gone ones included. */
  visit(term: number, each: (slot: number, frequency: number) => void): void {
    const index = find(this.#terms, term);
    if (index >= 0) {
      const end = this.#starts[index + 1] ?? 0;
      for (let at = this.#starts[index] ?? 0; at < end; at++) {
        const entry = this.#entries[at] ?? 0;
        each(entry >>> 8, entry & 0xff);
      }
    }
    if (this.#loose.size === 0) return;
    for (const passage of this.#loose.values()) {
      const at = find(passage.terms, term);
      if (at >= 0) each(passage.slot, passage.frequencies[at] ?? 0);
    }
  }

  /** Puts all passages into the lists. Returns the slots that may be used again. `scratch` has a zero for every term. */
  rebuild(scratch: Uint32Array, isAlive: (slot: number) => boolean): number[] {
    const counts = scratch;
    const used: number[] = [];
    let total = 0;
    const count = (term: number) => {
      if (counts[term] === 0) used.push(term);
      counts[term] = (counts[term] ?? 0) + 1;
      total++;
    };
    this.#each(isAlive, count);
    used.sort((a, b) => a - b);
    const terms = Uint32Array.from(used);
    const starts = new Uint32Array(terms.length + 1);
    let at = 0;
    for (let index = 0; index < terms.length; index++) {
      const term = terms[index] ?? 0;
      starts[index] = at;
      const length = counts[term] ?? 0;
      counts[term] = at;
      at += length;
    }
    starts[terms.length] = at;
    const entries = new Uint32Array(total);
    this.#each(isAlive, (term, entry) => {
      const place = counts[term] ?? 0;
      entries[place] = entry;
      counts[term] = place + 1;
    });
    for (const term of used) counts[term] = 0;
    this.#terms = terms;
    this.#starts = starts;
    this.#entries = entries;
    this.#listed += this.#loose.size - this.#gone.length;
    this.#loose.clear();
    const freed = this.#gone;
    this.#gone = [];
    return freed;
  }

  #each(isAlive: (slot: number) => boolean, each: (term: number, entry: number) => void): void {
    for (let index = 0; index < this.#terms.length; index++) {
      const term = this.#terms[index] ?? 0;
      const end = this.#starts[index + 1] ?? 0;
      for (let at = this.#starts[index] ?? 0; at < end; at++) {
        const entry = this.#entries[at] ?? 0;
        if (isAlive(entry >>> 8)) each(term, entry);
      }
    }
    for (const { slot, terms, frequencies } of this.#loose.values()) {
      for (let index = 0; index < terms.length; index++) {
        each(terms[index] ?? 0, ((slot << 8) | (frequencies[index] ?? 0)) >>> 0);
      }
    }
  }

  /** Marks every term that is held. */
  mark(isUsed: Uint8Array): void {
    for (const term of this.#terms) isUsed[term] = 1;
    for (const passage of this.#loose.values()) for (const term of passage.terms) isUsed[term] = 1;
  }
}
