// Calls of the REST API: envelope in, data out, refusals as one error class. Who calls is said by the token handed in.
import { asNumber, asObject, asObjects, asText } from "./wire.ts";
import type { Json } from "./wire.ts";

const BASE = "/api/v1";

/** A refusal by the server, or none at all (`status` 0) when it could not be reached. */
export class ApiFault extends Error {
  readonly status: number;
  readonly code: string;
  readonly details: Json;
  constructor(status: number, code: string, message: string, details: Json) {
    super(message);
    this.name = "ApiFault";
    this.status = status;
    this.code = code;
    this.details = details;
  }
  /** The area's own word for the refusal. */
  get reason(): string | null {
    return asText(this.details["reason"]);
  }
  /** Seconds to wait, where the server said so. */
  get retryAfterSeconds(): number | null {
    return asNumber(this.details["retry_after"]);
  }
  /** Faulty fields by name. */
  get fields(): Map<string, string> {
    return new Map(asObjects(this.details["fields"]).map((f) => [asText(f["path"]) ?? "", asText(f["message"]) ?? ""]));
  }
}

export interface Call {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  token?: string | null;
  query?: Record<string, string | number | boolean | null | undefined>;
  json?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** The address of an API path with its query. */
export function apiUrl(path: string, query: Call["query"] = {}): string {
  const url = new URL(BASE + path, location.origin);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, String(value));
  }
  return url.pathname + url.search;
}

/** Makes the fault that an answer's status and body tell. */
export function faultOf(status: number, body: unknown, retryAfter: string | null): ApiFault {
  const error = asObject(asObject(body)["error"]);
  const details = { ...asObject(error["details"]) };
  if (details["retry_after"] === undefined && retryAfter !== null) details["retry_after"] = Number(retryAfter);
  return new ApiFault(
    status,
    asText(error["code"]) ?? "SERVER_ERROR",
    asText(error["message"]) ?? `HTTP ${status}`,
    details,
  );
}

/** The raw answer of a call; an ApiFault when it is not 2xx or never came. */
export async function fetchRaw(path: string, call: Call = {}): Promise<Response> {
  const headers = new Headers(call.headers);
  if (call.token) headers.set("authorization", `Bearer ${call.token}`);
  if (call.json !== undefined) headers.set("content-type", "application/json");
  const init: RequestInit = {
    method: call.method ?? "GET",
    headers,
    credentials: "same-origin",
    cache: "no-store",
    ...(call.json === undefined ? {} : { body: JSON.stringify(call.json) }),
    ...(call.signal ? { signal: call.signal } : {}),
  };
  let response: Response;
  try {
    response = await fetch(apiUrl(path, call.query), init);
  } catch (cause) {
    if (call.signal?.aborted) throw cause;
    throw new ApiFault(0, "UNREACHABLE", "The server cannot be reached.", {});
  }
  if (response.ok) return response;
  const text = await response.text();
  let body: unknown = null;
  try {
    body = JSON.parse(text);
  } catch {
    // Not ours (a proxy's page): the status says enough.
    body = null;
  }
  throw faultOf(response.status, body, response.headers.get("retry-after"));
}

/** What stands in `data`, as an object; an empty one for 204. */
export async function call(path: string, options: Call = {}): Promise<Json> {
  const response = await fetchRaw(path, options);
  if (response.status === 204) return {};
  return asObject(asObject(await response.json())["data"]);
}

export interface Upload {
  done: Promise<Json>;
  abort: () => void;
}

/** Sends a form with files; `progress` hears the share sent, 0–1. XMLHttpRequest, because fetch tells no upload progress. */
export function upload(path: string, form: FormData, token: string | null, progress: (share: number) => void): Upload {
  const request = new XMLHttpRequest();
  const done = new Promise<Json>((resolve, reject) => {
    request.open("POST", apiUrl(path));
    if (token) request.setRequestHeader("authorization", `Bearer ${token}`);
    request.responseType = "text";
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable && event.total > 0) progress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      let body: unknown = null;
      try {
        body = JSON.parse(request.responseText);
      } catch {
        body = null;
      }
      if (request.status >= 200 && request.status < 300) resolve(asObject(asObject(body)["data"]));
      else reject(faultOf(request.status, body, request.getResponseHeader("retry-after")));
    });
    request.addEventListener("error", () =>
      reject(new ApiFault(0, "UNREACHABLE", "The server cannot be reached.", {})),
    );
    request.addEventListener("abort", () => reject(new ApiFault(0, "ABORTED", "Cancelled.", {})));
    request.send(form);
  });
  return { done, abort: () => request.abort() };
}
