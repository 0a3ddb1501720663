// What the command line promises: help and version at every level, exit statuses, one line per fault, no secret shown.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { loadConfig } from "../src/config.ts";
import { systemClock } from "../src/core/clock.ts";
import { silentLog } from "../src/core/log.ts";
import { openEngines, openServer } from "../src/commands/serve.ts";
import { startPostgres } from "./support/postgres.ts";
import { redisMissing, startRedis } from "./support/redis.ts";

// Each test starts programs, some of them a database.
setDefaultTimeout(30_000);

const MAIN = resolve(import.meta.dir, "../src/main.ts");
const folder = mkdtempSync(join(tmpdir(), "botserver-commands-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Ran {
  status: number;
  out: string;
  err: string;
}

/** Runs a command from source with nothing in its environment but `env`. */
async function botserver(args: string[], env: Record<string, string> = {}, input = ""): Promise<Ran> {
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    cwd: folder,
    env: { PATH: process.env["PATH"] ?? "", TMPDIR: tmpdir(), ...env },
    stdin: new Blob([input]),
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

describe("help and version", () => {
  test.each([["--help"], ["-h"], ["help"]])("botserver %s lists every command and every option", async (word) => {
    const { status, out, err } = await botserver([word]);
    expect({ status, err }).toEqual({ status: 0, err: "" });
    for (const name of ["serve", "migrate", "doctor", "admin create", "openapi", "help", "version", "DATABASE_URL"])
      expect(out).toContain(name);
  });

  const levels: [string[], RegExp][] = [
    [["serve", "--help"], /^botserver \[serve\]/],
    [["doctor", "-h"], /^botserver doctor \[--health\]/],
    [["admin", "--help"], /botserver admin create/],
    [["admin", "create", "--help"], /--password-stdin {4}read/],
    [["help", "admin", "create"], /--password-stdin {4}read/],
    [["help", "openapi"], /^botserver openapi/],
  ];
  test.each(levels)("botserver %p is about that command", async (args, text) => {
    const { status, out } = await botserver(args);
    expect(status).toBe(0);
    expect(out).toMatch(text);
    expect(out.length).toBeLessThan(600);
  });

  test.each([[["--version"]], [["version"]], [["doctor", "--version"]], [["admin", "create", "--version"]]])(
    "botserver %p tells the version, even when the configuration is bad",
    async (args) => {
      const { status, out } = await botserver(args, { PORT: "bad" });
      expect(status).toBe(0);
      expect(out).toMatch(/^botserver \d+\.\d+\.\d+ \(.*Bun \d+\.\d+\.\d+, \w+ \w+\)\n$/);
    },
  );

  test.each([[["nonsense"]], [["admin"]], [["admin", "delete"]], [["help", "nonsense"]], [["nonsense", "--help"]]])(
    "botserver %p is refused with 2 and the list of commands",
    async (args) => {
      const { status, out, err } = await botserver(args);
      expect({ status, out }).toEqual({ status: 2, out: "" });
      expect(err).toContain("botserver migrate");
    },
  );

  test.each([
    [["doctor", "--all"]],
    [["migrate", "now"]],
    [["openapi", "-x"]],
    [["admin", "create"]],
    [["--port", "1"]],
  ])("botserver %p is refused with 2 and the help of that command", async (args) => {
    const { status, out, err } = await botserver(args);
    expect({ status, out }).toEqual({ status: 2, out: "" });
    expect(err).toMatch(/\n\nbotserver /);
  });
});

describe("a bad configuration", () => {
  const env = {
    PORT: "70000",
    REGISTRATION: "perhaps",
    SECRET_KEY: "too short to be safe",
    DATABASE_URL: "postgres://bot:verysecret@localhost:1/bots",
    S3_BUCKET: "b",
  };

  test.each([["serve"], ["migrate"]])("stops %s with 1 and one line for each fault", async (command) => {
    const { status, out, err } = await botserver([command], env);
    expect({ status, out }).toEqual({ status: 1, out: "" });
    const names = err
      .trimEnd()
      .split("\n")
      .map((line) => line.split(":")[0]);
    expect(names).toEqual([
      "PORT",
      "SECRET_KEY",
      "REGISTRATION",
      "S3_ENDPOINT",
      "S3_ACCESS_KEY_ID",
      "S3_SECRET_ACCESS_KEY",
    ]);
    expect(err).not.toContain("too short");
    expect(err).not.toContain("verysecret");
  });

  test("is a table for the doctor, with status 1", async () => {
    const { status, out } = await botserver(["doctor"], env);
    expect(status).toBe(1);
    expect(out).toMatch(/^PORT +FAILS +found "70000" .*from 0 to 65535$/m);
    expect(out).not.toContain("verysecret");
  });

  test("in .env beside the data folder counts the same", async () => {
    const place = mkdtempSync(join(folder, "env-"));
    writeFileSync(join(place, ".env"), "PORT=none\n");
    const { status, err } = await botserver(["migrate"], { DATA_DIR: join(place, "data") });
    expect({ status, err }).toEqual({ status: 1, err: 'PORT: found "none", expected a port from 0 to 65535\n' });
  });
});

describe("migrate and doctor", () => {
  const DATA_DIR = join(folder, "doctor");

  test("the doctor finds nothing wrong on an empty machine, and makes nothing", async () => {
    const { status, out } = await botserver(["doctor"], { DATA_DIR });
    expect(status).toBe(0);
    expect(out).toMatch(/^disk +ok .*GiB free; made by the first start$/m);
    expect(
      [...new Bun.Glob("**").scanSync({ cwd: folder, onlyFiles: false })].filter((path) => path.startsWith("doctor")),
    ).toEqual([]);
  });

  test("migrate makes the database, and a second run changes nothing", async () => {
    for (const _ of [1, 2]) {
      const { status, out } = await botserver(["migrate"], { DATA_DIR });
      expect(status).toBe(0);
      expect(out).toMatch(/The database is up to date\.\n$/);
    }
  });

  test("the doctor asks the database for its version and latency", async () => {
    const { status, out } = await botserver(["doctor"], { DATA_DIR });
    expect(status).toBe(0);
    expect(out).toMatch(/^database +ok +PGlite +\d+\.\d+ +[\d.]+ ms$/m);
  });

  test("whatever is configured and does not answer is named, and the status is 1", async () => {
    const env = {
      DATA_DIR,
      VALKEY_URL: "redis://:verysecret@127.0.0.1:1",
      LLM_URL: "http://127.0.0.1:1/v1",
      EMBEDDING_MODEL: "m",
      QDRANT_URL: "http://127.0.0.1:1",
      SMTP_URL: "smtp://u:verysecret@127.0.0.1:1",
      OIDC_ISSUER: "http://127.0.0.1:1",
      OIDC_CLIENT_ID: "c",
      SOFFICE_PATH: "/nonexistent/soffice",
    };
    const { status, out } = await botserver(["doctor"], env);
    expect(status).toBe(1);
    const failing = [...out.matchAll(/^(.+?) +FAILS /gm)].map(([, name]) => name);
    expect(failing).toEqual([
      "cache",
      "vectors",
      "embeddings",
      "model",
      "sign-in by OpenID",
      "mail (SMTP)",
      "SOFFICE_PATH",
    ]);
    expect(out).toMatch(/^database +ok/m);
    expect(out).not.toContain("verysecret");
  });

  test.skipIf(redisMissing() !== null)("a cache server that answers is shown with its version", async () => {
    const redis = await startRedis();
    try {
      const { status, out } = await botserver(["doctor"], { DATA_DIR, VALKEY_URL: redis.url });
      expect(status).toBe(0);
      expect(out).toMatch(/^cache +ok +\S+ +(redis|valkey) \d+\.\d+\S* +[\d.]+ ms$/m);
    } finally {
      await redis.close();
    }
  });
});

describe("beside a running server", () => {
  const DATA_DIR = join(folder, "running");

  test("a second start names the first one's process, the doctor and the health check ask it", async () => {
    const config = loadConfig({ DATA_DIR, PORT: "0", HOST: "127.0.0.1" }, folder);
    const server = await openServer(config, { log: silentLog });
    const env = { DATA_DIR, PORT: String(server.port), HOST: "127.0.0.1" };
    try {
      const second = await botserver(["serve"], env);
      expect({ status: second.status, out: second.out }).toEqual({ status: 1, out: "" });
      expect(second.err).toContain(`process ${process.pid}`);
      const doctor = await botserver(["doctor"], env);
      expect(doctor.status).toBe(0);
      expect(doctor.out).toMatch(
        new RegExp(`^database +ok +PGlite +in use by process ${process.pid}, which is ready$`, "m"),
      );
      expect(await botserver(["doctor", "--health"], env)).toEqual({ status: 0, out: "ready\n", err: "" });
    } finally {
      await server.stop(1000);
    }
    const after = await botserver(["doctor", "--health"], env);
    expect(after).toEqual({ status: 1, out: `not answering on port ${server.port}\n`, err: "" });
  });
});

describe("on a PostgreSQL", () => {
  test("a second start on the data folder names the first one's process; an admin can be made beside it", async () => {
    const postgres = await startPostgres();
    if (!postgres) return;
    const DATA_DIR = join(folder, "postgres");
    const shared = { DATA_DIR, DATABASE_URL: await postgres.database("lock"), SECRET_KEY: "k".repeat(32) };
    const config = loadConfig({ ...shared, PORT: "0", HOST: "127.0.0.1" }, folder);
    try {
      const server = await openServer(config, { log: silentLog });
      try {
        const second = await botserver(["serve"], { ...shared, PORT: "0", HOST: "127.0.0.1" });
        expect({ status: second.status, out: second.out }).toEqual({ status: 1, out: "" });
        expect(second.err).toContain(`process ${process.pid}`);
        const made = await botserver(
          ["admin", "create", "--email", "way.in@example.org", "--password-stdin"],
          shared,
          "a way back into it\n",
        );
        expect(made).toEqual({ status: 0, out: "way.in@example.org is a new admin.\n", err: "" });
      } finally {
        await server.stop(1000);
      }
      const again = await openServer(config, { log: silentLog });
      await again.stop(1000);
    } finally {
      await postgres.stop();
    }
  }, 60_000);
});

describe("admin create", () => {
  const DATA_DIR = join(folder, "admin");
  const create = (email: string, ...more: string[]) => ["admin", "create", "--email", email, ...more];

  test("makes an admin who can sign in, and a second time sets the password", async () => {
    const first = await botserver(
      create("boss@example.org", "--password-stdin"),
      { DATA_DIR },
      "a first long passphrase\n",
    );
    expect(first).toEqual({ status: 0, out: "boss@example.org is a new admin.\n", err: "" });
    const second = await botserver(
      create("boss@example.org", "--password-stdin"),
      { DATA_DIR },
      "another long passphrase\n",
    );
    expect(second.out).toBe("boss@example.org is an admin now, with the new password.\n");

    const config = loadConfig({ DATA_DIR, PORT: "0", HOST: "127.0.0.1" }, folder);
    const server = await openServer(config, { log: silentLog });
    try {
      const signIn = (password: string) =>
        fetch(`${server.url}/api/v1/auth/login`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ email: "boss@example.org", password }),
        });
      expect((await signIn("a first long passphrase")).status).toBe(401);
      expect((await signIn("another long passphrase")).status).toBe(200);
    } finally {
      await server.stop(1000);
    }
  });

  test("refuses a weak password with its reasons and makes nobody", async () => {
    const { status, out, err } = await botserver(
      create("weak@example.org", "--password-stdin"),
      { DATA_DIR },
      "short\n",
    );
    expect({ status, out }).toEqual({ status: 1, out: "" });
    expect(err).toContain("min_length");
    const engines = await openEngines(loadConfig({ DATA_DIR }, folder), systemClock, silentLog);
    try {
      expect(await engines.database.query("select id from users where email = $1", ["weak@example.org"])).toEqual([]);
    } finally {
      await engines.close();
    }
  });

  test("without a terminal the password must come by --password-stdin", async () => {
    const { status, err } = await botserver(create("x@example.org"), { DATA_DIR });
    expect(status).toBe(2);
    expect(err).toContain("--password-stdin");
  });

  test("on a terminal the password is asked for twice and never shown", async () => {
    let shown = "";
    const answers = ["tapped out passphrasX\u007fe 7\r", "tapped out passphrase 7\r"];
    await using terminal = new Bun.Terminal({
      data: (own, bytes) => {
        shown += new TextDecoder().decode(bytes);
        // Each question is answered once.
        if (/(Password|Once more): $/.test(shown)) own.write(answers.shift() ?? "");
      },
    });
    const child = Bun.spawn([process.execPath, MAIN, ...create("keys@example.org")], {
      cwd: folder,
      env: { PATH: process.env["PATH"] ?? "", DATA_DIR },
      terminal,
    });
    expect(await child.exited).toBe(0);
    expect(shown).toContain("keys@example.org is a new admin.");
    expect(shown).not.toContain("passphras");
  });
});

describe("openapi", () => {
  test("prints the whole document without touching the data folder", async () => {
    const DATA_DIR = join(folder, "openapi");
    const { status, out, err } = await botserver(["openapi"], { DATA_DIR });
    expect({ status, err }).toEqual({ status: 0, err: "" });
    const document = JSON.parse(out) as { openapi: string; paths: Record<string, unknown> };
    expect(document.openapi).toMatch(/^3\./);
    expect(Object.keys(document.paths)).toContain("/api/v1/auth/login");
    expect(await Bun.file(join(DATA_DIR, "secret.key")).exists()).toBe(false);
  });
});
