// How pages and assets are handed out, and the pure parts of the pages.

import { afterAll, describe, expect, test } from "bun:test";
import type { Authenticator } from "../../src/core/authentication.ts";
import { anonymousCaller } from "../../src/core/context.ts";
import { silentLog } from "../../src/core/log.ts";
import { openKernel } from "../../src/http/kernel.ts";
import type { Limits } from "../../src/http/limits.ts";
import { frameAncestors, pageRoutes, pageServer } from "../../src/http/pages.ts";
import { contrast, readable, textOn } from "../../src/pages/chat/colour.ts";
import { backOffMs } from "../../src/pages/chat/link.ts";
import { markQuoted } from "../../src/pages/chat/quotes.ts";
import { openPages } from "../../src/pages/open.ts";
import { packPages, unpackPages } from "../../src/pages/pack.ts";
import type { PageFile } from "../../src/pages/pack.ts";

const pages = await openPages();
const bots: Record<string, { listed: boolean; embedOrigins: string[] }> = {
  open: { listed: true, embedOrigins: [] },
  shop: {
    listed: true,
    embedOrigins: ["https://shop.example", "https://*.shop.example", "https://x.example; script-src *"],
  },
};
const server = pageServer({
  pages,
  botPage: (name, host) =>
    Promise.resolve({
      boundBot: name === null && host === "help.example" ? "shop" : null,
      ...(name === null ? { listed: true, embedOrigins: [] } : (bots[name] ?? { listed: false, embedOrigins: [] })),
    }),
});

function get(path: string, headers: Record<string, string> = {}): Request {
  return new Request(`http://localhost${path}`, { headers });
}

async function chat(name: string | null, headers: Record<string, string> = { accept: "text/html" }): Promise<Response> {
  const response = await server.chat(get(`/${name ?? ""}`, headers), name);
  if (!response) throw new Error("no page");
  return response;
}

describe("serving", () => {
  test("every address in a page's markup is an asset that may be kept for ever", async () => {
    const html = (await (await chat(null)).text()) + (await server.page(get("/docs"), "/docs")?.text());
    const addresses = [...html.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map((match) => match[1] ?? "");
    expect(addresses.length).toBeGreaterThan(4);
    for (const address of addresses) {
      const asset = server.asset(get(address), address);
      expect(asset?.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    }
  });

  test("no page has inline script or style, and none names another host", () => {
    for (const path of ["/", "/setup", "/docs", "/auth/login"]) {
      const html = new TextDecoder().decode(pages.get(path)?.body);
      expect(html).toContain("<!doctype html>");
      expect(html).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?:\/\//i);
    }
  });

  test("a page is checked again by its ETag and not sent twice", async () => {
    const first = await chat(null);
    const etag = first.headers.get("etag") ?? "";
    expect(first.headers.get("cache-control")).toBe("no-cache");
    const again = await chat(null, { accept: "text/html", "if-none-match": `"other", W/${etag}` });
    expect(again.status).toBe(304);
    expect(await again.text()).toBe("");
  });

  test("assets are compressed for those who take it, under an ETag of their own", async () => {
    const address =
      [...new TextDecoder().decode(pages.get("/")?.body).matchAll(/src="(\/assets\/[^"]+\.js)"/g)][0]?.[1] ?? "";
    const plain = server.asset(get(address), address);
    const zipped = server.asset(get(address, { "accept-encoding": "br, gzip" }), address);
    const refused = server.asset(get(address, { "accept-encoding": "gzip;q=0" }), address);
    expect(zipped?.headers.get("content-encoding")).toBe("gzip");
    expect(zipped?.headers.get("etag")).not.toBe(plain?.headers.get("etag"));
    expect(refused?.headers.get("content-encoding")).toBeNull();
    const body = await plain?.bytes();
    const unzipped = Bun.gunzipSync((await zipped?.bytes()) ?? new Uint8Array());
    expect(Bun.hash(unzipped)).toBe(Bun.hash(body ?? new Uint8Array()));
  });

  test("the widget has a stable address, is kept shortly and may be loaded from anywhere", () => {
    const widget = server.asset(get("/assets/widget.js"), "/assets/widget.js");
    expect(widget?.headers.get("cache-control")).toBe("public, max-age=300");
    expect(widget?.headers.get("cross-origin-resource-policy")).toBe("cross-origin");
  });

  test("only assets are found below /assets", () => {
    for (const path of ["/assets/", "/assets/../setup", "/assets/nothing.js", "/setup"]) {
      expect(server.asset(get("/assets/x"), path)).toBeNull();
    }
  });

  test("the chat page allows no inline script or style, no other origin, and frames only where the bot says", async () => {
    const policy = (await chat("shop")).headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self';");
    expect(policy).toContain("style-src 'self';");
    expect(policy).toContain("require-trusted-types-for 'script'");
    expect(policy).not.toContain("unsafe");
    expect(policy).toEndWith("frame-ancestors 'self' https://shop.example https://*.shop.example");
    const plain = await chat("open");
    expect(plain.headers.get("content-security-policy")).toEndWith("frame-ancestors 'self'");
    expect(plain.headers.get("x-frame-options")).toBe("SAMEORIGIN");
  });

  test("embed origins that are none cannot write into the policy", () => {
    expect(frameAncestors(["https://a.example; script-src *", "javascript:", "a b", "http://", "//x"])).toBe(
      "frame-ancestors 'self'",
    );
    expect(frameAncestors(["*", "http://localhost:3000", "https://a.example:*"])).toBe(
      "frame-ancestors 'self' * http://localhost:3000 https://a.example:*",
    );
  });

  test("a bot that a stranger may not know of looks like one that does not exist", async () => {
    const [hidden, nothing] = [await chat("hidden"), await chat("nothing")];
    expect(hidden.status).toBe(404);
    expect(await hidden.text()).toBe(await nothing.text());
    expect([...hidden.headers]).toEqual([...nothing.headers]);
    expect(await server.chat(get("/hidden", { accept: "application/json" }), "hidden")).toBeNull();
    expect(await server.chat(get("/Not%20a%20name", { accept: "text/html" }), "Not a name")).toBeNull();
  });

  test("a host name of its own brings the bot's name into the page", async () => {
    const own = await chat(null, { accept: "text/html", host: "help.example" });
    expect(await own.text()).toContain('data-bot="shop"');
    expect(own.headers.get("etag")).not.toBe((await chat(null)).headers.get("etag"));
    expect(await (await chat(null)).text()).toContain('data-bot=""');
  });

  test("packing and unpacking gives the same files; a pack that is cut short is refused", () => {
    const files: PageFile[] = [
      { path: "/", body: new Uint8Array([1, 2, 3]), gzip: null, type: "text/html", etag: '"a"', immutable: false },
      {
        path: "/assets/ü.js",
        body: new Uint8Array(),
        gzip: new Uint8Array([9]),
        type: "text/javascript",
        etag: '"b"',
        immutable: true,
      },
    ];
    const pack = packPages(files);
    expect(unpackPages(pack)).toEqual(files);
    expect(() => unpackPages(pack.subarray(0, pack.length - 1))).toThrow("cut short");
  });
});

describe("pure parts", () => {
  test("reconnecting waits 0.5 s, doubles to 30 s, and spreads clients", () => {
    expect([0, 1, 2, 5].map((attempt) => backOffMs(attempt, 0.5))).toEqual([500, 1000, 2000, 16_000]);
    expect(backOffMs(6, 0.5)).toBe(30_000);
    expect(backOffMs(1000, 1)).toBe(30_000);
    expect(backOffMs(0, 0)).toBe(400);
    expect(backOffMs(0, 1)).toBe(600);
  });

  test("the sentences that an answer repeats are marked in the passage, whatever marks stand around them", () => {
    const passage = "Leave is planned early. Every employee has 25 days of leave. The rest is lost.";
    const parts = markQuoted(passage, "> **Every  employee** has 25 days\n> of leave.");
    expect(parts.map((part) => part.text).join("")).toBe(passage);
    expect(parts.filter((part) => part.marked).map((part) => part.text.trim())).toEqual([
      "Every employee has 25 days of leave.",
    ]);
  });

  test("short pieces are marked where they belong to the quote, blanks behind it never", () => {
    const marked = (passage: string, answer: string) => {
      const parts = markQuoted(passage, answer);
      expect(parts.map((part) => part.text).join("")).toBe(passage);
      return parts.filter((part) => part.marked).map((part) => part.text);
    };
    const passage = "Dr. Silva eats there. The lunch costs 3.50 euros. It is open at noon.\n\nOk. Yes.";
    expect(marked(passage, "> The lunch costs 3.50 euros.\n>\n> — Canteen [1]")).toEqual([
      "The lunch costs 3.50 euros.",
    ]);
    expect(marked(passage, "> Dr. Silva eats there.")).toEqual(["Dr. Silva eats there."]);
    expect(marked(passage, "Ok. It is open at noon. Yes?")).toEqual(["It is open at noon."]);
  });

  test("a passage that is told in other words is marked as a whole", () => {
    expect(markQuoted("One. Two.", "Something else")).toEqual([{ text: "One. Two.", marked: true }]);
    expect(markQuoted("no full stop", "no full stop")).toEqual([{ text: "no full stop", marked: true }]);
  });

  test("a theme's colour becomes readable on the page, and text on it as well", () => {
    const white = { r: 255, g: 255, b: 255 };
    const dark = { r: 19, g: 22, b: 21 };
    for (const colour of [white, dark, { r: 255, g: 230, b: 0 }, { r: 120, g: 120, b: 120 }, { r: 0, g: 0, b: 160 }]) {
      for (const background of [white, dark]) {
        const accent = readable(colour, background);
        expect(contrast(accent, background)).toBeGreaterThanOrEqual(4.5);
        expect(contrast(textOn(accent), accent)).toBeGreaterThanOrEqual(4.5);
      }
    }
    expect(readable({ r: 0, g: 80, b: 70 }, white)).toEqual({ r: 0, g: 80, b: 70 });
  });
});

describe("as routes", () => {
  const never = () => {
    throw new Error("not asked");
  };
  const anonymous = anonymousCaller(new Set());
  const kernel = openKernel({
    authenticator: {
      anonymous: () => anonymous,
      authenticate: never,
      remembered: () => null,
      revoked: never,
    } as unknown as Authenticator,
    limits: { count: () => undefined, check: () => undefined } as unknown as Limits,
    settings: () => ({ trustProxy: 0, maxBodyBytes: 1000, maxUploadBytes: 1000, corsOrigins: [] }),
    log: silentLog,
    refused: () => Promise.resolve(),
    requestFailed: () => Promise.resolve(),
    degraded: () => null,
    isStopping: () => false,
  });
  const app = kernel.root.use(
    pageRoutes({
      pages,
      botPage: (name) =>
        Promise.resolve({
          boundBot: null,
          ...(name === null ? { listed: true, embedOrigins: [] } : (bots[name] ?? { listed: false, embedOrigins: [] })),
        }),
    }),
  );
  kernel.seal(app);
  app.listen({ port: 0, hostname: "127.0.0.1" });
  const origin = `http://127.0.0.1:${app.server?.port}`;
  afterAll(async () => {
    await app.stop(true);
  });
  const html = { headers: { accept: "text/html,*/*" } };

  test("people get pages at the addresses of the contract, uncounted and with the policies", async () => {
    for (const path of ["/", "/open", "/setup", "/docs", "/auth/login"]) {
      const response = await fetch(origin + path, html);
      expect({ path, status: response.status, type: response.headers.get("content-type") }).toEqual({
        path,
        status: 200,
        type: "text/html; charset=utf-8",
      });
      expect(response.headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(response.headers.get("x-content-type-options")).toBe("nosniff");
      expect(response.headers.get("x-request-id")).toBeTruthy();
    }
  });

  test("an asset arrives whole through the server, compressed, and as HEAD", async () => {
    const path = /src="(\/assets\/[^"]+\.js)"/.exec(await (await fetch(origin, html)).text())?.[1] ?? "";
    const response = await fetch(origin + path);
    expect(response.headers.get("content-encoding")).toBe("gzip");
    expect(Bun.hash(await response.bytes())).toBe(Bun.hash(pages.get(path)?.body ?? new Uint8Array()));
    const head = await fetch(origin + path, { method: "HEAD" });
    expect({ status: head.status, body: await head.text() }).toEqual({ status: 200, body: "" });
  });

  test("programs get the API's 404 where there is nothing, people a page as 404", async () => {
    for (const path of ["/nothing", "/Nothing", "/assets/nothing.js", "/assets/../../etc/passwd"]) {
      const response = await fetch(origin + path);
      expect({ path, status: response.status }).toEqual({ path, status: 404 });
      expect(await response.json()).toMatchObject({ success: false, error: { code: "NOT_FOUND" } });
    }
    const page = await fetch(`${origin}/nothing`, html);
    expect(page.status).toBe(404);
    expect(await page.text()).toContain("<!doctype html>");
  });
});
