// Several server processes on one database, seen from outside; and beside them an unstarted app on the same database
// and bus, through which tests make accounts without signing in and do what no route does yet.

import { afterAll } from "bun:test";
import { createApp } from "../../src/app.ts";
import { absent } from "../../src/commands/serve.ts";
import { loadConfig } from "../../src/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { openCache } from "../../src/engines/cache/open.ts";
import { openDatabase } from "../../src/engines/database/open.ts";
import { openJobs } from "../../src/engines/jobs/open.ts";
import type { AccountSource } from "./callers.ts";
import { openSocket, type ChatSocket } from "./chat-socket.ts";
import { serverCommand, startProcess, temporaryFolder, type RunningProcess } from "./processes.ts";
import { ADMIN } from "./server.ts";

/** What all instances of a cluster share. */
export const SECRET_KEY = "a secret key of more than thirty-two bytes";

export interface Answer<Data> {
  status: number;
  headers: Headers;
  data: Data;
  error: { code: string; details: Record<string, unknown> } | null;
  tookMs: number;
}

export interface CallOptions {
  token?: string | null;
  body?: unknown;
  headers?: Record<string, string>;
}

/** One server process. */
export interface Instance extends RunningProcess {
  /** Path below `/api/v1`. */
  call<Data = unknown>(method: string, path: string, options?: CallOptions): Promise<Answer<Data>>;
  /** A socket that has said `connected`; closed after the test file. */
  open(token: string | null, query?: Record<string, string>): Promise<ChatSocket>;
}

export interface Cluster {
  launch(env?: Record<string, string>): Promise<Instance>;
  /** Signs in on an instance as from an address of its own, because sign-ins of one address are limited. */
  signIn(at: Instance, who?: { email: string; password: string }): Promise<string>;
  /** For `makeAccount` and its kin; nothing of it runs in the background. */
  office(): Promise<AccountSource>;
}

const V1 = "/api/v1";
let addresses = 0;

/** An address that nobody has called from. */
export function newAddress(): string {
  addresses += 1;
  return `203.0.${Math.floor(addresses / 250)}.${(addresses % 250) + 1}`;
}

function instanceOf(process: RunningProcess, opened: ChatSocket[]): Instance {
  return {
    ...process,
    call: async (method, path, { token = null, body, headers = {} } = {}) => {
      const begun = performance.now();
      const response = await fetch(`${process.url}${V1}${path}`, {
        method,
        headers: {
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      const json = (text === "" ? {} : JSON.parse(text)) as { data?: unknown; error?: Answer<unknown>["error"] };
      return {
        status: response.status,
        headers: response.headers,
        data: json.data as never,
        error: json.error ?? null,
        tookMs: performance.now() - begun,
      };
    },
    open: async (token, query = {}) => {
      const headers = token === null ? { "x-forwarded-for": newAddress() } : {};
      const socket = await openSocket(process.url, query, { headers, ...(token === null ? {} : { token }) });
      opened.push(socket);
      await socket.status("connected");
      return socket;
    },
  };
}

/** A group of instances on one database; without `valkeyUrl` the database is their bus. All end after the test file. */
export function openCluster(options: {
  databaseUrl: string;
  valkeyUrl: string | null;
  env?: Record<string, string>;
}): Cluster {
  const opened: ChatSocket[] = [];
  const ending: (() => void | Promise<void>)[] = [];
  afterAll(async () => {
    for (const socket of opened) socket.close();
    for (const end of ending.toReversed()) await end();
  });
  const shared = {
    HOST: "127.0.0.1",
    PORT: "0",
    DATABASE_URL: options.databaseUrl,
    DATABASE_POOL: "6",
    ...(options.valkeyUrl === null ? {} : { VALKEY_URL: options.valkeyUrl }),
    SECRET_KEY,
    ADMIN_EMAIL: ADMIN.email,
    ADMIN_PASSWORD: ADMIN.password,
    RATE_LIMIT_ANONYMOUS: "0",
    RATE_LIMIT_ADMIN: "0",
    TRUST_PROXY: "1",
    LOG_LEVEL: "warn",
    LOG_FORMAT: "json",
    ...options.env,
  };
  return {
    launch: async (env = {}) => {
      const folder = await temporaryFolder("instance");
      ending.push(() => folder.remove());
      const process = await startProcess({
        command: serverCommand.source,
        cwd: folder.path,
        env: { ...shared, DATA_DIR: folder.path, ...env },
      });
      ending.push(() => process.kill9());
      return instanceOf(process, opened);
    },
    signIn: async (at, who = ADMIN) => {
      const headers = { "x-forwarded-for": newAddress() };
      const answer = await at.call<{ access_token: string }>("POST", "/auth/login", { body: who, headers });
      if (answer.status !== 200) throw new Error(`sign-in answered ${answer.status} ${JSON.stringify(answer.error)}`);
      return answer.data.access_token;
    },
    office: async () => {
      const folder = await temporaryFolder("office");
      ending.push(() => folder.remove());
      const config = loadConfig({ ...shared, DATA_DIR: folder.path }, folder.path);
      const database = await openDatabase({
        url: options.databaseUrl,
        dataDir: folder.path,
        sync: true,
        pool: 2,
        log: silentLog,
      });
      ending.push(() => database.close());
      const bridge = {
        notify: (channel: string, payload: string) => database.notify(channel, payload),
        listen: (channel: string, handler: (payload: string) => void) => database.listen(channel, handler),
      };
      const cache = await openCache({ url: options.valkeyUrl, clock: systemClock, log: silentLog, bridge });
      ending.push(() => cache.close());
      const { services } = createApp({
        config,
        secretKey: SECRET_KEY,
        engines: {
          database,
          cache,
          objects: absent("objects"),
          jobs: openJobs({ database, clock: systemClock, log: silentLog }),
          embedding: absent("embedding"),
          extract: absent("extract"),
          fetcher: absent("fetcher"),
          vectors: absent("vectors"),
          model: null,
        },
        clock: systemClock,
        log: silentLog,
        version: "test",
        pages: absent("pages"),
      });
      return { clock: systemClock, engines: { database }, services };
    },
  };
}
