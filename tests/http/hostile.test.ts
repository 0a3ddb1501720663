// What somebody sends who wants in: bent addresses, doubled and hidden credentials, spoofed origins, bodies that lie
// about themselves, races and bypasses of the limits.

import { describe, expect, test } from "bun:test";
import { clientAddress, countedAddress } from "../../src/http/address.ts";
import { makeAccount, makeKey, openSession } from "../support/callers.ts";
import { operationsOf, readDocument } from "../support/operations.ts";
import { rawRequest, type RawAnswer } from "../support/raw.ts";
import { ADMIN, startTestServer } from "../support/server.ts";

const server = await startTestServer({ CORS_ORIGINS: "https://app.example,https://other.example" });
const { call, port, url } = server;
const admin = await makeAccount(server, ["user", "admin"]);
const person = await makeAccount(server, ["user"]);
const bearer = (token: string) => `Authorization: Bearer ${token}\r\n`;

/** One GET by hand; the path goes out as it is written. */
function get(path: string, headers = "", host = "a.example"): Promise<RawAnswer> {
  return rawRequest(port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${headers}Connection: close\r\n\r\n`);
}

function errorOf(answer: RawAnswer): { code: string; details: Record<string, unknown> } {
  return (JSON.parse(answer.body) as { error: { code: string; details: Record<string, unknown> } }).error;
}

describe("addresses", () => {
  const SPELLINGS = [
    "/api/v1/users",
    "/api/users",
    "/api/v1/users/",
    "/api//v1/users",
    "/api/v1//users",
    "//api/v1/users",
    "///api/v1/users",
    "/API/v1/users",
    "/Api/V1/Users",
    "/api/v1/users.",
    "/api/v1/users;a=b",
    "/api/v1/users%20",
    "/api/v1/users%2f",
    "/api%2fv1%2fusers",
    "/%61pi/v1/users",
    "/api/v1/%75sers",
    "/api/v1/./users",
    "/api/v1/x/../users",
    "/api/v1/x/%2e%2e/users",
    "/api/v1/x/.%2E/users",
    "/livez/../api/v1/users",
    "/docs/%2e%2e/api/v1/users",
    "/assets/../api/v1/users",
    "/assets/%2e%2e%2fapi/v1/users",
    "/assets/..%5c..%5capi/v1/users",
    "/api/v1/users\\",
    "/api\\v1\\users",
    "/api/v1/users%00",
    "/api/v1/users%00.css",
    "/api/v1/users#/livez",
    "/api/v1/users?/livez",
    "http://a.example/api/v1/users",
    "http://livez/api/v1/users",
    "/api/v1/users/users",
    "/api/v1/users%3f/livez",
    "/api/v1/users%252f",
    "/api/v1/login/../users",
    "/auth/../users",
    "/auth/%2e%2e/users",
  ];

  test("no spelling of a guarded path is open to callers without credentials", async () => {
    const statuses = new Map<string, number>();
    for (const path of SPELLINGS) statuses.set(path, (await get(path)).status);
    expect([...statuses].filter(([, status]) => ![400, 401, 404, 405].includes(status))).toEqual([]);
    expect(statuses.get("/api/v1/users")).toBe(401);
  });

  test("a spelling that leads somewhere leads there for the gate and for the router alike", async () => {
    // With a Host that is no host the HTTP server hands out a path in place of an address.
    for (const host of ["x/livez?", "user:pw@h/livez?", "a b", "a\\b", "", "[::1", "a/../b"]) {
      for (const path of [
        "/livez",
        "/api/v1/users",
        "/aaaaaa/api/v1/users",
        "/docs/api/v1/users",
        "/assets/api/v1/users",
      ]) {
        const answer = await get(path, "", host);
        expect([host, path, answer.status]).toEqual([host, path, 400]);
        expect(errorOf(answer).details["reason"]).toBe("invalid_host");
        expect(answer.headers["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/);
      }
    }
    const twice = await rawRequest(port, "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n");
    expect(twice.status).toBe(400);
  });

  test("short, odd and missing host names do not shift the path", async () => {
    for (const host of ["a", "[::1]", "exa_mple.org", "UPPER.example:8080", "a".repeat(3_000)]) {
      expect([host, (await get("/api/v1/users", "", host)).status]).toEqual([host, 401]);
      expect([host, (await get("/livez", "", host)).status]).toEqual([host, 200]);
    }
    const old = await rawRequest(port, "GET /livez HTTP/1.0\r\n\r\n");
    expect([old.status, old.body]).toEqual([200, '{"success":true,"data":{"status":"alive"}}']);
    expect((await rawRequest(port, "GET /api/v1/users HTTP/1.0\r\n\r\n")).status).toBe(401);
  });

  test("another version is 404 in every spelling, with the envelope and the headers of any answer", async () => {
    for (const path of ["/api/v2/users", "/api/v0/users/me", "/api/v11/users", "/api/v2"]) {
      const answer = await get(path, "Origin: https://app.example\r\n");
      expect([path, answer.status]).toEqual([path, 404]);
      expect(errorOf(answer).details["supported_versions"]).toEqual(["v1"]);
      expect(answer.headers["x-content-type-options"]).toBe("nosniff");
      expect(answer.headers["access-control-allow-origin"]).toBe("https://app.example");
    }
  });

  test("control characters end no header and begin none", async () => {
    const path = `/api/v1/users/me?x=%0d%0aSet-Cookie:%20a=b`;
    const answer = await get(
      path,
      `${bearer(person.token)}X-Request-Id: a%0d%0ab\r\nOrigin: https://app.example%0d%0aX-Evil: 1\r\n`,
    );
    expect(answer.status).toBe(200);
    expect(answer.headers["set-cookie"]).toBeUndefined();
    expect(answer.headers["x-evil"]).toBeUndefined();
    expect(answer.headers["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/);
    // Refused by the HTTP server itself, before anything of ours.
    for (const line of ["X-A: a\x01b\r\n", "X-A : b\r\n", "X-A: a\r\n b\r\n", "X-A: a\x00\r\n"]) {
      expect([line, (await get("/livez", line)).status]).toEqual([line, 400]);
    }
  });
});

describe("credentials", () => {
  const me = (headers: string, path = "/api/v1/users/me") => get(path, headers);
  const idOf = (answer: RawAnswer) => (JSON.parse(answer.body) as { data?: { user_id?: string } }).data?.user_id;

  test("two Authorization headers are no credential, whoever they name and in which order", async () => {
    for (const pair of [
      bearer(person.token) + bearer(admin.token),
      bearer(admin.token) + bearer(person.token),
      bearer(person.token) + bearer(person.token),
      `${bearer(person.token)}Authorization: Basic YTpi\r\n`,
    ]) {
      expect((await me(pair)).status).toBe(401);
    }
  });

  test("Authorization decides alone: a wrong one is not made good by X-API-Key", async () => {
    const { secret } = await makeKey(server, person, ["chat:read"]);
    const withKey = `X-API-Key: ${secret}\r\n`;
    expect((await me(withKey)).status).toBe(200);
    for (const wrong of [
      "Authorization: Basic YTpi\r\n",
      "Authorization: Bearer \r\n",
      "Authorization: \r\n",
      "Authorization: Bearer x\r\n",
    ]) {
      expect([wrong, (await me(wrong + withKey)).status]).toEqual([wrong, 401]);
    }
    const both = await me(`${bearer(admin.token)}X-API-Key: ${secret}\r\n`);
    expect([both.status, idOf(both)]).toEqual([200, admin.userId]);
    expect((await me(withKey + withKey)).status).toBe(401);
  });

  test("the scheme's case does not matter, the token's does; nothing is cut off from a token", async () => {
    expect((await me(`authorization: bEaReR ${person.token}\r\n`)).status).toBe(200);
    for (const token of [
      `${person.token}x`,
      person.token.slice(0, -1),
      person.token.toUpperCase(),
      `${person.token} x`,
      `"${person.token}"`,
    ])
      expect((await me(bearer(token))).status).toBe(401);
    expect((await me(`Authorization: Bearer\t${person.token}\r\n`)).status).toBe(401);
    expect((await me(`Authorization: ${person.token}\r\n`)).status).toBe(401);
  });

  test("a token in the address, in a cookie or in a socket's protocol opens nothing but sockets", async () => {
    const upgrade =
      "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    for (const headers of [
      "",
      `Cookie: token=${person.token}; access_token=${person.token}\r\n`,
      upgrade,
      `${upgrade}Sec-WebSocket-Protocol: bearer.${person.token}\r\n`,
    ]) {
      const answer = await me(headers, `/api/v1/users/me?token=${person.token}&access_token=${person.token}`);
      expect([headers, answer.status]).toEqual([headers, 401]);
    }
  });

  test("an identifier in other letters is still one's own account", async () => {
    const own = await call("POST", `/api/v1/users/${admin.userId.toUpperCase()}/suspend`, {
      token: admin.token,
      body: { reason: "x" },
    });
    expect([own.status, own.error?.details["reason"]]).toEqual([409, "self"]);
    const sessions = await call("GET", `/api/v1/users/${person.userId.toUpperCase()}/sessions`, {
      token: person.token,
    });
    expect(sessions.status).toBe(200);
  });

  test("what an answer to a person or a write says is not for caches", async () => {
    const login = await call("POST", "/api/v1/auth/login", { body: ADMIN });
    expect([login.status, login.headers.get("cache-control")]).toEqual([200, "no-store"]);
    const wrong = await call("POST", "/api/v1/auth/refresh", { body: { refresh_token: "x" } });
    expect([wrong.status, wrong.headers.get("cache-control")]).toEqual([401, "no-store"]);
    const own = await call("GET", "/api/v1/users/me", { token: person.token });
    expect(own.headers.get("cache-control")).toBe("no-store");
  });
});

describe("the client's address", () => {
  test("comes from the socket or from the last trusted proxy, in one spelling", () => {
    const cases: [string | null, string | null, number, string][] = [
      ["192.0.2.1", "203.0.113.9", 0, "192.0.2.1"],
      ["::ffff:192.0.2.1", null, 0, "192.0.2.1"],
      [null, "203.0.113.9", 0, "unknown"],
      ["192.0.2.1", null, 1, "192.0.2.1"],
      ["192.0.2.1", "", 1, "192.0.2.1"],
      ["192.0.2.1", "203.0.113.9", 1, "203.0.113.9"],
      ["192.0.2.1", "6.6.6.6, 203.0.113.9", 1, "203.0.113.9"],
      ["192.0.2.1", "6.6.6.6,7.7.7.7 ,  203.0.113.9 ", 1, "203.0.113.9"],
      ["192.0.2.1", "6.6.6.6, 203.0.113.9, 10.0.0.1", 2, "203.0.113.9"],
      ["192.0.2.1", "6.6.6.6, 5.5.5.5, 203.0.113.9, 10.0.0.1", 2, "203.0.113.9"],
      ["192.0.2.1", "203.0.113.9", 2, "203.0.113.9"],
      ["192.0.2.1", "203.0.113.9:4711", 1, "203.0.113.9"],
      ["192.0.2.1", "[2001:DB8::1]:4711", 1, "2001:db8::1"],
      ["192.0.2.1", "2001:0db8:0:0::0001", 1, "2001:db8::1"],
      ["192.0.2.1", "::FFFF:203.0.113.9", 1, "203.0.113.9"],
      ["192.0.2.1", "unknown", 1, "192.0.2.1"],
      ["192.0.2.1", "203.0.113.9, _hidden", 1, "192.0.2.1"],
      ["192.0.2.1", "203.0.113.009", 1, "192.0.2.1"],
      ["192.0.2.1", "203.0.113.9,", 1, "192.0.2.1"],
      ["192.0.2.1", "<script>", 1, "192.0.2.1"],
    ];
    for (const [socket, forwarded, proxies, address] of cases)
      expect([socket, forwarded, proxies, clientAddress(socket, forwarded, proxies)]).toEqual([
        socket,
        forwarded,
        proxies,
        address,
      ]);
  });

  test("is counted by subscriber: one address of IPv4, one network of IPv6", () => {
    expect(countedAddress("192.0.2.1")).not.toBe(countedAddress("192.0.2.2"));
    expect(countedAddress("2001:db8:1:2::1")).toBe(countedAddress("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    expect(countedAddress("2001:db8:1:2::1")).not.toBe(countedAddress("2001:db8:1:3::1"));
    expect(countedAddress("unknown")).toBe("unknown");
  });
});

describe("methods", () => {
  test("HEAD answers as GET does, without a body, and ends also where GET streams", async () => {
    const wrong: string[] = [];
    for (const operation of operationsOf(await readDocument(url))) {
      if (operation.method !== "GET") continue;
      const path = operation.path.replace(/\{[^}]+\}/g, "01890000-0000-7000-8000-000000000000");
      const ask = (method: string) =>
        fetch(url + path, {
          method,
          headers: { authorization: `Bearer ${admin.token}` },
          redirect: "manual",
          signal: AbortSignal.timeout(3_000),
        });
      const answer = await ask("HEAD");
      const body = await answer.text();
      const whole = await ask("GET");
      await whole.body?.cancel();
      const type = (response: Response) => response.headers.get("content-type");
      if (body !== "") wrong.push(`HEAD ${path}: a body`);
      if (answer.status !== whole.status) wrong.push(`HEAD ${path}: ${answer.status}, GET ${whole.status}`);
      if (type(answer) !== type(whole)) wrong.push(`HEAD ${path}: ${type(answer)}, GET ${type(whole)}`);
      if (!answer.headers.get("x-request-id")) wrong.push(`HEAD ${path}: no X-Request-Id`);
    }
    expect(wrong).toEqual([]);
  }, 30_000);

  test("a method that a path has not is 405 with those that it has; none is taken from a header", async () => {
    for (const method of ["TRACE", "PROPFIND", "DELETE", "PUT"]) {
      const answer = await rawRequest(
        port,
        `${method} /livez HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n`,
      );
      expect([method, answer.status, answer.headers["allow"]]).toEqual([method, 405, "GET, HEAD, OPTIONS"]);
    }
    const overridden = await get("/livez", "X-HTTP-Method-Override: DELETE\r\nX-Method-Override: POST\r\n");
    expect(overridden.status).toBe(200);
  });

  test("OPTIONS tells the methods of a path, and nothing of one that is not there", async () => {
    const known = await call("OPTIONS", "/api/v1/users/me");
    expect([known.status, known.headers.get("allow")?.includes("GET")]).toEqual([204, true]);
    expect((await call("OPTIONS", "/api/v1/no/such")).status).toBe(404);
  });
});

describe("origins", () => {
  const from = (origin: string) => ({ headers: { origin } });
  const allowed = (answer: { headers: Headers }) => answer.headers.get("access-control-allow-origin");

  test("a listed one is allowed on answers of every kind, with the headers that a page may read", async () => {
    const app = "https://app.example";
    const answers = [
      await call("GET", "/api/v1/users/me", { token: person.token, ...from(app) }),
      await call("GET", "/api/v1/users/me", from(app)),
      await call("GET", "/api/v1/no/such", from(app)),
      await call("DELETE", "/livez", from(app)),
      await call("POST", "/api/v1/auth/login", {
        body: "{",
        headers: { origin: app, "content-type": "application/json" },
      }),
      await call("POST", "/api/v1/auth/login", { body: {}, ...from(app) }),
      await call("OPTIONS", "/api/v1/users/me", from(app)),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 401, 404, 405, 400, 422, 204]);
    for (const answer of answers) {
      expect([answer.status, allowed(answer)]).toEqual([answer.status, app]);
      expect(answer.headers.get("access-control-expose-headers")).toContain("X-Request-Id");
    }
    const preflight = answers.at(-1);
    expect(preflight?.headers.get("access-control-allow-methods")).toContain("PATCH");
    expect(preflight?.headers.get("access-control-allow-headers")).toContain("Authorization");
  });

  test("others get nothing: no other scheme, port, case or part of a listed one, and no null", async () => {
    for (const origin of [
      "https://evil.example",
      "http://app.example",
      "https://app.example:8443",
      "https://app.example.evil.example",
      "https://evil.example/https://app.example",
      "https://APP.example",
      "null",
      "*",
      "",
    ]) {
      for (const method of ["GET", "OPTIONS"]) {
        const answer = await call(method, "/livez", from(origin));
        expect([origin, method, allowed(answer), answer.headers.get("access-control-allow-methods")]).toEqual([
          origin,
          method,
          null,
          null,
        ]);
      }
    }
  });

  test("whatever the origin, caches are told that it matters", async () => {
    for (const headers of [{}, { origin: "https://evil.example" }, { origin: "https://other.example" }])
      expect((await call("GET", "/livez", { headers })).headers.get("vary")).toContain("Origin");
  });
});

describe("bodies", () => {
  const path = "/api/v1/auth/refresh";
  const refresh = (headers: string, body: string | Uint8Array, to = path) =>
    rawRequest(port, [
      `POST ${to} HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/json\r\nConnection: close\r\n${headers}\r\n`,
      body,
    ]);
  const JSON_BODY = '{"refresh_token":"x"}';

  test("in chunks are read like others; their trailers change nothing", async () => {
    const chunked = "Transfer-Encoding: chunked\r\n";
    const bytes = JSON_BODY.length.toString(16);
    expect((await refresh(chunked, `${bytes}\r\n${JSON_BODY}\r\n0\r\n\r\n`)).status).toBe(401);
    const single = JSON_BODY.split("")
      .map((character) => `1\r\n${character}\r\n`)
      .join("");
    expect((await refresh(chunked, `${single}0\r\n\r\n`)).status).toBe(401);
    expect((await refresh(chunked, "0\r\n\r\n")).status).toBe(422);
  });

  test("that lie about their length or their coding are refused, and smuggle no second request", async () => {
    for (const headers of [
      "Content-Length: -1\r\n",
      "Content-Length: +21\r\n",
      "Content-Length: 0x15\r\n",
      "Content-Length: 99999999999999999999\r\n",
      "Content-Length: 21\r\nContent-Length: 5\r\n",
      "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
      "Transfer-Encoding: gzip, chunked\r\n",
      "Transfer-Encoding: xchunked\r\n",
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ]) {
      expect([headers, (await refresh(headers, JSON_BODY)).status]).toEqual([headers, 400]);
    }
    const short = await refresh(
      "Content-Length: 5\r\n",
      `${JSON_BODY}GET /api/v1/users/me HTTP/1.1\r\nHost: a\r\n${bearer(person.token)}\r\n`,
    );
    expect(short.status).toBe(400);
    expect(short.text).not.toContain(person.userId);
  });

  test("that never come end with their connection, and others are served meanwhile", async () => {
    const waiting = rawRequest(
      port,
      `POST ${path} HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{`,
    );
    expect((await call("GET", "/livez")).status).toBe(200);
    expect((await waiting).status).toBe(0);
  });

  test("over the limit are 413 however they come: announced, in chunks, as a form", async () => {
    const big = "x".repeat(1_100_000);
    const stream = (text: string) =>
      new ReadableStream({
        start: (controller) => {
          controller.enqueue(new TextEncoder().encode(text));
          controller.close();
        },
      });
    for (const [type, text] of [
      ["application/json", JSON.stringify({ refresh_token: big })],
      ["application/x-www-form-urlencoded", `grant_type=${big}`],
    ] as const) {
      for (const body of [text, stream(text)]) {
        const answer = await fetch(`${url}/api/v1/auth/token`, {
          method: "POST",
          headers: { "content-type": type },
          body,
        });
        const { error } = (await answer.json()) as { error: { details: { max_bytes?: number } } };
        expect([type, answer.status, error.details.max_bytes]).toEqual([type, 413, 1_048_576]);
      }
    }
  });

  test("of ten million brackets, or of a million within the limit, cost nothing", async () => {
    const send = (text: string) => call("POST", path, { body: text, headers: { "content-type": "application/json" } });
    expect((await send("[".repeat(10_000_000))).status).toBe(413);
    for (const text of ["[".repeat(1_000_000), '{"a":'.repeat(200_000), `${"[".repeat(101)}${"]".repeat(101)}`]) {
      const began = performance.now();
      const answer = await send(text);
      expect([answer.status, answer.error?.details["reason"]]).toEqual([400, "nested_too_deep"]);
      expect(performance.now() - began).toBeLessThan(500);
    }
    // Brackets within texts are none.
    expect((await send(JSON.stringify({ refresh_token: '[{"\\'.repeat(100) }))).status).toBe(401);
  });

  test("that claim to be lists are not believed", async () => {
    const began = performance.now();
    for (const items of [{ length: 4_000_000_000 }, "abc", 5, { 0: { text: "x" }, length: 1 }]) {
      const answer = await call("POST", "/api/v1/kb/ingest", {
        token: admin.token,
        body: { collection: "about", items },
      });
      expect([items, answer.status]).toEqual([items, 422]);
    }
    for (const body of [5, "text", [], true, null]) {
      const answer = await call("PATCH", "/api/v1/users/me/settings", {
        token: person.token,
        body: JSON.stringify(body),
        headers: { "content-type": "application/json" },
      });
      expect([body, answer.status]).toEqual([body, 422]);
    }
    const nested = await call("PATCH", "/api/v1/users/me/settings", {
      token: person.token,
      body: { notifications: "off" },
    });
    expect([nested.status, nested.error?.details["fields"]]).toEqual([
      422,
      [{ path: "notifications", message: "must be an object", expected: "an object" }],
    ]);
    expect(performance.now() - began).toBeLessThan(2_000);
  });

  test("with names that objects inherit, characters and numbers that nothing can keep, are refused by field", async () => {
    const send = async (text: string) => {
      const answer = await call("PATCH", "/api/v1/users/me/settings", {
        token: person.token,
        body: text,
        headers: { "content-type": "application/json" },
      });
      return [
        answer.status,
        (answer.error?.details["fields"] as { path: string }[] | undefined)?.map(({ path: at }) => at),
      ];
    };
    expect(await send('{"custom":{"__proto__":{"isAdmin":true}}}')).toEqual([422, ["custom"]]);
    expect(await send('{"custom":{"\\u005f_proto__":1}}')).toEqual([422, ["custom"]]);
    expect(await send('{"custom":{"a":["b\\u0000"]}}')).toEqual([422, ["custom.a.0"]]);
    expect(await send('{"custom":{"a":1e400}}')).toEqual([422, ["custom.a"]]);
    expect(await send(`{"custom":{"a":${"9".repeat(400)}}}`)).toEqual([422, ["custom.a"]]);
    expect(await send('{"theme":{"toString":1}}')).toEqual([422, ["theme"]]);
    expect(await send('{"custom":{"toString":"a","constructor":{"prototype":1},"half":"\\ud83d"}}')).toEqual([
      200,
      undefined,
    ]);
    const kept = await call<{ custom: Record<string, unknown> }>("GET", "/api/v1/users/me/settings", {
      token: person.token,
    });
    expect(kept.data.custom).toEqual({ toString: "a", constructor: { prototype: 1 }, half: "\ufffd" });
  });

  test("in another coding or another type than they say are not guessed at", async () => {
    const send = (body: string | Uint8Array, headers: Record<string, string>) =>
      fetch(url + path, { method: "POST", headers, body: body as string }).then(({ status }) => status);
    expect(await send(JSON_BODY, { "content-type": "APPLICATION/JSON ; charset=utf-8" })).toBe(401);
    expect(await send(JSON_BODY, { "content-type": "application/vnd.api+json" })).toBe(401);
    expect(await send(JSON_BODY, { "content-type": "text/plain" })).toBe(415);
    expect(await send(JSON_BODY, { "content-type": "application/jsonp" })).toBe(415);
    expect(await send(JSON_BODY, { "content-type": "application/json, text/plain" })).toBe(415);
    expect(
      await send(Bun.gzipSync(JSON_BODY), { "content-type": "application/json", "content-encoding": "gzip" }),
    ).toBe(400);
    expect(await send(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]), { "content-type": "application/json" })).toBe(
      400,
    );
    expect(await send(`\ufeff${JSON_BODY}`, { "content-type": "application/json" })).toBe(401);
  });

  test("headers over the server's bound are 431, and the server lives", async () => {
    expect((await get("/livez", `X-Big: ${"a".repeat(40_000)}\r\n`)).status).toBe(431);
    expect((await get(`/livez?${"a".repeat(40_000)}`)).status).toBe(431);
    expect((await get("/livez")).status).toBe(200);
  });
});

describe("races", () => {
  test("a hundred requests with one Idempotency-Key have one effect and one answer", async () => {
    const { token } = await makeAccount(server, ["user"]);
    const send = () =>
      call<{ conversation_id: string }>("POST", "/api/v1/conversations", {
        token,
        body: { bot_id: "default" },
        headers: { "idempotency-key": "race" },
      });
    const answers = await Promise.all(Array.from({ length: 100 }, send));
    const done = answers.filter(({ status }) => status === 201);
    const waiting = answers.filter(
      ({ status, error }) => status === 409 && error?.details["reason"] === "request_running",
    );
    expect(done.length + waiting.length).toBe(100);
    expect(done.length).toBeGreaterThan(0);
    expect(new Set(done.map(({ data }) => data.conversation_id)).size).toBe(1);
    expect(done.filter(({ headers }) => headers.get("idempotency-replayed") !== "true").length).toBe(1);
    const list = await call<{ total: number }>("GET", "/api/v1/conversations", { token });
    expect(list.data.total).toBe(1);
    expect((await send()).headers.get("idempotency-replayed")).toBe("true");
  });

  test("one's key is nobody else's", async () => {
    const [one, two] = [await makeAccount(server, ["user"]), await makeAccount(server, ["user"])];
    const send = (token: string) =>
      call<{ conversation_id: string }>("POST", "/api/v1/conversations", {
        token,
        body: { bot_id: "default" },
        headers: { "idempotency-key": "shared" },
      });
    const [first, second] = [await send(one.token), await send(two.token)];
    expect([first.status, second.status]).toEqual([201, 201]);
    expect(second.data.conversation_id).not.toBe(first.data.conversation_id);
  });
});

describe("sign-in", () => {
  test("takes as long for a name that nobody has as for one with a wrong password", async () => {
    const attempt = async (email: string): Promise<number> => {
      // The window and the lock count by address and name; neither is what is measured.
      server.clock.advance(60_001);
      const began = performance.now();
      const { status } = await call("POST", "/api/v1/auth/login", { body: { email, password: "wrong" } });
      const took = performance.now() - began;
      expect(status).toBe(401);
      await server.engines.database.query("DELETE FROM sign_in_failures");
      return took;
    };
    const median = (times: number[]) => times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0;
    // In turns, so that other work of the machine falls on both; one quiet comparison of several is enough.
    let difference = 1;
    for (let round = 0; round < 6 && difference >= 0.1; round += 1) {
      const known: number[] = [];
      const unknown: number[] = [];
      for (let at = 0; at < 11; at += 1) {
        known.push(await attempt(ADMIN.email));
        unknown.push(await attempt(`nobody${round}x${at}@example.org`));
      }
      const [one, other] = [median(known), median(unknown)];
      difference = Math.min(difference, Math.abs(one - other) / Math.max(one, other));
    }
    expect(difference).toBeLessThan(0.1);
  }, 90_000);

  test("locks a name in all of its spellings together", async () => {
    const spellings = [
      "Ghost@Example.org",
      " ghost@example.org",
      "GHOST@EXAMPLE.ORG",
      "ghost@example.org ",
      "ｇｈｏｓｔ@example.org",
    ];
    for (const email of spellings) {
      server.clock.advance(12_001);
      expect((await call("POST", "/api/v1/auth/login", { body: { email, password: "wrong" } })).status).toBe(401);
    }
    server.clock.advance(60_001);
    expect(
      (await call("POST", "/api/v1/auth/login", { body: { username: "ghost@example.org", password: "wrong" } })).status,
    ).toBe(423);
  });
});

describe("limits", async () => {
  const limited = await startTestServer({
    RATE_LIMIT_ANONYMOUS: "8",
    RATE_LIMIT_USER: "8",
    TRUST_PROXY: "1",
    CORS_ORIGINS: "*",
  });
  let lastHost = 0;
  /** An address that nobody has used yet. */
  const newAddress = () => {
    lastHost += 1;
    return `198.51.100.${lastHost}`;
  };
  type Asked = { token?: string; headers?: Record<string, string>; path?: string; method?: string };
  const ask = (address: string, { token, headers = {}, path = "/api/v1/users/me", method = "GET" }: Asked = {}) =>
    limited.call(method, path, { token: token ?? null, headers: { "x-forwarded-for": address, ...headers } });
  const exhaust = async (address: string, asked: (round: number) => Asked, times = 8) => {
    for (let round = 0; round < times; round += 1) expect((await ask(address, asked(round))).status).not.toBe(429);
  };

  test("of an address are not passed by new tokens, spellings, methods, a socket's header or an unknown path", async () => {
    const ways: ((round: number) => Asked)[] = [
      (round) => ({ token: `token${round}` }),
      (round) => ({ token: `sk_live_${round}` }),
      (round) => ({
        path: ["/api/users/me", "/api/v1/users/users/me", "/api/v1/users/me/", "/API/v1/users/me"][round % 4] ?? "",
      }),
      (round) => ({ method: ["GET", "HEAD", "PATCH", "DELETE"][round % 4] ?? "GET" }),
      () => ({ headers: { upgrade: "websocket", connection: "upgrade" } }),
      (round) => ({ path: `/api/v1/no/such${round}` }),
      (round) => ({ path: `/api/v2/users/${round}` }),
      (round) => ({ headers: { origin: `https://${round}.example`, "user-agent": `agent ${round}` } }),
      (round) => ({
        headers: {
          "x-real-ip": `203.0.113.${round}`,
          "cf-connecting-ip": `203.0.113.${round}`,
          forwarded: `for=203.0.113.${round}`,
        },
      }),
    ];
    for (const way of ways) {
      const address = newAddress();
      await exhaust(address, way);
      const refused = await ask(address, way(8));
      expect([String(way), refused.status]).toEqual([String(way), 429]);
      expect(refused.headers.get("access-control-allow-origin")).toBe((way(8).headers ?? {})["origin"] ? "*" : null);
      expect((await ask(newAddress(), way(9))).status).not.toBe(429);
    }
  });

  test("of an address are not passed by what a client writes before its proxy does, nor by another spelling", async () => {
    const address = newAddress();
    await exhaust(address, () => ({}));
    expect((await ask(`203.0.113.77, ${address}`)).status).toBe(429);
    expect((await ask(`::ffff:${address}`)).status).toBe(429);
    expect((await ask(`${address}:8080`)).status).toBe(429);
    for (let round = 0; round < 8; round += 1) expect((await ask(`2001:db8:5::${round + 1}`)).status).toBe(401);
    expect((await ask("2001:db8:5:0:ffff::1")).status).toBe(429);
    expect((await ask("2001:db8:6::1")).status).toBe(401);
  });

  test("of an account are shared by all of its credentials and addresses", async () => {
    const account = await makeAccount(limited, ["user"]);
    const { secret } = await makeKey(limited, account, ["chat:read"]);
    const second = await openSession(limited, account.userId);
    const tokens = [account.token, second.token, secret];
    await exhaust(newAddress(), (round) => ({ token: tokens[round % 3] ?? "" }));
    for (const token of tokens) expect((await ask(newAddress(), { token })).status).toBe(429);
  });

  test("of an account are not used up by a token that has ended: it counts against its address", async () => {
    const account = await makeAccount(limited, ["user"]);
    const old = await openSession(limited, account.userId);
    expect((await ask(newAddress(), { token: old.token })).status).toBe(200);
    expect(
      (
        await ask(newAddress(), {
          token: account.token,
          path: `/api/v1/users/me/sessions/${old.sessionId}`,
          method: "DELETE",
        })
      ).status,
    ).toBe(200);
    const thief = newAddress();
    // The first one is what tells that it has ended.
    for (let round = 0; round < 9; round += 1) expect((await ask(thief, { token: old.token })).status).toBe(401);
    expect((await ask(thief, { token: old.token })).status).toBe(429);
    expect((await ask(newAddress(), { token: account.token })).status).toBe(200);
  });

  test("of sign-in are one window for all of its addresses and grants", async () => {
    const address = newAddress();
    const paths = [
      "/api/v1/auth/login",
      "/api/v1/users/login",
      "/api/auth/login",
      "/auth/login",
      "/api/v1/security/auth/login/",
    ];
    for (const [round, path] of paths.entries()) {
      const answer = await limited.call("POST", path, {
        body: { email: `a${round}@example.org`, password: "wrong" },
        headers: { "x-forwarded-for": address },
      });
      expect([path, answer.status]).toEqual([path, 401]);
    }
    const grant = await limited.call("POST", "/api/v1/auth/token", {
      body: { grant_type: "password", email: "a@example.org", password: "wrong" },
      headers: { "x-forwarded-for": address },
    });
    expect([grant.status, Number(grant.headers.get("retry-after")) > 0]).toEqual([429, true]);
  });
});
