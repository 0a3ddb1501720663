// `bun run db:generate`: writes the SQL of all model.ts files and the list that the binary embeds. While no version
// is released there is one migration, made anew each time; after the first release drizzle-kit adds to it.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { format } from "prettier";
import { version } from "../package.json";

const root = join(import.meta.dir, "..");
const cache = join(root, ".cache");
const lock = join(cache, "generate.lock");
const LOCK_STALE_MS = 120_000;
const WAIT_MAX_MS = 180_000;

async function takeLock(): Promise<void> {
  mkdirSync(cache, { recursive: true });
  const start = performance.now();
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: "wx" });
      return;
    } catch {
      const holder = Number(readIfThere(lock));
      if (!isRunning(holder) || ageMs(lock) > LOCK_STALE_MS) rmSync(lock, { force: true });
      else if (performance.now() - start > WAIT_MAX_MS) throw new Error(`Process ${holder} holds ${lock}.`);
      await Bun.sleep(100);
    }
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function ageMs(path: string): number {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

function isRunning(pid: number): boolean {
  if (!pid) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Replaces the file in one step, and only when it differs, so that watchers and readers never see a half one. */
function put(path: string, text: string): void {
  if (readIfThere(path) === text) return;
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

async function generate(): Promise<void> {
  // Into a folder of its own first: readers of the present files must not see them vanish.
  const out = join(cache, `drizzle-${process.pid}`);
  const config = join(out, "config.ts");
  mkdirSync(out, { recursive: true });
  writeFileSync(
    config,
    `import config from "../../drizzle/config.ts";\nexport default { ...config, out: "./.cache/drizzle-${process.pid}" };\n`,
  );
  try {
    const kit = Bun.spawn([process.execPath, "x", "drizzle-kit", "generate", "--config", config, "--name", "initial"], {
      cwd: root,
      stdout: "inherit",
      stderr: "inherit",
    });
    if ((await kit.exited) !== 0) throw new Error("drizzle-kit failed; the present migrations are unchanged.");
    const names = readdirSync(out).filter((name) => name.endsWith(".sql"));
    if (names.length === 0) throw new Error("drizzle-kit wrote no SQL; the present migrations are unchanged.");
    // The snapshot has new ids and times in every run: without a change of the tables it stays as it is.
    const isSame = names.every(
      (name) => readIfThere(join(root, "drizzle", name)) === readFileSync(join(out, name), "utf8"),
    );
    if (isSame && existsSync(join(root, "drizzle/meta"))) return;
    for (const name of names) put(join(root, "drizzle", name), readFileSync(join(out, name), "utf8"));
    mkdirSync(join(root, "drizzle/meta"), { recursive: true });
    for (const name of readdirSync(join(out, "meta"))) {
      put(join(root, "drizzle/meta", name), readFileSync(join(out, "meta", name), "utf8"));
    }
    for (const name of readdirSync(join(root, "drizzle"))) {
      if (name.endsWith(".sql") && !names.includes(name)) rmSync(join(root, "drizzle", name));
    }
    put(
      join(root, "src/engines/database/migrations.ts"),
      await format(list(names.sort()), { parser: "typescript", printWidth: 120 }),
    );
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

function list(names: string[]): string {
  const stem = (name: string) => name.replace(/\.sql$/, "");
  return [
    "// Written by `bun run db:generate`: the migrations in order, embedded as text.",
    "",
    ...names.map((name) => `import sql${name.slice(0, 4)} from "../../../drizzle/${name}" with { type: "text" };`),
    "",
    "/** Name and SQL text of every migration, oldest first. */",
    "export const migrations: readonly { name: string; sql: string }[] = [",
    ...names.map((name) => `  { name: "${stem(name)}", sql: sql${name.slice(0, 4)} },`),
    "];",
    "",
  ].join("\n");
}

if (!version.startsWith("0.")) {
  throw new Error("Migrations are only added from version 1.0 on; this script would rewrite released ones.");
}
console.log(`Version ${version} is unreleased: one initial migration is made anew from all model.ts files.`);
await takeLock();
try {
  await generate();
} finally {
  rmSync(lock, { force: true });
}
