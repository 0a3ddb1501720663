// What the pages look like to people with small screens, dark rooms, a keyboard or a screen reader.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import { startPageMock } from "../support/page-mock.ts";
import type { PageMock } from "../support/page-mock.ts";
import { hasBrowser, launch, watchedPage } from "./browser.ts";
import type { Watched } from "./browser.ts";

const TIMEOUT = 60_000;
const WIDE_ANSWER = `Here is a very long word: ${"Donaudampfschifffahrt".repeat(12)}

| ${Array.from({ length: 12 }, (_, n) => `column ${n}`).join(" | ")} |
|${"---|".repeat(12)}
| ${Array.from({ length: 12 }, (_, n) => `a value ${n}`).join(" | ")} |

\`\`\`
${"one long line of code ".repeat(20)}
\`\`\`

https://example.com/${"a/".repeat(120)}

> Quoted [1]
`;

/** Serious and critical faults, in words. */
async function faultsOf(page: Page): Promise<string[]> {
  // In the page's own world, but past its policy: the policy is what another test is about.
  const results = await page.evaluate(async (source) => {
    // oxlint-disable-next-line no-new-func
    if (!("axe" in window)) throw new Error(source);
    const { axe: tool } = window as unknown as {
      axe: {
        run(
          options: unknown,
        ): Promise<{ violations: { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }[] }>;
      };
    };
    return (await tool.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }))
      .violations;
  }, "axe is not there");
  return results
    .filter((violation) => violation.impact === "serious" || violation.impact === "critical")
    .flatMap((violation) =>
      violation.nodes.map((node) => `${violation.id}: ${node.html.slice(0, 160)} — ${node.failureSummary}`),
    );
}

describe.skipIf(!hasBrowser)("looks", () => {
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
    mock.users.push({
      id: Bun.randomUUIDv7(),
      username: "ana",
      email: "ana@example.com",
      password: "correct horse battery",
      name: "Ana Souza",
      permissions: ["*"],
      code: null,
    });
    mock.onMessage = (turn) => {
      turn.conversation.switchers = [
        { id: "t", label: "Tables", color: "#b5651d", active: true },
        { id: "l", label: "As a list", color: null, active: false },
      ];
      turn.answer(WIDE_ANSWER, {
        citations: [
          {
            n: 1,
            document_id: "d",
            title: "A handbook with a rather long name for its file 2026.pdf",
            collection: "c",
            path: "p",
            page: 3,
            snippet: "Quoted text stands here.",
            score: 1,
          },
        ],
      });
      turn.suggest([
        { label: "One suggestion", value: "1" },
        { label: "Another, longer suggestion", value: "2" },
      ]);
    };
    seen = await watchedPage(browser, [mock.url], { bypassCSP: true });
    await seen.context.addInitScript({ content: axe.source });
    page = seen.page;
  }, TIMEOUT);
  afterEach(async () => {
    await seen.context.close();
    await mock.close();
    expect(seen.faults).toEqual([]);
  });

  const talk = async () => {
    await page.goto(mock.url);
    await page.locator(".state", { hasText: "Online" }).waitFor();
    await page.locator("#message").fill("hello");
    await page.keyboard.press("Enter");
    await page.locator(".sources").waitFor();
  };
  const signIn = async () => {
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByLabel("User name or e-mail").fill("ana");
    await page.getByLabel("Password").fill("correct horse battery");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Account of Ana Souza" }).waitFor();
  };
  const overflow = () =>
    page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

  for (const width of [320, 375, 768]) {
    test(
      `a window of ${width} px needs no sideways scrolling, whatever is said`,
      async () => {
        await page.setViewportSize({ width, height: 640 });
        await talk();
        expect(await overflow()).toBe(0);
        expect(await page.evaluate(() => document.querySelector(".scroller")?.scrollWidth)).toBe(
          await page.evaluate(() => document.querySelector(".scroller")?.clientWidth),
        );
        for (const name of ["Send", "Attach files", "New conversation"]) {
          const box = await page.getByRole("button", { name, exact: true }).boundingBox();
          expect(box && box.x >= 0 && box.x + box.width <= width).toBe(true);
        }
        await page.locator(".source").click();
        await page.getByRole("dialog").waitFor();
        expect(await overflow()).toBe(0);
        await page.keyboard.press("Escape");
        await signIn();
        await page.getByRole("button", { name: "Conversations" }).click();
        await page.getByRole("dialog", { name: "Conversations" }).locator(".entry").waitFor();
        expect(await overflow()).toBe(0);
      },
      TIMEOUT,
    );
  }

  for (const colorScheme of ["light", "dark"] as const) {
    test(
      `no serious accessibility fault on any page, ${colorScheme}`,
      async () => {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await page.goto(mock.url);
        await page.locator(".state", { hasText: "Online" }).waitFor();
        expect(await faultsOf(page)).toEqual([]);
        await talk();
        expect(await faultsOf(page)).toEqual([]);
        await page.locator(".source").click();
        await page.getByRole("dialog").waitFor();
        expect(await faultsOf(page)).toEqual([]);
        await page.keyboard.press("Escape");
        await page.getByRole("button", { name: "Sign in" }).click();
        await page.getByLabel("Password").waitFor();
        await page.keyboard.press("Enter");
        await page.getByText("This is needed.").first().waitFor();
        expect(await faultsOf(page)).toEqual([]);
        await page.keyboard.press("Escape");
        await signIn();
        await page.locator(".entry").waitFor();
        expect(await faultsOf(page)).toEqual([]);
        await page.getByRole("button", { name: "Add to knowledge" }).click();
        await page.getByRole("dialog").waitFor();
        expect(await faultsOf(page)).toEqual([]);
        await page.keyboard.press("Escape");
        await page.getByRole("button", { name: /Choose another bot/ }).click();
        await page.getByRole("menu").waitFor();
        expect(await faultsOf(page)).toEqual([]);
        mock.bootstrap.required = true;
        await page.goto(`${mock.url}/setup#token=x`);
        await page.getByLabel("E-mail").waitFor();
        expect(await faultsOf(page)).toEqual([]);
        await page.goto(`${mock.url}/nosuch`);
        await page.getByRole("heading", { name: "There is no such bot here." }).waitFor();
        expect(await faultsOf(page)).toEqual([]);
      },
      TIMEOUT,
    );
  }

  test(
    "dark and light follow the system, and change while the page is open",
    async () => {
      const becomes = (colour: string) =>
        page.waitForFunction((wanted) => getComputedStyle(document.body).backgroundColor === wanted, colour);
      await page.emulateMedia({ colorScheme: "dark" });
      await page.goto(mock.url);
      await becomes("rgb(19, 22, 21)");
      await page.emulateMedia({ colorScheme: "light" });
      await becomes("rgb(255, 255, 255)");
    },
    TIMEOUT,
  );

  test(
    "whoever wants less motion gets none",
    async () => {
      await talk();
      const moving = await page.evaluate(
        () =>
          document.getAnimations().filter((animation) => Number(animation.effect?.getComputedTiming().duration) > 1)
            .length,
      );
      expect(moving).toBe(0);
    },
    TIMEOUT,
  );

  test(
    "focus is always to be seen, and stays inside a dialog",
    async () => {
      await talk();
      await page.locator("body").press("Tab");
      for (let step = 0; step < 25; step += 1) {
        const style = await page.evaluate(() => {
          const active = document.activeElement;
          if (!active || active === document.body) return "body";
          const own = getComputedStyle(active);
          const around = active.closest(".box");
          const ring = around ? getComputedStyle(around).boxShadow : "none";
          return own.outlineStyle !== "none" && parseFloat(own.outlineWidth) >= 2
            ? "outline"
            : ring !== "none"
              ? "ring"
              : active.outerHTML;
        });
        expect(["body", "outline", "ring"]).toContain(style);
        await page.keyboard.press("Tab");
      }
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByLabel("Password").waitFor();
      for (let step = 0; step < 12; step += 1) {
        await page.keyboard.press("Tab");
        expect(
          await page.evaluate(
            () => document.activeElement === document.body || document.activeElement?.closest("dialog") !== null,
          ),
        ).toBe(true);
      }
      await page.keyboard.press("Escape");
      expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Sign in");
    },
    TIMEOUT,
  );
});
