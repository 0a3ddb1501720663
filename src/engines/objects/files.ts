// Blobs as files below one folder that this process alone writes: `tmp/` for what is on its way, `blobs/ab/cd/<id>`
// for what is complete. An acknowledged blob survives a power cut: file and folders are synced before the answer.

import { mkdir, open, opendir, readdir, rename, rm, stat, statfs, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { conflict, notFound, payloadTooLarge, rangeNotSatisfiable, unavailable } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { uuidv7 } from "../../lib/ids/index.ts";
import { BLOB_ID, knownSize, piecesOf } from "./bodies.ts";
import type { BlobInfo, BlobSource, ByteRange, ObjectStore, PutOptions } from "./index.ts";

export interface FileObjectsOptions {
  /** The folder; made when it is missing. */
  dir: string;
  clock: Clock;
  log: Log;
  /** False for a command that looks in while a server may be writing; default true: leftovers are removed. */
  sweep?: boolean;
}

/** Hashing that much takes a fraction of a millisecond; a body that lies in memory is cut into such pieces. */
const PIECE_BYTES = 256 * 1024;

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/** The medium's failures as `unavailable("storage")`. */
async function disk<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw unavailable("storage", error);
  }
}

/** Makes the names in a folder survive a power cut. Windows has no such call and needs none. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Opens the store in `dir`, which no other process writes, and removes what an earlier one left unfinished. */
export async function fileObjects({ dir, clock, log, sweep = true }: FileObjectsOptions): Promise<ObjectStore> {
  const blobs = join(dir, "blobs");
  const temporary = join(dir, "tmp");
  /** Folders below `blobs` that exist and whose names are synced; by their four digits. */
  const readyFolders = new Set<string>();
  const underWay = new Map<string, Promise<void>>();
  const reserved = new Set<string>();

  /** The id's last digits: the first ones are its time, equal for weeks. */
  const digitsOf = (id: string) => id.slice(-4);
  const folderOf = (digits: string) => join(blobs, digits.slice(0, 2), digits.slice(2));
  /** Null for what this store cannot have made; such an id never becomes a path. */
  const pathOf = (id: string) => (BLOB_ID.test(id) ? join(folderOf(digitsOf(id)), id) : null);

  const makeFolder = async (digits: string) => {
    const folder = folderOf(digits);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await syncFolder(dirname(folder));
    await syncFolder(blobs);
    readyFolders.add(digits);
  };
  /** One maker per folder, and everybody waits until its name is on the disk. */
  const ensureFolder = async (digits: string) => {
    if (readyFolders.has(digits)) return;
    const making = underWay.get(digits) ?? makeFolder(digits).finally(() => underWay.delete(digits));
    underWay.set(digits, making);
    await making;
  };

  /** Null for a blob that is not there. */
  const look = async (id: string): Promise<{ sizeBytes: number; completedMs: number } | null> => {
    const path = pathOf(id);
    if (path === null) return null;
    try {
      const { size, mtimeMs } = await stat(path);
      return { sizeBytes: size, completedMs: mtimeMs };
    } catch (error) {
      if (hasCode(error, "ENOENT")) return null;
      throw unavailable("storage", error);
    }
  };

  const discard = async (path: string) => {
    try {
      await rm(path, { force: true });
    } catch (error) {
      log.warn("an unfinished blob stays until the next start", { error });
    }
  };

  /** Writes the body to `path` and syncs it. */
  const write = async (path: string, body: BlobSource, maxBytes: number) => {
    const hash = new Bun.CryptoHasher("sha256");
    const file = await disk(open(path, "wx", 0o600));
    let sizeBytes = 0;
    try {
      for await (const piece of piecesOf(body, PIECE_BYTES)) {
        sizeBytes += piece.byteLength;
        if (sizeBytes > maxBytes) throw payloadTooLarge(maxBytes);
        hash.update(piece);
        for (let at = 0; at < piece.byteLength;) at += (await disk(file.write(piece, at))).bytesWritten;
      }
      await disk(file.sync());
    } finally {
      await disk(file.close());
    }
    return { sizeBytes, sha256: hash.digest("hex") };
  };

  const put = async (
    body: BlobSource,
    { maxBytes = Number.POSITIVE_INFINITY, id = uuidv7() }: PutOptions = {},
  ): Promise<BlobInfo> => {
    const path = pathOf(id);
    if (path === null) throw new Error("a blob's id is a UUIDv7 in lower case");
    if (knownSize(body) > maxBytes) throw payloadTooLarge(maxBytes);
    if (reserved.has(id)) throw conflict("blob_exists");
    reserved.add(id);
    let unfinished = join(temporary, uuidv7());
    try {
      if ((await look(id)) !== null) throw conflict("blob_exists");
      const written = await write(unfinished, body, maxBytes);
      await disk(ensureFolder(digitsOf(id)));
      await disk(rename(unfinished, path));
      unfinished = path;
      await disk(syncFolder(dirname(path)));
      return { id, ...written };
    } catch (error) {
      await discard(unfinished);
      throw error;
    } finally {
      reserved.delete(id);
    }
  };

  /** The blob as a file that exists, with its size. */
  const find = async (id: string) => {
    const path = pathOf(id);
    const found = await look(id);
    if (path === null || found === null) throw notFound("blob");
    return { file: Bun.file(path), sizeBytes: found.sizeBytes };
  };

  const get = async (id: string, range?: ByteRange) => {
    const { file, sizeBytes } = await find(id);
    if (range === undefined) return file.stream();
    const { start, end } = range;
    const isInside = Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && end < sizeBytes;
    if (!isInside || start > end) throw rangeNotSatisfiable(sizeBytes);
    return file.slice(start, end + 1).stream();
  };

  /** Names in a folder; none when it is missing or a file that somebody else put there. */
  const entriesOf = async function* (path: string) {
    try {
      for await (const entry of await opendir(path)) yield entry.name;
    } catch (error) {
      if (!hasCode(error, "ENOENT") && !hasCode(error, "ENOTDIR")) throw unavailable("storage", error);
    }
  };

  const list = async function* (olderThanMs: number) {
    const latestMs = clock.now() - olderThanMs;
    for await (const first of entriesOf(blobs)) {
      for await (const second of entriesOf(join(blobs, first))) {
        for await (const id of entriesOf(join(blobs, first, second))) {
          const found = await look(id);
          if (found !== null && found.completedMs < latestMs) yield id;
        }
      }
    }
  };

  const ping = async () => {
    const begin = performance.now();
    const probe = join(temporary, uuidv7());
    const { bavail, bsize } = await disk(statfs(temporary));
    await write(probe, new Uint8Array(1), 1);
    await disk(Bun.file(probe).bytes());
    await disk(unlink(probe));
    return { latencyMs: performance.now() - begin, freeBytes: bavail * bsize };
  };

  await disk(mkdir(blobs, { recursive: true, mode: 0o700 }));
  await disk(mkdir(temporary, { recursive: true, mode: 0o700 }));
  const leftovers = sweep ? await disk(readdir(temporary)) : [];
  for (const name of leftovers) await discard(join(temporary, name));
  if (leftovers.length > 0) log.info("unfinished blobs of an earlier process are removed", { count: leftovers.length });
  await disk(syncFolder(dir));
  await disk(syncFolder(dirname(dir)));

  return {
    kind: "files",
    put,
    get,
    bytes: async (id) => {
      const { file } = await find(id);
      return disk(file.bytes());
    },
    stat: async (id) => {
      const found = await look(id);
      return found && { sizeBytes: found.sizeBytes };
    },
    delete: async (id) => {
      const path = pathOf(id);
      if (path !== null) await disk(rm(path, { force: true }));
    },
    list,
    ping,
  };
}
