// A private Valkey or Redis server in a folder of its own, which tests kill, pause and restart on the same port.

import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { freePort, programMissing, spawnProcess, temporaryFolder, waitFor } from "./processes.ts";

const program = Bun.which("valkey-server") ?? Bun.which("redis-server");

/** Why tests with a server cannot run here, or null; on CI the missing program is a failure. */
export function redisMissing(): string | null {
  return programMissing("valkey-server", "redis-server");
}

export interface RedisOptions {
  /** PEM texts; the server then speaks TLS only. */
  tls?: { certificate: string; key: string };
  password?: string;
}

export interface RedisServer {
  readonly url: string;
  readonly port: number;
  /** Kills it without a goodbye. */
  kill9(): Promise<void>;
  /** Starts it again, empty, on the same port. */
  start(): Promise<void>;
  /** Lets it hang: connections stay open and nothing is answered. */
  pause(): void;
  resume(): void;
  /** Ends it and removes its folder. */
  close(): Promise<void>;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const answer = (isOpen: boolean) => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once("connect", () => answer(true));
    socket.once("error", () => answer(false));
  });
}

/** Starts an empty server that writes nothing to disk. */
export async function startRedis({ tls, password }: RedisOptions = {}): Promise<RedisServer> {
  if (program === null) throw new Error("no redis-server");
  const folder = await temporaryFolder("redis");
  const port = await freePort();
  const listen = tls ? ["--port", "0", "--tls-port", String(port)] : ["--port", String(port)];
  if (tls) {
    await writeFile(join(folder.path, "certificate.pem"), tls.certificate);
    await writeFile(join(folder.path, "key.pem"), tls.key);
    listen.push("--tls-cert-file", "certificate.pem", "--tls-key-file", "key.pem", "--tls-auth-clients", "no");
  }
  const command = [program, ...listen, "--bind", "127.0.0.1", "--dir", folder.path, "--save", "", "--appendonly", "no"];
  if (password !== undefined) command.push("--requirepass", password);

  let server: ReturnType<typeof spawnProcess> | null = null;
  const start = async () => {
    const started = spawnProcess({ command, cwd: folder.path });
    server = started;
    await waitFor(() => accepts(port), 10_000).catch(async (error: unknown) => {
      await started.kill9();
      throw new Error(`redis-server did not start:\n${started.stdout()}${started.stderr()}`, { cause: error });
    });
  };
  const kill9 = async () => {
    await server?.kill9();
    server = null;
  };
  const signal = (name: NodeJS.Signals) => {
    if (server !== null) process.kill(server.pid, name);
  };
  await start();
  return {
    url: `${tls ? "rediss" : "redis"}://${password === undefined ? "" : `:${encodeURIComponent(password)}@`}127.0.0.1:${port}`,
    port,
    start,
    kill9,
    pause: () => signal("SIGSTOP"),
    resume: () => signal("SIGCONT"),
    close: async () => {
      await kill9();
      await folder.remove();
    },
  };
}
