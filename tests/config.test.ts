// Guarantees of the configuration: defaults without anything set, every fault at once, no secret ever shown.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config, ConfigFault } from "../src/config.ts";
import {
  ConfigError,
  configExample,
  configTable,
  ensureSecretKey,
  loadConfig,
  maskedConfig,
  optionRows,
} from "../src/config.ts";

const folder = mkdtempSync(join(tmpdir(), "botserver-config-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const KEY = "k".repeat(32);
const MACHINE = { cores: 4, isTerminal: false };
const load = (env: Record<string, string>, cwd = folder) => loadConfig(env, cwd, MACHINE);

function faultsOf(env: Record<string, string>): readonly ConfigFault[] {
  try {
    load(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  return [];
}
const faultyNames = (env: Record<string, string>) => faultsOf(env).map(({ name }) => name);

describe("without anything set", () => {
  test("every option has the default of the contract", () => {
    const config = load({});
    expect(config).toMatchObject({
      host: "0.0.0.0",
      port: 8080,
      dataDir: join(folder, "data"),
      publicUrl: null,
      secretKey: null,
      registration: "closed",
      databaseUrl: null,
      databasePool: 10,
      databaseSync: true,
      valkeyUrl: null,
      vectors: "embedded",
      s3Endpoint: null,
      llmUrl: null,
      embeddingUrl: null,
      rateLimitAnonymous: 60,
      rateLimitUser: 1000,
      rateLimitAdmin: 5000,
      rateLimitS3: 36000,
      trustProxy: 0,
      corsOrigins: [],
      maxBodyBytes: 1048576,
      maxUploadBytes: 104857600,
      logLevel: "info",
      logFormat: "json",
      shutdownSeconds: 10,
      callsPorts: { first: 40000, last: 40199 },
      llmFallbackOrder: ["quality", "fast", "local"],
      oidcScopes: ["openid", "profile", "email"],
      metaApiUrl: "https://graph.facebook.com",
      syncRoot: join(folder, "data/sync"),
      backupUrl: `file://${join(folder, "data/backups")}`,
      documentWorkers: 3,
      storageQuotaBytes: 10737418240,
      s3ServerPort: null,
    } satisfies Partial<Config>);
    expect(config.given.size).toBe(0);
  });

  test("an empty or blank variable counts as not set", () => {
    const config = load({ PORT: "", DATABASE_URL: "  ", LLM_URL: "" });
    expect([config.port, config.databaseUrl, config.llmUrl, config.given.size]).toEqual([8080, null, null, 0]);
  });

  test("worker counts follow the cores and stay between 1 and 4", () => {
    const workers = [1, 2, 3, 16].map((cores) => loadConfig({}, folder, { cores, isTerminal: true }).mlWorkers);
    expect(workers).toEqual([1, 1, 2, 4]);
  });

  test("log lines are for people on a terminal only", () => {
    expect(loadConfig({}, folder, { cores: 1, isTerminal: true }).logFormat).toBe("pretty");
  });
});

describe("values", () => {
  const good: [string, string, keyof Config, unknown][] = [
    ["PORT", "0", "port", 0],
    ["HOST", "::1", "host", "::1"],
    ["HOST", "[::1]", "host", "::1"],
    ["DATA_DIR", "../d", "dataDir", join(folder, "../d")],
    ["PUBLIC_URL", "https://bots.example.org/", "publicUrl", "https://bots.example.org"],
    ["MAX_BODY_BYTES", "2 MiB", "maxBodyBytes", 2097152],
    ["MAX_UPLOAD_BYTES", "1.5GB", "maxUploadBytes", 1500000000],
    ["STORAGE_QUOTA_BYTES", "123456", "storageQuotaBytes", 123456],
    ["LOCAL_LOGIN", "TRUE", "localLogin", true],
    ["METRICS_PUBLIC", "yes", "metricsPublic", true],
    ["DATABASE_SYNC", "off", "databaseSync", false],
    ["STORAGE_ENCRYPTION", "false", "storageEncryption", false],
    ["RATE_LIMIT_USER", "0", "rateLimitUser", 0],
    [
      "CORS_ORIGINS",
      "https://a.example, http://localhost:3000/",
      "corsOrigins",
      ["https://a.example", "http://localhost:3000"],
    ],
    ["CORS_ORIGINS", "*", "corsOrigins", ["*"]],
    [
      "ALLOW_PRIVATE_HOSTS",
      "10.0.0.0/8,Intranet.local,::1/128,fd00::/8",
      "allowPrivateHosts",
      ["10.0.0.0/8", "intranet.local", "::1/128", "fd00::/8"],
    ],
    ["OIDC_ROLE_MAP", '{"boss":"admin"}', "oidcRoleMap", { boss: "admin" }],
    ["OIDC_SCOPES", "openid  groups", "oidcScopes", ["openid", "groups"]],
    ["CALLS_PORTS", "50000-50010", "callsPorts", { first: 50000, last: 50010 }],
    ["S3_SERVER_PORT", "off", "s3ServerPort", null],
    ["S3_SERVER_PORT", "9000", "s3ServerPort", 9000],
    ["CLAMAV_URL", "unix:///run/clamd.sock", "clamavUrl", "unix:///run/clamd.sock"],
    ["MAIL_FROM", "Bots <bots@example.org>", "mailFrom", "Bots <bots@example.org>"],
    [
      "OTEL_EXPORTER_OTLP_HEADERS",
      "authorization=Bearer%20x,a=b",
      "otelExporterOtlpHeaders",
      { authorization: "Bearer x", a: "b" },
    ],
    ["SOFFICE_PATH", "soffice", "sofficePath", "soffice"],
    ["SOFFICE_PATH", "./bin/soffice", "sofficePath", join(folder, "bin/soffice")],
    ["LLM_URL", "https://x.example/openai?api-version=1", "llmUrl", "https://x.example/openai?api-version=1"],
    [
      "BACKUP_KEY",
      `base64:${Buffer.alloc(32).toString("base64")}`,
      "backupKey",
      `base64:${Buffer.alloc(32).toString("base64")}`,
    ],
    [
      "ICE_SERVERS",
      "stun:stun.example.org, turn:u:p@turn.example.org:3478",
      "iceServers",
      ["stun:stun.example.org", "turn:u:p@turn.example.org:3478"],
    ],
  ];
  test.each(good)("%s=%s is understood", (name, text, key, value) => {
    const config = load({ [name]: text });
    expect<unknown>(config[key]).toEqual(value);
    expect(config.given.has(name as never)).toBe(true);
  });

  const bad: [string, string][] = [
    ["PORT", "65536"],
    ["PORT", "80a"],
    ["PORT", "-1"],
    ["HOST", "not a host"],
    ["PUBLIC_URL", "bots.example.org"],
    ["PUBLIC_URL", "https://bots.example.org/?a=b"],
    ["MAX_BODY_BYTES", "many"],
    ["MAX_BODY_BYTES", "1 XiB"],
    ["LOCAL_LOGIN", "maybe"],
    ["TRUST_PROXY", "true"],
    ["RATE_LIMIT_USER", "-5"],
    ["RATE_LIMIT_USER", "1.5"],
    ["REGISTRATION", "Open"],
    ["LOG_LEVEL", "verbose"],
    ["DATABASE_URL", "mysql://localhost/x"],
    ["VALKEY_URL", "localhost:6379"],
    ["VECTORS", "pinecone"],
    ["CORS_ORIGINS", "https://a.example/path"],
    ["CORS_ORIGINS", "example.org"],
    ["ALLOW_PRIVATE_HOSTS", "10.0.0.0/33"],
    ["ALLOW_PRIVATE_HOSTS", "intranet/8"],
    ["OIDC_ROLE_MAP", "{boss: admin}"],
    ["OIDC_ROLE_MAP", '{"boss": 1}'],
    ["OIDC_ROLE_MAP", "[]"],
    ["CALLS_PORTS", "50010-50000"],
    ["CALLS_PORTS", "50000"],
    ["CALLS_PUBLIC_IP", "example.org"],
    ["ICE_SERVERS", "https://x.example"],
    ["SMTP_URL", "https://x.example"],
    ["ADMIN_EMAIL", "boss"],
    ["VAPID_SUBJECT", "boss@example.org"],
    ["BOOTSTRAP_SECRET", "fifteen letters"],
    ["SECRET_KEY", "x".repeat(31)],
    ["BACKUP_KEY", "short"],
    ["BACKUP_KEY", "base64:AAAA"],
    ["EMBEDDING_DIMENSIONS", "0"],
    ["LLM_PROVIDER", "acme"],
    ["BACKUP_URL", "ftp://x"],
    ["BOT_ENV_ALLOW", "A-B"],
  ];
  test.each(bad)("%s=%s stops the start and is named", (name, text) => {
    const faults = faultsOf({ [name]: text }).filter((fault) => fault.name === name);
    expect(faults.map(({ expected }) => expected.length > 3)).toEqual([true]);
  });

  test("a key of 32 bytes is long enough, counted in bytes", () => {
    expect(load({ SECRET_KEY: "ü".repeat(16) }).secretKey).toBe("ü".repeat(16));
  });

  test("the whole configuration is frozen", () => {
    const config = load({});
    expect([Object.isFrozen(config), Object.isFrozen(config.corsOrigins), Object.isFrozen(config.callsPorts)]).toEqual([
      true,
      true,
      true,
    ]);
  });
});

describe("options that need each other", () => {
  const S3 = { S3_ENDPOINT: "http://localhost:9000", S3_BUCKET: "b", S3_ACCESS_KEY_ID: "i", S3_SECRET_ACCESS_KEY: "s" };
  const cases: [string, Record<string, string>, string[]][] = [
    ["DATABASE_URL wants SECRET_KEY", { DATABASE_URL: "postgres://localhost/b" }, ["SECRET_KEY"]],
    ["DATABASE_URL with SECRET_KEY", { DATABASE_URL: "postgres://localhost/b", SECRET_KEY: KEY }, []],
    ["ADMIN_EMAIL alone", { ADMIN_EMAIL: "a@b.c" }, ["ADMIN_PASSWORD"]],
    ["ADMIN_PASSWORD alone", { ADMIN_PASSWORD: "x" }, ["ADMIN_EMAIL"]],
    ["VECTORS=qdrant wants QDRANT_URL", { VECTORS: "qdrant" }, ["QDRANT_URL"]],
    ["a whole S3", S3, []],
    ["half an S3", { S3_ENDPOINT: S3.S3_ENDPOINT, S3_BUCKET: "b" }, ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"]],
    ["a region without an S3", { S3_REGION: "eu-west-1" }, ["S3_ENDPOINT"]],
    [
      "DRIVE_* count as S3_*",
      { DRIVE_SERVER: "http://localhost:9000", DRIVE_ACCESSKEY: "i", DRIVE_SECRET: "s", S3_BUCKET: "b" },
      [],
    ],
    ["DRIVE_* that contradict S3_*", { ...S3, DRIVE_SECRET: "other" }, ["DRIVE_SECRET"]],
    ["an OIDC issuer wants a client", { OIDC_ISSUER: "https://id.example" }, ["OIDC_CLIENT_ID"]],
    ["plain http to an issuer", { OIDC_ISSUER: "http://id.example", OIDC_CLIENT_ID: "c" }, ["OIDC_ISSUER"]],
    ["plain http to an issuer on loopback", { OIDC_ISSUER: "http://127.0.0.1:9", OIDC_CLIENT_ID: "c" }, []],
    [
      "plain http to an issuer, allowed",
      { OIDC_ISSUER: "http://id.example", OIDC_CLIENT_ID: "c", OIDC_ALLOW_HTTP: "true" },
      [],
    ],
    ["no local sign-in and no other", { LOCAL_LOGIN: "false" }, ["OIDC_ISSUER"]],
    ["an embedding server wants its model", { EMBEDDING_URL: "http://localhost:1/v1" }, ["EMBEDDING_MODEL"]],
    ["an embedding model wants a server", { EMBEDDING_MODEL: "m" }, ["EMBEDDING_URL"]],
    ["half an SMS provider", { SMS_URL: "https://sms.example", SMS_FROM: "+1" }, ["SMS_ACCOUNT", "SMS_TOKEN"]],
    ["CALLS_ENGINE=livekit wants LiveKit", { CALLS_ENGINE: "livekit" }, ["LIVEKIT_URL"]],
    ["TURN without credentials", { ICE_SERVERS: "turn:turn.example.org" }, ["TURN_SECRET"]],
    ["TURN with credentials", { ICE_SERVERS: "turn:u:p@turn.example.org" }, []],
    ["TURN with a secret", { ICE_SERVERS: "turn:turn.example.org", TURN_SECRET: "s" }, []],
    [
      "backups in S3",
      { BACKUP_URL: "s3://b/p" },
      ["BACKUP_S3_ENDPOINT", "BACKUP_S3_ACCESS_KEY_ID", "BACKUP_S3_SECRET_ACCESS_KEY"],
    ],
    ["a model runner wants a model", { LLAMA_SERVER_PATH: "llama-server" }, ["LLAMA_MODEL"]],
  ];
  test.each(cases)("%s", (_, env, names) => {
    expect(faultyNames(env)).toEqual(names);
  });

  test("all faults are told at once, one line each", () => {
    const env = { PORT: "x", REGISTRATION: "?", DATABASE_URL: "postgres://localhost/b", S3_BUCKET: "b" };
    expect(faultyNames(env)).toEqual([
      "PORT",
      "REGISTRATION",
      "SECRET_KEY",
      "S3_ENDPOINT",
      "S3_ACCESS_KEY_ID",
      "S3_SECRET_ACCESS_KEY",
    ]);
    expect(() => load(env)).toThrow(
      /^PORT: found "x", expected a port .*\nREGISTRATION: .*\nSECRET_KEY: found nothing, .*DATABASE_URL/,
    );
  });

  test("one bad variable is one fault, also where others depend on it", () => {
    expect(faultyNames({ DATABASE_URL: "postgres://localhost/b", SECRET_KEY: "short" })).toEqual(["SECRET_KEY"]);
  });
});

describe("fallbacks", () => {
  test("embeddings take the model's server and key when only their model is named", () => {
    const config = load({ LLM_URL: "http://localhost:1/v1", LLM_API_KEY: "one", EMBEDDING_MODEL: "m" });
    expect([config.embeddingUrl, config.embeddingApiKey]).toEqual(["http://localhost:1/v1", "one"]);
  });

  test("the model's key is never sent to another embedding server", () => {
    const config = load({
      LLM_URL: "http://a/v1",
      LLM_API_KEY: "one",
      EMBEDDING_MODEL: "m",
      EMBEDDING_URL: "http://b/v1",
    });
    expect([config.embeddingUrl, config.embeddingApiKey]).toEqual(["http://b/v1", null]);
  });

  test("without an embedding model the built-in one stays, whatever the model server is", () => {
    expect(load({ LLM_URL: "http://localhost:1/v1" }).embeddingUrl).toBeNull();
  });

  test("Qdrant is used when its URL is there, unless switched off", () => {
    expect(load({ QDRANT_URL: "http://localhost:6333" }).vectors).toBe("qdrant");
    expect(load({ QDRANT_URL: "http://localhost:6333", VECTORS: "off" }).vectors).toBe("off");
  });

  test("DRIVE_* fill S3_*", () => {
    const config = load({
      DRIVE_SERVER: "http://localhost:9000",
      DRIVE_ACCESSKEY: "i",
      DRIVE_SECRET: "s",
      S3_BUCKET: "b",
    });
    expect([config.s3Endpoint, config.s3AccessKeyId, config.s3SecretAccessKey]).toEqual([
      "http://localhost:9000",
      "i",
      "s",
    ]);
  });

  test("provider keys and what bots may read are picked by name and nothing else", () => {
    const config = load({
      PROVIDER_X_KEY: "1",
      LLM_B_TOKEN: "2",
      EMBEDDING_API_KEY: "3",
      SECRET_KEY: KEY,
      PROVIDER_NAME: "no",
      BOT_CITY: "Bern",
      BOTS_DIR: folder,
      TEAM: "red",
      BOT_ENV_ALLOW: "TEAM",
    });
    expect(config.providerKeys).toEqual({ PROVIDER_X_KEY: "1", LLM_B_TOKEN: "2", EMBEDDING_API_KEY: "3" });
    expect(config.botEnvironment).toEqual({ BOT_CITY: "Bern", BOT_ENV_ALLOW: "TEAM", TEAM: "red" });
  });
});

describe(".env beside the data folder", () => {
  const cwd = join(folder, "with-env");
  mkdirSync(join(cwd, "elsewhere"), { recursive: true });
  writeFileSync(join(cwd, ".env"), '# comment\nPORT=9001\nLOG_LEVEL="debug"\nREGISTRATION=open # for now\n');
  writeFileSync(join(cwd, "elsewhere/.env"), "PORT=9002\n");

  test("is read, and the environment wins over it", () => {
    const config = load({ LOG_LEVEL: "warn" }, cwd);
    expect([config.port, config.logLevel, config.registration]).toEqual([9001, "warn", "open"]);
    expect(config.given.has("PORT")).toBe(true);
  });

  test("follows the data folder", () => {
    expect(load({ DATA_DIR: "elsewhere/data" }, cwd).port).toBe(9002);
  });
});

describe("secrets", () => {
  const MARK = "hidden-mark-0123456789abcdef0123456789";
  /** Each secret option with a value that is good for it and holds the mark. */
  const secrets = {
    SECRET_KEY: MARK,
    SECRET_KEY_PREVIOUS: MARK,
    ADMIN_EMAIL: "a@b.c",
    ADMIN_PASSWORD: MARK,
    BOOTSTRAP_SECRET: MARK,
    OIDC_ISSUER: "https://id.example",
    OIDC_CLIENT_ID: "c",
    OIDC_CLIENT_SECRET: MARK,
    DATABASE_URL: `postgres://u:${MARK}@localhost/b`,
    VALKEY_URL: `redis://:${MARK}@localhost`,
    QDRANT_URL: "http://localhost:6333",
    QDRANT_API_KEY: MARK,
    S3_ENDPOINT: "http://localhost:9000",
    S3_BUCKET: "b",
    S3_ACCESS_KEY_ID: MARK,
    S3_SECRET_ACCESS_KEY: MARK,
    DRIVE_ACCESSKEY: MARK,
    DRIVE_SECRET: MARK,
    LLM_API_KEY: MARK,
    FINE_TUNING_API_KEY: MARK,
    EMBEDDING_API_KEY: MARK,
    TRANSCRIPTION_API_KEY: MARK,
    SPEECH_API_KEY: MARK,
    SMTP_URL: `smtps://u:${MARK}@localhost`,
    IMAP_URL: `imaps://u:${MARK}@localhost`,
    SMS_URL: "https://sms.example",
    SMS_ACCOUNT: "a",
    SMS_FROM: "+1",
    SMS_TOKEN: MARK,
    ICE_SERVERS: `turn:u:${MARK}@turn.example.org`,
    TURN_SECRET: MARK,
    LIVEKIT_URL: "wss://live.example",
    LIVEKIT_API_KEY: MARK,
    LIVEKIT_API_SECRET: MARK,
    BACKUP_S3_ACCESS_KEY_ID: MARK,
    BACKUP_S3_SECRET_ACCESS_KEY: MARK,
    BACKUP_KEY: MARK,
    BACKUP_KEY_PREVIOUS: MARK,
    ALERT_SLACK_WEBHOOK: `https://hooks.example/${MARK}`,
    ALERT_WEBHOOK_URL: `https://hooks.example/${MARK}`,
    OTEL_EXPORTER_OTLP_HEADERS: `authorization=${MARK}`,
  };

  test("of every secret option a value is tried here", () => {
    const untried = optionRows().filter(({ name, isSecret }) => isSecret && !(name in secrets));
    expect(untried.map(({ name }) => name)).toEqual([]);
  });

  test("never stand in the masked configuration, which still tells that they are set", () => {
    const masked = maskedConfig(load(secrets));
    expect(JSON.stringify(masked)).not.toContain(MARK);
    expect([masked.SECRET_KEY, masked.DATABASE_URL, masked.BACKUP_KEY, masked.SPEECH_URL]).toEqual([
      "***",
      "postgres://u:***@localhost/b",
      "***",
      null,
    ]);
  });

  test("never stand in a fault, whatever is wrong with them", () => {
    const broken = Object.fromEntries(
      Object.entries(secrets).map(([name, value]) => [name, ` ,${value.slice(-12)}@\u0000`]),
    );
    const faults = faultsOf({ ...broken, SECRET_KEY: MARK.slice(-12), DATABASE_URL: `postgres//u:${MARK}@x` });
    expect(faults.length).toBeGreaterThan(5);
    expect(JSON.stringify(faults)).not.toContain(MARK.slice(-12));
  });
});

describe("the key of the installation", () => {
  test("is the given one when there is one, and nothing is written", () => {
    const config = load({ SECRET_KEY: KEY, DATA_DIR: join(folder, "given") });
    expect(ensureSecretKey(config)).toBe(KEY);
    expect(() => statSync(join(folder, "given"))).toThrow();
  });

  test("is made once, kept for its owner alone, and the same at the next start", () => {
    const config = load({ DATA_DIR: join(folder, "made") });
    const key = ensureSecretKey(config);
    expect(key.length).toBeGreaterThanOrEqual(32);
    expect(ensureSecretKey(config)).toBe(key);
    const file = join(folder, "made/secret.key");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, "utf8")).toBe(key);
  });

  test("is one key for all when several processes start at once", async () => {
    const dataDir = join(folder, "race");
    const source = `
      const { ensureSecretKey, loadConfig } = await import(${JSON.stringify(join(import.meta.dir, "../src/config.ts"))});
      process.stdout.write(ensureSecretKey(loadConfig({ DATA_DIR: ${JSON.stringify(dataDir)} })));`;
    const starts = Array.from({ length: 6 }, () => Bun.spawn([process.execPath, "-e", source], { cwd: folder }));
    const keys = await Promise.all(starts.map((child) => new Response(child.stdout).text()));
    expect(keys[0]?.length).toBeGreaterThanOrEqual(32);
    expect(new Set(keys).size).toBe(1);
    expect([...new Bun.Glob("*").scanSync(dataDir)]).toEqual(["secret.key"]);
  });

  test("that is damaged stops the start instead of being replaced", () => {
    const dataDir = join(folder, "damaged");
    mkdirSync(dataDir);
    writeFileSync(join(dataDir, "secret.key"), "");
    expect(() => ensureSecretKey(load({ DATA_DIR: dataDir }))).toThrow(/secret\.key.*at least 32 bytes/);
  });
});

describe("the table of options", () => {
  test("names every option once, in the help and in the Markdown", () => {
    const names = optionRows().map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const form of ["text", "markdown"] as const) {
      const table = configTable(form);
      expect(names.filter((name) => !new RegExp(`(^|[^A-Z_])${name}([^A-Z_]|$)`, "m").test(table))).toEqual([]);
    }
  });

  test(".env.example is what the table makes", () => {
    expect(readFileSync(join(import.meta.dir, "../.env.example"), "utf8")).toBe(configExample());
  });
});
