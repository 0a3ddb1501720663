// kill -9 under mixed writes, 50 rounds on one data folder: every write that was acknowledged is there afterwards, every
// message is answered, the start always succeeds. `ROUNDS` changes their number; the binary is taken if there is one.

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startProcess, waitFor } from "../support/processes.ts";
import { ADMIN } from "../support/server.ts";
import { median, report } from "./measure.ts";

const ROUNDS = Number(process.env["ROUNDS"] ?? 50);
const LOAD_MS = 700;
const binary = join(import.meta.dir, "../../dist/botserver");
const command = existsSync(binary) ? [binary] : [process.execPath, join(import.meta.dir, "../../src/main.ts"), "serve"];
const dataDir = mkdtempSync(join(tmpdir(), "botserver-kill-"));

let baseUrl = "";
let token = "";

async function call<Data>(method: string, path: string, body?: unknown): Promise<{ status: number; data: Data }> {
  const response = await fetch(`${baseUrl}/api/v1${path}`, {
    method,
    headers: {
      ...(token ? { authorization: `Bearer ${token}` } : {}),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, data: (text ? (JSON.parse(text) as { data: Data }).data : null) as Data };
}

/** Acknowledged writes by kind; the value is what must be read afterwards. */
const acknowledged = {
  messages: new Map<string, string>(),
  memory: new Map<string, string>(),
  collections: new Set<string>(),
  documents: new Set<string>(),
};
let conversationId = "";
let sequence = 0;

async function writeOne(): Promise<void> {
  sequence += 1;
  const name = `n${sequence}`;
  switch (sequence % 4) {
    case 0: {
      const made = await call<{ message_id: string }>("POST", `/conversations/${conversationId}/messages`, {
        content: `message ${name}`,
        client_id: name,
      });
      if (made.status === 201) acknowledged.messages.set(made.data.message_id, `message ${name}`);
      return;
    }
    case 1: {
      const made = await call("PUT", `/memory/${name}`, { value: name });
      if (made.status === 200) acknowledged.memory.set(name, name);
      return;
    }
    case 2: {
      const made = await call<{ documents: { id: string }[] }>("POST", "/kb/ingest", {
        collection: "killed",
        bot_id: "default",
        create: true,
        items: [
          {
            text: `Document ${name} says that the code of ${name} is ${sequence * 7}.`,
            title: name,
            external_id: name,
          },
        ],
      });
      if (made.status === 202) for (const { id } of made.data.documents) acknowledged.documents.add(id);
      return;
    }
    default: {
      const made = await call("PUT", `/bots/default/memory/${name}`, { value: { name } });
      if (made.status === 200) acknowledged.collections.add(name);
    }
  }
}

const starts: number[] = [];
let lost = 0;
let failedStarts = 0;
let written = 0;

async function start() {
  const began = performance.now();
  const server = await startProcess({
    command,
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: process.env["HOME"] ?? "/",
      HOST: "127.0.0.1",
      PORT: "0",
      DATA_DIR: dataDir,
      ADMIN_EMAIL: ADMIN.email,
      ADMIN_PASSWORD: ADMIN.password,
      RATE_LIMIT_ADMIN: "0",
      RATE_LIMIT_ANONYMOUS: "0",
      LOG_LEVEL: "error",
    },
    cwd: dataDir,
  });
  starts.push((performance.now() - began) / 1000);
  baseUrl = server.url;
  return server;
}

async function signIn(): Promise<void> {
  token = "";
  const answer = await call<{ access_token: string }>("POST", "/auth/login", {
    email: ADMIN.email,
    password: ADMIN.password,
    remember_me: true,
  });
  if (answer.status !== 200) throw new Error(`sign-in answered ${answer.status}`);
  token = answer.data.access_token;
}

/** Counts acknowledged writes that cannot be read any more. */
async function missing(): Promise<number> {
  let count = 0;
  const read = new Map<string, string>();
  for (let after = 0; ;) {
    const page = await call<{ messages: { id: string; seq: number; content: string }[]; has_more: boolean }>(
      "GET",
      `/conversations/${conversationId}/messages?limit=100&after=seq:${after}`,
    );
    for (const { id, seq, content } of page.data.messages) {
      if (seq !== after + 1) count += 1; // a gap or a repetition
      after = seq;
      read.set(id, content);
    }
    if (page.data.messages.length === 0) break;
  }
  for (const [id, content] of acknowledged.messages) if (read.get(id) !== content) count += 1;
  for (const [key, value] of acknowledged.memory) {
    const entry = await call<{ value: string }>("GET", `/memory/${key}`);
    if (entry.status !== 200 || entry.data.value !== value) count += 1;
  }
  for (const key of acknowledged.collections) {
    if ((await call("GET", `/bots/default/memory/${key}`)).status !== 200) count += 1;
  }
  for (const id of acknowledged.documents) if ((await call("GET", `/kb/documents/${id}`)).status !== 200) count += 1;
  return count;
}

try {
  let server = await start();
  await signIn();
  await call("PUT", "/bots/default/config", { "session-rate-limit": "100000", "user-memory-max-keys": "1000000" });
  const made = await call<{ conversation_id: string }>("POST", "/conversations", { bot_id: "default" });
  conversationId = made.data.conversation_id;
  for (let round = 0; round < ROUNDS; round += 1) {
    const until = performance.now() + LOAD_MS * (0.3 + Math.random());
    const writers = Array.from({ length: 6 }, async () => {
      // A write that the kill cuts off was not acknowledged: it may be there or not.
      while (performance.now() < until) await writeOne().catch(() => undefined);
    });
    await Bun.sleep(Math.max(0, until - performance.now()) * (0.4 + Math.random() * 0.6));
    await server.kill9();
    await Promise.allSettled(writers);
    try {
      server = await start();
    } catch (error) {
      failedStarts += 1;
      console.error(error);
      break;
    }
    // The session outlives the kill; its token is still good.
    written =
      acknowledged.messages.size +
      acknowledged.memory.size +
      acknowledged.collections.size +
      acknowledged.documents.size;
  }
  lost = await missing();
  // Whatever was under way when the process died is taken up again and ends.
  let open = -1;
  await waitFor(async () => {
    const list = await call<{ total: number }>(
      "GET",
      "/kb/documents?status=indexed&collection_id=default:killed&limit=1",
    );
    open = acknowledged.documents.size - list.data.total;
    return open <= 0;
  }, 120_000);
  await server.stop();
  report(`kill -9 under mixed writes, ${ROUNDS} rounds, ${written} acknowledged writes`, [
    { what: "acknowledged writes lost", measured: String(lost), bound: "0", holds: lost === 0 },
    { what: "starts that failed", measured: String(failedStarts), bound: "0", holds: failedStarts === 0 },
    { what: "documents never indexed", measured: String(Math.max(0, open)), bound: "0", holds: open <= 0 },
  ]);
  console.log(`median start ${median(starts).toFixed(2)} s`);
  if (lost > 0 || failedStarts > 0 || open > 0) process.exitCode = 1;
} finally {
  rmSync(dataDir, { recursive: true, force: true });
}
