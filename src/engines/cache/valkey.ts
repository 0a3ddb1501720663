// The cache in Valkey or Redis (≥ 7): one connection for commands, one for subscriptions. While the server is away
// commands fail fast, windows are counted in this process, short messages go through the database where there is one
// for all, and both connections come back by themselves.

import { createHash } from "node:crypto";
import { isIP } from "node:net";
import { Redis, type RedisOptions } from "ioredis";
import type { Clock } from "../../core/clock.ts";
import { unavailable } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { randomToken } from "../../lib/ids/index.ts";
import { BRIDGED_MESSAGE_BYTES_MAX, openCarrier, type Bridge } from "./bridge.ts";
import { sweepEachSecond } from "./expiring.ts";
import { openHub, openStatus } from "./hub.ts";
import type { Cache, Lock } from "./index.ts";
import { checkMessage, MEMORY_BOUNDS, MESSAGE_BYTES_MAX } from "./memory.ts";
import { countWindows } from "./windows.ts";

const COMMAND_TIMEOUT_MS = 900;
const CONNECT_TIMEOUT_MS = 4_000;
const RETRY_DELAY_MAX_MS = 2_000;
const HEARTBEAT_MS = 2_000;
const FIRST_ANSWER_MS = 2_000;

interface Script {
  readonly text: string;
  readonly sha: string;
}

function script(text: string): Script {
  return { text, sha: createHash("sha1").update(text).digest("hex") };
}

/** KEYS window; ARGV hits, window in ms. A window whose life was lost gets a new one, so that no counter stays for ever. */
const HIT = script(`
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  left = tonumber(ARGV[2])
end
return {count, left}`);

const PEEK = script(`
local count = redis.call('GET', KEYS[1])
if not count then return nil end
return {tonumber(count), redis.call('PTTL', KEYS[1])}`);

/** KEYS lock, last token; ARGV owner, life in ms. The server's microseconds keep tokens growing when its data is lost. */
const ACQUIRE = script(`
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return nil end
local time = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local token = math.max(last + 1, time[1] * 1000000 + time[2])
redis.call('SET', KEYS[2], string.format('%.0f', token))
return token`);

/** KEYS lock; ARGV owner, life in ms. */
const EXTEND = script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`);

const RELEASE = script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`);

const PREFIX = "botserver:";
const FENCE = `${PREFIX}fence`;

const valueKey = (key: string) => `${PREFIX}value:${key}`;
const windowKey = (key: string) => `${PREFIX}window:${key}`;
const lockKey = (key: string) => `${PREFIX}lock:${key}`;

export interface ValkeyCacheOptions {
  /** `redis://` or `rediss://`, with user, password and database number as usual. */
  url: string;
  clock: Clock;
  log: Log;
  /** Carries short messages while the server is away. */
  bridge?: Bridge | undefined;
}

interface Address {
  host: string;
  port: number;
  db: number;
}

function addressOf(url: URL): Address {
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(url.port || 6379),
    db: Number(url.pathname.slice(1) || 0),
  };
}

function connectionOptions(url: URL, connectionName: string) {
  const address = addressOf(url);
  return {
    ...address,
    connectionName,
    ...(url.username ? { username: decodeURIComponent(url.username) } : {}),
    ...(url.password ? { password: decodeURIComponent(url.password) } : {}),
    // The name is asked for in the handshake; an address is none (RFC 6066, section 3).
    ...(url.protocol === "rediss:" ? { tls: isIP(address.host) ? {} : { servername: address.host } } : {}),
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    disconnectTimeout: 500,
    commandTimeout: COMMAND_TIMEOUT_MS,
    // A connection that owes an answer for that long is dead, though its socket is open.
    socketTimeout: COMMAND_TIMEOUT_MS,
    maxLoadingRetryTime: 1_000,
    // No command waits for a connection and none is sent twice.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    retryStrategy: (attempt) => Math.min(50 * 2 ** attempt, RETRY_DELAY_MAX_MS) + Math.random() * 200,
    // After a failover the old address may answer as a replica; the name leads to the new one.
    reconnectOnError: (error) => error.message.startsWith("READONLY"),
  } satisfies RedisOptions;
}

/**
 * Connects, waits at most 2 s for the first answer and comes back in any case: a server that is away at the start is
 * a state like any later one.
 */
export async function valkeyCache({ url, clock, log, bridge }: ValkeyCacheOptions): Promise<Cache> {
  const { host, port, db } = addressOf(new URL(url));
  const where = `${host}:${port}`;
  const channelPrefix = `${PREFIX}channel:${db}:`;
  const commands = new Redis(connectionOptions(new URL(url), "botserver-commands"));
  const subscriber = new Redis(connectionOptions(new URL(url), "botserver-subscriber"));
  const hub = openHub(log);
  const status = openStatus(log);
  const carrier =
    bridge === undefined
      ? null
      : openCarrier(
          bridge,
          log,
          (channel, message) => hub.deliver(channel, message),
          () => undefined,
        );
  const own = countWindows(clock, MEMORY_BOUNDS.windowsMax, () =>
    log.warn("too many windows are counted in this process; those that end soonest make room"),
  );
  const stopSweep = sweepEachSecond([own.map], () => clock.now());

  let state: "starting" | "up" | "down" | "closed" = "starting";
  let isSubscribed = false;
  let lastError: Error | null = null;
  let version: string | null = null;
  const firstAnswer = Promise.withResolvers<void>();

  const judge = (hasFailed: boolean) => {
    if (state === "closed") return;
    const next = commands.status === "ready" && isSubscribed ? "up" : "down";
    // One connection is always the first to stand.
    if (next === state || (state === "starting" && next === "down" && !hasFailed)) return;
    state = next;
    if (next === "up") log.info("the cache server is connected", { server: where });
    else log.warn("the cache server is away", { server: where, error: lastError });
    firstAnswer.resolve();
    status.tell(next === "up");
  };

  const away = () => {
    version = null;
    judge(true);
  };

  // Done here and not by the driver: `up` is told only when every channel is subscribed again.
  const resubscribe = async () => {
    const channels = hub.channels().map((channel) => channelPrefix + channel);
    try {
      for (let at = 0; at < channels.length; at += 1_000) await subscriber.subscribe(...channels.slice(at, at + 1_000));
      isSubscribed = subscriber.status === "ready";
      judge(false);
    } catch (error) {
      log.debug("subscriptions could not be restored yet", { server: where, error });
      if (subscriber.status === "ready") subscriber.disconnect(true);
    }
  };

  for (const connection of [commands, subscriber]) {
    connection.on("error", (error: Error) => {
      lastError = error;
    });
  }
  commands.on("ready", () => judge(false));
  commands.on("close", away);
  subscriber.on("ready", () => void resubscribe());
  subscriber.on("close", () => {
    isSubscribed = false;
    away();
  });
  subscriber.on("message", (channel: string, message: string) =>
    hub.deliver(channel.slice(channelPrefix.length), message),
  );

  const connect = (connection: Redis) => {
    connection
      .connect()
      .catch((error: unknown) => log.debug("no connection to the cache server yet", { server: where, error }));
  };

  /** Others may be cut off from the server while this instance is not, so the bridge is heard at all times. */
  const hearBridge = () => {
    carrier?.listen().catch((error: unknown) => log.debug("the database's notifications are not heard yet", { error }));
  };
  hearBridge();

  // Finds connections that died silently, and those that the driver gave up.
  const heartbeat = setInterval(() => {
    hearBridge();
    for (const connection of [commands, subscriber]) {
      if (connection.status === "end") connect(connection);
      if (connection.status !== "ready") continue;
      connection.ping().catch((error: unknown) => {
        log.debug("the cache server did not answer", { server: where, error });
        if (connection.status === "ready") connection.disconnect(true);
      });
    }
  }, HEARTBEAT_MS);
  heartbeat.unref();

  const asked = async <T>(answer: Promise<T>): Promise<T> => {
    try {
      return await answer;
    } catch (error) {
      throw unavailable("cache", error);
    }
  };

  /** By its digest, and in full once when the server does not know it. */
  const run = async ({ text, sha }: Script, keys: string[], values: (string | number)[]): Promise<unknown> => {
    try {
      return await commands.evalsha(sha, keys.length, ...keys, ...values);
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith("NOSCRIPT"))) throw error;
      return commands.eval(text, keys.length, ...keys, ...values);
    }
  };

  /** Count and end of a window from a script's two numbers. */
  const windowOf = (answer: unknown) => {
    const [count, leftMs] = answer as [number, number];
    return { count, resetAt: clock.now() + Math.max(0, leftMs) };
  };

  const hold = (key: string, owner: string, token: number): Lock => ({
    token,
    extend: async (ttlMs) => {
      try {
        return (await run(EXTEND, [lockKey(key)], [owner, Math.ceil(ttlMs)])) === 1;
      } catch (error) {
        log.warn("a lock could not be extended", { key, error });
        return false;
      }
    },
    release: async () => {
      try {
        await run(RELEASE, [lockKey(key)], [owner]);
      } catch (error) {
        log.warn("a lock could not be released and ends with its life", { key, error });
      }
    },
  });

  connect(commands);
  connect(subscriber);
  const firstAnswerTimer = setTimeout(() => {
    lastError ??= new Error(`no answer within ${FIRST_ANSWER_MS} ms`);
    judge(true);
  }, FIRST_ANSWER_MS);
  await firstAnswer.promise;
  clearTimeout(firstAnswerTimer);

  return {
    kind: "valkey",
    messageBytesMax: MESSAGE_BYTES_MAX,
    get: (key) => asked(commands.get(valueKey(key))),
    set: async (key, value, ttlMs) => {
      if (ttlMs <= 0) await asked(commands.del(valueKey(key)));
      else await asked(commands.set(valueKey(key), value, "PX", Math.ceil(ttlMs)));
    },
    delete: async (...keys) => {
      for (const key of keys) own.end(key);
      if (keys.length > 0) await asked(commands.del(...keys.flatMap((key) => [valueKey(key), windowKey(key)])));
    },
    take: (key) => asked(commands.getdel(valueKey(key))),
    hit: (key, windowMs, by = 1) => {
      if (state !== "up") return own.hit(key, windowMs, by);
      return run(HIT, [windowKey(key)], [by, Math.ceil(windowMs)]).then(windowOf, (error: unknown) => {
        log.debug("a hit is counted in this process", { error });
        return own.hit(key, windowMs, by);
      });
    },
    peek: (key) => {
      if (state !== "up") return own.peek(key);
      return run(PEEK, [windowKey(key)], []).then(
        (answer) => (answer === null ? null : windowOf(answer)),
        (error: unknown) => {
          log.debug("a window is looked up in this process", { error });
          return own.peek(key);
        },
      );
    },
    lock: async (key, ttlMs) => {
      const owner = randomToken(16);
      const token = await asked(run(ACQUIRE, [lockKey(key), FENCE], [owner, Math.ceil(ttlMs)]));
      return typeof token === "number" ? hold(key, owner, token) : null;
    },
    publish: async (channel, message) => {
      checkMessage(message, MESSAGE_BYTES_MAX);
      const isBridged = carrier !== null && Buffer.byteLength(message) <= BRIDGED_MESSAGE_BYTES_MAX;
      if (!isBridged) {
        await asked(commands.publish(channelPrefix + channel, message));
        return;
      }
      if (state === "up") {
        try {
          await commands.publish(channelPrefix + channel, message);
          return;
        } catch (error) {
          log.debug("a message goes through the database", { channel, error });
        }
      }
      const sent = carrier.send(channel, message);
      queueMicrotask(() => hub.deliver(channel, message));
      await sent;
    },
    subscribe: async (channel, handler) => {
      const remove = hub.add(channel, handler);
      // Also for a second handler: its answer comes after that of a first SUBSCRIBE still under way.
      if (subscriber.status === "ready") {
        try {
          await subscriber.subscribe(channelPrefix + channel);
        } catch (error) {
          // Lost on the way: the channel is subscribed with all others on return. A refusal (ACL) stays one.
          if (subscriber.status === "ready") {
            remove();
            throw unavailable("cache", error);
          }
          log.debug("a subscription waits for the cache server", { channel, error });
        }
      }
      let isOver = false;
      return async () => {
        if (isOver) return;
        isOver = true;
        remove();
        if (hub.has(channel) || subscriber.status !== "ready") return;
        try {
          await subscriber.unsubscribe(channelPrefix + channel);
        } catch (error) {
          log.debug("a subscription ends with its connection", { channel, error });
        }
      };
    },
    isUp: () => state === "up",
    onStatus: (handler) => status.add(handler),
    ping: async () => {
      const begin = performance.now();
      await asked(commands.ping());
      const latencyMs = performance.now() - begin;
      version ??= versionOf(await asked(commands.info("server")));
      return { version, latencyMs };
    },
    close: async () => {
      state = "closed";
      clearInterval(heartbeat);
      stopSweep();
      hub.clear();
      status.clear();
      await carrier?.close().catch((error: unknown) => log.debug("the bridge did not close", { error }));
      subscriber.disconnect();
      if (commands.status === "ready") {
        await commands.quit().catch((error: unknown) => log.debug("the cache server did not say goodbye", { error }));
      }
      commands.disconnect();
    },
  };
}

/** "valkey 8.1.0" or "redis 7.0.15" of an INFO answer. */
function versionOf(info: string): string {
  const valkey = /^valkey_version:(\S+)/m.exec(info)?.[1];
  return valkey === undefined ? `redis ${/^redis_version:(\S+)/m.exec(info)?.[1] ?? "unknown"}` : `valkey ${valkey}`;
}
