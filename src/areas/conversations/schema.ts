// Shapes of requests and answers of the conversations area, as on the wire.

import { t } from "elysia";
import { Moment, nullable, oneOf } from "../../http/schema.ts";
import { ATTACHMENTS_MAX } from "./rules.ts";

const Id = t.String({ format: "uuid" });
const Words = t.Record(t.String(), t.Unknown());
const Language = t.String({
  pattern: "^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
  maxLength: 35,
  description: "BCP 47",
});
const ClientId = t.String({
  pattern: "^[A-Za-z0-9._:-]{1,64}$",
  description: "made by the client; a repeat is recognised by it",
});
const BotName = t.String({ minLength: 1, maxLength: 100, description: "id or name; the default bot if absent" });

export const Channels = oneOf([
  "web",
  "whatsapp",
  "telegram",
  "teams",
  "instagram",
  "messenger",
  "sms",
  "email",
  "voice",
  "api",
] as const);
export const Statuses = oneOf(["active", "closed", "archived"] as const);
export const Handlers = oneOf(["bot", "human"] as const);

export const Conversation = t.Object(
  {
    id: Id,
    conversation_id: Id,
    session_id: t.String({ format: "uuid", description: "the same id" }),
    bot_id: Id,
    bot_name: t.String(),
    user_id: nullable(Id),
    channel: Channels,
    title: nullable(t.String()),
    status: Statuses,
    closed_reason: nullable(oneOf(["user", "bot", "attendant", "idle", "admin"] as const)),
    handler: Handlers,
    resolution: nullable(oneOf(["resolved", "unresolved", "abandoned"] as const)),
    resolved_by: nullable(oneOf(["bot", "attendant", "user"] as const)),
    rating: nullable(t.Integer()),
    rating_comment: nullable(t.String()),
    rated_at: nullable(Moment),
    last_seq: t.Integer({ description: "seq of the newest message" }),
    last_message: t.String({ description: "its first 200 characters" }),
    last_activity: Moment,
    message_count: t.Integer(),
    unread_count: t.Integer(),
    started_at: Moment,
    closed_at: nullable(Moment),
    expires_at: nullable(Moment),
    language: nullable(t.String()),
    pinned: t.Boolean(),
    tags: t.Array(t.String()),
    metadata: Words,
    version: t.Integer({ description: "the entity tag" }),
  },
  { title: "Conversation" },
);

export const Attachment = t.Object(
  { id: Id, name: t.String(), mime: t.String(), size: t.Integer(), url: t.String() },
  { title: "Attachment" },
);

export const Suggestion = t.Object({ label: t.String(), value: t.String() });

const Citation = t.Object({
  n: t.Integer(),
  document_id: t.String(),
  title: t.String(),
  collection: nullable(t.String()),
  path: nullable(t.String()),
  page: nullable(t.Integer()),
  slide: nullable(t.Integer()),
  sheet: nullable(t.String()),
  row: nullable(t.Integer()),
  line: nullable(t.Integer()),
  heading_path: t.Array(t.String(), { description: "headings above the passage, widest first" }),
  source_url: nullable(t.String({ description: "where a page of a website was read" })),
  snippet: t.String({ description: "the passage" }),
  char_start: t.Integer({ description: "into the document's text (UTF-16): where the quoted sentences begin" }),
  char_end: t.Integer({ description: "where they end; without a quote the whole passage is meant" }),
  score: t.Number(),
});

const Usage = t.Object({
  model: t.String(),
  prompt_tokens: t.Integer(),
  completion_tokens: t.Integer(),
  latency_ms: t.Number(),
  cached: t.Boolean(),
});

export const Message = t.Object(
  {
    id: Id,
    message_id: Id,
    conversation_id: Id,
    session_id: Id,
    seq: t.Integer({ description: "1, 2, 3 … without gaps in its conversation" }),
    sender: oneOf(["user", "bot", "attendant", "system", "tool"] as const),
    sender_id: nullable(t.String()),
    sender_name: nullable(t.String()),
    type: oneOf(["text", "voice", "continue", "context", "system"] as const),
    content: t.String(),
    content_type: oneOf(["text/markdown", "text/plain", "application/json"] as const),
    attachments: t.Array(Attachment),
    suggestions: t.Array(Suggestion),
    citations: t.Array(Citation),
    reply_to: nullable(t.String()),
    client_id: nullable(t.String()),
    status: oneOf(["queued", "sent", "delivered", "read", "processing", "answered", "failed", "cancelled"] as const),
    feedback: nullable(oneOf(["up", "down"] as const)),
    feedback_comment: nullable(t.String()),
    usage: nullable(Usage),
    metadata: Words,
    is_complete: t.Boolean(),
    finish_reason: nullable(oneOf(["stop", "length", "cancelled", "error"] as const)),
    superseded_by: nullable(t.String()),
    timestamp: Moment,
    edited_at: nullable(Moment),
    deleted_at: nullable(Moment),
  },
  { title: "Message" },
);

export const Bot = t.Object({ id: Id, name: t.String(), title: t.String(), theme: nullable(t.String()) });

export const StartConversation = t.Object({
  bot_id: t.Optional(BotName),
  initial_message: t.Optional(t.String({ maxLength: 100_000 })),
  title: t.Optional(t.String({ minLength: 1, maxLength: 200 })),
  language: t.Optional(Language),
  metadata: t.Optional(Words),
  client_id: t.Optional(ClientId),
});

export const StartedConversation = t.Object({
  conversation_id: Id,
  session_id: Id,
  status: Statuses,
  bot: Bot,
  token: t.Optional(t.String({ description: "chat token; anonymous callers only, shown once" })),
  expires_at: nullable(Moment),
  messages: t.Array(Message, { description: "the greeting so far" }),
});

export const UpdateConversation = t.Object({
  title: t.Optional(t.String({ minLength: 1, maxLength: 200 })),
  pinned: t.Optional(t.Boolean()),
  tags: t.Optional(t.Array(t.String({ minLength: 1, maxLength: 50 }), { maxItems: 20 })),
  language: t.Optional(Language),
  metadata: t.Optional(Words),
});

const Wait = t.Union([t.Boolean(), t.Integer({ minimum: 0, maximum: 60 })], {
  description: "true or seconds (≤ 60): the answer comes with the acknowledgement",
});

export const SendMessage = t.Object({
  content: t.Optional(t.String({ maxLength: 200_000, default: "" })),
  type: t.Optional(t.Union([t.String({ maxLength: 20 }), t.Integer({ minimum: 1, maximum: 5 })])),
  attachments: t.Optional(t.Array(Id, { maxItems: ATTACHMENTS_MAX })),
  client_id: t.Optional(ClientId),
  reply_to: t.Optional(Id),
  switchers: t.Optional(t.Array(t.String({ maxLength: 200 }), { maxItems: 50 })),
  metadata: t.Optional(Words),
  name: t.Optional(t.String({ maxLength: 100, description: "for type `context`" })),
  stream: t.Optional(t.Boolean({ description: "the answer as server-sent events" })),
  wait: t.Optional(Wait),
});

export const WaitQuery = t.Object({
  wait: t.Optional(t.String({ pattern: "^(true|false|[0-9]{1,2})$", description: "true or seconds (≤ 60)" })),
});

export const SentMessage = t.Object({
  message_id: Id,
  seq: t.Integer(),
  timestamp: Moment,
  status: t.String(),
  duplicate: t.Boolean(),
  answer: t.Optional(nullable(Message)),
});

export const HistoryQuery = t.Object({
  limit: t.Optional(t.Integer({ minimum: 1, maximum: 100, default: 50 })),
  before: t.Optional(t.String({ maxLength: 64, description: "RFC 3339, a message id or seq:N" })),
  after: t.Optional(t.String({ maxLength: 64, description: "RFC 3339, a message id or seq:N" })),
  order: t.Optional(oneOf(["asc", "desc"] as const)),
  include_tool: t.Optional(t.Boolean({ default: false })),
});

export const History = t.Object({
  messages: t.Array(Message),
  has_more: t.Boolean(),
  next_before: nullable(t.String()),
  next_after: nullable(t.String()),
});

export const MessageFeedback = t.Object({
  value: nullable(oneOf(["up", "down"] as const)),
  comment: t.Optional(t.String({ maxLength: 1000 })),
});

export const CloseConversation = t.Optional(
  t.Union([
    t.Object({
      resolution: t.Optional(oneOf(["resolved", "unresolved", "abandoned"] as const)),
      rating: t.Optional(t.Integer({ minimum: 1, maximum: 5 })),
      comment: t.Optional(t.String({ maxLength: 2000 })),
    }),
    t.Null(),
  ]),
);

export const RateConversation = t.Object({
  rating: t.Integer({ minimum: 1, maximum: 5 }),
  comment: t.Optional(t.String({ maxLength: 2000 })),
  resolved: t.Optional(t.Boolean()),
});

export const CancelAnswer = t.Optional(t.Union([t.Object({ message_id: t.Optional(Id) }), t.Null()]));

export const ReadMark = t.Object({ message_id: Id });

export const ClaimConversation = t.Object({ token: t.String({ minLength: 4, maxLength: 200 }) });

export const StartSession = t.Optional(
  t.Union([t.Object({ bot_id: t.Optional(BotName), language: t.Optional(Language) }), t.Null()]),
);

export const ChatSession = t.Object({
  session_id: Id,
  conversation_id: Id,
  token: t.String({ description: "chat token, shown once" }),
  expires_at: nullable(Moment),
  bot: Bot,
});

export const Chat = t.Object({
  message: t.Optional(t.String({ maxLength: 200_000, default: "" })),
  session_id: t.Optional(Id),
  bot_id: t.Optional(BotName),
  client_id: t.Optional(ClientId),
  attachments: t.Optional(t.Array(Id, { maxItems: ATTACHMENTS_MAX })),
  stream: t.Optional(t.Boolean()),
});

export const ChatAnswer = t.Object({
  session_id: Id,
  conversation_id: Id,
  message_id: Id,
  answer: nullable(Message),
  suggestions: t.Array(Suggestion),
  token: t.Optional(t.String({ description: "of a new anonymous session" })),
});
