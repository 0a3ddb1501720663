// The client as a program outside has it: installed as a package, compiled strictly without these sources, run against
// a server.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { exports as exported, dependencies } from "../../package.json";
import { ADMIN, startTestServer } from "../support/server.ts";

const ROOT = resolve(import.meta.dir, "../..");
const OUTSIDE = mkdtempSync(join(tmpdir(), "botserver-client-"));
afterAll(() => rmSync(OUTSIDE, { recursive: true, force: true }));

const server = await startTestServer();

interface Ran {
  status: number;
  out: string;
  err: string;
}

function run(command: string[], cwd: string, env: Record<string, string> = {}): Ran & { cpuMs: number } {
  const child = Bun.spawnSync(command, { cwd, env: { PATH: process.env["PATH"] ?? "", ...env } });
  return {
    status: child.exitCode,
    out: child.stdout.toString(),
    err: child.stderr.toString(),
    cpuMs: Number(child.resourceUsage.cpuTime.total) / 1000,
  };
}

/** Runs a program that talks to the server in this process, which must go on meanwhile. */
async function runAside(command: string[], env: Record<string, string>): Promise<Ran> {
  const child = Bun.spawn(command, {
    cwd: OUTSIDE,
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { status, out, err };
}

const compile = (file: string) => {
  const config = {
    compilerOptions: {
      strict: true,
      noUncheckedIndexedAccess: true,
      exactOptionalPropertyTypes: true,
      module: "nodenext",
      target: "es2023",
      lib: ["es2023", "dom", "dom.iterable"],
      types: ["node"],
      skipLibCheck: true,
      noEmit: true,
    },
    files: [file],
  };
  const name = `tsconfig.${file}.json`;
  writeFileSync(join(OUTSIDE, name), JSON.stringify(config));
  return run([process.execPath, join(ROOT, "node_modules/.bin/tsc"), "-p", name, "--checkers", "1"], OUTSIDE);
};

beforeAll(() => {
  // As a package manager would install it: the package itself, and beside it what its declarations name.
  const installed = join(OUTSIDE, "node_modules/botserver");
  mkdirSync(join(OUTSIDE, "node_modules/@elysiajs"), { recursive: true });
  mkdirSync(join(OUTSIDE, "node_modules/@types"));
  mkdirSync(installed);
  for (const name of ["elysia", "@elysiajs/eden", "@types/node"])
    symlinkSync(join(ROOT, "node_modules", name), join(OUTSIDE, "node_modules", name));
  const built = run([process.execPath, "src/commands/build-client.ts", "--out", join(installed, "dist/client")], ROOT);
  if (built.status !== 0) throw new Error(built.err);
  writeFileSync(
    join(installed, "package.json"),
    JSON.stringify({ name: "botserver", version: "0.0.0", type: "module", exports: exported }),
  );
  writeFileSync(join(OUTSIDE, "package.json"), JSON.stringify({ name: "outside", type: "module", private: true }));
  for (const file of ["program.ts", "wrong.ts"])
    writeFileSync(join(OUTSIDE, file), readFileSync(join(ROOT, "tests/fixtures/client", `${file}.txt`)));
}, 60_000);

describe("the client's package", () => {
  const folder = join(OUTSIDE, "node_modules/botserver/dist/client");
  const read = (name: string) => readFileSync(join(folder, name), "utf8");

  test("is one program and two declarations, and names nothing of these sources", () => {
    expect(existsSync(join(folder, exported["./client"].types.replace("./dist/client/", "")))).toBe(true);
    for (const name of ["index.js", "index.d.ts", "app.d.ts"]) {
      const text = read(name);
      expect(text.length).toBeGreaterThan(500);
      expect([name, text.includes(ROOT), /from "\.\.|src\//.test(text)]).toEqual([name, false, false]);
    }
    expect(/^import .* from "(?!\.)/m.test(read("index.js"))).toBe(false);
    const named = [...`${read("index.d.ts")}${read("app.d.ts")}`.matchAll(/from "([^."][^"]*)"/g)].map(
      ([, name]) => name ?? "",
    );
    expect([...new Set(named)].toSorted()).toEqual(["@elysiajs/eden", "elysia"]);
    for (const name of named) expect(Object.keys(dependencies)).toContain(name);
  });

  test("holds a type for every route, none of them any", () => {
    const routes = read("app.d.ts");
    expect(/\bany\b/.test(routes)).toBe(false);
    expect(routes.match(/ response: \{/g)?.length).toBeGreaterThan(100);
  });
});

describe("a program outside", () => {
  test("that calls every area compiles strictly, and its answers have types", () => {
    const { status, out } = compile("program.ts");
    expect({ status, out }).toEqual({ status: 0, out: "" });
  }, 60_000);

  test("with wrong fields, paths and expectations does not compile, at each of them", () => {
    const { status, out } = compile("wrong.ts");
    expect(status).not.toBe(0);
    const lines = readFileSync(join(OUTSIDE, "wrong.ts"), "utf8").split("\n");
    const wanted = lines.flatMap((line, at) => (line.includes("// wrong") ? [at + 1] : []));
    const found = [...out.matchAll(/^wrong\.ts\((\d+),/gm)].map(([, line]) => Number(line));
    expect([...new Set(found)].toSorted((a, b) => a - b)).toEqual(wanted);
  }, 60_000);

  test("runs against a server and gets what its types say", async () => {
    const ran = await runAside([process.execPath, "program.ts"], {
      BASE_URL: server.url,
      EMAIL: ADMIN.email,
      PASSWORD: ADMIN.password,
    });
    expect({ status: ran.status, err: ran.err }).toEqual({ status: 0, err: "" });
    const lines = ran.out.trim().split("\n");
    expect(lines).toEqual([
      "health healthy",
      "role admin",
      "keys 1 active",
      "bot made typed",
      "found about",
      "said 201",
      "talked quoted",
      "conversations true",
      "wrong token 401 UNAUTHORIZED",
      "wrong field 422 VALIDATION_ERROR name",
      "away 503",
    ]);
  }, 60_000);

  test("without types runs in Node as well", async () => {
    if (!Bun.which("node")) {
      console.log("Node was not found: the client is not run in it.");
      return;
    }
    writeFileSync(
      join(OUTSIDE, "plain.js"),
      `import { createClient } from "botserver/client";
       const client = createClient(process.env.BASE_URL + "/", { fetch: (...request) => fetch(...request) });
       const { data, status } = await client.api.v1.health.get();
       console.log(status, data.success);`,
    );
    const ran = await runAside(["node", "plain.js"], { BASE_URL: server.url });
    expect(ran).toEqual({ status: 0, out: "200 true\n", err: "" });
  }, 30_000);
});

test("the whole, client included, type-checks within 15 s of one core", () => {
  const { cpuMs, out } = run(
    [process.execPath, join(ROOT, "node_modules/.bin/tsc"), "--checkers", "1", "--extendedDiagnostics"],
    ROOT,
  );
  const figure = (name: string) => new RegExp(`^${name}:\\s+(\\S+)`, "m").exec(out)?.[1] ?? "?";
  console.log(
    `tsc: ${(cpuMs / 1000).toFixed(1)} s of processor, ${figure("Instantiations")} instantiations, ${figure("Memory used")} of memory`,
  );
  expect(cpuMs).toBeLessThan(15_000);
}, 120_000);
