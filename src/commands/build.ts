// `bun run build [--target linux-arm64 | --all] [--commit NAME]`: makes dist/botserver. A step of development that needs the sources,
// so the program itself does not list it; it lies here because it is a command like the others.

import { existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { packageManager } from "../../package.json";
import { openLog } from "../core/log.ts";
import { PACKED_FILES, packedName } from "../lib/embedded/index.ts";
import { makeImage } from "../engines/database/image.ts";
import { bundlePages } from "../pages/bundle.ts";

const ROOT = join(import.meta.dir, "../..");
const DIST = join(ROOT, "dist");
const EMBEDDED = join(DIST, "embedded");
const BUN_VERSION = packageManager.slice("bun@".length);

const { values } = parseArgs({
  options: { target: { type: "string", multiple: true }, all: { type: "boolean" }, commit: { type: "string" } },
});

/** Where each target's Bun comes from: the package of Bun's own release for it. */
const TARGETS = {
  "linux-x64": "bun-linux-x64",
  "linux-arm64": "bun-linux-aarch64",
  "linux-x64-musl": "bun-linux-x64-musl",
  "linux-arm64-musl": "bun-linux-aarch64-musl",
  "darwin-x64": "bun-darwin-x64",
  "darwin-arm64": "bun-darwin-aarch64",
  "windows-x64": "bun-windows-x64",
} as const;
type Target = keyof typeof TARGETS;

function isTarget(word: string): word is Target {
  return Object.hasOwn(TARGETS, word);
}

/** What the binary reads by `assetPath` and what no file of the sources holds. */
async function makeEmbedded(): Promise<void> {
  rmSync(EMBEDDED, { recursive: true, force: true });
  mkdirSync(EMBEDDED, { recursive: true });
  await makeImage(join(EMBEDDED, "database.image"), openLog("warn", "pretty"));
  await bundlePages(EMBEDDED);
  for (const file of PACKED_FILES) {
    const bytes = await Bun.file(join(ROOT, "node_modules", file)).bytes();
    await Bun.write(join(EMBEDDED, packedName(file)), await Bun.zstdCompress(bytes, { level: 19 }));
  }
}

/** Unpacks Bun for `target`; `npm pack` checks the package's digest. Gives the path of the program. */
function runtimeOf(target: Target): string {
  const folder = join(ROOT, ".cache/runtimes", `${target}-${BUN_VERSION}`);
  const program = join(folder, "package/bin", target.startsWith("windows") ? "bun.exe" : "bun");
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const archive = run(["npm", "pack", "--silent", `@oven/${TARGETS[target]}@${BUN_VERSION}`], folder);
  run(["tar", "-xzf", archive], folder);
  rmSync(join(folder, archive));
  if (!existsSync(program)) throw new Error(`The package of ${target} holds no ${program}.`);
  return program;
}

function run(command: string[], cwd: string): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { cwd });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
  return stdout.toString().trim();
}

/** Short commit, with a mark when the sources differ from it; empty outside a repository, where --commit may tell it. */
function commitName(): string {
  if (values.commit !== undefined) return values.commit;
  const { exitCode, stdout } = Bun.spawnSync(["git", "describe", "--always", "--dirty", "--exclude=*"], { cwd: ROOT });
  return exitCode === 0 ? stdout.toString().trim() : "";
}

async function compile(target: Target | null): Promise<void> {
  const workers = [...new Bun.Glob("src/**/*worker.ts").scanSync(ROOT)].sort();
  const outfile = join(DIST, target === null ? "botserver" : `botserver-${target}`);
  const cross = target === null ? {} : { target: `bun-${target}` as const, executablePath: runtimeOf(target) };
  const result = await Bun.build({
    entrypoints: [join(ROOT, "src/main.ts"), ...workers.map((path) => join(ROOT, path))],
    // The names of Workers inside the binary count from here; lib/embedded relies on it.
    root: join(ROOT, "src"),
    target: "bun",
    format: "esm",
    bytecode: true,
    // What the program and its Workers share is in the binary once.
    splitting: true,
    // A map would be 6 MB of the binary; what the bundle calls its functions is enough to find a place in the sources.
    sourcemap: "none",
    define: { "process.env.NODE_ENV": '"production"', BUILD_COMMIT: JSON.stringify(commitName()) },
    compile: { ...cross, outfile, autoloadBunfig: false, autoloadDotenv: false, assets: [EMBEDDED] },
  });
  for (const message of result.logs) process.stderr.write(`${message.message}\n`);
  const built = existsSync(outfile) ? outfile : `${outfile}.exe`;
  process.stdout.write(`${built.slice(ROOT.length + 1)} ${(statSync(built).size / 1e6).toFixed(1)} MB\n`);
}

const wanted = values.all ? Object.keys(TARGETS) : (values.target ?? []);
const targets = wanted.filter(isTarget);
if (targets.length < wanted.length) {
  process.stderr.write(`Targets are ${Object.keys(TARGETS).join(", ")}.\n`);
  process.exit(2);
}
await makeEmbedded();
if (targets.length === 0) await compile(null);
for (const target of targets) await compile(target);
