// Throw-away accounts for tests that call everything: made in the database, because signing in is limited and slow.

import { users } from "../../src/areas/users/model.ts";
import { systemContext, type Context } from "../../src/core/context.ts";
import { uuidv7 } from "../../src/lib/ids/index.ts";
import type { TestServer } from "./server.ts";

/** What accounts are made with: a test's server, or an app beside servers of their own. */
export interface AccountSource {
  clock: Pick<TestServer["clock"], "date">;
  engines: Pick<TestServer["engines"], "database">;
  services: TestServer["services"];
}

export interface Account {
  userId: string;
  username: string;
  email: string;
  /** Of a session that stays while it is idle. */
  token: string;
  sessionId: string;
  refreshToken: string;
}

/** An active account that holds `roles` and nothing else, signed in. It has no password. */
export async function makeAccount(server: AccountSource, roles: readonly string[]): Promise<Account> {
  const userId = uuidv7();
  const username = `account-${userId.slice(-12)}`;
  const email = `${username}@example.org`;
  const at = server.clock.date();
  await server.engines.database.transaction(async (tx) => {
    await tx.insert(users).values({
      id: userId,
      username,
      usernameKey: username,
      email,
      emailKey: email,
      emailVerified: true,
      displayName: `Account ${username}`,
      status: "active",
      createdAt: at,
      updatedAt: at,
    });
    for (const role of roles) await server.services.permissions.give(tx, userId, role, null);
  });
  return { userId, username, email, ...(await openSession(server, userId)) };
}

/** A further session of an account. */
export async function openSession(
  server: AccountSource,
  userId: string,
): Promise<Pick<Account, "token" | "sessionId" | "refreshToken">> {
  const { sessions } = server.services;
  const session = await server.engines.database.transaction((tx, afterCommit) =>
    sessions.open(tx, afterCommit, {
      ctx: systemContext([], "test"),
      userId,
      organizationId: null,
      method: "password",
      rememberMe: true,
    }),
  );
  const made = await sessions.tokens(session);
  return { token: made.accessToken, sessionId: made.sessionId, refreshToken: made.refreshToken };
}

/** An API key of an account with these scopes, which the account must hold. */
export async function makeKey(
  server: AccountSource,
  account: Account,
  scopes: readonly string[],
): Promise<{ keyId: string; secret: string }> {
  const caller = await server.services.authenticator.authenticate(account.token, { ip: "127.0.0.1", userAgent: null });
  const ctx: Context = { ...systemContext([], "test"), caller };
  const made = await server.services.keys.create(ctx, { name: "test", scopes, expiresAt: null, ipAllowlist: [] });
  return { keyId: made.key_id, secret: made.api_key };
}
