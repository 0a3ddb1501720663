// One socket: its frames in, its answers out. Ten thousand of these lie idle in a process, so a session holds plain
// fields only: no timer, no closure, no list before it is needed.

import { holds, type Caller, type Context } from "../../core/context.ts";
import { AppError, forbidden, invalid, isAppError, notFound, rateLimited, unauthorized } from "../../core/errors.ts";
import { isUuid, uuidv7 } from "../../lib/ids/index.ts";
import {
  errorFrame,
  HEARTBEAT_SECONDS,
  limitsOf,
  messageKind,
  messageOf,
  numberField,
  parseFrame,
  textField,
  type Frame,
} from "./frames.ts";
import type { Resolution } from "./model.ts";
import {
  changesOf,
  messageFrame,
  presentBot,
  turnConversation,
  updateFrame,
  type HeardConversation,
} from "./present.ts";
import type { UserSocket } from "./presence.ts";
import type { CallerProof, ChatBot, MessageType } from "./responder.ts";
import { liveTopic, LOST_BYTES, SLOW_BYTES, type Member, type Room, type Wire } from "./rooms.ts";
import { REPLAY_MESSAGES_MAX } from "./rules.ts";
import type { Posted, SpeakingIn } from "./service/messages.ts";
import type { Sockets } from "./sockets.ts";
import { suggestionFrame } from "./turns.ts";

export const CLOSE = {
  done: 1000,
  stopping: 1001,
  binary: 1003,
  tooLarge: 1009,
  malformed: 4400,
  ended: 4401,
  withdrawn: 4403,
  silent: 4408,
  slow: 4409,
  rate: 4429,
} as const;

const ROOMS_MAX = 20;
/** Frames that wait for their turn on one socket. */
const WAITING_MAX = 128;
const MALFORMED_MAX = 3;
const REFUSALS_MAX = 5;
const MINUTE_SECONDS = 60;
/** A socket that was slow hears deltas again once less than this waits. */
const DRAINED_BYTES = 64 * 1024;

/** As whom the socket is in a conversation. */
export type JoinedAs = "user" | "attendant" | "reader";

/** One conversation that a socket listens to. */
export class Joined implements SpeakingIn {
  readonly room: Room;
  readonly botId: string;
  readonly part: JoinedAs;
  isKnown: boolean;
  constructor(room: Room, botId: string, part: JoinedAs, isKnown: boolean) {
    this.room = room;
    this.botId = botId;
    this.part = part;
    this.isKnown = isKnown;
  }
  get conversationId(): string {
    return this.room.id;
  }
  get as(): "user" | "attendant" {
    return this.part === "attendant" ? "attendant" : "user";
  }
}

/** What a socket asked for when it connected. */
export interface Entry {
  /** The conversation to begin with; null for `chat=0`. */
  row: HeardConversation | null;
  part: JoinedAs;
  bot: ChatBot | null;
  token: string | null;
  /** The client's last seq; null if it did not say. */
  fromSeq: number | null;
}

/** Query of the upgrade, kept while a socket has not said who it is. */
export interface SocketQuery {
  bot: string | null;
  sessionId: string | null;
  lastSeq: number | null;
  lastMessageId: string | null;
  language: string | null;
  /** False for `chat=0`. */
  wantsChat: boolean;
  wantsDeltas: boolean;
}

/** Counters of misbehaviour; made at the first. */
class Faults {
  malformed = 0;
  malformedSince = 0;
  refused = 0;
  refusedSince = 0;
}

/** The data of a Bun socket; the server calls `open`, `message`, `drain`, `pong` and `close` on it. */
export class SocketSession implements Member, UserSocket {
  private readonly hub: Sockets;
  private ws: Wire | null = null;
  /** `pending` until an `auth` frame; `chat` for tokens and for sockets that came without credentials. */
  kind: "session" | "api_key" | "chat" | "pending";
  userId: string | null;
  /** The sign-in session, the API key, or the conversation of a chat token. */
  proof: string | null;
  readonly ip: string | null;
  readonly wantsDeltas: boolean;
  isSlow = false;
  /** Seconds on the hub's clock when the other side was last heard. */
  seenAt = 0;
  /** Place in the hub's wheel. */
  slot = -1;
  place = -1;
  /** The conversation it came for. */
  home: Joined | null = null;
  more: Joined[] | null = null;
  /** What to do at `open`; the query while it is pending; null afterwards. */
  private entry: Entry | null;
  private query: SocketQuery | null;
  private tail: Promise<void> | null = null;
  private waiting = 0;
  private frames = 0;
  private framesSince = 0;
  private faults: Faults | null = null;
  private drained: PromiseWithResolvers<void> | null = null;

  constructor(hub: Sockets, caller: Caller, ip: string | null, query: SocketQuery, entry: Entry | null) {
    this.hub = hub;
    this.ip = ip;
    this.wantsDeltas = query.wantsDeltas;
    this.entry = entry;
    this.query = entry === null ? query : null;
    this.kind = "pending";
    this.userId = null;
    this.proof = null;
    if (entry !== null) this.bind(caller, entry.row?.id ?? null);
  }

  private bind(caller: Caller, conversationId: string | null): void {
    this.userId = caller.userId;
    if (caller.kind === "session" || caller.kind === "api_key") {
      this.kind = caller.kind;
      this.proof = caller.sessionId ?? caller.keyId;
    } else {
      this.kind = "chat";
      this.proof = caller.conversationId ?? conversationId;
    }
  }

  get wire(): Wire {
    if (this.ws === null) throw new Error("the socket is not open");
    return this.ws;
  }

  get isOpen(): boolean {
    return this.ws !== null;
  }

  /** How the caller proved who they are; null for chat tokens and pending sockets. */
  get callerProof(): CallerProof | null {
    const { kind, userId, proof } = this;
    if (userId === null || proof === null) return null;
    if (kind === "session") return { kind, userId, sessionId: proof };
    return kind === "api_key" ? { kind, userId, keyId: proof } : null;
  }

  // What the server calls.

  open(ws: Wire): void {
    this.ws = ws;
    this.hub.opened(this);
    const { entry } = this;
    this.entry = null;
    if (entry !== null) this.enqueue(() => this.enter(entry), null);
  }

  message(_ws: Wire, data: string | Buffer): void {
    if (this.ws === null) return;
    this.seenAt = this.hub.seconds();
    if (typeof data !== "string") {
      this.shut(CLOSE.binary, "text frames only");
      return;
    }
    const frame = parseFrame(data);
    if (frame === null) {
      this.malformed();
      return;
    }
    this.receive(frame);
  }

  drain(): void {
    if (this.ws === null) return;
    const waiting = this.ws.getBufferedAmount();
    if (waiting > DRAINED_BYTES) return;
    this.drained?.resolve();
    this.drained = null;
    if (!this.isSlow) return;
    this.isSlow = false;
    this.eachJoined((joined) => {
      if (!this.wantsDeltas) return;
      if (joined.room.isTopical && joined.room.isLive) this.ws?.subscribe(liveTopic(joined.room.id));
      this.enqueue(() => this.sendPartial(joined.room.id), null);
    });
  }

  pong(): void {
    this.seenAt = this.hub.seconds();
  }

  close(_ws?: Wire): void {
    if (this.ws === null && this.slot < 0) return;
    this.eachJoined(({ room }) => {
      this.hub.rooms.leave(room, this, true);
      this.hub.rooms.release(room);
    });
    this.home = null;
    this.more = null;
    this.drained?.resolve();
    this.drained = null;
    this.hub.closed(this);
    this.ws = null;
  }

  // What rooms and other areas call.

  slowDown(): void {
    this.isSlow = true;
    if (!this.wantsDeltas) return;
    this.eachJoined(({ room }) => {
      if (room.isTopical && room.isLive) this.ws?.unsubscribe(liveTopic(room.id));
    });
  }

  giveUp(): void {
    this.shut(CLOSE.slow, "slow consumer");
  }

  tell(text: string): void {
    if (!this.isSlow) this.send(text);
  }

  isIn(conversationId: string): boolean {
    return this.joined(conversationId) !== null;
  }

  eachJoined(action: (joined: Joined) => void): void {
    if (this.home !== null) action(this.home);
    if (this.more !== null) for (const joined of this.more) action(joined);
  }

  /** Sends and closes; the client reads the reason in the code. */
  shut(code: number, reason: string): void {
    this.ws?.close(code, reason);
  }

  send(text: string): void {
    const { ws } = this;
    if (ws === null) return;
    // Long frames to one socket are worth compressing, short ones cost more than they save.
    const sent = ws.send(text, text.length > 4096);
    if (sent !== -1) return;
    const waiting = ws.getBufferedAmount();
    if (waiting > LOST_BYTES) this.giveUp();
    else if (waiting > SLOW_BYTES && !this.isSlow) this.slowDown();
  }

  // The protocol.

  private receive(frame: Frame): void {
    const clientId = typeof frame["client_id"] === "string" ? frame["client_id"].slice(0, 64) : null;
    if (this.kind === "pending" && frame.type !== "auth" && frame.type !== "ping") {
      this.refuse(unauthorized("Send an auth frame first."), clientId);
      return;
    }
    const kind = messageKind(frame);
    if (kind === null && frame.type !== "suggestion" && !this.countFrame()) {
      const seconds = MINUTE_SECONDS - (this.hub.seconds() - this.framesSince);
      this.refuse(rateLimited(Math.max(1, seconds), "frame_limit"), clientId);
      return;
    }
    if (kind !== null) {
      this.enqueue(() => this.say(frame, kind), clientId);
      return;
    }
    switch (frame.type) {
      case "ping":
        this.send(JSON.stringify(frame["t"] === undefined ? { type: "pong" } : { type: "pong", t: frame["t"] }));
        return;
      case "typing":
        this.guarded(() => this.typing(frame), clientId);
        return;
      case "auth":
        this.enqueue(() => this.authenticate(frame), clientId);
        return;
      case "suggestion":
        this.enqueue(() => this.pick(frame), clientId);
        return;
      case "read":
        this.enqueue(() => this.read(frame), clientId);
        return;
      case "resume":
      case "subscribe":
        this.enqueue(() => this.subscribe(frame), clientId);
        return;
      case "unsubscribe":
        this.enqueue(() => this.unsubscribe(frame), clientId);
        return;
      case "cancel":
        this.enqueue(() => this.cancel(frame), clientId);
        return;
      case "end":
        this.enqueue(() => this.end(frame), clientId);
        return;
      default:
        this.refuse(
          new AppError("BAD_REQUEST", "This type of frame is not known.", { reason: "unknown_type" }),
          clientId,
        );
    }
  }

  /** One after another, in the order in which they came; nothing is kept while nothing waits. */
  private enqueue(work: () => Promise<void>, clientId: string | null): void {
    if (this.waiting >= WAITING_MAX) {
      this.refuse(rateLimited(1, "busy"), clientId);
      return;
    }
    this.waiting += 1;
    const run = async () => {
      try {
        if (this.ws !== null) await work();
      } catch (error) {
        this.fail(error, clientId);
      } finally {
        this.done();
      }
    };
    this.tail = this.tail === null ? run() : this.tail.then(run);
  }

  private done(): void {
    this.waiting -= 1;
    if (this.waiting === 0) this.tail = null;
  }

  private guarded(work: () => void, clientId: string | null): void {
    try {
      work();
    } catch (error) {
      this.fail(error, clientId);
    }
  }

  private fail(error: unknown, clientId: string | null): void {
    if (isAppError(error)) {
      if (error.cause !== undefined) this.hub.log.warn(error.message, { code: error.code, cause: error.cause });
      this.refuse(error, clientId);
      return;
    }
    const requestId = uuidv7();
    this.hub.log.error("a frame failed", { request_id: requestId, error });
    this.send(
      errorFrame(
        new AppError("SERVER_ERROR", "Something went wrong here.", { request_id: requestId }),
        clientId,
        false,
      ),
    );
  }

  private refuse(error: AppError, clientId: string | null): void {
    const isLast = error.code === "RATE_LIMITED" && this.countRefusal();
    this.send(errorFrame(error, clientId, isLast));
    if (isLast) this.shut(CLOSE.rate, "rate");
  }

  private malformed(): void {
    const now = this.hub.seconds();
    this.faults ??= new Faults();
    const { faults } = this;
    if (now - faults.malformedSince >= MINUTE_SECONDS) {
      faults.malformed = 0;
      faults.malformedSince = now;
    }
    faults.malformed += 1;
    const isLast = faults.malformed >= MALFORMED_MAX;
    const error = new AppError("BAD_REQUEST", "A frame is one JSON object with a type.", { reason: "invalid_message" });
    this.send(errorFrame(error, null, isLast));
    if (isLast) this.shut(CLOSE.malformed, "malformed frames");
  }

  /** True at the fifth refusal for rate within a minute. */
  private countRefusal(): boolean {
    const now = this.hub.seconds();
    this.faults ??= new Faults();
    const { faults } = this;
    if (now - faults.refusedSince >= MINUTE_SECONDS) {
      faults.refused = 0;
      faults.refusedSince = now;
    }
    faults.refused += 1;
    return faults.refused >= REFUSALS_MAX;
  }

  private countFrame(): boolean {
    const now = this.hub.seconds();
    if (now - this.framesSince >= MINUTE_SECONDS) {
      this.frames = 0;
      this.framesSince = now;
    }
    this.frames += 1;
    return this.frames <= this.hub.limits.framesPerMinute;
  }

  private joined(conversationId: string): Joined | null {
    if (this.home?.room.id === conversationId) return this.home;
    return this.more?.find(({ room }) => room.id === conversationId) ?? null;
  }

  /** The conversation that a frame means: the named one, or the one the socket came for. */
  private meant(frame: Frame): { id: string; joined: Joined | null } {
    const named = textField(frame, "session_id") ?? textField(frame, "conversation_id");
    if (named === null || named === this.proof) {
      if (this.home === null) throw notFound("conversation");
      return { id: this.home.room.id, joined: this.home };
    }
    if (!isUuid(named)) throw notFound("conversation");
    const id = named.toLowerCase();
    return { id, joined: this.joined(id) };
  }

  private async context(): Promise<Context> {
    return this.hub.context(this);
  }

  private async say(frame: Frame, kind: MessageType): Promise<void> {
    const input = messageOf(frame, kind);
    const { id, joined } = this.meant(frame);
    await this.post(id, joined, input);
  }

  private async post(id: string, joined: Joined | null, input: ReturnType<typeof messageOf>): Promise<void> {
    const ctx = await this.context();
    if (joined?.part === "reader") throw forbidden("conversations:respond");
    if (joined !== null && this.kind !== "chat" && joined.part === "user" && !holds(ctx.caller, "chat:write")) {
      throw forbidden("chat:write");
    }
    const { messages } = this.hub;
    if (joined === null) {
      this.acknowledge(await messages.post(ctx, id, input));
      return;
    }
    // The next frame need not wait until this message is stored: the line keeps their order.
    const { posted } = await messages.say(ctx, joined, input);
    this.waiting += 1;
    posted
      .then(
        (done) => {
          if (done.isKnown) joined.isKnown = true;
          this.acknowledge(done);
        },
        (error: unknown) => this.fail(error, input.clientId),
      )
      .finally(() => this.done());
  }

  private acknowledge({ message, duplicate }: Posted): void {
    const { conversationId: id } = message;
    this.send(
      JSON.stringify({
        type: "ack",
        client_id: message.clientId,
        message_id: message.id,
        seq: message.seq,
        session_id: id,
        conversation_id: id,
        timestamp: message.createdAt.toISOString(),
        duplicate,
      }),
    );
  }

  private async pick(frame: Frame): Promise<void> {
    const value = textField(frame, "value");
    if (value === null || value === "") {
      throw invalid([{ path: "value", message: "is required", expected: "the value of a suggestion" }]);
    }
    const { id, joined } = this.meant(frame);
    const content = await this.hub.messages.suggestionLabel(id, value);
    await this.post(id, joined, {
      content,
      type: "text",
      attachments: [],
      clientId: textField(frame, "client_id"),
      replyTo: null,
      switchers: [],
      metadata: { suggestion: value },
      name: null,
    });
  }

  private typing(frame: Frame): void {
    const { joined } = this.meant(frame);
    const state = frame["state"];
    if (state !== "start" && state !== "stop") {
      throw invalid([{ path: "state", message: "must be start or stop", expected: "start or stop" }]);
    }
    if (joined === null || joined.part === "reader") throw notFound("conversation");
    const { id } = joined.room;
    const sender = joined.as;
    this.hub.rooms.live(
      id,
      JSON.stringify({ type: "typing", session_id: id, conversation_id: id, sender, sender_id: this.userId, state }),
    );
  }

  private async read(frame: Frame): Promise<void> {
    const messageId = textField(frame, "message_id");
    if (messageId === null || !isUuid(messageId)) {
      throw invalid([{ path: "message_id", message: "is required", expected: "a message id" }]);
    }
    const { id, joined } = this.meant(frame);
    const ctx = await this.context();
    if (joined === null) await this.hub.messages.markRead(ctx, id, messageId);
    else if (joined.part !== "reader") {
      await this.hub.messages.markReadBy(ctx, id, messageId, joined.part === "user");
    }
  }

  private async cancel(frame: Frame): Promise<void> {
    const { id } = this.meant(frame);
    await this.hub.messages.cancel(await this.context(), id, textField(frame, "message_id"));
  }

  private async end(frame: Frame): Promise<void> {
    const { id } = this.meant(frame);
    const resolution = textField(frame, "resolution");
    if (resolution !== null && !["resolved", "unresolved", "abandoned"].includes(resolution)) {
      throw invalid([{ path: "resolution", message: "is not known", expected: "resolved, unresolved or abandoned" }]);
    }
    const rating = numberField(frame, "rating");
    if (rating !== null && (rating < 1 || rating > 5)) {
      throw invalid([{ path: "rating", message: "is out of range", expected: "1–5" }]);
    }
    await this.hub.conversations.close(await this.context(), id, {
      ...(resolution === null ? {} : { resolution: resolution as Resolution }),
      ...(rating === null ? {} : { rating }),
    });
  }

  private async authenticate(frame: Frame): Promise<void> {
    const token = textField(frame, "token") ?? "";
    try {
      const caller = await this.hub.authenticate(token, this.ip);
      if (this.kind === "pending") {
        const { query } = this;
        if (query === null) return;
        const entry = await this.hub.enter({ ...this.hub.bareContext(this.ip), caller }, query);
        this.query = null;
        this.bind(caller, entry.row?.id ?? null);
        this.hub.bound(this);
        await this.enter(entry);
        return;
      }
      await this.rebind(caller);
    } catch (error) {
      if (!isAppError(error) || error.code !== "UNAUTHORIZED") throw error;
      this.send(errorFrame(error, null, true));
      this.shut(CLOSE.ended, "credentials wrong");
    }
  }

  /** A socket without an account gets one: its conversation becomes the user's. */
  private async rebind(caller: Caller): Promise<void> {
    if (caller.userId === null) throw unauthorized("This is not an account's credential.");
    if (this.userId !== null && this.userId !== caller.userId) throw forbidden(null, "other_account");
    const before = this.kind;
    const { home } = this;
    const ctx = { ...this.hub.bareContext(this.ip), caller };
    if (before === "chat") {
      this.hub.checkRoomFor(caller.userId);
      const proof = this.proof;
      // Bound first: the end of the chat token must not close this socket.
      this.bind(caller, null);
      try {
        if (home !== null) await this.hub.conversations.claimOpen(ctx, home.room.id);
      } catch (error) {
        this.kind = before;
        this.userId = null;
        this.proof = proof;
        throw error;
      }
      this.hub.bound(this);
    } else this.bind(caller, null);
    const row = home === null ? null : await this.hub.find(home.room.id);
    const bot = row === null ? null : await this.hub.bots.find(row.botId);
    this.sendConnected(row, bot, caller, null, home?.room.lastSeq ?? 0);
  }

  private async subscribe(frame: Frame): Promise<void> {
    const named = textField(frame, "session_id") ?? textField(frame, "conversation_id");
    const ctx = await this.context();
    const id = await this.hub.resolve(ctx, named ?? this.home?.room.id ?? null);
    const lastSeq = numberField(frame, "last_seq");
    const lastMessageId = textField(frame, "last_message_id");
    const { row, part } = await this.hub.openFor(ctx, id);
    const fromSeq = lastSeq ?? (lastMessageId === null ? null : await this.hub.seqOf(row.id, lastMessageId));
    const known = this.joined(row.id);
    if (known === null && (this.more?.length ?? 0) + (this.home === null ? 0 : 1) >= ROOMS_MAX) {
      throw new AppError("CONFLICT", `A socket listens to at most ${ROOMS_MAX} conversations.`, {
        reason: "too_many_subscriptions",
      });
    }
    // Replaying to a socket that listens already: it leaves for that time, so that nothing overtakes.
    if (known !== null) this.leave(known);
    await this.join(row, part, fromSeq ?? row.lastSeq, true);
  }

  private async unsubscribe(frame: Frame): Promise<void> {
    const { joined } = this.meant(frame);
    if (joined !== null) this.leave(joined);
  }

  private leave(joined: Joined): void {
    if (this.home === joined) this.home = null;
    else this.more = this.more?.filter((one) => one !== joined) ?? null;
    if (this.more?.length === 0) this.more = null;
    this.hub.rooms.leave(joined.room, this, false);
    this.hub.rooms.release(joined.room);
  }

  private async enter(entry: Entry): Promise<void> {
    const { row, bot, token } = entry;
    const ctx = await this.context();
    this.sendConnected(row, bot, ctx.caller, token, row?.lastSeq ?? 0);
    if (row === null) return;
    // What came since the row was read is replayed: a new conversation may have been greeted meanwhile.
    await this.join(row, entry.part, entry.fromSeq ?? row.lastSeq, entry.fromSeq !== null);
    const { suggestions, switchers } = await this.hub.responder.present(ctx, turnConversation(row));
    if (suggestions.length > 0 || switchers.some(({ active }) => active)) {
      this.send(suggestionFrame(row.id, suggestions, switchers));
    }
    if (row.handler === "human") {
      const state = await this.hub.attendanceOf(row.id);
      this.sendStatus(row.id, "handler", { handler: "human", ...state });
    }
  }

  private sendStatus(conversationId: string, state: string, more: Record<string, unknown>): void {
    this.send(
      JSON.stringify({ type: "status", state, session_id: conversationId, conversation_id: conversationId, ...more }),
    );
  }

  private sendConnected(
    row: HeardConversation | null,
    bot: ChatBot | null,
    caller: Caller,
    token: string | null,
    lastSeq: number,
  ): void {
    this.send(
      JSON.stringify({
        type: "status",
        state: "connected",
        session_id: row?.id ?? null,
        conversation_id: row?.id ?? null,
        bot: bot === null ? null : presentBot(bot),
        user: caller.userId === null ? null : { id: caller.userId, username: caller.username },
        ...(token === null ? {} : { token }),
        last_seq: lastSeq,
        handler: row?.handler ?? null,
        heartbeat_seconds: HEARTBEAT_SECONDS,
        limits: limitsOf(bot?.messagesPerMinute ?? 60, this.hub.attachmentBytesMax()),
      }),
    );
  }

  /** Replays what is above `fromSeq` and listens from then on, without a gap and in order. */
  private async join(row: HeardConversation, part: JoinedAs, fromSeq: number, isTold: boolean): Promise<void> {
    const { rooms } = this.hub;
    const room = await rooms.open(row.id, row.lastSeq);
    // The directory's own text of the id, which all sockets of the bot share.
    const botId = (await this.hub.bots.find(row.botId))?.id ?? row.botId;
    const joined = new Joined(room, botId, part, row.title !== null && row.language !== null);
    let isJoined = false;
    try {
      isJoined = await this.replay(joined, fromSeq, isTold);
    } finally {
      if (!isJoined) rooms.release(room);
    }
    if (isJoined && this.wantsDeltas) await this.sendPartial(row.id);
  }

  /** In the tick in which nothing is missing, the socket joins; false if it was closed before. */
  private async replay(joined: Joined, fromSeq: number, isTold: boolean): Promise<boolean> {
    const { rooms, messages } = this.hub;
    const { room } = joined;
    let upTo = fromSeq;
    let isFirst = isTold;
    let isEnough = false;
    for (;;) {
      if (this.ws === null) return false;
      if (!isFirst && (isEnough || room.lastSeq <= upTo)) {
        rooms.join(room, this);
        if (this.home === null) this.home = joined;
        else (this.more ??= []).push(joined);
        return true;
      }
      const missed = await messages.missed(room.id, upTo, REPLAY_MESSAGES_MAX + 1);
      const truncated = missed.messages.length > REPLAY_MESSAGES_MAX;
      const page = missed.messages.slice(0, REPLAY_MESSAGES_MAX);
      if (isFirst) {
        this.sendStatus(room.id, "resumed", { from_seq: fromSeq, to_seq: page.at(-1)?.seq ?? fromSeq, truncated });
        for (const row of missed.changed) this.send(updateFrame(room.id, row.id, changesOf(row)));
      }
      for (const row of page) {
        if (this.ws === null) return false;
        this.send(messageFrame(row));
        upTo = row.seq;
        if (this.ws !== null && this.ws.getBufferedAmount() > SLOW_BYTES / 2) await this.untilDrained();
      }
      isEnough = truncated && isTold;
      isFirst = false;
      if (!isEnough && upTo > room.lastSeq) await rooms.catchUp(room, upTo);
    }
  }

  private untilDrained(): Promise<void> {
    this.drained ??= Promise.withResolvers<void>();
    return this.drained.promise;
  }

  private async sendPartial(conversationId: string): Promise<void> {
    const frame = await this.hub.turns.partialFrame(conversationId);
    if (frame !== null && !this.isSlow) this.send(frame);
  }
}
