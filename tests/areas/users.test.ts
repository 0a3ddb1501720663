// Sign-in, sessions and API keys, seen from outside.

import { describe, expect, test } from "bun:test";
import { ADMIN, startTestServer } from "../support/server.ts";

const server = await startTestServer();
const { call } = server;

describe("sign-in", () => {
  test("a right password gives tokens that say who one is", async () => {
    const login = await call<{ access_token: string; user: { email: string; roles: string[] } }>(
      "POST",
      "/api/v1/auth/login",
      { body: ADMIN },
    );
    expect(login.status).toBe(200);
    expect(login.data.user.email).toBe(ADMIN.email);
    const me = await call<{ permissions: string[]; role: string }>("GET", "/api/v1/users/me", {
      token: login.data.access_token,
    });
    expect(me.status).toBe(200);
    expect(me.data.role).toBe("admin");
    expect(me.data.permissions).toContain("users:write");
    expect(me.headers.get("cache-control")).toBe("no-store");
  });
});
