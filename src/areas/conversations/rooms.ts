// The live side of conversations on this instance: who listens to which, frames out in seq order, and the exchange
// with other instances. One native publish per frame; sockets are looked at one by one only to find slow readers.

import type { Log } from "../../core/log.ts";
import type { Cache } from "../../engines/cache/index.ts";

/** What is asked of a socket; Bun's ServerWebSocket is one. */
export interface Wire {
  /** Bytes sent, -1 queued, 0 dropped. */
  send(text: string, compress?: boolean): number;
  close(code?: number, reason?: string): void;
  ping(): number;
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  getBufferedAmount(): number;
}

/** Bun's server. */
export interface Topics {
  publish(topic: string, text: string, compress?: boolean): number;
}

/** A socket as a room sees it. */
export interface Member {
  readonly wire: Wire;
  /** Sends a frame, minding what waits already. */
  send(text: string): void;
  /** False for `stream=0`. */
  readonly wantsDeltas: boolean;
  /** True while more than `SLOW_BYTES` wait: it gets no deltas and no typing. */
  isSlow: boolean;
  /** More than `LOST_BYTES` wait: the socket is given up. */
  giveUp(): void;
  /** It became slow: leave the live topic of every room. */
  slowDown(): void;
}

/** A reader inside the process: a stream of server-sent events, or a request that waits for its answer. */
export interface Listener {
  frame(text: string, seq: number | null): void;
  ended?(turnId: string): void;
}

export const SLOW_BYTES = 256 * 1024;
export const LOST_BYTES = 1024 * 1024;
/** After so many published bytes a room's sockets are looked at: the bounds above are exact to this. */
const LOOK_BYTES = 64 * 1024;
/** How long a missing frame may be on its way before it is read from the database. */
const GAP_MS = 15;
const FILL_PAGE = 200;
/** Longer frames are read from the database by those who need them; the bus may take less. */
const RELAY_BYTES_MAX = 32 * 1024;
/** Sender, kind and number before a frame. */
const RELAY_HEAD_BYTES = 64;

export const storedTopic = (conversationId: string): string => `conv:${conversationId}`;
export const liveTopic = (conversationId: string): string => `live:${conversationId}`;

/** One conversation that somebody listens to here. */
export class Room {
  readonly id: string;
  /** The highest seq that has left. */
  lastSeq: number;
  /** Opens that were not released yet. */
  uses = 0;
  /** One socket is by far the commonest case, and costs no list. */
  members: Member | Member[] | null = null;
  listeners: Set<Listener> | null = null;
  /** Frames that came before their turn. */
  held: Map<number, string> | null = null;
  filling: Promise<void> | null = null;
  /** Published since the sockets were last looked at. */
  bytes = 0;
  /**
   * Sockets are subscribed to the room's topic from the second one on: one alone is sent to, and costs no topic.
   * To the live topic they are subscribed with the first live frame.
   */
  isTopical = false;
  isLive = false;
  /** Members that want no deltas. */
  quiet = 0;
  /** Until other instances are heard. */
  ready: Promise<void> | null = null;
  end: (() => Promise<void>) | null = null;

  constructor(id: string, lastSeq: number) {
    this.id = id;
    this.lastSeq = lastSeq;
  }

  get memberCount(): number {
    return this.members === null ? 0 : Array.isArray(this.members) ? this.members.length : 1;
  }

  eachMember(action: (member: Member) => void): void {
    if (this.members === null) return;
    if (Array.isArray(this.members)) for (const member of this.members) action(member);
    else action(this.members);
  }
}

export interface RoomsDeps {
  cache: Cache;
  log: Log;
  instanceId: string;
  /** Other instances may share this database. */
  isShared: boolean;
  /** Bun's server; null before it listens. */
  topics: () => Topics | null;
  /** Frames of stored messages above `afterSeq`, in order. */
  load: (conversationId: string, afterSeq: number, limit: number) => Promise<{ seq: number; text: string }[]>;
  /** Highest seq of each of these conversations. */
  lastSeqs: (conversationIds: readonly string[]) => Promise<Map<string, number>>;
  /** Frames of messages of these conversations that were changed at or after `since`. */
  changedSince: (
    conversationIds: readonly string[],
    since: Date,
  ) => Promise<{ conversationId: string; text: string }[]>;
  /** The answer under way, from the cache; null if there is none. */
  partial: (answerId: string) => Promise<string | null>;
}

export type Rooms = ReturnType<typeof openRooms>;

/** Makes the registry of rooms of this instance. */
export function openRooms(deps: RoomsDeps) {
  const { cache, log, instanceId, isShared } = deps;
  const rooms = new Map<string, Room>();
  const relayMax = () => Math.min(RELAY_BYTES_MAX, cache.messageBytesMax) - RELAY_HEAD_BYTES;
  let withSockets = 0;

  const publish = (topic: string, text: string) => {
    // Compressing would cost more than sending: it is done per socket.
    deps.topics()?.publish(topic, text, false);
  };

  /** Marks sockets that read too slowly, and gives up those that do not read at all. */
  const look = (room: Room) => {
    room.bytes = 0;
    const lost: Member[] = [];
    room.eachMember((member) => {
      const waiting = member.wire.getBufferedAmount();
      if (waiting > LOST_BYTES) lost.push(member);
      else if (waiting > SLOW_BYTES && !member.isSlow) member.slowDown();
    });
    for (const member of lost) member.giveUp();
  };

  const count = (room: Room, text: string) => {
    room.bytes += text.length;
    if (room.bytes > LOOK_BYTES) look(room);
  };

  const out = (room: Room, text: string, seq: number | null) => {
    if (room.isTopical) {
      publish(storedTopic(room.id), text);
      count(room, text);
    } else room.eachMember((member) => member.send(text));
    if (room.listeners !== null) for (const listener of room.listeners) listener.frame(text, seq);
  };

  /** Sends what is next in order, and all held frames that follow it. */
  const advance = (room: Room, seq: number, text: string) => {
    room.lastSeq = seq;
    room.held?.delete(seq);
    out(room, text, seq);
    while (room.held !== null) {
      const next = room.held.get(room.lastSeq + 1);
      if (next === undefined) break;
      room.held.delete(room.lastSeq + 1);
      room.lastSeq += 1;
      out(room, next, room.lastSeq);
    }
    if (room.held !== null && room.held.size === 0) room.held = null;
  };

  /** Reads what is missing from the database, up to at least `seq`. */
  const fill = (room: Room, seq: number): Promise<void> => {
    if (room.filling !== null) {
      return room.filling.then(() => (room.lastSeq < seq ? fill(room, seq) : undefined));
    }
    const work = async () => {
      while (rooms.get(room.id) === room) {
        const frames = await deps.load(room.id, room.lastSeq, FILL_PAGE);
        for (const frame of frames) if (frame.seq === room.lastSeq + 1) advance(room, frame.seq, frame.text);
        if (frames.length < FILL_PAGE) break;
      }
    };
    room.filling = work().finally(() => {
      room.filling = null;
    });
    return room.filling;
  };

  const accept = (room: Room, seq: number, text: string | null) => {
    if (seq <= room.lastSeq) return;
    if (seq === room.lastSeq + 1 && text !== null) {
      advance(room, seq, text);
      return;
    }
    const isFirst = room.held === null;
    room.held ??= new Map();
    if (text !== null) room.held.set(seq, text);
    if (!isFirst || room.filling !== null) return;
    setTimeout(() => {
      if (room.held === null || rooms.get(room.id) !== room) return;
      fill(room, seq).catch((error: unknown) => {
        log.warn("missing frames could not be read yet", { conversation_id: room.id, error });
      });
    }, GAP_MS);
  };

  const goLive = (room: Room) => {
    if (room.isLive) return;
    room.isLive = true;
    const topic = liveTopic(room.id);
    room.eachMember((member) => {
      if (member.wantsDeltas && !member.isSlow) member.wire.subscribe(topic);
    });
  };

  const outLive = (room: Room, text: string, isDelta: boolean) => {
    if (room.isTopical) {
      goLive(room);
      publish(liveTopic(room.id), text);
      count(room, text);
      if (!isDelta && room.quiet > 0) {
        room.eachMember((member) => {
          if (!member.wantsDeltas && !member.isSlow) member.send(text);
        });
      }
    } else {
      room.eachMember((member) => {
        if (!member.isSlow && (member.wantsDeltas || !isDelta)) member.send(text);
      });
    }
    if (room.listeners !== null) for (const listener of room.listeners) listener.frame(text, null);
  };

  const outEnded = (room: Room, turnId: string) => {
    if (room.listeners !== null) for (const listener of room.listeners) listener.ended?.(turnId);
  };

  // Relayed: `<instance> <kind> <number> <rest>`; kinds: m stored frame, r stored frame to be read, f other frame,
  // d delta, l other live frame, p answer so far is in the cache, e turn ended.
  const relay = (conversationId: string, kind: string, number: number, rest: string) => {
    if (!isShared) return;
    cache.publish(storedTopic(conversationId), `${instanceId} ${kind} ${number} ${rest}`).catch((error: unknown) => {
      log.debug("a frame was not relayed", { error });
      // While Valkey is away the database carries messages, but shorter ones: the others read this one for themselves.
      if (kind === "m") relay(conversationId, "r", number, "-");
    });
  };

  const receive = (room: Room, message: string) => {
    const afterInstance = message.indexOf(" ");
    if (message.startsWith(instanceId)) return;
    const kind = message[afterInstance + 1];
    const afterNumber = message.indexOf(" ", afterInstance + 3);
    const number = Number(message.slice(afterInstance + 3, afterNumber));
    const rest = message.slice(afterNumber + 1);
    if (kind === "m") accept(room, number, rest);
    else if (kind === "r") accept(room, number, null);
    else if (kind === "f") out(room, rest, null);
    else if (kind === "d") outLive(room, rest, true);
    else if (kind === "l") outLive(room, rest, false);
    else if (kind === "e") outEnded(room, rest);
    else if (kind === "p") {
      deps
        .partial(rest)
        .then((text) => {
          if (text !== null) outLive(room, resetFrame(room.id, rest, number, text), true);
        })
        .catch((error: unknown) => {
          log.debug("an answer under way could not be read", { error });
        });
    }
  };

  const fits = (text: string): boolean => text.length * 3 < relayMax() || Buffer.byteLength(text) < relayMax();

  return {
    /** The room, heard and known up to `lastSeq` at least; one `release` per call. */
    open: async (conversationId: string, lastSeq: number): Promise<Room> => {
      let room = rooms.get(conversationId);
      if (!room) {
        const made = new Room(conversationId, lastSeq);
        room = made;
        rooms.set(conversationId, made);
        if (isShared) {
          // First listen, then read what was stored meanwhile: nothing falls between.
          made.ready = cache
            .subscribe(storedTopic(conversationId), (message) => receive(made, message))
            .then(async (end) => {
              made.end = end;
              if (made.uses === 0) {
                await end();
                return;
              }
              await fill(made, lastSeq);
            })
            .finally(() => {
              made.ready = null;
            });
        }
      }
      room.uses += 1;
      try {
        if (room.ready !== null) await room.ready;
      } catch (error) {
        // Other instances are not heard while the cache is away; the poll makes up for it.
        log.debug("a room is not subscribed", { error });
      }
      if (room.lastSeq < lastSeq) await fill(room, lastSeq);
      return room;
    },

    release: (room: Room): void => {
      room.uses -= 1;
      if (room.uses > 0 || rooms.get(room.id) !== room) return;
      rooms.delete(room.id);
      room.end?.().catch((error: unknown) => {
        log.debug("a room was not unsubscribed", { error });
      });
    },

    /** From now on the socket gets every frame. Only in the same tick as a look at `room.lastSeq` nothing is missed. */
    join: (room: Room, member: Member): void => {
      if (room.members === null) {
        room.members = member;
        withSockets += 1;
      } else if (Array.isArray(room.members)) room.members.push(member);
      else room.members = [room.members, member];
      if (!member.wantsDeltas) room.quiet += 1;
      if (room.memberCount < 2 && !room.isTopical) return;
      const topic = storedTopic(room.id);
      if (room.isTopical) member.wire.subscribe(topic);
      else {
        room.isTopical = true;
        room.eachMember((one) => one.wire.subscribe(topic));
      }
      if (room.isLive && member.wantsDeltas && !member.isSlow) member.wire.subscribe(liveTopic(room.id));
    },

    leave: (room: Room, member: Member, isClosed: boolean): void => {
      if (room.members === member) room.members = null;
      else if (Array.isArray(room.members)) {
        const rest = room.members;
        const at = rest.indexOf(member);
        if (at < 0) return;
        rest[at] = rest[rest.length - 1] as Member;
        rest.pop();
        if (rest.length === 0) room.members = null;
      } else return;
      if (room.members === null) withSockets -= 1;
      if (!member.wantsDeltas) room.quiet -= 1;
      if (isClosed || !room.isTopical) return;
      member.wire.unsubscribe(storedTopic(room.id));
      if (room.isLive && member.wantsDeltas) member.wire.unsubscribe(liveTopic(room.id));
    },

    listen: (room: Room, listener: Listener): void => {
      room.listeners ??= new Set();
      room.listeners.add(listener);
    },

    unlisten: (room: Room, listener: Listener): void => {
      room.listeners?.delete(listener);
      if (room.listeners?.size === 0) room.listeners = null;
    },

    /** After the commit of a message: its frame goes to everybody who listens, here and elsewhere. */
    stored: (conversationId: string, seq: number, text: string): void => {
      const room = rooms.get(conversationId);
      if (room) accept(room, seq, text);
      if (isShared) {
        if (fits(text)) relay(conversationId, "m", seq, text);
        else relay(conversationId, "r", seq, "-");
      }
    },

    /** A frame without a seq: status, update, suggestion, read, error. */
    frame: (conversationId: string, text: string): void => {
      const room = rooms.get(conversationId);
      if (room) out(room, text, null);
      if (isShared && fits(text)) relay(conversationId, "f", 0, text);
    },

    /** Typing, tool activity. */
    live: (conversationId: string, text: string): void => {
      const room = rooms.get(conversationId);
      if (room) outLive(room, text, false);
      if (isShared && fits(text)) relay(conversationId, "l", 0, text);
    },

    /** A piece of an answer under way. */
    delta: (conversationId: string, answerId: string, index: number, text: string): void => {
      const room = rooms.get(conversationId);
      if (room) outLive(room, text, true);
      if (isShared) {
        if (fits(text)) relay(conversationId, "d", index, text);
        else relay(conversationId, "p", index, answerId);
      }
    },

    /** A turn has ended: whoever waits for it may look. */
    ended: (conversationId: string, turnId: string): void => {
      const room = rooms.get(conversationId);
      if (room) outEnded(room, turnId);
      relay(conversationId, "e", 0, turnId);
    },

    /** Sends what the database has above the room's last seq. */
    catchUp: (room: Room, seq: number): Promise<void> => fill(room, seq),

    /** While the exchange with other instances is broken: what the database has and the rooms have not. */
    poll: async (since: Date): Promise<void> => {
      const ids = [...rooms.keys()];
      for (let i = 0; i < ids.length; i += 500) {
        const some = ids.slice(i, i + 500);
        const newest = await deps.lastSeqs(some);
        for (const id of some) {
          const room = rooms.get(id);
          const seq = newest.get(id);
          if (room && seq !== undefined && seq > room.lastSeq) await fill(room, seq);
        }
        for (const { conversationId, text } of await deps.changedSince(some, since)) {
          const room = rooms.get(conversationId);
          if (room) out(room, text, null);
        }
      }
    },

    /** Frames that are still held: a reading that failed is tried again. */
    retryHeld: (): void => {
      for (const room of rooms.values()) {
        if (room.held === null || room.filling !== null) continue;
        fill(room, room.lastSeq + 1).catch((error: unknown) => {
          log.warn("missing frames could not be read yet", { conversation_id: room.id, error });
        });
      }
    },

    get: (conversationId: string): Room | undefined => rooms.get(conversationId),
    /** Conversations with an open socket here. */
    socketConversations: (): number => withSockets,
  };
}

/** The frame that replaces all that was shown of an answer. */
export function resetFrame(conversationId: string, answerId: string, index: number, text: string): string {
  return JSON.stringify({
    type: "delta",
    session_id: conversationId,
    conversation_id: conversationId,
    message_id: answerId,
    index,
    content: text,
    reset: true,
  });
}
