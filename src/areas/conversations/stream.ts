// Conversations as server-sent events: the frames of the socket for clients that have none, and the answer to one
// message. A client that comes back names its last seq and misses nothing.

import type { Context } from "../../core/context.ts";
import type { ConversationRow } from "./model.ts";
import { changesOf, messageFrame, updateFrame } from "./present.ts";
import type { Listener, Room } from "./rooms.ts";
import type { Sockets, Watcher } from "./sockets.ts";
import type { TurnOutcome } from "./turns.ts";

/** A reader that lets so much pile up is cut off; it comes back and resumes. */
const QUEUE_BYTES = 1024 * 1024;
const PAGE = 500;

export interface StreamOptions {
  /** Replay what is above; null: only what comes. */
  fromSeq: number | null;
  signal: AbortSignal;
  /** The stream ends with this turn; without, it goes on until the client leaves. */
  turn?: {
    id: string | null;
    /** Whether a frame belongs to the answer. */
    accepts: (frame: string, seq: number | null) => boolean;
    /** What the final event `done` says. */
    done: (outcome: TurnOutcome | null) => Record<string, unknown>;
  };
}

const ERROR_START = '{"type":"error"';
const encoder = new TextEncoder();
const TYPE = /"type":"([a-z_.]+)"/;

/** One frame as an event; stored messages carry their seq as id. */
export function asEvent(text: string, seq: number | null): Uint8Array {
  const name = seq === null ? (TYPE.exec(text.slice(0, 200))?.[1] ?? "message") : "message";
  return encoder.encode(`${seq === null ? "" : `id: ${seq}\n`}event: ${name}\ndata: ${text}\n\n`);
}

export const SSE_HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store, no-transform",
  "x-accel-buffering": "no",
};

/** The stream of a conversation that the caller may read (checked before). */
export function conversationStream(
  hub: Sockets,
  ctx: Context,
  row: ConversationRow,
  options: StreamOptions,
): ReadableStream<Uint8Array> {
  let room: Room | null = null;
  let isOver = false;
  let controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  /** Frames that come while older ones are read. */
  let early: { text: string; seq: number | null }[] | null = [];
  let sentSeq = options.fromSeq ?? row.lastSeq;
  let isFailureTold = false;

  const finish = () => {
    if (isOver) return;
    isOver = true;
    if (room !== null) {
      hub.rooms.unlisten(room, listener);
      hub.rooms.release(room);
    }
    hub.unwatch(watcher);
    options.signal.removeEventListener("abort", finish);
    try {
      controller?.close();
    } catch {
      // The reader has gone already.
    }
  };

  const put = (bytes: Uint8Array) => {
    if (isOver || controller === null) return;
    controller.enqueue(bytes);
    if ((controller.desiredSize ?? 0) <= 0) finish();
  };

  const send = (text: string, seq: number | null) => {
    if (isOver || (seq !== null && seq <= sentSeq)) return;
    if (seq !== null) sentSeq = seq;
    if (options.turn && !options.turn.accepts(text, seq)) return;
    if (text.startsWith(ERROR_START)) isFailureTold = true;
    put(asEvent(text, seq));
  };

  /** Ends the stream of one turn if the turn has ended; a failure that was missed is told. */
  const endWithTurn = async (): Promise<void> => {
    const { turn } = options;
    if (!turn || isOver) return;
    const outcome = turn.id === null ? null : await hub.turns.outcome(turn.id);
    if (isOver || (turn.id !== null && outcome === null)) return;
    if (outcome?.answer) send(messageFrame(outcome.answer), outcome.answer.seq);
    if (outcome?.failure && !isFailureTold) {
      put(asEvent(JSON.stringify({ type: "error", session_id: row.id, ...outcome.failure, fatal: false }), null));
    }
    put(encoder.encode(`event: done\ndata: ${JSON.stringify({ type: "done", ...turn.done(outcome) })}\n\n`));
    finish();
  };

  const listener: Listener = {
    frame: (text, seq) => {
      if (early === null) send(text, seq);
      else early.push({ text, seq });
    },
    ended: (turnId) => {
      if (early !== null || turnId !== options.turn?.id) return;
      endWithTurn().catch((error: unknown) => {
        hub.log.warn("a stream could not be ended well", { error });
        finish();
      });
    },
  };
  const watcher: Watcher = {
    userId: ctx.caller.userId,
    sessionId: ctx.caller.sessionId,
    conversationId: row.id,
    isChatToken: ctx.caller.kind === "chat",
    isAnswer: options.turn !== undefined,
    end: (text) => {
      if (text !== null) put(asEvent(text, null));
      finish();
    },
    beat: () => put(encoder.encode(": heartbeat\n\n")),
  };

  const begin = async (): Promise<void> => {
    room = await hub.rooms.open(row.id, row.lastSeq);
    if (isOver) {
      hub.rooms.release(room);
      return;
    }
    hub.rooms.listen(room, listener);
    hub.watch(watcher);
    if (options.fromSeq !== null) await replay(options.fromSeq);
    else if (room.lastSeq > sentSeq) await replay(sentSeq);
    const partial = await hub.turns.partialFrame(row.id);
    if (partial !== null) send(partial, null);
    const waiting = early ?? [];
    early = null;
    for (const { text, seq } of waiting) send(text, seq);
    await endWithTurn();
  };

  const replay = async (fromSeq: number): Promise<void> => {
    for (let after = fromSeq, isFirst = true; !isOver; isFirst = false) {
      const { messages, changed } = await hub.messages.missed(row.id, after, PAGE);
      if (isFirst) for (const one of changed) send(updateFrame(row.id, one.id, changesOf(one)), null);
      for (const one of messages) {
        send(messageFrame(one), one.seq);
        after = one.seq;
      }
      if (messages.length < PAGE) return;
      await drained();
    }
  };

  let pulled: PromiseWithResolvers<void> | null = null;
  const drained = (): Promise<void> => {
    if ((controller?.desiredSize ?? 0) > QUEUE_BYTES / 2) return Promise.resolve();
    pulled ??= Promise.withResolvers<void>();
    return pulled.promise;
  };

  return new ReadableStream<Uint8Array>(
    {
      start: (own) => {
        controller = own;
        if (options.signal.aborted) {
          finish();
          return;
        }
        options.signal.addEventListener("abort", finish);
        // Something at once, so that the client knows that the stream is open.
        put(encoder.encode(": open\nretry: 1000\n\n"));
        begin().catch((error: unknown) => {
          hub.log.warn("a stream could not be begun", { conversation_id: row.id, error });
          finish();
        });
      },
      pull: () => {
        pulled?.resolve();
        pulled = null;
      },
      cancel: finish,
    },
    new ByteLengthQueuingStrategy({ highWaterMark: QUEUE_BYTES }),
  );
}
