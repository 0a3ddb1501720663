// The sockets of each signed-in user on this instance, and frames to all of a user's sockets on every instance.

import type { Log } from "../../core/log.ts";
import type { Cache } from "../../engines/cache/index.ts";

/** A socket as its user's other things see it. */
export interface UserSocket {
  /** Sends a frame; sockets that read too slowly may lose it, as frames of other areas are at most once. */
  tell(text: string): void;
  /** True if it listens to that conversation. */
  isIn(conversationId: string): boolean;
}

/** What services need of it. */
export interface UserFrames {
  /** To every socket of the user on every instance, those that listen to `exceptConversationId` left out. */
  send(userId: string, text: string, exceptConversationId?: string): void;
  /** False if nobody would hear a frame about the conversation: all known sockets of the user listen to it. */
  hasOthers(userId: string, conversationId: string): boolean;
}

interface Entry {
  /** One is the commonest case, and costs no list. */
  sockets: UserSocket | UserSocket[];
  end: (() => Promise<void>) | null;
  isGone: boolean;
}

const channelOf = (userId: string): string => `user:${userId}`;

export type Presence = ReturnType<typeof openPresence>;

/** Makes the registry. `isShared`: other instances may have sockets of the same users. */
export function openPresence(deps: {
  cache: Cache;
  log: Log;
  instanceId: string;
  isShared: boolean;
  /** Sockets of this instance in a conversation. */
  membersOf: (conversationId: string) => number;
}) {
  const { cache, log, instanceId, isShared } = deps;
  const users = new Map<string, Entry>();

  const count = (userId: string): number => {
    const sockets = users.get(userId)?.sockets;
    return sockets === undefined ? 0 : Array.isArray(sockets) ? sockets.length : 1;
  };

  const deliver = (userId: string, text: string, except: string | undefined) => {
    const sockets = users.get(userId)?.sockets;
    if (sockets === undefined) return;
    // A copy: a socket that is given up while it is told leaves the list.
    for (const socket of Array.isArray(sockets) ? [...sockets] : [sockets]) {
      if (except === undefined || !socket.isIn(except)) socket.tell(text);
    }
  };

  return {
    count,

    add: (userId: string, socket: UserSocket): void => {
      const entry = users.get(userId);
      if (entry) {
        if (Array.isArray(entry.sockets)) entry.sockets.push(socket);
        else entry.sockets = [entry.sockets, socket];
        return;
      }
      const made: Entry = { sockets: socket, end: null, isGone: false };
      users.set(userId, made);
      if (!isShared) return;
      cache
        .subscribe(channelOf(userId), (message) => {
          if (message.startsWith(instanceId)) return;
          const afterInstance = message.indexOf(" ");
          const afterExcept = message.indexOf(" ", afterInstance + 1);
          const except = message.slice(afterInstance + 1, afterExcept);
          deliver(userId, message.slice(afterExcept + 1), except === "-" ? undefined : except);
        })
        .then(async (end) => {
          if (made.isGone) await end();
          else made.end = end;
        })
        .catch((error: unknown) => {
          log.warn("frames of other instances are not heard", { error });
        });
    },

    remove: (userId: string, socket: UserSocket): void => {
      const entry = users.get(userId);
      if (!entry) return;
      if (Array.isArray(entry.sockets)) {
        const at = entry.sockets.indexOf(socket);
        if (at >= 0) entry.sockets.splice(at, 1);
        if (entry.sockets.length > 0) return;
      } else if (entry.sockets !== socket) return;
      users.delete(userId);
      entry.isGone = true;
      entry.end?.().catch((error: unknown) => {
        log.debug("a user was not unsubscribed", { error });
      });
    },

    send: (userId: string, text: string, exceptConversationId?: string): void => {
      deliver(userId, text, exceptConversationId);
      if (!isShared) return;
      cache
        .publish(channelOf(userId), `${instanceId} ${exceptConversationId ?? "-"} ${text}`)
        .catch((error: unknown) => {
          log.debug("a frame was not relayed", { error });
        });
    },

    hasOthers: (userId: string, conversationId: string): boolean =>
      isShared || count(userId) > deps.membersOf(conversationId),
  };
}
