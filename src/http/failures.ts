// Refusals as answers: the one table from code to status, the failure envelope, and its types for every route.

import { Elysia, t } from "elysia";
import type { Context } from "../core/context.ts";
import { AppError, type ErrorCode } from "../core/errors.ts";

/** HTTP status of each code (contract README). */
export const STATUS: Record<ErrorCode, number> = {
  BAD_REQUEST: 400,
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  CONFLICT: 409,
  PRECONDITION_FAILED: 412,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  RANGE_NOT_SATISFIABLE: 416,
  VALIDATION_ERROR: 422,
  LOCKED: 423,
  RATE_LIMITED: 429,
  SERVER_ERROR: 500,
  SERVICE_UNAVAILABLE: 503,
  INSUFFICIENT_STORAGE: 507,
};

/** Schema of the failure envelope. */
export const Failure = t.Object(
  {
    success: t.Literal(false),
    error: t.Object({
      code: t.String({ description: "one of the contract's error codes" }),
      message: t.String({ description: "a sentence for people" }),
      details: t.Record(t.String(), t.Unknown(), { description: "reason, fields, limits: what a program can act on" }),
    }),
  },
  { title: "Failure" },
);

/** A refusal as a finished response; headers that the kernel has set already are merged in by Elysia. */
export function failureResponse(error: AppError): Response {
  const headers: Record<string, string> = { "content-type": "application/json; charset=utf-8" };
  if (error.code === "UNAUTHORIZED") headers["www-authenticate"] = "Bearer";
  const { retry_after: retryAfter, allow, size } = error.details;
  if (typeof retryAfter === "number") headers["retry-after"] = String(retryAfter);
  if (error.code === "METHOD_NOT_ALLOWED" && typeof allow === "string") headers["allow"] = allow;
  if (error.code === "RANGE_NOT_SATISFIABLE" && typeof size === "number") headers["content-range"] = `bytes */${size}`;
  const body = { success: false, error: { code: error.code, message: error.message, details: error.details } };
  return new Response(JSON.stringify(body), { status: STATUS[error.code], headers });
}

// Failure envelopes exist as types and in the OpenAPI document, not as runtime validators: compiled for every route
// they would cost about 100 MB at a thousand routes (measured).
const declared = new Elysia({ name: "kernel" }).decorate("ctx", null as unknown as Context).guard({
  as: "scoped",
  response: {
    400: Failure,
    401: Failure,
    403: Failure,
    404: Failure,
    409: Failure,
    412: Failure,
    413: Failure,
    415: Failure,
    422: Failure,
    429: Failure,
    500: Failure,
    503: Failure,
  },
});

/**
 * Every area's plugin begins with `.use(kernel)`: it gives handlers `ctx` and routes their failures, as types.
 * What runs is the gate in app.ts, so this instance is empty.
 */
export const kernel = new Elysia({ name: "kernel" }) as unknown as typeof declared;
