// `botserver doctor`: asks every configured service whether it answers, and prints a table. Changes nothing: a data
// folder that is not there yet is not made.

import { accessSync, constants, existsSync, statfsSync } from "node:fs";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import type { Config } from "../config.ts";
import { ConfigError, loadConfig } from "../config.ts";
import { systemClock } from "../core/clock.ts";
import { silentLog } from "../core/log.ts";
import { openCache } from "../engines/cache/open.ts";
import { FolderLocked } from "../engines/database/folder.ts";
import { openEmbedding } from "../engines/embedding/open.ts";
import { openModel } from "../engines/model/open.ts";
import { openObjects } from "../engines/objects/open.ts";
import { readOptions } from "./help.ts";
import { openConfiguredDatabase } from "./migrate.ts";

const TIMEOUT_MS = 10_000;
const FREE_BYTES_MIN = 1_073_741_824;
const POSTGRES_MIN = 15;
const CACHE_MIN = 7;

interface Finding {
  version?: string;
  latencyMs?: number;
  detail?: string;
}
interface Row extends Finding {
  name: string;
  /** What it is served by, without credentials. */
  uses: string;
  state: "ok" | "off" | "FAILS";
}
interface Check {
  name: string;
  uses: string;
  /** Null: not configured, which is no fault. */
  probe: (() => Promise<Finding>) | null;
}

export async function run(args: string[]): Promise<number> {
  const { health } = readOptions("doctor", args, { health: { type: "boolean" } });
  if (health) return askHealth(loadConfig());
  let config: Config;
  try {
    config = loadConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const rows = error.faults.map(({ name, found, expected }): Row => ({
      name,
      state: "FAILS",
      uses: `found ${found}`,
      detail: `expected ${expected}`,
    }));
    await Bun.write(Bun.stdout, table(rows));
    return 1;
  }
  const uses = config.given.size === 0 ? "defaults" : `set: ${config.given.size}`;
  const rows: Row[] = [{ name: "configuration", state: "ok", uses }];
  // One after another: a latency is then that service's own.
  for (const check of checks(config)) rows.push(await examine(check));
  await Bun.write(Bun.stdout, table(rows));
  return rows.some(({ state }) => state === "FAILS") ? 1 : 0;
}

async function examine({ name, uses, probe }: Check): Promise<Row> {
  if (!probe) return { name, state: "off", uses };
  try {
    return { name, state: "ok", uses, ...(await withDeadline(probe())) };
  } catch (error) {
    return { name, state: "FAILS", uses, detail: reasonOf(error) };
  }
}

function checks(config: Config): Check[] {
  const { dataDir, databaseUrl, valkeyUrl, s3Endpoint, vectors, qdrantUrl, embeddingUrl, llmUrl, oidcIssuer } = config;
  /** A service at an address, or what stands in for it. */
  const at = (name: string, address: string | null, otherwise: string, probe: (address: string) => Promise<Finding>) =>
    address === null
      ? { name, uses: otherwise, probe: null }
      : { name, uses: hostOf(address), probe: () => probe(address) };
  const reach = (name: string, address: string | null, otherwise = "not configured") =>
    at(name, address, otherwise, reachable);
  const file = (name: string, place: string | null) =>
    place === null ? [] : [{ name, uses: place, probe: async () => present(place) }];
  return [
    { name: "disk", uses: dataDir, probe: async () => disk(dataDir) },
    { name: "database", uses: databaseUrl ? hostOf(databaseUrl) : "PGlite", probe: () => database(config) },
    at("cache", valkeyUrl, "in the process", cache),
    databaseUrl && !s3Endpoint
      ? { name: "objects", uses: "in the database", probe: null }
      : { name: "objects", uses: s3Endpoint ? hostOf(s3Endpoint) : "files", probe: () => objects(config) },
    vectors === "off"
      ? { name: "vectors", uses: "switched off", probe: null }
      : at("vectors", vectors === "qdrant" ? qdrantUrl : null, "embedded", (url) => qdrant(url, config.qdrantApiKey)),
    at("embeddings", embeddingUrl, "lexical-v1, built in", (url) => embeddings(config, url)),
    at("model", llmUrl, "answers are quoted", (url) => model(config, url)),
    at("sign-in by OpenID", oidcIssuer, "not configured", discovery),
    reach("mail (SMTP)", config.smtpUrl, "local mailbox only"),
    reach("mail (IMAP)", config.imapUrl),
    reach("SMS", config.smsUrl),
    reach("malware scan", config.clamavUrl),
    reach("LiveKit", config.livekitUrl),
    reach("transcription", config.transcriptionUrl),
    reach("speech", config.speechUrl),
    reach("reranking", config.rerankUrl),
    reach("traces", config.otelExporterOtlpEndpoint),
    ...file("SOFFICE_PATH", config.sofficePath),
    ...file("FFMPEG_PATH", config.ffmpegPath),
    ...file("LLAMA_SERVER_PATH", config.llamaServerPath),
    ...file("LLAMA_MODEL", config.llamaModel),
    ...file("GEOIP_DB", config.geoipDb),
    ...file("BOTS_DIR", config.botsDir),
    ...file("PDF_FONT_PATH", config.pdfFontPath),
    ...file("REPORT_FONT_PATH", config.reportFontPath),
    ...file("WHITEBOARD_FONTS_DIR", config.whiteboardFontsDir),
  ];
}

/** The data folder, or the nearest folder above it that exists: writable, with room. */
function disk(dataDir: string): Finding {
  let folder = dataDir;
  while (!existsSync(folder)) folder = dirname(folder);
  accessSync(folder, constants.W_OK);
  const { bavail, blocks, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const detail = `${gib(free)} of ${gib(blocks * bsize)} free${folder === dataDir ? "" : "; made by the first start"}`;
  if (free < FREE_BYTES_MIN) throw new Error(`${dataDir}: only ${detail}`);
  return { detail };
}

async function database(config: Config): Promise<Finding> {
  const { databaseUrl, dataDir } = config;
  if (!databaseUrl && !existsSync(join(dataDir, "db"))) return { detail: "made by the first start" };
  let engine;
  try {
    engine = await openConfiguredDatabase(config, silentLog);
  } catch (error) {
    // The server that has the folder is the better judge of it.
    if (!(error instanceof FolderLocked)) throw error;
    const state = await ready(config);
    return { detail: `in use by process ${error.pid ?? "?"}, which is ${state.isReady ? "ready" : state.word}` };
  }
  try {
    const { version, latencyMs } = await engine.ping();
    if (Number.parseInt(version) < POSTGRES_MIN)
      throw new Error(`PostgreSQL ${version} is too old; ${POSTGRES_MIN} is needed`);
    return { version, latencyMs };
  } finally {
    await engine.close();
  }
}

async function cache(url: string): Promise<Finding> {
  const engine = await openCache({ url, clock: systemClock, log: silentLog });
  try {
    const { version, latencyMs } = await engine.ping();
    const major = Number.parseInt(/\d+/.exec(version)?.[0] ?? "");
    if (major < CACHE_MIN) throw new Error(`${version} is too old; ${CACHE_MIN} is needed`);
    return { version, latencyMs };
  } finally {
    await engine.close();
  }
}

async function objects({ dataDir, s3Endpoint }: Config): Promise<Finding> {
  const dir = join(dataDir, "objects");
  if (!s3Endpoint && !existsSync(dir)) return { detail: "made by the first start" };
  const options = { dir, s3Endpoint, clock: systemClock, log: silentLog, sweep: false };
  const { latencyMs } = await (await openObjects(options)).ping();
  return { latencyMs };
}

async function qdrant(url: string, key: string | null): Promise<Finding> {
  const { body, latencyMs } = await fetchJson(`${url}/`, key ? { "api-key": key } : {});
  const { version } = body;
  if (typeof version !== "string") throw new Error(`${hostOf(url)} is not Qdrant`);
  return { version, latencyMs };
}

async function model(config: Config, url: string): Promise<Finding> {
  const { llmApiKey: apiKey, llmModel, llmTimeoutSeconds } = config;
  const { latencyMs } = await openModel({ url, apiKey, model: llmModel, timeoutMs: llmTimeoutSeconds * 1000 }).ping();
  return { latencyMs, detail: llmModel ?? "its first model" };
}

async function embeddings(config: Config, url: string): Promise<Finding> {
  const { embeddingApiKey: apiKey, embeddingModel, embeddingDimensions } = config;
  const engine = openEmbedding({ url, apiKey, model: embeddingModel ?? "", dimensions: embeddingDimensions });
  try {
    const { latencyMs } = await engine.ping();
    return { latencyMs, detail: `${engine.model}, ${engine.dimensions ?? "?"} dimensions` };
  } finally {
    await engine.close();
  }
}

async function discovery(issuer: string): Promise<Finding> {
  const { body, latencyMs } = await fetchJson(`${issuer}/.well-known/openid-configuration`, {});
  if (typeof body["authorization_endpoint"] !== "string")
    throw new Error(`${hostOf(issuer)} has no discovery document`);
  return { latencyMs };
}

async function fetchJson(
  url: string,
  headers: Record<string, string>,
): Promise<{ body: Record<string, unknown>; latencyMs: number }> {
  const start = performance.now();
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), headers });
  if (!response.ok) throw new Error(`${hostOf(url)} answers ${response.status}`);
  const body: unknown = await response.json();
  if (typeof body !== "object" || body === null) throw new Error(`${hostOf(url)} does not answer with an object`);
  return { body: { ...body }, latencyMs: performance.now() - start };
}

const DEFAULT_PORTS: Record<string, number> = {
  "http:": 80,
  "ws:": 80,
  "https:": 443,
  "wss:": 443,
  "smtp:": 587,
  "smtps:": 465,
  "imap:": 143,
  "imaps:": 993,
  "tcp:": 3310,
};

/** Whether something accepts a connection there. */
async function reachable(address: string): Promise<Finding> {
  const url = new URL(address);
  const port = Number(url.port) || DEFAULT_PORTS[url.protocol] || 0;
  const start = performance.now();
  const done = Promise.withResolvers<void>();
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const socket = connect(url.protocol === "unix:" ? { path: url.pathname } : { host, port }, () => done.resolve());
  socket.on("error", done.reject);
  socket.setTimeout(TIMEOUT_MS, () => done.reject(new Error(`${hostOf(address)} does not answer`)));
  try {
    await done.promise;
  } finally {
    socket.destroy();
  }
  return { latencyMs: performance.now() - start, detail: "accepts connections" };
}

function present(place: string): Finding {
  const found = Bun.which(place) ?? (existsSync(place) ? place : null);
  if (found === null) throw new Error(`${place} is not there`);
  return { detail: found };
}

/** Asks the server of this configuration, on this machine, whether it is ready. */
async function ready({ host, port }: Config): Promise<{ isReady: boolean; word: string }> {
  const everywhere = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  const name = everywhere.includes(":") && !everywhere.startsWith("[") ? `[${everywhere}]` : everywhere;
  try {
    const response = await fetch(`http://${name}:${port}/readyz`, { signal: AbortSignal.timeout(TIMEOUT_MS / 2) });
    return { isReady: response.ok, word: `not ready (${response.status})` };
  } catch {
    return { isReady: false, word: `not answering on port ${port}` };
  }
}

async function askHealth(config: Config): Promise<number> {
  const { isReady, word } = await ready(config);
  await Bun.write(Bun.stdout, `${isReady ? "ready" : word}\n`);
  return isReady ? 0 : 1;
}

async function withDeadline<T>(work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** What went wrong, with the causes behind it; addresses in it lose their passwords. */
function reasonOf(error: unknown): string {
  const messages: string[] = [];
  for (let at = error; at instanceof Error && messages.length < 4; at = at.cause) messages.push(at.message);
  const reason = messages.length > 0 ? messages.join(" ") : String(error);
  return reason.replace(/(:\/\/[^:@/\s]*):[^@\s]*@/g, "$1:***@");
}

function hostOf(address: string): string {
  const url = new URL(address);
  return url.protocol === "unix:" ? url.pathname : url.host;
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}

function table(rows: Row[]): string {
  const head = ["check", "state", "uses", "version", "latency", ""];
  const cells = rows.map(({ name, state, uses, version, latencyMs, detail }) => [
    name,
    state,
    uses,
    version ?? "",
    latencyMs === undefined ? "" : `${latencyMs.toFixed(1)} ms`,
    detail ?? "",
  ]);
  const widths = head.map((title, at) => Math.max(title.length, ...cells.map((row) => row[at]?.length ?? 0)));
  const line = (row: string[]) =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd();
  return `${[head, ...cells].map(line).join("\n")}\n`;
}
