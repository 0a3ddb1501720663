// What every request passes before it reaches its route, in the contract's order: limit, match, sign-in, permission,
// size and type of the body. Runs in Elysia's onRequest, because its later hooks come after parsing and validation.

import type { Authenticator } from "../core/authentication.ts";
import { holds, type Caller, type Context } from "../core/context.ts";
import {
  AppError,
  badRequest,
  forbidden,
  notFound,
  payloadTooLarge,
  unauthorized,
  unsupportedMediaType,
} from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { clientAddress, countedAddress, isOtherVersion, pathBounds, SUPPORTED_VERSIONS } from "./address.ts";
import type { Limits } from "./limits.ts";
import type { Mark } from "./mark.ts";
import type { RouteEntry, RouteTable } from "./table.ts";

/** Settings that may change while the server runs. */
export interface GateSettings {
  trustProxy: number;
  maxBodyBytes: number;
  maxUploadBytes: number;
  corsOrigins: readonly string[];
}

export interface GateDeps {
  authenticator: Authenticator;
  limits: Limits;
  settings: () => GateSettings;
  /** Known after the routes are there. */
  table: () => RouteTable;
  /** Remote address of a request; null when it is not known. */
  remoteAddress: (request: Request) => string | null;
  /** Leaves the audit entry of a refused permission. */
  refused: (ctx: Context, required: string) => Promise<void>;
  log: Log;
}

type Headers = Record<string, string | number>;

const SANE_REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/;
const CORS_METHODS = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS";
const CORS_HEADERS =
  "Authorization, Content-Type, X-API-Key, X-Request-Id, Idempotency-Key, If-Match, If-None-Match, Range, Last-Event-ID";
const CORS_EXPOSED =
  "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, ETag, Content-Disposition, X-Degraded, Idempotency-Replayed";

/** The credential of a request, wherever the contract lets it stand; null if there is none. */
export function credentialOf(request: Request, isSocket: boolean): string | null {
  const { headers } = request;
  if (isSocket) {
    const token = new URL(request.url).searchParams.get("token");
    if (token) return token;
    const offered = headers.get("sec-websocket-protocol");
    const bearer = offered?.split(",").find((protocol) => protocol.trim().startsWith("bearer."));
    if (bearer) return bearer.trim().slice(7);
  }
  const authorization = headers.get("authorization");
  if (authorization !== null) {
    // RFC 9110 11.1: the scheme's case does not matter. Another scheme is a credential that is wrong.
    return authorization.length > 7 && authorization.slice(0, 7).toLowerCase() === "bearer "
      ? authorization.slice(7).trim()
      : "";
  }
  return headers.get("x-api-key");
}

const MEDIA: Record<NonNullable<Mark["body"]>, readonly string[]> = {
  json: ["application/json"],
  form: ["application/x-www-form-urlencoded"],
  "json-or-form": ["application/json", "application/x-www-form-urlencoded"],
  multipart: ["multipart/form-data"],
  "json-or-multipart": ["application/json", "multipart/form-data"],
  raw: [],
};

/** Throws 413 and 415 from the headers alone. */
function checkBody(entry: RouteEntry, request: Request, settings: GateSettings): void {
  if (request.method === "GET" || request.method === "HEAD") return;
  const { mark } = entry;
  const length = request.headers.get("content-length");
  const kind = mark.body ?? "json";
  const fallback = kind === "raw" || kind === "multipart" ? settings.maxUploadBytes : settings.maxBodyBytes;
  const max = mark.maxBody === "upload" ? settings.maxUploadBytes : (mark.maxBody ?? fallback);
  if (length !== null && Number(length) > max) throw payloadTooLarge(max);
  if (!entry.takesBody || kind === "raw") return;
  const hasBody = (length !== null && length !== "0") || request.headers.has("transfer-encoding");
  if (!hasBody) return;
  const supported = MEDIA[kind];
  const type = (request.headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  const isJson = type.startsWith("application/") && type.endsWith("+json");
  if (!supported.includes(type) && !(isJson && supported.includes("application/json"))) {
    throw unsupportedMediaType(supported);
  }
}

/** True if the caller passes the mark; own things are judged by the service. */
function admits(mark: Mark, caller: Caller): boolean {
  if (mark.access === "public") return true;
  if (caller.kind === "chat") return mark.chat === true;
  if (mark.access === "signed-in" || mark.access === "self") return caller.userId !== null;
  return holds(caller, mark.access);
}

function unknownAddress(path: string): AppError {
  if (!isOtherVersion(path)) return notFound("address");
  return new AppError("NOT_FOUND", "There is no such version of the API.", { supported_versions: SUPPORTED_VERSIONS });
}

/** Makes the gate. Its answer is the context of an admitted request, or a finished response (CORS preflight). */
export function openGate(deps: GateDeps) {
  const cors = (request: Request, headers: Headers): boolean => {
    const { corsOrigins } = deps.settings();
    if (corsOrigins.length === 0) return false;
    const any = corsOrigins.includes("*");
    // Also without an Origin: a cache must not hand this answer to a page of another origin.
    if (!any) headers["vary"] = "Origin";
    const origin = request.headers.get("origin");
    if (origin === null || (!any && !corsOrigins.includes(origin))) return false;
    headers["access-control-allow-origin"] = any ? "*" : origin;
    if (!any) headers["access-control-allow-credentials"] = "true";
    headers["access-control-expose-headers"] = CORS_EXPOSED;
    return true;
  };

  const match = (request: Request, path: string): RouteEntry => {
    const found = deps.table().find(request.method, path);
    if (found === null) throw unknownAddress(path);
    if ("mark" in found) return found;
    throw new AppError("METHOD_NOT_ALLOWED", `${request.method} is not possible here.`, {
      allow: [...found, ...(found.includes("GET") ? ["HEAD"] : []), "OPTIONS"].join(", "),
    });
  };

  const permit = (ctx: Context, entry: RouteEntry): Context | Promise<Context> => {
    const { mark } = entry;
    const { caller } = ctx;
    if (caller.restricted && !mark.whileRestricted && mark.access !== "public") {
      throw forbidden(null, "two_factor_required");
    }
    if (!admits(mark, caller)) {
      if (caller.kind === "anonymous") throw unauthorized();
      const required = caller.kind === "chat" ? "a signed-in account" : mark.access;
      return deps.refused(ctx, required).then(() => {
        throw forbidden(required);
      });
    }
    if (mark.sessionOnly && caller.kind === "api_key") throw forbidden(null, "session_required");
    return ctx;
  };

  /** Everything after the limit; synchronous while the caller is fresh in memory. */
  const enter = (
    request: Request,
    entry: RouteEntry,
    credential: string | null,
    ip: string,
    headers: Headers,
  ): Context | Promise<Context> => {
    const userAgent = request.headers.get("user-agent");
    const requestId = String(headers["x-request-id"]);
    const withCaller = (caller: Caller): Context | Promise<Context> => {
      // Answers to people are theirs alone, and those to writes may hold tokens.
      const isOpen = caller.kind === "anonymous" && (request.method === "GET" || request.method === "HEAD");
      if (!isOpen && headers["cache-control"] === undefined) headers["cache-control"] = "no-store";
      const ctx: Context = { caller, requestId, ip, userAgent, method: request.method, route: entry.path };
      const permitted = permit(ctx, entry);
      if (permitted instanceof Promise) return permitted;
      // No text that the database keeps can hold it.
      if (request.url.includes("%00")) throw badRequest("The address must not contain U+0000.", "invalid_address");
      checkBody(entry, request, deps.settings());
      return ctx;
    };
    if (credential === null) return withCaller(deps.authenticator.anonymous());
    const caller = deps.authenticator.authenticate(credential, { ip, userAgent });
    return caller instanceof Promise ? caller.then(withCaller) : withCaller(caller);
  };

  return {
    /** Judges one request. `headers` are the ones that its answer will carry. */
    admit: (request: Request, headers: Headers): Context | Response | Promise<Context | Response> => {
      const given = request.headers.get("x-request-id");
      headers["x-request-id"] = given !== null && SANE_REQUEST_ID.test(given) ? given : Bun.randomUUIDv7();
      const { url } = request;
      const { start, end } = pathBounds(url);
      const path = url.slice(start, end);
      const isCors = cors(request, headers);
      if (request.method === "OPTIONS") return preflight(path, headers, isCors);
      const found = deps.table().find(request.method, path);
      const entry = found !== null && "mark" in found ? found : null;
      const settings = deps.settings();
      const ip = clientAddress(
        deps.remoteAddress(request),
        settings.trustProxy > 0 ? request.headers.get("x-forwarded-for") : null,
        settings.trustProxy,
      );
      // What the header says alone would let any request past the limits.
      const isSocket = entry?.mark.socket === true && request.headers.get("upgrade")?.toLowerCase() === "websocket";
      const credential = credentialOf(request, isSocket || entry?.mark.queryToken === true);
      if (entry?.mark.uncounted || isSocket)
        return enter(request, entry ?? match(request, path), credential, ip, headers);
      const known = credential === null ? null : deps.authenticator.remembered(credential);
      const go = (): Context | Promise<Context> => {
        if (credential === null || known) return enter(request, entry ?? match(request, path), credential, ip, headers);
        return firstTime(request, path, entry, credential, ip, headers);
      };
      if (credential !== null && !known) return go();
      const counted = known
        ? deps.limits.count(known.isAdmin ? "admin" : "user", known.subject, headers)
        : deps.limits.count("anonymous", countedAddress(ip), headers);
      return counted instanceof Promise ? counted.then(go) : go();
    },
  };

  /**
   * A credential that is not remembered: an address that has used up its window is refused before anything is looked
   * up; a credential that proves wrong counts against the address, one that proves right against its owner.
   */
  async function firstTime(
    request: Request,
    path: string,
    entry: RouteEntry | null,
    credential: string,
    ip: string,
    headers: Headers,
  ): Promise<Context> {
    await deps.limits.check("anonymous", countedAddress(ip));
    try {
      return await enter(request, entry ?? match(request, path), credential, ip, headers);
    } finally {
      const known = deps.authenticator.remembered(credential); // never a chat token, which has no account
      await deps.limits.count(
        known ? (known.isAdmin ? "admin" : "user") : "anonymous",
        known?.subject ?? countedAddress(ip),
        headers,
      );
    }
  }

  function preflight(path: string, headers: Headers, isCors: boolean): Response {
    const found = deps.table().find("OPTIONS", path);
    if (found === null) throw unknownAddress(path);
    if (isCors) {
      headers["access-control-allow-methods"] = CORS_METHODS;
      headers["access-control-allow-headers"] = CORS_HEADERS;
      headers["access-control-max-age"] = "600";
    } else if (Array.isArray(found)) {
      headers["allow"] = [...found, "OPTIONS"].join(", ");
    }
    return new Response(null, { status: 204 });
  }
}
