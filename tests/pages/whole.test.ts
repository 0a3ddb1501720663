// The chat page on the real server, without any double: ask, open the source, read it in its document.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Browser } from "playwright-core";
import { pdfOf } from "../support/pdf.ts";
import { ADMIN, startTestServer } from "../support/server.ts";
import { hasBrowser, launch, watchedPage } from "./browser.ts";

const PAGES = [
  ["Travel policy", "Everybody may travel by train in second class."],
  ["Hotels", "The limit for a hotel is 140.50 euros a night in Germany.", "Breakfast is included in this amount."],
];
const QUOTE = "The limit for a hotel is 140.50 euros a night in Germany.";

describe.skipIf(!hasBrowser)("the chat page on the real server", async () => {
  const server = await startTestServer();
  const admin = await server.signIn();
  let browser: Browser;
  beforeAll(async () => {
    const body = { name: "travel", default_access: "all" };
    const made = await server.call<{ id: string }>("POST", "/api/v1/kb/collections", { token: admin, body });
    const form = new FormData();
    form.append("file", new Blob([await pdfOf(PAGES)]), 'The "travel" policy.pdf');
    const path = `/api/v1/kb/collections/${made.data.id}/documents`;
    const taken = await server.call<{ job_id: string }>("POST", path, { token: admin, body: form });
    await server.engines.jobs.wait(taken.data.job_id, 30_000);
    browser = await launch();
  });
  afterAll(() => browser.close());

  test("an answer's source shows the quote in its passage and, after sign-in, in its document", async () => {
    const { page, context, faults } = await watchedPage(browser, [server.url]);
    // Written before the server has been heard of, as quick people do.
    const written = Promise.withResolvers<void>();
    await page.routeWebSocket(/\/ws/, async (socket) => {
      await written.promise;
      socket.connectToServer();
    });
    await page.goto(server.url);
    const box = page.getByRole("textbox", { name: "Message" });
    await box.fill("What is the limit for a hotel in Germany?");
    await box.press("Enter");
    written.resolve();
    const source = page.locator("button.source");
    await source.waitFor();
    expect(await source.textContent()).toBe('1The "travel" policyp. 2');
    expect(await page.locator(".message.bot blockquote").last().textContent()).toContain(QUOTE);

    await source.click();
    const panel = page.locator(".source-panel");
    const marked = (await panel.locator(".passage mark").allTextContents()).join("|").replaceAll(/\s+/g, " ");
    expect(marked).toEndWith(QUOTE);
    expect(await panel.locator(".passage").textContent()).toContain("Breakfast is included in this amount.");
    expect(await panel.locator(".facts").textContent()).toContain("Page2");
    await page.keyboard.press("Escape");

    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByLabel("User name or e-mail").fill(ADMIN.email);
    await page.getByLabel("Password").fill(ADMIN.password);
    await page.keyboard.press("Enter");
    // The conversation goes along into the account.
    await page.getByRole("button", { name: /^Account/ }).waitFor();
    await source.click();
    await panel.getByRole("button", { name: "Show in the document" }).click();
    const there = panel.locator(".document-text mark");
    await there.waitFor();
    expect((await there.textContent())?.replaceAll(/\s+/g, " ")).toBe(marked);
    expect(await panel.locator(".document-text").textContent()).toContain("in second class.\n\n");
    expect(faults).toEqual([]);
    await context.close();
  }, 30_000);
});
