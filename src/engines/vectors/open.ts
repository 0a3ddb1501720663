// Opens the configured passage index.

import type { Log } from "../../core/log.ts";
import { embeddedIndex } from "./embedded.ts";
import type { PassageSource, VectorIndex } from "./index.ts";

export interface VectorOptions {
  /** `off`: words only. */
  kind: "embedded" | "off";
  source: PassageSource;
  log: Log;
}

/** The index over `source`, still empty: `start` fills it, and so does every search for what it needs. */
export function openVectors(options: VectorOptions): VectorIndex {
  return embeddedIndex({ source: options.source, vectors: options.kind === "embedded", log: options.log });
}
