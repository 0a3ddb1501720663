// The order of refusals, the envelope, the aliases, the limits: what the kernel promises for every area.

import { describe, expect, test } from "bun:test";
import { startTestServer } from "../support/server.ts";

const server = await startTestServer();
const { call, url } = server;
const admin = await server.signIn();
const person = await server.person();

describe("refusals come in the contract's order", () => {
  test("an unknown path is 404 whoever asks, also with a wrong token", async () => {
    for (const token of [null, "nonsense", person.token]) {
      const answer = await call("GET", "/api/v1/no/such", { token });
      expect(answer.status).toBe(404);
      expect(answer.error?.code).toBe("NOT_FOUND");
    }
  });

  test("a known path with another method is 405 with Allow, before sign-in", async () => {
    const answer = await call("PATCH", "/api/v1/users/me");
    expect(answer.status).toBe(405);
    expect(answer.headers.get("allow")).toContain("GET");
  });

  test("no credentials are 401 before the body is looked at", async () => {
    const broken = await call("POST", "/api/v1/security/keys/generate", {
      body: "{",
      headers: { "content-type": "application/json" },
    });
    expect(broken.status).toBe(401);
    expect(broken.headers.get("www-authenticate")).toBe("Bearer");
    const wrongType = await call("POST", "/api/v1/security/keys/generate", {
      body: "x",
      headers: { "content-type": "text/plain" },
    });
    expect(wrongType.status).toBe(401);
  });

  test("a missing permission is 403 with its word before validation", async () => {
    const answer = await call("POST", `/api/v1/users/${person.userId}/suspend`, { token: person.token, body: {} });
    expect(answer.status).toBe(403);
    expect(answer.error?.details["required"]).toBe("users:write");
  });

  test("another content type is 415, no JSON is 400, wrong fields are 422 with all of them", async () => {
    const path = "/api/v1/security/keys/generate";
    const text = await call("POST", path, {
      token: person.token,
      body: "x",
      headers: { "content-type": "text/plain" },
    });
    expect([text.status, text.error?.details["supported"]]).toEqual([415, ["application/json"]]);
    const broken = await call("POST", path, {
      token: person.token,
      body: "{",
      headers: { "content-type": "application/json" },
    });
    expect([broken.status, broken.error?.code]).toEqual([400, "BAD_REQUEST"]);
    const wrong = await call("POST", path, { token: person.token, body: { name: "", expires_in_days: 0 } });
    expect(wrong.status).toBe(422);
    const fields = wrong.error?.details["fields"] as { path: string }[];
    expect(fields.map((field) => field.path).toSorted()).toEqual(["expires_in_days", "name"]);
  });

  test("a body over the limit is 413 with the limit, announced or not", async () => {
    const body = JSON.stringify({ name: "x".repeat(1_100_000) });
    const path = "/api/v1/security/keys/generate";
    const announced = await call("POST", path, {
      token: person.token,
      body,
      headers: { "content-type": "application/json" },
    });
    expect([announced.status, announced.error?.details["max_bytes"]]).toEqual([413, 1_048_576]);
    const stream = new ReadableStream({
      start: (controller) => {
        controller.enqueue(new TextEncoder().encode(body));
        controller.close();
      },
    });
    const streamed = await fetch(`${url}${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${person.token}`, "content-type": "application/json" },
      body: stream,
    });
    expect(streamed.status).toBe(413);
  });
});

describe("addresses", () => {
  test("an area without a version and a doubled area are the same route", async () => {
    for (const path of ["/api/users/me", "/api/v1/users/users/me", "/api/users/users/me", "/api/v1/users/me/"]) {
      const answer = await call<{ user_id: string }>("GET", path, { token: person.token });
      expect([path, answer.status, answer.data.user_id]).toEqual([path, 200, person.userId]);
    }
    expect((await call("GET", "/auth/validate", { token: person.token })).status).toBe(200);
  });

  test("another version is 404 with the supported ones", async () => {
    const answer = await call("GET", "/api/v2/users/me", { token: person.token });
    expect([answer.status, answer.error?.details["supported_versions"]]).toEqual([404, ["v1"]]);
  });

  test("the request id of the caller comes back when it is sane, else a new one", async () => {
    const kept = await call("GET", "/livez", { headers: { "x-request-id": "abc-123" } });
    expect(kept.headers.get("x-request-id")).toBe("abc-123");
    const made = await call("GET", "/livez", { headers: { "x-request-id": "a b<script>" } });
    expect(made.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe("lists", () => {
  test("limits out of range and unknown names are 422, not clamped", async () => {
    for (const query of ["limit=0", "limit=101", "offset=-1", "sort=password", "filter[password]=x", "nonsense=1"]) {
      const answer = await call("GET", `/api/v1/users?${query}`, { token: admin });
      expect([query, answer.status]).toEqual([query, 422]);
    }
  });

  test("a filter and its bracketed form mean the same; a parameter left out filters nothing", async () => {
    const all = await call<{ total: number }>("GET", "/api/v1/users", { token: admin });
    const plain = await call<{ total: number }>("GET", "/api/v1/users?search=person", { token: admin });
    const bracketed = await call<{ total: number }>("GET", "/api/v1/users?filter%5Bsearch%5D=person", { token: admin });
    expect(all.data.total).toBe(2);
    expect([plain.data.total, bracketed.data.total]).toEqual([1, 1]);
  });
});

describe("Idempotency-Key", () => {
  test("the same key gets the same answer and one effect; another body is 409", async () => {
    const path = "/api/v1/security/keys/generate";
    const send = (name: string) =>
      call<{ key_id: string }>("POST", path, {
        token: admin,
        body: { name, scopes: ["chat:read"] },
        headers: { "idempotency-key": "k1" },
      });
    const first = await send("one");
    const again = await send("one");
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.data.key_id).toBe(first.data.key_id);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    const other = await send("two");
    expect([other.status, other.error?.details["reason"]]).toEqual([409, "idempotency_mismatch"]);
    const keys = await call<{ total: number }>("GET", "/api/v1/security/keys", { token: admin });
    expect(keys.data.total).toBe(1);
  });

  test("a refused request leaves its key free", async () => {
    const path = "/api/v1/security/keys/generate";
    const headers = { "idempotency-key": "k2" };
    const refused = await call("POST", path, {
      token: person.token,
      body: { name: "a", scopes: ["users:write"] },
      headers,
    });
    expect([refused.status, refused.error?.details["reason"]]).toEqual([403, "permission_not_held"]);
    const right = await call("POST", path, {
      token: person.token,
      body: { name: "a", scopes: ["chat:read"] },
      headers,
    });
    expect(right.status).toBe(201);
  });
});
