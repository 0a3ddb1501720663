// Sign-in, sessions, accounts and API keys, seen from outside.

import { describe, expect, test } from "bun:test";
import { ADMIN, startTestServer } from "../support/server.ts";

const server = await startTestServer({ REGISTRATION: "open", BOOTSTRAP_SECRET: "a bootstrap secret of enough length" });
const { call, clock } = server;

interface Tokens {
  access_token: string;
  refresh_token: string;
  session_id: string;
}

async function login(who: { email: string; password: string }): Promise<Tokens> {
  clock.advance(60_001);
  const answer = await call<Tokens>("POST", "/api/v1/auth/login", {
    body: { email: who.email, password: who.password },
  });
  expect(answer.status).toBe(200);
  return answer.data;
}

const me = (token: string) =>
  call<{ user_id: string; permissions: string[]; role: string }>("GET", "/api/v1/users/me", { token });
const refresh = (refreshToken: string) =>
  call<Tokens>("POST", "/api/v1/auth/refresh", { body: { refresh_token: refreshToken } });

async function auditTypes(userId: string): Promise<string[]> {
  const rows = await server.engines.database.query<{ event_type: string }>(
    "SELECT event_type FROM audit_log WHERE user_id = $1 ORDER BY at, id",
    [userId],
  );
  return rows.map((row) => row.event_type);
}

describe("sign-in", () => {
  test("a right password gives tokens that say who one is, by each address of the route", async () => {
    for (const path of ["/api/v1/auth/login", "/api/users/login", "/auth/login", "/api/v1/security/auth/login"]) {
      clock.advance(60_001);
      const answer = await call<Tokens & { user: { email: string } }>("POST", path, { body: ADMIN });
      expect([path, answer.status, answer.data.user.email]).toEqual([path, 200, ADMIN.email]);
      const own = await me(answer.data.access_token);
      expect([own.status, own.data.role]).toEqual([200, "admin"]);
      expect(own.data.permissions).toContain("users:write");
      expect(own.headers.get("cache-control")).toBe("no-store");
    }
  });

  test("unknown name, wrong password and an account without one are told alike", async () => {
    const person = await server.person();
    await server.engines.database.query("UPDATE users SET password_hash = NULL WHERE id = $1", [person.userId]);
    const answers = [];
    for (const body of [
      { email: "nobody@example.org", password: "x" },
      { email: ADMIN.email, password: "wrong" },
      { email: person.email, password: person.password },
    ]) {
      clock.advance(60_001);
      const { status, error } = await call("POST", "/api/v1/auth/login", { body });
      answers.push({ status, error });
    }
    const [first, ...others] = answers.map((answer) => JSON.stringify(answer));
    expect(first).toContain('"status":401');
    for (const other of others) expect(other).toBe(first ?? "");
  });

  test("five failures lock the name, known or not, also for the right password, until the time is over", async () => {
    const person = await server.person();
    for (const [email, password] of [
      [person.email, person.password],
      ["ghost@example.org", "whatever it is"],
    ] as const) {
      for (let count = 0; count < 5; count += 1) {
        clock.advance(12_001);
        const wrong = await call("POST", "/api/v1/auth/login", { body: { email, password: "wrong" } });
        expect(wrong.status).toBe(401);
      }
      clock.advance(60_001);
      const locked = await call("POST", "/api/v1/auth/login", { body: { email, password } });
      expect([locked.status, locked.error?.code]).toEqual([423, "LOCKED"]);
      expect(Date.parse(String(locked.error?.details["locked_until"]))).toBeGreaterThan(clock.now());
    }
    clock.advance(31 * 60_000);
    expect(
      (await call("POST", "/api/v1/auth/login", { body: { email: person.email, password: person.password } })).status,
    ).toBe(200);
    expect(await auditTypes(person.userId)).toContain("account_locked");
  });

  test("after the right password the state of the account is told", async () => {
    for (const [status, reason] of [
      ["pending_verification", "email_not_verified"],
      ["pending_activation", "activation_pending"],
      ["suspended", "account_suspended"],
      ["inactive", "account_inactive"],
    ]) {
      const person = await server.person();
      await server.engines.database.query("UPDATE users SET status = $2 WHERE id = $1", [person.userId, status]);
      const answer = await call("POST", "/api/v1/auth/login", {
        body: { email: person.email, password: person.password },
      });
      expect([status, answer.status, answer.error?.details["reason"]]).toEqual([status, 403, reason]);
    }
  });

  test("forged and altered tokens are refused", async () => {
    const { access_token: token } = await login(ADMIN);
    const [header = "", payload = "", signature = ""] = token.split(".");
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as Record<string, unknown>;
    const forged = [
      "",
      "x",
      "..",
      `${header}.${payload}.`,
      `${header}.${payload}`,
      `${header}.${payload}.${signature}x`,
      `${encode({ alg: "none" })}.${payload}.`,
      `${encode({ alg: "HS512", typ: "JWT" })}.${payload}.${signature}`,
      `${header}.${encode({ ...claims, sub: "01890000-0000-7000-8000-000000000000" })}.${signature}`,
      `${header}.${encode({ ...claims, exp: 4_102_444_800 })}.${signature}`,
      `${header}.${payload}.${signature.split("").toReversed().join("")}`,
    ];
    for (const candidate of forged) expect([candidate, (await me(candidate)).status]).toEqual([candidate, 401]);
    const basic = await call("GET", "/api/v1/users/me", { headers: { authorization: `Basic ${token}` } });
    expect(basic.status).toBe(401);
  });
});

describe("refresh tokens", () => {
  test("a refresh gives a new pair; two tabs within the grace get the same successor", async () => {
    const first = await login(ADMIN);
    const [one, two] = await Promise.all([refresh(first.refresh_token), refresh(first.refresh_token)]);
    expect([one.status, two.status]).toEqual([200, 200]);
    expect(one.data.refresh_token).not.toBe(first.refresh_token);
    expect(two.data.refresh_token).toBe(one.data.refresh_token);
    expect((await me(one.data.access_token)).status).toBe(200);
  });

  test("reuse after the grace ends the whole session and is recorded", async () => {
    const person = await server.person();
    const first = await login(person);
    const second = await refresh(first.refresh_token);
    clock.advance(11_000);
    const reused = await refresh(first.refresh_token);
    expect([reused.status, reused.error?.details["reason"]]).toEqual([401, "token_reuse"]);
    expect((await me(second.data.access_token)).status).toBe(401);
    expect((await refresh(second.data.refresh_token)).status).toBe(401);
    expect(await auditTypes(person.userId)).toContain("suspicious_activity");
  });
});

describe("sessions", () => {
  test("an ended session is refused at the very next request", async () => {
    const person = await server.person();
    const other = await login(person);
    expect((await me(other.access_token)).status).toBe(200);
    const ended = await call("DELETE", `/api/v1/users/me/sessions/${other.session_id}`, { token: person.token });
    expect(ended.status).toBe(200);
    const answer = await me(other.access_token);
    expect([answer.status, answer.error?.details["reason"]]).toEqual([401, "session_ended"]);
    expect((await refresh(other.refresh_token)).status).toBe(401);
    expect((await me(person.token)).status).toBe(200);
  });

  test("logout is idempotent, by token or by refresh token, and everywhere when asked", async () => {
    const person = await server.person();
    const one = await login(person);
    expect((await call("POST", "/api/v1/auth/logout", { token: one.access_token })).status).toBe(200);
    expect((await me(one.access_token)).status).toBe(401);
    const two = await login(person);
    for (let count = 0; count < 2; count += 1) {
      const answer = await call("POST", "/api/v1/auth/logout", { body: { refresh_token: two.refresh_token } });
      expect(answer.status).toBe(200);
    }
    expect((await me(two.access_token)).status).toBe(401);
    const three = await login(person);
    await call("POST", "/api/v1/auth/logout", { token: three.access_token, body: { everywhere: true } });
    expect((await me(person.token)).status).toBe(401);
  });

  test("an idle session ends, a remembered one does not", async () => {
    const person = await server.person();
    const plain = await login(person);
    const kept = await call<Tokens>("POST", "/api/v1/auth/login", {
      body: { email: person.email, password: person.password, remember_me: true },
    });
    clock.advance(31 * 60_000);
    expect((await me(plain.access_token)).status).toBe(401);
    expect((await me(kept.data.access_token)).status).toBe(200);
  });

  test("the login over the limit ends the session that was idle longest", async () => {
    const person = await server.person();
    const tokens: Tokens[] = [];
    for (let count = 0; count < 5; count += 1) tokens.push(await login(person));
    expect((await me(person.token)).status).toBe(401);
    expect((await me(tokens[0]?.access_token ?? "")).status).toBe(200);
  });

  test("strangers do not see or end sessions of others", async () => {
    const [one, two] = [await server.person(), await server.person()];
    expect((await call("GET", `/api/v1/users/${one.userId}/sessions`, { token: two.token })).status).toBe(403);
    expect((await call("DELETE", `/api/v1/users/${one.userId}/sessions`, { token: two.token })).status).toBe(403);
    const list = await call<{ sessions: { session_id: string }[] }>("GET", "/api/v1/users/me/sessions", {
      token: one.token,
    });
    const id = list.data.sessions[0]?.session_id ?? "";
    expect((await call("DELETE", `/api/v1/users/me/sessions/${id}`, { token: two.token })).status).toBe(404);
  });

  test("suspending ends everything at once, activating gives back the key but not the sessions", async () => {
    const person = await server.person();
    const key = await call<{ api_key: string }>("POST", "/api/v1/user/api-keys", {
      token: person.token,
      body: { name: "k", scopes: ["chat:read"] },
    });
    expect((await me(key.data.api_key)).status).toBe(200);
    const suspended = await call("POST", `/api/v1/users/${person.userId}/suspend`, {
      token: await server.signIn(),
      body: { reason: "left" },
    });
    expect(suspended.status).toBe(200);
    expect([(await me(person.token)).status, (await me(key.data.api_key)).status]).toEqual([401, 401]);
    expect(
      (await call("POST", `/api/v1/users/${person.userId}/activate`, { token: await server.signIn() })).status,
    ).toBe(200);
    expect([(await me(person.token)).status, (await me(key.data.api_key)).status]).toEqual([401, 200]);
  });

  test("the last administrator cannot be suspended, nor oneself", async () => {
    const own = await me(await server.signIn());
    const self = await call("POST", `/api/v1/users/${own.data.user_id}/suspend`, {
      token: await server.signIn(),
      body: { reason: "x" },
    });
    expect([self.status, self.error?.details["reason"]]).toEqual([409, "self"]);
    const helper = await server.person(["user", "user_admin"]);
    const climbing = await call("POST", `/api/v1/users/${own.data.user_id}/suspend`, {
      token: helper.token,
      body: { reason: "x" },
    });
    expect([climbing.status, climbing.error?.details["reason"]]).toEqual([403, "role_above_own"]);
  });
});

describe("accounts", () => {
  test("settings merge; unknown words of a choice are 422", async () => {
    const person = await server.person();
    const put = (body: object) =>
      call<{ settings: { theme: string; notifications: object } }>("PUT", "/api/v1/users/me/settings", {
        token: person.token,
        body,
      });
    expect((await put({ theme: "dark", notifications: { push: false } })).status).toBe(200);
    const second = await put({ notifications: { digest: "daily" } });
    expect(second.data.settings.theme).toBe("dark");
    expect(second.data.settings.notifications).toEqual({ email: true, push: false, sound: true, digest: "daily" });
    expect((await put({ theme: "pink" })).status).toBe(422);
    const unknown = await put({ thmee: "dark", theme: "pink", notifications: { puhs: true }, custom: { anything: 1 } });
    const paths = ((unknown.error?.details["fields"] ?? []) as { path: string }[]).map(({ path }) => path);
    expect([unknown.status, paths.toSorted()]).toEqual([422, ["notifications.puhs", "theme", "thmee"]]);
    expect((await put({ custom: { text: "x".repeat(9000) } })).status).toBe(422);
  });

  test("with the directory alone one sees cards, and only for a search", async () => {
    const [one, two] = [await server.person(), await server.person()];
    expect((await call("GET", "/api/v1/users", { token: one.token })).status).toBe(422);
    const found = await call<{ users: Record<string, unknown>[] }>("GET", "/api/v1/users?search=person", {
      token: one.token,
    });
    expect(found.data.users.length).toBeGreaterThan(1);
    expect(
      found.data.users.every(
        (user) => Object.keys(user).toSorted().join() === "avatar_url,display_name,user_id,username",
      ),
    ).toBe(true);
    const card = await call<Record<string, unknown>>("GET", `/api/v1/users/${two.userId}`, { token: one.token });
    expect(card.data["email"]).toBeUndefined();
    const whole = await call<Record<string, unknown>>("GET", `/api/v1/users/${two.userId}`, {
      token: await server.signIn(),
    });
    expect(whole.data["email"]).toBe(two.email);
  });

  test("registering follows the policy, names every unmet rule, and takes a name once", async () => {
    const weak = await call("POST", "/api/v1/auth/register", {
      body: { email: "new@example.org", password: "password" },
    });
    expect([weak.status, weak.error?.details["unmet"]]).toEqual([422, ["min_length", "common"]]);
    const right = { email: "New.Person@example.org", password: "quite another long secret" };
    const made = await call<{ status: string; user_id: string }>("POST", "/api/v1/users/register", { body: right });
    expect([made.status, made.data.status]).toEqual([201, "pending_verification"]);
    const again = await call("POST", "/api/v1/auth/register", { body: { ...right, email: "NEW.person@EXAMPLE.org" } });
    expect([again.status, again.error?.details["field"]]).toEqual([409, "email"]);
    clock.advance(3_600_001);
    const waiting = await call("POST", "/api/v1/auth/login", { body: right });
    expect(waiting.error?.details["reason"]).toBe("email_not_verified");
  });

  test("the same address registered many times at once makes one account", async () => {
    clock.advance(3_600_001);
    const body = { email: "race@example.org", password: "quite another long secret" };
    const answers = await Promise.all(Array.from({ length: 5 }, () => call("POST", "/api/v1/auth/register", { body })));
    expect(answers.filter(({ status }) => status === 201).length).toBe(1);
    expect(answers.filter(({ status }) => status === 409).length).toBe(4);
  });
});

describe("API keys", () => {
  test("a key acts within its scopes and its owner's rights, and cannot make keys", async () => {
    const key = await call<{ api_key: string; key_id: string; prefix: string }>(
      "POST",
      "/api/v1/security/keys/generate",
      {
        token: await server.signIn(),
        body: { name: "reader", permissions: ["users.read", "keys:own"] },
      },
    );
    expect(key.status).toBe(201);
    expect(key.data.api_key).toMatch(/^sk_live_[0-9A-Za-z]{49}$/);
    const byHeader = await call("GET", "/api/v1/users", { headers: { "x-api-key": key.data.api_key } });
    expect(byHeader.status).toBe(200);
    const refused = await call("POST", `/api/v1/users/${crypto.randomUUID()}/suspend`, {
      token: key.data.api_key,
      body: { reason: "x" },
    });
    expect([refused.status, refused.error?.details["required"]]).toEqual([403, "users:write"]);
    const making = await call("POST", "/api/v1/security/keys/generate", {
      token: key.data.api_key,
      body: { name: "x", scopes: ["chat:read"] },
    });
    expect([making.status, making.error?.details["reason"]]).toEqual([403, "session_required"]);
    const listed = await call<{ keys: Record<string, unknown>[] }>("GET", "/api/v1/security/keys", {
      token: await server.signIn(),
    });
    expect(JSON.stringify(listed.data)).not.toContain(key.data.api_key);
  });

  test("one cannot give a key what one does not hold; unknown words are named", async () => {
    clock.advance(86_400_001);
    const person = await server.person();
    const climbing = await call("POST", "/api/v1/user/api-keys", {
      token: person.token,
      body: { name: "x", scopes: ["users:write"] },
    });
    expect([climbing.status, climbing.error?.details["reason"]]).toEqual([403, "permission_not_held"]);
    const unknown = await call("POST", "/api/v1/user/api-keys", {
      token: person.token,
      body: { name: "x", scopes: ["foo:bar", "chat:read"] },
    });
    expect(unknown.status).toBe(422);
    expect(JSON.stringify(unknown.error)).toContain("foo:bar");
  });

  test("a rotated key's old secret works until the overlap ends; a revoked one is refused at once", async () => {
    const person = await server.person();
    const made = await call<{ api_key: string; key_id: string }>("POST", "/api/v1/user/api-keys", {
      token: person.token,
      body: { name: "k", scopes: ["chat:read"] },
    });
    const old = made.data.api_key;
    expect((await me(old)).status).toBe(200);
    const rotated = await call<{ api_key: string }>("POST", `/api/v1/security/keys/${made.data.key_id}/rotate`, {
      token: person.token,
      body: { overlap_seconds: 60 },
    });
    expect([(await me(old)).status, (await me(rotated.data.api_key)).status]).toEqual([200, 200]);
    clock.advance(61_000);
    expect([(await me(old)).status, (await me(rotated.data.api_key)).status]).toEqual([401, 200]);
    const stranger = await server.person();
    expect((await call("DELETE", `/api/v1/security/keys/${made.data.key_id}`, { token: stranger.token })).status).toBe(
      404,
    );
    for (let count = 0; count < 2; count += 1) {
      expect((await call("DELETE", `/api/v1/user/api-keys/${made.data.key_id}`, { token: person.token })).status).toBe(
        204,
      );
    }
    expect((await me(rotated.data.api_key)).status).toBe(401);
  });

  test("an address outside the allowlist is refused; client credentials give 15 minutes", async () => {
    const person = await server.person();
    const key = await call<{ api_key: string; key_id: string }>("POST", "/api/v1/user/api-keys", {
      token: person.token,
      body: { name: "k", scopes: ["chat:read"], ip_allowlist: ["203.0.113.0/24"] },
    });
    const outside = await me(key.data.api_key);
    expect([outside.status, outside.error?.details["reason"]]).toEqual([403, "ip_not_allowed"]);
    await call("PUT", `/api/v1/security/keys/${key.data.key_id}`, { token: person.token, body: { ip_allowlist: [] } });
    const form = new URLSearchParams({
      grant_type: "client_credentials",
      client_id: key.data.key_id,
      client_secret: key.data.api_key,
    });
    const bare = await fetch(`${server.url}/auth/token`, { method: "POST", body: form });
    expect(bare.status).toBe(200);
    const token = (await bare.json()) as { access_token: string; expires_in: number };
    expect(token.expires_in).toBe(900);
    expect((await me(token.access_token)).status).toBe(200);
    await call("DELETE", `/api/v1/security/keys/${key.data.key_id}`, { token: person.token });
    expect((await me(token.access_token)).status).toBe(401);
    const fault = await fetch(`${server.url}/auth/token`, {
      method: "POST",
      body: new URLSearchParams({ grant_type: "password", username: "x", password: "y" }),
    });
    expect(fault.status).toBe(400);
    expect(((await fault.json()) as { error: string }).error).toBe("invalid_grant");
  });
});

describe("the first administrator", () => {
  test("with one there, the setup address is closed", async () => {
    expect((await call<{ required: boolean }>("GET", "/api/v1/auth/bootstrap")).data.required).toBe(false);
    const body = {
      bootstrap_secret: "a bootstrap secret of enough length",
      email: "second@example.org",
      password: "quite another long secret",
    };
    const answer = await call("POST", "/api/v1/auth/bootstrap", { body });
    expect([answer.status, answer.error?.details["reason"]]).toEqual([409, "admin_exists"]);
  });

  test("of two racing setups one makes the administrator and the organization", async () => {
    const empty = await startTestServer({ ADMIN_EMAIL: "", ADMIN_PASSWORD: "" });
    const secret = empty.setupToken ?? "";
    expect(secret.length).toBeGreaterThan(40);
    const wrong = await empty.call("POST", "/api/v1/auth/bootstrap", {
      body: { bootstrap_secret: "wrong", email: "a@example.org", password: "quite another long secret" },
    });
    expect(wrong.status).toBe(401);
    const answers = await Promise.all(
      ["one", "two"].map((name) =>
        empty.call("POST", "/api/v1/auth/bootstrap", {
          body: {
            bootstrap_secret: secret,
            username: name,
            email: `${name}@example.org`,
            password: "quite another long secret",
          },
        }),
      ),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201, 409]));
    const winner = answers[0]?.status === 201 ? "one" : "two";
    const token = await empty.signIn({ email: `${winner}@example.org`, password: "quite another long secret" });
    const own = await empty.call<{ role: string; organization_id: string | null }>("GET", "/api/v1/users/me", {
      token,
    });
    expect(own.data.role).toBe("admin");
    expect(own.data.organization_id).not.toBeNull();
  });

  test("no password, token, key or setup secret stands in the database as text", async () => {
    const tokens = await login(ADMIN);
    const key = await call<{ api_key: string }>("POST", "/api/v1/user/api-keys", {
      token: tokens.access_token,
      body: { name: "dump", scopes: ["chat:read"] },
      // Its answer is kept for a repetition.
      headers: { "idempotency-key": "dump" },
    });
    expect(key.status).toBe(201);
    const tables = await server.engines.database.query<{ name: string }>(
      "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'",
    );
    const planted = [ADMIN.password, tokens.access_token, tokens.refresh_token, key.data.api_key];
    for (const { name } of tables) {
      const rows = await server.engines.database.query<{ text: string }>(`SELECT t::text AS text FROM "${name}" t`);
      const text = rows.map((row) => row.text).join("\n");
      for (const secret of planted) expect([name, text.includes(secret)]).toEqual([name, false]);
    }
  });
});
