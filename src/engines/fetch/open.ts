// The guarded client on Bun's fetch: looks a name up once, judges all of its addresses, connects to one of them with
// the original Host and TLS name, and follows redirects itself so that each is judged anew.

import { lookup } from "node:dns/promises";
import { networkInterfaces } from "node:os";
import { invalid, isAppError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { judgeAddresses, judgeUrl, normalHost, parseExceptions, type Target } from "../../lib/guard/index.ts";
import type { AddressOptions, FetchedResponse, Fetcher, FetchOptions, FetchReason } from "./index.ts";

export interface FetchSetup {
  /** Entries of ALLOW_PRIVATE_HOSTS: hosts, addresses and CIDRs. */
  allowPrivateHosts: readonly string[];
  log: Log;
  /** All addresses of a name; empty or an error when there are none. Default: the system's. */
  resolve?: (host: string) => Promise<string[]>;
  /** Addresses of this machine. Default: those of its interfaces. */
  ownAddresses?: () => string[];
}

/** A target that passed, with the addresses to connect to, in the order to try. */
interface Checked {
  target: Target;
  addresses: string[];
}

const REDIRECTS_MAX = 5;
const TIMEOUT_MS = 30_000;
const BYTES_MAX = 10 * 1024 * 1024;
const MESSAGES: Record<FetchReason, string> = {
  address_refused: "This address may not be contacted.",
  dns: "The host was not found.",
  connect: "No connection, or it broke.",
  tls: "The TLS connection failed or the certificate is not valid.",
  timeout: "No whole answer in time.",
  redirect: "Too many or faulty redirects.",
  too_large: "The answer is too long.",
};
/** The engine's own, and those that let a caller speak to a proxy or upgrade the connection. */
const HEADERS_DROPPED = [
  "connection",
  "content-length",
  "host",
  "keep-alive",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];
/** Not for another origin than the one they were given for. */
const HEADERS_SECRET = ["authorization", "cookie"];

/** Those of the caller that may travel; a name or value of faulty form throws a plain TypeError. */
function headersOf({ headers: given }: FetchOptions): Headers {
  const headers = new Headers(given);
  for (const name of HEADERS_DROPPED) headers.delete(name);
  if (!headers.has("user-agent")) headers.set("user-agent", "botserver");
  return headers;
}

function failure(reason: FetchReason, cause?: unknown) {
  const error = invalid([{ path: "url", message: MESSAGES[reason] }], reason);
  if (cause !== undefined) error.cause = cause;
  return error;
}

/** The driver's error in our words. Bun names TLS faults by OpenSSL's codes, of which there are many. */
function translated(error: unknown): unknown {
  if (isAppError(error)) return error;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return failure(/CERT|TLS|SSL|SIGNATURE|EPROTO|CRL|VERIFY/.test(code) ? "tls" : "connect", error);
}

/** True when nothing was sent yet, so that another address may be tried. */
function isUnreachable(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return [
    "ECONNREFUSED",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "EADDRNOTAVAIL",
    "EAFNOSUPPORT",
    "ConnectionRefused",
    "FailedToOpenSocket",
  ].includes(code);
}

async function systemResolve(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

function interfaceAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses = []) => addresses.map(({ address }) => address));
}

/** Bounds how long all of one request takes; `finish` when the last byte is there. */
function deadline(timeoutMs: number, signal: AbortSignal | undefined) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(failure("timeout")), timeoutMs);
  const abort = () => controller.abort(signal?.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort, { once: true });
  return {
    controller,
    finish: () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    },
  };
}

type Deadline = ReturnType<typeof deadline>;

/** What the work gives, or the reason of the abort as soon as there is one; look-ups cannot be aborted themselves. */
function inTime<T>(work: Promise<T>, { controller: { signal } }: Deadline): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** The body, cut by an error after `maxBytes`; ends the deadline with its last byte. */
function limited(
  body: ReadableStream<Uint8Array> | null,
  maxBytes: number,
  time: Deadline,
): ReadableStream<Uint8Array> {
  const reader = body?.getReader();
  let sizeBytes = 0;
  const fail = (error: unknown) => {
    time.finish();
    time.controller.abort(error);
    return error;
  };
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          const chunk = await reader?.read();
          if (chunk === undefined || chunk.done) {
            time.finish();
            controller.close();
            return;
          }
          sizeBytes += chunk.value.byteLength;
          if (sizeBytes > maxBytes) throw failure("too_large");
          controller.enqueue(chunk.value);
        } catch (error) {
          const { signal } = time.controller;
          controller.error(fail(signal.aborted ? signal.reason : translated(error)));
        }
      },
      cancel: (reason) => {
        fail(reason);
      },
    },
    { highWaterMark: 0 },
  );
}

/** The next request of a redirect, as browsers do it (Fetch standard, "HTTP-redirect fetch"). */
function redirected(request: FetchOptions & { url: string }, status: number, location: string) {
  if (!URL.canParse(location, request.url)) throw failure("redirect");
  const from = new URL(request.url);
  const to = new URL(location, from);
  const method = (request.method ?? "GET").toUpperCase();
  const becomesGet = status === 303 ? method !== "HEAD" : (status === 301 || status === 302) && method === "POST";
  const headers = Object.entries(request.headers ?? {}).filter(([name]) => {
    const lower = name.toLowerCase();
    if (from.origin !== to.origin && HEADERS_SECRET.includes(lower)) return false;
    return !(becomesGet && lower.startsWith("content-"));
  });
  const { body, ...rest } = request;
  return {
    ...rest,
    url: to.href,
    headers: Object.fromEntries(headers),
    method: becomesGet ? "GET" : method,
    ...(becomesGet || body === undefined ? {} : { body }),
  };
}

/** Opens the client; entries of `allowPrivateHosts` that are neither host nor network throw a plain Error. */
export function openFetch({
  allowPrivateHosts,
  log,
  resolve = systemResolve,
  ownAddresses = interfaceAddresses,
}: FetchSetup): Fetcher {
  const { exceptions, faults } = parseExceptions(allowPrivateHosts);
  if (faults.length > 0) throw new Error(`neither host nor network: ${faults.join(", ")}`);

  // Proxies of the environment would look the name up themselves, hence none.
  const session = new Bun.FetchSession({ proxy: false, keepAlive: { idleTimeout: 15 } });

  const refuse = (host: string, why: string) => {
    log.info("an outbound address is refused", { host, why });
    return failure("address_refused");
  };

  /** Addresses of a host after judgement; `null` when the name is not found. */
  const judged = async (host: string, isAddress: boolean) => {
    let addresses = [host];
    if (!isAddress) {
      try {
        addresses = await resolve(host);
      } catch (error) {
        log.debug("an outbound host was not found", { host, error });
        return null;
      }
    }
    if (addresses.length === 0) return null;
    const verdict = judgeAddresses(host, addresses, exceptions, ownAddresses());
    if ("refused" in verdict) throw refuse(host, verdict.refused);
    // IPv4 first: a machine without a route to IPv6 would wait there.
    const ordered = addresses.toSorted((a, b) => Number(a.includes(":")) - Number(b.includes(":")));
    return { addresses: ordered, isException: verdict.isException };
  };

  const pass = async (url: string, { httpsOnly = false, hosts }: AddressOptions): Promise<Checked | null> => {
    const target = judgeUrl(url, exceptions, hosts);
    if ("refused" in target) throw refuse(URL.canParse(url) ? new URL(url).hostname : "", target.refused);
    const found = await judged(target.host, target.isAddress);
    const isException = found?.isException ?? exceptions.hosts.has(target.host);
    if (httpsOnly && target.url.protocol === "http:" && !isException) throw refuse(target.host, "http");
    return found && { target, addresses: found.addresses };
  };

  /** One request to the first of the addresses that can be reached. */
  const send = async ({ target, addresses }: Checked, options: FetchOptions, time: Deadline): Promise<Response> => {
    const headers = headersOf(options);
    headers.set("host", target.url.host);
    for (const [at, address] of addresses.entries()) {
      const pinned = new URL(target.url);
      pinned.hostname = address.includes(":") ? `[${address}]` : address;
      try {
        return await session.fetch(pinned, {
          method: options.method ?? "GET",
          headers,
          ...(options.body === undefined ? {} : { body: options.body }),
          redirect: "manual",
          signal: time.controller.signal,
          tls: { rejectUnauthorized: true, ...(target.isAddress ? {} : { serverName: target.host }) },
        });
      } catch (error) {
        if (time.controller.signal.aborted || !isUnreachable(error) || at === addresses.length - 1) throw error;
      }
    }
    throw failure("dns");
  };

  const answer = (response: Response, url: string, maxBytes: number, time: Deadline): FetchedResponse => {
    const headers = new Headers(response.headers);
    const isEncoded = headers.has("content-encoding");
    if (!isEncoded && Number(headers.get("content-length")) > maxBytes) throw failure("too_large");
    // They tell of the bytes before decompression.
    if (isEncoded) for (const name of ["content-encoding", "content-length"]) headers.delete(name);
    const body = limited(response.body, maxBytes, time);
    return {
      status: response.status,
      headers,
      url,
      body,
      bytes: () => new Response(body).bytes(),
      text: () => new Response(body).text(),
    };
  };

  const run = async (first: FetchOptions & { url: string }, time: Deadline): Promise<FetchedResponse> => {
    const redirectsMax = Math.min(first.maxRedirects ?? REDIRECTS_MAX, REDIRECTS_MAX);
    let request = first;
    for (let redirects = 0; ; redirects += 1) {
      const checked = await inTime(pass(request.url, request), time);
      if (checked === null) throw failure("dns");
      const response = await send(checked, request, time);
      const location = response.headers.get("location");
      const isRedirect = [301, 302, 303, 307, 308].includes(response.status) && location !== null;
      if (!isRedirect || redirectsMax === 0) {
        return answer(response, checked.target.url.href, first.maxBytes ?? BYTES_MAX, time);
      }
      await response.body?.cancel();
      if (redirects === redirectsMax) throw failure("redirect");
      request = redirected({ ...request, url: checked.target.url.href }, response.status, location);
    }
  };

  return {
    fetch: async (url, options = {}) => {
      headersOf(options);
      const time = deadline(options.timeoutMs ?? TIMEOUT_MS, options.signal);
      try {
        return await run({ ...options, url }, time);
      } catch (error) {
        time.finish();
        const { signal } = time.controller;
        const reason: unknown = signal.aborted ? signal.reason : translated(error);
        if (!signal.aborted) time.controller.abort(reason);
        throw reason;
      }
    },
    check: async (url, options = {}) => {
      await pass(url, options);
    },
    addressesOf: async (text) => {
      const host = normalHost(text);
      if (host === null) throw refuse(text, "host");
      const target = judgeUrl(`https://${host.includes(":") ? `[${host}]` : host}/`, exceptions);
      if ("refused" in target) throw refuse(host, target.refused);
      const found = await judged(host, target.isAddress);
      if (found === null) throw failure("dns");
      return found.addresses;
    },
    close: () => session.close(),
  };
}
