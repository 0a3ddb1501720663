// The browser for the tests of the pages: Debian's Chromium under Playwright, watched for what must never happen.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import type { Browser, BrowserContext, BrowserContextOptions, Page } from "playwright-core";

const PROGRAM = "/usr/bin/chromium";

/** True when there is a browser. Without one the tests are skipped, and said to be; in CI that is a failure. */
export const hasBrowser: boolean = existsSync(PROGRAM);
if (!hasBrowser) {
  if (Bun.env["CI"] === "true") throw new Error(`The tests of the pages need ${PROGRAM}.`);
  console.warn(`skipped: ${PROGRAM} is missing, the pages are not tested`);
}

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: PROGRAM,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

export interface Watched {
  context: BrowserContext;
  page: Page;
  /** Requests to other origins than `origins`, violations of the content policy, page errors, dialogs. */
  faults: string[];
}

/** A fresh profile with one page, whose forbidden doings are noted in `faults`. */
export async function watchedPage(
  browser: Browser,
  origins: readonly string[],
  options: BrowserContextOptions = {},
): Promise<Watched> {
  const context = await browser.newContext({ locale: "en-GB", reducedMotion: "reduce", ...options });
  // Well below the tests' own limit: a locator that waits in vain says so itself.
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const faults: string[] = [];
  watch(page, origins, faults);
  context.on("page", (other) => watch(other, origins, faults));
  return { context, page, faults };
}

function watch(page: Page, origins: readonly string[], faults: string[]): void {
  page.on("request", (request) => {
    const url = new URL(request.url());
    const own = origins.includes(url.origin) || url.protocol === "data:" || url.protocol === "blob:";
    if (!own) faults.push(`request to ${request.url()}`);
  });
  page.on("requestfailed", (request) => {
    // What the content policy stops is reported as a request, but never leaves the browser.
    const at = faults.indexOf(`request to ${request.url()}`);
    if (at >= 0 && request.failure()?.errorText === "csp") faults[at] = `stopped by the policy: ${request.url()}`;
  });
  page.on("websocket", (socket) => {
    if (!origins.includes(new URL(socket.url()).origin.replace(/^ws/, "http")))
      faults.push(`socket to ${socket.url()}`);
  });
  page.on("pageerror", (error) => faults.push(`page error: ${error.message}`));
  page.on("dialog", (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss().catch(() => undefined);
  });
  page.on("console", (message) => {
    const text = message.text();
    if (/content security policy|trusted ?types|refused to/i.test(text)) faults.push(`policy: ${text}`);
  });
}
