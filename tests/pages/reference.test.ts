// The interactive API page: from this server alone, signed in as whoever is, inside its content policy.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser } from "playwright-core";
import { startPageMock } from "../support/page-mock.ts";
import type { PageMock } from "../support/page-mock.ts";
import { hasBrowser, launch, watchedPage } from "./browser.ts";

const TIMEOUT = 60_000;

describe.skipIf(!hasBrowser)("API reference", () => {
  let browser: Browser;
  let mock: PageMock;
  beforeAll(async () => {
    browser = await launch();
    mock = await startPageMock();
    mock.users.push({
      id: Bun.randomUUIDv7(),
      username: "ana",
      email: "ana@example.com",
      password: "correct horse battery",
      name: "Ana Souza",
      permissions: ["*"],
      code: null,
    });
    mock.spec = {
      openapi: "3.1.0",
      info: {
        title: "botserver",
        version: "1.0.0",
        description: "<img src=x onerror=window.__ran=1> ![x](https://evil.example/x.png)",
      },
      components: { securitySchemes: { bearer: { type: "http", scheme: "bearer" } } },
      security: [{ bearer: [] }],
      paths: {
        "/api/v1/users/me": {
          get: { tags: ["Users"], summary: "Who am I?", responses: { 200: { description: "ok" } } },
        },
      },
    };
  }, TIMEOUT);
  afterAll(async () => {
    await browser.close();
    await mock.close();
  });

  test(
    "a route is tried out with the token of the person who is signed in",
    async () => {
      const { page, context, faults } = await watchedPage(browser, [mock.url]);
      await page.goto(`${mock.url}/docs`);
      await page.locator(".opblock-tag").waitFor();
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByLabel("User name or e-mail").fill("ana");
      await page.getByLabel("Password").fill("correct horse battery");
      await page.keyboard.press("Enter");
      await page.getByText("Ana Souza").waitFor();
      await page.locator(".opblock-tag").click();
      await page.locator(".opblock-summary-control").click();
      await page.getByRole("button", { name: "Execute" }).click();
      await page.locator(".live-responses-table", { hasText: "ana@example.com" }).waitFor();
      expect(await page.evaluate(() => "__ran" in window)).toBe(false);
      // Swagger UI sanitises the document's Markdown; a picture in it is tried and refused by the policy.
      expect(faults.filter((fault) => !fault.includes("evil.example/x.png"))).toEqual([]);
      expect(faults.filter((fault) => fault.startsWith("request"))).toEqual([]);
      await context.close();
    },
    TIMEOUT,
  );
});
