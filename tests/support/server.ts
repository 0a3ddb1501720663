// A whole server on a free port for tests: embedded engines in a data folder of its own, a clock that is moved by
// hand, an administrator. Everything goes at the end.

import { afterAll } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openServer, type Server } from "../../src/commands/serve.ts";
import { loadConfig } from "../../src/config.ts";
import { movableClock } from "../../src/core/clock.ts";
import { users } from "../../src/areas/users/model.ts";
import { openLog, silentLog, type Log } from "../../src/core/log.ts";
import { uuidv7 } from "../../src/lib/ids/index.ts";

export const ADMIN = { email: "admin@example.org", password: "correct horse battery staple" };

export interface TestServer extends Server {
  clock: ReturnType<typeof movableClock>;
  dataDir: string;
  /** Calls the API; `data` is the envelope's, or its error. */
  call: <Data = unknown>(
    method: string,
    path: string,
    options?: { token?: string | null; body?: unknown; headers?: Record<string, string> },
  ) => Promise<Answer<Data>>;
  /** Signs in and returns the access token; the administrator unless somebody is named. */
  signIn: (who?: { email: string; password: string }) => Promise<string>;
  /** An active account with these roles; returns its credentials and a token. */
  person: (roles?: readonly string[]) => Promise<Person>;
}

export interface Answer<Data> {
  status: number;
  headers: Headers;
  data: Data;
  error: { code: string; message: string; details: Record<string, unknown> } | null;
}

export interface Person {
  userId: string;
  email: string;
  password: string;
  token: string;
}

/** Starts a server; it is stopped and its folder removed after the test file. */
export async function startTestServer(
  env: Record<string, string> = {},
  options: { log?: Log } = {},
): Promise<TestServer> {
  const dataDir = mkdtempSync(join(tmpdir(), "botserver-test-"));
  const clock = movableClock();
  const settings = {
    HOST: "127.0.0.1",
    PORT: "0",
    DATA_DIR: dataDir,
    DATABASE_SYNC: "off",
    ADMIN_EMAIL: ADMIN.email,
    ADMIN_PASSWORD: ADMIN.password,
    RATE_LIMIT_ANONYMOUS: "0",
    RATE_LIMIT_USER: "0",
    RATE_LIMIT_ADMIN: "0",
    ...env,
  };
  const log = options.log ?? (process.env["TEST_LOG"] ? openLog("debug", "pretty") : silentLog);
  const server = await openServer(loadConfig(settings, dataDir), { clock, log });
  afterAll(async () => {
    await server.stop(1000);
    rmSync(dataDir, { recursive: true, force: true });
  });

  const call: TestServer["call"] = async (method, path, { token = null, body, headers = {} } = {}) => {
    const isRaw = body instanceof FormData || body instanceof Blob || typeof body === "string";
    const response = await fetch(`${server.url}${path}`, {
      method,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined || isRaw ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: isRaw ? (body as string) : JSON.stringify(body) }),
      redirect: "manual",
    });
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.startsWith("application/json") ?? false;
    const json =
      isJson && text !== ""
        ? (JSON.parse(text) as { data?: unknown; error?: Answer<unknown>["error"] })
        : { data: text };
    return {
      status: response.status,
      headers: response.headers,
      data: json.data as never,
      error: json.error ?? null,
    };
  };

  const signIn: TestServer["signIn"] = async (who = ADMIN) => {
    const answer = await call<{ access_token: string }>("POST", "/api/v1/auth/login", { body: who });
    if (answer.status !== 200) throw new Error(`sign-in answered ${answer.status} ${JSON.stringify(answer.error)}`);
    // Sign-ins are limited to five a minute; tests may need more.
    clock.advance(60_001);
    return answer.data.access_token;
  };

  let made = 0;
  const person: TestServer["person"] = async (roles = ["user"]) => {
    made += 1;
    const email = `person${made}@example.org`;
    const password = `a long enough secret ${made}`;
    const userId = uuidv7();
    const at = clock.date();
    await server.engines.database.transaction(async (tx) => {
      await tx.insert(users).values({
        id: userId,
        username: `person${made}`,
        usernameKey: `person${made}`,
        email,
        emailKey: email,
        emailVerified: true,
        displayName: `Person ${made}`,
        status: "active",
        passwordHash: await Bun.password.hash(password, { algorithm: "argon2id", memoryCost: 8, timeCost: 1 }),
        createdAt: at,
        updatedAt: at,
      });
      for (const role of roles) await server.services.permissions.give(tx, userId, role, null);
    });
    return { userId, email, password, token: await signIn({ email, password }) };
  };

  return { ...server, clock, dataDir, call, signIn, person };
}
