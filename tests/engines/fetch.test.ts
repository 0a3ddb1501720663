// The guarded client against servers on loopback addresses, with the name service in the test's hand.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createServer, type Server, type Socket } from "node:net";
import { resolve } from "node:path";
import { silentLog, type Log } from "../../src/core/log.ts";
import { fetchReason } from "../../src/engines/fetch/index.ts";
import { openFetch, type FetchSetup } from "../../src/engines/fetch/open.ts";
import { selfSignedCertificate } from "../support/certificates.ts";
import { programMissing, spawnProcess, waitFor } from "../support/processes.ts";
import { refusal } from "../support/refusals.ts";

/** Answers with what it got, or as the path asks. */
function testServer(hostname: string, port = 0) {
  const requests: { method: string; path: string; headers: Record<string, string>; body: string }[] = [];
  const server = Bun.serve({
    hostname,
    port,
    idleTimeout: 30,
    fetch: async (request) => {
      const url = new URL(request.url);
      requests.push({
        method: request.method,
        path: url.pathname,
        headers: Object.fromEntries(request.headers),
        body: await request.text(),
      });
      const to = url.searchParams.get("to") ?? "/end";
      if (url.pathname === "/redirect") {
        return new Response("moved", {
          status: Number(url.searchParams.get("status") ?? 302),
          headers: { location: to },
        });
      }
      if (url.pathname === "/chain") {
        const left = Number(url.searchParams.get("left"));
        return Response.redirect(left > 1 ? `/chain?left=${left - 1}` : "/end", 302);
      }
      if (url.pathname === "/bytes") return new Response(new Uint8Array(Number(url.searchParams.get("n"))));
      if (url.pathname === "/bomb") {
        const zeros = Bun.gzipSync(new Uint8Array(50_000_000));
        return new Response(zeros, { headers: { "content-encoding": "gzip" } });
      }
      if (url.pathname === "/gzip") {
        return new Response(Bun.gzipSync(Buffer.from("unpacked")), { headers: { "content-encoding": "gzip" } });
      }
      if (url.pathname === "/endless") {
        return new Response(
          new ReadableStream({
            async pull(controller) {
              await Bun.sleep(1);
              controller.enqueue(new Uint8Array(10_000));
            },
          }),
        );
      }
      if (url.pathname === "/hang") await Bun.sleep(10_000);
      if (url.pathname === "/half") {
        return new Response(
          new ReadableStream({
            async start(controller) {
              controller.enqueue(new Uint8Array(10));
              await Bun.sleep(10_000);
            },
          }),
        );
      }
      return new Response(`${hostname} ${url.pathname}`);
    },
  });
  return { server, requests, port: server.port ?? 0 };
}

/** A TCP server of raw bytes. */
function rawServer(onConnection: (socket: Socket) => void): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    onConnection(socket);
  });
  return new Promise((listening) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      listening({ server, port: address !== null && typeof address === "object" ? address.port : 0 });
    });
  });
}

describe("guarded fetch", () => {
  let first: ReturnType<typeof testServer>;
  let second: ReturnType<typeof testServer>;
  beforeAll(() => {
    first = testServer("127.0.0.1");
    second = testServer("127.0.0.2", first.port);
  });
  afterAll(async () => {
    await first.server.stop(true);
    await second.server.stop(true);
  });

  /** A client that knows only the names given here; loopback is allowed if not said otherwise. */
  const client = (names: Record<string, string[] | (() => string[])> = {}, setup: Partial<FetchSetup> = {}) => {
    const lookups: string[] = [];
    const fetcher = openFetch({
      allowPrivateHosts: ["127.0.0.0/8"],
      log: silentLog,
      ownAddresses: () => [],
      resolve: async (host) => {
        lookups.push(host);
        const found = names[host];
        if (found === undefined) throw new Error("ENOTFOUND");
        return typeof found === "function" ? found() : found;
      },
      ...setup,
    });
    return { ...fetcher, lookups };
  };
  const url = (host: string, path = "/") => `http://${host}:${first.port}${path}`;
  const reasonOf = async (work: Promise<unknown>) => fetchReason(await refusal(work));
  const last = (of: ReturnType<typeof testServer>) => of.requests.at(-1);

  describe("connections", () => {
    test("go to the address that was checked, with the original Host; a second answer changes nothing", async () => {
      const answers = [["127.0.0.1"], ["127.0.0.2"], ["10.0.0.1"]];
      const { fetch, lookups } = client({ "rebind.test": () => answers.shift() ?? [] });
      const response = await fetch(url("rebind.test", "/a?b=c"));
      expect(await response.text()).toBe("127.0.0.1 /a");
      expect(response.url).toBe(url("rebind.test", "/a?b=c"));
      expect(lookups).toEqual(["rebind.test"]);
      expect(last(first)?.headers["host"]).toBe(`rebind.test:${first.port}`);
      expect(await (await fetch(url("rebind.test"))).text()).toBe("127.0.0.2 /");
      expect(await reasonOf(fetch(url("rebind.test")))).toBe("address_refused");
    });

    test("are not made at all when one of several addresses is refused", async () => {
      const seen = first.requests.length;
      const { fetch } = client({ "mixed.test": ["127.0.0.1", "10.0.0.1"] });
      expect(await reasonOf(fetch(url("mixed.test")))).toBe("address_refused");
      expect(first.requests).toHaveLength(seen);
    });

    test("try the next checked address when one cannot be reached", async () => {
      const { fetch } = client({ "two.test": ["127.0.0.3", "127.0.0.2"] });
      expect(await (await fetch(url("two.test"))).text()).toBe("127.0.0.2 /");
    });

    test("to loopback, to the own public address and to metadata are refused before anything is sent", async () => {
      const seen = first.requests.length;
      const own = client({ "me.test": ["93.184.216.34"] }, { ownAddresses: () => ["93.184.216.34"] });
      const strict = client(
        { "local.test": ["127.0.0.1"], "metadata.google.internal": ["8.8.8.8"] },
        { allowPrivateHosts: [] },
      );
      expect(await reasonOf(own.fetch(url("me.test")))).toBe("address_refused");
      for (const host of [
        "127.0.0.1",
        "local.test",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "metadata.google.internal",
      ]) {
        expect([host, await reasonOf(strict.fetch(url(host)))]).toEqual([host, "address_refused"]);
      }
      expect(strict.lookups).toEqual(["local.test"]);
      expect(first.requests).toHaveLength(seen);
    });

    test("that are refused all look the same to the caller; the log tells why", async () => {
      const lines: unknown[] = [];
      const log: Log = { ...silentLog, info: (_message, fields) => lines.push(fields) };
      const { fetch } = client({ "a.test": ["10.0.0.1"] }, { log });
      const errors = [
        await refusal(fetch("http://a.test/")),
        await refusal(fetch("http://u:p@a.test/")),
        await refusal(fetch("gopher://a.test/")),
        await refusal(fetch("http://10.9.9.9/secret?token=x")),
      ];
      for (const error of errors) {
        expect(error).toMatchObject({ code: "VALIDATION_ERROR", message: (errors[0] as Error).message });
        expect((error as { details: unknown }).details).toEqual((errors[0] as { details: unknown }).details as object);
      }
      expect(lines).toEqual([
        { host: "a.test", why: "not public" },
        { host: "a.test", why: "user info" },
        { host: "a.test", why: "scheme" },
        { host: "10.9.9.9", why: "not public" },
      ]);
    });
  });

  describe("redirects", () => {
    test("are followed and judged anew: to private, by name, by scheme, by user info", async () => {
      const { fetch } = client({ "ok.test": ["127.0.0.1"], "bad.test": ["10.0.0.1"] });
      const follow = (to: string) => fetch(url("ok.test", `/redirect?to=${encodeURIComponent(to)}`));
      const done = await follow("/end?x");
      expect([done.status, done.url, await done.text()]).toEqual([200, url("ok.test", "/end?x"), "127.0.0.1 /end"]);
      const refused = [
        "http://bad.test/",
        "http://169.254.169.254/latest",
        "http://[::ffff:10.0.0.1]/",
        "file:///etc/passwd",
      ];
      for (const to of [
        ...refused,
        "http://metadata.google.internal/",
        `http://a@ok.test:${first.port}/`,
        "http://ok.test:22/",
      ]) {
        expect([to, await reasonOf(follow(to))]).toEqual([to, "address_refused"]);
      }
      expect(await reasonOf(follow("http://unknown.test/"))).toBe("dns");
      expect(await reasonOf(follow("http://[x/"))).toBe("redirect");
    });

    test("are followed five times at most, fewer when asked, and not at all with 0", async () => {
      const { fetch } = client();
      const chain = (left: number, maxRedirects?: number) =>
        fetch(url("127.0.0.1", `/chain?left=${left}`), maxRedirects === undefined ? {} : { maxRedirects });
      expect(await (await chain(5)).text()).toBe("127.0.0.1 /end");
      expect(await reasonOf(chain(6))).toBe("redirect");
      expect(await reasonOf(chain(7, 100))).toBe("redirect");
      expect(await reasonOf(chain(2, 1))).toBe("redirect");
      const none = await chain(1, 0);
      expect([none.status, none.headers.get("location")]).toEqual([302, "/end"]);
      await none.body.cancel();
    });

    test("keep or change method and body as browsers do, and keep secrets to their origin", async () => {
      const { fetch } = client({ "a.test": ["127.0.0.1"], "b.test": ["127.0.0.2"] });
      const headers = { authorization: "Bearer x", cookie: "a=b", "content-type": "text/plain", "x-own": "kept" };
      const post = async (status: number, to: string) => {
        const path = `/redirect?status=${status}&to=${encodeURIComponent(to)}`;
        await (await fetch(url("a.test", path), { method: "POST", headers, body: "text" })).bytes();
      };
      for (const [status, method, body] of [
        [301, "GET", ""],
        [302, "GET", ""],
        [303, "GET", ""],
        [307, "POST", "text"],
        [308, "POST", "text"],
      ] as const) {
        await post(status, "/end");
        expect(last(first)).toMatchObject({
          method,
          body,
          path: "/end",
          headers: { authorization: "Bearer x", "x-own": "kept" },
        });
        expect(last(first)?.headers["content-type"]).toBe(method === "POST" ? "text/plain" : (undefined as never));
        await post(status, url("b.test", "/end"));
        expect(last(second)).toMatchObject({
          method,
          body,
          headers: { "x-own": "kept", host: `b.test:${first.port}` },
        });
        expect(last(second)?.headers["authorization"]).toBeUndefined();
        expect(last(second)?.headers["cookie"]).toBeUndefined();
      }
    });
  });

  describe("answers", () => {
    test("of any status come with headers and body, unpacked", async () => {
      const { fetch } = client();
      const response = await fetch(url("127.0.0.1", "/gzip"));
      expect(await response.text()).toBe("unpacked");
      expect(response.headers.get("content-encoding")).toBeNull();
      expect(response.headers.get("content-length")).toBeNull();
      expect((await fetch(url("127.0.0.1", "/redirect?status=404"))).status).toBe(404);
    });

    test("up to maxBytes pass; longer ones are cut, announced or not, packed or endless", async () => {
      const { fetch } = client();
      const get = async (path: string, maxBytes?: number) =>
        (await fetch(url("127.0.0.1", path), maxBytes === undefined ? {} : { maxBytes })).bytes();
      expect(await get("/bytes?n=100000", 100_000)).toHaveLength(100_000);
      expect(await reasonOf(get("/bytes?n=100001", 100_000))).toBe("too_large");
      expect(await reasonOf(get("/bytes?n=10485761"))).toBe("too_large");
      expect(await reasonOf(get("/bomb"))).toBe("too_large");
      expect(await reasonOf(get("/endless", 50_000))).toBe("too_large");
    });

    test("give a reader what fits before they are cut", async () => {
      const { fetch } = client();
      const reader = (await fetch(url("127.0.0.1", "/endless"), { maxBytes: 50_000 })).body.getReader();
      let sizeBytes = 0;
      const error = await refusal(
        (async () => {
          for (;;) sizeBytes += (await reader.read()).value?.byteLength ?? 0;
        })(),
      );
      expect(fetchReason(error)).toBe("too_large");
      expect(sizeBytes).toBeGreaterThan(0);
      expect(sizeBytes).toBeLessThanOrEqual(50_000);
    });

    test("are due in time: look-up, head and body", async () => {
      const { fetch } = client({}, { resolve: () => new Promise(() => undefined) });
      const begin = performance.now();
      expect(await reasonOf(fetch("http://slow.test/", { timeoutMs: 80 }))).toBe("timeout");
      expect(await reasonOf(fetch(url("127.0.0.1", "/hang"), { timeoutMs: 80 }))).toBe("timeout");
      const half = await fetch(url("127.0.0.1", "/half"), { timeoutMs: 80 });
      expect(await reasonOf(half.bytes())).toBe("timeout");
      expect(performance.now() - begin).toBeLessThan(2_000);
    });

    test("can be given up by the caller, with the caller's reason", async () => {
      const { fetch } = client({}, { resolve: () => new Promise(() => undefined) });
      const reason = new Error("not needed any more");
      const controllers = [new AbortController(), new AbortController(), new AbortController()] as const;
      const [looking, waiting] = [
        refusal(fetch("http://slow.test/", { signal: controllers[0].signal })),
        refusal(fetch(url("127.0.0.1", "/hang"), { signal: controllers[1].signal })),
      ];
      const half = await fetch(url("127.0.0.1", "/half"), { signal: controllers[2].signal });
      const reading = refusal(half.bytes());
      for (const controller of controllers) controller.abort(reason);
      expect([await looking, await waiting, await reading]).toEqual([reason, reason, reason]);
      expect(await refusal(fetch(url("127.0.0.1"), { signal: AbortSignal.abort(reason) }))).toBe(reason);
    });

    test("whose reader stops, or that are too long, end the connection at once", async () => {
      let closed = 0;
      const { server, port } = await rawServer((socket) => {
        socket.on("close", () => {
          closed += 1;
        });
        socket.once("data", () => {
          socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nbegin");
        });
      });
      const { fetch } = client();
      const response = await fetch(`http://127.0.0.1:${port}/`, { maxBytes: 2_000_000_000 });
      await response.body.cancel();
      // Unread answers are closed by the garbage collector some time later; that is not meant.
      await waitFor(() => closed === 1, 500);
      expect(await reasonOf(fetch(`http://127.0.0.1:${port}/`))).toBe("too_large");
      await waitFor(() => closed === 2, 500);
      server.close();
    });
  });

  test("failures have their words", async () => {
    const { server: garbage, port: garbagePort } = await rawServer((socket) =>
      socket.once("data", () => socket.end("what?\r\n")),
    );
    const { server: closing, port: closingPort } = await rawServer((socket) =>
      socket.once("data", () => socket.destroy()),
    );
    const { fetch } = client({ "empty.test": [] });
    expect(await reasonOf(fetch("http://unknown.test/"))).toBe("dns");
    expect(await reasonOf(fetch("http://empty.test/"))).toBe("dns");
    expect(await reasonOf(fetch(url("127.0.0.3")))).toBe("connect");
    expect(await reasonOf(fetch(`http://127.0.0.1:${garbagePort}/`))).toBe("connect");
    expect(await reasonOf(fetch(`http://127.0.0.1:${closingPort}/`))).toBe("connect");
    expect(await reasonOf(fetch(`https://127.0.0.1:${first.port}/`))).toBe("tls");
    expect(fetchReason(new Error("other"))).toBeNull();
    garbage.close();
    closing.close();
  });

  test("the caller's headers travel, but those of the connection and Host", async () => {
    const { fetch } = client({ "a.test": ["127.0.0.1"] });
    const headers = {
      Host: "evil.test",
      "Transfer-Encoding": "chunked",
      Connection: "upgrade",
      "X-A": "1",
      "Content-Length": "3",
    };
    await (
      await fetch(url("a.test"), { method: "PUT", headers, body: new TextEncoder().encode("twelve bytes") })
    ).bytes();
    expect(last(first)).toMatchObject({ method: "PUT", body: "twelve bytes" });
    expect(last(first)?.headers).toMatchObject({
      host: `a.test:${first.port}`,
      "x-a": "1",
      "content-length": "12",
      "user-agent": "botserver",
    });
    expect(await refusal(fetch(url("a.test"), { headers: { "x-a": "1\r\nx-b: 2" } }))).toBeInstanceOf(TypeError);
  });

  test("a webhook's http passes to allowed private hosts only", async () => {
    const names = { "public.test": ["93.184.216.34"], "local.test": ["127.0.0.1"] };
    const { check, fetch } = client(names, { allowPrivateHosts: ["127.0.0.1", "named.test"] });
    const options = { httpsOnly: true };
    await check("https://public.test/", options);
    await check("http://local.test/", options);
    await check("http://named.test/", options);
    expect(await reasonOf(check("http://public.test/", options))).toBe("address_refused");
    expect(await reasonOf(check("http://unknown.test/", options))).toBe("address_refused");
    expect((await fetch(url("127.0.0.1"), options)).status).toBe(200);
  });

  test("check refuses what fetch would, and lets a name pass that is not found now", async () => {
    const { check } = client({ "bad.test": ["10.0.0.1"], "good.test": ["93.184.216.34"] });
    await check("https://good.test/hook");
    await check("https://unknown.test/hook");
    for (const bad of [
      "https://bad.test/",
      "https://10.0.0.1/",
      "https://good.test:22/",
      "https://u@good.test/",
      "nonsense",
    ]) {
      expect([bad, await reasonOf(check(bad))]).toEqual([bad, "address_refused"]);
    }
    expect(await reasonOf(check("https://good.test/", { hosts: { denied: ["good.test"] } }))).toBe("address_refused");
    expect(await reasonOf(check("https://good.test/", { hosts: { allowed: ["other.test"] } }))).toBe("address_refused");
  });

  test("a bot's hosts hold for redirects too", async () => {
    const { fetch } = client({ "a.test": ["127.0.0.1"], "b.test": ["127.0.0.2"] });
    const path = `/redirect?to=${encodeURIComponent(url("b.test"))}`;
    expect((await fetch(url("a.test", path), { hosts: { allowed: ["a.test", "b.test"] } })).status).toBe(200);
    expect(await reasonOf(fetch(url("a.test", path), { hosts: { allowed: ["a.test"] } }))).toBe("address_refused");
    expect(await reasonOf(fetch(url("a.test", path), { hosts: { denied: ["b.test"] } }))).toBe("address_refused");
  });

  test("addressesOf gives checked addresses for other protocols", async () => {
    const { addressesOf } = client({
      "mail.test": ["2606:4700::1", "93.184.216.34"],
      "bad.test": ["93.184.216.34", "::1"],
    });
    expect(await addressesOf("Mail.Test.")).toEqual(["93.184.216.34", "2606:4700::1"]);
    expect(await addressesOf("8.8.8.8")).toEqual(["8.8.8.8"]);
    expect(await addressesOf("2606:4700::9")).toEqual(["2606:4700::9"]);
    for (const bad of ["bad.test", "10.0.0.1", "::1", "0xa.1", "a/b", "mail.test:25", ""]) {
      expect([bad, await reasonOf(addressesOf(bad))]).toEqual([bad, "address_refused"]);
    }
    expect(await reasonOf(addressesOf("unknown.test"))).toBe("dns");
  });

  test("an exception that is neither host nor network stops the start", () => {
    expect(() => client({}, { allowPrivateHosts: ["10.0.0.0/8", "10.0.0.0/99"] })).toThrow("10.0.0.0/99");
  });

  test("the system's name service is asked when none is given", async () => {
    const { fetch } = openFetch({ allowPrivateHosts: ["127.0.0.0/8", "::1"], log: silentLog });
    expect(await (await fetch(url("localhost"))).text()).toBe("127.0.0.1 /");
    expect(await reasonOf(openFetch({ allowPrivateHosts: [], log: silentLog }).fetch(url("localhost")))).toBe(
      "address_refused",
    );
  });

  /** Runs `program` in a process of its own with `fetch` of a client that knows good.test and bad.test. */
  const child = async (program: string, env: Record<string, string>) => {
    const engine = resolve(import.meta.dir, "../../src/engines/fetch/open.ts");
    const prelude = `
      const { openFetch } = await import(${JSON.stringify(engine)});
      const log = { debug() {}, info() {}, warn() {}, error() {} };
      const resolve = async () => ["127.0.0.1"];
      const { fetch: guarded } = openFetch({ allowPrivateHosts: ["127.0.0.1"], log, resolve });
      const text = (url) => guarded(url).then((response) => response.text(), (error) => error.details.reason);`;
    const running = spawnProcess({ command: [process.execPath, "-e", prelude + program], env });
    expect([await running.exited, running.stderr()]).toEqual([0, ""]);
    return running.stdout().trim().split("\n");
  };

  test("proxies of the environment are not used", async () => {
    const proxied: string[] = [];
    const { server, port } = await rawServer((socket) => {
      socket.once("data", (data: Buffer) => {
        proxied.push(data.toString());
        socket.end("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy");
      });
    });
    const proxy = `http://127.0.0.1:${port}`;
    const names = ["http_proxy", "https_proxy", "all_proxy"].flatMap((name) => [name, name.toUpperCase()]);
    const env = Object.fromEntries(names.map((name) => [name, proxy]));
    const target = JSON.stringify(url("good.test", "/direct"));
    const lines = await child(
      `console.log(await text(${target}));
      console.log(await (await fetch(${JSON.stringify(url("127.0.0.1"))})).text());`,
      env,
    );
    // The plain fetch proves that the variables are in force.
    expect(lines).toEqual(["127.0.0.1 /direct", "proxy"]);
    expect(proxied).toHaveLength(1);
    server.close();
  });

  test.skipIf(programMissing("openssl") !== null)(
    "TLS asks for the original name and takes no certificate of another name, on used connections neither",
    async () => {
      const pair = await selfSignedCertificate("DNS:good.test");
      const asked: string[] = [];
      const server = Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        tls: { cert: pair.certificate, key: pair.key },
        fetch: (request) => {
          asked.push(request.headers.get("host") ?? "");
          return new Response("over TLS");
        },
      });
      const good = JSON.stringify(`https://good.test:${server.port}/`);
      const bad = JSON.stringify(`https://bad.test:${server.port}/`);
      const plain = JSON.stringify(`https://127.0.0.1:${server.port}/`);
      const program = `for (const url of [${good}, ${bad}, ${good}, ${plain}, ${bad}]) console.log(await text(url));`;
      expect(await child(program, { NODE_EXTRA_CA_CERTS: pair.file })).toEqual([
        "over TLS",
        "tls",
        "over TLS",
        "tls",
        "tls",
      ]);
      expect(asked).toEqual([`good.test:${server.port}`, `good.test:${server.port}`]);
      const forced = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
      expect((await child(program, forced))[0]).toBe("tls");
      await waitFor(() => server.pendingRequests === 0);
      await server.stop(true);
      await pair.remove();
    },
    20_000,
  );
});
