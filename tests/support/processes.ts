// Programs that tests start and end: the server from source or as the built binary, on free ports, in folders of
// their own. Whatever a test leaves running is killed by its pid when the test process exits.

import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dir, "../..");

/** How the server is started: as source by this Bun, or as the binary that the build made. */
export const serverCommand = {
  source: [process.execPath, join(root, "src/main.ts"), "serve"],
  binary: [join(root, "dist/botserver"), "serve"],
};

export interface StartOptions {
  command: readonly string[];
  /** All of the environment besides PATH, HOME and TMPDIR: nothing of the developer's own leaks in. */
  env?: Record<string, string>;
  cwd?: string;
  /** How long it may take until it prints its address. */
  timeoutMs?: number;
}

export interface RunningProcess {
  /** The address it printed, without a slash at the end. */
  readonly url: string;
  readonly pid: number;
  /** Sends the signal and waits at most 20 s for the end; gives the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number>;
  /** Ends it as a power cut would, and waits until it is gone. */
  kill9(): Promise<void>;
  readonly exited: Promise<number>;
  stdout(): string;
  stderr(): string;
}

const running = new Set<Bun.Subprocess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Starts a program without waiting for any output; for what prints no address. */
export function spawnProcess({ command, env = {}, cwd = root }: StartOptions) {
  const { PATH, HOME, TMPDIR } = process.env;
  const basic = Object.fromEntries(Object.entries({ PATH, HOME, TMPDIR }).filter(([, value]) => value !== undefined));
  const child = Bun.spawn([...command], {
    cwd,
    env: { ...basic, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  running.add(child);
  const output = { stdout: "", stderr: "" };
  // Read to the end, else a full pipe stops the program.
  const collect = async (name: "stdout" | "stderr") => {
    const decoder = new TextDecoder();
    for await (const chunk of child[name]) output[name] += decoder.decode(chunk, { stream: true });
  };
  const outputEnded = Promise.all([collect("stdout"), collect("stderr")]);
  const exited = child.exited.then(async (code) => {
    running.delete(child);
    await outputEnded;
    return code;
  });
  const kill9 = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  return {
    pid: child.pid,
    exited,
    kill9,
    stop: async (signal: NodeJS.Signals = "SIGTERM") => {
      child.kill(signal);
      const code = await Promise.race([exited, Bun.sleep(20_000)]);
      if (typeof code === "number") return code;
      await kill9();
      throw new Error(`${signal} did not end it within 20 s:\n${output.stderr}`);
    },
    stdout: () => output.stdout,
    stderr: () => output.stderr,
  };
}

/** Starts a server and waits for the line of standard output that holds its address `http://host:port`. */
export async function startProcess(options: StartOptions): Promise<RunningProcess> {
  const started = spawnProcess(options);
  const timeoutMs = options.timeoutMs ?? 30_000;
  let code: number | null = null;
  void started.exited.then((value) => {
    code = value;
  });
  const address = await waitFor(() => {
    const found = /^.*?(https?:\/\/[^\s/]+:\d+).*\n/m.exec(started.stdout())?.[1];
    if (found === undefined && code !== null) return "ended";
    return found;
  }, timeoutMs).catch(() => "late");
  if (address === "ended" || address === "late") {
    await started.kill9();
    const fault = address === "late" ? `printed no address within ${timeoutMs} ms` : `ended with code ${code}`;
    throw new Error(`${options.command.join(" ")} ${fault}:\n${started.stdout()}${started.stderr()}`);
  }
  const url = new URL(address);
  if (url.hostname === "0.0.0.0") url.hostname = "127.0.0.1";
  return { ...started, url: url.origin };
}

/** Null when one of these programs is installed, else why tests that need it are skipped; on CI that is a failure. */
export function programMissing(...names: string[]): string | null {
  if (names.some((name) => Bun.which(name) !== null)) return null;
  const reason = `${names.join(" or ")} is not installed`;
  if (process.env["CI"] === "true") throw new Error(reason);
  console.warn(`skipped: ${reason}`);
  return reason;
}

/** A new empty folder; `remove` deletes it with all that is in it. */
export async function temporaryFolder(name = "test"): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), `botserver-${name}-`));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** A TCP port of the loopback address that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  await new Promise((closed) => server.close(closed));
  if (address === null || typeof address === "string") throw new Error("the system gave no port");
  return address.port;
}

/** Asks every 10 ms until the condition gives something true, which is returned; throws after `timeoutMs`. */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  timeoutMs = 5_000,
): Promise<Exclude<T, false | null | undefined>> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value as Exclude<T, false | null | undefined>;
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${condition.toString()}`);
    await Bun.sleep(10);
  }
}
