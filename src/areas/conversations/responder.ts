// What conversations ask of the areas that stand behind them: the bots that exist and who may use them, and how
// a message is answered. Types only; the bots area implements them, app.ts hands them in.

import type { Caller, Context } from "../../core/context.ts";
import type { ErrorCode } from "../../core/errors.ts";
import type { MaybePromise } from "../../engines/cache/index.ts";
import type { Database } from "../../engines/database/index.ts";

export type Channel =
  "web" | "whatsapp" | "telegram" | "teams" | "instagram" | "messenger" | "sms" | "email" | "voice" | "api";

export type Sender = "user" | "bot" | "attendant" | "system" | "tool";
export type MessageType = "text" | "voice" | "continue" | "context" | "system";
export type ContentType = "text/markdown" | "text/plain" | "application/json";
export type FinishReason = "stop" | "length" | "cancelled" | "error";

export interface Suggestion {
  label: string;
  value: string;
}

export interface Switcher {
  id: string;
  label: string;
  color: string | null;
  active: boolean;
}

export interface Citation {
  n: number;
  document_id: string;
  title: string;
  collection: string | null;
  path: string | null;
  page: number | null;
  slide: number | null;
  sheet: string | null;
  row: number | null;
  line: number | null;
  heading_path: string[];
  /** Where a page of a website was read. */
  source_url: string | null;
  /** The passage; `…` where it is cut. */
  snippet: string;
  /** UTF-16 offsets into the document's text: of the quoted sentences, else of the passage. */
  char_start: number;
  char_end: number;
  score: number;
}

export interface Usage {
  model: string;
  prompt_tokens: number;
  completion_tokens: number;
  latency_ms: number;
  cached: boolean;
}

/** A file of a message, as stored with it. */
export interface MessageAttachment {
  id: string;
  name: string;
  mime: string;
  size: number;
}

/** A stored message, as the responder sees it. */
export interface StoredMessage {
  id: string;
  conversationId: string;
  seq: number;
  sender: Sender;
  senderId: string | null;
  senderName: string | null;
  type: MessageType;
  content: string;
  contentType: ContentType;
  attachments: MessageAttachment[];
  suggestions: Suggestion[];
  citations: Citation[];
  replyTo: string | null;
  metadata: Record<string, unknown>;
  isComplete: boolean;
  finishReason: FinishReason | null;
  createdAt: Date;
}

/** The conversation a turn belongs to, as it stood when the turn began. */
export interface TurnConversation {
  id: string;
  botId: string;
  botName: string;
  /** Null while anonymous. */
  userId: string | null;
  channel: Channel;
  title: string | null;
  handler: "bot" | "human";
  language: string | null;
  startedAt: Date;
  metadata: Record<string, unknown>;
}

/** What a bot says: the text of one message and all that is stored with it. */
export interface Reply {
  content: string;
  contentType: ContentType;
  citations: Citation[];
  suggestions: Suggestion[];
  /** `answer_mode`, `no_answer`, `degraded` and the bot's own keys; ≤ 16 KiB as JSON. */
  metadata: Record<string, unknown>;
  usage: Usage | null;
  finishReason: FinishReason;
  /** Ids of attachments that `TurnEmit.attach` gave. */
  attachments?: string[];
  /** Told to the person as an `error` frame (REST: that status) besides the stored text; the message counts as failed. */
  failure?: { code: ErrorCode; message: string; details: Record<string, unknown> };
}

/** What may be told while a turn runs. Everything but `say` is at most once and never stored. */
export interface TurnEmit {
  /** The next piece of the answer that `respond` will return. */
  delta(text: string): void;
  /** Drops what was shown of the answer and begins again with `text`. */
  reset(text: string): void;
  typing(on: boolean): void;
  suggestions(list: Suggestion[], switchers: Switcher[]): void;
  /** Shown only where the bot has `show-tool-activity`. */
  tool(name: string, state: "started" | "finished" | "failed", label: string): void;
  /**
   * Stores and delivers a whole message before the answer itself (a script's TALK). `key` names it within the turn:
   * said again under the same key, after a take-over for example, nothing is stored and the first one is returned.
   */
  say(key: string, reply: Reply, as?: { sender: "bot" | "system" | "tool"; name?: string }): Promise<StoredMessage>;
  /** Stores bytes as an attachment of this conversation and returns its id, for `Reply.attachments`. */
  attach(name: string, body: ReadableStream<Uint8Array> | Uint8Array | Blob): Promise<string>;
}

/** What is the same in a greeting and an answer. */
export interface TurnInput {
  /** Stable over take-overs: key of journals, caches and anything that must happen once. */
  turnId: string;
  /** Id of the message that the returned reply will become. */
  answerId: string;
  /** 1 at the first try; higher when another instance died with this turn. */
  attempt: number;
  conversation: TurnConversation;
  /** The person who speaks, with the rights held now; anonymous where nobody is signed in. */
  ctx: Context;
  /** Aborted on cancel, on loss of the lease and when the server stops. */
  signal: AbortSignal;
  emit: TurnEmit;
}

export interface RespondInput extends TurnInput {
  message: StoredMessage;
  /** Switchers named with this message. */
  switchers: string[];
  /** True when an earlier answer to the same message is being replaced. */
  regenerate: boolean;
  /** The newest `limit` messages that stood before this one, oldest first; deleted and superseded ones left out. */
  history(limit: number): Promise<StoredMessage[]>;
}

export interface Responder {
  /** Runs the start script of a new conversation, once; what it says becomes the first messages. */
  greet(input: TurnInput): Promise<Reply[]>;
  /**
   * Answers one message. Null: nothing more is said (all was said through `emit.say`, or a person took over).
   * A thrown AppError marks the message failed and is told as it is; any other error becomes `SERVER_ERROR`.
   */
  respond(input: RespondInput): Promise<Reply | null>;
  /** A message of type `context`: from now on `name` stands for `content` in this conversation; empty removes it. */
  setContext(ctx: Context, conversation: TurnConversation, name: string, content: string): Promise<void>;
  /** Suggestions and switchers that are on now, for a client that joins. */
  present(ctx: Context, conversation: TurnConversation): Promise<{ suggestions: Suggestion[]; switchers: Switcher[] }>;
}

/** A bot as conversations need it. */
export interface ChatBot {
  id: string;
  name: string;
  title: string;
  /** Name of the theme in use, null for the built-in one. */
  theme: string | null;
  isActive: boolean;
  isDefault: boolean;
  anonymousAllowed: boolean;
  language: string;
  /** `session-timeout`, seconds. */
  sessionTimeoutSeconds: number;
  /** `session-rate-limit`, messages a minute. */
  messagesPerMinute: number;
  /** `data-retention-days`; 0 keeps. */
  retentionDays: number;
  /** `show-tool-activity`. */
  showToolActivity: boolean;
  /** Conversations that may be under way at a time (`max_concurrent_sessions`); null: any number. */
  sessionsMax: number | null;
}

/** The bots that exist. Answers come from memory as a rule: these are called for every message. */
export interface BotDirectory {
  /** By id or name; null is the default bot. Null when there is none, whoever asks. */
  find(nameOrId: string | null): Promise<ChatBot | null>;
  /** Whether this caller may talk to the bot (visibility, groups, denied users, `anonymous_allowed`). */
  access(ctx: Context, bot: ChatBot): Promise<"allowed" | "forbidden" | "unknown">;
}

/** A change of a conversation, for those who keep something about it in the same transaction. */
export interface ConversationEvent {
  conversation: TurnConversation;
  /** Transaction of the change itself. */
  tx: Database;
  afterCommit: (action: () => void | Promise<void>) => void;
}

/** Areas that keep something about conversations: attendance, dialogs, memory, channels. */
export interface ConversationListener {
  /** After commit: a message that goes to or comes from a person who attends (`handler` human, or sender `attendant`). */
  attended?(conversation: TurnConversation, message: StoredMessage): Promise<void>;
  /** It is being closed: waiting dialog runs end as `cancelled`, queue items as `abandoned`. */
  closing?(event: ConversationEvent, reason: "user" | "bot" | "attendant" | "idle" | "admin"): Promise<void>;
  /** It and all that was kept about it is being erased. */
  erasing?(event: ConversationEvent): Promise<void>;
  /** An anonymous conversation now belongs to `userId`. */
  claimed?(event: ConversationEvent, userId: string): Promise<void>;
  /** After commit: every stored message that leaves by a channel other than the web. */
  outgoing?(conversation: TurnConversation, message: StoredMessage): void;
}

/** Who attends a conversation that was handed to a person. */
export interface Attendance {
  /** True when this user is the attendant who has the conversation. */
  isAssigned(userId: string, conversationId: string): Promise<boolean>;
  /** For the `status` frame `handler` and the attendant's name on messages. */
  state(
    conversationId: string,
  ): Promise<{ queuePosition: number | null; attendant: { id: string; name: string } | null }>;
}

/** Sign-in as conversations need it: who is behind a proof that was checked earlier, as of now. */
export interface CallerSource {
  /**
   * The caller with the rights held now; null when the session or key has ended or the account is not active.
   * Synchronous while it is fresh in memory: sockets ask with every message.
   */
  callerOf(proof: CallerProof): MaybePromise<Caller | null>;
  /** Those of these sign-in sessions that have ended by now, by idleness and expiry too; one query for all. */
  endedOf(sessionIds: readonly string[]): Promise<readonly string[]>;
}

export type CallerProof =
  | { kind: "session"; userId: string; sessionId: string }
  | { kind: "api_key"; userId: string; keyId: string }
  /** For a turn that outlives its request: the person with all their rights, whatever they signed in with. */
  | { kind: "user"; userId: string };

/** The sign-in sessions of the users area, where routes of both meet (`/session`). */
export interface SignInSessions {
  /** The caller's own sign-in session as its area shows it; null without one (API keys). */
  view(ctx: Context): Promise<Record<string, unknown> | null>;
  /** The bot that was last chosen for it. */
  botOf(sessionId: string): Promise<string | null>;
  chooseBot(ctx: Context, botId: string): Promise<void>;
  /** Ends one of the caller's own sessions; false if it is no session of theirs. */
  end(ctx: Context, sessionId: string): Promise<boolean>;
}

/** Looks into uploads. */
export interface Scanner {
  /** Name of what was found, or null. Throws `unavailable` when it is configured and does not answer. */
  scan(body: ReadableStream<Uint8Array>): Promise<string | null>;
}
