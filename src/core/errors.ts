// The one error class that travels from services to callers, and its constructors.
// HTTP status and envelope are made of it in http/failures.ts; sockets and jobs use the code as it is.

/** Codes of the API contract; the HTTP status of each stands in http/failures.ts. */
export type ErrorCode =
  | "BAD_REQUEST"
  | "UNAUTHORIZED"
  | "FORBIDDEN"
  | "NOT_FOUND"
  | "METHOD_NOT_ALLOWED"
  | "CONFLICT"
  | "PRECONDITION_FAILED"
  | "PAYLOAD_TOO_LARGE"
  | "UNSUPPORTED_MEDIA_TYPE"
  | "RANGE_NOT_SATISFIABLE"
  | "VALIDATION_ERROR"
  | "LOCKED"
  | "RATE_LIMITED"
  | "SERVER_ERROR"
  | "SERVICE_UNAVAILABLE"
  | "INSUFFICIENT_STORAGE";

export type ErrorDetails = Record<string, unknown>;

/** One faulty field of an input. `path` is dotted, as the caller wrote it. */
export interface FieldFault {
  path: string;
  message: string;
  expected?: string;
}

/** A refusal that may be told to the caller. `cause` goes to the log only. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = "AppError";
    this.code = code;
    this.details = details;
  }
}

/** True for our own refusals, also across module copies and minified class names. */
export function isAppError(error: unknown): error is AppError {
  return error instanceof AppError;
}

/** The request is not understandable or contradicts itself (400). */
export function badRequest(message: string, reason?: string): AppError {
  return new AppError("BAD_REQUEST", message, reason ? { reason } : {});
}

/** No, wrong, expired or revoked credentials (401). */
export function unauthorized(message = "Sign in to do this.", reason?: string): AppError {
  return new AppError("UNAUTHORIZED", message, reason ? { reason } : {});
}

/** A known caller without the permission `required`, or refused for `reason` (403). */
export function forbidden(required: string | null, reason?: string, details: ErrorDetails = {}): AppError {
  const message = required ? `This needs the permission ${required}.` : "You may not do this.";
  return new AppError("FORBIDDEN", message, {
    ...(required ? { required } : {}),
    ...(reason ? { reason } : {}),
    ...details,
  });
}

/** No such thing, or one the caller may not know of (404). */
export function notFound(what: string, reason?: string): AppError {
  return new AppError("NOT_FOUND", `There is no such ${what}.`, reason ? { reason } : {});
}

/** A duplicate, or a state that does not allow it (409). `reason` is the area's snake_case word. */
export function conflict(reason: string, message?: string, details: ErrorDetails = {}): AppError {
  return new AppError("CONFLICT", message ?? `Refused: ${reason.replaceAll("_", " ")}.`, { reason, ...details });
}

/** `If-Match` names another version (412). */
export function preconditionFailed(): AppError {
  return new AppError("PRECONDITION_FAILED", "It has been changed by somebody else meanwhile.");
}

/** A body, frame or text longer than `maxBytes` (413). */
export function payloadTooLarge(maxBytes: number): AppError {
  return new AppError("PAYLOAD_TOO_LARGE", `At most ${maxBytes} bytes are taken.`, { max_bytes: maxBytes });
}

/** A content type that the route does not take (415). */
export function unsupportedMediaType(supported: readonly string[]): AppError {
  return new AppError("UNSUPPORTED_MEDIA_TYPE", `Send ${supported.join(" or ")}.`, { supported });
}

/** A byte range outside the thing (416). */
export function rangeNotSatisfiable(sizeBytes: number): AppError {
  return new AppError("RANGE_NOT_SATISFIABLE", "No byte of that range exists.", { size: sizeBytes });
}

/** Well-formed but invalid input; name every fault at once (422). */
export function invalid(fields: FieldFault[], reason?: string): AppError {
  const message =
    fields.length === 1 && fields[0] ? `${fields[0].path}: ${fields[0].message}` : "Some fields are invalid.";
  return new AppError("VALIDATION_ERROR", message, { fields, ...(reason ? { reason } : {}) });
}

/** The account is locked until then (423). */
export function locked(until: Date): AppError {
  return new AppError("LOCKED", "Too many failures; this account is locked for now.", {
    locked_until: until.toISOString(),
  });
}

/** Over a limit (429). `retryAfterSeconds` becomes the Retry-After header. */
export function rateLimited(retryAfterSeconds: number, reason?: string): AppError {
  return new AppError("RATE_LIMITED", `Too many requests; try again in ${retryAfterSeconds} s.`, {
    retry_after: retryAfterSeconds,
    ...(reason ? { reason } : {}),
  });
}

/** A backing service is down or not configured (503). `service` is its public name. */
export function unavailable(service: string, cause?: unknown): AppError {
  return new AppError("SERVICE_UNAVAILABLE", `The service ${service} is not available.`, { service }, { cause });
}

/** A quota is used up (507). */
export function insufficientStorage(quotaBytes: number, usedBytes: number): AppError {
  return new AppError("INSUFFICIENT_STORAGE", "The storage quota is used up.", {
    quota_bytes: quotaBytes,
    used_bytes: usedBytes,
  });
}
