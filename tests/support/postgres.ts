// A private PostgreSQL for tests: the machine's own programs, a temporary folder, a free port, loopback only.
// It ends with `stop`, and also when this process dies, because its shell waits on our end of a pipe.

import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";

export interface TestPostgres {
  version: string;
  /** URL of a database that is made empty at the first call for its name, as a superuser or as `role`. */
  database(name: string, role?: string): Promise<string>;
  /** SQL as superuser in the database `name`. */
  admin(name: string, sql: string): Promise<void>;
  stop(): Promise<void>;
}

/** Starts it, or prints why not and returns null; with CI=true missing programs are a failure. */
export async function startPostgres(): Promise<TestPostgres | null> {
  const programs = findPrograms();
  if (!programs) {
    const line = "PostgreSQL's programs (initdb, postgres) were not found: its tests are skipped.";
    if (process.env["CI"] === "true") throw new Error(line);
    console.log(line);
    return null;
  }
  const folder = mkdtempSync(join(tmpdir(), "botserver-postgres-"));
  const as = owner(folder);
  const data = join(folder, "data");
  const init = Bun.spawnSync([
    ...as,
    programs.initdb,
    "-D",
    data,
    "-U",
    "tester",
    "--auth=trust",
    "-E",
    "UTF8",
    "--locale=C.UTF-8",
    "--no-sync",
  ]);
  if (init.exitCode !== 0) throw new Error(`initdb failed: ${init.stderr.toString()}`);

  for (let attempt = 0; ; attempt++) {
    const port = freePort();
    // The shell turns the end of its standard input, which is this process's end, into a fast shutdown.
    const script =
      '"$0" -D "$1" -F -p "$2" -h 127.0.0.1 -k "" -c max_connections=60 -c deadlock_timeout=200ms & p=$!; cat >/dev/null; kill -INT $p; wait $p';
    const server = Bun.spawn([...as, "sh", "-c", script, programs.postgres, data, String(port)], {
      stdin: "pipe",
      stdout: "ignore",
      stderr: attempt > 2 ? "inherit" : "ignore",
    });
    const url = (name: string, role = "tester") => `postgres://${role}@127.0.0.1:${port}/${encodeURIComponent(name)}`;
    const stop = async () => {
      await server.stdin.end();
      await server.exited;
      rmSync(folder, { recursive: true, force: true });
    };
    const version = await answers(url("postgres"));
    if (version === null) {
      await server.stdin.end();
      await server.exited;
      if (attempt < 4) continue;
      throw new Error("The private PostgreSQL did not start.");
    }
    const admin = async (name: string, sql: string) => {
      const client = postgres(url(name), { database: name, max: 1, onnotice: () => undefined });
      try {
        await client.unsafe(sql).simple();
      } finally {
        await client.end();
      }
    };
    const made = new Set<string>(["postgres"]);
    return {
      version,
      admin,
      stop,
      database: async (name, role) => {
        if (!made.has(name)) await admin("postgres", `create database "${name.replaceAll('"', '""')}"`);
        made.add(name);
        return url(name, role);
      },
    };
  }
}

function findPrograms(): { initdb: string; postgres: string } | null {
  const base = "/usr/lib/postgresql";
  const packaged = existsSync(base)
    ? readdirSync(base)
        .sort((a, b) => Number(b) - Number(a))
        .map((version) => join(base, version, "bin"))
    : [];
  for (const folder of [...packaged, ...(process.env["PATH"] ?? "").split(":")]) {
    const [initdb, server] = [join(folder, "initdb"), join(folder, "postgres")];
    if (existsSync(initdb) && existsSync(server)) return { initdb, postgres: server };
  }
  return null;
}

/** The server refuses to run as root: then the folder is given to another user, and the command that becomes it is returned. */
function owner(folder: string): string[] {
  if (process.getuid?.() !== 0) return [];
  const id = (flag: string) => Number(Bun.spawnSync(["id", flag, "postgres"]).stdout.toString()) || 65_534;
  const [uid, gid] = [id("-u"), id("-g")];
  chownSync(folder, uid, gid);
  return ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

/** The server's version once it takes connections; null if it has not within 15 s. */
async function answers(url: string): Promise<string | null> {
  for (let tries = 0; tries < 150; tries++) {
    const client = postgres(url, { max: 1, connect_timeout: 2, onnotice: () => undefined });
    try {
      const [row] = await client`show server_version`;
      return String(row?.["server_version"]);
    } catch {
      await Bun.sleep(100);
    } finally {
      await client.end({ timeout: 0 });
    }
  }
  return null;
}
