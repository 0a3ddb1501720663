// The script tag on another site: opens the chat in a frame, under that site's own strict policy, where the bot allows it.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { Server } from "bun";
import type { Browser } from "playwright-core";
import { startPageMock } from "../support/page-mock.ts";
import type { PageMock } from "../support/page-mock.ts";
import { hasBrowser, launch, watchedPage } from "./browser.ts";

const TIMEOUT = 60_000;

describe.skipIf(!hasBrowser)("widget", () => {
  let browser: Browser;
  let mock: PageMock;
  let site: Server<undefined>;
  let siteUrl: string;

  beforeAll(async () => {
    browser = await launch();
  }, TIMEOUT);
  afterAll(async () => {
    await browser.close();
  });
  beforeEach(async () => {
    if (!browser.isConnected()) browser = await launch();
    mock = await startPageMock();
    site = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () =>
        new Response(
          `<!doctype html><html lang="en"><title>Shop</title><body><main><h1>Shop</h1><a href="#x">A link</a></main>
           <script src="${mock.url}/assets/widget.js" data-bot="default" data-label="Ask us" data-color="#ffcc00" async></script></body></html>`,
          {
            headers: {
              "content-type": "text/html",
              "content-security-policy": `default-src 'none'; script-src ${mock.url}; frame-src ${mock.url}; require-trusted-types-for 'script'`,
            },
          },
        ),
    });
    // Another name for the same machine: another origin and another site.
    siteUrl = `http://localhost:${site.port}`;
    mock.embedOrigins = [siteUrl];
  }, TIMEOUT);
  afterEach(async () => {
    await site.stop(true);
    await mock.close();
  });

  test(
    "opens by keyboard, talks, tells of unread answers, closes by Escape and gives the focus back",
    async () => {
      let answer: () => void = () => undefined;
      mock.onMessage = async (turn) => {
        await new Promise<void>((resolve) => {
          answer = resolve;
        });
        turn.answer("The answer");
      };
      const { page, context, faults } = await watchedPage(browser, [mock.url, siteUrl]);
      await page.goto(siteUrl);
      const button = page.getByRole("button", { name: "Ask us" });
      await button.waitFor();
      expect(mock.calls).toEqual(["GET /assets/widget.js"]);
      await button.focus();
      await page.keyboard.press("Enter");
      const frame = page.frameLocator("iframe");
      await frame.locator(".state", { hasText: "Online" }).waitFor();
      await page.waitForFunction(() => document.activeElement?.shadowRoot?.activeElement?.tagName === "IFRAME");
      expect(await frame.locator("#message").evaluate((field) => document.activeElement === field)).toBe(true);
      await page.keyboard.type("A question");
      await page.keyboard.press("Enter");
      await frame.locator(".bubble", { hasText: "A question" }).waitFor();
      await frame.getByText("Thinking").waitFor();
      // The first Escape stops the answer, as in the page; here the panel is closed by its own button.
      await page.getByRole("button", { name: "Close chat" }).first().click();
      await button.waitFor();
      expect(await page.evaluate(() => document.activeElement?.shadowRoot?.activeElement?.className)).toContain(
        "button",
      );
      answer();
      await page.getByRole("button", { name: "Ask us (1 unread)" }).click();
      await frame.getByText("The answer").first().waitFor();
      await frame.locator("#message").press("Escape");
      await page.getByRole("button", { name: "Ask us", exact: true }).waitFor();
      expect(await page.locator("[data-botserver] .panel").isVisible()).toBe(false);
      expect(faults).toEqual([]);
      await context.close();
    },
    TIMEOUT,
  );

  test(
    "fills a phone's window, and the close button stays in reach",
    async () => {
      const { page, context, faults } = await watchedPage(browser, [mock.url, siteUrl], {
        viewport: { width: 360, height: 640 },
      });
      await page.goto(siteUrl);
      await page.getByRole("button", { name: "Ask us" }).click();
      await page.frameLocator("iframe").locator(".state", { hasText: "Online" }).waitFor();
      const panel = await page.locator("[data-botserver] .panel").boundingBox();
      expect(panel).toEqual({ x: 0, y: 0, width: 360, height: 640 });
      const inner = await page
        .frameLocator("iframe")
        .locator("html")
        .evaluate((html) => html.scrollWidth - html.clientWidth);
      expect(inner).toBe(0);
      await page.locator("[data-botserver] .shut").click();
      expect(await page.locator("[data-botserver] .panel").isVisible()).toBe(false);
      expect(faults).toEqual([]);
      await context.close();
    },
    TIMEOUT,
  );

  test(
    "a site that the bot does not list gets no frame",
    async () => {
      mock.embedOrigins = ["https://elsewhere.example"];
      const { page, context, faults } = await watchedPage(browser, [mock.url, siteUrl]);
      const refused = page.waitForEvent("console", {
        predicate: (message) => message.text().includes("frame-ancestors"),
      });
      await page.goto(siteUrl);
      await page.getByRole("button", { name: "Ask us" }).click();
      await refused;
      expect(mock.sockets.size).toBe(0);
      expect(faults.length).toBeGreaterThan(0);
      await context.close();
    },
    TIMEOUT,
  );

  test(
    "the frame listens to and speaks with the site that holds it only",
    async () => {
      const { page, context } = await watchedPage(browser, [mock.url, siteUrl]);
      await page.goto(siteUrl);
      await page.getByRole("button", { name: "Ask us" }).click();
      await page.frameLocator("iframe").locator(".state", { hasText: "Online" }).waitFor();
      // A message from elsewhere, in the page's own form, neither closes the panel nor sets the badge.
      await page.evaluate(() => {
        window.postMessage({ source: "botserver", type: "close" }, "*");
        window.postMessage({ source: "botserver", type: "unread", count: 7 }, "*");
      });
      await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 0)));
      expect(await page.locator("[data-botserver] .panel").isVisible()).toBe(true);
      expect(await page.locator("[data-botserver] .badge").isVisible()).toBe(false);
      await context.close();
    },
    TIMEOUT,
  );
});
