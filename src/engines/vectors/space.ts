// All vectors of one embedding model: rows of 16-bit numbers in one WebAssembly memory, scanned without an index.

import { dotProducts, ROW_ALIGNMENT, type DotProducts } from "./kernel.ts";

const PAGE = 65_536;
const PAGES_MAX = 65_536;
const SCALE = 32_767;
/** How many row numbers and results one call of the kernel takes; the rows lie behind them. */
const SCAN_MAX = 4096;

export class VectorSpace {
  readonly dimensions: number;
  /** Bytes of one row. */
  readonly stride: number;
  readonly #base: number;
  readonly #memory: WebAssembly.Memory;
  readonly #scan: DotProducts;
  readonly #free: number[] = [];
  #rowsUsed = 0;

  constructor(dimensions: number) {
    this.dimensions = dimensions;
    this.stride = Math.ceil((dimensions * 2) / ROW_ALIGNMENT) * ROW_ALIGNMENT;
    this.#memory = new WebAssembly.Memory({ initial: 1, maximum: PAGES_MAX });
    this.#scan = dotProducts(this.#memory);
    this.#base = this.stride + SCAN_MAX * 8;
    this.#reserve(this.#base);
  }

  /** Vectors held. */
  get count(): number {
    return this.#rowsUsed - this.#free.length;
  }

  #reserve(bytes: number): void {
    const have = this.#memory.buffer.byteLength;
    if (bytes <= have) return;
    if (bytes > PAGE * PAGES_MAX) throw new Error("the vectors outgrow the memory of one index");
    const wanted = Math.min(PAGE * PAGES_MAX, Math.max(bytes, have + Math.min(have, 64 * 1024 * 1024)));
    this.#memory.grow(Math.ceil((wanted - have) / PAGE));
  }

  /** Takes in a unit vector; returns its row. */
  add(vector: Float32Array): number {
    const row = this.#free.pop() ?? this.#rowsUsed++;
    const at = this.#base + row * this.stride;
    this.#reserve(at + this.stride);
    this.#write(vector, at);
    return row;
  }

  remove(row: number): void {
    this.#free.push(row);
  }

  #write(vector: Float32Array, at: number): void {
    const target = new Int16Array(this.#memory.buffer, at, this.stride / 2);
    target.fill(0);
    for (let index = 0; index < vector.length; index++) target[index] = Math.round((vector[index] ?? 0) * SCALE);
  }

  /** Cosine of `query` with each of `rows`, in their order. */
  cosines(query: Float32Array, rows: Int32Array): Float32Array {
    if (query.length !== this.dimensions) throw new Error("a question's vector has another length than the passages'");
    const cosines = new Float32Array(rows.length);
    const buffer = this.#memory.buffer;
    this.#write(query, 0);
    const outAt = this.stride + SCAN_MAX * 4;
    for (let from = 0; from < rows.length; from += SCAN_MAX) {
      const part = rows.subarray(from, from + SCAN_MAX);
      new Int32Array(buffer, this.stride, part.length).set(part);
      this.#scan(this.stride, part.length, this.#base, this.stride, 0, outAt);
      const out = new Int32Array(buffer, outAt, part.length);
      for (let index = 0; index < part.length; index++) cosines[from + index] = (out[index] ?? 0) / (SCALE * SCALE);
    }
    return cosines;
  }
}
