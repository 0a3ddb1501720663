// Addresses of requests: the canonical path of an alias, and the client's IP address behind trusted proxies.

import { canonicalAddress, parseAddress } from "../lib/guard/address.ts";

/** Area names whose repetition in a path means nothing (`/api/v1/tasks/tasks/…`). */
const AREAS = new Set(
  (
    "admin ai analytics attendance auth automation backup bots calendar calls channels chat compliance " +
    "conversations dialogs directory documents drive email files groups invitations kb meet memory ml monitoring " +
    "notifications organizations reports security session sessions storage suggestions tasks user users webhooks " +
    "whiteboards"
  ).split(" "),
);

export const SUPPORTED_VERSIONS = ["v1"] as const;

/** True for the path of another version of the API (`/api/v2/…`). */
export function isOtherVersion(path: string): boolean {
  return /^\/api\/v\d+(\/|$)/.test(path) && !/^\/api\/v1(\/|$)/.test(path);
}

/**
 * The path under which the route table knows an address: `/api/<area>` gets its version, a doubled area name is
 * dropped, `/auth/…` at the root is the API's.
 */
export function canonicalPath(path: string): string {
  if (path.startsWith("/api/v1/")) {
    const end = path.indexOf("/", 8);
    if (end < 0) return path;
    const area = path.slice(8, end);
    if (!path.startsWith(area, end + 1)) return path;
    const after = path[end + 1 + area.length];
    if ((after === undefined || after === "/") && AREAS.has(area)) return `/api/v1${path.slice(end)}`;
    return path;
  }
  if (path.startsWith("/api/")) {
    if (/^\/api\/v\d+(\/|$)/.test(path)) return path;
    return canonicalPath(`/api/v1${path.slice(4)}`);
  }
  if (path.startsWith("/auth/") || path === "/auth") return `/api/v1${path}`;
  return path;
}

/** A host as RFC 3986 (3.2.2) writes it, without escapes, and a port. */
const HOST = /^(?:[\w.~!$&'()*+;=-]+|\[[\da-f:.]+\])(?::\d*)?$/i;

/**
 * The address of a request, always absolute. Null where its `Host` is malformed or given twice: Bun hands out a path
 * alone then, and whoever counts characters to find the path in it finds another one than the next.
 */
export function absoluteUrl(request: Request): string | null {
  const { url } = request;
  const host = request.headers.get("host");
  // HTTP/1.0 needs none.
  if (host === null) return url.startsWith("/") ? `http://host.invalid${url}` : url;
  return HOST.test(host) && !url.startsWith("/") ? url : null;
}

/** An absolute address in the form that the routes know. */
export function canonicalUrl(url: string): string {
  const { start, end } = pathBounds(url);
  const path = url.slice(start, end);
  const canonical = canonicalPath(path);
  return canonical === path ? url : url.slice(0, start) + canonical + url.slice(end);
}

/** Start and end of the path inside an absolute URL. */
export function pathBounds(url: string): { start: number; end: number } {
  const start = url.indexOf("/", 8);
  if (start < 0) return { start: url.length, end: url.length };
  const query = url.indexOf("?", start);
  return { start, end: query < 0 ? url.length : query };
}

/**
 * The client's address: the socket's, or the entry of X-Forwarded-For that the last trusted proxy wrote. In its one
 * spelling (RFC 5952), so that no other spelling has counters of its own. "unknown" where nothing tells it.
 */
export function clientAddress(socket: string | null, forwardedFor: string | null, trustedProxies: number): string {
  if (trustedProxies > 0 && forwardedFor) {
    const hops = forwardedFor.split(",");
    const hop = hops[Math.max(0, hops.length - trustedProxies)] ?? "";
    // Some proxies write the port too: 192.0.2.1:4711, [2001:db8::1]:4711.
    const bare = hop.trim().replace(/^\[([^\]]*)\](:\d+)?$|^([^:]*):\d+$/, "$1$3");
    const address = canonicalAddress(bare);
    if (address !== null) return address;
  }
  if (socket === null) return "unknown";
  return socket.includes(":") ? (canonicalAddress(socket) ?? socket) : socket;
}

/** Who is counted for an address: one IPv4 address, but a whole /64 of IPv6, which is what one subscriber has. */
export function countedAddress(ip: string): string {
  if (!ip.includes(":")) return ip;
  const bytes = parseAddress(ip);
  return bytes === null ? ip : `${Buffer.from(bytes.subarray(0, 8)).toString("hex")}/64`;
}
