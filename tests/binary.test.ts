// The program as it is shipped: built once, run from an empty folder, as on a machine that has nothing else.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { version } from "../package.json";
import type { StartOptions } from "./support/processes.ts";
import {
  programMissing,
  serverCommand,
  spawnProcess,
  startProcess,
  temporaryFolder,
  waitFor,
} from "./support/processes.ts";

const ROOT = resolve(import.meta.dir, "..");
const BUILD_TIMEOUT_MS = 300_000;
setDefaultTimeout(60_000);

const [program = ""] = serverCommand.binary;
const home = mkdtempSync(join(tmpdir(), "botserver-binary-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));

beforeAll(async () => {
  const build = Bun.spawn([process.execPath, "run", "build"], { cwd: ROOT, stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([new Response(build.stdout).text(), new Response(build.stderr).text()]);
  if ((await build.exited) !== 0) throw new Error(`the build failed:\n${out}${err}`);
}, BUILD_TIMEOUT_MS);

interface Answer {
  content: string;
  citations: object[];
  metadata: { no_answer?: boolean };
}

/** A new empty folder to run in, with the environment of a server in it. */
async function place(env: Record<string, string> = {}) {
  const folder = await temporaryFolder("binary");
  const cwd = join(folder.path, "cwd");
  mkdirSync(cwd);
  const dataDir = join(folder.path, "data");
  return {
    path: folder.path,
    remove: () => folder.remove(),
    dataDir,
    options: {
      command: serverCommand.binary,
      cwd,
      env: { DATA_DIR: dataDir, PORT: "0", HOST: "127.0.0.1", ...env },
    } satisfies StartOptions,
  };
}

/** Runs a command of the binary to its end. */
async function command(args: string[], options: Omit<StartOptions, "command"> = { cwd: home }) {
  const run = spawnProcess({ ...options, command: [program, ...args] });
  const status = await run.exited;
  return { status, out: run.stdout(), err: run.stderr() };
}

describe("the commands of the binary", () => {
  test("tell the package's version", async () => {
    const { status, out } = await command(["--version"]);
    expect(status).toBe(0);
    expect(out).toStartWith(`botserver ${version} (`);
  });

  test("help", async () => {
    const { status, out } = await command(["--help"]);
    expect(status).toBe(0);
    expect(out).toContain("DATABASE_URL");
  });

  test("print the OpenAPI document", async () => {
    const { status, out } = await command(["openapi"]);
    expect(status).toBe(0);
    expect(Object.keys((JSON.parse(out) as { paths: object }).paths)).toContain("/api/v1/auth/login");
  });

  test("refuse a bad configuration with one line per fault", async () => {
    const { status, err } = await command(["serve"], { cwd: home, env: { PORT: "x", TRUST_PROXY: "y" } });
    expect(status).toBe(1);
    expect(err.trimEnd().split("\n")).toHaveLength(2);
  });

  test("leave nothing behind in the folder they are run in", () => {
    expect(readdirSync(home)).toEqual([]);
  });
});

describe("the binary serves", () => {
  test("from an empty folder with nothing configured, prints its free port, and ends with 0 on SIGTERM", async () => {
    const { options, dataDir, remove } = await place();
    const server = await startProcess(options);
    try {
      expect(server.stdout()).toMatch(/^botserver \S+ listens on http:\/\/127\.0\.0\.1:\d+ /);
      expect(server.stdout()).toMatch(/\/setup#token=\S+\n/);
      const ready = await fetch(`${server.url}/readyz`);
      expect(ready.status).toBe(200);
      const unknown = await fetch(`${server.url}/api/v1/nothing`);
      expect(unknown.status).toBe(404);
      expect(await unknown.json()).toMatchObject({ success: false, error: { code: "NOT_FOUND" } });
      expect(await server.stop()).toBe(0);
      expect(server.stderr()).not.toMatch(/error|Error/);
      expect(readdirSync(options.cwd)).toEqual([]);
      expect(readdirSync(dataDir)).toContain("secret.key");
    } finally {
      await server.kill9();
      await remove();
    }
  });

  test("is ended by SIGINT with 0 as well", async () => {
    const { options, remove } = await place();
    const server = await startProcess(options);
    try {
      expect(await server.stop("SIGINT")).toBe(0);
    } finally {
      await server.kill9();
      await remove();
    }
  });

  test("ends with 0 when it is told to before it is up", async () => {
    const { options, dataDir, remove } = await place();
    const started = spawnProcess(options);
    try {
      // The key is made before the database is opened, which takes longer.
      await waitFor(() => existsSync(join(dataDir, "secret.key")));
      expect(await started.stop()).toBe(0);
    } finally {
      await started.kill9();
      await remove();
    }
  });

  test("is asked for its health by itself, and a second start on its folder is refused with its pid", async () => {
    const { options, remove } = await place();
    const server = await startProcess(options);
    try {
      const env = { ...options.env, PORT: new URL(server.url).port };
      expect(await command(["doctor", "--health"], { ...options, env })).toMatchObject({ status: 0, out: "ready\n" });
      const second = await command(["serve"], options);
      expect(second.status).toBe(1);
      expect(second.err).toContain(`process ${server.pid}`);
      await server.stop();
      expect((await command(["doctor", "--health"], { ...options, env })).status).toBe(1);
    } finally {
      await server.kill9();
      await remove();
    }
  });

  test("keeps the admin of the first start and what was written, through kill -9", async () => {
    const { options, remove } = await place({
      ADMIN_EMAIL: "boss@example.org",
      ADMIN_PASSWORD: "a long enough phrase",
    });
    const signIn = (url: string) =>
      fetch(`${url}/api/v1/auth/login`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ email: "boss@example.org", password: "a long enough phrase" }),
      });
    const first = await startProcess(options);
    try {
      const answer = await signIn(first.url);
      expect(answer.status).toBe(200);
      const { data } = (await answer.json()) as { data: { access_token: string } };
      await first.kill9();
      const second = await startProcess(options);
      try {
        const me = await fetch(`${second.url}/api/v1/users/me`, {
          headers: { authorization: `Bearer ${data.access_token}` },
        });
        expect({ status: me.status, body: await me.json() }).toMatchObject({
          status: 200,
          body: { data: { email: "boss@example.org" } },
        });
        expect(await second.stop()).toBe(0);
      } finally {
        await second.kill9();
      }
    } finally {
      await first.kill9();
      await remove();
    }
  });

  test("the README's first conversation as it is written there", async () => {
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    const block = /## A first conversation\n[\s\S]*?```sh\n([\s\S]*?)```/.exec(readme)?.[1];
    expect(block).toContain("http://localhost:8080");
    const { options, remove } = await place({
      ADMIN_EMAIL: /ADMIN_EMAIL=([^\s`]+)/.exec(readme)?.[1] ?? "",
      ADMIN_PASSWORD: /ADMIN_PASSWORD='([^']+)'/.exec(readme)?.[1] ?? "",
    });
    const server = await startProcess(options);
    try {
      // Each answer on a line of its own.
      const script = `curl() { command curl "$@"; echo; }\n${block?.replace("http://localhost:8080", server.url)}`;
      const shell = spawnProcess({ command: ["bash", "-euo", "pipefail", "-c", script], cwd: options.cwd });
      expect(await shell.exited).toBe(0);
      const answers = shell.stdout().trim().split("\n").filter(Boolean);
      const parsed = answers.map((line) => JSON.parse(line) as { success: boolean; data: { answer?: Answer } });
      expect(parsed.map(({ success }) => success)).toEqual([true, true, true]);
      const [before, , after] = parsed.map(({ data }) => data.answer);
      expect(before?.metadata.no_answer).toBe(true);
      expect(after?.content).toContain("Every employee has 27 days of paid holiday a year.");
      expect(after?.citations).toMatchObject([{ title: "Holidays", collection: "House rules" }]);
      for (const path of ["/", "/docs"]) expect((await fetch(`${server.url}${path}`)).status).toBe(200);
    } finally {
      await server.kill9();
      await remove();
    }
  });

  test("runs no bunfig.toml and reads no .env of the folder it is started in", async () => {
    const { options, remove } = await place();
    writeFileSync(join(options.cwd, "bunfig.toml"), 'preload = ["./trap.ts"]\n');
    writeFileSync(join(options.cwd, "trap.ts"), 'process.stdout.write("trapped\\n"); process.exit(9);\n');
    writeFileSync(join(options.cwd, ".env"), "RATE_LIMIT_USER=none\nNODE_ENV=development\n");
    const server = await startProcess(options);
    try {
      expect(server.stdout()).not.toContain("trapped");
      expect(await server.stop()).toBe(0);
    } finally {
      await server.kill9();
      await remove();
    }
  });

  test.skipIf(programMissing("strace") !== null)("opens no file of the sources or of node_modules", async () => {
    const { options, path, remove } = await place();
    const trace = join(path, "trace");
    const strace = ["strace", "-f", "-qq", "-e", "trace=open,openat,execve", "-o", trace];
    const server = await startProcess({ ...options, command: [...strace, ...serverCommand.binary] });
    try {
      await fetch(`${server.url}/readyz`);
      await fetch(`${server.url}/`);
      const child = Number(/^(\d+) /.exec(readFileSync(trace, "utf8"))?.[1]);
      process.kill(child, "SIGTERM");
      await server.exited;
      const opened = [...readFileSync(trace, "utf8").matchAll(/(?:openat|open|execve)\((?:AT_FDCWD, )?"([^"]+)"/g)];
      const names = opened.map(([, name = ""]) => name);
      expect(names).toContain(program);
      expect(
        names.filter((name) => name !== program && (name.startsWith(`${ROOT}/`) || name.includes("node_modules"))),
      ).toEqual([]);
    } finally {
      await server.kill9();
      await remove();
    }
  });
});
