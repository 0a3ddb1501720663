// The statements behind every message: storing it with its seq, beginning its turn, ending the turn with the answer.
// Each is one statement, so it is one transaction and one round trip; seq is given under the conversation's row lock.

import { sql, type SQL } from "drizzle-orm";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type {
  ClosedReason,
  ConversationStatus,
  Handler,
  MessageStatus,
  TurnFailure,
  TurnKind,
  TurnState,
} from "./model.ts";
import type {
  Channel,
  Citation,
  ContentType,
  FinishReason,
  MessageAttachment,
  MessageType,
  Sender,
  Suggestion,
  Usage,
} from "./responder.ts";
import { WAITING_TURNS_MAX } from "./rules.ts";

/** How long a turn belongs to the instance that began it or renewed it last. */
export const LEASE_MS = 30_000;

/** A message before it has a seq. */
export interface NewMessage {
  id: string;
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
  clientId: string | null;
  dedupeKey: string | null;
  status: MessageStatus;
  usage: Usage | null;
  metadata: Record<string, unknown>;
  isComplete: boolean;
  finishReason: FinishReason | null;
  createdAt: Date;
}

/** What a stored message changes on its conversation besides the counters. */
export interface ConversationTouch {
  lastMessage: string;
  /** Taken where there is none yet. */
  title: string | null;
  language: string | null;
  /** When silence closes it, if it is anonymous. */
  expiresAt: Date;
}

/** A turn that is asked for together with a message; begun only while the bot has the conversation. */
export interface NewTurn {
  id: string;
  answerId: string;
  switchers: readonly string[];
}

export interface Appending {
  message: NewMessage;
  touch: ConversationTouch;
  turn: NewTurn | null;
  /** Id of the outgoing event `message.created`; null where nobody wants it. */
  eventId: string | null;
}

/** What became of a message that was stored. */
export interface Appended {
  seq: number;
  status: MessageStatus;
  turnState: "running" | "waiting" | null;
  handler: Handler;
  userId: string | null;
  botId: string;
  title: string | null;
  language: string | null;
  channel: Channel;
}

export interface TurnEnd {
  turnId: string;
  kind: TurnKind;
  attempt: number;
  instanceId: string;
  state: Exclude<TurnState, "waiting" | "running">;
  /** What becomes of the user's message. */
  messageStatus: MessageStatus;
  failure: TurnFailure | null;
  at: Date;
  /** The answer, where there is one. */
  answer: Omit<Appending, "turn"> | null;
}

export interface Ended {
  conversationId: string;
  kind: TurnKind;
  messageId: string | null;
  /** Seq of the answer; null without one. */
  seq: number | null;
  lastSeq: number;
  openTurns: number;
  handler: Handler;
  userId: string | null;
  supersededId: string | null;
}

/** A turn that this instance may run now. */
export interface ClaimedTurn {
  id: string;
  conversationId: string;
  kind: TurnKind;
  messageId: string | null;
  answerId: string;
  attempt: number;
  switchers: string[];
  cancelRequested: boolean;
}

/** Name of the unique index that refused a row; null for any other error. Looks through causes. */
export function refusingIndex(error: unknown): string | null {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const fault = at as Error & { code?: unknown; constraint?: unknown };
    if (fault.code === "23505") return typeof fault.constraint === "string" ? fault.constraint : "";
  }
  return null;
}

/** A text with $1… parameters as Drizzle's form, for use inside a transaction. */
export function asSql(text: string, values: readonly unknown[]): SQL {
  const parts = text.split(/\$(\d+)/);
  return sql.join(parts.map((part, i) => (i % 2 === 0 ? sql.raw(part) : sql`${values[Number(part) - 1]}`)));
}

/** Runs a statement by itself, or as part of `tx`. */
export async function run<Row extends Record<string, unknown>>(
  on: DatabaseEngine | Database,
  text: string,
  values: unknown[],
): Promise<Row[]> {
  if ("query" in on && typeof on.query === "function") return (on as DatabaseEngine).query<Row>(text, values);
  return (await (on as Database).execute(asSql(text, values))) as unknown as Row[];
}

const day = (at: Date): string => at.toISOString().slice(0, 10);

/** Columns of `messages` that come with the message itself, with their types, in the order of `messageValues`. */
const FIELDS = [
  ["id", "uuid"],
  ["sender", "text"],
  ["sender_id", "uuid"],
  ["sender_name", "text"],
  ["type", "text"],
  ["content", "text"],
  ["content_type", "text"],
  ["attachments", "jsonb"],
  ["suggestions", "jsonb"],
  ["citations", "jsonb"],
  ["reply_to", "uuid"],
  ["client_id", "text"],
  ["dedupe_key", "text"],
  ["usage", "jsonb"],
  ["metadata", "jsonb"],
  ["is_complete", "boolean"],
  ["finish_reason", "text"],
  ["created_at", "timestamptz"],
  ["status", "text"],
] as const;
const COLUMNS = FIELDS.map(([name]) => name).filter((name) => name !== "status");
const MESSAGE_FIELDS = FIELDS.map(([name, type]) => `${name} ${type}`).join(", ");
const MESSAGE_COLUMNS = COLUMNS.join(", ");
const FROM_I = COLUMNS.map((name) => `i.${name}`).join(", ");

/** The same columns as parameters from `$first` on. */
const asParameters = (first: number): string =>
  FIELDS.map(([name, type], i) => `$${first + i}::${type} as ${name}`).join(", ");

const json = (value: unknown): string | null => (value === null ? null : JSON.stringify(value));

function messageValues(message: NewMessage): unknown[] {
  return [
    message.id,
    message.sender,
    message.senderId,
    message.senderName,
    message.type,
    message.content,
    message.contentType,
    json(message.attachments),
    json(message.suggestions),
    json(message.citations),
    message.replyTo,
    message.clientId,
    message.dedupeKey,
    json(message.usage),
    json(message.metadata),
    message.isComplete,
    message.finishReason,
    message.createdAt,
    message.status,
  ];
}

function messageJson(message: NewMessage): Record<string, unknown> {
  return {
    id: message.id,
    sender: message.sender,
    sender_id: message.senderId,
    sender_name: message.senderName,
    type: message.type,
    content: message.content,
    content_type: message.contentType,
    attachments: message.attachments,
    suggestions: message.suggestions,
    citations: message.citations,
    reply_to: message.replyTo,
    client_id: message.clientId,
    dedupe_key: message.dedupeKey,
    status: message.status,
    usage: message.usage,
    metadata: message.metadata,
    is_complete: message.isComplete,
    finish_reason: message.finishReason,
    created_at: message.createdAt,
  };
}

/** The insert of `message.created` into the outbox, fed by `i` (messages) and `c` (their conversation). */
const EVENTS = `, e as (
  insert into events (id, type, created_at, subject_area, subject_id, actor_kind, actor_id, owner_id, data)
  select i.event_id, 'message.created', i.created_at, 'conversations', c.id::text,
    case i.sender when 'user' then 'session' else 'system' end, i.sender_id, c.user_id,
    jsonb_build_object('conversation_id', c.id, 'message_id', i.id, 'sender', i.sender, 'bot_id', c.bot_id, 'channel', c.channel)
  from i, c where i.event_id is not null
)`;

const ATTACHMENTS = `, a as (
  update attachments set message_id = i.id from i, c, jsonb_array_elements(i.attachments) as f
  where attachments.conversation_id = c.id and attachments.id = (f ->> 'id')::uuid and attachments.message_id is null
)`;

/** Only what a statement needs is in its text: planning costs more than running. */
const optional = (item: { message: NewMessage; eventId: string | null }): string =>
  (item.message.attachments.length > 0 ? ATTACHMENTS : "") + (item.eventId === null ? "" : EVENTS);

const optionalOf = (items: readonly { message: NewMessage; eventId: string | null }[]): string =>
  (items.some(({ message }) => message.attachments.length > 0) ? ATTACHMENTS : "") +
  (items.some(({ eventId }) => eventId !== null) ? EVENTS : "");

// $1 conversation, $2 how many, $3 last message, $4 time, $5 day, $6 title, $7 language, $8 expiry,
// $9 messages of others, $10 turns asked for, $11 instance, $12 lease; then one message, or many as JSON in $13.
const ONE = `with i as materialized (
  select $11::uuid as lease_owner, $12::timestamptz as lease_until, 1 as k, 1 as turn_k, $13::uuid as turn_id, $14::uuid as answer_id, $15::jsonb as switchers, $16::uuid as event_id,
    ${asParameters(17)}
)`;
const MANY = `with i as materialized (
  select x.*, $11::uuid as lease_owner, $12::timestamptz as lease_until from jsonb_to_recordset($13::jsonb) as x(k int, turn_k int, turn_id uuid, answer_id uuid, switchers jsonb, event_id uuid, ${MESSAGE_FIELDS})
)`;
const APPEND = `, c as (
  update conversations set
    last_seq = last_seq + $2::int, message_count = message_count + $2::int, unread_count = unread_count + $9::int,
    last_message = $3, last_activity = $4, activity_day = $5,
    title = coalesce(title, $6), language = coalesce(language, $7),
    expires_at = case when user_id is null and channel = 'web' then $8::timestamptz end,
    span_open = true,
    open_turns = open_turns + case when handler = 'bot' then $10::int else 0 end
  where id = $1 and status = 'active' and (expires_at is null or expires_at > $4)
    and (handler <> 'bot' or $10::int = 0 or open_turns + $10::int <= ${WAITING_TURNS_MAX + 1})
  returning id, bot_id, user_id, channel, handler, title, language, last_seq - $2::int as base,
    open_turns - case when handler = 'bot' then $10::int else 0 end as open_before
), m as (
  insert into messages (conversation_id, seq, turn_id, status, ${MESSAGE_COLUMNS})
  select c.id, c.base + i.k, case when c.handler = 'bot' then i.turn_id end,
    case when c.handler = 'bot' and i.turn_id is not null and c.open_before + i.turn_k = 1 then 'processing' else i.status end,
    ${FROM_I}
  from i, c
)`;
const APPEND_TURNS = `, t as (
  insert into turns (id, conversation_id, kind, message_id, answer_id, position, state, lease_owner, lease_until, attempt, switchers, created_at)
  select i.turn_id, c.id, 'message', i.id, i.answer_id, c.base + i.k,
    case when c.open_before + i.turn_k = 1 then 'running' else 'waiting' end,
    case when c.open_before + i.turn_k = 1 then i.lease_owner end,
    case when c.open_before + i.turn_k = 1 then i.lease_until end,
    case when c.open_before + i.turn_k = 1 then 1 else 0 end, i.switchers, i.created_at
  from i, c where c.handler = 'bot' and i.turn_id is not null
)`;
const APPEND_RESULT = "\nselect base, open_before, handler, user_id, bot_id, title, language, channel from c";

interface AppendRow extends Record<string, unknown> {
  base: number;
  open_before: number;
  handler: Handler;
  user_id: string | null;
  bot_id: string;
  title: string | null;
  language: string | null;
  channel: Channel;
}

/**
 * Stores messages of one conversation in order. Null: nothing was stored, because it is closed, expired, gone, or
 * its queue has no room for all of them. A repeated dedupe key throws (see `refusingIndex`) and stores nothing.
 */
export async function appendMessages(
  on: DatabaseEngine | Database,
  conversationId: string,
  items: readonly Appending[],
  instanceId: string,
): Promise<Appended[] | null> {
  const last = items.at(-1);
  if (!last) return [];
  const at = last.message.createdAt;
  const asked = items.filter(({ turn }) => turn !== null).length;
  const shared = [
    conversationId,
    items.length,
    last.touch.lastMessage,
    at,
    day(at),
    items.find(({ touch }) => touch.title !== null)?.touch.title ?? null,
    items.find(({ touch }) => touch.language !== null)?.touch.language ?? null,
    last.touch.expiresAt,
    items.filter(({ message }) => message.sender !== "user").length,
    asked,
    instanceId,
    new Date(at.getTime() + LEASE_MS),
  ];
  const turns = asked > 0 ? APPEND_TURNS : "";
  const [found] =
    items.length === 1
      ? await run<AppendRow>(on, ONE + APPEND + turns + optional(last) + APPEND_RESULT, [
          ...shared,
          last.turn?.id ?? null,
          last.turn?.answerId ?? null,
          JSON.stringify(last.turn?.switchers ?? []),
          last.eventId,
          ...messageValues(last.message),
        ])
      : await run<AppendRow>(on, MANY + APPEND + turns + optionalOf(items) + APPEND_RESULT, [
          ...shared,
          manyAsJson(items),
        ]);
  if (!found) return null;
  let position = found.open_before;
  return items.map(({ message, turn }, i) => {
    const isAsked = turn !== null && found.handler === "bot";
    if (isAsked) position += 1;
    const isRunning = isAsked && position === 1;
    return {
      seq: found.base + i + 1,
      status: isRunning ? "processing" : message.status,
      turnState: isAsked ? (isRunning ? "running" : "waiting") : null,
      handler: found.handler,
      userId: found.user_id,
      botId: found.bot_id,
      title: found.title,
      language: found.language,
      channel: found.channel,
    };
  });
}

function manyAsJson(items: readonly Appending[]): string {
  let asked = 0;
  return JSON.stringify(
    items.map(({ message, turn, eventId }, i) => ({
      ...messageJson(message),
      k: i + 1,
      turn_k: turn ? ++asked : null,
      turn_id: turn?.id ?? null,
      answer_id: turn?.answerId ?? null,
      switchers: turn?.switchers ?? [],
      event_id: eventId,
    })),
  );
}

// $1 turn, $2 attempt, $3 instance, $4 last message, $5 time, $6 day, $7 expiry, $8 event, then the message.
const SAY = `with i as materialized (select $8::uuid as event_id, ${asParameters(9)}), f as (
  select conversation_id from turns where id = $1 and attempt = $2 and lease_owner = $3 and state = 'running'
), c as (
  update conversations set last_seq = last_seq + 1, message_count = message_count + 1, unread_count = unread_count + 1,
    last_message = $4, last_activity = $5, activity_day = $6, span_open = true,
    expires_at = case when user_id is null and channel = 'web' then $7::timestamptz end
  from f where conversations.id = f.conversation_id
  returning conversations.id, bot_id, user_id, channel, last_seq
), m as (
  insert into messages (conversation_id, seq, turn_id, status, ${MESSAGE_COLUMNS})
  select c.id, c.last_seq, $1, i.status, ${FROM_I} from i, c
)`;

/** Stores a message that a running turn says before its answer. Null: the turn is no longer this attempt's. */
export async function sayMessage(
  on: DatabaseEngine | Database,
  fence: { turnId: string; attempt: number; instanceId: string },
  item: Omit<Appending, "turn">,
): Promise<{ seq: number; userId: string | null } | null> {
  const at = item.message.createdAt;
  const [row] = await run<{ last_seq: number; user_id: string | null }>(
    on,
    `${SAY}${optional(item)}\nselect last_seq, user_id from c`,
    [
      fence.turnId,
      fence.attempt,
      fence.instanceId,
      item.touch.lastMessage,
      at,
      day(at),
      item.touch.expiresAt,
      item.eventId,
      ...messageValues(item.message),
    ],
  );
  return row ? { seq: row.last_seq, userId: row.user_id } : null;
}

// $1 turn, $2 attempt, $3 instance, $4 state, $5 failure, $6 time, $7 status of the user's message
const END_TURN = `t as (
  update turns set state = $4, failure = $5::jsonb, ended_at = $6, lease_owner = null, lease_until = null
  where id = $1 and attempt = $2 and lease_owner = $3 and state = 'running'
  returning conversation_id, kind, message_id, supersedes
)`;
const END_STATUS = `, u as (
  update messages set status = $7, changed_seq = c.last_seq, changed_at = $6
  from t, c where t.kind = 'message' and messages.id = t.message_id and messages.deleted_at is null
)`;
const END_RESULT =
  "\nselect t.conversation_id, t.kind, t.message_id, t.supersedes, c.last_seq, c.open_turns, c.handler, c.user_id from t, c";

const END_SILENT = `with ${END_TURN}, c as (
  update conversations set open_turns = greatest(open_turns - 1, 0) from t where conversations.id = t.conversation_id
  returning conversations.id, user_id, last_seq, open_turns, handler
)${END_STATUS}${END_RESULT}`;

// $8 last message, $9 day, $10 expiry, $11 event, then the message.
const END_ANSWERED = `with i as materialized (select $11::uuid as event_id, ${asParameters(12)}), ${END_TURN}, c as (
  update conversations set open_turns = greatest(open_turns - 1, 0), last_seq = last_seq + 1,
    message_count = message_count + 1, unread_count = unread_count + 1, last_message = $8, last_activity = $6,
    activity_day = $9, span_open = true,
    expires_at = case when user_id is null and channel = 'web' then $10::timestamptz end
  from t where conversations.id = t.conversation_id
  returning conversations.id, bot_id, user_id, channel, last_seq, open_turns, handler
), m as (
  insert into messages (conversation_id, seq, turn_id, status, ${MESSAGE_COLUMNS})
  select c.id, c.last_seq, $1, i.status, ${FROM_I} from i, c
)${END_STATUS}`;
const SUPERSEDE = `, s as (
  update messages set superseded_by = i.id, changed_seq = c.last_seq, changed_at = $6
  from t, c, i where messages.id = t.supersedes
)`;

/** Ends a running turn and stores its answer. Null: the turn is no longer this attempt's, and nothing was stored. */
export async function endTurn(on: DatabaseEngine | Database, end: TurnEnd): Promise<Ended | null> {
  const { answer } = end;
  const values: unknown[] = [
    end.turnId,
    end.attempt,
    end.instanceId,
    end.state,
    json(end.failure),
    end.at,
    end.messageStatus,
  ];
  let text = END_SILENT;
  if (answer) {
    text = END_ANSWERED + (end.kind === "regenerate" ? SUPERSEDE : "") + optional(answer) + END_RESULT;
    values.push(answer.touch.lastMessage, day(end.at), answer.touch.expiresAt, answer.eventId);
    values.push(...messageValues(answer.message));
  }
  const [row] = await run<{
    conversation_id: string;
    kind: TurnKind;
    message_id: string | null;
    supersedes: string | null;
    last_seq: number;
    open_turns: number;
    handler: Handler;
    user_id: string | null;
  }>(on, text, values);
  if (!row) return null;
  return {
    conversationId: row.conversation_id,
    kind: row.kind,
    messageId: row.message_id,
    seq: answer ? row.last_seq : null,
    lastSeq: row.last_seq,
    openTurns: row.open_turns,
    handler: row.handler,
    userId: row.user_id,
    supersededId: answer ? row.supersedes : null,
  };
}

interface ClaimedRow extends Record<string, unknown> {
  id: string;
  conversation_id: string;
  kind: TurnKind;
  message_id: string | null;
  answer_id: string;
  attempt: number;
  switchers: string[];
  cancel_requested: boolean;
}

const claimed = (row: ClaimedRow): ClaimedTurn => ({
  id: row.id,
  conversationId: row.conversation_id,
  kind: row.kind,
  messageId: row.message_id,
  answerId: row.answer_id,
  attempt: row.attempt,
  switchers: row.switchers,
  cancelRequested: row.cancel_requested,
});

// The first open turn of a conversation is the only one that may run: the others wait for it. Taken if it waits, or
// if its lease is over.
const CLAIM = `with t as (
  update turns set state = 'running', lease_owner = $2, lease_until = $4, attempt = attempt + 1
  where id = (
    select id from turns where conversation_id = $1 and state in ('waiting', 'running') order by position, created_at limit 1 for update
  ) and (state = 'waiting' or lease_until < $3)
  returning id, conversation_id, kind, message_id, answer_id, attempt, switchers, cancel_requested
), m as (
  update messages set status = 'processing' from t
  where t.kind = 'message' and messages.id = t.message_id and messages.status = 'delivered'
)
select * from t`;

/** The next turn of the conversation, if it is free to be run by this instance. */
export async function claimTurn(
  engine: DatabaseEngine,
  conversationId: string,
  instanceId: string,
  now: Date,
): Promise<ClaimedTurn | null> {
  const lease = new Date(now.getTime() + LEASE_MS);
  const [row] = await engine.query<ClaimedRow>(CLAIM, [conversationId, instanceId, now, lease]);
  return row ? claimed(row) : null;
}

/** Conversations whose first open turn nobody runs; at most `limit`. */
export async function abandonedConversations(engine: DatabaseEngine, now: Date, limit: number): Promise<string[]> {
  const rows = await engine.query<{ conversation_id: string }>(
    `select conversation_id from turns where state in ('waiting', 'running')
     group by conversation_id having bool_and(state = 'waiting' or lease_until < $1)
     order by min(created_at) limit $2`,
    [now, limit],
  );
  return rows.map((row) => row.conversation_id);
}

/** Renews the leases of these turns; returns the ids that are still this instance's, with those asked to cancel. */
export async function renewLeases(
  engine: DatabaseEngine,
  turnIds: readonly string[],
  instanceId: string,
  now: Date,
): Promise<Map<string, boolean>> {
  const rows = await engine.query<{ id: string; cancel_requested: boolean }>(
    `update turns set lease_until = $3 where lease_owner = $2 and state = 'running'
       and id in (select value::uuid from jsonb_array_elements_text($1::jsonb))
     returning id, cancel_requested`,
    [JSON.stringify(turnIds), instanceId, new Date(now.getTime() + LEASE_MS)],
  );
  return new Map(rows.map((row) => [row.id, row.cancel_requested]));
}

/**
 * Gives running turns of this instance back to whoever takes them next: one of them, or all with null. Returns their
 * conversations.
 */
export async function releaseTurns(
  engine: DatabaseEngine,
  instanceId: string,
  turnId: string | null,
): Promise<string[]> {
  const rows = await engine.query<{ conversation_id: string }>(
    `update turns set state = 'waiting', lease_owner = null, lease_until = null
     where lease_owner = $1 and state = 'running' and ($2::uuid is null or id = $2) returning conversation_id`,
    [instanceId, turnId],
  );
  return rows.map((row) => row.conversation_id);
}

/** Why nothing could be appended. */
export async function standing(
  on: DatabaseEngine | Database,
  conversationId: string,
): Promise<{
  status: ConversationStatus;
  closedReason: ClosedReason | null;
  openTurns: number;
  expiresAt: Date | null;
} | null> {
  const [row] = await run<{
    status: ConversationStatus;
    closed_reason: ClosedReason | null;
    open_turns: number;
    expires_at: Date | null;
  }>(on, "select status, closed_reason, open_turns, expires_at from conversations where id = $1", [conversationId]);
  return row
    ? { status: row.status, closedReason: row.closed_reason, openTurns: row.open_turns, expiresAt: row.expires_at }
    : null;
}
