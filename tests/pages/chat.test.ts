// The chat page in a browser: talking, streaming, sources, keyboard, broken connections, several tabs.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { Browser, Page } from "playwright-core";
import { startPageMock } from "../support/page-mock.ts";
import type { PageMock, Turn } from "../support/page-mock.ts";
import { hasBrowser, launch, watchedPage } from "./browser.ts";
import type { Watched } from "./browser.ts";

const TIMEOUT = 30_000;
const CITATION = {
  n: 1,
  document_id: "01890000-0000-7000-8000-000000000001",
  title: "Handbook.pdf",
  collection: "hr",
  path: "rules",
  page: 217,
  snippet: "Plan early. Every employee has 25 days of paid leave. The rest is lost in April.",
  score: 0.9,
  heading_path: ["Working time", "Leave"],
  char_start: 1200,
  char_end: 1281,
  source_url: "https://example.com/handbook",
};

/** A promise that the test settles: the bot waits for it, nobody sleeps. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe.skipIf(!hasBrowser)("chat page", () => {
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
    // A test that takes too long takes the browser with it.
    if (!browser.isConnected()) browser = await launch();
    mock = await startPageMock();
    seen = await watchedPage(browser, [mock.url]);
    page = seen.page;
  }, TIMEOUT);
  afterEach(async () => {
    const { faults } = seen;
    await seen.context.close();
    await mock.close();
    expect(faults).toEqual([]);
  });

  const ready = async (on = page, path = "/") => {
    await on.goto(mock.url + path);
    await on.locator(".state", { hasText: "Online" }).waitFor();
  };
  const say = async (text: string, on = page) => {
    await on.locator("#message").fill(text);
    await on.keyboard.press("Enter");
  };
  const bubbles = (on = page) => on.locator(".message .bubble").allInnerTexts();
  const answers = (on = page) => on.locator(".message.bot .text").allInnerTexts();
  const answered = (text: string, on = page) =>
    on.locator(".message.bot .text", { hasText: `You said: ${text}` }).waitFor();
  const only = () => {
    const [conversation] = mock.conversations.values();
    if (!conversation) throw new Error("no conversation");
    return conversation;
  };

  test(
    "an answer grows while it is written, and its sources open at the quoted words",
    async () => {
      const [half, rest] = [gate(), gate()];
      mock.onMessage = async (turn) => {
        turn.delta("You have **25");
        turn.delta(" days**");
        half.open();
        await rest.opened;
        turn.answer("You have **25 days** [1] and more [1, 7].\n\n> Every employee has 25 days of paid leave.", {
          citations: [CITATION],
        });
      };
      await ready();
      await say("How many days?");
      await half.opened;
      await page.locator(".message.writing strong", { hasText: "25 days" }).waitFor();
      expect(await page.locator(".message.writing .text").innerText()).toBe("You have 25 days");
      expect(await page.getByRole("button", { name: "Stop the answer" }).isVisible()).toBe(true);
      rest.open();
      await page.locator(".sources").waitFor();
      expect(await page.locator(".message.writing").count()).toBe(0);
      expect(await page.getByRole("button", { name: "Stop the answer" }).isVisible()).toBe(false);
      expect(await page.locator(".cite").count()).toBe(2);
      await page.locator(".cite").first().click();
      const panel = page.getByRole("dialog", { name: "Handbook.pdf" });
      await panel.waitFor();
      expect((await panel.locator("mark").innerText()).trim()).toBe("Every employee has 25 days of paid leave.");
      expect(await panel.locator(".facts").innerText()).toContain("217");
      expect(await panel.locator(".facts").innerText()).toContain("Working time › Leave");
      expect(await panel.locator(".facts").innerText()).toContain("1200–1281");
      expect(await panel.getByRole("link").getAttribute("href")).toBe("https://example.com/handbook");
      await page.keyboard.press("Escape");
      expect(await page.evaluate(() => document.activeElement?.className)).toBe("cite");
    },
    TIMEOUT,
  );

  test(
    "everything goes by keyboard: send, new line, bring back, pick a suggestion, stop",
    async () => {
      const stopped = gate();
      mock.onMessage = async (turn) => {
        if (turn.content === "long") {
          turn.delta("It begins");
          await turn.cancelled;
          stopped.open();
          return;
        }
        turn.answer(`Heard: ${turn.content}`);
        turn.suggest([{ label: "Tell me more", value: "more" }]);
      };
      await ready();
      expect(await page.evaluate(() => document.activeElement?.id)).toBe("message");
      await page.keyboard.type("one");
      await page.keyboard.press("Shift+Enter");
      await page.keyboard.type("two");
      await page.keyboard.press("Enter");
      await page.locator(".message.bot").waitFor();
      expect(await bubbles()).toEqual(["one\ntwo"]);
      await page.keyboard.press("ArrowUp");
      expect(await page.locator("#message").inputValue()).toBe("one\ntwo");
      await page.keyboard.press("ArrowDown");
      expect(await page.locator("#message").inputValue()).toBe("");
      await page.locator(".chip").waitFor();
      for (let step = 0; step < 20; step += 1) {
        await page.keyboard.press("Shift+Tab");
        if (await page.evaluate(() => document.activeElement?.classList.contains("chip"))) break;
      }
      await page.keyboard.press("Enter");
      await page.locator(".message.bot .text", { hasText: "Heard: Tell me more" }).waitFor();
      expect(only().messages.filter((message) => message["sender"] === "user").length).toBe(2);
      expect(await page.evaluate(() => document.activeElement?.id)).toBe("message");
      await page.keyboard.type("long");
      await page.keyboard.press("Enter");
      await page.locator(".message.writing").waitFor();
      await page.keyboard.press("Escape");
      await stopped.opened;
      await page.getByText("You stopped this answer.").waitFor();
    },
    TIMEOUT,
  );

  test(
    "new messages are spoken once, by name and without markup",
    async () => {
      mock.onMessage = (turn) => {
        turn.delta("Some **bold");
        turn.answer("Some **bold** words", {});
      };
      await ready();
      await say("hello");
      await page.locator(".message.bot .actions").waitFor();
      const live = page.locator("[role=log]");
      expect(await live.innerText()).toBe("Company assistant: Some bold words");
    },
    TIMEOUT,
  );

  test(
    "after the server drops the socket the page comes back, gets what it missed and the answer under way",
    async () => {
      const [begun, end] = [gate(), gate()];
      let turn: Turn | null = null;
      mock.onMessage = async (next) => {
        turn = next;
        next.delta("First half");
        begun.open();
        await end.opened;
        next.answer("First half, second half.");
      };
      await ready();
      await say("Tell me");
      await begun.opened;
      await page.locator(".message.writing", { hasText: "First half" }).waitFor();
      mock.up = false;
      mock.dropSockets();
      await page.locator(".state", { hasText: "Reconnecting" }).waitFor();
      const conversation = only();
      const running = turn as Turn | null;
      running?.delta(", second");
      mock.send(conversation, { sender: "system", content: "Said meanwhile" });
      mock.up = true;
      await page.locator(".state", { hasText: "Online" }).waitFor();
      await page.locator(".message.writing", { hasText: "First half, second" }).waitFor();
      await page.locator(".system-text", { hasText: "Said meanwhile" }).waitFor();
      expect(await page.locator(".message.writing").count()).toBe(1);
      end.open();
      await page.locator(".message.bot .text", { hasText: "First half, second half." }).waitFor();
      expect(await answers()).toEqual(["First half, second half."]);
      expect(mock.calls.filter((call) => call.includes("/history"))).toEqual([]);
    },
    TIMEOUT,
  );

  test(
    "what is written without a connection is kept, sent once when it is back, and survives a reload",
    async () => {
      await ready();
      mock.up = false;
      mock.dropSockets();
      await page.locator(".state", { hasText: "Reconnecting" }).waitFor();
      await say("kept for later");
      await page.getByText("Waits for the connection").waitFor();
      await page.reload();
      await page.locator(".bubble", { hasText: "kept for later" }).waitFor();
      mock.up = true;
      await answered("kept for later");
      expect(only().messages.map((message) => message["content"])).toEqual([
        "kept for later",
        "You said: kept for later",
      ]);
    },
    TIMEOUT,
  );

  test(
    "an acknowledgement that got lost does not double the message",
    async () => {
      await ready();
      mock.loseAcks = 1;
      await say("only once");
      await page.locator(".message.bot .text", { hasText: "You said: only once" }).waitFor();
      expect(only().messages.length).toBe(2);
      expect(await bubbles()).toEqual(["only once"]);
    },
    TIMEOUT,
  );

  test(
    "the conversation goes on after a reload and is the same in two tabs",
    async () => {
      const [other] = [await seen.context.newPage()];
      await Promise.all([page.goto(mock.url), other.goto(mock.url)]);
      await Promise.all([page, other].map((one) => one.locator(".state", { hasText: "Online" }).waitFor()));
      expect(mock.conversations.size).toBe(1);
      await say("from the first");
      await answered("from the first", other);
      await say("from the second", other);
      await answered("from the second");
      expect(await bubbles()).toEqual(["from the first", "from the second"]);
      expect(await bubbles(other)).toEqual(["from the first", "from the second"]);
      await page.reload();
      await answered("from the second");
      expect(await bubbles()).toEqual(["from the first", "from the second"]);
      // What was said before is not read out again.
      expect(await page.locator("[role=log]").innerText()).toBe("");
    },
    TIMEOUT,
  );

  test(
    "long conversations open at their newest page and show earlier ones on request",
    async () => {
      await ready();
      const conversation = only();
      for (let n = 1; n <= 260; n += 1)
        mock.send(conversation, { sender: n % 2 ? "user" : "bot", content: `line ${n}` });
      await page.locator(".message", { hasText: "line 260" }).waitFor();
      await page.reload();
      await page.locator(".message", { hasText: "line 260" }).waitFor();
      expect(await page.locator(".message", { hasText: "line 210" }).count()).toBe(0);
      await page.getByRole("button", { name: "Show earlier messages" }).click();
      await page.locator(".message", { hasText: "line 170" }).waitFor();
      const all = await page.locator(".message").allInnerTexts();
      const numbers = all.map((text) => Number(/line (\d+)/.exec(text)?.[1]));
      expect(numbers).toEqual(Array.from({ length: 100 }, (_, at) => at + 161));
    },
    TIMEOUT,
  );

  test(
    "an anonymous conversation that has ended is replaced by a new one",
    async () => {
      await ready();
      await say("hello");
      await answered("hello");
      mock.conversations.clear();
      mock.dropSockets();
      await page.getByText("How can Company assistant help?").waitFor();
      await say("again");
      await answered("again");
      expect(mock.conversations.size).toBe(1);
    },
    TIMEOUT,
  );

  test(
    "deltas out of order never show wrong text; a reset begins anew",
    async () => {
      const [shown, go, last] = [gate(), gate(), gate()];
      mock.onMessage = async (turn) => {
        turn.delta("one ");
        turn.frame({ type: "delta", message_id: turn.messageId, index: 5, content: "LOST" });
        turn.frame({ type: "delta", message_id: turn.messageId, index: 1, content: "also lost" });
        shown.open();
        await go.opened;
        turn.reset("one two three");
        await last.opened;
        turn.answer("one two three.");
      };
      await ready();
      await say("count");
      await shown.opened;
      await page.locator(".message.writing", { hasText: "one" }).waitFor();
      expect(await page.locator(".message.writing .text").innerText()).toBe("one");
      go.open();
      await page.locator(".message.writing", { hasText: "one two three" }).waitFor();
      last.open();
      await page.locator(".actions").waitFor();
      expect(await answers()).toEqual(["one two three."]);
    },
    TIMEOUT,
  );

  test(
    "files are sent with a message and come back on click; pictures are shown",
    async () => {
      await ready();
      const png = Buffer.from(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
        "base64",
      );
      await page.setInputFiles("#attach-files", [
        { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("some notes") },
        { name: "dot.png", mimeType: "image/png", buffer: png },
      ]);
      await page.locator(".tray .file.done").nth(1).waitFor();
      await say("two files");
      await answered("two files");
      expect(only().messages[0]?.["attachments"]).toMatchObject([{ name: "notes.txt" }, { name: "dot.png" }]);
      await page.locator("img.picture").waitFor();
      const [download] = await Promise.all([
        page.waitForEvent("download"),
        page.getByRole("button", { name: "notes.txt" }).click(),
      ]);
      expect(download.suggestedFilename()).toBe("notes.txt");
    },
    TIMEOUT,
  );

  test(
    "switches stay on, answers can be judged, and a closed conversation offers what is left",
    async () => {
      mock.onMessage = (turn) => {
        turn.conversation.switchers = [{ id: "tables", label: "Tables", color: null, active: false }];
        turn.answer("Fine");
        turn.suggest([]);
      };
      await ready();
      await say("hello");
      await page.getByRole("button", { name: "Tables" }).click();
      await page.locator('.switch[aria-pressed="true"]').waitFor();
      expect(only().switchers[0]?.active).toBe(true);
      await page.getByRole("button", { name: "Not helpful" }).click();
      await page.getByLabel("What was wrong?").fill("Too short");
      await page.getByRole("dialog").getByRole("button", { name: "Send" }).click();
      await page.getByText("Thank you.").waitFor();
      expect(only().messages.at(-1)).toMatchObject({ feedback: "down", feedback_comment: "Too short" });
      only().closed = true;
      mock.broadcast(only().id, { type: "status", state: "closed", session_id: only().id });
      await page.getByText("This conversation is closed.").waitFor();
      expect(await page.locator("#message").isVisible()).toBe(false);
      await page.getByRole("button", { name: "Rate", exact: true }).click();
      await page.getByTitle("4 of 5 stars").click();
      await page.getByRole("button", { name: "Send rating" }).click();
      await page.getByRole("dialog").waitFor({ state: "detached" });
      expect(mock.calls.filter((call) => call.endsWith("/rating")).length).toBe(1);
      await page.getByRole("button", { name: "Reopen" }).click();
      await page.locator("#message").waitFor();
    },
    TIMEOUT,
  );

  test(
    "a refused message says why and can be sent again",
    async () => {
      await ready();
      await say("hello");
      await answered("hello");
      only().closed = true;
      await say("too late");
      await page.locator(".delivery", { hasText: "The conversation is closed." }).waitFor();
      only().closed = false;
      await page.getByRole("button", { name: "Reopen" }).click();
      await page.locator(".delivery").getByRole("button", { name: "Try again" }).click();
      await answered("too late");
      expect(await page.locator(".delivery").count()).toBe(0);
    },
    TIMEOUT,
  );

  test(
    "trouble is told: degraded, offline, nobody there, no such bot",
    async () => {
      await ready();
      mock.broadcast(only().id, { type: "status", state: "degraded" });
      await page.getByText("Parts of the server are away").waitFor();
      mock.broadcast(only().id, { type: "status", state: "restored" });
      await page.getByText("Parts of the server are away").waitFor({ state: "hidden" });
      mock.up = false;
      await page.evaluate(() => localStorage.clear());
      await page.reload();
      await page.getByText("The server cannot be reached.").waitFor();
      mock.up = true;
      await page.getByRole("button", { name: "Try now" }).click();
      await page.locator(".state", { hasText: "Online" }).waitFor();
      await page.goto(`${mock.url}/nosuch`);
      await page.getByRole("heading", { name: "There is no such bot here." }).waitFor();
      expect(await page.locator("#message").isVisible()).toBe(false);
    },
    TIMEOUT,
  );

  test(
    "another bot is chosen from the list, and has its own conversation",
    async () => {
      await ready();
      await say("to the first");
      await answered("to the first");
      await page.getByRole("button", { name: /Choose another bot/ }).click();
      await page.getByRole("menu").waitFor();
      await page.keyboard.press("ArrowDown");
      await page.keyboard.press("Enter");
      await page.waitForURL(`${mock.url}/helper`);
      await page.getByText("How can IT helper help?").waitFor();
      expect(mock.conversations.size).toBe(2);
    },
    TIMEOUT,
  );

  test(
    "the words are Portuguese in a Portuguese browser",
    async () => {
      const other = await watchedPage(browser, [mock.url], { locale: "pt-BR" });
      await other.page.goto(mock.url);
      await other.page.getByText("Como Company assistant pode ajudar?").waitFor();
      expect(await other.page.locator("html").getAttribute("lang")).toBe("pt");
      await other.context.close();
      expect(other.faults).toEqual([]);
    },
    TIMEOUT,
  );
});
