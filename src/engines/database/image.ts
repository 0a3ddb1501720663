// The first start without initdb: a migrated PGlite folder as a zstd-compressed tar. The build embeds one under the
// name `database.image`; from source it is made on the first need and kept in `.cache`.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import pglite from "../../../node_modules/@electric-sql/pglite/package.json" with { type: "json" };
import type { Log } from "../../core/log.ts";
import { openEngine } from "./engine.ts";
import { migrationHash } from "./migrate.ts";
import { migrations } from "./migrations.ts";
import { openPglite } from "./pglite.ts";

const BLOCK = 512;
/** Raised when the way the image is made changes. */
const RECIPE = 2;
const WRITERS = 16;

/** Writes the image to `path` (in one step: under another name first). `level` is zstd's. */
export async function makeImage(path: string, log: Log, level = 19): Promise<void> {
  const work = join(tmpdir(), `botserver-image-${process.pid}-${Date.now()}`);
  mkdirSync(work, { recursive: true, mode: 0o700 });
  try {
    const folder = join(work, "db");
    const engine = openEngine(await openPglite({ folder, fresh: true, sync: false }, log), log);
    await engine.migrate();
    // The templates are two thirds of the files, nothing is ever made of them, and without autovacuum nobody would
    // keep their transaction ids fresh.
    await engine.execute("update pg_database set datistemplate = false");
    for (const name of ["template0", "template1"]) await engine.execute(`drop database if exists ${name}`);
    await engine.execute("vacuum (freeze, analyze)");
    await engine.execute("checkpoint");
    await engine.close();
    mkdirSync(dirname(path), { recursive: true });
    const part = `${path}.${process.pid}`;
    writeFileSync(part, Bun.zstdCompressSync(pack(folder), { level }));
    renameSync(part, path);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Compressed image of the present schema: the embedded one, or the cached one, made when missing. */
export async function imageBytes(log: Log): Promise<Uint8Array> {
  const embedded = Bun.embeddedFiles.find((file) => /database[^/]*\.image$/.test((file as File).name));
  if (embedded) return new Uint8Array(await embedded.arrayBuffer());
  const hash = migrationHash(JSON.stringify([RECIPE, pglite.version, migrations])).slice(0, 16);
  const cache = join(import.meta.dir, "../../../.cache");
  const path = join(cache, `${hash}.database.image`);
  if (!existsSync(path)) await makeOnce(cache, path, log);
  return new Uint8Array(readFileSync(path));
}

/** Processes that find it missing at the same time make one between them. */
async function makeOnce(cache: string, path: string, log: Log): Promise<void> {
  mkdirSync(cache, { recursive: true });
  const lock = `${path}.lock`;
  try {
    writeFileSync(lock, String(process.pid), { flag: "wx" });
  } catch {
    const until = performance.now() + 20_000;
    while (!existsSync(path) && existsSync(lock) && performance.now() < until) await Bun.sleep(50);
    if (existsSync(path)) return;
  }
  try {
    await makeImage(path, log, 3);
    for (const name of readdirSync(cache)) {
      const old = name.endsWith(".database.image") && Date.now() - statSync(join(cache, name)).mtimeMs > 86_400_000;
      if (old) rmSync(join(cache, name), { force: true });
    }
  } finally {
    rmSync(lock, { force: true });
  }
}

/** Unpacks the image so that `folder` appears complete or not at all, also after kill -9 or, with `sync`, a power cut. */
export async function unpackImage(image: Uint8Array, folder: string, sync: boolean): Promise<void> {
  const parent = dirname(folder);
  const prefix = `${basename(folder)}.unpack-`;
  for (const name of readdirSync(parent)) {
    if (name.startsWith(prefix)) rmSync(join(parent, name), { recursive: true, force: true });
  }
  const target = join(parent, `${prefix}${process.pid}`);
  const folders = [target];
  const files: { path: string; body: Uint8Array }[] = [];
  for (const entry of unpack(await Bun.zstdDecompress(image))) {
    if (entry.body === null) folders.push(join(target, entry.name));
    else files.push({ path: join(target, entry.name), body: entry.body });
  }
  for (const path of folders) mkdirSync(path, { recursive: true, mode: 0o700 });
  await each(files, async ({ path, body }) => {
    const handle = await open(path, "w", 0o600);
    try {
      await handle.writeFile(body);
      if (sync) await handle.sync();
    } finally {
      await handle.close();
    }
  });
  if (sync) await each(folders, syncFolder);
  renameSync(target, folder);
  if (sync) await syncFolder(parent);
}

/** Some systems cannot open folders; they need no such sync either. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function each<T>(items: T[], action: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await action(item);
  };
  await Promise.all(Array.from({ length: WRITERS }, worker));
}

/** ustar: folders and plain files with short names is all that a database folder has. */
function pack(root: string): Uint8Array {
  const parts: Uint8Array[] = [];
  const encoder = new TextEncoder();
  const add = (name: string, body: Uint8Array | null) => {
    const header = new Uint8Array(BLOCK);
    const put = (text: string, at: number) => header.set(encoder.encode(text), at);
    const path = body === null ? `${name}/` : name;
    if (encoder.encode(path).length > 100) throw new Error(`${path} is too long for a tar name.`);
    put(path, 0);
    put(body === null ? "0000700\0" : "0000600\0", 100);
    put("0000000\0", 108);
    put("0000000\0", 116);
    put(`${(body?.length ?? 0).toString(8).padStart(11, "0")}\0`, 124);
    put("00000000000\0", 136);
    put("        ", 148);
    put(body === null ? "5" : "0", 156);
    put("ustar\0" + "00", 257);
    put(
      `${header
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, "0")}\0 `,
      148,
    );
    parts.push(header);
    if (body) parts.push(body, new Uint8Array((BLOCK - (body.length % BLOCK)) % BLOCK));
  };
  const walk = (relative: string) => {
    for (const entry of readdirSync(join(root, relative), { withFileTypes: true }).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    )) {
      const name = relative ? `${relative}/${entry.name}` : entry.name;
      if (entry.isDirectory()) {
        add(name, null);
        walk(name);
      } else add(name, readFileSync(join(root, name)));
    }
  };
  walk("");
  parts.push(new Uint8Array(2 * BLOCK));
  return Buffer.concat(parts);
}

function* unpack(tar: Uint8Array): Generator<{ name: string; body: Uint8Array | null }> {
  const decoder = new TextDecoder();
  for (let at = 0; at + BLOCK <= tar.length && tar[at] !== 0;) {
    const text = (start: number, length: number) =>
      decoder.decode(tar.subarray(at + start, at + start + length)).replace(/\0.*$/s, "");
    const name = text(0, 100);
    const size = Number.parseInt(text(124, 12), 8);
    if (name.startsWith("/") || name.split("/").includes(".."))
      throw new Error("The database image has an unsafe path.");
    const isFolder = text(156, 1) === "5";
    at += BLOCK;
    yield { name, body: isFolder ? null : tar.subarray(at, at + size) };
    at += Math.ceil(size / BLOCK) * BLOCK;
  }
}
