// What the authenticator keeps in memory never outlives a revocation: also not when it was being read meanwhile, when
// word of it was lost, or when the bus is away.

import { expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { openAuthenticator } from "../../src/areas/users/authenticator.ts";
import { sessions } from "../../src/areas/users/model.ts";
import { DEFAULT_SETTINGS } from "../../src/areas/users/settings.ts";
import { silentLog } from "../../src/core/log.ts";
import { memoryCache } from "../../src/engines/cache/memory.ts";
import { makeAccount, makeKey } from "../support/callers.ts";
import { failure } from "../support/failure.ts";
import { startTestServer } from "../support/server.ts";

const server = await startTestServer();
const { clock } = server;
const client = { ip: "192.0.2.1", userAgent: null };
const refused = { code: "UNAUTHORIZED", details: { reason: "session_ended" } };

/** An authenticator of its own over the server's database, as another instance has it; its bus can go away. */
async function another() {
  const cache = memoryCache({ clock, log: silentLog });
  const state = { isUp: true, status: (_isUp: boolean): void => undefined };
  // Reading somebody's rights is the last step of a load: a gate there holds what was read before.
  const gate: { closed: Promise<void> | null; reached: PromiseWithResolvers<void> } = {
    closed: null,
    reached: Promise.withResolvers(),
  };
  const { permissions } = server.services;
  const authenticator = openAuthenticator({
    database: server.engines.database,
    cache: {
      ...cache,
      isUp: () => state.isUp,
      onStatus: (handler) => {
        state.status = handler;
        return () => undefined;
      },
    },
    clock,
    log: silentLog,
    permissions: {
      ...permissions,
      of: async (userId) => {
        const grants = await permissions.of(userId);
        gate.reached.resolve();
        await gate.closed;
        return grants;
      },
    },
    settings: { current: () => DEFAULT_SETTINGS, load: () => Promise.resolve() },
    verifyToken: (token) => {
      const [sub = "", sid = ""] = token.split("/");
      return Promise.resolve({ sub, sid, exp: clock.now() / 1000 + 3600 });
    },
  });
  await authenticator.start();
  return { authenticator, gate, state };
}

const end = (sessionId: string) =>
  server.engines.database.db
    .update(sessions)
    .set({ status: "ended", endedReason: "terminated" })
    .where(eq(sessions.id, sessionId));

test("who asks after the revocation does not join a load that began before it, and nothing of that load stays", async () => {
  const { userId, sessionId } = await makeAccount(server, ["user"]);
  const { authenticator, gate } = await another();
  const opened = Promise.withResolvers<void>();
  gate.closed = opened.promise;
  const before = authenticator.authenticate(`${userId}/${sessionId}`, client);
  await gate.reached.promise;
  await end(sessionId);
  await authenticator.sessionsEnded([sessionId]);
  const after = failure(Promise.resolve(authenticator.authenticate(`${userId}/${sessionId}`, client)));
  opened.resolve();
  // It had asked while the session lived.
  expect(await before).toMatchObject({ userId });
  expect(await after).toMatchObject(refused);
  expect(await failure(Promise.resolve(authenticator.authenticate(`${userId}/${sessionId}`, client)))).toMatchObject(
    refused,
  );
  expect(await authenticator.callerOf({ kind: "session", userId, sessionId })).toBeNull();
});

test("a revocation that nobody told is seen after 5 s; while the bus is away after 2 s", async () => {
  const { authenticator, state } = await another();
  for (const [isUp, ms] of [
    [true, 5_000],
    [false, 2_000],
  ] as const) {
    state.isUp = isUp;
    const { userId, sessionId } = await makeAccount(server, ["user"]);
    const ask = async () => authenticator.authenticate(`${userId}/${sessionId}`, client);
    await ask();
    await end(sessionId);
    clock.advance(ms - 500);
    expect(await ask()).toMatchObject({ userId });
    clock.advance(500);
    expect(await failure(ask())).toMatchObject(refused);
  }
});

test("when the bus is back, everything is read anew", async () => {
  const { userId, sessionId } = await makeAccount(server, ["user"]);
  const { authenticator, state } = await another();
  const ask = async () => authenticator.authenticate(`${userId}/${sessionId}`, client);
  await ask();
  await end(sessionId);
  expect(await ask()).toMatchObject({ userId });
  state.status(true);
  expect(await failure(ask())).toMatchObject(refused);
});

test("a revoked key no longer counts for the account that it belonged to", async () => {
  const account = await makeAccount(server, ["user"]);
  const { keyId, secret } = await makeKey(server, account, ["chat:read"]);
  const { authenticator } = server.services;
  await authenticator.authenticate(secret, client);
  expect(authenticator.remembered(secret)).toMatchObject({ subject: account.userId });
  expect((await server.call("DELETE", `/api/v1/security/keys/${keyId}`, { token: account.token })).status).toBe(204);
  expect((await server.call("GET", "/api/v1/auth/validate", { token: secret })).status).toBe(401);
  expect(authenticator.remembered(secret)).toBeNull();
});

test("one's own record shows a change of the account at once", async () => {
  const account = await makeAccount(server, ["user", "manager"]);
  const own = async () =>
    (await server.call<{ roles: string[] }>("GET", "/api/v1/users/me", { token: account.token })).data.roles;
  expect(await own()).toContain("manager");
  await server.engines.database.query("delete from user_roles where user_id = $1 and role_id = 'manager'", [
    account.userId,
  ]);
  await server.services.authenticator.rightsChanged(account.userId);
  expect(await own()).not.toContain("manager");
});
