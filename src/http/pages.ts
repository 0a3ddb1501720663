// Hands out the web pages and their assets: content policies, caching, compression. What is in them is src/pages'.

import { Elysia, t } from "elysia";
import { notFound } from "../core/errors.ts";
import type { PageFile, Pages } from "../pages/open.ts";
import { kernel } from "./failures.ts";
import { mark } from "./mark.ts";

/** What a bot's page needs to know of the bot. */
export interface BotPage {
  /** Name of the bot that a host name of its own shows at `/`; null where the address says it all. */
  boundBot: string | null;
  /** False for what a stranger may not know of: the page is shown all the same (it may ask to sign in), as a 404. */
  listed: boolean;
  /** `embed-origins` of the bot: where its page may be framed besides this origin. */
  embedOrigins: readonly string[];
}

export interface PageDeps {
  pages: Pages;
  /** The bot of this name; null: the one at `/` for requests to `host`. */
  botPage: (name: string | null, host: string | null) => Promise<BotPage>;
}

const BOT_NAME = /^[a-z0-9][a-z0-9-]{1,62}$/;
/** CSP host-source (CSP 3, 2.3.1) as an origin, with a leading `*.` allowed. */
const FRAME_SOURCE = /^https?:\/\/(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:\d{1,5}|:\*)?$/i;
const YEAR_SECONDS = 31_536_000;
const WIDGET_SECONDS = 300;

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
];
// Strings become markup only through DOMPurify's own policy; whatever else tries is stopped by the browser.
const TRUSTED_TYPES = ["require-trusted-types-for 'script'", "trusted-types dompurify"];

/** The frame-ancestors directive for a bot's `embed-origins`; entries that are no origins are left out. */
export function frameAncestors(origins: readonly string[]): string {
  const listed = origins.filter((origin) => origin === "*" || FRAME_SOURCE.test(origin));
  return `frame-ancestors 'self'${listed.map((origin) => ` ${origin}`).join("")}`;
}

interface Framing {
  origins: readonly string[];
  trustedTypes: boolean;
}

function pageHeaders({ origins, trustedTypes }: Framing): Record<string, string> {
  const policy = [...POLICY, ...(trustedTypes ? TRUSTED_TYPES : []), frameAncestors(origins)];
  return {
    "content-security-policy": policy.join("; "),
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ...(origins.length === 0 ? { "x-frame-options": "SAMEORIGIN" } : {}),
  };
}

function assetHeaders(file: PageFile): Record<string, string> {
  if (file.immutable) {
    return {
      "cache-control": `public, max-age=${YEAR_SECONDS}, immutable`,
      "cross-origin-resource-policy": "same-origin",
    };
  }
  // The widget: other sites load it from a stable address.
  return {
    "cache-control": `public, max-age=${WIDGET_SECONDS}`,
    "cross-origin-resource-policy": "cross-origin",
    "access-control-allow-origin": "*",
  };
}

/** Answers with a file: 304 when the client has it, compressed when it takes that. */
function fileResponse(request: Request, file: PageFile, headers: Record<string, string>, status = 200): Response {
  const accepted = request.headers.get("accept-encoding") ?? "";
  const zipped = file.gzip !== null && /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/.test(accepted);
  const etag = zipped ? file.etag.replace(/"$/, '-gz"') : file.etag;
  const all: Record<string, string> = {
    ...headers,
    etag,
    vary: "Accept-Encoding",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
  };
  const known = request.headers.get("if-none-match");
  if (status === 200 && known?.split(",").some((one) => one.trim().replace(/^W\//, "") === etag)) {
    return new Response(null, { status: 304, headers: all });
  }
  all["content-type"] = file.type;
  if (zipped) all["content-encoding"] = "gzip";
  return new Response(zipped && file.gzip ? file.gzip : file.body, { status, headers: all });
}

/** The chat page with the name of the bot that the host name is bound to written into it. */
function bound(file: PageFile, bot: string | null): PageFile {
  if (bot === null || !BOT_NAME.test(bot)) return file;
  const text = new TextDecoder().decode(file.body).replace('data-bot=""', `data-bot="${bot}"`);
  return { ...file, body: new TextEncoder().encode(text), gzip: null, etag: file.etag.replace(/"$/, `-${bot}"`) };
}

/** Makes the answers to requests for pages and assets; null where there is none. */
export function pageServer({ pages, botPage }: PageDeps) {
  const page = (request: Request, path: string): Response | null => {
    const file = pages.get(path);
    // Swagger UI writes markup without Trusted Types.
    return file && fileResponse(request, file, pageHeaders({ origins: [], trustedTypes: path !== "/docs" }));
  };
  return {
    /** `/setup`, `/docs`, `/auth/login`. */
    page,
    /** `/assets/…`. */
    asset: (request: Request, path: string): Response | null => {
      const file = path.startsWith("/assets/") ? pages.get(path) : null;
      return file && fileResponse(request, file, assetHeaders(file));
    },
    /** `/` (name null) and `/:bot`. */
    chat: async (request: Request, name: string | null): Promise<Response | null> => {
      const file = pages.get("/");
      if (!file || (name !== null && !BOT_NAME.test(name))) return null;
      const bot = await botPage(name, request.headers.get("host"));
      // There is always a page at `/`.
      const isListed = name === null || bot.listed;
      // Programs that ask for an address which is nothing get the API's 404; people get a page on which to sign in.
      const forPerson = (request.headers.get("accept") ?? "").includes("text/html");
      if (!isListed && !forPerson) return null;
      const headers = pageHeaders({ origins: bot.embedOrigins, trustedTypes: true });
      return fileResponse(request, bound(file, bot.boundBot), headers, isListed ? 200 : 404);
    },
  };
}

/** The root addresses of people: `/`, `/:bot`, `/setup`, `/docs`, the sign-in page, `/assets/*`. Use it after all areas. */
export function pageRoutes(deps: PageDeps) {
  const server = pageServer(deps);
  const found = (response: Response | null): Response => {
    if (!response) throw notFound("address");
    return response;
  };
  const shown = (summary: string, answers = "text/html") =>
    mark({ access: "public", summary, tag: "Pages", uncounted: true, whileRestricted: true, answers });
  return new Elysia({ name: "pages" })
    .use(kernel)
    .get("/", async ({ request }) => found(await server.chat(request, null)), {
      response: { 200: t.Unknown() },
      detail: shown("The chat page of the default bot"),
    })
    .get("/setup", ({ request }) => found(server.page(request, "/setup")), {
      response: { 200: t.Unknown() },
      detail: shown("The page that makes the first administrator"),
    })
    .get("/docs", ({ request }) => found(server.page(request, "/docs")), {
      response: { 200: t.Unknown() },
      detail: shown("The interactive API page"),
    })
    .get("/api/v1/auth/login", ({ request }) => found(server.page(request, "/auth/login")), {
      response: { 200: t.Unknown() },
      detail: shown("The sign-in page"),
    })
    .get("/assets/*", ({ request, path }) => found(server.asset(request, path)), {
      response: { 200: t.Unknown() },
      detail: shown("Scripts, styles and pictures of the pages", "application/octet-stream"),
    })
    .get("/:bot", async ({ request, params }) => found(await server.chat(request, params.bot)), {
      response: { 200: t.Unknown() },
      detail: shown("The chat page of a bot"),
    });
}
