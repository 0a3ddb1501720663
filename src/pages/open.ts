// The pages as the server hands them out: read from the binary, or bundled once when running from source.
import { assetPath, isCompiled } from "../lib/embedded/index.ts";
import { PACK_NAME, unpackPages } from "./pack.ts";
import type { PageFile } from "./pack.ts";

export type { PageFile } from "./pack.ts";

export interface Pages {
  /** The file at this address, or null. */
  get(path: string): PageFile | null;
}

async function load(): Promise<Pages> {
  let files: PageFile[];
  if (isCompiled) {
    files = unpackPages(await Bun.file(assetPath(PACK_NAME)).bytes());
  } else {
    // Only from source: the binary neither needs nor has the sources of the pages.
    const { buildPages } = await import("./bundle.ts");
    files = await buildPages();
  }
  const byPath = new Map(files.map((file) => [file.path, file]));
  return { get: (path) => byPath.get(path) ?? null };
}

let opened: Promise<Pages> | null = null;

/** The pages and assets by address; made once in a process. Throws when a page's source does not compile. */
export function openPages(): Promise<Pages> {
  opened ??= load();
  return opened;
}
