// Bytes as an answer: whole or in one range (RFC 9110, 14), with a name and a state that caches can ask about.

import { rangeNotSatisfiable } from "../core/errors.ts";

export interface Content {
  name: string;
  mime: string;
  sizeBytes: number;
  /** Quoted, as it stands in the header. */
  etag: string;
  read: (range?: { start: number; end: number }) => Promise<ReadableStream<Uint8Array>>;
}

const RANGE = /^bytes=(\d*)-(\d*)$/;

/**
 * The one range that a `Range` header asks for; null for none, for several and for what is no range of bytes, which
 * are answered with the whole. Throws 416 if no byte of it exists.
 */
export function rangeOf(header: string | null, sizeBytes: number): { start: number; end: number } | null {
  const found = RANGE.exec(header?.replaceAll(" ", "") ?? "");
  const [, first = "", last = ""] = found ?? [];
  if (!found || (first === "" && last === "")) return null;
  if (first !== "" && last !== "" && Number(first) > Number(last)) return null;
  const start = first === "" ? Math.max(0, sizeBytes - Number(last)) : Number(first);
  const end = first === "" || last === "" ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1);
  if (start >= sizeBytes || (first === "" && Number(last) === 0)) throw rangeNotSatisfiable(sizeBytes);
  return { start, end };
}

/** `attachment` with the name as RFC 6266 and RFC 8187 write it. */
export function attachmentNamed(name: string): string {
  const ascii = name.replaceAll(/[^\x20-\x7e]|["\\%]/g, "_");
  const encoded = encodeURIComponent(name).replaceAll(/['()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}

/**
 * The answer to a GET of `content`. Always a download in a sandbox: bytes that somebody uploaded must not run as a
 * page of ours.
 */
export async function contentResponse(request: Request, content: Content): Promise<Response> {
  const headers = new Headers({
    "content-type": content.mime,
    "content-disposition": attachmentNamed(content.name),
    "content-security-policy": "sandbox; default-src 'none'",
    "cache-control": "private, no-cache",
    "accept-ranges": "bytes",
    etag: content.etag,
  });
  if (request.headers.get("if-none-match") === content.etag) return new Response(null, { status: 304, headers });
  const ifRange = request.headers.get("if-range");
  const wanted = ifRange === null || ifRange === content.etag ? request.headers.get("range") : null;
  const range = rangeOf(wanted, content.sizeBytes);
  const length = range ? range.end - range.start + 1 : content.sizeBytes;
  headers.set("content-length", String(length));
  if (range) headers.set("content-range", `bytes ${range.start}-${range.end}/${content.sizeBytes}`);
  const body = request.method === "HEAD" || length === 0 ? null : await content.read(range ?? undefined);
  return new Response(body, { status: range ? 206 : 200, headers });
}
