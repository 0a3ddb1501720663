// Which passages hold a term, and how often: one inverted list per collection, made in one pass over its passages,
// and the passages that came since. Terms are numbers of a dictionary that all collections share.

/** A passage's number and the frequency share 32 bits. */
export const SLOTS_MAX = 0xffffff;
/** So do a term's number and the frequency. */
const TERMS_MAX = 0xffffff;
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
    // A copy: the term is a piece of a passage's stored terms, and would keep all of them in memory.
    this.#ids.set(Buffer.from(term).toString(), id);
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

/** Terms of one passage: term × 256 + frequency, ascending. */
export type PassageTerms = Uint32Array;

/** Makes the terms of a passage of unordered (term, frequency) pairs. */
export function passageTerms(pairs: readonly (readonly [number, number])[]): PassageTerms {
  return Uint32Array.from(pairs, ([term, frequency]) => {
    if (term > TERMS_MAX) throw new Error("more terms than one index can number");
    return ((term << 8) | Math.min(frequency, FREQUENCY_MAX)) >>> 0;
  }).sort();
}

const EMPTY = new Uint32Array(0);

/** Index of `wanted` among ascending values, of which the lowest `shift` bits do not count; −1 without it. */
function find(values: Uint32Array, wanted: number, shift: number): number {
  let low = 0;
  let high = values.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const value = (values[middle] ?? 0) >>> shift;
    if (value === wanted) return middle;
    if (value < wanted) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

export class Postings {
  #terms = EMPTY;
  #starts = EMPTY;
  /** slot × 256 + frequency, by term. */
  #entries = EMPTY;
  /** Passages that are not in the lists yet, by slot. */
  readonly #loose = new Map<number, PassageTerms>();
  #listed = 0;
  /** Slots that are gone but still in the lists: they must not be given to other passages before `rebuild`. */
  #gone: number[] = [];

  get bytes(): number {
    return (this.#terms.length + this.#starts.length + this.#entries.length) * 4;
  }

  add(slot: number, terms: PassageTerms): void {
    this.#loose.set(slot, terms);
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
    const index = find(this.#terms, term, 0);
    if (index >= 0) {
      const end = this.#starts[index + 1] ?? 0;
      for (let at = this.#starts[index] ?? 0; at < end; at++) {
        const entry = this.#entries[at] ?? 0;
        each(entry >>> 8, entry & 0xff);
      }
    }
    if (this.#loose.size === 0) return;
    for (const [slot, terms] of this.#loose) {
      const at = find(terms, term, 8);
      if (at >= 0) each(slot, (terms[at] ?? 0) & 0xff);
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
    for (const [slot, terms] of this.#loose) {
      for (const packed of terms) each(packed >>> 8, ((slot << 8) | (packed & 0xff)) >>> 0);
    }
  }

  /** Marks every term that is held. */
  mark(isUsed: Uint8Array): void {
    for (const term of this.#terms) isUsed[term] = 1;
    for (const terms of this.#loose.values()) for (const packed of terms) isUsed[packed >>> 8] = 1;
  }
}
