// Opens the extraction engine.

export { openExtract, type ExtractOptions } from "./pool.ts";
