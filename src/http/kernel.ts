// The root of the app: gate, body reading, the one error handler, the aliases, the default headers.

import { Elysia, ValidationError, type AnyElysia } from "elysia";
import { TransformDecodeCheckError, TransformDecodeError } from "@sinclair/typebox/value";
import type { Authenticator } from "../core/authentication.ts";
import type { Context } from "../core/context.ts";
import { AppError, badRequest, isAppError, notFound } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { absoluteUrl, canonicalUrl, pathBounds } from "./address.ts";
import { openGate, type GateSettings } from "./gate.ts";
import { readForm, readJson } from "./body.ts";
import { failureResponse } from "./failures.ts";
import type { Limits } from "./limits.ts";
import { routeTable, type RouteTable } from "./table.ts";
import { checkShape, decodingFailure, validationFailure } from "./validation.ts";

export interface KernelDeps {
  authenticator: Authenticator;
  limits: Limits;
  settings: () => GateSettings;
  log: Log;
  /** Leaves the audit entry of a refused permission. */
  refused: (ctx: Context, required: string) => Promise<void>;
  /** Gives up an idempotency key that the failed request had claimed. */
  requestFailed: (request: Request) => Promise<void>;
  /** Names of what works only in part at the moment; told in `X-Degraded`. */
  degraded: () => string | null;
  /** True from the moment in which the server takes no more connections. */
  isStopping: () => boolean;
}

const SECURITY_HEADERS = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};

/** Refuses a request before it has an address; RFC 9112, 3.2. */
function malformedHost(): Response {
  const response = failureResponse(badRequest("The Host header is malformed.", "invalid_host"));
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.headers.set(name, value);
  response.headers.set("x-request-id", Bun.randomUUIDv7());
  return response;
}

/** Where an answer of ours departs from its schema; paths only, for the log. */
function schemaFaults(error: ValidationError): string[] {
  return (error.all as unknown as { path?: string; message?: string }[]).map(
    ({ path, message }) => `${path ?? ""} ${message ?? ""}`,
  );
}

/**
 * The instance that all areas are `use`d by. `seal` is called once they are: it reads the routes into the gate's
 * table and throws when one has no mark.
 */
export function openKernel(deps: KernelDeps) {
  // Areas must not be able to change the type of this instance by being mentioned in a hook, so the hooks reach the
  // finished app through this reference only.
  const running: { app: AnyElysia | null; table: RouteTable | null } = { app: null, table: null };
  // The address of a rewritten request is not known to Bun any more; it is noted before the copy is made.
  const addresses = new WeakMap<Request, string>();
  const remoteAddress = (request: Request): string | null =>
    addresses.get(request) ?? running.app?.server?.requestIP(request)?.address ?? null;
  const gate = openGate({
    ...deps,
    remoteAddress,
    table: () => {
      if (!running.table) throw new Error("the app is not sealed yet");
      return running.table;
    },
  });

  const failure = async (
    error: unknown,
    code: string | number,
    request: Request,
    ctx: Context | null,
  ): Promise<AppError> => {
    await deps.requestFailed(request).catch((cause: unknown) => {
      deps.log.warn("an idempotency key was not released", { cause });
    });
    if (isAppError(error)) {
      if (error.cause !== undefined) deps.log.warn(error.message, { code: error.code, cause: error.cause });
      return error;
    }
    if (error instanceof ValidationError) {
      const refusal = validationFailure(error);
      if (refusal) return refusal;
      deps.log.error("an answer does not match its schema", { route: ctx?.route, faults: schemaFaults(error) });
    } else if (error instanceof TransformDecodeCheckError || error instanceof TransformDecodeError) {
      // What stands inside a list in a query is checked only when it is taken apart.
      return decodingFailure(error);
    } else if (code === "NOT_FOUND") {
      return notFound("address");
    } else if (code === "PARSE") {
      // Elysia wraps what a parser throws.
      if (error instanceof Error && isAppError(error.cause)) return error.cause;
      return new AppError("BAD_REQUEST", "The body could not be read.", { reason: "invalid_body" });
    } else {
      deps.log.error("a request failed", { route: ctx?.route, request_id: ctx?.requestId, cause: error });
    }
    return new AppError("SERVER_ERROR", "Something went wrong here.", ctx ? { request_id: ctx.requestId } : {});
  };

  const root = new Elysia({
    name: "root",
    // One way in: the gate needs every request, and the native router would only repeat what the app's own does.
    systemRouter: false,
    // A host name of one letter must not shift the path (elysia-notes h).
    handler: { standardHostname: false },
    serve: {
      reusePort: false,
      development: false,
      // Bodies are bounded by the gate, which can answer properly; Bun's own limit would send an empty 413.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      // Also cuts off who waits for a handler: longer than the longest wait for an answer, two minutes.
      idleTimeout: 150,
    },
    websocket: {
      // Larger frames are closed with 1009 (contract conversations.md).
      maxPayloadLength: 128 * 1024,
      // The areas close slow and silent sockets themselves, with their own codes, at 1 MiB and after 90 s; these
      // are the walls behind that, which can only cut the line (1006).
      backpressureLimit: 2 * 1024 * 1024,
      closeOnBackpressureLimit: true,
      idleTimeout: 120,
      sendPings: true,
      perMessageDeflate: true,
    },
  })
    .headers(SECURITY_HEADERS)
    .decorate("ctx", null as unknown as Context)
    .onRequest(async (c) => {
      const degraded = deps.degraded();
      if (degraded !== null) c.set.headers["x-degraded"] = degraded;
      const admitted = gate.admit(c.request, c.set.headers as Record<string, string | number>);
      const outcome = admitted instanceof Promise ? await admitted : admitted;
      if (outcome instanceof Response) return outcome;
      c.ctx = outcome;
      return undefined;
    })
    .onParse({ as: "global" }, async ({ request, contentType }) => {
      // Media types are read regardless of case (RFC 9110, 8.3.1); Elysia compares them as they stand.
      const type = contentType.trim().toLowerCase();
      const { maxBodyBytes } = deps.settings();
      const isJson = type === "application/json" || type.endsWith("+json");
      const { start, end } = pathBounds(request.url);
      const entry = running.table?.find(request.method, request.url.slice(start, end)) ?? null;
      // A route that reads the stream itself: beside this hook Elysia takes `parse: "none"` for the name of a parser
      // that it has not. Any value ends its search.
      if (entry !== null && "mark" in entry && (entry.mark.body === "multipart" || entry.mark.body === "raw"))
        return null;
      if (!isJson && type !== "application/x-www-form-urlencoded") return undefined;
      // Undefined would hand the consumed stream to the next parser.
      const given = (isJson ? await readJson(request, maxBodyBytes) : await readForm(request, maxBodyBytes)) ?? null;
      if (entry !== null && "mark" in entry && entry.body !== null) checkShape(entry.body, given);
      return given;
    })
    .onError({ as: "global" }, async ({ error, code, request, ctx }) =>
      failureResponse(await failure(error, code, request, ctx)),
    );

  /** The last answer on a connection says so, that nobody sends another request after it (RFC 9112, 9.6). */
  const marked = (response: Response): Response => {
    // An upgrade has no response.
    if (deps.isStopping()) (response as Response | undefined)?.headers.set("connection", "close");
    return response;
  };
  const closing = (answer: Response | Promise<Response>) =>
    answer instanceof Promise ? answer.then(marked) : marked(answer);

  type Handler = (request: Request) => Response | Promise<Response>;
  let last: { next: Handler; entry: Handler } | null = null;
  root.wrap((next) => {
    const handler = next as unknown as Handler;
    if (last?.next === handler) return last.entry;
    const entry: Handler = (request) => {
      const url = absoluteUrl(request);
      if (url === null) return malformedHost();
      const canonical = canonicalUrl(url);
      const isHead = request.method === "HEAD";
      if (canonical === request.url && !isHead) return closing(handler(request));
      // HEAD is GET whose body the HTTP server leaves out; Elysia's own HEAD reads streams to their end to measure them.
      const { headers, signal } = request;
      const copy = isHead
        ? new Request(canonical, { method: "GET", headers, signal })
        : new Request(canonical, request);
      const address = remoteAddress(request);
      if (address !== null) addresses.set(copy, address);
      return closing(handler(copy));
    };
    last = { next: handler, entry };
    return entry;
  });

  return {
    root,
    remoteAddress,
    /** Call when all areas are in. */
    seal: (app: AnyElysia): RouteTable => {
      running.app = app;
      running.table = routeTable(app);
      return running.table;
    },
  };
}
