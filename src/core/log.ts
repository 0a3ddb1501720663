// The only place that writes to the console. Lines are JSON or, on a terminal, for people. Never a secret,
// never the content of a conversation.

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Record<string, unknown>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to each of its lines. */
  with(fields: LogFields): Log;
}

const RANK: Record<LogLevel, number> = { debug: 10, info: 20, warn: 30, error: 40 };

/** Error objects as plain data with their causes, for the log only. */
function plain(value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  return {
    name: value.name,
    message: value.message,
    stack: value.stack,
    ...(value.cause === undefined ? {} : { cause: plain(value.cause) }),
  };
}

/** Makes a logger that writes lines of at least `level` to standard error, so that standard output stays for results. */
export function openLog(level: LogLevel, format: "pretty" | "json", base: LogFields = {}): Log {
  const write = (at: LogLevel, message: string, fields: LogFields = {}) => {
    if (RANK[at] < RANK[level]) return;
    const merged = { ...base, ...fields };
    const entries = Object.entries(merged).map(([key, value]) => [key, plain(value)] as const);
    const time = new Date().toISOString();
    if (format === "json") {
      process.stderr.write(`${JSON.stringify({ time, level: at, message, ...Object.fromEntries(entries) })}\n`);
      return;
    }
    const tail = entries.map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
    process.stderr.write(`${time.slice(11, 23)} ${at.padEnd(5)} ${message} ${tail.join(" ")}\n`);
  };
  return {
    debug: (message, fields) => write("debug", message, fields),
    info: (message, fields) => write("info", message, fields),
    warn: (message, fields) => write("warn", message, fields),
    error: (message, fields) => write("error", message, fields),
    with: (fields) => openLog(level, format, { ...base, ...fields }),
  };
}

/** A logger that keeps quiet. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silentLog,
};
