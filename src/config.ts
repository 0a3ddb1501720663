// Environment → one frozen value. The table below is the only list of options: types, defaults, the help text,
// the README and .env.example are made of it. The only file that reads process.env.

import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseEnv } from "node:util";
import type { Kind } from "./lib/options/index.ts";
import * as kinds from "./lib/options/index.ts";

const { byteSize, flag, httpUrl, list, matching, oneOf, path, phrase, program, text, url, whole } = kinds;

type Group = (typeof GROUPS)[number];

/** Headings of the tables, in order. */
const GROUPS = [
  "Server",
  "First start and sign-in",
  "OpenID Connect",
  "Database, cache, vectors, objects",
  "Language model",
  "Local model runner",
  "Embeddings, speech, reranking",
  "Mail and messages",
  "Channels",
  "Calls",
  "Files and documents",
  "Bots and outgoing calls",
  "Reports, whiteboards, machine learning",
  "Backup",
  "Monitoring and security",
] as const;

/** `credentials`: shown, but for a password inside the URL. */
type Secrecy = "open" | "credentials" | "secret";

interface Option<T> {
  readonly kind: Kind<unknown>;
  /** Only carries the type of the value. */
  readonly type?: T;
  readonly group: Group;
  readonly description: string;
  readonly secrecy: Secrecy;
  /** The value when the variable is not set; derived options get theirs from DERIVED. */
  readonly fallback: unknown;
  /** How the default reads in tables. */
  readonly shown: string;
}
interface DerivedOption<T> extends Option<T> {
  readonly derived: true;
}

let group: Group = "Server";
/** Starts a group: the options that follow in the table belong to it. */
function heading(name: Group): Record<never, never> {
  group = name;
  return {};
}

/** May be absent: null then. */
function optional<T>(kind: Kind<T>, description: string, secrecy: Secrecy = "open", shown = "—"): Option<T | null> {
  return { kind, group, description, secrecy, fallback: null, shown };
}

function withDefault<T>(kind: Kind<T>, fallback: NoInfer<T>, description: string, shown?: string): Option<T> {
  const plain = Array.isArray(fallback) ? fallback.join(",") : String(fallback);
  const words = typeof fallback === "boolean" && kind.expected === "on or off" ? (fallback ? "on" : "off") : plain;
  return { kind, group, description, secrecy: "open", fallback, shown: shown ?? words };
}

/** The default follows from other options or from the machine; `shown` says how. */
function derived<T>(kind: Kind<T>, shown: string, description: string, secrecy: Secrecy = "open"): DerivedOption<T> {
  return { kind, group, description, secrecy, fallback: undefined, shown, derived: true };
}

const HTTP = url("http", "https");
const PROVIDERS = oneOf(
  "openai",
  "anthropic",
  "google",
  "vertex",
  "xai",
  "groq",
  "mistral",
  "deepseek",
  "cerebras",
  "glm",
  "bedrock",
  "azure",
  "azureclaude",
  "local",
  "openai_compatible",
);
const ICE_SERVER = matching(/^(stuns?|turns?):[^\s,]+$/, "a stun:, turn: or turns: URL");
const BACKUP_SECRET: Kind<string> = {
  expected: "a passphrase of at least 16 characters, or base64: and 32 bytes",
  parse: (value) => {
    if (!value.startsWith("base64:")) return Array.from(value).length >= 16 ? value : undefined;
    return Buffer.from(value.slice(7), "base64").byteLength === 32 ? value : undefined;
  },
};

const OPTIONS = {
  ...heading("Server"),
  HOST: withDefault(kinds.host, "0.0.0.0", "address it listens on"),
  PORT: withDefault(kinds.port, 8080, "port it listens on; 0 takes a free one and prints it"),
  DATA_DIR: withDefault(path, "./data", "everything that the embedded engines keep; one process at a time"),
  PUBLIC_URL: optional(httpUrl, "absolute links in mail, shares and presigned URLs", "open", "from the request"),
  TRUST_PROXY: withDefault(whole(0, 32), 0, "how many proxies in front may set X-Forwarded-For"),
  CORS_ORIGINS: withDefault(list(kinds.origin), [], "origins of other sites, or * (then without credentials)", "none"),
  MAX_BODY_BYTES: withDefault(byteSize(1024), 1048576, "largest JSON body", "1 MiB"),
  MAX_UPLOAD_BYTES: withDefault(byteSize(1024), 104857600, "largest streamed upload or object", "100 MiB"),
  RATE_LIMIT_ANONYMOUS: withDefault(whole(0), 60, "requests an hour per address without sign-in; 0 is no limit"),
  RATE_LIMIT_USER: withDefault(whole(0), 1000, "requests an hour of a user; 0 is no limit"),
  RATE_LIMIT_ADMIN: withDefault(whole(0), 5000, "requests an hour of an admin; 0 is no limit"),
  RATE_LIMIT_S3: withDefault(whole(0), 36000, "S3-signed requests an hour per key; 0 is no limit"),
  SHUTDOWN_SECONDS: withDefault(whole(0, 3600), 10, "how long a stop waits for requests and jobs under way"),
  LOG_LEVEL: withDefault(oneOf("debug", "info", "warn", "error"), "info", "least important lines that are logged"),
  LOG_FORMAT: derived(oneOf("pretty", "json"), "pretty on a terminal, else json", "form of log lines"),

  ...heading("First start and sign-in"),
  SECRET_KEY: optional(
    text(32),
    "signs tokens, seals stored credentials; needed with DATABASE_URL, the same on every instance",
    "secret",
    "made on first start, kept in DATA_DIR",
  ),
  SECRET_KEY_PREVIOUS: optional(text(32), "the key before; still accepted for reading", "secret"),
  ADMIN_EMAIL: optional(kinds.email, "with ADMIN_PASSWORD: makes that admin on the first start"),
  ADMIN_PASSWORD: optional(text(), "with ADMIN_EMAIL; without both a one-time setup link is printed", "secret"),
  BOOTSTRAP_SECRET: optional(phrase(16), "accepted besides the setup link's token", "secret"),
  REGISTRATION: withDefault(oneOf("closed", "open", "invite"), "closed", "who may make an account"),
  LOCAL_LOGIN: withDefault(flag(), true, "false: sign-in by OpenID only"),
  ORGANIZATION_CREATION: withDefault(oneOf("admins", "open"), "admins", "who may make organizations"),
  HIBP_URL: optional(HTTP, "range look-up of breached passwords"),
  GEOIP_DB: optional(path, "MaxMind-format file: places of sessions, impossible travel"),

  ...heading("OpenID Connect"),
  OIDC_ISSUER: optional(httpUrl, "any provider with discovery"),
  OIDC_CLIENT_ID: optional(text(), "client at that provider"),
  OIDC_CLIENT_SECRET: optional(text(), "its secret", "secret"),
  OIDC_SCOPES: withDefault(kinds.words, ["openid", "profile", "email"], "scopes asked for", "openid profile email"),
  OIDC_ROLE_CLAIM: withDefault(text(), "urn:zitadel:iam:org:project:roles", "claim with role words"),
  OIDC_ROLE_MAP: withDefault(kinds.jsonMap, {}, "their role words to ours, as JSON", "{}"),
  OIDC_GROUP_CLAIM: optional(text(), "claim with group names to follow"),
  OIDC_AUTO_CREATE: withDefault(flag(), true, "false: no account is made at a first sign-in"),
  OIDC_ALLOW_HTTP: withDefault(flag(), false, "http issuers outside loopback"),

  ...heading("Database, cache, vectors, objects"),
  DATABASE_URL: optional(
    url("postgres", "postgresql"),
    "PostgreSQL 15 or newer",
    "credentials",
    "PGlite in DATA_DIR/db",
  ),
  DATABASE_POOL: withDefault(whole(2, 1000), 10, "connections to PostgreSQL"),
  DATABASE_SYNC: withDefault(
    flag("on or off"),
    true,
    "off: PGlite does not wait for the disk; a power cut may lose acknowledged writes",
  ),
  VALKEY_URL: optional(
    url("redis", "rediss", "valkey", "valkeys"),
    "Valkey or Redis 7 or newer: cache, limits and messages between instances",
    "credentials",
    "in the process",
  ),
  VECTORS: derived(
    oneOf("embedded", "qdrant", "off"),
    "qdrant if QDRANT_URL, else embedded",
    "where passages are searched by vector",
  ),
  QDRANT_URL: optional(httpUrl, "Qdrant, for what outgrows memory", "credentials"),
  QDRANT_API_KEY: optional(text(), "its key", "secret"),
  S3_ENDPOINT: optional(
    httpUrl,
    "any S3; blobs lie in one bucket of it",
    "credentials",
    "files in DATA_DIR/objects; rows where DATABASE_URL is set",
  ),
  S3_REGION: withDefault(text(), "us-east-1", "its region"),
  S3_BUCKET: optional(text(), "bucket, which must exist"),
  S3_ACCESS_KEY_ID: optional(text(), "key id", "secret"),
  S3_SECRET_ACCESS_KEY: optional(text(), "key", "secret"),
  DRIVE_SERVER: optional(httpUrl, "another name of S3_ENDPOINT", "credentials"),
  DRIVE_ACCESSKEY: optional(text(), "another name of S3_ACCESS_KEY_ID", "secret"),
  DRIVE_SECRET: optional(text(), "another name of S3_SECRET_ACCESS_KEY", "secret"),

  ...heading("Language model"),
  LLM_URL: optional(
    HTTP,
    "OpenAI-compatible base URL, as a rule ending in /v1",
    "credentials",
    "— (answers are quoted)",
  ),
  LLM_API_KEY: optional(text(), "its key", "secret"),
  LLM_MODEL: optional(text(), "model of the alias default"),
  LLM_FAST_MODEL: optional(text(), "model of the alias fast"),
  LLM_QUALITY_MODEL: optional(text(), "model of the alias quality"),
  LLM_CODE_MODEL: optional(text(), "model of the alias code"),
  LLM_PROVIDER: optional(PROVIDERS, "provider kind of LLM_URL", "open", "told by the URL"),
  LLM_FALLBACK_ORDER: withDefault(list(text()), ["quality", "fast", "local"], "models or aliases tried next"),
  LLM_TIMEOUT_SECONDS: withDefault(whole(1, 3600), 120, "one call in all"),
  LLM_CACHE: withDefault(flag(), false, "answer cache of the environment's model"),
  LLM_TOKENS_PER_USER_DAY: optional(whole(1), "default budget of each user", "open", "— (no limit)"),
  FINE_TUNING_URL: derived<string | null>(HTTP, "LLM_URL", "fine-tuning API", "credentials"),
  FINE_TUNING_API_KEY: derived<string | null>(text(), "LLM_API_KEY", "its key", "secret"),

  ...heading("Local model runner"),
  LLAMA_SERVER_PATH: optional(program, "llama-server program; run as model local, with LLAMA_MODEL"),
  LLAMA_MODEL: optional(path, "GGUF file"),
  LLAMA_PORT: withDefault(whole(1, 65535), 8081, "its port on 127.0.0.1"),
  LLAMA_CTX: withDefault(whole(1), 4096, "context, in tokens"),
  LLAMA_PREDICT: withDefault(whole(1), 1024, "most tokens of an answer"),
  LLAMA_PARALLEL: withDefault(whole(1, 1024), 6, "slots"),
  LLAMA_GPU_LAYERS: withDefault(whole(0), 0, "layers on the graphics card"),
  LLAMA_CONT_BATCHING: withDefault(flag(), true, "continuous batching"),
  LLAMA_MLOCK: withDefault(flag(), false, "keep the model in memory"),
  LLAMA_NO_MMAP: withDefault(flag(), false, "do not map the file"),

  ...heading("Embeddings, speech, reranking"),
  EMBEDDING_URL: derived<string | null>(
    HTTP,
    "LLM_URL if EMBEDDING_MODEL is set, else the built-in lexical embedding",
    "OpenAI-compatible base URL for embeddings",
    "credentials",
  ),
  EMBEDDING_API_KEY: derived<string | null>(text(), "LLM_API_KEY if EMBEDDING_URL is not set", "its key", "secret"),
  EMBEDDING_MODEL: optional(text(), "embedding model"),
  EMBEDDING_DIMENSIONS: optional(whole(1, 65536), "length of its vectors", "open", "told by the first answer"),
  RERANK_URL: optional(HTTP, "/rerank endpoint for knowledge search", "credentials"),
  TRANSCRIPTION_URL: optional(HTTP, "OpenAI-compatible /audio/transcriptions", "credentials"),
  TRANSCRIPTION_API_KEY: optional(text(), "its key", "secret"),
  TRANSCRIPTION_MODEL: optional(text(), "its model"),
  SPEECH_URL: optional(HTTP, "OpenAI-compatible /audio/speech", "credentials"),
  SPEECH_API_KEY: optional(text(), "its key", "secret"),
  SPEECH_MODEL: withDefault(text(), "tts-1", "its model"),
  SPEECH_VOICE: withDefault(text(), "alloy", "its voice"),

  ...heading("Mail and messages"),
  SMTP_URL: optional(url("smtp", "smtps"), "smtps://user:pass@host:465", "secret", "local mailbox only"),
  MAIL_FROM: optional(kinds.sender, "system sender"),
  IMAP_URL: optional(url("imap", "imaps"), "system inbox", "secret"),
  MAIL_DOMAINS: withDefault(list(kinds.host), [], "domains whose addresses are local", "none"),
  MAIL_TRACK_OPENS: withDefault(flag(), false, "read tracking"),
  MAIL_TRASH_DAYS: withDefault(whole(0, 36500), 30, "Trash and Junk are emptied after; 0 is never"),
  SMS_URL: optional(httpUrl, "Twilio-compatible", "credentials"),
  SMS_ACCOUNT: optional(text(), "account there"),
  SMS_TOKEN: optional(text(), "its token", "secret"),
  SMS_FROM: optional(text(), "sending number or service"),
  VAPID_SUBJECT: optional(
    matching(/^(mailto:[^\s@]+@[^\s@]+|https:\/\/\S+)$/, "a mailto: or https: address"),
    "contact in web pushes; the keys are made on first use",
    "open",
    "mailto: of the first admin",
  ),

  ...heading("Channels"),
  WHATSAPP_API_URL: withDefault(
    httpUrl,
    "https://graph.facebook.com",
    "for tests and proxies; an account may have its own",
  ),
  META_API_URL: derived<string>(httpUrl, "WHATSAPP_API_URL", "Instagram, Messenger"),
  TELEGRAM_API_URL: withDefault(httpUrl, "https://api.telegram.org", "Telegram"),
  TEAMS_LOGIN_URL: withDefault(httpUrl, "https://login.microsoftonline.com", "Teams: sign-in"),
  TEAMS_OPENID_URL: withDefault(
    httpUrl,
    "https://login.botframework.com/v1/.well-known/openidconfiguration",
    "Teams: keys of incoming calls",
    "Bot Framework's document",
  ),
  TWILIO_API_URL: withDefault(httpUrl, "https://api.twilio.com", "Twilio"),
  VONAGE_API_URL: optional(httpUrl, "Vonage", "open", "the platform's"),
  MESSAGEBIRD_API_URL: optional(httpUrl, "MessageBird", "open", "the platform's"),
  AWS_SNS_URL: optional(httpUrl, "Amazon SNS", "open", "the platform's"),
  DISCORD_API_URL: optional(httpUrl, "Discord", "open", "the platform's"),
  WECHAT_API_URL: optional(httpUrl, "WeChat", "open", "the platform's"),

  ...heading("Calls"),
  CALLS_ENGINE: withDefault(oneOf("auto", "livekit"), "auto", "livekit forces it"),
  CALLS_MAX_PARTICIPANTS: withDefault(whole(2, 10000), 16, "most people in a call"),
  CALLS_PORTS: withDefault(kinds.portRange, { first: 40000, last: 40199 }, "media, UDP and TCP", "40000-40199"),
  CALLS_PUBLIC_IP: optional(kinds.address, "address put into candidates", "open", "local addresses"),
  ICE_SERVERS: withDefault(list(ICE_SERVER), [], "stun:, turn: and turns: URLs", "none"),
  TURN_SECRET: optional(text(), "makes short-lived TURN credentials", "secret"),
  TURN_TTL_SECONDS: withDefault(whole(60, 604800), 3600, "life of TURN credentials"),
  LIVEKIT_URL: optional(url("ws", "wss", "http", "https"), "LiveKit, for large calls"),
  LIVEKIT_API_KEY: optional(text(), "its key", "secret"),
  LIVEKIT_API_SECRET: optional(text(), "its secret", "secret"),
  LIVEKIT_SIP_TRUNK: optional(text(), "phone calls through LiveKit"),
  FFMPEG_PATH: optional(program, "composite recordings"),

  ...heading("Files and documents"),
  STORAGE_ENCRYPTION: withDefault(flag("on or off"), true, "off: blobs in clear"),
  STORAGE_QUOTA_BYTES: withDefault(byteSize(), 10737418240, "quota of a new bucket", "10 GiB"),
  STORAGE_MAX_OBJECTS: withDefault(whole(1), 10000, "most objects in a new bucket"),
  S3_SERVER: withDefault(flag("on or off"), true, "the /s3 door for S3 clients"),
  S3_SERVER_PORT: optional<number | null>(kinds.portOrOff, "/s3 at the root of its own port", "open", "off"),
  SYNC_ROOT: derived(path, "DATA_DIR/sync", "folder that local sync pairs stay in"),
  CLAMAV_URL: optional(url("tcp", "unix"), "malware scan: tcp://host:3310 or unix:///path"),
  CLAMAV_TIMEOUT_SECONDS: withDefault(whole(1, 3600), 60, "one scan"),
  SOFFICE_PATH: optional(program, "conversion of old office formats"),
  DOCUMENT_WORKERS: derived(whole(1, 64), "cores − 1, 1 to 4", "extraction workers"),
  DOCUMENT_RETENTION_DAYS: withDefault(whole(0, 36500), 30, "kept after the last access; 0 is for ever"),
  PDF_FONT_PATH: optional(path, "TTF or OTF for scripts that Roboto lacks"),

  ...heading("Bots and outgoing calls"),
  BOTS_DIR: optional(path, "folder of *.gbai packages, imported at start and watched"),
  BOT_ENV_ALLOW: withDefault(
    list(matching(/^[A-Za-z_][A-Za-z0-9_]*$/, "a variable's name")),
    [],
    "variables besides BOT_… that a bot's config may read",
    "none",
  ),
  ALLOW_PRIVATE_HOSTS: withDefault(
    list(kinds.hostOrRange),
    [],
    "hosts or address ranges that the outbound guard lets through",
    "none",
  ),
  WEBHOOK_TIMEOUT_SECONDS: withDefault(whole(1, 300), 10, "one delivery attempt"),
  WEBHOOK_CONCURRENCY: withDefault(whole(1, 10000), 200, "attempts at a time"),

  ...heading("Reports, whiteboards, machine learning"),
  REPORT_WORKERS: withDefault(whole(1, 64), 2, "reports at a time"),
  REPORT_MINUTES: withDefault(whole(1, 1440), 10, "deadline of one"),
  REPORT_RETENTION_DAYS: withDefault(whole(1, 36500), 90, "how long reports are kept"),
  REPORT_FONT_PATH: optional(path, "TTF or OTF for missing glyphs"),
  REPORT_RECIPIENT_DOMAINS: withDefault(list(kinds.host), [], "domains that reports may be mailed to", "any"),
  WHITEBOARD_FONTS_DIR: optional(path, "more TTF files"),
  ML_WORKERS: derived(whole(1, 64), "cores − 1, 1 to 4", "training workers"),
  ML_MEMORY_MB: withDefault(whole(16), 1024, "work estimated above it is refused"),
  ML_JOB_MINUTES: withDefault(whole(1, 10080), 60, "deadline of a training job"),
  ML_PREDICTION_DAYS: withDefault(whole(1, 36500), 30, "how long predictions are kept"),

  ...heading("Backup"),
  BACKUP_URL: derived(url("file", "s3"), "file://DATA_DIR/backups", "where backups go; or s3://bucket/prefix"),
  BACKUP_S3_ENDPOINT: optional(httpUrl, "for s3://", "credentials"),
  BACKUP_S3_REGION: withDefault(text(), "us-east-1", "its region"),
  BACKUP_S3_ACCESS_KEY_ID: optional(text(), "key id", "secret"),
  BACKUP_S3_SECRET_ACCESS_KEY: optional(text(), "key", "secret"),
  BACKUP_KEY: optional(BACKUP_SECRET, "encrypts backups", "secret"),
  BACKUP_KEY_PREVIOUS: optional(BACKUP_SECRET, "still opens older backups", "secret"),
  RESTORE_DIR: derived(path, "DATA_DIR/restores", "targets of a restore other than current"),

  ...heading("Monitoring and security"),
  METRICS_PUBLIC: withDefault(flag(), false, "/metrics without credentials"),
  LOG_MAX_BYTES: withDefault(byteSize(1048576), 1073741824, "log files in all", "1 GiB"),
  ALERT_EMAIL: optional(kinds.email, "default target of alerts"),
  ALERT_SLACK_WEBHOOK: optional(HTTP, "the same", "secret"),
  ALERT_WEBHOOK_URL: optional(HTTP, "the same", "secret"),
  OTEL_EXPORTER_OTLP_ENDPOINT: optional(httpUrl, "traces", "credentials"),
  OTEL_EXPORTER_OTLP_HEADERS: optional(kinds.pairs, "headers sent with them", "secret"),
  OTEL_SERVICE_NAME: withDefault(text(), "botserver", "name in traces"),
  OTEL_TRACES_SAMPLER: withDefault(
    oneOf(
      "always_on",
      "always_off",
      "traceidratio",
      "parentbased_always_on",
      "parentbased_always_off",
      "parentbased_traceidratio",
    ),
    "parentbased_always_on",
    "which requests are traced",
  ),
  OSV_URL: optional(HTTP, "advisories for the dependencies scan"),
  HOST_TOOLS: withDefault(flag(), false, "lets scans run host tools"),
} as const;

type Options = typeof OPTIONS;
/** The name of a variable. */
export type OptionName = keyof Options;
type ValueOf<O> = O extends Option<infer T> ? T : never;
type DerivedName = { [K in OptionName]: Options[K] extends DerivedOption<unknown> ? K : never }[OptionName];
type Camel<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Lowercase<Head>}${Capitalize<Camel<Tail>>}`
  : Lowercase<Name>;
type Values = { readonly [K in OptionName as Camel<K>]: ValueOf<Options[K]> };

/** Every option under its camelCase name, checked and frozen. */
export interface Config extends Values {
  /** Variables that the environment or .env sets; settings of these cannot be changed by the API. */
  readonly given: ReadonlySet<OptionName>;
  /** `PROVIDER_…`, `LLM_…` and `EMBEDDING_…` names ending in KEY or TOKEN: what a model may name as `env:NAME`. */
  readonly providerKeys: Readonly<Record<string, string>>;
  /** `BOT_…` and the names of BOT_ENV_ALLOW: what a bot's config may read as `${NAME}`. */
  readonly botEnvironment: Readonly<Record<string, string>>;
}

/** What the defaults of the machine depend on. */
export interface Machine {
  cores: number;
  isTerminal: boolean;
}

const DERIVED: { [K in DerivedName]: (config: Values, machine: Machine) => ValueOf<Options[K]> } = {
  LOG_FORMAT: (_, { isTerminal }) => (isTerminal ? "pretty" : "json"),
  VECTORS: ({ qdrantUrl }) => (qdrantUrl ? "qdrant" : "embedded"),
  FINE_TUNING_URL: ({ llmUrl }) => llmUrl,
  FINE_TUNING_API_KEY: ({ llmApiKey }) => llmApiKey,
  // The key goes first: after the URL is filled in, it can no longer be seen that the URL was not set.
  EMBEDDING_API_KEY: ({ embeddingUrl, embeddingModel, llmApiKey }) =>
    embeddingModel && !embeddingUrl ? llmApiKey : null,
  EMBEDDING_URL: ({ embeddingModel, llmUrl }) => (embeddingModel ? llmUrl : null),
  META_API_URL: ({ whatsappApiUrl }) => whatsappApiUrl,
  SYNC_ROOT: ({ dataDir }) => join(dataDir, "sync"),
  DOCUMENT_WORKERS: (_, { cores }) => Math.min(4, Math.max(1, cores - 1)),
  ML_WORKERS: (_, { cores }) => Math.min(4, Math.max(1, cores - 1)),
  BACKUP_URL: ({ dataDir }) => `file://${join(dataDir, "backups")}`,
  RESTORE_DIR: ({ dataDir }) => join(dataDir, "restores"),
};

/** One bad value. `found` never holds a secret. */
export interface ConfigFault {
  name: string;
  found: string;
  expected: string;
}

/** Every bad value at once; the message has one line for each. */
export class ConfigError extends Error {
  readonly faults: readonly ConfigFault[];
  constructor(faults: readonly ConfigFault[]) {
    super(faults.map(({ name, found, expected }) => `${name}: found ${found}, expected ${expected}`).join("\n"));
    this.name = "ConfigError";
    this.faults = faults;
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads and checks all options; throws ConfigError with every fault. The environment wins over the `.env` that lies
 * beside the data folder; an empty variable counts as not set. Relative paths start at `cwd`.
 */
export function loadConfig(
  env: Environment = process.env,
  cwd: string = process.cwd(),
  machine: Machine = { cores: availableParallelism(), isTerminal: process.stderr.isTTY === true },
): Config {
  const variables = withDotEnv(env, cwd);
  const faults: ConfigFault[] = [];
  const given = new Set<OptionName>();
  const values: Record<string, unknown> = {};
  for (const [name, option] of optionEntries()) {
    const raw = variables[name];
    const fallback = name === "DATA_DIR" ? resolve(cwd, "data") : option.fallback;
    values[camelCase(name)] = fallback;
    if (raw === undefined) continue;
    given.add(name);
    const value = option.kind.parse(raw, cwd);
    if (value === undefined)
      faults.push({ name, found: shownFault(raw, option.secrecy), expected: option.kind.expected });
    else values[camelCase(name)] = value;
  }
  joinSynonyms(values, variables, faults);
  const known = values as Values;
  for (const [name, derive] of Object.entries(DERIVED)) {
    if (values[camelCase(name)] === undefined) values[camelCase(name)] = derive(known, machine);
  }
  const bad = new Set(faults.map(({ name }) => name));
  for (const fault of contradictions(known, given)) if (!bad.has(fault.name)) faults.push(fault);
  if (faults.length > 0) throw new ConfigError(faults);
  return deepFreeze({
    ...known,
    given,
    providerKeys: pick(variables, (name) => /^(LLM|EMBEDDING|PROVIDER)_[A-Z0-9_]*(KEY|TOKEN)$/.test(name)),
    botEnvironment: pick(variables, (name) => name.startsWith("BOT_") || known.botEnvAllow.includes(name)),
  });
}

/** The environment over the `.env` beside the data folder, without empty values. */
function withDotEnv(env: Environment, cwd: string): Record<string, string> {
  const dataDir = resolve(cwd, env["DATA_DIR"] || "data");
  let file: NodeJS.Dict<string> = {};
  try {
    file = parseEnv(readFileSync(join(dirname(dataDir), ".env"), "utf8"));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "ENOENT" && code !== "ENOTDIR")
      throw new ConfigError([
        {
          name: join(dirname(dataDir), ".env"),
          found: code ?? "an unreadable file",
          expected: "a readable file or none",
        },
      ]);
  }
  const merged: Record<string, string> = {};
  for (const source of [file, env])
    for (const [name, value] of Object.entries(source)) {
      const trimmed = value?.trim();
      if (trimmed) merged[name] = trimmed;
    }
  return merged;
}

/** DRIVE_* are other names of S3_*; two different values for one thing are a fault. */
function joinSynonyms(values: Record<string, unknown>, variables: Record<string, string>, faults: ConfigFault[]): void {
  const synonyms = [
    ["DRIVE_SERVER", "S3_ENDPOINT"],
    ["DRIVE_ACCESSKEY", "S3_ACCESS_KEY_ID"],
    ["DRIVE_SECRET", "S3_SECRET_ACCESS_KEY"],
  ] as const;
  for (const [synonym, name] of synonyms) {
    const [theirs, ours] = [variables[synonym], variables[name]];
    if (theirs === undefined) continue;
    if (ours === undefined) values[camelCase(name)] = values[camelCase(synonym)];
    else if (theirs !== ours)
      faults.push({
        name: synonym,
        found: `another value than in ${name}`,
        expected: `the same, or only one of the two`,
      });
  }
}

/** Faults that only show in several options together. */
function* contradictions(config: Values, given: ReadonlySet<OptionName>): Generator<ConfigFault> {
  const missing = (name: OptionName, why: string): ConfigFault => ({
    name,
    found: "nothing",
    expected: `${OPTIONS[name].kind.expected}, because ${why}`,
  });
  /** All or none of `names`, told by those that are set. */
  function* together(...names: OptionName[]): Generator<ConfigFault> {
    const isSet = (name: OptionName) => config[camelCase(name) as keyof Values] !== null;
    const first = names.find(isSet);
    if (first) for (const name of names) if (!isSet(name)) yield missing(name, `${first} is set`);
  }
  if (config.databaseUrl && !config.secretKey)
    yield missing("SECRET_KEY", "DATABASE_URL is set and instances share the key");
  yield* together("ADMIN_EMAIL", "ADMIN_PASSWORD");
  yield* together("S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY");
  if (given.has("S3_REGION") && !config.s3Endpoint) yield missing("S3_ENDPOINT", "S3_REGION is set");
  yield* together("OIDC_ISSUER", "OIDC_CLIENT_ID");
  yield* together("SMS_URL", "SMS_ACCOUNT", "SMS_TOKEN", "SMS_FROM");
  yield* together("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET");
  yield* together("LLAMA_SERVER_PATH", "LLAMA_MODEL");
  if (config.oidcClientSecret && !config.oidcIssuer) yield missing("OIDC_ISSUER", "OIDC_CLIENT_SECRET is set");
  if (!config.localLogin && !config.oidcIssuer) yield missing("OIDC_ISSUER", "LOCAL_LOGIN is false");
  if (config.oidcIssuer && !config.oidcAllowHttp && !isHttpsOrLoopback(config.oidcIssuer))
    yield {
      name: "OIDC_ISSUER",
      found: shown(config.oidcIssuer),
      expected: "an https:// URL, or OIDC_ALLOW_HTTP=true",
    };
  if (config.vectors === "qdrant" && !config.qdrantUrl) yield missing("QDRANT_URL", "VECTORS is qdrant");
  if (config.qdrantApiKey && !config.qdrantUrl) yield missing("QDRANT_URL", "QDRANT_API_KEY is set");
  if (config.embeddingUrl && !config.embeddingModel) yield missing("EMBEDDING_MODEL", "EMBEDDING_URL is set");
  if (config.embeddingModel && !config.embeddingUrl)
    yield missing("EMBEDDING_URL", "EMBEDDING_MODEL is set and there is no LLM_URL either");
  if (config.callsEngine === "livekit" && !config.livekitUrl) yield missing("LIVEKIT_URL", "CALLS_ENGINE is livekit");
  if (!config.turnSecret && config.iceServers.some((server) => /^turns?:(?![^:@]+:[^@]+@)/.test(server)))
    yield missing("TURN_SECRET", "a TURN server of ICE_SERVERS has no user:pass@");
  if (config.backupUrl.startsWith("s3:"))
    for (const name of ["BACKUP_S3_ENDPOINT", "BACKUP_S3_ACCESS_KEY_ID", "BACKUP_S3_SECRET_ACCESS_KEY"] as const)
      if (config[camelCase(name) as keyof Values] === null) yield missing(name, "BACKUP_URL begins with s3://");
}

function isHttpsOrLoopback(address: string): boolean {
  const parsed = URL.parse(address);
  return parsed?.protocol === "https:" || /^(localhost|127\.[\d.]+|\[::1\])$/.test(parsed?.hostname ?? "");
}

/** The option table by name, with the types of single options forgotten. */
function optionEntries(): [OptionName, Option<unknown>][] {
  return Object.entries(OPTIONS) as [OptionName, Option<unknown>][];
}

/** `S3_ACCESS_KEY_ID` → `s3AccessKeyId`. */
function camelCase<Name extends string>(name: Name): Camel<Name> {
  return name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()) as Camel<Name>;
}

function pick(variables: Record<string, string>, wanted: (name: string) => boolean): Record<string, string> {
  return Object.fromEntries(Object.entries(variables).filter(([name]) => wanted(name)));
}

function deepFreeze<T extends object>(value: T): T {
  for (const part of Object.values(value)) if (typeof part === "object" && part !== null) Object.freeze(part);
  return Object.freeze(value);
}

function shown(value: string): string {
  return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}…` : value);
}

/** A URL that could not be read may hide its password anywhere, so nothing of it is shown. */
function shownFault(value: string, secrecy: Secrecy): string {
  return secrecy === "open" && !value.includes("@") ? shown(value) : "a value that is not shown";
}

function withoutPassword(address: string): string {
  return address.replace(/^([a-z0-9+.-]+:(?:\/\/)?[^:@/]*):.*@/i, "$1:***@");
}

/** One row of the option table, for settings that are read by the API. */
export interface OptionRow {
  name: OptionName;
  key: string;
  group: Group;
  type: string;
  default: string;
  description: string;
  isSecret: boolean;
}

/** The option table as data. */
export function optionRows(): OptionRow[] {
  return optionEntries().map(([name, option]) => ({
    name,
    key: camelCase(name),
    group: option.group,
    type: option.kind.expected,
    default: option.shown,
    description: option.description,
    isSecret: option.secrecy === "secret",
  }));
}

/** Every option by variable name with secrets as `***` and passwords in URLs cut; null where nothing is set. */
export function maskedConfig(config: Config): Record<OptionName, unknown> {
  const entries = optionEntries().map(([name, option]) => {
    const value: unknown = config[camelCase(name) as keyof Values];
    if (value === null) return [name, null];
    if (option.secrecy === "secret") return [name, "***"];
    if (Array.isArray(value)) return [name, value.map((one) => (typeof one === "string" ? withoutPassword(one) : one))];
    return [name, typeof value === "string" ? withoutPassword(value) : value];
  });
  return Object.fromEntries(entries) as Record<OptionName, unknown>;
}

const PATTERN_ROW = {
  name: "PROVIDER_*_KEY, PROVIDER_*_TOKEN",
  description: "keys that a model may name as env:NAME; LLM_… and EMBEDDING_… names of that form too",
};

/** The options grouped: aligned text for a terminal, or Markdown tables for the README. */
export function configTable(form: "text" | "markdown"): string {
  const sections = GROUPS.map((heading) => {
    const rows: { name: string; default: string; description: string }[] = optionRows().filter(
      (row) => row.group === heading,
    );
    if (heading === "Language model") rows.push({ ...PATTERN_ROW, default: "—" });
    if (form === "text") {
      const lines = rows.map((row) => `  ${row.name.padEnd(28)} ${row.description} [${row.default}]`);
      return `${heading}\n${lines.join("\n")}`;
    }
    const code = (name: string) => `\`${name.replaceAll(", ", "`, `")}\``;
    const lines = rows.map((row) => `| ${code(row.name)} | ${row.default} | ${row.description} |`);
    return `**${heading}**\n\n| name | default | meaning |\n|---|---|---|\n${lines.join("\n")}`;
  });
  return sections.join("\n\n");
}

/** The text of .env.example: every option, commented out. */
export function configExample(): string {
  const sections = GROUPS.map((heading) => {
    const rows = optionRows().filter((row) => row.group === heading);
    return `# ${heading}\n${rows.map((row) => `# ${row.description} [${row.default}]\n#${row.name}=`).join("\n")}\n`;
  });
  return `# Copy to .env beside the data folder. Every option may stay away; the environment wins over this file.\n\n${sections.join("\n")}`;
}

/**
 * The key that signs tokens and seals credentials: SECRET_KEY, or the one kept in DATA_DIR/secret.key, which is made
 * here on the first start (mode 600, complete and synced before it has its name). Throws ConfigError if that file
 * holds no key.
 */
export function ensureSecretKey(config: Config): string {
  if (config.secretKey) return config.secretKey;
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
  const file = join(config.dataDir, "secret.key");
  const kept = readIfThere(file) ?? makeSecretKey(config.dataDir, file);
  if (Buffer.byteLength(kept) >= 32) return kept;
  throw new ConfigError([{ name: file, found: "a file that holds no key", expected: "at least 32 bytes" }]);
}

/** Linking a complete file to its name is one step: of several first starts one wins and all read its key. */
function makeSecretKey(folder: string, file: string): string {
  const key = randomBytes(48).toString("base64url");
  const draft = join(folder, `secret.key.${process.pid}.${randomBytes(4).toString("hex")}`);
  const handle = openSync(draft, "wx", 0o600);
  try {
    writeSync(handle, key);
    fsyncSync(handle);
    closeSync(handle);
    linkSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  const directory = openSync(folder, "r");
  fsyncSync(directory);
  closeSync(directory);
  return readFileSync(file, "utf8").trim();
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}
