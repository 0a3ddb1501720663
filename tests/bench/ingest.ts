// How fast a PDF becomes searchable, against pdftotext on the same file in the same minutes, and how free the event
// loop stays meanwhile: `bun tests/bench/ingest.ts [rounds]`.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openServer } from "../../src/commands/serve.ts";
import { loadConfig } from "../../src/config.ts";
import { silentLog } from "../../src/core/log.ts";
import { pdfOf } from "../support/pdf.ts";

const ROUNDS = Number(process.argv[2] ?? 5);
const PAGES = 300;
const LINES = 40;
const WORDS = (
  "knowledge grows inside every company while people ask about contracts invoices deliveries warranties holidays " +
  "machines customers prices offers travel the of and to in is that it with for as on are this from or by an be"
).split(" ");

let state = 1;
const next = (below: number) => {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return state % below;
};
const line = () => {
  let text = "";
  while (text.length < 85) text += `${WORDS[next(WORDS.length)]}${next(12) === 0 ? "." : ""} `;
  return text.trim();
};

/** Milliseconds of one run of `work`. */
async function time(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const percentile = (values: number[], share: number) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0;

const folder = mkdtempSync(join(tmpdir(), "botserver-bench-"));
const pdf = await pdfOf(
  Array.from({ length: PAGES }, (_, page) => [`Page ${page + 1} begins.`, ...Array.from({ length: LINES }, line)]),
);
const path = join(folder, "bench.pdf");
await Bun.write(path, pdf);

const config = loadConfig(
  {
    HOST: "127.0.0.1",
    PORT: "0",
    DATA_DIR: join(folder, "data"),
    ADMIN_EMAIL: "admin@example.org",
    ADMIN_PASSWORD: "correct horse battery staple",
    RATE_LIMIT_ADMIN: "0",
  },
  folder,
);
const server = await openServer(config, { log: silentLog });
const call = async (method: string, address: string, token: string, body?: FormData | object) => {
  const isForm = body instanceof FormData;
  const answer = await fetch(`${server.url}/api/v1${address}`, {
    method,
    headers: {
      ...(token === "" ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined || isForm ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
  });
  return ((await answer.json()) as { data: Record<string, string> }).data;
};
const credentials = { email: "admin@example.org", password: "correct horse battery staple" };
const token = (await call("POST", "/auth/login", "", credentials))["access_token"] ?? "";
const collection = (await call("POST", "/kb/collections", token, { name: "Bench" }))["id"] ?? "";

const lags: number[] = [];
let last = performance.now();
let isMeasuring = false;
const timer = setInterval(() => {
  const now = performance.now();
  if (isMeasuring) lags.push(Math.max(0, now - last - 5));
  last = now;
}, 5);

let run = 0;
const ingest = async () => {
  const form = new FormData();
  form.append("file", new Blob([pdf]), `bench-${run++}.pdf`);
  isMeasuring = true;
  const { job_id: jobId = "" } = await call("POST", `/kb/collections/${collection}/documents`, token, form);
  const job = await server.engines.jobs.wait(jobId, 120_000);
  isMeasuring = false;
  const failed = Number(job?.detail["documents_failed"]);
  if (job?.status !== "completed" || failed !== 0) throw new Error(`the job ended ${job?.status}, ${failed} failed`);
};
const pdftotext = async () => {
  const child = Bun.spawn(["pdftotext", path, join(folder, "out.txt")]);
  if ((await child.exited) !== 0) throw new Error("pdftotext failed");
};

await ingest();
lags.length = 0;
const ours: number[] = [];
const theirs: number[] = [];
for (let round = 0; round < ROUNDS; round++) {
  theirs.push(await time(pdftotext));
  ours.push(await time(ingest));
}
clearInterval(timer);
const rate = (ms: number) => Math.round((PAGES / ms) * 1000);
console.log(`${PAGES} pages of ${LINES} lines, ${ROUNDS} rounds, median (best – worst)`);
const shown = (values: number[]) =>
  `${rate(median(values))} pages/s (${rate(Math.min(...values))} – ${rate(Math.max(...values))})`;
console.log(`pdftotext, text alone           ${shown(theirs)}`);
console.log(`upload to searchable            ${shown(ours)}`);
console.log(`share                           ${(median(theirs) / median(ours)).toFixed(2)} of pdftotext`);
console.log(
  `event-loop lag                  p50 ${percentile(lags, 0.5).toFixed(1)} ms, p99 ${percentile(lags, 0.99).toFixed(1)} ms, ` +
    `worst ${Math.max(...lags).toFixed(1)} ms (${lags.length} ticks)`,
);
await server.stop(1000);
rmSync(folder, { recursive: true, force: true });
process.exit(0);
