// Sockets: a room of 400 on one conversation, stored and delivered, against socket.io that stores nothing; and what
// 10,000 idle signed-in sockets cost in memory. Server and clients are processes of their own.

import { readFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server as SocketIo } from "socket.io";
import { io } from "socket.io-client";
import { openServer } from "../../src/commands/serve.ts";
import { ensureSecretKey, loadConfig } from "../../src/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { openSeal } from "../../src/core/seal.ts";
import { openTokens } from "../../src/http/tokens.ts";
import { ADMIN } from "../support/server.ts";
import { cpuSeconds, median, report, residentBytes } from "./measure.ts";

const ROOM = 400;
const MESSAGES = 960;
/** Messages that wait for their acknowledgement at a time. */
const WINDOW = 120;
const ROUNDS = 9;
/** Both sides are compiled in tiers while they run. */
const WARM_ROUNDS = 4;
const IDLE = 10_000;
const CONTENT = "hello there, this is a message of the length that people write in a room";

type Kind = "ours" | "socketio";

// --- the servers ---

async function serveOurs(dataDir: string): Promise<void> {
  const settings = {
    HOST: "127.0.0.1",
    PORT: "0",
    DATA_DIR: dataDir,
    ADMIN_EMAIL: ADMIN.email,
    ADMIN_PASSWORD: ADMIN.password,
    RATE_LIMIT_ANONYMOUS: "0",
    RATE_LIMIT_USER: "0",
    RATE_LIMIT_ADMIN: "0",
  };
  const config = loadConfig(settings, dataDir);
  const server = await openServer(config, { log: silentLog });
  // The bounds per user and instance are what is not measured here.
  Object.assign(server.services.conversations.sockets.limits, {
    socketsPerUser: IDLE,
    conversations: IDLE + ROOM,
    framesPerMinute: 1_000_000,
  });
  const { database } = server.engines;
  const tokens = openTokens({ seal: openSeal(ensureSecretKey(config), null), clock: systemClock });

  const login = await fetch(`${server.url}/api/v1/auth/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(ADMIN),
  });
  const admin = ((await login.json()) as { data: { access_token: string } }).data.access_token;
  const call = async (method: string, path: string, body: unknown): Promise<{ session_id: string }> => {
    const response = await fetch(`${server.url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${admin}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return ((await response.json()) as { data: { session_id: string } }).data;
  };
  await call("PUT", "/bots/default/config/session-rate-limit", { value: "100000" });
  const room = await call("POST", "/conversations/start", {});
  // Nobody answers in the room: what is measured is storing and delivering.
  await database.query("update conversations set handler = 'human' where id = $1", [room.session_id]);

  // Ten thousand people with a session and a conversation each.
  await database.query(
    `insert into users (id, username, username_key, email, email_key, display_name, status, created_at, updated_at)
     select gen_random_uuid(), 'p' || n, 'p' || n, 'p' || n || '@x.org', 'p' || n || '@x.org', 'P ' || n, 'active', now(), now()
     from generate_series(1, $1::int) n`,
    [IDLE],
  );
  await database.query(
    "insert into user_roles (user_id, role_id, granted_at) select id, 'user', now() from users where username like 'p%'",
  );
  await database.query(
    `insert into sessions (id, user_id, method, created_at, last_activity, expires_at)
     select gen_random_uuid(), id, 'password', now(), now(), now() + interval '1 day' from users where username like 'p%'`,
  );
  await database.query(
    `insert into conversations (id, bot_id, bot_name, user_id, title, language, last_activity, activity_day, started_at)
     select gen_random_uuid(), b.id, b.name, u.id, 't', 'en', now(), current_date, now()
     from users u, bots b where u.username like 'p%' and b.name = 'default'`,
  );
  const rows = await database.query<{ id: string; user_id: string }>(
    "select id, user_id from sessions where user_id in (select id from users where username like 'p%')",
  );
  const exp = Math.floor(Date.now() / 1000) + 3_600;
  const signed: string[] = [];
  for (const { id, user_id: sub } of rows) signed.push(await tokens.sign({ sub, sid: id, exp }));
  writeFileSync(join(dataDir, "people.json"), JSON.stringify(signed));
  writeFileSync(join(dataDir, "room.json"), JSON.stringify({ url: server.url, admin, room: room.session_id }));
  ready(server.url);
}

function serveSocketIo(): void {
  const http = createServer();
  const server = new SocketIo(http, { transports: ["websocket"] });
  let seq = 0;
  server.on("connection", (socket) => {
    void socket.join("room");
    socket.on("message", (message: { content: string; client_id: string }, ack: (answer: unknown) => void) => {
      seq += 1;
      const id = Bun.randomUUIDv7();
      const at = new Date().toISOString();
      server.to("room").emit("message", { id, seq, sender: "user", sender_name: "ann", timestamp: at, ...message });
      ack({ client_id: message.client_id, message_id: id, seq, timestamp: at });
    });
  });
  http.listen(0, "127.0.0.1", () => {
    const address = http.address();
    ready(`http://127.0.0.1:${typeof address === "object" ? address?.port : 0}`);
  });
}

/** Tells the driver that the server is there; garbage is collected when it asks. */
function ready(url: string): void {
  process.on("message", () => {
    Bun.gc(true);
    setTimeout(() => {
      Bun.gc(true);
      process.send?.({ collected: true });
    }, 300);
  });
  process.send?.({ url });
}

// --- the clients ---

interface RoomClient {
  /** Sends one message; resolves with its acknowledgement. */
  say(n: number): Promise<void>;
}

async function joinOurs(url: string, token: string, room: string, heard: () => void): Promise<RoomClient> {
  const acks = new Map<string, () => void>();
  const sockets: WebSocket[] = [];
  for (let i = 0; i < ROOM; i++) {
    const socket = new WebSocket(`${url.replace("http", "ws")}/ws?session_id=${room}&token=${token}`);
    socket.addEventListener("message", ({ data }) => {
      const text = data as string;
      if (text.includes(CONTENT)) heard();
      else if (text.startsWith('{"type":"ack"')) {
        const { client_id: id } = JSON.parse(text) as { client_id: string };
        acks.get(id)?.();
        acks.delete(id);
      }
    });
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("message", () => resolve(), { once: true });
      socket.addEventListener("close", () => reject(new Error("closed")));
    });
    sockets.push(socket);
  }
  const run = Bun.randomUUIDv7();
  return {
    say: (n) =>
      new Promise((resolve) => {
        const id = `${run}-${n}`;
        acks.set(id, resolve);
        sockets[0]?.send(JSON.stringify({ type: "message", content: CONTENT, client_id: id }));
      }),
  };
}

async function joinSocketIo(url: string, heard: () => void): Promise<RoomClient> {
  const sockets: ReturnType<typeof io>[] = [];
  for (let i = 0; i < ROOM; i++) {
    const socket = io(url, { transports: ["websocket"], forceNew: true });
    socket.on("message", heard);
    await new Promise<void>((resolve) => socket.on("connect", () => resolve()));
    sockets.push(socket);
  }
  return {
    say: (n) =>
      new Promise((resolve) => {
        sockets[0]?.emit("message", { content: CONTENT, client_id: `c-${n}` }, () => resolve());
      }),
  };
}

async function roomClient(kind: Kind, url: string, token: string, room: string): Promise<void> {
  let count = 0;
  let all: (() => void) | null = null;
  const heard = () => {
    count += 1;
    if (count === ROOM * MESSAGES) all?.();
  };
  const client = kind === "ours" ? await joinOurs(url, token, room, heard) : await joinSocketIo(url, heard);
  let n = 0;
  process.on("message", () => {
    const work = async () => {
      count = 0;
      const delivered = new Promise<void>((resolve) => {
        all = resolve;
      });
      const began = performance.now();
      let left = MESSAGES;
      const lane = async () => {
        while (left > 0) {
          left -= 1;
          await client.say(n++);
        }
      };
      await Promise.all(Array.from({ length: WINDOW }, lane));
      await delivered;
      process.send?.({ ms: performance.now() - began });
    };
    void work();
  });
  process.send?.({ joined: true });
}

async function idleClient(url: string, file: string, from: number, to: number, passing: boolean): Promise<void> {
  const people = JSON.parse(readFileSync(file, "utf8")) as string[];
  const sockets: WebSocket[] = [];
  const join = async (token: string) => {
    const socket = new WebSocket(`${url.replace("http", "ws")}/ws?token=${token}`);
    sockets.push(socket);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("message", () => resolve(), { once: true });
      socket.addEventListener("close", ({ code }) => reject(new Error(`closed ${code}`)));
    });
  };
  for (let i = from; i < to; i += 50) {
    await Promise.all(people.slice(i, Math.min(i + 50, to)).map(join));
    if (!passing) continue;
    for (const socket of sockets.splice(0)) socket.close();
  }
  process.on("message", () => {
    for (const socket of sockets) socket.close();
    setTimeout(() => process.exit(0), 500);
  });
  process.send?.({ joined: true });
}

// --- the driver ---

interface Child {
  process: Bun.Subprocess;
  next(): Promise<Record<string, unknown>>;
}

function spawn(...args: string[]): Child {
  const inbox: Record<string, unknown>[] = [];
  const waiting: PromiseWithResolvers<Record<string, unknown>>[] = [];
  const child = Bun.spawn([process.execPath, import.meta.path, ...args], {
    ipc: (message: Record<string, unknown>) => {
      const first = waiting.shift();
      if (first) first.resolve(message);
      else inbox.push(message);
    },
    onExit: () => {
      for (const one of waiting.splice(0)) one.reject(new Error(`${args[0] ?? ""} ended`));
    },
    stdout: "inherit",
    stderr: "inherit",
    env: { ...process.env, NODE_ENV: "production" },
  });
  return {
    process: child,
    next: () => {
      const message = inbox.shift();
      if (message) return Promise.resolve(message);
      const one = Promise.withResolvers<Record<string, unknown>>();
      waiting.push(one);
      return one.promise;
    },
  };
}

async function drive(): Promise<void> {
  const dataDir = mkdtempSync(join(tmpdir(), "botserver-sockets-"));
  const children: Child[] = [];
  const launch = (...args: string[]): Child => {
    const child = spawn(...args);
    children.push(child);
    return child;
  };
  try {
    const servers: Record<Kind, Child> = { ours: launch("serve-ours", dataDir), socketio: launch("serve-socketio") };
    const urls = {
      ours: String((await servers.ours.next())["url"]),
      socketio: String((await servers.socketio.next())["url"]),
    };
    const { admin, room } = JSON.parse(readFileSync(join(dataDir, "room.json"), "utf8")) as Record<string, string>;
    const clients: Record<Kind, Child> = {
      ours: launch("room", "ours", urls.ours, admin ?? "", room ?? ""),
      socketio: launch("room", "socketio", urls.socketio),
    };
    for (const kind of ["ours", "socketio"] as const) await clients[kind].next();

    const cpu: Record<Kind, number[]> = { ours: [], socketio: [] };
    const rate: Record<Kind, number[]> = { ours: [], socketio: [] };
    for (let round = 0; round < WARM_ROUNDS + ROUNDS; round++) {
      for (const kind of ["ours", "socketio"] as const) {
        const { pid } = servers[kind].process;
        const before = cpuSeconds(pid);
        clients[kind].process.send("go");
        const { ms } = await clients[kind].next();
        if (round < WARM_ROUNDS) continue;
        cpu[kind].push(((cpuSeconds(pid) - before) / (ROOM * MESSAGES)) * 1e6);
        rate[kind].push((ROOM * MESSAGES) / (Number(ms) / 1000));
      }
    }
    for (const kind of ["ours", "socketio"] as const) {
      console.log(
        `${kind}: ${median(cpu[kind]).toFixed(2)} µs CPU per delivery, ${Math.round(median(rate[kind]))} deliveries/s`,
      );
      clients[kind].process.kill();
    }
    servers.socketio.process.kill();
    const ratio = median(cpu.ours.map((value, i) => value / (cpu.socketio[i] ?? Number.NaN)));

    const { pid } = servers.ours.process;
    const people = join(dataDir, "people.json");
    const collect = async () => {
      await Bun.sleep(10_000);
      servers.ours.process.send("collect");
      await servers.ours.next();
      return residentBytes(pid);
    };
    // The same ten thousand come and go first, fifty at a time: what is kept of people who have signed in, and what
    // handling them leaves behind in the process, is not what open sockets cost.
    const passing = launch("idle", urls.ours, people, "0", String(IDLE), "passing");
    await passing.next();
    passing.process.send("leave");
    await passing.process.exited;
    const before = await collect();
    const idle = launch("idle", urls.ours, people, "0", String(IDLE));
    await idle.next();
    const each = ((await collect()) - before) / IDLE;
    report("Sockets", [
      {
        what: `room of ${ROOM}, stored and delivered: CPU per delivery, to socket.io without storage`,
        measured: `${ratio.toFixed(3)}×`,
        bound: "≤ 0.167×",
        holds: ratio <= 1 / 6,
      },
      {
        what: `${IDLE} idle signed-in sockets, each with its own conversation: RSS each`,
        measured: `${Math.round(each)} bytes`,
        bound: "≤ 4096",
        holds: each <= 4096,
      },
    ]);
  } finally {
    for (const child of children) child.process.kill();
    await Promise.all(children.map((child) => child.process.exited));
    rmSync(dataDir, { recursive: true, force: true });
  }
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === "serve-ours") await serveOurs(rest[0] ?? "");
else if (mode === "serve-socketio") serveSocketIo();
else if (mode === "room") await roomClient(rest[0] as Kind, rest[1] ?? "", rest[2] ?? "", rest[3] ?? "");
else if (mode === "idle")
  await idleClient(rest[0] ?? "", rest[1] ?? "", Number(rest[2]), Number(rest[3]), rest[4] === "passing");
else await drive();
