// The binary from nothing: empty folder to first answer, used folder to first answer, memory after it, size of the file.

import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startProcess } from "../support/processes.ts";
import { cpuSeconds, median, report, residentBytes } from "./measure.ts";

const ROUNDS = 7;
const binary = join(import.meta.dir, "../../dist/botserver");

interface Start {
  seconds: number;
  residentMb: number;
  cpuSeconds: number;
}

/** Starts the binary on a folder, asks the first question, stops it; the time runs from before the start to the answer. */
async function firstAnswer(dataDir: string): Promise<Start> {
  const began = performance.now();
  const server = await startProcess({
    command: [binary],
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: process.env["HOME"] ?? "/",
      HOST: "127.0.0.1",
      PORT: "0",
      DATA_DIR: dataDir,
    },
    cwd: dataDir,
  });
  try {
    const response = await fetch(`${server.url}/api/v1/chat`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ message: "What is botserver?" }),
    });
    const body = (await response.json()) as { data?: { answer?: { citations?: unknown[]; content?: string } } };
    const seconds = (performance.now() - began) / 1000;
    if (!response.ok || !body.data?.answer?.citations?.length) {
      throw new Error(`the first question was not answered from a source: ${response.status} ${JSON.stringify(body)}`);
    }
    return { seconds, residentMb: residentBytes(server.pid) / 1024 / 1024, cpuSeconds: cpuSeconds(server.pid) };
  } finally {
    await server.stop();
  }
}

const empty: Start[] = [];
const used: Start[] = [];
for (let round = 0; round < ROUNDS; round += 1) {
  const dataDir = mkdtempSync(join(tmpdir(), "botserver-start-"));
  try {
    empty.push(await firstAnswer(dataDir));
    used.push(await firstAnswer(dataDir));
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}
const seconds = (starts: Start[]) => median(starts.map((start) => start.seconds));
const cpu = (starts: Start[]) => median(starts.map((start) => start.cpuSeconds)).toFixed(2);
console.log(`processor time until the answer: empty folder ${cpu(empty)} s, used folder ${cpu(used)} s`);
const memory = Math.max(...[...empty, ...used].map((start) => start.residentMb));
const sizeMb = statSync(binary).size / 1024 / 1024;
report("Start of the binary (median of 7)", [
  {
    what: "empty folder to first answer",
    measured: `${seconds(empty).toFixed(2)} s`,
    bound: "≤ 2.5 s",
    holds: seconds(empty) <= 2.5,
  },
  {
    what: "used folder to first answer",
    measured: `${seconds(used).toFixed(2)} s`,
    bound: "≤ 1 s",
    holds: seconds(used) <= 1,
  },
  { what: "memory after it (largest)", measured: `${memory.toFixed(0)} MB`, bound: "≤ 350 MB", holds: memory <= 350 },
  { what: "size of the binary", measured: `${sizeMb.toFixed(1)} MB`, bound: "≤ 140 MB", holds: sizeMb <= 140 },
]);
