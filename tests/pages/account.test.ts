// Signing in and what it changes: claim, tokens, several tabs, the list of conversations, knowledge, the first administrator.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { Browser, Page } from "playwright-core";
import { startPageMock } from "../support/page-mock.ts";
import type { PageMock } from "../support/page-mock.ts";
import { hasBrowser, launch, watchedPage } from "./browser.ts";
import type { Watched } from "./browser.ts";

const TIMEOUT = 40_000;
const PASSWORD = "correct horse battery";

describe.skipIf(!hasBrowser)("account", () => {
  let browser: Browser;
  let mock: PageMock;
  let seen: Watched;
  let page: Page;

  beforeAll(async () => {
    browser = await launch();
  }, TIMEOUT);
  afterAll(async () => {
    await browser.close();
  });
  beforeEach(async () => {
    if (!browser.isConnected()) browser = await launch();
    mock = await startPageMock();
    seen = await watchedPage(browser, [mock.url]);
    page = seen.page;
  }, TIMEOUT);
  afterEach(async () => {
    await seen.context.close();
    await mock.close();
    expect(seen.faults).toEqual([]);
  });

  const addUser = (permissions: string[] = ["chat:write", "chat:read"], code: string | null = null) => {
    const user = {
      id: Bun.randomUUIDv7(),
      username: "ana",
      email: "ana@example.com",
      password: PASSWORD,
      name: "Ana Souza",
      permissions,
      code,
    };
    mock.users.push(user);
    return user;
  };
  const open = async (on = page) => {
    await on.goto(mock.url);
    await on.locator(".state", { hasText: "Online" }).waitFor();
  };
  const say = async (text: string, on = page) => {
    await on.locator("#message").fill(text);
    await on.keyboard.press("Enter");
    await on.locator(".message.bot .text", { hasText: `You said: ${text}` }).waitFor();
  };
  const fillSignIn = async (on = page, password = PASSWORD) => {
    await on.getByLabel("User name or e-mail").fill("ana");
    await on.getByLabel("Password").fill(password);
    await on.keyboard.press("Enter");
  };
  const signedIn = (on = page) => on.getByRole("button", { name: "Account of Ana Souza" }).waitFor();
  const signIn = async (on = page) => {
    await on.getByRole("button", { name: "Sign in" }).click();
    await fillSignIn(on);
    await signedIn(on);
  };
  const stored = (on = page) =>
    on.evaluate(
      () =>
        JSON.parse(localStorage.getItem("botserver.account") ?? "null") as {
          accessToken: string;
          refreshToken: string;
        } | null,
    );

  test(
    "an anonymous conversation comes along when its person signs in",
    async () => {
      const user = addUser();
      await open();
      await say("before");
      const [conversation] = mock.conversations.values();
      await signIn();
      await page.locator(".entry", { hasText: "before" }).waitFor();
      await page.locator(".message .bubble", { hasText: "before" }).waitFor();
      expect(conversation).toMatchObject({ userId: user.id, token: null });
      await say("after");
      expect(mock.conversations.size).toBe(1);
      await page.reload();
      await page.locator(".message .bubble", { hasText: "after" }).waitFor();
      await signedIn();
    },
    TIMEOUT,
  );

  test(
    "a wrong password is told without losing what was typed; the second factor is asked for",
    async () => {
      addUser(["chat:write"], "123456");
      await open();
      await page.getByRole("button", { name: "Sign in" }).click();
      await fillSignIn(page, "wrong password!");
      await page.getByRole("alert").filter({ hasText: "Name or password is not right." }).waitFor();
      expect(await page.getByLabel("User name or e-mail").inputValue()).toBe("ana");
      await fillSignIn();
      await page.getByLabel("Code").fill("000000");
      await page.keyboard.press("Enter");
      await page.getByRole("alert").filter({ hasText: "This code is not right" }).waitFor();
      await page.getByLabel("Code").fill("123 456");
      await page.keyboard.press("Enter");
      await signedIn();
    },
    TIMEOUT,
  );

  test(
    "signing up tells which rules a password breaks, then signs in",
    async () => {
      await open();
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByRole("button", { name: "Sign up" }).click();
      await page.getByLabel("Name").fill("Ana Souza");
      await page.getByLabel("E-mail").fill("ana@example.com");
      await page.getByLabel("Password").fill("short");
      await page.keyboard.press("Enter");
      await page.getByText("It is too short.").waitFor();
      expect(await page.evaluate(() => document.activeElement?.getAttribute("aria-invalid"))).toBe("true");
      await page.getByLabel("Password").fill(PASSWORD);
      await page.keyboard.press("Enter");
      await signedIn();
    },
    TIMEOUT,
  );

  test(
    "registration that is closed is not offered",
    async () => {
      mock.registration = "closed";
      await open();
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByLabel("Password").waitFor();
      expect(await page.getByRole("button", { name: "Sign up" }).count()).toBe(0);
    },
    TIMEOUT,
  );

  test(
    "tokens stay out of addresses and cookies; an expired one is renewed by one tab for all",
    async () => {
      addUser();
      await open();
      await signIn();
      const other = await seen.context.newPage();
      await open(other);
      await signedIn(other);
      const before = await stored();
      // Ended at the server, and about to end by the page's own clock.
      mock.expireTokens();
      await page.evaluate(() => {
        const row = JSON.parse(localStorage.getItem("botserver.account") ?? "{}") as { expiresAt: number };
        row.expiresAt = Date.now();
        localStorage.setItem("botserver.account", JSON.stringify(row));
      });
      const both = [page, other];
      await Promise.all(both.map((one) => one.reload()));
      await Promise.all(both.map((one) => one.locator(".state", { hasText: "Online" }).waitFor()));
      await Promise.all(both.map((one) => signedIn(one)));
      const after = await stored();
      expect(after?.refreshToken).not.toBe(before?.refreshToken);
      expect(mock.calls.filter((call) => call === "POST /api/v1/auth/refresh").length).toBe(1);
      expect(await seen.context.cookies()).toEqual([]);
      await say("still here", other);
    },
    TIMEOUT,
  );

  test(
    "a token that the server refuses is renewed and the call made again",
    async () => {
      addUser();
      await open();
      await signIn();
      mock.expireTokens();
      await page.getByRole("button", { name: "New conversation" }).first().click();
      await page.locator(".state", { hasText: "Online" }).waitFor();
      await say("with a new token");
      expect(mock.calls.filter((call) => call === "POST /api/v1/auth/refresh").length).toBe(1);
    },
    TIMEOUT,
  );

  test(
    "when the session is over the person is told and is anonymous again",
    async () => {
      addUser();
      await open();
      await signIn();
      await page.evaluate(() => {
        const row = JSON.parse(localStorage.getItem("botserver.account") ?? "{}") as { refreshToken: string };
        row.refreshToken = "gone";
        localStorage.setItem("botserver.account", JSON.stringify(row));
      });
      mock.expireTokens();
      await page.reload();
      await page.locator(".toast", { hasText: "Your session has ended." }).waitFor();
      await page.locator(".state", { hasText: "Online" }).waitFor();
      expect(await stored()).toBeNull();
      await say("as nobody");
    },
    TIMEOUT,
  );

  test(
    "signing out in one tab signs out in all",
    async () => {
      addUser();
      await open();
      await signIn();
      const other = await seen.context.newPage();
      await open(other);
      await signedIn(other);
      await page.getByRole("button", { name: "Account of Ana Souza" }).click();
      await page.getByRole("menuitem", { name: "Sign out" }).click();
      await other.getByRole("button", { name: "Sign in" }).waitFor();
      await page.getByRole("button", { name: "Sign in" }).waitFor();
      expect(await stored()).toBeNull();
    },
    TIMEOUT,
  );

  test(
    "conversations are listed, searched, renamed, opened and deleted",
    async () => {
      const user = addUser();
      await open();
      await signIn();
      await say("about apples");
      await page.locator(".shelf").getByRole("button", { name: "New conversation" }).click();
      await page.getByRole("heading", { name: "How can Company assistant help?" }).waitFor();
      await say("about pears");
      await page.locator(".entry", { hasText: "about pears" }).waitFor();
      await page
        .locator(".entry", { hasText: "about apples" })
        .getByRole("button", { name: "about apples" })
        .first()
        .click();
      await page.locator(".message .bubble", { hasText: "about apples" }).waitFor();
      expect(await page.locator(".bubble", { hasText: "about pears" }).count()).toBe(0);
      await page.locator(".entry", { hasText: "about pears" }).locator(".more").click();
      await page.getByRole("menuitem", { name: "Rename" }).click();
      await page.getByLabel("Title").fill("Fruit");
      await page.keyboard.press("Enter");
      await page.locator(".entry", { hasText: "Fruit" }).waitFor();
      await page.getByLabel("Search conversations").fill("fruit");
      await page.locator(".entry", { hasText: "about apples" }).waitFor({ state: "detached" });
      await page.locator(".entry", { hasText: "Fruit" }).locator(".more").click();
      await page.getByRole("menuitem", { name: "Delete" }).click();
      await page
        .getByRole("dialog", { name: "Delete this conversation?" })
        .getByRole("button", { name: "Delete" })
        .click();
      await page.getByText("Nothing found.").waitFor();
      expect([...mock.conversations.values()].filter((one) => one.userId === user.id).length).toBe(1);
    },
    TIMEOUT,
  );

  test(
    "documents go into the bot's knowledge with progress; a job that fails says why and can be tried again",
    async () => {
      addUser(["chat:write", "kb:read", "kb:write"]);
      await open();
      await signIn();
      await page.getByRole("button", { name: "Add to knowledge" }).click();
      const dialog = page.getByRole("dialog", { name: "Add to knowledge" });
      await dialog.getByLabel("Name of the new collection").fill("bad/name");
      await dialog.locator("input[type=file]").setInputFiles([
        { name: "rules.txt", mimeType: "text/plain", buffer: Buffer.from("Travel second class.") },
        { name: "more.txt", mimeType: "text/plain", buffer: Buffer.from("Keep the receipts.") },
      ]);
      await dialog.getByRole("button", { name: "Add to knowledge" }).click();
      await dialog.locator("[aria-invalid=true]").waitFor();
      await dialog.getByLabel("Name of the new collection").fill("travel");
      await dialog.getByRole("button", { name: "Add to knowledge" }).click();
      await dialog.getByText("Reading: 0 of 1").waitFor();
      expect(mock.collections).toMatchObject([{ name: "travel", auto: true }]);
      expect(mock.uploads.map((upload) => upload.names)).toEqual([["rules.txt", "more.txt"]]);
      const job = [...mock.jobs.values()].at(-1);
      Object.assign(job ?? {}, { progress: 60, documents_done: 1, documents_total: 2 });
      await dialog.getByText("Reading: 1 of 2").waitFor();
      expect(await dialog.getByRole("progressbar").evaluate((bar) => (bar as HTMLProgressElement).value)).toBe(60);
      Object.assign(job ?? {}, {
        status: "failed",
        documents_failed: 1,
        errors: [{ document_id: "d1", name: "more.txt", message: "The file is damaged." }],
      });
      await dialog.getByText("more.txt: The file is damaged.").waitFor();
      await dialog.getByRole("button", { name: "Try again" }).click();
      await dialog.getByText("Reading: 0 of 1").waitFor();
      Object.assign([...mock.jobs.values()].at(-1) ?? {}, { status: "completed", progress: 100, documents_done: 1 });
      await dialog.getByText("Documents read: 1.").waitFor();
    },
    TIMEOUT,
  );

  test(
    "a running job can be cancelled",
    async () => {
      addUser(["chat:write", "kb:read", "kb:write"]);
      mock.collections.push({ id: Bun.randomUUIDv7(), name: "travel" });
      await open();
      await signIn();
      await page.getByRole("button", { name: "Add to knowledge" }).click();
      const dialog = page.getByRole("dialog", { name: "Add to knowledge" });
      await dialog
        .locator("input[type=file]")
        .setInputFiles({ name: "a.txt", mimeType: "text/plain", buffer: Buffer.from("a") });
      await dialog.getByRole("button", { name: "Add to knowledge" }).click();
      await dialog.getByRole("button", { name: "Cancel" }).click();
      await dialog.getByText("Stopped.").waitFor();
      expect([...mock.jobs.values()][0]?.status).toBe("cancelled");
    },
    TIMEOUT,
  );

  test(
    "who may not write knowledge is not offered it",
    async () => {
      addUser();
      await open();
      await signIn();
      await page.locator(".entries-foot", { hasText: "Your conversations will stand here." }).waitFor();
      expect(await page.getByRole("button", { name: "Add to knowledge" }).count()).toBe(0);
    },
    TIMEOUT,
  );

  test(
    "the people who may read a document see the passage in its place",
    async () => {
      addUser(["chat:write", "kb:read"]);
      const text = `${"Before. ".repeat(300)}The very passage. ${"After. ".repeat(300)}`;
      mock.spec["document_text"] = text;
      const start = text.indexOf("The very");
      mock.onMessage = (turn) =>
        turn.answer("Told [1]", {
          citations: [
            {
              n: 1,
              document_id: "d",
              title: "Book",
              collection: "c",
              path: "",
              page: 2,
              snippet: "The very passage.",
              char_start: start,
              char_end: start + 17,
            },
          ],
        });
      await open();
      await signIn();
      await page.locator(".state", { hasText: "Online" }).waitFor();
      await page.locator("#message").fill("hi");
      await page.keyboard.press("Enter");
      await page.locator(".source").click();
      await page.getByRole("button", { name: "Show in the document" }).click();
      const place = page.getByRole("region", { name: "Show in the document" });
      await place.waitFor();
      expect(await place.locator("mark").innerText()).toBe("The very passage.");
      expect(await place.innerText()).toContain("Before. The very passage. After.");
    },
    TIMEOUT,
  );

  test(
    "the setup link makes the administrator and signs in; its token leaves the address at once",
    async () => {
      mock.bootstrap.required = true;
      await open();
      await page.getByText("This server has no administrator yet.").waitFor();
      await say("said before");
      await page.goto(`${mock.url}/setup#token=setup-secret`);
      await page.getByLabel("E-mail").fill("ana@example.com");
      expect(page.url()).toBe(`${mock.url}/setup`);
      await page.getByLabel("User name").fill("ana");
      await page.getByLabel("Password").fill("short");
      await page.getByRole("button", { name: "Create administrator" }).click();
      await page.getByText("It is too short.").waitFor();
      await page.getByLabel("Password").fill(PASSWORD);
      await page.getByRole("button", { name: "Create administrator" }).click();
      await page.waitForURL(`${mock.url}/`);
      await page.getByRole("button", { name: "Account of ana" }).waitFor();
      // What they had asked before goes along.
      await page.locator(".bubble", { hasText: "said before" }).waitFor();
      expect([...mock.conversations.values()].map((one) => one.userId)).toEqual([mock.users[0]?.id ?? ""]);
      await page.goto(`${mock.url}/setup#token=setup-secret`);
      await page.getByRole("heading", { name: "This server is set up already." }).waitFor();
    },
    TIMEOUT,
  );

  test(
    "a wrong setup token is told",
    async () => {
      mock.bootstrap.required = true;
      await page.goto(`${mock.url}/setup`);
      await page.getByLabel("Setup token").fill("guess");
      await page.getByLabel("E-mail").fill("ana@example.com");
      await page.getByLabel("Password").fill(PASSWORD);
      await page.getByRole("button", { name: "Create administrator" }).click();
      await page.getByText("This setup token is not right.").waitFor();
    },
    TIMEOUT,
  );

  test(
    "the sign-in page goes on to a path of this origin only",
    async () => {
      addUser();
      for (const [redirect, path] of [
        ["/helper", "/helper"],
        ["//evil.example/", "/"],
        ["https://evil.example/", "/"],
        ["/\\evil.example", "/"],
        ["javascript:alert(1)", "/"],
      ] as const) {
        await page.goto(`${mock.url}/auth/login?redirect=${encodeURIComponent(redirect)}`);
        await fillSignIn();
        await page.waitForURL(mock.url + path);
        await page.evaluate(() => localStorage.clear());
      }
    },
    TIMEOUT,
  );
});
