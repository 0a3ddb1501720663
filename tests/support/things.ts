// Real things for tests that call every operation: a conversation, knowledge, a bot, keys — and where in a path their
// ids belong.

import { makeKey, type Account } from "./callers.ts";
import type { Operation } from "./operations.ts";
import type { TestServer } from "./server.ts";

/** Values of path parameters, by the beginning of the paths that they belong to. */
export type Things = Record<string, Record<string, string>>;

/** Data of an answer that must have this status. */
export async function must<Data>(
  status: number,
  answer: Promise<{ status: number; data: Data; error: unknown }>,
): Promise<Data> {
  const { status: given, data, error } = await answer;
  if (given !== status) throw new Error(`${given} in place of ${status}: ${JSON.stringify(error)}`);
  return data;
}

function textFile(name: string): FormData {
  const form = new FormData();
  form.append("file", new File(["# Notes\n\nSomething to read."], name, { type: "text/markdown" }));
  return form;
}

/** A conversation with a message and a file in it; without an owner, an anonymous one with its chat token. */
export async function plantConversation(
  server: TestServer,
  owner: string | null,
): Promise<{ token: string | null; things: Things }> {
  const { call } = server;
  const begun = await must(
    201,
    call<{ conversation_id: string; token?: string }>("POST", "/api/v1/session", { token: owner, body: {} }),
  );
  const token = owner ?? begun.token ?? null;
  const at = `/api/v1/conversations/${begun.conversation_id}`;
  const sent = await must(
    201,
    call<{ message_id: string }>("POST", `${at}/messages`, { token, body: { content: "A question?" } }),
  );
  const { attachments } = await must(
    201,
    call<{ attachments: { id: string }[] }>("POST", `${at}/attachments`, { token, body: textFile("notes.md") }),
  );
  const inside = {
    id: begun.conversation_id,
    message_id: sent.message_id,
    attachment_id: attachments[0]?.id ?? "",
    switcher_id: "tables",
  };
  return {
    token,
    things: { "/api/v1/conversations/": inside, "/api/v1/session/": inside, "/api/v1/sessions/": inside },
  };
}

/** A bot that only administrators may use, with a memory, a collection and a document. */
export async function plantBot(server: TestServer, admin: string, name: string): Promise<Things> {
  const { call } = server;
  const bot = await must(
    201,
    call<{ bot_id: string }>("POST", "/api/v1/bots", {
      token: admin,
      body: { name, visibility: "admin", allowed_users: [] },
    }),
  );
  await must(200, call("PUT", `/api/v1/bots/${bot.bot_id}/memory/secret`, { token: admin, body: { value: "kept" } }));
  const collection = await must(
    201,
    call<{ id: string }>("POST", "/api/v1/kb/collections", {
      token: admin,
      body: { bot_id: bot.bot_id, name: "papers" },
    }),
  );
  const { documents, job_id: job } = await must(
    202,
    call<{ documents: { id: string }[]; job_id: string }>("POST", `/api/v1/kb/collections/${collection.id}/documents`, {
      token: admin,
      body: textFile("paper.md"),
    }),
  );
  return {
    "/api/v1/bots/": { bot: bot.bot_id, key: "secret" },
    "/api/v1/admin/bots/": { bot: bot.bot_id, key: "secret" },
    "/api/v1/kb/collections/": { c: collection.id },
    "/api/v1/kb/documents/": { id: documents[0]?.id ?? "" },
    "/api/v1/kb/jobs/": { job_id: job },
    "/api/v1/kb/{kb_id}/": { kb_id: bot.bot_id, path: "papers" },
  };
}

/** What an account has by itself: a session, a key, a memory. */
export async function plantOwn(server: TestServer, owner: Account): Promise<Things> {
  const key = await makeKey(server, owner, ["chat:read"]);
  const keyOf = { key_id: key.keyId };
  await must(200, server.call("PUT", "/api/v1/memory/planted", { token: owner.token, body: { value: "kept" } }));
  return {
    "/api/v1/users/{user_id}": { user_id: owner.userId, session_id: owner.sessionId },
    "/api/v1/security/keys/": keyOf,
    "/api/v1/security/api-keys/": keyOf,
    "/api/v1/user/api-keys/": keyOf,
    "/api/v1/memory/": { key: "planted" },
  };
}

/** The values for an operation's path; null where a parameter has none among the things. */
export function valuesFor(operation: Operation, things: Things): Record<string, string> | null {
  const [, own] = Object.entries(things).find(([start]) => operation.path.startsWith(start)) ?? [];
  const names = [...operation.path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name ?? "");
  return own && names.every((name) => own[name]) ? own : null;
}
