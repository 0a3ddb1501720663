// What the text Worker and its owner say to each other.

import type { Language } from "../../lib/text/index.ts";
import type { TextTerms } from "./index.ts";

export type ToTextWorker =
  | { id: number; type: "embed"; texts: readonly string[] }
  | { id: number; type: "terms"; texts: readonly string[]; language: Language | null };

export type FromTextWorker =
  { id: number; vectors: Float32Array[] } | { id: number; terms: TextTerms[] } | { id: number; fault: string };
