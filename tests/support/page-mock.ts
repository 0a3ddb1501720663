// A small server that speaks the contract's REST and `/ws` as far as the pages use it, so that tests of the pages decide
// what is said when, and can break the connection at a chosen moment. The pages themselves come through the real code.

import type { ServerWebSocket } from "bun";
import { pageServer } from "../../src/http/pages.ts";
import { openPages } from "../../src/pages/open.ts";

type Json = Record<string, unknown>;

interface SocketData {
  userId: string | null;
  token: string | null;
  chatToken: string | null;
  sessionId: string;
  fresh: boolean;
  lastSeq: number | null;
  joined: Set<string>;
}

interface User {
  id: string;
  username: string;
  email: string;
  password: string;
  name: string;
  permissions: string[];
  code: string | null;
}

interface Conversation {
  id: string;
  token: string | null;
  userId: string | null;
  bot: string;
  title: string;
  messages: Json[];
  partial: { id: string; text: string; index: number } | null;
  suggestions: { label: string; value: string }[];
  switchers: { id: string; label: string; color: string | null; active: boolean }[];
  closed: boolean;
  pinned: boolean;
  attachments: Map<string, { name: string; mime: string; bytes: Uint8Array }>;
}

export interface Turn {
  content: string;
  conversation: Conversation;
  messageId: string;
  cancelled: Promise<void>;
  isCancelled: () => boolean;
  typing(on: boolean): void;
  delta(text: string): void;
  reset(text: string): void;
  answer(content: string, more?: Json): void;
  suggest(suggestions: { label: string; value: string }[]): void;
  frame(frame: Json): void;
}

export interface PageMock {
  url: string;
  users: User[];
  conversations: Map<string, Conversation>;
  /** What the bot does with a message; the default repeats it. */
  onMessage: (turn: Turn) => Promise<void> | void;
  greeting: string | null;
  theme: string | null;
  bootstrap: { required: boolean; secret: string };
  embedOrigins: string[];
  registration: "open" | "closed";
  /** So many next messages are stored, and the socket breaks before anybody hears of it. */
  loseAcks: number;
  /** False: upgrades and calls fail as if the server were gone. */
  up: boolean;
  accessSeconds: number;
  /** Calls as `METHOD /path`, in order. */
  calls: string[];
  jobs: Map<string, Json & { status: string; progress: number }>;
  collections: Json[];
  uploads: { collection: string; names: string[] }[];
  spec: Json;
  sockets: Set<ServerWebSocket<SocketData>>;
  dropSockets(code?: number): void;
  send(conversation: Conversation, message: Json): Json;
  broadcast(conversationId: string, frame: Json): void;
  expireTokens(): void;
  close(): Promise<void>;
}

const ID_CHARS = "0123456789abcdef";

function newId(): string {
  return Bun.randomUUIDv7();
}

function randomText(length: number): string {
  return Array.from({ length }, () => ID_CHARS[Math.floor(Math.random() * 16)]).join("");
}

/** A field as text; an empty one for anything else. */
function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function ok(data: Json, status = 200): Response {
  return Response.json({ success: true, data }, { status });
}

function fail(status: number, code: string, message: string, details: Json = {}): Response {
  return Response.json({ success: false, error: { code, message, details } }, { status });
}

/** Starts the mock on a free loopback port. */
export async function startPageMock(): Promise<PageMock> {
  const pages = await openPages();
  const access = new Map<string, { userId: string; endsAt: number }>();
  const refresh = new Map<string, string>();
  const used = new Set<string>();
  const pending = new Map<string, string>();
  const documents = new Map<string, string>();

  const mock: PageMock = {
    url: "",
    users: [],
    conversations: new Map(),
    onMessage: (turn) => turn.answer(`You said: ${turn.content}`),
    greeting: null,
    theme: null,
    bootstrap: { required: false, secret: "setup-secret" },
    embedOrigins: [],
    registration: "open",
    loseAcks: 0,
    up: true,
    accessSeconds: 3600,
    calls: [],
    jobs: new Map(),
    collections: [],
    uploads: [],
    spec: { openapi: "3.1.0", info: { title: "botserver", version: "1" }, paths: {} },
    sockets: new Set(),
    dropSockets: (code) => {
      for (const socket of mock.sockets) {
        if (code === undefined) socket.terminate();
        else socket.close(code);
      }
    },
    send: (conversation, message) => store(conversation, message),
    broadcast: (id, frame) => toAll(id, frame),
    expireTokens: () => {
      for (const row of access.values()) row.endsAt = 0;
    },
    close: () => Promise.resolve(),
  };

  const server = pageServer({
    pages,
    botPage: (name) =>
      Promise.resolve({
        boundBot: null,
        listed: name === null || name === "helper",
        embedOrigins: mock.embedOrigins,
      }),
  });

  const toAll = (conversationId: string, frame: Json) => {
    for (const socket of mock.sockets) if (socket.data.joined.has(conversationId)) socket.send(JSON.stringify(frame));
  };

  const store = (conversation: Conversation, message: Json): Json => {
    const row: Json = {
      id: newId(),
      conversation_id: conversation.id,
      session_id: conversation.id,
      seq: conversation.messages.length + 1,
      type: "text",
      content_type: "text/markdown",
      attachments: [],
      citations: [],
      suggestions: [],
      client_id: null,
      status: "delivered",
      feedback: null,
      is_complete: true,
      timestamp: new Date().toISOString(),
      ...message,
    };
    row["message_id"] = row["id"];
    conversation.messages.push(row);
    toAll(conversation.id, { ...row, type: "message" });
    return row;
  };

  const newConversation = (userId: string | null, bot: string): Conversation => {
    const conversation: Conversation = {
      id: newId(),
      token: userId === null ? `cs_${randomText(43)}` : null,
      userId,
      bot,
      title: "",
      messages: [],
      partial: null,
      suggestions: [],
      switchers: [],
      closed: false,
      pinned: false,
      attachments: new Map(),
    };
    mock.conversations.set(conversation.id, conversation);
    return conversation;
  };

  const userOf = (token: string | null): User | null => {
    const row = token === null ? undefined : access.get(token);
    if (!row || row.endsAt < Date.now()) return null;
    return mock.users.find((user) => user.id === row.userId) ?? null;
  };

  const tokensFor = (user: User): Json => {
    const accessToken = `at.${randomText(24)}.x`;
    const refreshToken = `rt_${randomText(24)}`;
    access.set(accessToken, { userId: user.id, endsAt: Date.now() + mock.accessSeconds * 1000 });
    refresh.set(refreshToken, user.id);
    return {
      access_token: accessToken,
      refresh_token: refreshToken,
      token_type: "Bearer",
      expires_in: mock.accessSeconds,
      session_id: newId(),
      requires_2fa: false,
      user: { user_id: user.id, username: user.username, email: user.email, display_name: user.name },
      redirect: "/",
    };
  };

  const row = (conversation: Conversation): Json => ({
    id: conversation.id,
    conversation_id: conversation.id,
    session_id: conversation.id,
    title:
      conversation.title || text(conversation.messages.find((m) => m["sender"] === "user")?.["content"]).slice(0, 80),
    status: conversation.closed ? "closed" : "active",
    last_seq: conversation.messages.length,
    last_message: text(conversation.messages.at(-1)?.["content"]).slice(0, 200),
    last_activity: text(conversation.messages.at(-1)?.["timestamp"]) || new Date().toISOString(),
    pinned: conversation.pinned,
    unread_count: 0,
  });

  // ---- a turn of the bot

  const cancels = new Map<string, () => void>();

  const runTurn = async (conversation: Conversation, content: string, userMessageId: string) => {
    const id = newId();
    let cancelled = false;
    let cancel: () => void = () => undefined;
    const waiting = new Promise<void>((resolve) => {
      cancel = () => {
        if (cancelled || done) return;
        cancelled = true;
        const text = conversation.partial?.text ?? "";
        conversation.partial = null;
        done = true;
        store(conversation, { id, sender: "bot", content: text, is_complete: false, finish_reason: "cancelled" });
        toAll(conversation.id, {
          type: "message_update",
          session_id: conversation.id,
          message_id: userMessageId,
          status: "cancelled",
        });
        resolve();
      };
    });
    let done = false;
    cancels.set(conversation.id, () => cancel());
    const turn: Turn = {
      content,
      conversation,
      messageId: id,
      cancelled: waiting,
      isCancelled: () => cancelled,
      typing: (on) =>
        toAll(conversation.id, {
          type: "typing",
          session_id: conversation.id,
          sender: "bot",
          state: on ? "start" : "stop",
        }),
      delta: (text) => {
        if (done) return;
        conversation.partial ??= { id, text: "", index: 0 };
        conversation.partial.text += text;
        toAll(conversation.id, {
          type: "delta",
          session_id: conversation.id,
          message_id: id,
          index: conversation.partial.index,
          content: text,
        });
        conversation.partial.index += 1;
      },
      reset: (text) => {
        if (done) return;
        conversation.partial = { id, text, index: 1 };
        toAll(conversation.id, {
          type: "delta",
          session_id: conversation.id,
          message_id: id,
          index: 0,
          content: text,
          reset: true,
        });
      },
      answer: (text, more = {}) => {
        if (done) return;
        done = true;
        conversation.partial = null;
        store(conversation, { id, sender: "bot", content: text, finish_reason: "stop", ...more });
        toAll(conversation.id, {
          type: "message_update",
          session_id: conversation.id,
          message_id: userMessageId,
          status: "answered",
        });
      },
      suggest: (suggestions) => {
        conversation.suggestions = suggestions;
        toAll(conversation.id, {
          type: "suggestion",
          session_id: conversation.id,
          suggestions,
          switchers: conversation.switchers,
        });
      },
      frame: (frame) => toAll(conversation.id, { session_id: conversation.id, ...frame }),
    };
    turn.typing(true);
    await mock.onMessage(turn);
  };

  const accept = (conversation: Conversation, frame: Json, socket: ServerWebSocket<SocketData>) => {
    const clientId = typeof frame["client_id"] === "string" ? frame["client_id"] : null;
    const known = clientId === null ? undefined : conversation.messages.find((m) => m["client_id"] === clientId);
    const ack = (message: Json, duplicate: boolean) =>
      socket.send(
        JSON.stringify({
          type: "ack",
          client_id: clientId,
          message_id: message["id"],
          seq: message["seq"],
          session_id: conversation.id,
          timestamp: message["timestamp"],
          duplicate,
        }),
      );
    if (known) {
      ack(known, true);
      return;
    }
    if (conversation.closed) {
      socket.send(
        JSON.stringify({
          type: "error",
          code: "CONFLICT",
          message: "Refused: conversation closed.",
          details: { reason: "conversation_closed" },
          client_id: clientId,
        }),
      );
      return;
    }
    let content = typeof frame["content"] === "string" ? frame["content"] : "";
    if (frame["type"] === "suggestion") {
      content = conversation.suggestions.find((one) => one.value === frame["value"])?.label ?? String(frame["value"]);
    }
    if (mock.loseAcks > 0) {
      mock.loseAcks -= 1;
      for (const one of mock.sockets) one.terminate();
      mock.sockets.clear();
    }
    const files = Array.isArray(frame["attachments"]) ? frame["attachments"] : [];
    const message = store(conversation, {
      sender: "user",
      content,
      client_id: clientId,
      attachments: files.flatMap((id) => {
        const file = conversation.attachments.get(String(id));
        return file ? [{ id, name: file.name, mime: file.mime, size: file.bytes.length }] : [];
      }),
    });
    if (mock.sockets.has(socket)) ack(message, false);
    runTurn(conversation, content, String(message["id"])).catch((error: unknown) => console.error(error));
  };

  const replay = (socket: ServerWebSocket<SocketData>, conversation: Conversation, from: number) => {
    const missed = conversation.messages.slice(from);
    socket.send(
      JSON.stringify({
        type: "status",
        state: "resumed",
        session_id: conversation.id,
        from_seq: from,
        to_seq: conversation.messages.length,
        truncated: missed.length > 500,
      }),
    );
    for (const message of missed.slice(0, 500)) socket.send(JSON.stringify({ ...message, type: "message" }));
    const { partial } = conversation;
    if (partial) {
      socket.send(
        JSON.stringify({
          type: "delta",
          session_id: conversation.id,
          message_id: partial.id,
          index: partial.index - 1,
          content: partial.text,
          reset: true,
        }),
      );
    }
    if (conversation.suggestions.length > 0 || conversation.switchers.length > 0) {
      socket.send(
        JSON.stringify({
          type: "suggestion",
          session_id: conversation.id,
          suggestions: conversation.suggestions,
          switchers: conversation.switchers,
        }),
      );
    }
  };

  // ---- REST

  const bearer = (request: Request): string | null =>
    request.headers.get("authorization")?.replace(/^Bearer /, "") ?? null;

  const rest = async (request: Request, path: string, query: URLSearchParams): Promise<Response> => {
    const method = request.method;
    const token = bearer(request);
    const user = userOf(token);
    if (token !== null && !user && !token.startsWith("cs_"))
      return fail(401, "UNAUTHORIZED", "The token is not valid.", { reason: "session_ended" });
    const json = async (): Promise<Json> => (await request.json()) as Json;
    const route = `${method} ${path}`;
    switch (route) {
      case "GET /auth/providers":
        return ok({
          local: true,
          registration: mock.registration,
          oidc: { enabled: false, name: null, login_url: null },
          bootstrap_required: mock.bootstrap.required,
        });
      case "GET /auth/bootstrap":
        return ok({ required: mock.bootstrap.required });
      case "POST /auth/bootstrap": {
        const body = await json();
        if (!mock.bootstrap.required) return fail(409, "CONFLICT", "There is one.", { reason: "admin_exists" });
        if (body["bootstrap_secret"] !== mock.bootstrap.secret) return fail(401, "UNAUTHORIZED", "Wrong.");
        if (String(body["password"]).length < 12)
          return fail(422, "VALIDATION_ERROR", "Weak.", { unmet: ["min_length"] });
        const made: User = {
          id: newId(),
          username: String(body["username"]),
          email: String(body["email"]),
          password: String(body["password"]),
          name: String(body["username"]),
          permissions: ["*"],
          code: null,
        };
        mock.users.push(made);
        mock.bootstrap.required = false;
        return ok({ user_id: made.id, organization_id: newId() }, 201);
      }
      case "POST /auth/login": {
        const body = await json();
        const found = mock.users.find(
          (one) =>
            (one.username === body["username"] || one.email === body["email"]) && one.password === body["password"],
        );
        if (!found) return fail(401, "UNAUTHORIZED", "Name or password is wrong.");
        if (found.code !== null) {
          const sessionToken = randomText(20);
          pending.set(sessionToken, found.id);
          return ok({ requires_2fa: true, session_token: sessionToken, methods: ["totp"], expires_in: 300 });
        }
        return ok(tokensFor(found));
      }
      case "POST /security/auth/mfa/verify": {
        const body = await json();
        const found = mock.users.find((one) => one.id === pending.get(String(body["session_token"])));
        if (!found || found.code !== body["code"])
          return fail(401, "UNAUTHORIZED", "Wrong code.", { reason: "two_factor_invalid" });
        return ok(tokensFor(found));
      }
      case "POST /auth/register": {
        const body = await json();
        if (mock.users.some((one) => one.email === body["email"]))
          return fail(409, "CONFLICT", "Taken.", { reason: "taken", field: "email" });
        if (String(body["password"]).length < 12)
          return fail(422, "VALIDATION_ERROR", "Weak.", { unmet: ["min_length"] });
        const made: User = {
          id: newId(),
          username: String(body["email"]).split("@")[0] ?? "",
          email: String(body["email"]),
          password: String(body["password"]),
          name: String(body["display_name"]),
          permissions: ["chat:write", "chat:read"],
          code: null,
        };
        mock.users.push(made);
        return ok({ user_id: made.id, status: "active" }, 201);
      }
      case "POST /auth/refresh": {
        const body = await json();
        const given = String(body["refresh_token"]);
        if (used.has(given)) return fail(401, "UNAUTHORIZED", "Used before.", { reason: "token_reuse" });
        const owner = mock.users.find((one) => one.id === refresh.get(given));
        if (!owner) return fail(401, "UNAUTHORIZED", "Unknown.");
        used.add(given);
        return ok(tokensFor(owner));
      }
      case "POST /auth/logout": {
        if (token !== null) access.delete(token);
        return ok({ status: "logged_out", redirect_url: "/" });
      }
      case "GET /users/me":
        if (!user) return fail(401, "UNAUTHORIZED", "Sign in.");
        return ok({
          user_id: user.id,
          username: user.username,
          email: user.email,
          display_name: user.name,
          permissions: user.permissions,
        });
      case "GET /session":
        if (user) return ok({ user_id: user.id, authenticated: true });
        if ([...mock.conversations.values()].some((one) => one.token === token && token !== null))
          return ok({ authenticated: false });
        return fail(401, "UNAUTHORIZED", "No such session.");
      case "GET /bots":
        return ok({
          bots: [
            {
              bot_id: "1",
              name: "default",
              display_name: "Company assistant",
              description: "Knows the handbook",
              status: "active",
            },
            {
              bot_id: "2",
              name: "helper",
              display_name: "IT helper",
              description: "Printers, passwords, laptops",
              status: "active",
            },
          ],
          total: 2,
          limit: 100,
          offset: 0,
        });
      case "GET /conversations": {
        if (!user) return fail(401, "UNAUTHORIZED", "Sign in.");
        const q = (query.get("q") ?? "").toLowerCase();
        const own = [...mock.conversations.values()]
          .filter(
            (one) =>
              one.userId === user.id &&
              (one.messages.length > 0 || one.title) &&
              JSON.stringify(row(one)).toLowerCase().includes(q),
          )
          .reverse();
        return ok({ conversations: own.map(row), total: own.length, limit: 30, offset: 0 });
      }
      case "POST /conversations": {
        if (!user) return fail(401, "UNAUTHORIZED", "Sign in.");
        const made = newConversation(user.id, "default");
        return ok({ conversation_id: made.id, session_id: made.id, status: "active", bot: {}, messages: [] }, 201);
      }
      case "GET /kb/collections":
        return ok({ collections: mock.collections, total: mock.collections.length });
      case "POST /kb/collections": {
        const body = await json();
        const made = { id: newId(), name: body["name"], auto: body["auto"] };
        mock.collections.push(made);
        return ok(made, 201);
      }
      default:
        break;
    }
    const bot = /^\/bots\/([^/]+)(\/theme\.css)?$/.exec(path);
    if (bot) {
      if (!["default", "helper"].includes(bot[1] ?? "")) return fail(404, "NOT_FOUND", "There is no such bot.");
      if (bot[2]) return new Response(mock.theme ?? "", { headers: { "content-type": "text/css" } });
      return ok({ bot_id: "1", name: bot[1] });
    }
    const upload = /^\/kb\/collections\/([^/]+)\/(documents|reindex)$/.exec(path);
    if (upload && method === "POST") {
      if (!user?.permissions.some((word) => word === "kb:write" || word === "*"))
        return fail(403, "FORBIDDEN", "Missing.", { required: "kb:write" });
      const jobId = newId();
      mock.jobs.set(jobId, {
        job_id: jobId,
        status: "running",
        progress: 10,
        documents_total: 1,
        documents_done: 0,
        documents_failed: 0,
        errors: [],
      });
      if (upload[2] === "reindex") return ok({ job_id: jobId }, 202);
      const form = await request.formData();
      const files = form.getAll("file").filter((file) => file instanceof File);
      mock.uploads.push({ collection: upload[1] ?? "", names: files.map((file) => file.name) });
      const made = await Promise.all(
        files.map(async (file) => {
          const id = newId();
          documents.set(id, await file.text());
          return { id, name: file.name, status: "pending" };
        }),
      );
      return ok({ documents: made, job_id: jobId }, 202);
    }
    const job = /^\/kb\/jobs\/([^/]+)(\/cancel)?$/.exec(path);
    if (job) {
      const found = mock.jobs.get(job[1] ?? "");
      if (!found) return fail(404, "NOT_FOUND", "No job.");
      if (job[2]) found.status = "cancelled";
      return ok(found);
    }
    const content = /^\/kb\/documents\/([^/]+)\/content$/.exec(path);
    if (content) {
      if (!user) return fail(401, "UNAUTHORIZED", "Sign in.");
      const text = documents.get(content[1] ?? "") ?? mock.spec["document_text"];
      return typeof text === "string" ? new Response(text) : fail(404, "NOT_FOUND", "No document.");
    }
    const about = /^\/(?:conversations|sessions)\/([^/]+)(\/.*)?$/.exec(path);
    const conversation = mock.conversations.get(about?.[1] ?? "");
    if (!about || !conversation) return fail(404, "NOT_FOUND", "There is no such address.");
    const rest = about[2] ?? "";
    if (rest === "/claim" && method === "POST") {
      const body = await json();
      if (!user || conversation.token !== body["token"]) return fail(404, "NOT_FOUND", "No such conversation.");
      conversation.userId = user.id;
      conversation.token = null;
      return ok(row(conversation));
    }
    const mine =
      (conversation.token !== null && conversation.token === token) ||
      (user !== null && conversation.userId === user.id);
    if (!mine) return fail(404, "NOT_FOUND", "There is no such conversation.");
    if (rest === "" && method === "GET") return ok(row(conversation));
    if (rest === "" && method === "PATCH") {
      const body = await json();
      if (typeof body["title"] === "string") conversation.title = body["title"];
      if (typeof body["pinned"] === "boolean") conversation.pinned = body["pinned"];
      return ok(row(conversation));
    }
    if (rest === "" && method === "DELETE") {
      mock.conversations.delete(conversation.id);
      return new Response(null, { status: 204 });
    }
    if (rest === "/history") {
      const limit = Number(query.get("limit") ?? 50);
      const after = /^seq:(\d+)$/.exec(query.get("after") ?? "")?.[1];
      const before = query.get("before");
      let rows = conversation.messages;
      if (after !== undefined) {
        rows = rows.slice(Number(after));
        return ok({
          messages: rows.slice(0, limit),
          has_more: rows.length > limit,
          next_after: null,
          next_before: null,
        });
      }
      if (before !== null)
        rows = rows.slice(
          0,
          rows.findIndex((m) => m["id"] === before),
        );
      const page = rows.slice(-limit);
      return ok({
        messages: page,
        has_more: rows.length > limit,
        next_before: page[0]?.["id"] ?? null,
        next_after: null,
      });
    }
    if (rest === "/attachments" && method === "POST") {
      const form = await request.formData();
      const made = await Promise.all(
        form
          .getAll("file")
          .filter((file) => file instanceof File)
          .map(async (file) => {
            const id = newId();
            const bytes = new Uint8Array(await file.arrayBuffer());
            conversation.attachments.set(id, { name: file.name, mime: file.type, bytes });
            return { id, name: file.name, mime: file.type, size: bytes.length };
          }),
      );
      return ok({ attachments: made }, 201);
    }
    const attachment = /^\/attachments\/([^/]+)$/.exec(rest);
    if (attachment) {
      const file = conversation.attachments.get(attachment[1] ?? "");
      return file
        ? new Response(new Uint8Array(file.bytes), { headers: { "content-type": file.mime } })
        : fail(404, "NOT_FOUND", "No file.");
    }
    const feedback = /^\/messages\/([^/]+)\/feedback$/.exec(rest);
    if (feedback) {
      const message = conversation.messages.find((one) => one["id"] === feedback[1]);
      if (!message) return fail(404, "NOT_FOUND", "No message.");
      const body = await json();
      message["feedback"] = body["value"];
      message["feedback_comment"] = body["comment"] ?? null;
      return ok(message);
    }
    const switcher = /^\/switchers\/([^/]+)$/.exec(rest);
    if (switcher) {
      const body = await json();
      conversation.switchers = conversation.switchers.map((one) =>
        one.id === switcher[1] ? { ...one, active: body["active"] === true } : one,
      );
      return ok({ switchers: conversation.switchers });
    }
    if (rest === "/rating") return ok({ ...row(conversation), rating: (await json())["rating"] });
    if (rest === "/reopen") {
      conversation.closed = false;
      return ok(row(conversation));
    }
    if (rest === "/export") return new Response("# Conversation", { headers: { "content-type": "text/markdown" } });
    return fail(404, "NOT_FOUND", "There is no such address.");
  };

  // ---- the socket

  const bunServer = Bun.serve<SocketData>({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 60,
    fetch: async (request, self) => {
      const url = new URL(request.url);
      const path = url.pathname;
      mock.calls.push(`${request.method} ${path}`);
      if (!mock.up && (path === "/ws" || path.startsWith("/api"))) return new Response("down", { status: 502 });
      if (path === "/ws") {
        const offered = request.headers.get("sec-websocket-protocol") ?? "";
        const token =
          offered
            .split(",")
            .map((one) => one.trim())
            .find((one) => one.startsWith("bearer."))
            ?.slice(7) ?? null;
        const user = userOf(token);
        const chat =
          token === null ? null : ([...mock.conversations.values()].find((one) => one.token === token) ?? null);
        if (token !== null && !user && !chat) return fail(401, "UNAUTHORIZED", "Wrong token.");
        const botName = url.searchParams.get("bot") ?? "default";
        if (!["default", "helper"].includes(botName)) return fail(404, "NOT_FOUND", "No bot.");
        const wanted = url.searchParams.get("session_id");
        let conversation = wanted === null ? chat : (mock.conversations.get(wanted) ?? null);
        if (wanted !== null && (!conversation || (conversation !== chat && conversation.userId !== user?.id)))
          return fail(404, "NOT_FOUND", "No conversation.");
        let fresh = false;
        if (!conversation && user)
          conversation =
            [...mock.conversations.values()].findLast(
              (one) => one.userId === user.id && one.bot === botName && !one.closed,
            ) ?? null;
        if (!conversation) {
          conversation = newConversation(user?.id ?? null, botName);
          fresh = true;
        }
        const lastSeq = url.searchParams.get("last_seq");
        const data: SocketData = {
          userId: user?.id ?? null,
          token,
          chatToken: conversation.token,
          sessionId: conversation.id,
          fresh,
          lastSeq: lastSeq === null ? null : Number(lastSeq),
          joined: new Set([conversation.id]),
        };
        const headers: Record<string, string> = offered === "" ? {} : { "sec-websocket-protocol": "botserver.v1" };
        return self.upgrade(request, { data, headers })
          ? (undefined as unknown as Response)
          : new Response("no upgrade", { status: 400 });
      }
      if (path.startsWith("/api/v1/")) return rest(request, path.slice(7), url.searchParams);
      if (path === "/docs/json") return Response.json(mock.spec);
      if (path === "/auth/login" || path === "/setup" || path === "/docs")
        return server.page(request, path) ?? fail(404, "NOT_FOUND", "");
      if (path.startsWith("/assets/")) return server.asset(request, path) ?? fail(404, "NOT_FOUND", "");
      const name = path.slice(1);
      return (
        (await server.chat(request, name === "" ? null : name)) ?? fail(404, "NOT_FOUND", "There is no such address.")
      );
    },
    websocket: {
      open: (socket) => {
        mock.sockets.add(socket);
        const conversation = mock.conversations.get(socket.data.sessionId);
        if (!conversation) return;
        const user = mock.users.find((one) => one.id === socket.data.userId);
        socket.send(
          JSON.stringify({
            type: "status",
            state: "connected",
            session_id: conversation.id,
            conversation_id: conversation.id,
            bot: {
              id: "1",
              name: conversation.bot,
              title: conversation.bot === "helper" ? "IT helper" : "Company assistant",
              theme: mock.theme === null ? null : "default",
            },
            user: user ? { user_id: user.id, display_name: user.name } : null,
            ...(socket.data.fresh && conversation.token !== null ? { token: conversation.token } : {}),
            last_seq: conversation.messages.length,
            heartbeat_seconds: 30,
            limits: {},
          }),
        );
        if (socket.data.lastSeq !== null) replay(socket, conversation, socket.data.lastSeq);
        if (socket.data.fresh && mock.greeting !== null) store(conversation, { sender: "bot", content: mock.greeting });
      },
      message: (socket, raw) => {
        const frame = JSON.parse(String(raw)) as Json;
        const conversation = mock.conversations.get(text(frame["session_id"]) || socket.data.sessionId);
        if (!conversation) return;
        switch (frame["type"]) {
          case "message":
          case "suggestion":
            accept(conversation, frame, socket);
            break;
          case "resume":
            replay(socket, conversation, Number(frame["last_seq"] ?? 0));
            break;
          case "cancel":
            cancels.get(conversation.id)?.();
            break;
          case "ping":
            socket.send(JSON.stringify({ type: "pong", t: frame["t"] }));
            break;
          default:
            break;
        }
      },
      close: (socket) => {
        mock.sockets.delete(socket);
      },
    },
  });
  mock.close = async () => {
    await bunServer.stop(true);
  };
  mock.url = `http://127.0.0.1:${bunServer.port}`;
  return mock;
}
