// Carries messages between instances over PostgreSQL's LISTEN/NOTIFY, for the memory engine and while Valkey is away:
// one channel for all, one notification on its way at a time (order), what waits meanwhile travels together in the
// next (throughput).

import { unavailable } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { uuidv7 } from "../../lib/ids/index.ts";

export interface Bridge {
  notify(channel: string, payload: string): Promise<void>;
  /** `restored`: notifications were not heard for a while, and are again. */
  listen(channel: string, handler: (payload: string) => void, restored?: () => void): Promise<() => Promise<void>>;
}

const CHANNEL = "botserver_cache";
/** PostgreSQL refuses 8,000 bytes; the rest is for its own use. */
const PAYLOAD_BYTES_MAX = 7_900;
const CHANNEL_BYTES_MAX = 200;
/** What remains of a payload after the sender, a channel and the lengths before both texts. */
export const BRIDGED_MESSAGE_BYTES_MAX = 7_600;
const WAITING_MAX = 10_000;

interface Waiting {
  frame: string;
  bytes: number;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export interface Carrier {
  /** Resolves when the notification was accepted, rejects with the database's failure. */
  send(channel: string, message: string): Promise<void>;
  /** Makes sure that messages of others arrive. */
  listen(): Promise<void>;
  close(): Promise<void>;
}

/** Texts behind their lengths in UTF-16 units, so that nothing needs escaping and the size stays what it is. */
function frameOf(channel: string, message: string): string {
  return `${channel.length}:${channel}${message.length}:${message}`;
}

/** The texts of all frames in order; null for what is not of this form. */
function textsOf(frames: string): string[] | null {
  const texts: string[] = [];
  let at = 0;
  while (at < frames.length) {
    const colon = frames.indexOf(":", at);
    const length = Number(frames.slice(at, colon));
    const end = colon + 1 + length;
    if (colon < 0 || !Number.isInteger(length) || length < 0 || end > frames.length) return null;
    texts.push(frames.slice(colon + 1, end));
    at = end;
  }
  return texts;
}

/**
 * Sends over `bridge` and hands what other instances sent to `deliver`; own messages come back and are dropped.
 * `restored` is told when messages may have been lost and are heard again.
 */
export function openCarrier(
  bridge: Bridge,
  log: Log,
  deliver: (channel: string, message: string) => void,
  restored: () => void,
): Carrier {
  const sender = uuidv7();
  const waiting: Waiting[] = [];
  let isSending = false;
  let listening: Promise<() => Promise<void>> | null = null;

  const receive = (payload: string) => {
    const head = payload.indexOf("\n");
    if (payload.slice(0, head) === sender) return;
    const texts = textsOf(payload.slice(head + 1));
    if (texts === null) {
      log.error("a notification of unknown form", { channel: CHANNEL });
      return;
    }
    for (let at = 0; at + 1 < texts.length; at += 2) deliver(texts[at] ?? "", texts[at + 1] ?? "");
  };

  const takeBatch = (): Waiting[] => {
    let bytes = sender.length + 1;
    let count = 0;
    for (const one of waiting) {
      if (bytes + one.bytes > PAYLOAD_BYTES_MAX) break;
      bytes += one.bytes;
      count += 1;
    }
    return waiting.splice(0, count);
  };

  const drain = async () => {
    isSending = true;
    while (waiting.length > 0) {
      const batch = takeBatch();
      try {
        await bridge.notify(CHANNEL, `${sender}\n${batch.map((one) => one.frame).join("")}`);
        for (const one of batch) one.resolve();
      } catch (error) {
        for (const one of batch) one.reject(error);
      }
    }
    isSending = false;
  };

  return {
    send: (channel, message) => {
      if (Buffer.byteLength(channel) > CHANNEL_BYTES_MAX) {
        throw new Error(`a channel's name has at most ${CHANNEL_BYTES_MAX} bytes`);
      }
      if (channel.includes("\0") || message.includes("\0")) throw new Error("PostgreSQL carries no NUL characters");
      if (waiting.length >= WAITING_MAX)
        throw unavailable("cache", new Error("too many messages wait for the database"));
      const frame = frameOf(channel, message);
      return new Promise((resolve, reject) => {
        waiting.push({ frame, bytes: Buffer.byteLength(frame), resolve, reject });
        if (!isSending) void drain();
      });
    },
    listen: async () => {
      listening ??= bridge.listen(CHANNEL, receive, restored);
      try {
        await listening;
      } catch (error) {
        listening = null;
        throw error;
      }
    },
    close: async () => {
      const stop = await listening;
      listening = null;
      await stop?.();
    },
  };
}
