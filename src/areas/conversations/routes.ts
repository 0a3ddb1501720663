// Routes of conversations, their quick forms (`/session`, `/sessions`, `/chat`) and the socket's upgrade.

import { Elysia, t } from "elysia";
import { holds, requireUser, type Context } from "../../core/context.ts";
import { AppError, badRequest, invalid, isAppError, notFound, type ErrorCode } from "../../core/errors.ts";
import type { Idempotency, IdempotencyClaim } from "../../core/idempotency/index.ts";
import { enveloped, ok, otherForm } from "../../http/envelope.ts";
import { kernel } from "../../http/failures.ts";
import type { IdempotentHooks } from "../../http/idempotent.ts";
import { mark, type Access } from "../../http/mark.ts";
import { readMultipart } from "../../http/multipart.ts";
import { listOf, listQuery } from "../../http/paging.ts";
import { Moment } from "../../http/schema.ts";
import type { WindowOptions } from "../../http/window.ts";
import { sha256Hex } from "../../lib/ids/index.ts";
import type { ConversationRow } from "./model.ts";
import type { ConversationsArea } from "./open.ts";
import { attachmentOf, presentAttachment, presentBot, presentConversation, presentMessage } from "./present.ts";
import { contentDisposition, messageType, type MessageInput } from "./rules.ts";
import * as schema from "./schema.ts";
import type { Started } from "./service/conversations.ts";
import type { Posted } from "./service/messages.ts";
import type { SocketQuery } from "./socket.ts";
import { conversationStream, SSE_HEADERS } from "./stream.ts";
import type { TurnOutcome } from "./turns.ts";

export interface ConversationRoutesDeps {
  area: ConversationsArea;
  /** Keys of beginnings without an account, whose answers must not be stored with the token in them. */
  idempotency: Pick<Idempotency, "claim" | "finish" | "release">;
  window: (options: WindowOptions) => (app: Elysia) => Elysia;
  idempotent: IdempotentHooks;
}

const TAG = "Conversations";
const GREETING_WAIT_MS = 2_000;
const ANSWER_WAIT_SECONDS = 60;
const CHAT_WAIT_MS = 120_000;
const FILES_MAX = 10;
/** How long a repeated beginning waits for the first one. */
const BEGINNING_WAIT_MS = 10_000;
/** A key that others could guess opens nobody else's conversation: shorter ones are not kept for anonymous callers. */
const ANONYMOUS_KEY_MIN = 16;

const Id = t.Object({ id: t.String({ maxLength: 64 }) });
const MessageId = t.Object({ id: t.String({ maxLength: 64 }), message_id: t.String({ format: "uuid" }) });
const AttachmentId = t.Object({ id: t.String({ maxLength: 64 }), attachment_id: t.String({ format: "uuid" }) });
const Bytes = t.Unknown({ description: "the bytes" });
const JSON_OR_EVENTS = ["application/json", "text/event-stream"];

const list = listQuery({
  sort: ["-last_activity", "started_at", "title"],
  filters: {
    bot_id: t.String({ format: "uuid" }),
    status: schema.Statuses,
    channel: schema.Channels,
    handler: schema.Handlers,
    q: t.String({ minLength: 1, maxLength: 200 }),
    from: Moment,
    to: Moment,
    user_id: t.String({ format: "uuid" }),
  },
});

/** Seconds that a client is willing to wait; 0 for not at all. */
function waitSeconds(query: string | undefined, body: boolean | number | undefined): number {
  const value = body ?? (query === undefined || query === "false" ? false : query === "true" ? true : Number(query));
  if (value === true) return ANSWER_WAIT_SECONDS;
  return value === false ? 0 : Math.min(ANSWER_WAIT_SECONDS, Number(value));
}

const wantsEvents = (request: Request): boolean =>
  request.headers.get("accept")?.toLowerCase().includes("text/event-stream") ?? false;

/** The version in If-Match; null where there is none or it is `*`. */
function ifMatch(request: Request): number | null {
  const header = request.headers.get("if-match");
  if (header === null || header.trim() === "*") return null;
  const found = /^(?:W\/)?"?(\d{1,9})"?$/.exec(header.trim());
  return found ? Number(found[1]) : 0;
}

const etag = (row: ConversationRow): string => `"${row.version}"`;

/** A seq as an EventSource or a query gives it; null where there is none. Throws 422 for anything else. */
function seqOf(text: string | null | undefined, path: string): number | null {
  if (text === null || text === undefined || text === "") return null;
  if (!/^\d{1,9}$/.test(text)) throw invalid([{ path, message: "is no seq", expected: "a whole number" }]);
  return Number(text);
}

/** The conversations area. */
export function conversationRoutes(deps: ConversationRoutesDeps) {
  const { area, idempotency } = deps;
  const { conversations, messages, attachments, exports, sockets, turns, access } = area;

  const at = (ctx: Context, id: string): Promise<string> => sockets.resolve(ctx, id);

  const currentId = async (ctx: Context, bot: string | null): Promise<string> => {
    const found = bot === null ? null : await conversations.usableBot(ctx, bot);
    const row = await access.current(ctx, found?.id ?? null);
    if (!row) throw notFound("conversation");
    return row.id;
  };

  const inputOf = (body: typeof schema.SendMessage.static, request: Request): MessageInput => {
    const type = body.type === undefined ? "text" : messageType(body.type);
    if (type === null) {
      throw invalid([{ path: "type", message: "is not known", expected: "text, voice, continue, context or 1–4" }]);
    }
    const key = request.headers.get("idempotency-key");
    const clientId = body.client_id ?? (key !== null && /^[A-Za-z0-9._:-]{1,64}$/.test(key) ? key : null);
    return {
      content: body.content ?? "",
      type,
      attachments: body.attachments ?? [],
      clientId,
      replyTo: body.reply_to ?? null,
      switchers: body.switchers ?? [],
      metadata: body.metadata ?? {},
      name: body.name ?? null,
    };
  };

  /** The greeting comes first, if it comes soon. */
  const untilGreeted = async (started: Started): Promise<void> => {
    if (started.greetingTurnId !== null) {
      await turns.wait(started.row.id, started.greetingTurnId, 0, GREETING_WAIT_MS);
    }
  };

  const greeted = async (started: Started): Promise<ReturnType<typeof presentMessage>[]> => {
    await untilGreeted(started);
    return (await messages.newest(started.row.id, 20)).map(presentMessage);
  };

  const startedAnswer = async (started: Started) => ({
    conversation_id: started.row.id,
    session_id: started.row.id,
    status: started.row.status,
    bot: presentBot(started.bot),
    ...(started.token === null ? {} : { token: started.token }),
    expires_at: started.row.expiresAt?.toISOString() ?? null,
    messages: await greeted(started),
  });

  /** A beginning that an anonymous caller repeats under the same key: the same conversation with another token. */
  const repeated = async (ctx: Context, request: Request, begin: () => Promise<Started>): Promise<Started> => {
    const key = request.headers.get("idempotency-key");
    if (ctx.caller.userId !== null || key === null || key.length < ANONYMOUS_KEY_MIN) return begin();
    const claim: IdempotencyClaim = {
      subject: "anonymous",
      route: "conversations.start",
      key: sha256Hex(`${ctx.ip ?? ""} ${ctx.userAgent ?? ""} ${key}`),
      bodyDigest: "",
    };
    const known = await begunUnder(claim);
    const row = known === null ? null : await access.find(known);
    const bot = row === null ? null : await area.deps.bots.find(row.botId);
    if (row !== null && bot !== null && row.userId === null && row.status === "active") {
      const token = await area.tokens.mint(area.deps.engine.db, row.id);
      return { row, bot, token, greetingTurnId: null };
    }
    try {
      const started = await begin();
      await idempotency.finish(claim, 201, started.row.id);
      return started;
    } catch (error) {
      await idempotency.release(claim);
      throw error;
    }
  };

  /** The conversation that was begun under the key, also by a request that is still under way; null: it is ours to begin. */
  const begunUnder = async (claim: IdempotencyClaim): Promise<string | null> => {
    const end = performance.now() + BEGINNING_WAIT_MS;
    for (;;) {
      try {
        return (await idempotency.claim(claim))?.answer ?? null;
      } catch (error) {
        const reason = isAppError(error) ? error.details["reason"] : null;
        if (reason === "outcome_unknown") return null;
        if (reason !== "request_running" || performance.now() > end) throw error;
        await Bun.sleep(25);
      }
    }
  };

  /** Hooks for callers with an account only: stored answers must not hold anybody's chat token. */
  const signedInIdempotent = {
    beforeHandle: async (context: Parameters<IdempotentHooks["beforeHandle"]>[0]) => {
      if (context.ctx.caller.userId === null) return undefined;
      return deps.idempotent.beforeHandle(context);
    },
    afterHandle: deps.idempotent.afterHandle,
  };

  const thrown = (outcome: TurnOutcome): void => {
    if (outcome.failure === null) return;
    const { code, message, details } = outcome.failure;
    throw new AppError(code as ErrorCode, message, details);
  };

  const answerStream = (
    ctx: Context,
    row: ConversationRow,
    posted: Posted,
    signal: AbortSignal,
    token: string | null,
  ): never =>
    otherForm(
      new Response(
        conversationStream(sockets, ctx, row, {
          fromSeq: posted.message.seq,
          signal,
          turn: {
            id: posted.turnId,
            accepts: (frame, seq) => {
              if (seq === null) return frame.startsWith('{"type":"delta"') || frame.startsWith('{"type":"error"');
              return !frame.includes('"sender":"user"');
            },
            done: (outcome) => ({
              session_id: row.id,
              conversation_id: row.id,
              message_id: posted.message.id,
              answer_id: outcome?.answerId ?? null,
              finish_reason: outcome?.answer?.finishReason ?? null,
              ...(token === null ? {} : { token }),
            }),
          },
        }),
        { headers: SSE_HEADERS },
      ),
    );

  const send = async (
    ctx: Context,
    id: string,
    body: typeof schema.SendMessage.static,
    query: { wait?: string | undefined },
    request: Request,
    set: { status?: unknown },
  ) => {
    const posted = await messages.post(ctx, id, inputOf(body, request));
    if (body.stream === true || wantsEvents(request)) {
      return answerStream(ctx, posted.conversation, posted, request.signal, null);
    }
    const seconds = waitSeconds(query.wait, body.wait);
    const { message } = posted;
    let answer: { answer: ReturnType<typeof presentMessage> | null } | null = null;
    if (seconds > 0) {
      const outcome =
        posted.turnId === null
          ? null
          : await turns.wait(id, posted.turnId, message.seq, seconds * 1000, request.signal);
      if (outcome) thrown(outcome);
      answer = { answer: outcome?.answer ? presentMessage(outcome.answer) : null };
    }
    set.status = posted.duplicate ? 200 : 201;
    return ok({
      message_id: message.id,
      seq: message.seq,
      timestamp: message.createdAt.toISOString(),
      status: message.status,
      duplicate: posted.duplicate,
      ...answer,
    });
  };

  const history = async (ctx: Context, id: string, query: typeof schema.HistoryQuery.static) =>
    ok(
      await messages.list(ctx, id, {
        limit: query.limit ?? 50,
        before: query.before,
        after: query.after,
        order: query.order ?? "asc",
        includeTool: query.include_tool ?? false,
      }),
    );

  const startRoute = {
    ...signedInIdempotent,
    body: schema.StartConversation,
    response: { 201: enveloped(schema.StartedConversation) },
    detail: mark({
      access: "public",
      summary: "Begin a conversation with a bot",
      tag: TAG,
      idempotent: true,
      description: "Anonymous callers get a chat token. The bot's start script runs at once.",
    }),
  };
  const start = async ({
    ctx,
    body,
    request,
    set,
  }: {
    ctx: Context;
    body: typeof schema.StartConversation.static;
    request: Request;
    set: { status?: unknown };
  }) => {
    const started = await repeated(ctx, request, () =>
      conversations.start(ctx, {
        bot: body.bot_id ?? null,
        title: body.title,
        language: body.language,
        metadata: body.metadata,
      }),
    );
    if (body.initial_message !== undefined && body.initial_message !== "") {
      const { row } = started;
      await untilGreeted(started);
      const { posted } = await messages.say(
        row.userId === null ? { ...ctx, caller: { ...ctx.caller, kind: "chat", conversationId: row.id } } : ctx,
        { conversationId: row.id, botId: row.botId, as: "user", isKnown: false },
        inputOf({ content: body.initial_message, ...(body.client_id ? { client_id: body.client_id } : {}) }, request),
      );
      await posted;
    }
    set.status = 201;
    return ok(await startedAnswer(started));
  };

  const sessionRoute = {
    body: schema.StartSession,
    response: { 201: enveloped(schema.ChatSession) },
    detail: mark({
      access: "public",
      summary: "Begin a chat session and get its token",
      tag: TAG,
      aliases: ["/sessions"],
    }),
  };
  const newSession = async (ctx: Context, request: Request, bot: string | null, language: string | undefined) => {
    const started = await repeated(ctx, request, () => conversations.start(ctx, { bot, language, withToken: true }));
    return {
      session_id: started.row.id,
      conversation_id: started.row.id,
      token: started.token ?? "",
      expires_at: started.row.expiresAt?.toISOString() ?? null,
      bot: presentBot(started.bot),
    };
  };
  const session = async ({
    ctx,
    body,
    request,
    set,
  }: {
    ctx: Context;
    body: typeof schema.StartSession.static;
    request: Request;
    set: { status?: unknown };
  }) => {
    set.status = 201;
    return ok(await newSession(ctx, request, body?.bot_id ?? null, body?.language));
  };

  const closeRoute = {
    params: Id,
    body: schema.CloseConversation,
    response: { 200: enveloped(schema.Conversation) },
    detail: mark({
      access: "self",
      chat: true,
      summary: "Close a conversation",
      tag: TAG,
      aliases: ["/sessions/{id}/end"],
    }),
  };
  const close = async ({
    ctx,
    params,
    body,
  }: {
    ctx: Context;
    params: { id: string };
    body: typeof schema.CloseConversation.static;
  }) => ok(presentConversation(await conversations.close(ctx, await at(ctx, params.id), body ?? {})));

  const reopenRoute = {
    params: Id,
    response: { 200: enveloped(schema.Conversation) },
    detail: mark({
      access: "self",
      chat: true,
      summary: "Open a conversation again",
      tag: TAG,
      aliases: ["/sessions/{id}/start"],
    }),
  };
  const reopen = async ({ ctx, params }: { ctx: Context; params: { id: string } }) =>
    ok(presentConversation(await conversations.reopen(ctx, await at(ctx, params.id))));

  const rateRoute = {
    params: Id,
    body: schema.RateConversation,
    response: { 200: enveloped(schema.Conversation) },
    detail: mark({
      access: "self",
      chat: true,
      summary: "Rate a conversation",
      tag: TAG,
      aliases: ["/conversations/{id}/feedback"],
    }),
  };
  const rate = async ({
    ctx,
    params,
    body,
  }: {
    ctx: Context;
    params: { id: string };
    body: typeof schema.RateConversation.static;
  }) => ok(presentConversation(await conversations.rate(ctx, await at(ctx, params.id), body)));

  const getRoute = {
    params: Id,
    response: { 200: enveloped(schema.Conversation) },
    detail: mark({ access: "self", chat: true, summary: "One conversation", tag: TAG, aliases: ["/sessions/{id}"] }),
  };
  const get = async ({
    ctx,
    params,
    set,
  }: {
    ctx: Context;
    params: { id: string };
    set: { headers: Record<string, string | number> };
  }) => {
    const row = await conversations.get(ctx, await at(ctx, params.id));
    set.headers["etag"] = etag(row);
    return ok(presentConversation(row));
  };

  const sendRoute = {
    params: Id,
    query: schema.WaitQuery,
    body: schema.SendMessage,
    response: { 200: enveloped(schema.SentMessage), 201: enveloped(schema.SentMessage) },
    detail: mark({
      access: "self",
      chat: true,
      summary: "Say something",
      tag: TAG,
      answers: JSON_OR_EVENTS,
      description:
        "With `wait` the answer comes too; with `stream`, or when text/event-stream is accepted, as server-sent events. " +
        "The same `client_id` again answers 200 with the first result.",
      aliases: ["/sessions/{id}/message", "/sessions/current/message"],
    }),
  };

  const historyRoute = {
    params: Id,
    query: schema.HistoryQuery,
    response: { 200: enveloped(schema.History) },
    detail: mark({
      access: "self",
      chat: true,
      summary: "What was said",
      tag: TAG,
      description: "Without `after`: the newest page, shown oldest first.",
      aliases: ["/conversations/{id}/messages", "/sessions/{id}/history"],
    }),
  };

  const events = async (ctx: Context, id: string, fromSeq: number | null, signal: AbortSignal): Promise<Response> => {
    const row = await conversations.get(ctx, id);
    return new Response(conversationStream(sockets, ctx, row, { fromSeq, signal }), { headers: SSE_HEADERS });
  };
  const eventsMark = (aliases: string[]) =>
    mark({
      access: "self",
      chat: true,
      queryToken: true,
      summary: "The frames of a conversation as server-sent events",
      tag: TAG,
      answers: "text/event-stream",
      description: "`Last-Event-ID` or `last_seq` is the last seq that the client has.",
      aliases,
    });

  const own = (access: Access, summary: string) => mark({ access, chat: true, summary, tag: TAG });
  const byCaller = (ctx: Context): string => ctx.caller.userId ?? ctx.caller.conversationId ?? ctx.ip ?? "unknown";

  const lists = new Elysia()
    .use(kernel)
    .use(deps.window({ name: "conversations.list", max: 30, seconds: 60, by: byCaller }))
    .get(
      "/api/v1/conversations",
      async ({ ctx, query, request }) => {
        const { filters, sort, order, limit, offset } = list.read(query, request.url);
        const { rows, total } = await conversations.list(ctx, { filters, sort, order, limit, offset });
        return ok({ conversations: rows.map(presentConversation), total, limit, offset });
      },
      {
        query: list.schema,
        response: { 200: enveloped(listOf("conversations", schema.Conversation)) },
        detail: mark({ access: "chat:read", summary: "One's own conversations", tag: TAG }),
      },
    )
    .get(
      "/api/v1/sessions",
      async ({ ctx, query, request }) => {
        const { filters, sort, order, limit, offset } = list.read(query, request.url);
        const { rows, total } = await conversations.list(ctx, { filters, sort, order, limit, offset });
        return ok({ sessions: rows.map(presentConversation), total, limit, offset });
      },
      {
        query: list.schema,
        response: { 200: enveloped(listOf("sessions", schema.Conversation)) },
        detail: mark({ access: "chat:read", summary: "One's own chat sessions", tag: TAG }),
      },
    );

  const histories = new Elysia()
    .use(kernel)
    .use(deps.window({ name: "conversations.history", max: 100, seconds: 60, by: byCaller }))
    .get(
      "/api/v1/conversations/:id/history",
      async ({ ctx, params, query }) => history(ctx, await at(ctx, params.id), query),
      historyRoute,
    )
    .get(
      "/api/v1/conversations/:id/messages",
      async ({ ctx, params, query }) => history(ctx, await at(ctx, params.id), query),
      historyRoute,
    )
    .get(
      "/api/v1/sessions/:id/history",
      async ({ ctx, params, query }) => history(ctx, await at(ctx, params.id), query),
      historyRoute,
    )
    .get(
      "/api/v1/sessions/current/history",
      async ({ ctx, query }) => history(ctx, await currentId(ctx, null), query),
      { query: historyRoute.query, response: historyRoute.response, detail: historyRoute.detail },
    );

  const conversationsPlugin = new Elysia()
    .use(kernel)
    .post("/api/v1/conversations/start", start, startRoute)
    .post("/api/v1/conversations", start, startRoute)
    .get("/api/v1/conversations/:id", get, getRoute)
    .patch(
      "/api/v1/conversations/:id",
      async ({ ctx, params, body, request, set }) => {
        const row = await conversations.update(ctx, await at(ctx, params.id), body, ifMatch(request));
        set.headers["etag"] = etag(row);
        return ok(presentConversation(row));
      },
      {
        params: Id,
        body: schema.UpdateConversation,
        response: { 200: enveloped(schema.Conversation) },
        detail: own("self", "Change title, tags, language or metadata"),
      },
    )
    .delete(
      "/api/v1/conversations/:id",
      async ({ ctx, params, set }) => {
        await conversations.remove(ctx, await at(ctx, params.id));
        set.status = 204;
        return undefined;
      },
      { params: Id, response: { 204: t.Void() }, detail: own("self", "Erase a conversation") },
    )
    .post(
      "/api/v1/conversations/:id/messages",
      async ({ ctx, params, body, query, request, set }) =>
        send(ctx, await at(ctx, params.id), body, query, request, set),
      sendRoute,
    )
    .get(
      "/api/v1/conversations/:id/messages/:message_id",
      async ({ ctx, params }) =>
        ok(presentMessage(await messages.read(ctx, await at(ctx, params.id), params.message_id))),
      {
        params: MessageId,
        response: { 200: enveloped(schema.Message) },
        detail: own("self", "One message"),
      },
    )
    .delete(
      "/api/v1/conversations/:id/messages/:message_id",
      async ({ ctx, params, set }) => {
        await messages.remove(ctx, await at(ctx, params.id), params.message_id);
        set.status = 204;
        return undefined;
      },
      { params: MessageId, response: { 204: t.Void() }, detail: own("self", "Erase what a message says") },
    )
    .post(
      "/api/v1/conversations/:id/messages/:message_id/feedback",
      async ({ ctx, params, body }) =>
        ok(presentMessage(await messages.feedback(ctx, await at(ctx, params.id), params.message_id, body))),
      {
        params: MessageId,
        body: schema.MessageFeedback,
        response: { 200: enveloped(schema.Message) },
        detail: own("self", "Thumbs up or down for an answer"),
      },
    )
    .post(
      "/api/v1/conversations/:id/messages/:message_id/regenerate",
      async ({ ctx, params, set }) => {
        const { answerId } = await messages.regenerate(ctx, await at(ctx, params.id), params.message_id);
        set.status = 202;
        return ok({ message_id: answerId });
      },
      {
        params: MessageId,
        response: { 202: enveloped(t.Object({ message_id: t.String({ format: "uuid" }) })) },
        detail: own("self", "Another answer in place of the last one"),
      },
    )
    .post(
      "/api/v1/conversations/:id/cancel",
      async ({ ctx, params, body }) =>
        ok({ cancelled: await messages.cancel(ctx, await at(ctx, params.id), body?.message_id ?? null) }),
      {
        params: Id,
        body: schema.CancelAnswer,
        response: { 200: enveloped(t.Object({ cancelled: t.Boolean() })) },
        detail: own("self", "Stop the answer under way"),
      },
    )
    .post(
      "/api/v1/conversations/:id/read",
      async ({ ctx, params, body }) =>
        ok({ unread_count: await messages.markRead(ctx, await at(ctx, params.id), body.message_id) }),
      {
        params: Id,
        body: schema.ReadMark,
        response: { 200: enveloped(t.Object({ unread_count: t.Integer() })) },
        detail: own("self", "Mark as read up to a message"),
      },
    )
    .post(
      "/api/v1/conversations/:id/attachments",
      async ({ ctx, params, request, set }) => {
        const id = await attachments.open(ctx, await at(ctx, params.id));
        const taken: ReturnType<typeof presentAttachment>[] = [];
        await readMultipart(request, { filesMax: FILES_MAX }, async ({ name, body }) => {
          taken.push(presentAttachment(id, attachmentOf(await attachments.store(id, name, body))));
        });
        if (taken.length === 0) {
          throw invalid([{ path: "file", message: "is required", expected: "at least one file" }]);
        }
        set.status = 201;
        return ok({ attachments: taken });
      },
      {
        params: Id,
        parse: "none",
        response: { 201: enveloped(t.Object({ attachments: t.Array(schema.Attachment) })) },
        detail: mark({
          access: "self",
          chat: true,
          summary: "Upload files for a message",
          tag: TAG,
          body: "multipart",
          maxBody: "upload",
        }),
      },
    )
    .get(
      "/api/v1/conversations/:id/attachments/:attachment_id",
      async ({ ctx, params, query, request }) => {
        const file = await attachments.serve(ctx, await at(ctx, params.id), params.attachment_id, {
          range: request.headers.get("range"),
          download: query.download ?? false,
        });
        return new Response(file.body, { status: file.status, headers: file.headers });
      },
      {
        params: AttachmentId,
        query: t.Object({ download: t.Optional(t.Boolean()) }),
        response: { 200: Bytes, 206: Bytes },
        detail: mark({ access: "self", chat: true, summary: "The bytes of a file", tag: TAG, answers: "*/*" }),
      },
    )
    .post("/api/v1/conversations/:id/close", close, closeRoute)
    .post("/api/v1/sessions/:id/end", close, closeRoute)
    .post("/api/v1/conversations/:id/reopen", reopen, reopenRoute)
    .post("/api/v1/sessions/:id/start", reopen, reopenRoute)
    .post(
      "/api/v1/conversations/:id/archive",
      async ({ ctx, params }) => ok(presentConversation(await conversations.archive(ctx, await at(ctx, params.id)))),
      { params: Id, response: { 200: enveloped(schema.Conversation) }, detail: own("self", "Close and put away") },
    )
    .post(
      "/api/v1/conversations/:id/unarchive",
      async ({ ctx, params }) => ok(presentConversation(await conversations.unarchive(ctx, await at(ctx, params.id)))),
      {
        params: Id,
        response: { 200: enveloped(schema.Conversation) },
        detail: own("self", "Back among the closed ones"),
      },
    )
    .post("/api/v1/conversations/:id/rating", rate, rateRoute)
    .post("/api/v1/conversations/:id/feedback", rate, rateRoute)
    .post(
      "/api/v1/conversations/:id/claim",
      async ({ ctx, params, body }) => ok(presentConversation(await conversations.claim(ctx, params.id, body.token))),
      {
        params: Id,
        body: schema.ClaimConversation,
        response: { 200: enveloped(schema.Conversation) },
        detail: mark({ access: "signed-in", summary: "Take over one's own anonymous conversation", tag: TAG }),
      },
    )
    .get(
      "/api/v1/conversations/:id/export",
      async ({ ctx, params, query }) => {
        const file = await exports.file(ctx, await at(ctx, params.id), query.format ?? "json");
        return new Response(file.body, {
          headers: {
            "content-type": file.mime,
            "content-disposition": contentDisposition("attachment", file.name),
            "x-content-type-options": "nosniff",
          },
        });
      },
      {
        params: Id,
        query: t.Object({
          format: t.Optional(t.UnionEnum(["json", "markdown", "text"], { default: "json" })),
        }),
        response: { 200: Bytes },
        detail: mark({
          access: "self",
          chat: true,
          summary: "The whole history as a file",
          tag: TAG,
          answers: ["application/json", "text/markdown", "text/plain"],
        }),
      },
    )
    .get(
      "/api/v1/conversations/:id/events",
      async ({ ctx, params, query, request }) => {
        const last = request.headers.get("last-event-id") ?? query.last_seq;
        return events(ctx, await at(ctx, params.id), seqOf(last, "last_seq"), request.signal);
      },
      {
        params: Id,
        query: t.Object({ last_seq: t.Optional(t.String()), token: t.Optional(t.String()) }),
        response: { 200: Bytes },
        detail: eventsMark(["/chat/stream"]),
      },
    );

  const sessionsPlugin = new Elysia()
    .use(kernel)
    .post("/api/v1/session", session, sessionRoute)
    .post("/api/v1/sessions", session, sessionRoute)
    .get(
      "/api/v1/auth",
      async ({ ctx, query, request, set }) => {
        set.status = 201;
        const made = await newSession(ctx, request, query.bot_name ?? query.bot_id ?? null, undefined);
        return ok({ ...made, user_id: ctx.caller.userId ?? made.session_id, status: "authenticated" as const });
      },
      {
        query: t.Object({
          bot_name: t.Optional(t.String({ maxLength: 100 })),
          bot_id: t.Optional(t.String({ maxLength: 100 })),
        }),
        response: {
          201: enveloped(
            t.Object({
              ...schema.ChatSession.properties,
              user_id: t.String({ format: "uuid", description: "made up for this session" }),
              status: t.Literal("authenticated"),
            }),
          ),
        },
        detail: mark({ access: "public", summary: "Begin an anonymous chat", tag: TAG }),
      },
    )
    .post(
      "/api/v1/session/create",
      async ({ ctx, body }) => {
        requireUser(ctx);
        const bot = await conversations.usableBot(ctx, body.bot_id);
        await area.deps.sessions.chooseBot(ctx, bot.id);
        const { row } = await conversations.start(ctx, { bot: bot.id });
        const view = await area.deps.sessions.view(ctx);
        return ok({ ...view, conversation_id: row.id, bot_id: bot.id, status: "active" });
      },
      {
        body: t.Object({ bot_id: t.String({ minLength: 1, maxLength: 100 }) }),
        response: { 200: enveloped(t.Record(t.String(), t.Unknown(), { title: "Session" })) },
        detail: mark({
          access: "signed-in",
          summary: "Choose the bot of one's session and open a conversation with it",
          tag: TAG,
        }),
      },
    )
    .get(
      "/api/v1/session",
      async ({ ctx }) => {
        const { caller } = ctx;
        if (caller.kind === "chat") {
          const row = await access.current(ctx, null);
          if (!row) throw notFound("session");
          return ok({
            session_id: row.id,
            conversation_id: row.id,
            user_id: null,
            bot_id: row.botId,
            created_at: row.startedAt.toISOString(),
            expires_at: row.expiresAt?.toISOString() ?? null,
            authenticated: false,
          });
        }
        const view = await area.deps.sessions.view(ctx);
        const bot = typeof view?.["bot_id"] === "string" ? view["bot_id"] : null;
        const row = await access.current(ctx, bot);
        return ok({ ...view, conversation_id: row?.id ?? null, authenticated: true });
      },
      {
        response: { 200: enveloped(t.Record(t.String(), t.Unknown(), { title: "Session" })) },
        detail: own("signed-in", "The session behind the credential"),
      },
    )
    .delete(
      "/api/v1/session/:id",
      async ({ ctx, params, set }) => {
        set.status = 204;
        if (ctx.caller.kind !== "chat" && (await area.deps.sessions.end(ctx, params.id.toLowerCase())))
          return undefined;
        await conversations.end(ctx, params.id);
        return undefined;
      },
      { params: Id, response: { 204: t.Void() }, detail: own("self", "End a session") },
    )
    .delete(
      "/api/v1/sessions/:id",
      async ({ ctx, params, set }) => {
        await conversations.end(ctx, await at(ctx, params.id));
        set.status = 204;
        return undefined;
      },
      { params: Id, response: { 204: t.Void() }, detail: own("self", "Close a chat session and end its token") },
    )
    .get(
      "/api/v1/sessions/current",
      async ({ ctx, query, set }) => get({ ctx, params: { id: await currentId(ctx, query.bot_id ?? null) }, set }),
      {
        query: t.Object({ bot_id: t.Optional(t.String({ maxLength: 100 })) }),
        response: { 200: enveloped(schema.Conversation) },
        detail: own("self", "The conversation that goes on"),
      },
    )
    .get("/api/v1/sessions/:id", get, getRoute)
    .post(
      "/api/v1/sessions/:id/message",
      async ({ ctx, params, body, query, request, set }) =>
        send(ctx, await at(ctx, params.id), body, query, request, set),
      sendRoute,
    )
    .post(
      "/api/v1/sessions/current/message",
      async ({ ctx, body, query, request, set }) => send(ctx, await currentId(ctx, null), body, query, request, set),
      {
        query: sendRoute.query,
        body: sendRoute.body,
        response: sendRoute.response,
        detail: sendRoute.detail,
      },
    );

  const chatPlugin = new Elysia()
    .use(kernel)
    .post(
      "/api/v1/chat",
      async ({ ctx, body, request, set }) => {
        let token: string | null = null;
        let id: string;
        let speaker = ctx;
        if (body.session_id !== undefined) id = await at(ctx, body.session_id);
        else if (ctx.caller.kind === "chat") id = await currentId(ctx, null);
        else {
          const started = await repeated(ctx, request, () => conversations.start(ctx, { bot: body.bot_id ?? null }));
          await untilGreeted(started);
          ({ token } = started);
          ({ id } = started.row);
          // Whoever began it may speak in it; the token is for the next time.
          if (started.row.userId === null) {
            speaker = { ...ctx, caller: { ...ctx.caller, kind: "chat", conversationId: id } };
          }
        }
        const posted = await messages.post(speaker, id, inputOf({ ...body, content: body.message ?? "" }, request));
        if (body.stream === true || wantsEvents(request)) {
          return answerStream(speaker, posted.conversation, posted, request.signal, token);
        }
        const outcome =
          posted.turnId === null
            ? null
            : await turns.wait(id, posted.turnId, posted.message.seq, CHAT_WAIT_MS, request.signal);
        if (outcome) thrown(outcome);
        if (outcome === null && posted.turnId !== null) set.status = 202;
        const answer = outcome?.answer ?? null;
        return ok({
          session_id: id,
          conversation_id: id,
          message_id: posted.message.id,
          answer: answer === null ? null : presentMessage(answer),
          suggestions: answer?.suggestions ?? [],
          ...(token === null ? {} : { token }),
        });
      },
      {
        body: schema.Chat,
        response: { 200: enveloped(schema.ChatAnswer), 202: enveloped(schema.ChatAnswer) },
        detail: mark({
          access: "public",
          chat: true,
          summary: "Say something and get the whole answer",
          tag: TAG,
          answers: JSON_OR_EVENTS,
          description: "With `stream`, or when text/event-stream is accepted, as server-sent events.",
        }),
      },
    )
    .get(
      "/api/v1/chat/stream",
      async ({ ctx, query, request }) => {
        const last = request.headers.get("last-event-id") ?? query.last_seq;
        const id = query.session === undefined ? await currentId(ctx, null) : await at(ctx, query.session);
        return events(ctx, id, seqOf(last, "last_seq"), request.signal);
      },
      {
        query: t.Object({
          session: t.Optional(t.String({ format: "uuid" })),
          last_seq: t.Optional(t.String()),
          token: t.Optional(t.String()),
        }),
        response: { 200: Bytes },
        detail: eventsMark(["/conversations/{id}/events"]),
      },
    );

  const socketQuery = t.Object({
    token: t.Optional(t.String()),
    auth: t.Optional(t.String()),
    bot: t.Optional(t.String({ maxLength: 100 })),
    session_id: t.Optional(t.String({ maxLength: 64 })),
    conversation_id: t.Optional(t.String({ maxLength: 64 })),
    last_seq: t.Optional(t.String()),
    last_message_id: t.Optional(t.String({ maxLength: 64 })),
    stream: t.Optional(t.String()),
    language: t.Optional(t.String({ maxLength: 35 })),
    chat: t.Optional(t.String()),
  });

  interface Upgrader {
    upgrade(request: Request, options: { data: unknown; headers?: Record<string, string> }): boolean;
  }

  const upgrade = async (
    ctx: Context,
    request: Request,
    server: Upgrader | null,
    query: typeof socketQuery.static,
    bot: string | null,
  ): Promise<Response | undefined> => {
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket" || server === null) {
      throw badRequest("This address speaks WebSocket only.", "upgrade_required");
    }
    const { caller } = ctx;
    if (caller.kind !== "chat" && !holds(caller, "chat:write") && !holds(caller, "chat:read")) {
      throw notFound("conversation");
    }
    const asked: SocketQuery = {
      bot: bot ?? query.bot ?? null,
      sessionId: query.session_id ?? query.conversation_id ?? null,
      lastSeq: seqOf(query.last_seq, "last_seq"),
      lastMessageId: query.last_message_id ?? null,
      language: query.language ?? null,
      wantsChat: query.chat !== "0",
      wantsDeltas: query.stream !== "0",
    };
    const data = await sockets.connect(ctx, asked, query.auth === "frame");
    // A browser insists on one of the protocols that it offered, and the one with the token must not be sent back.
    const offered = request.headers.get("sec-websocket-protocol")?.split(",") ?? [];
    const isOurs = offered.some((protocol) => protocol.trim() === "botserver.v1");
    const headers = isOurs ? { "sec-websocket-protocol": "botserver.v1" } : undefined;
    if (server.upgrade(request, { data, ...(headers ? { headers } : {}) })) return undefined;
    sockets.dropped(data);
    throw badRequest("This is no handshake of a WebSocket (RFC 6455, 4.1).", "upgrade_required");
  };
  const socketRoute = {
    query: socketQuery,
    response: { 101: t.Void() },
    detail: mark({
      access: "public",
      chat: true,
      socket: true,
      summary: "The chat socket",
      tag: TAG,
      description:
        "Credentials in `?token=`, in the subprotocol `bearer.<token>` beside `botserver.v1`, or in Authorization; " +
        "`?auth=frame` waits for an `auth` frame. Without any: an anonymous conversation with the default bot.",
    }),
  };
  const socketPlugin = new Elysia()
    .use(kernel)
    .get(
      "/ws",
      async ({ ctx, request, server, query }) => upgrade(ctx, request, server as Upgrader | null, query, null),
      socketRoute,
    )
    .get(
      "/ws/:bot",
      async ({ ctx, request, server, query, params }) =>
        upgrade(ctx, request, server as Upgrader | null, query, params.bot),
      { ...socketRoute, params: t.Object({ bot: t.String({ maxLength: 100 }) }) },
    );

  return new Elysia({ name: "conversations" })
    .use(lists)
    .use(histories)
    .use(conversationsPlugin)
    .use(sessionsPlugin)
    .use(chatPlugin)
    .use(socketPlugin);
}
