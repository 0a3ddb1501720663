// The settings of a bot: which keys there are, how each value is read, and which layer wins. Pure; storing and
// sealing is settings.ts.

import type { Kind } from "../../lib/options/index.ts";
import { byteSize, flag, httpUrl, list, matching, oneOf, text, whole } from "../../lib/options/index.ts";

/** A known key: how its value is read and what holds without one. */
export interface Setting<T> {
  readonly kind: Kind<NonNullable<T>>;
  readonly fallback: T;
  /** Other names of the same key. */
  readonly aliases: readonly string[];
}

function setting<T>(kind: Kind<T>, fallback: T, ...aliases: string[]): Setting<T> {
  return { kind: kind as Kind<NonNullable<T>>, fallback, aliases };
}
/** A key without a built-in value. */
function optional<T>(kind: Kind<T>, ...aliases: string[]): Setting<T | null> {
  return { kind: kind as Kind<NonNullable<T>>, fallback: null, aliases };
}

/** A number within the bounds, both inclusive. */
function decimal(min: number, max: number): Kind<number> {
  return {
    expected: `a number from ${min} to ${max}`,
    parse: (value) => {
      if (!/^[+-]?(\d+\.?\d*|\.\d+)$/.test(value)) return undefined;
      const number = Number(value);
      return number >= min && number <= max ? number : undefined;
    },
  };
}

/** As `whole`, but a byte size that may be written with a unit. */
function sizeUpTo(max: number): Kind<number> {
  const kind = byteSize(1);
  return {
    expected: `${kind.expected}, at most ${max}`,
    parse: (value, cwd) => {
      const bytes = kind.parse(value, cwd);
      return bytes !== undefined && bytes <= max ? bytes : undefined;
    },
  };
}

const bool = flag();
const line = text();
const words = list(line);
const seconds = whole(1, 31_536_000);
const colour = matching(/^(#[0-9a-f]{3,8}|[a-z]+|(rgb|hsl)a?\([\d.,%\s/deg-]+\))$/i, "a colour such as #336699");
const languageTag = matching(/^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$/, "a language tag such as en or pt-BR");
const timeOfDay = matching(/^([01]?\d|2[0-3]):[0-5]\d$/, "a time such as 09:00");
const MiB = 2 ** 20;

/** Every key with a meaning of its own; further ones belong to a family below, or are kept for scripts. */
export const SETTINGS = {
  "bot-name": optional(line),
  "bot-description": optional(line),
  "bot-version": optional(line),
  "bot-tags": optional(words),
  "bot-author": optional(line),
  "welcome-message": optional(line),
  "error-message": optional(line),
  "timeout-message": optional(line),
  "no-answer-message": optional(line),
  language: setting(languageTag, "en", "default-language"),
  "supported-languages": optional(list(languageTag)),
  timezone: setting(line, "UTC"),
  public: optional(bool),
  "require-authentication": optional(bool),
  "start-dialog": setting(line, "start"),
  "system-prompt": optional(line, "bot-system-prompt"),
  "llm-url": optional(httpUrl),
  "llm-key": optional(line),
  "llm-model": optional(line),
  "llm-provider": optional(line),
  "llm-fallback": setting(oneOf("quote", "error"), "quote"),
  "llm-temperature": setting(decimal(0, 2), 0.3, "temperature"),
  "max-tokens": setting(whole(1, 1_000_000), 1024),
  "llm-models": optional(words),
  "model-default": optional(line),
  "model-fast": optional(line),
  "model-quality": optional(line),
  "model-code": optional(line),
  "model-routing-strategy": setting(oneOf("manual", "auto", "load-balanced", "fallback"), "auto"),
  "model-fallback-enabled": setting(bool, true),
  "model-fallback-order": optional(words),
  "llm-cache": setting(bool, false),
  "llm-cache-ttl": setting(seconds, 3600),
  "llm-cache-semantic": setting(bool, true),
  "llm-cache-threshold": setting(decimal(0, 1), 0.95),
  "answer-mode": setting(oneOf("direct", "document", "tool", "chart"), "direct"),
  "context-window": setting(whole(1, 1000), 50, "session-message-history"),
  "episodic-memory-enabled": setting(bool, true),
  "episodic-memory-threshold": setting(whole(1, 1000), 4),
  "episodic-memory-history": setting(whole(1, 1000), 2),
  "episodic-memory-max-episodes": setting(whole(1, 10_000), 100),
  "episodic-memory-retention-days": setting(whole(1, 36_500), 365),
  "episodic-memory-model": setting(line, "fast"),
  "user-memory-enabled": setting(bool, true),
  "user-memory-max-keys": setting(whole(1, 100_000), 1000),
  "user-memory-default-ttl": setting(whole(0, 3_153_600_000), 0),
  "kb-auto": optional(bool),
  "rag-hybrid-enabled": setting(bool, true),
  "rag-dense-weight": setting(decimal(0, 1), 0.7),
  "rag-sparse-weight": setting(decimal(0, 1), 0.3),
  "rag-rrf-k": setting(whole(1, 1000), 60),
  "rag-top-k": setting(whole(1, 50), 10, "rag-max-results"),
  "rag-min-score": setting(decimal(0, 1), 0),
  "rag-chunk-size": setting(whole(64, 8192), 512),
  "rag-chunk-overlap": setting(whole(0, 4096), 50),
  "rag-reranker-enabled": setting(bool, false),
  "rag-reranker-top-n": setting(whole(1, 50), 20),
  "rag-cache-enabled": setting(bool, true),
  "rag-cache-ttl": setting(seconds, 3600),
  "rag-cache-max-size": setting(whole(1, 1_000_000), 10_000),
  "quoted-min-confidence": setting(decimal(0, 1), 0.35),
  "bm25-enabled": setting(bool, true),
  "bm25-k1": setting(decimal(0, 10), 1.2),
  "bm25-b": setting(decimal(0, 1), 0.75),
  "bm25-stemming": setting(bool, true),
  "bm25-stopwords": setting(bool, true),
  "session-timeout": setting(seconds, 1800),
  "session-rate-limit": setting(whole(1, 100_000), 60),
  "session-variable-limit": setting(sizeUpTo(16 * MiB), MiB),
  "data-retention-days": setting(whole(0, 36_500), 0),
  "hear-timeout-secs": setting(seconds, 3600),
  "loop-max-iterations": setting(whole(1, 1_000_000_000), 100_000),
  "goto-max-iterations": setting(whole(1, 1_000_000_000), 1_000_000),
  theme: optional(matching(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/, "the name of a theme")),
  "theme-color1": optional(colour),
  "theme-color2": optional(colour),
  "theme-logo": optional(line),
  "theme-title": optional(line),
  "embed-origins": optional(words),
  "max-suggestions": setting(whole(1, 100), 10),
  "show-citations": setting(bool, true),
  "show-tool-activity": setting(bool, false),
  "crm-enabled": setting(bool, false),
  "attendant-llm-tips": setting(bool, false),
  "attendant-polish-message": setting(bool, false),
  "attendant-smart-replies": setting(bool, false),
  "attendant-auto-summary": setting(bool, false),
  "attendant-sentiment-analysis": setting(bool, false),
  "auto-transfer-on-frustration": setting(bool, false),
  "auto-transfer-threshold": setting(whole(1, 100), 3),
  "queue-timeout-minutes": setting(whole(1, 10_080), 30),
  "queue-notify-interval": setting(whole(1, 1440), 5),
  "business-hours-start": optional(timeOfDay),
  "business-hours-end": optional(timeOfDay),
  "business-days": setting(matching(/^[1-7](-[1-7])?(,[1-7](-[1-7])?)*$/, "days such as 1-5, Monday is 1"), "1-5"),
  "mcp-server": setting(bool, false),
  "allow-hosts": optional(words),
  "deny-hosts": optional(words),
  "package-max-size": setting(sizeUpTo(100 * MiB), 100 * MiB),
  "user-file-limit": setting(sizeUpTo(50 * MiB), 50 * MiB),
  "user-file-count": setting(whole(1, 10_000), 10_000),
  "script-max-size": setting(sizeUpTo(MiB), MiB),
  "upload-max-size": setting(sizeUpTo(50 * MiB), 50 * MiB),
  "kb-max-collections": setting(whole(1, 50), 50),
  "kb-pdf-max-size": setting(sizeUpTo(50 * MiB), 50 * MiB),
  "kb-word-max-size": setting(sizeUpTo(25 * MiB), 25 * MiB),
  "kb-excel-max-size": setting(sizeUpTo(25 * MiB), 25 * MiB),
  "kb-text-max-size": setting(sizeUpTo(10 * MiB), 10 * MiB),
  "kb-image-max-size": setting(sizeUpTo(10 * MiB), 10 * MiB),
} as const;

export type SettingName = keyof typeof SETTINGS;
export type SettingValue<Name extends SettingName> = (typeof SETTINGS)[Name] extends Setting<infer T> ? T : never;

/** Beginnings of keys that other areas read by themselves; any text is taken. */
const FAMILIES =
  /^(param|conn|custom|channel|website|embedding|webhook-secret|whatsapp|telegram|teams|instagram|messenger|twilio|sms|email|vonage|messagebird|aws|discord|wechat|voice)-./;
/** Belong to the operator's environment; a bot cannot set them. */
const SERVER_LEVEL = /^(server-.*|sites-root|llm-server.*|vectordb-url)$/;
/** Outside databases: only admins may name them. */
const ADMIN_ONLY = /^(conn|custom)-./;
const SECRET = /(-(key|secret|token|password|pass)|^webhook-secret-.*)$/;

export const VALUE_MAX = 65_536;

const canonical = new Map<string, SettingName>();
for (const [name, { aliases }] of Object.entries(SETTINGS)) {
  for (const alias of [name, ...aliases]) canonical.set(alias, name as SettingName);
}

/** The key as it is stored: lower case, blanks and `_` as `-`, aliases resolved (`Temperature` is `llm-temperature`). */
export function settingKey(written: string): string {
  const name = written
    .trim()
    .toLowerCase()
    .replaceAll(/[\s_]+/g, "-");
  return canonical.get(name) ?? name;
}

/** True for a stored key of the table above. */
export function isKnown(key: string): key is SettingName {
  return Object.hasOwn(SETTINGS, key);
}
/** True for a key that nothing of the server reads; scripts may. */
export function isUnknown(key: string): boolean {
  return !isKnown(key) && !FAMILIES.test(key);
}
/** True for a key that only the operator's environment sets. */
export function isServerLevel(key: string): boolean {
  return SERVER_LEVEL.test(key);
}
/** True for a key that only administrators may set. */
export function isAdminOnly(key: string): boolean {
  return ADMIN_ONLY.test(key);
}
/** True for a key whose value is sealed and shown as `***`. */
export function isSecret(key: string): boolean {
  return SECRET.test(key);
}

/** What is wrong with a value of a stored key, as what was expected instead; null if it can be read. */
export function valueFault(key: string, value: string): string | null {
  if (value.length > VALUE_MAX) return `at most ${VALUE_MAX} characters`;
  if (!isKnown(key)) return null;
  return SETTINGS[key].kind.parse(value.trim(), "") === undefined ? SETTINGS[key].kind.expected : null;
}

/** One stored value, opened. */
export interface StoredSetting {
  source: "package" | "override";
  key: string;
  value: string;
}

export type SettingSource = "default" | "package" | "override";

/** A setting as the routes show it. */
export interface SettingView {
  name: string;
  value: string | number | boolean | string[] | null;
  source: SettingSource;
  secret: boolean;
}

/** The settings of one bot with every layer applied; a value of the wrong kind counts as absent. */
export interface BotConfig {
  value<Name extends SettingName>(name: Name): SettingValue<Name>;
  /** Any key's text, also of families and unknown ones; null when it is not set. */
  text(key: string): string | null;
  source(key: string): SettingSource;
  /** All known keys and what is set besides, by name; secrets are `***`. */
  views(): SettingView[];
  /** Values that could not be read, and variables that were left as text. */
  readonly problems: readonly { key: string; message: string }[];
}

export interface ConfigSurroundings {
  /** The operator's values where a bot says nothing. */
  serverDefaults: Partial<Record<SettingName, string>>;
  /** Environment variables that bots may read (`BOT_…` and those of BOT_ENV_ALLOW); undefined for all others. */
  environment(name: string): string | undefined;
}

/** Applies the layers: built-in values, then the package's, then those set by API. */
export function openConfig(stored: readonly StoredSetting[], surroundings: ConfigSurroundings): BotConfig {
  const problems: { key: string; message: string }[] = [];
  const texts = new Map<string, { value: string; source: SettingSource }>();
  const values = new Map<string, unknown>();
  for (const [key, value] of Object.entries(surroundings.serverDefaults)) {
    if (value !== undefined) take({ key, value, source: "default" });
  }
  for (const source of ["package", "override"] as const) {
    for (const one of stored) if (one.source === source) take(one);
  }

  function substitute(key: string, value: string): string {
    return value.replaceAll(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (whole, name: string) => {
      const found = surroundings.environment(name);
      if (found !== undefined) return found;
      problems.push({ key, message: `\${${name}} is left as text: bots may not read that variable.` });
      return whole;
    });
  }

  function take(one: { key: string; value: string; source: SettingSource }): void {
    const key = settingKey(one.key);
    if (isServerLevel(key)) return;
    const value = substitute(key, one.value);
    if (isKnown(key)) {
      const read = SETTINGS[key].kind.parse(value.trim(), "");
      if (read === undefined) {
        problems.push({ key, message: `Expected ${SETTINGS[key].kind.expected}; the value below it stands.` });
        return;
      }
      values.set(key, read);
    }
    texts.set(key, { value, source: one.source });
  }

  const view = (name: string): SettingView => {
    const found = texts.get(name);
    const secret = isSecret(name);
    const source = found?.source ?? "default";
    if (secret) return { name, value: found ? "***" : null, source, secret };
    const value = isKnown(name) ? (values.get(name) ?? SETTINGS[name].fallback) : (found?.value ?? null);
    return { name, value: value as SettingView["value"], source, secret };
  };

  return {
    problems,
    value: (name) => (values.has(name) ? values.get(name) : SETTINGS[name].fallback) as SettingValue<typeof name>,
    text: (key) => texts.get(settingKey(key))?.value ?? null,
    source: (key) => texts.get(settingKey(key))?.source ?? "default",
    views: () => [...new Set([...Object.keys(SETTINGS), ...texts.keys()])].sort().map(view),
  };
}
