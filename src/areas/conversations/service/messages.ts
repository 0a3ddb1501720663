// Messages: taking them in, history, feedback, deletion, read marks. Messages of one conversation that come while one
// is being stored wait for the next statement together, so that a busy room costs few transactions.

import { and, asc, desc, eq, gt, inArray, isNull, lt, ne, sql, type SQL } from "drizzle-orm";
import type { Context } from "../../../core/context.ts";
import { conflict, invalid, notFound, rateLimited } from "../../../core/errors.ts";
import { detectLanguage } from "../../../lib/text/index.ts";
import { isUuid, uuidv7 } from "../../../lib/ids/index.ts";
import {
  attachments,
  conversations,
  messages,
  orphanedBlobs,
  turns as turnRows,
  type ConversationRow,
  type Feedback,
  type MessageRow,
} from "../model.ts";
import {
  attachmentOf,
  messageFrame,
  presentMessage,
  storedMessage,
  turnConversation,
  updateFrame,
  type PresentableMessage,
} from "../present.ts";
import type { ChatBot, MessageAttachment, Reply, Sender, StoredMessage, TurnConversation } from "../responder.ts";
import {
  checkMessage,
  FRAME_METADATA_BYTES_MAX,
  historyMark,
  isLonger,
  LANGUAGE_CHARACTERS_MIN,
  lastMessageFrom,
  METADATA_BYTES_MAX,
  titleFrom,
  type HistoryMark,
  type MessageInput,
} from "../rules.ts";
import type { Rooms } from "../rooms.ts";
import {
  appendMessages,
  refusingIndex,
  standing,
  type Appended,
  type Appending,
  type ConversationTouch,
  type NewMessage,
} from "../store.ts";
import type { Turns } from "../turns.ts";
import type { Access } from "./access.ts";
import type { ConversationsDeps } from "./deps.ts";
import type { UserFrames } from "../presence.ts";

/** Messages of one conversation that one statement stores at most. */
const BATCH_MAX = 128;
/** Messages of one conversation that may wait to be stored. */
const WAITING_MAX = 512;
const MINUTE_MS = 60_000;

/** What is known of a conversation before something is said in it; sockets keep it, requests read it. */
export interface SpeakingIn {
  conversationId: string;
  botId: string;
  as: "user" | "attendant";
  /** Title and language are there already. */
  isKnown: boolean;
}

export interface Posted {
  message: PresentableMessage;
  duplicate: boolean;
  /** The turn that answers it; null where nobody or a person does. */
  turnId: string | null;
  /** Title and language are there now. */
  isKnown: boolean;
}

export interface HistoryQuery {
  limit: number;
  before?: string | undefined;
  after?: string | undefined;
  order: "asc" | "desc";
  includeTool: boolean;
}

interface Waiting {
  item: Appending;
  resolve: (appended: Appended | null) => void;
  reject: (error: unknown) => void;
}

export interface MessagesDeps extends ConversationsDeps {
  instanceId: string;
  access: Access;
  rooms: Rooms;
  turns: Turns;
  users: UserFrames;
}

export type Messages = ReturnType<typeof messageService>;

/** A reply as a message to be stored. */
export function messageOfReply(
  id: string,
  reply: Reply,
  as: { sender: Sender; name: string | null },
  files: MessageAttachment[],
  dedupeKey: string | null,
  at: Date,
): NewMessage {
  return {
    id,
    sender: as.sender,
    senderId: null,
    senderName: as.name,
    type: as.sender === "system" ? "system" : "text",
    content: reply.content,
    contentType: reply.contentType,
    attachments: files,
    suggestions: reply.suggestions,
    citations: reply.citations,
    replyTo: null,
    clientId: null,
    dedupeKey,
    status: "delivered",
    usage: reply.usage,
    metadata: reply.metadata,
    isComplete: reply.finishReason === "stop",
    finishReason: reply.finishReason,
    createdAt: at,
  };
}

/** A stored message before anything about it has changed. */
export function freshMessage(
  conversationId: string,
  message: NewMessage,
  seq: number,
  status = message.status,
): PresentableMessage {
  return {
    ...message,
    conversationId,
    seq,
    status,
    feedback: null,
    feedbackComment: null,
    supersededBy: null,
    editedAt: null,
    deletedAt: null,
  };
}

/** Makes the verbs over messages. */
export function messageService(deps: MessagesDeps) {
  const { engine, clock, log, access, rooms, turns, bots, cache, users } = deps;
  const { db } = engine;

  const lines = new Map<string, Waiting[]>();

  const storeOne = async (conversationId: string, { item, resolve, reject }: Waiting): Promise<void> => {
    try {
      const stored = await appendMessages(engine, conversationId, [item], deps.instanceId);
      resolve(stored?.[0] ?? null);
    } catch (error) {
      reject(error);
    }
  };

  const storeBatch = async (conversationId: string, batch: Waiting[]): Promise<void> => {
    const [only] = batch;
    if (batch.length === 1 && only) return storeOne(conversationId, only);
    try {
      const items = batch.map(({ item }) => item);
      const stored = await appendMessages(engine, conversationId, items, deps.instanceId);
      if (stored) {
        batch.forEach(({ resolve }, i) => resolve(stored[i] ?? null));
        return;
      }
    } catch (error) {
      if (refusingIndex(error) === null) {
        for (const { reject } of batch) reject(error);
        return;
      }
    }
    // One of them is a repeat or has no room: each for itself, in order.
    for (const waiting of batch) await storeOne(conversationId, waiting);
  };

  const work = async (conversationId: string, line: Waiting[]): Promise<void> => {
    while (line.length > 0) await storeBatch(conversationId, line.splice(0, BATCH_MAX));
    lines.delete(conversationId);
  };

  /** Stores a message in its turn; null when the conversation does not take it. */
  const append = (conversationId: string, item: Appending): Promise<Appended | null> =>
    new Promise((resolve, reject) => {
      const waiting = { item, resolve, reject };
      const line = lines.get(conversationId);
      if (line) {
        if (line.length >= WAITING_MAX) reject(rateLimited(1, "busy"));
        else line.push(waiting);
        return;
      }
      const fresh = [waiting];
      lines.set(conversationId, fresh);
      work(conversationId, fresh).catch((error: unknown) => {
        log.error("a line of messages broke", { error });
        lines.delete(conversationId);
        for (const rest of fresh) rest.reject(error);
      });
    });

  const expiryOf = (bot: ChatBot | null, at: Date): Date =>
    new Date(at.getTime() + (bot?.sessionTimeoutSeconds ?? 1800) * 1000);

  const touchOf = (content: string, bot: ChatBot | null, at: Date): ConversationTouch => ({
    lastMessage: lastMessageFrom(content),
    title: null,
    language: null,
    expiresAt: expiryOf(bot, at),
  });

  const eventId = (): string | null => (deps.isEventWanted?.("message.created") === false ? null : uuidv7());

  const byDedupeKey = async (conversationId: string, dedupeKey: string): Promise<MessageRow | null> => {
    const [row] = await db
      .select()
      .from(messages)
      .where(and(eq(messages.conversationId, conversationId), eq(messages.dedupeKey, dedupeKey)));
    return row ?? null;
  };

  /** Counts one message of the person, over all sockets, requests and instances. Throws `rateLimited`. */
  const countMessage = async (ctx: Context, conversationId: string, bot: ChatBot | null): Promise<void> => {
    const max = bot?.messagesPerMinute ?? 60;
    const key = `chat:rate:${ctx.caller.userId ?? conversationId}`;
    const hit = cache.hit(key, MINUTE_MS);
    const { count, resetAt } = hit instanceof Promise ? await hit : hit;
    if (count > max) throw rateLimited(Math.max(1, Math.ceil((resetAt - clock.now()) / 1000)), "message_limit");
  };

  const filesOf = async (conversationId: string, ids: readonly string[]): Promise<MessageAttachment[]> => {
    if (ids.length === 0) return [];
    const rows = await db
      .select()
      .from(attachments)
      .where(and(eq(attachments.conversationId, conversationId), inArray(attachments.id, [...ids])));
    const found = new Map(rows.map((row) => [row.id, row]));
    return ids.map((id) => {
      const row = found.get(id);
      if (!row) throw notFound("attachment");
      if (row.messageId !== null) throw conflict("attachment_used", "This attachment belongs to a message already.");
      return attachmentOf(row);
    });
  };

  /** What tells a client that an entry of its list has changed. */
  const listFrame = (conversationId: string, changes: Record<string, unknown>): string =>
    JSON.stringify({
      type: "status",
      state: "conversation",
      session_id: conversationId,
      conversation_id: conversationId,
      ...changes,
    });

  /** After the commit: frames to all who listen, and word to those who attend or carry messages outside. */
  const announce = (message: PresentableMessage, appended: Omit<Appended, "status" | "turnState">): void => {
    const { conversationId } = message;
    rooms.stored(conversationId, message.seq, messageFrame(message));
    if (appended.userId !== null && users.hasOthers(appended.userId, conversationId)) {
      const changes = {
        last_seq: message.seq,
        last_message: lastMessageFrom(message.content),
        last_activity: message.createdAt.toISOString(),
        title: appended.title,
      };
      users.send(appended.userId, listFrame(conversationId, changes), conversationId);
    }
    const isAttended = message.sender === "attendant" || (appended.handler === "human" && message.sender === "user");
    const isOutside = appended.channel !== "web" && appended.channel !== "api" && message.sender !== "user";
    if (isAttended || isOutside) {
      tellListeners(message, isAttended, isOutside).catch((error: unknown) => {
        log.error("a message was not passed on", { conversation_id: conversationId, error });
      });
    }
  };

  const tellListeners = async (message: PresentableMessage, isAttended: boolean, isOutside: boolean): Promise<void> => {
    if (deps.listeners.length === 0) return;
    const row = await access.find(message.conversationId);
    if (!row) return;
    const conversation = turnConversation(row);
    for (const listener of deps.listeners) {
      if (isAttended) await listener.attended?.(conversation, storedMessage(message));
      if (isOutside) listener.outgoing?.(conversation, storedMessage(message));
    }
  };

  /** Why the conversation took nothing. */
  const refusal = async (conversationId: string): Promise<Error> => {
    const now = await standing(engine, conversationId);
    if (!now) return notFound("conversation");
    const isExpired = now.expiresAt !== null && now.expiresAt.getTime() <= clock.now();
    if (now.status !== "active" || isExpired) return conflict("conversation_closed", "This conversation is closed.");
    return conflict("turn_queue_full", "Too many messages wait to be answered.");
  };

  /** Stores what a person says and sees to its answer. */
  const say = async (
    ctx: Context,
    where: SpeakingIn,
    given: MessageInput,
    metadataBytesMax: number,
  ): Promise<{ posted: Promise<Posted> }> => {
    const { conversationId } = where;
    const input = checkMessage(given, metadataBytesMax);
    const bot = await bots.find(where.botId);
    if (where.as === "user" && !bot?.isActive)
      throw conflict("bot_inactive", "This bot does not answer at the moment.");
    await countMessage(ctx, conversationId, bot);
    const files = await filesOf(conversationId, input.attachments);
    if (input.type === "voice" && !files.some(({ mime }) => mime.startsWith("audio/"))) {
      throw invalid([{ path: "attachments", message: "holds no audio", expected: "an audio attachment" }]);
    }
    if (input.replyTo !== null) await get(conversationId, input.replyTo);
    const at = clock.date();
    const sender = where.as;
    const { userId, username } = ctx.caller;
    const senderName =
      sender === "attendant" ? ((await deps.attendance?.state(conversationId))?.attendant?.name ?? username) : username;
    const dedupeKey =
      input.clientId === null ? null : `${sender === "user" ? "u" : `a:${userId ?? ""}`}:${input.clientId}`;
    const metadata = input.name === null ? input.metadata : { ...input.metadata, context_name: input.name };
    const message: NewMessage = {
      id: uuidv7(),
      sender,
      senderId: userId,
      senderName,
      type: input.type,
      content: input.content,
      contentType: sender === "user" ? "text/plain" : "text/markdown",
      attachments: files,
      suggestions: [],
      citations: [],
      replyTo: input.replyTo,
      clientId: input.clientId,
      dedupeKey,
      status: "delivered",
      usage: null,
      metadata,
      isComplete: true,
      finishReason: null,
      createdAt: at,
    };
    const touch = touchOf(input.content, bot, at);
    if (!where.isKnown && sender === "user" && input.type !== "context") {
      touch.title = titleFrom(input.content) || (files[0]?.name ?? null);
      const isLong = isLonger(input.content, LANGUAGE_CHARACTERS_MIN - 1);
      touch.language = isLong ? detectLanguage(input.content) : null;
    }
    if (input.type === "context" && input.name !== null) {
      const row = await access.find(conversationId);
      if (row) await deps.responder.setContext(ctx, turnConversation(row), input.name, input.content);
    }
    const isAnswered = sender === "user" && input.type !== "context";
    const turn = isAnswered ? { id: uuidv7(), answerId: uuidv7(), switchers: input.switchers } : null;
    return { posted: store(ctx, where, message, { message, touch, turn, eventId: eventId() }) };
  };

  const store = async (ctx: Context, where: SpeakingIn, message: NewMessage, item: Appending): Promise<Posted> => {
    const { conversationId } = where;
    const { turn } = item;
    const appended = await appendOrRepeat(conversationId, item);
    if ("repeat" in appended) {
      const { repeat } = appended;
      return { message: repeat, duplicate: true, turnId: repeat.turnId, isKnown: where.isKnown };
    }
    const stored = freshMessage(conversationId, message, appended.seq, appended.status);
    announce(stored, appended);
    if (turn && appended.turnState === "running") {
      turns.begin(
        {
          id: turn.id,
          conversationId,
          kind: "message",
          messageId: message.id,
          answerId: turn.answerId,
          attempt: 1,
          switchers: [...turn.switchers],
          cancelRequested: false,
        },
        ctx,
      );
    }
    return {
      message: stored,
      duplicate: false,
      turnId: appended.turnState === null ? null : (turn?.id ?? null),
      isKnown: appended.title !== null && appended.language !== null,
    };
  };

  const appendOrRepeat = async (
    conversationId: string,
    item: Appending,
  ): Promise<Appended | { repeat: MessageRow }> => {
    const { dedupeKey } = item.message;
    for (let tries = 0; ; tries++) {
      let failure: unknown = null;
      try {
        const appended = await append(conversationId, item);
        if (appended) return appended;
      } catch (error) {
        if (refusingIndex(error) === null) throw error;
        failure = error;
      }
      const repeat = dedupeKey === null ? null : await byDedupeKey(conversationId, dedupeKey);
      if (repeat) return { repeat };
      if (failure === null) throw await refusal(conversationId);
      if (tries >= 3) throw failure;
    }
  };

  const get = async (conversationId: string, messageId: string): Promise<MessageRow> => {
    if (!isUuid(messageId)) throw notFound("message");
    const [row] = await db
      .select()
      .from(messages)
      .where(and(eq(messages.id, messageId), eq(messages.conversationId, conversationId)));
    if (!row) throw notFound("message");
    return row;
  };

  const markedBy = async (conversationId: string, mark: HistoryMark, side: "before" | "after"): Promise<SQL> => {
    const compare = side === "before" ? lt : gt;
    if ("at" in mark) return compare(messages.createdAt, mark.at);
    const seq = "seq" in mark ? mark.seq : (await get(conversationId, mark.id)).seq;
    return compare(messages.seq, seq);
  };

  const history = async (conversationId: string, query: HistoryQuery) => {
    const conditions: SQL[] = [eq(messages.conversationId, conversationId)];
    if (query.before !== undefined) {
      conditions.push(await markedBy(conversationId, historyMark(query.before, "before"), "before"));
    }
    if (query.after !== undefined) {
      conditions.push(await markedBy(conversationId, historyMark(query.after, "after"), "after"));
    }
    if (!query.includeTool) conditions.push(ne(messages.sender, "tool"));
    const isForward = query.after !== undefined;
    const rows = await db
      .select()
      .from(messages)
      .where(and(...conditions))
      .orderBy(isForward ? asc(messages.seq) : desc(messages.seq))
      .limit(query.limit + 1);
    const page = rows.slice(0, query.limit);
    if (!isForward) page.reverse();
    const first = page[0];
    const last = page.at(-1);
    const hasMore = rows.length > query.limit;
    return {
      messages: (query.order === "desc" ? page.toReversed() : page).map(presentMessage),
      has_more: hasMore,
      next_before: first && first.seq > 1 && (isForward || hasMore) ? `seq:${first.seq}` : null,
      next_after: last ? `seq:${last.seq}` : (query.after ?? null),
    };
  };

  /** Stores a change of a message and tells it to everybody who listens. */
  const change = async (
    row: MessageRow,
    set: Partial<typeof messages.$inferInsert>,
    shown: Record<string, unknown>,
  ): Promise<MessageRow> => {
    const [changed] = await db
      .update(messages)
      .set({
        ...set,
        changedAt: clock.date(),
        changedSeq: sql`(select ${conversations.lastSeq} from ${conversations} where ${conversations.id} = ${row.conversationId})`,
      })
      .where(eq(messages.id, row.id))
      .returning();
    if (!changed) throw notFound("message");
    rooms.frame(row.conversationId, updateFrame(row.conversationId, row.id, shown));
    return changed;
  };

  return {
    append,
    announce,
    countMessage,
    expiryOf,
    eventId,
    get,

    /** Over REST: whoever may speak in the conversation. */
    post: async (
      ctx: Context,
      id: string,
      input: MessageInput,
    ): Promise<Posted & { conversation: ConversationRow }> => {
      const { row, part } = await access.speaker(ctx, id);
      const where: SpeakingIn = {
        conversationId: row.id,
        botId: row.botId,
        as: part === "attendant" ? "attendant" : "user",
        isKnown: row.title !== null && row.language !== null,
      };
      const { posted } = await say(ctx, where, input, METADATA_BYTES_MAX);
      return { ...(await posted), conversation: row };
    },

    /** Over a socket, whose right was checked when it joined. */
    say: (ctx: Context, where: SpeakingIn, input: MessageInput): Promise<{ posted: Promise<Posted> }> =>
      say(ctx, where, input, FRAME_METADATA_BYTES_MAX),

    /** A message of the server itself (handing over, announcements, a channel); no turn. */
    sayAs: async (
      conversationId: string,
      sender: Exclude<Sender, "user">,
      name: string | null,
      reply: Reply,
      dedupeKey: string | null = null,
    ): Promise<StoredMessage | null> => {
      const row = await access.find(conversationId);
      if (!row) return null;
      const at = clock.date();
      const message = messageOfReply(uuidv7(), reply, { sender, name }, [], dedupeKey, at);
      const touch = touchOf(reply.content, await bots.find(row.botId), at);
      const appended = await appendOrRepeat(conversationId, { message, touch, turn: null, eventId: eventId() });
      if ("repeat" in appended) return storedMessage(appended.repeat);
      const stored = freshMessage(conversationId, message, appended.seq, appended.status);
      announce(stored, appended);
      return storedMessage(stored);
    },

    list: async (ctx: Context, id: string, query: HistoryQuery) => {
      const { row } = await access.reader(ctx, id, "history_read");
      return history(row.id, query);
    },

    read: async (ctx: Context, id: string, messageId: string): Promise<MessageRow> => {
      const { row } = await access.reader(ctx, id, "message_read");
      return get(row.id, messageId);
    },

    /** Newest last; for the greeting of a conversation that has just begun. */
    newest: async (conversationId: string, limit: number): Promise<MessageRow[]> => {
      const rows = await db
        .select()
        .from(messages)
        .where(eq(messages.conversationId, conversationId))
        .orderBy(desc(messages.seq))
        .limit(limit);
      return rows.reverse();
    },

    /** Messages above `seq`, in order; those that were changed after a client at `seq` last heard, with them. */
    missed: async (
      conversationId: string,
      seq: number,
      limit: number,
    ): Promise<{ messages: MessageRow[]; changed: MessageRow[] }> => {
      const above = await db
        .select()
        .from(messages)
        .where(and(eq(messages.conversationId, conversationId), gt(messages.seq, seq)))
        .orderBy(asc(messages.seq))
        .limit(limit);
      const changed = await db
        .select()
        .from(messages)
        .where(
          and(
            eq(messages.conversationId, conversationId),
            sql`${messages.seq} between ${seq - 499} and ${seq}`,
            sql`${messages.changedSeq} >= ${seq}`,
          ),
        )
        .orderBy(asc(messages.seq));
      return { messages: above, changed };
    },

    feedback: async (
      ctx: Context,
      id: string,
      messageId: string,
      input: { value: Feedback | null; comment?: string | undefined },
    ): Promise<MessageRow> => {
      const conversation = await access.owner(ctx, id);
      const row = await get(conversation.id, messageId);
      if (row.sender !== "bot" || row.deletedAt !== null) throw conflict("not_a_bot_message");
      const comment = input.value === null ? null : (input.comment ?? null);
      return change(row, { feedback: input.value, feedbackComment: comment }, { feedback: input.value });
    },

    /** Erases content and files of a message; its place stays. */
    remove: async (ctx: Context, id: string, messageId: string): Promise<void> => {
      const { row, part } = await access.ownerOrAdmin(ctx, id, "chat:write");
      const message = await get(row.id, messageId);
      if (part === "owner" && message.sender !== "user") throw conflict("not_own_message");
      if (message.deletedAt !== null) return;
      const at = clock.date();
      const blobs = await engine.transaction(async (tx, afterCommit) => {
        const [conversation] = await tx
          .select({ lastSeq: conversations.lastSeq })
          .from(conversations)
          .where(eq(conversations.id, row.id))
          .for("update");
        if (!conversation) throw notFound("conversation");
        await tx
          .update(messages)
          .set({
            content: "",
            attachments: [],
            suggestions: [],
            citations: [],
            metadata: {},
            feedbackComment: null,
            deletedAt: at,
            changedAt: at,
            changedSeq: conversation.lastSeq,
          })
          .where(eq(messages.id, message.id));
        if (conversation.lastSeq === message.seq) {
          await tx.update(conversations).set({ lastMessage: "" }).where(eq(conversations.id, row.id));
        }
        const gone = await tx
          .delete(attachments)
          .where(eq(attachments.messageId, message.id))
          .returning({ blobId: attachments.blobId });
        const ids = gone.map(({ blobId }) => blobId);
        if (ids.length > 0) {
          await tx
            .insert(orphanedBlobs)
            .values(ids.map((blobId) => ({ blobId, createdAt: at })))
            .onConflictDoNothing();
        }
        await deps.audit.record(tx, ctx, {
          type: "message_deleted",
          resource: { type: "message", id: message.id },
          details: { conversation_id: row.id, sender: message.sender },
        });
        afterCommit(() =>
          rooms.frame(
            row.id,
            updateFrame(row.id, message.id, { deleted_at: at.toISOString(), content: "", attachments: [] }),
          ),
        );
        return ids;
      });
      await dropBlobs(deps, blobs);
    },

    /** Marks everything up to a message as read by the owner; never backwards. Returns what is left unread. */
    markRead: async (ctx: Context, id: string, messageId: string): Promise<number> => {
      const { row, part } = await access.reader(ctx, id, "read_mark");
      const message = await get(row.id, messageId);
      return markRead(ctx, row.id, message, part === "owner");
    },

    markReadBy: async (ctx: Context, conversationId: string, messageId: string, isOwner: boolean): Promise<number> =>
      markRead(ctx, conversationId, await get(conversationId, messageId), isOwner),

    /** The label of a quick reply that was offered lately; the value itself if it is not known. */
    suggestionLabel: async (conversationId: string, value: string): Promise<string> => {
      const rows = await db
        .select({ suggestions: messages.suggestions })
        .from(messages)
        .where(
          and(
            eq(messages.conversationId, conversationId),
            ne(messages.sender, "user"),
            sql`jsonb_array_length(${messages.suggestions}) > 0`,
          ),
        )
        .orderBy(desc(messages.seq))
        .limit(5);
      const known = rows.flatMap(({ suggestions }) => suggestions).find((one) => one.value === value);
      return known?.label ?? value;
    },

    /** Begins another answer in place of the last one; returns the new answer's id. */
    regenerate: async (ctx: Context, id: string, messageId: string): Promise<{ answerId: string; turnId: string }> => {
      const conversation = await access.owner(ctx, id);
      const bot = await bots.find(conversation.botId);
      if (!bot?.isActive) throw conflict("bot_inactive", "This bot does not answer at the moment.");
      const turn = { id: uuidv7(), answerId: uuidv7() };
      await engine.transaction(async (tx, afterCommit) => {
        const [row] = await tx.select().from(conversations).where(eq(conversations.id, conversation.id)).for("update");
        if (!row) throw notFound("conversation");
        if (row.status !== "active") throw conflict("conversation_closed", "This conversation is closed.");
        if (row.handler !== "bot") throw conflict("handled_by_person");
        const [old] = await tx
          .select()
          .from(messages)
          .where(and(eq(messages.id, messageId), eq(messages.conversationId, row.id)));
        if (!old) throw notFound("message");
        if (row.openTurns > 0) throw conflict("answer_running", "An answer is under way.");
        const [newest] = await tx
          .select({ id: messages.id })
          .from(messages)
          .where(and(eq(messages.conversationId, row.id), inArray(messages.sender, ["user", "bot", "attendant"])))
          .orderBy(desc(messages.seq))
          .limit(1);
        if (old.sender !== "bot" || old.deletedAt !== null || newest?.id !== old.id) throw conflict("not_last_answer");
        const [former] = old.turnId === null ? [] : await tx.select().from(turnRows).where(eq(turnRows.id, old.turnId));
        if (!former?.messageId || former.answerId !== old.id) throw conflict("not_an_answer");
        const at = clock.date();
        await tx.insert(turnRows).values({
          ...turn,
          conversationId: row.id,
          kind: "regenerate",
          messageId: former.messageId,
          supersedes: old.id,
          position: row.lastSeq,
          switchers: former.switchers,
          createdAt: at,
          ...turns.firstLease(at),
        });
        await tx.update(conversations).set({ openTurns: 1 }).where(eq(conversations.id, row.id));
        const { messageId: asked, switchers } = former;
        afterCommit(() => {
          turns.begin(
            {
              ...turn,
              conversationId: row.id,
              kind: "regenerate",
              messageId: asked,
              attempt: 1,
              switchers,
              cancelRequested: false,
            },
            ctx,
          );
        });
      });
      return { answerId: turn.answerId, turnId: turn.id };
    },

    /** Stops the answer under way, or a message that waits for one; false if there was nothing to stop. */
    cancel: async (ctx: Context, id: string, messageId: string | null): Promise<boolean> => {
      const { row } = await access.speaker(ctx, id);
      return turns.cancel(row.id, messageId);
    },

    /** State of delivery on an outside channel. */
    delivery: async (messageId: string, status: "queued" | "sent" | "delivered" | "read" | "failed"): Promise<void> => {
      const [row] = await db
        .select()
        .from(messages)
        .where(and(eq(messages.id, messageId), isNull(messages.deletedAt)));
      if (row) await change(row, { status }, { status });
    },

    conversationOf: async (id: string): Promise<TurnConversation | null> => {
      const row = await access.find(id);
      return row ? turnConversation(row) : null;
    },
  };

  async function markRead(
    ctx: Context,
    conversationId: string,
    message: MessageRow,
    isOwner: boolean,
  ): Promise<number> {
    let unread = 0;
    if (isOwner) {
      const [row] = await engine.query<{ unread_count: number; moved: boolean }>(
        `update conversations c set read_seq = greatest(read_seq, $2::int),
           unread_count = (select count(*)::int from messages m where m.conversation_id = c.id
             and m.seq > greatest(c.read_seq, $2::int) and m.sender <> 'user' and m.deleted_at is null)
         where id = $1 returning unread_count`,
        [conversationId, message.seq],
      );
      unread = row?.unread_count ?? 0;
    }
    rooms.frame(
      conversationId,
      JSON.stringify({
        type: "read",
        session_id: conversationId,
        conversation_id: conversationId,
        user_id: ctx.caller.userId,
        message_id: message.id,
      }),
    );
    return unread;
  }
}

/** Deletes blobs whose rows are gone; what fails is left to the sweep. */
export async function dropBlobs(
  deps: Pick<ConversationsDeps, "engine" | "objects" | "log">,
  blobIds: readonly string[],
): Promise<void> {
  for (const blobId of blobIds) {
    try {
      await deps.objects.delete(blobId);
      await deps.engine.db.delete(orphanedBlobs).where(eq(orphanedBlobs.blobId, blobId));
    } catch (error) {
      deps.log.warn("a blob was not deleted yet", { blob: blobId, error });
    }
  }
}
