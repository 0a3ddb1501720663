// The subscribers of this process by channel, and those of the engine's status. A handler that throws neither stops the
// others nor the sender.

import type { Log } from "../../core/log.ts";

export type MessageHandler = (message: string) => void;

export interface Hub {
  /** Returns how to take the handler off again. */
  add(channel: string, handler: MessageHandler): () => void;
  has(channel: string): boolean;
  channels(): string[];
  deliver(channel: string, message: string): void;
  clear(): void;
}

/** An empty registry. */
export function openHub(log: Log): Hub {
  const channels = new Map<string, Set<{ handler: MessageHandler }>>();
  return {
    add: (channel, handler) => {
      // The same function may subscribe twice, so each subscription is an object of its own.
      const subscription = { handler };
      const subscriptions = channels.get(channel) ?? new Set();
      channels.set(channel, subscriptions.add(subscription));
      return () => {
        subscriptions.delete(subscription);
        if (subscriptions.size === 0 && channels.get(channel) === subscriptions) channels.delete(channel);
      };
    },
    has: (channel) => channels.has(channel),
    channels: () => [...channels.keys()],
    deliver: (channel, message) => {
      const subscriptions = channels.get(channel);
      if (subscriptions === undefined) return;
      // A copy: who subscribes while a message is delivered gets the next one.
      for (const { handler } of Array.from(subscriptions)) {
        try {
          handler(message);
        } catch (error) {
          log.error("a subscriber failed", { channel, error });
        }
      }
    },
    clear: () => channels.clear(),
  };
}

export type StatusHandler = (isUp: boolean) => void;

export interface Status {
  /** Returns how to take the handler off again. */
  add(handler: StatusHandler): () => void;
  tell(isUp: boolean): void;
  clear(): void;
}

/** An empty registry of those who are told of the engine's status. */
export function openStatus(log: Log): Status {
  const handlers = new Set<{ handler: StatusHandler }>();
  return {
    add: (handler) => {
      const subscription = { handler };
      handlers.add(subscription);
      return () => {
        handlers.delete(subscription);
      };
    },
    tell: (isUp) => {
      for (const { handler } of Array.from(handlers)) {
        try {
          handler(isUp);
        } catch (error) {
          log.error("a handler of the cache's status failed", { error });
        }
      }
    },
    clear: () => handlers.clear(),
  };
}
