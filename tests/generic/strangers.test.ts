// What belongs to somebody is nobody else's: every operation with an id in its path, asked by strangers of six kinds
// for things that exist; and every operation that names a permission, asked by every built-in role alone.

import { beforeAll, describe, expect, test } from "bun:test";
import { BUILTIN_ROLES } from "../../src/core/permissions/roles.ts";
import { random, validValue, type Schema } from "../support/arbitrary.ts";
import { makeAccount, makeKey, openSession, type Account } from "../support/callers.ts";
import { operationsOf, readDocument, type Operation } from "../support/operations.ts";
import { startTestServer } from "../support/server.ts";
import { must, plantBot, plantConversation, plantOwn, valuesFor, type Things } from "../support/things.ts";

const server = await startTestServer();
const { call } = server;
const operations = operationsOf(await readDocument(server.url));
const SEED = 20_260_901;

// --- Somebody's things ---

interface Made {
  owner: Account;
  things: Things;
}

/** An account with a conversation, a key and a session, and a closed bot with its knowledge. */
async function makeThings(): Promise<Made> {
  const admin = await makeAccount(server, ["user", "admin"]);
  const owner = await makeAccount(server, ["user"]);
  const { things } = await plantConversation(server, owner.token);
  return {
    owner,
    things: { ...(await plantOwn(server, owner)), ...things, ...(await plantBot(server, admin.token, "closed")) },
  };
}

/** Operations whose path names no thing of somebody's: why. */
const NO_THING: Record<string, string> = {
  "/api/v1/memory/{key}": "a name within the caller's own memory",
  "/assets/{path}": "a file of the pages",
  "/{bot}": "a page for people; what it may tell is tested with the pages",
  "/ws/{bot}": "a socket; tested with the conversations",
};

function addressOf(operation: Operation, things: Things): string {
  const values = valuesFor(operation, things);
  if (!values) throw new Error(`${operation.name}: plant a thing for it, or say in NO_THING why there is none`);
  return operation.path.replace(/\{([^}]+)\}/g, (_, name: string) => encodeURIComponent(values[name] ?? ""));
}

/** A request body that is valid by the document, so that nothing but the right to the thing can be missing. */
function bodyOf(operation: Operation): unknown {
  const [body] = operation.bodies;
  if (!body) return undefined;
  if (body.type === "multipart/form-data") {
    const form = new FormData();
    form.append("file", new File(["text"], "a.txt", { type: "text/plain" }));
    return form;
  }
  return HAND_WRITTEN[operation.name] ?? validValue(withPlainTexts(body.schema), random(SEED), () => []);
}

/** Where more is wanted than the document can say. */
const HAND_WRITTEN: Record<string, unknown> = {
  "POST /api/v1/conversations/{id}/messages": { content: "Mine now?" },
  "POST /api/v1/sessions/{id}/message": { content: "Mine now?" },
};

/** The schema with its texts made harmless: this is no search for texts that are refused. */
function withPlainTexts(schema: Schema): Schema {
  return JSON.parse(JSON.stringify(schema), (_, part: unknown) => {
    if (typeof part !== "object" || part === null || !("type" in part) || part.type !== "string") return part;
    const { enum: words, const: word, pattern, format, minLength = 1 } = part as Schema;
    const isFree = !words && word === undefined && !pattern && !format;
    return isFree ? { type: "string", pattern: `^[a-z]{${minLength},${minLength + 4}}$` } : part;
  }) as Schema;
}

describe("strangers", () => {
  type Stranger = "another user" | "a guest" | "nobody" | "an ended session" | "a revoked key" | "another's chat token";
  let made: Made;
  const credentials = new Map<Stranger, string | null>();

  beforeAll(async () => {
    made = await makeThings();
    const { owner } = made;
    credentials.set("another user", (await makeAccount(server, ["user"])).token);
    credentials.set("a guest", (await makeAccount(server, ["guest"])).token);
    credentials.set("nobody", null);
    // The hardest of their kind: those that were the owner's.
    const ended = await openSession(server, owner.userId);
    await must(200, call("POST", "/api/v1/auth/logout", { token: ended.token }));
    credentials.set("an ended session", ended.token);
    const key = await makeKey(server, owner, ["chat:read", "chat:write", "bots:use", "kb:read", "settings:personal"]);
    await must(200, call("GET", "/api/v1/users/me", { token: key.secret }));
    await must(204, call("DELETE", `/api/v1/security/keys/${key.keyId}`, { token: owner.token }));
    credentials.set("a revoked key", key.secret);
    const { token } = await must(201, call<{ token: string }>("POST", "/api/v1/session", { body: {} }));
    expect(token).toStartWith("cs_");
    credentials.set("another's chat token", token);
  });

  const REFUSED = [401, 403, 404];
  /** What a stranger may have all the same: by the contract. */
  const ALLOWED: Record<string, readonly Stranger[]> = {
    // The directory shows cards of accounts to whoever holds users:directory.
    "GET /api/v1/users/{user_id}": ["another user"],
  };
  const owned = operations.filter(({ path }) => path.includes("{") && !(path in NO_THING));

  test("there are operations to ask, and none with an id is public", () => {
    expect(owned.length).toBeGreaterThan(50);
    expect(owned.filter(({ access }) => access === "public").map(({ name }) => name)).toEqual([]);
  });

  test.each(owned.map((operation) => [operation.name, operation] as const))(
    "%s is refused to them",
    async (name, operation) => {
      const found: string[] = [];
      for (const [stranger, token] of credentials) {
        const answer = await call(operation.method, addressOf(operation, made.things), {
          token,
          body: bodyOf(operation),
        });
        if (REFUSED.includes(answer.status)) {
          const isOver = stranger === "an ended session" || stranger === "a revoked key";
          if (isOver && answer.status !== 401) found.push(`${stranger}: ${answer.status} in place of 401`);
          continue;
        }
        if (ALLOWED[name]?.includes(stranger)) continue;
        found.push(`${stranger}: ${answer.status} ${JSON.stringify(answer.error ?? answer.data).slice(0, 300)}`);
      }
      expect(found).toEqual([]);
    },
  );

  test("after all of that everything of the owner's is as it was", async () => {
    const { owner, things } = made;
    const get = async (path: string) => (await call("GET", path, { token: owner.token })).status;
    const conversation = `/api/v1/conversations/${things["/api/v1/conversations/"]?.["id"]}`;
    expect(await get(conversation)).toBe(200);
    expect(await get(`${conversation}/attachments/${things["/api/v1/conversations/"]?.["attachment_id"]}`)).toBe(200);
    const key = await call<{ status: string; name: string }>(
      "GET",
      `/api/v1/security/keys/${things["/api/v1/security/keys/"]?.["key_id"]}`,
      { token: owner.token },
    );
    expect(key.data).toMatchObject({ status: "active", name: "test" });
    const admin = await makeAccount(server, ["user", "admin"]);
    const bot = await call<{ visibility: string }>("GET", `/api/v1/admin/bots/${things["/api/v1/bots/"]?.["bot"]}`, {
      token: admin.token,
    });
    expect([bot.status, bot.data.visibility]).toEqual([200, "admin"]);
  });
});

describe("built-in roles", () => {
  const guarded = operations.filter(({ access }) => access.includes(":"));

  /** What a role holds by the table of roles: its own words and those of all it inherits. */
  function heldBy(id: string): Set<string> {
    const role = BUILTIN_ROLES.find((one) => one.id === id);
    if (!role) throw new Error(`no role ${id}`);
    return new Set([...role.permissions, ...role.parents.flatMap((parent) => [...heldBy(parent)])]);
  }

  /** A call that stops at the gate or just behind it: the ids are of nothing, the body is of no known type. */
  async function ask(operation: Operation, token: string | null) {
    const path = operation.path.replace(/\{[^}]+\}/g, "01890000-0000-7000-8000-000000000000");
    const hasBody = operation.bodies.length > 0;
    return call(operation.method, path, {
      token,
      ...(hasBody ? { body: "nothing", headers: { "content-type": "text/nothing" } } : {}),
    });
  }

  test("there are as many as the contract names", () => {
    expect(BUILTIN_ROLES.length).toBe(32);
    expect(guarded.length).toBeGreaterThan(40);
  });

  test.each(BUILTIN_ROLES.map(({ id }) => id))(
    "%s alone opens what it holds, and nothing else",
    async (id) => {
      const held = heldBy(id);
      const { token } = await makeAccount(server, [id]);
      const wrong: string[] = [];
      for (const operation of guarded) {
        const answer = await ask(operation, token);
        const isRefused = answer.status === 403 && answer.error?.details["required"] === operation.access;
        const mayPass = held.has("*") || held.has(operation.access);
        if (isRefused === mayPass) wrong.push(`${operation.name}: ${answer.status}, needs ${operation.access}`);
        if (answer.status >= 500) wrong.push(`${operation.name}: ${answer.status}`);
      }
      expect(wrong).toEqual([]);
    },
    30_000,
  );

  test("nobody opens only what anonymous callers hold", async () => {
    const wrong: string[] = [];
    for (const operation of guarded) {
      const { status } = await ask(operation, null);
      const mayPass = operation.access === "chat:write" || operation.access === "bots:use";
      if ((status === 401) === mayPass) wrong.push(`${operation.name}: ${status}, needs ${operation.access}`);
    }
    expect(wrong).toEqual([]);
  });

  test("an administrator's key opens only its scopes", async () => {
    const admin = await makeAccount(server, ["user", "admin"]);
    const { secret } = await makeKey(server, admin, ["kb:read"]);
    const wrong: string[] = [];
    for (const operation of guarded) {
      const answer = await ask(operation, secret);
      const isRefused = answer.status === 403 && answer.error?.details["required"] === operation.access;
      if (isRefused === (operation.access === "kb:read")) wrong.push(`${operation.name}: ${answer.status}`);
    }
    expect(wrong).toEqual([]);
  });
});
