// Where the program's own files are: below the project's folder from source, below the embedded file system in the
// compiled binary. A URL relative to import.meta.url does not do, because bundling moves every module into one file.

import { fileURLToPath } from "node:url";

const EMBEDDED_ROOT = /^(.*\/(?:\$bunfs|~BUN)\/root\/)/.exec(import.meta.url)?.[1];
const ROOT = EMBEDDED_ROOT ?? new URL("../../../", import.meta.url).href;

/** True in the compiled binary. */
export const isCompiled: boolean = EMBEDDED_ROOT !== undefined;

/**
 * Starts the Worker whose file is `path`, counted from the project's folder (`src/lib/hash/hash.worker.ts`).
 * The build finds Workers by their names, which end in `worker.ts`. A missing one is told by the Worker's `error` event.
 */
export function startWorker(path: `src/${string}worker.ts`, options?: WorkerOptions): Worker {
  // The build counts the names of entry points from src.
  return new Worker(ROOT + (isCompiled ? path.slice("src/".length) : path), options);
}

/** Large files of packages that the build compresses on their way into the binary, counted from node_modules. */
export const PACKED_FILES = [
  "@electric-sql/pglite/dist/pglite.wasm",
  "@electric-sql/pglite/dist/pglite.data",
  "@electric-sql/pglite/dist/initdb.wasm",
  "@hyzyla/pdfium/dist/pdfium.wasm",
] as const;

/** Name under which the build embeds a packed file: Zstandard (RFC 8878). */
export function packedName(file: (typeof PACKED_FILES)[number]): string {
  return `${file.slice(file.lastIndexOf("/") + 1)}.zst`;
}

/** The bytes of a packed file: of the package itself from source, unpacked from the binary when compiled. */
export async function packedBytes(file: (typeof PACKED_FILES)[number]): Promise<Uint8Array<ArrayBuffer>> {
  if (!isCompiled) return Bun.file(fileURLToPath(`${ROOT}node_modules/${file}`)).bytes();
  const packed = await Bun.file(assetPath(packedName(file))).bytes();
  return new Uint8Array(await Bun.zstdDecompress(packed));
}

/**
 * Path of a file that the build makes and embeds (`database.tgz`). From source it is that file below dist/embedded,
 * which exists after a build only: ask before opening.
 */
export function assetPath(name: string): string {
  return fileURLToPath(`${ROOT}${isCompiled ? "" : "dist/"}embedded/${name}`);
}
