// PostgreSQL's notifications on a connection of their own. The driver's `listen` gives up for good when a connection is
// lost in the moment in which it listens again; this one goes on until it hears, and finds connections that died silently.

import type postgres from "postgres";
import type { Log } from "../../core/log.ts";

type Client = postgres.Sql<Record<string, never>>;

/** What the connection tells: the driver knows both options, its types only one. */
export interface NotificationHooks {
  onnotify: (channel: string, payload: string) => void;
  onclose: () => void;
}

export interface Notifications {
  /** Throws the driver's error when the first attempt fails; from then on it comes back by itself. */
  listen(channel: string, handler: (payload: string) => void, restored?: () => void): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

interface Listener {
  handler: (payload: string) => void;
  restored: (() => void) | undefined;
}

const RETRY_MS = 200;
const CHECK_MS = 2_000;
const CHECK_TIMEOUT_MS = 2_000;
const CLOSE_TIMEOUT_SECONDS = 1;

const quoted = (channel: string): string => `"${channel.replaceAll('"', '""')}"`;

/** `connect` makes a client of one connection, which connects with its first statement. */
export function openNotifications(connect: (hooks: NotificationHooks) => Client, log: Log): Notifications {
  const channels = new Map<string, Set<Listener>>();
  let client: Client | null = null;
  let losses = 0;
  let again: Promise<void> | null = null;
  let isClosed = false;

  const deliver = (channel: string, payload: string) => {
    for (const { handler } of Array.from(channels.get(channel) ?? [])) {
      try {
        handler(payload);
      } catch (error) {
        log.error("a listener failed", { channel, error });
      }
    }
  };

  const open = (): Client => {
    const own: Client = connect({
      onnotify: deliver,
      onclose: () => {
        if (client !== own || isClosed) return;
        losses += 1;
        hearAgain();
      },
    });
    return own;
  };

  const run = async (statement: string): Promise<void> => {
    client ??= open();
    await client.unsafe(statement);
  };

  const listenToAll = async (): Promise<boolean> => {
    const begun = losses;
    try {
      for (const channel of Array.from(channels.keys())) await run(`listen ${quoted(channel)}`);
    } catch (error) {
      log.debug("notifications are not heard yet", { error });
      return false;
    }
    return begun === losses;
  };

  /** Listens on the connection that takes the place of a lost one, however many attempts it takes. */
  function hearAgain(): void {
    if (again !== null || channels.size === 0) return;
    const work = async () => {
      while (!isClosed && channels.size > 0) {
        if (await listenToAll()) {
          for (const listeners of channels.values()) for (const { restored } of Array.from(listeners)) restored?.();
          return;
        }
        await Bun.sleep(RETRY_MS);
      }
    };
    again = work().finally(() => {
      again = null;
    });
  }

  /** A connection whose other side is gone without a word answers nothing: a new one takes its place. */
  const check = async (): Promise<void> => {
    if (client === null || again !== null || channels.size === 0) return;
    const silent = client;
    const answered = await Promise.race([
      silent.unsafe("select 1").then(
        () => true,
        () => true, // refused or lost: the driver tells by `onclose`
      ),
      Bun.sleep(CHECK_TIMEOUT_MS).then(() => false),
    ]);
    if (answered || isClosed || client !== silent) return;
    log.warn("the connection for notifications does not answer; another one takes its place");
    client = null;
    losses += 1;
    silent.end({ timeout: 0 }).catch((error: unknown) => log.debug("a silent connection did not close", { error }));
    hearAgain();
  };
  const timer = setInterval(() => void check(), CHECK_MS);
  timer.unref();

  return {
    listen: async (channel, handler, restored) => {
      const listener: Listener = { handler, restored };
      const listeners = channels.get(channel) ?? new Set();
      channels.set(channel, listeners.add(listener));
      const remove = (): boolean => {
        listeners.delete(listener);
        if (listeners.size > 0 || channels.get(channel) !== listeners) return false;
        return channels.delete(channel);
      };
      try {
        await run(`listen ${quoted(channel)}`);
      } catch (error) {
        remove();
        throw error;
      }
      return async () => {
        if (!remove() || isClosed) return;
        await run(`unlisten ${quoted(channel)}`).catch((error: unknown) =>
          log.debug("a channel is left with its connection", { channel, error }),
        );
      };
    },
    close: async () => {
      isClosed = true;
      clearInterval(timer);
      await client?.end({ timeout: CLOSE_TIMEOUT_SECONDS });
      await again;
    },
  };
}
