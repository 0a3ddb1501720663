// The hourly classes of callers and what they cost.

import { expect, test } from "bun:test";
import { startTestServer } from "../support/server.ts";

const server = await startTestServer({
  RATE_LIMIT_ANONYMOUS: "5",
  RATE_LIMIT_USER: "4",
  RATE_LIMIT_ADMIN: "6",
  TRUST_PROXY: "1",
});
const { call } = server;
const from = (ip: string) => ({ "x-forwarded-for": ip });

test("anonymous requests count by address, also those with a wrong token", async () => {
  const statuses: number[] = [];
  for (const token of [null, "wrong", null, "wrong", null]) {
    statuses.push((await call("GET", "/api/v1/users/me", { token, headers: from("203.0.113.1") })).status);
  }
  expect(statuses).toEqual([401, 401, 401, 401, 401]);
  const refused = await call("GET", "/api/v1/users/me", { headers: from("203.0.113.1") });
  expect(refused.status).toBe(429);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(3500);
  expect(refused.headers.get("x-ratelimit-remaining")).toBe("0");
  expect((await call("GET", "/api/v1/users/me", { token: "wrong", headers: from("203.0.113.1") })).status).toBe(429);
  expect((await call("GET", "/api/v1/users/me", { headers: from("203.0.113.2") })).status).toBe(401);
});

test("probes are not counted", async () => {
  for (let count = 0; count < 8; count += 1) {
    expect((await call("GET", "/livez", { headers: from("203.0.113.3") })).status).toBe(200);
  }
});

test("a signed-in caller counts by account, an admin has a window of another size, an hour frees both", async () => {
  const login = async (who: object, ip: string) =>
    (await call<{ access_token: string }>("POST", "/api/v1/auth/login", { body: who, headers: from(ip) })).data
      .access_token;
  const token = await login({ email: "admin@example.org", password: "correct horse battery staple" }, "203.0.113.4");
  const statuses: number[] = [];
  for (let count = 0; count < 7; count += 1)
    statuses.push((await call("GET", "/api/v1/users/me", { token, headers: from(`203.0.113.${20 + count}`) })).status);
  expect(statuses).toEqual([200, 200, 200, 200, 200, 200, 429]);
  server.clock.advance(3_600_001);
  const later = await login({ email: "admin@example.org", password: "correct horse battery staple" }, "203.0.113.5");
  expect((await call("GET", "/api/v1/users/me", { token: later })).headers.get("x-ratelimit-limit")).toBe("6");
});

test("the window of a route counts by itself", async () => {
  const statuses: number[] = [];
  for (let count = 0; count < 6; count += 1) {
    const answer = await call("POST", "/api/v1/auth/login", {
      body: { email: "x@example.org", password: "wrong" },
      headers: from("203.0.113.200"),
    });
    statuses.push(answer.status);
  }
  // The account name is locked after five failures; the window of five a minute comes before the lock.
  expect(statuses.slice(0, 5).every((status) => status === 401)).toBe(true);
  expect(statuses[5]).toBe(429);
});
