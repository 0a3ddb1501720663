// Authenticated `GET /users/me` with everything on, against a bare constant route of the same server and against
// Fastify with JWT and a response schema doing the same.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { startProcess } from "../support/processes.ts";
import { ADMIN } from "../support/server.ts";
import { cpuSeconds, median, report } from "./measure.ts";

const ROUNDS = 7;
const SECONDS = 1.5;
const here = import.meta.dir;

interface Target {
  url: string;
  pid: number;
  token: string;
}

async function load({ url, pid, token }: Target): Promise<{ perSecond: number; cpuMicros: number }> {
  const before = cpuSeconds(pid);
  const child = Bun.spawn([process.execPath, join(here, "load.ts"), url, String(SECONDS), "16", token], {
    stdout: "pipe",
  });
  const { done, faults } = (await new Response(child.stdout).json()) as { done: number; faults: number };
  if (faults > 0 || done === 0) throw new Error(`${faults} of ${done} answers of ${url} were not 200`);
  return { perSecond: done / SECONDS, cpuMicros: ((cpuSeconds(pid) - before) / done) * 1e6 };
}

const dataDir = mkdtempSync(join(tmpdir(), "botserver-bench-"));
const server = await startProcess({
  command: [process.execPath, join(here, "../../src/main.ts"), "serve"],
  env: {
    ...process.env,
    HOST: "127.0.0.1",
    PORT: "0",
    DATA_DIR: dataDir,
    ADMIN_EMAIL: ADMIN.email,
    ADMIN_PASSWORD: ADMIN.password,
    RATE_LIMIT_ADMIN: "1000000000",
    NODE_ENV: "production",
  },
});
const fastify = await startProcess({
  command: ["node", join(here, "fastify-me.mjs")],
  env: { ...process.env, NODE_ENV: "production" },
});
try {
  const login = await fetch(`${server.url}/api/v1/auth/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(ADMIN),
  });
  const { data } = (await login.json()) as { data: { access_token: string } };
  const me = { url: `${server.url}/api/v1/users/me`, pid: server.pid, token: data.access_token };
  const body = await (await fetch(me.url, { headers: { authorization: `Bearer ${me.token}` } })).text();
  await fetch(`${fastify.url}/body`, { method: "POST", headers: { "content-type": "application/json" }, body });
  const fastifyToken = await (await fetch(`${fastify.url}/token`)).text();
  const targets = {
    bare: { url: `${server.url}/livez`, pid: server.pid, token: "" },
    me,
    fastify: { url: `${fastify.url}/me`, pid: fastify.pid, token: fastifyToken },
  };
  const results: Record<keyof typeof targets, { perSecond: number; cpuMicros: number }[]> = {
    bare: [],
    me: [],
    fastify: [],
  };
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const name of ["bare", "me", "fastify"] as const) {
      const result = await load(targets[name]);
      if (round > 0) results[name].push(result); // the first round warms up
    }
  }
  const ratio = (a: number[], b: number[]) => median(a.map((value, index) => value / (b[index] ?? Number.NaN)));
  const cpu = (name: keyof typeof targets) => results[name].map(({ cpuMicros }) => cpuMicros);
  const rate = (name: keyof typeof targets) => results[name].map(({ perSecond }) => perSecond);
  const toBare = ratio(cpu("me"), cpu("bare"));
  const toFastify = ratio(rate("me"), rate("fastify"));
  for (const name of ["bare", "me", "fastify"] as const) {
    console.log(`${name}: ${median(rate(name)).toFixed(0)} requests/s, ${median(cpu(name)).toFixed(1)} µs CPU each`);
  }
  report("GET /users/me", [
    {
      what: "CPU per request, to a constant route",
      measured: `${toBare.toFixed(2)}×`,
      bound: "≤ 3×",
      holds: toBare <= 3,
    },
    { what: "throughput, to Fastify", measured: `${toFastify.toFixed(2)}×`, bound: "≥ 1.5×", holds: toFastify >= 1.5 },
  ]);
} finally {
  await server.stop();
  await fastify.stop();
  rmSync(dataDir, { recursive: true, force: true });
}
