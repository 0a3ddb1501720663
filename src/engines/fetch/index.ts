// Requests to addresses that came as input (webhooks, feeds, scripts): judged by the outbound guard, connected to
// an address that was checked. Addresses that the environment names do not pass here.

import { isAppError } from "../../core/errors.ts";
import type { HostLimits } from "../../lib/guard/index.ts";

/**
 * What a failed request is thrown as: `invalid` on the field `url` with one of these as `details.reason`.
 * `address_refused` tells nothing of what answers there.
 */
export type FetchReason = "address_refused" | "dns" | "connect" | "tls" | "timeout" | "redirect" | "too_large";

export interface AddressOptions {
  /** `http` is refused but for hosts that ALLOW_PRIVATE_HOSTS lets through (webhooks). */
  httpsOnly?: boolean;
  /** A bot's own limits; they narrow and never widen. */
  hosts?: HostLimits;
}

export interface FetchOptions extends AddressOptions {
  /** Default GET. */
  method?: string;
  /** `Host`, `Content-Length` and connection headers are the engine's. */
  headers?: Record<string, string>;
  body?: string | Uint8Array<ArrayBuffer> | Blob;
  /** The longest answer, after decompression; default 10 MiB. Longer: `too_large`, also in the middle of the body. */
  maxBytes?: number;
  /** From the first look-up to the last byte; default 30 s. */
  timeoutMs?: number;
  /** 0–5, default 5. With 0 a redirect is an answer like any other; more than allowed: `redirect`. */
  maxRedirects?: number;
  signal?: AbortSignal;
}

export interface FetchedResponse {
  status: number;
  headers: Headers;
  /** Where it came from after redirects. */
  url: string;
  /** Decompressed. Read it or cancel it, else the connection stays until the time-out. */
  body: ReadableStream<Uint8Array>;
  bytes(): Promise<Uint8Array>;
  text(): Promise<string>;
}

export interface Fetcher {
  /** Sends the request. Any status is an answer; failures see `FetchReason`, an abort throws the signal's reason. */
  readonly fetch: (url: string, options?: FetchOptions) => Promise<FetchedResponse>;
  /**
   * For addresses that are stored: throws `address_refused` for what `fetch` would refuse now. A name that is not
   * found passes, for it is judged again at each connection.
   */
  readonly check: (url: string, options?: AddressOptions) => Promise<void>;
  /**
   * Checked addresses of a host for other protocols (IMAP, SMTP): connect to one of them, with the host as TLS name.
   * Throws `address_refused` or `dns`.
   */
  readonly addressesOf: (host: string) => Promise<string[]>;
  /** Closes idle connections; requests under way go on. */
  readonly close: () => void;
}

const REASONS: ReadonlySet<string> = new Set<FetchReason>([
  "address_refused",
  "dns",
  "connect",
  "tls",
  "timeout",
  "redirect",
  "too_large",
]);

/** Why a guarded request failed; null for errors that are not the request's. */
export function fetchReason(error: unknown): FetchReason | null {
  const reason = isAppError(error) ? error.details["reason"] : null;
  return typeof reason === "string" && REASONS.has(reason) ? (reason as FetchReason) : null;
}
