// The best k of many scored passages.

export interface Scored {
  slot: number;
  score: number;
}

/** Keeps the `limit` best; `isBefore` decides between equal scores, so that the order is total. */
export class Best {
  readonly #limit: number;
  readonly #isBefore: (a: number, b: number) => boolean;
  /** A heap whose root is the worst kept. */
  readonly #heap: Scored[] = [];

  constructor(limit: number, isBefore: (a: number, b: number) => boolean) {
    this.#limit = limit;
    this.#isBefore = isBefore;
  }

  #isWorse(a: Scored, b: Scored): boolean {
    return a.score < b.score || (a.score === b.score && this.#isBefore(b.slot, a.slot));
  }

  offer(slot: number, score: number): void {
    const heap = this.#heap;
    const worst = heap[0];
    if (heap.length >= this.#limit && worst && score < worst.score) return;
    const entry = { slot, score };
    if (heap.length < this.#limit) {
      heap.push(entry);
      this.#up(heap.length - 1);
    } else if (worst && this.#isWorse(worst, entry)) {
      heap[0] = entry;
      this.#down();
    }
  }

  #up(from: number): void {
    const heap = this.#heap;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const [a, b] = [heap[at], heap[parent]];
      if (!a || !b || !this.#isWorse(a, b)) return;
      heap[at] = b;
      heap[parent] = a;
      at = parent;
    }
  }

  #down(): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let worst = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        const [a, b] = [heap[child], heap[worst]];
        if (a && b && this.#isWorse(a, b)) worst = child;
      }
      const [a, b] = [heap[at], heap[worst]];
      if (worst === at || !a || !b) return;
      heap[at] = b;
      heap[worst] = a;
      at = worst;
    }
  }

  /** Best first. */
  sorted(): Scored[] {
    return this.#heap.toSorted((a, b) => (this.#isWorse(a, b) ? 1 : -1));
  }
}
