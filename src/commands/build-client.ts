// `bun run build:client [--out FOLDER]`: makes dist/client, the client as a package of its own: one program, and
// declarations in which every route is written out, so that they need nothing of these sources. A step of development
// like build.ts.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";

const ROOT = resolve(import.meta.dir, "../..");
const { values } = parseArgs({ options: { out: { type: "string", default: join(ROOT, "dist/client") } } });
const OUT = resolve(values.out);
const WORK = join(ROOT, ".cache/client", String(process.pid));

/** Levels of an answer below its route's path; deeper ones keep the names that their sources give them. */
const LEVELS = 24;
/** Stands in every union of texts, so that the compiler cannot take it for one that has a name in the sources. */
const NAMELESS = "nameless union";

/** One level of a type, written out; each has a name of its own, for the compiler cuts off what repeats itself. */
function level(at: number): string {
  const below = at === LEVELS ? "T[K]" : `Level${at + 1}<T[K]>`;
  return `type Level${at}<T> = unknown extends T ? T : T extends Whole ? T : T extends string ? T | "${NAMELESS}"
    : T extends object ? { [K in keyof T]: ${below} } : T;`;
}

/** A module whose one value has the routes as its type; the compiler writes that type out when it declares it. */
const ENTRY = `
import type { App } from "${join(ROOT, "src/app.ts")}";

type Whole = Blob | Date | ReadableStream | Response | Uint8Array | ((...values: never) => unknown);
${Array.from({ length: LEVELS + 1 }, (_, at) => level(at)).join("\n")}

declare const routes: Level0<App["~Routes"]>;
export const written = { ...routes };
`;

const FAILURE = "{ success: false; error: { code: string; message: string; details: { [x: string]: unknown; }; }; }";

/** Compiles the declarations of both modules; prints what the compiler says of them and throws when that is not nothing. */
function declarations(): { routes: string; client: string } {
  const entry = join(WORK, "routes.ts");
  writeFileSync(entry, ENTRY);
  const config = {
    extends: join(ROOT, "tsconfig.json"),
    compilerOptions: {
      noEmit: false,
      declaration: true,
      emitDeclarationOnly: true,
      outDir: join(WORK, "types"),
      rootDir: ROOT,
      typeRoots: [join(ROOT, "node_modules")],
    },
    files: [entry, join(ROOT, "src/client.ts")],
    include: [],
  };
  writeFileSync(join(WORK, "tsconfig.json"), JSON.stringify(config));
  const compiler = Bun.spawnSync(
    [process.execPath, join(ROOT, "node_modules/.bin/tsc"), "-p", join(WORK, "tsconfig.json"), "--checkers", "1"],
    { cwd: ROOT },
  );
  // Other modules of the program may have types that cannot be named in a declaration; those are not wanted here.
  const own = [relative(ROOT, entry), "src/client.ts"];
  const faults = compiler.stdout
    .toString()
    .split("\n")
    .filter((line) => own.some((path) => line.startsWith(path)));
  if (faults.length > 0) throw new Error(faults.join("\n"));
  const read = (path: string) => readFileSync(join(WORK, "types", path), "utf8");
  return {
    routes: read(relative(ROOT, entry).replace(/\.ts$/, ".d.ts")),
    client: read("src/client.d.ts"),
  };
}

/** The written-out type on few lines, with a name for the failures that every route has. */
function compact(text: string): string {
  const start = text.indexOf("written:") + "written:".length;
  const body = text
    .slice(start, text.lastIndexOf("};") + 1)
    .replace(/\s+/g, " ")
    .trim();
  return body
    .replaceAll(` | "${NAMELESS}"`, "")
    .replaceAll(`"${NAMELESS}" | `, "")
    .replaceAll(FAILURE, "Failure")
    .replaceAll(/("?:?[\w./*-]+"?: \{ (?:get|post|put|patch|delete): )/g, "\n$1");
}

async function program(): Promise<void> {
  const result = await Bun.build({
    entrypoints: [join(ROOT, "src/client.ts")],
    target: "browser",
    format: "esm",
    // Without the comments that name where each part comes from.
    minify: { whitespace: true },
    outdir: OUT,
    naming: "index.js",
  });
  for (const message of result.logs) process.stderr.write(`${message.message}\n`);
}

rmSync(OUT, { recursive: true, force: true });
mkdirSync(OUT, { recursive: true });
mkdirSync(WORK, { recursive: true });
try {
  const { routes, client } = declarations();
  const types = compact(routes);
  // A type that could not be told would pass every use of it.
  const lost = /[^\n]*(?:\bany\b|\bimport\()[^\n]*/.exec(types);
  if (lost) throw new Error(`a route has a type that is not written out: ${lost[0].slice(0, 300)}`);
  writeFileSync(
    join(OUT, "app.d.ts"),
    [
      'import type { Elysia } from "elysia";',
      "/** The envelope of every refusal. */",
      `export interface Failure ${FAILURE}`,
      `export type Routes = ${types};`,
      "/** The API, as far as a client knows it. */",
      'export type App = Elysia & { "~Routes": Routes };',
      "",
    ].join("\n"),
  );
  writeFileSync(join(OUT, "index.d.ts"), client.replace('"./app.ts"', '"./app.js"'));
  await program();
  process.stdout.write(`${relative(process.cwd(), OUT) || OUT}: ${Math.round(types.length / 1000)} kB of routes\n`);
} finally {
  rmSync(WORK, { recursive: true, force: true });
}
