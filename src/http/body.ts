// Reading JSON bodies: bounded also when the length is not announced, refused when they are not JSON.

import { badRequest, payloadTooLarge } from "../core/errors.ts";

const decoder = new TextDecoder("utf-8", { fatal: true });

/** All bytes of a stream; throws `payloadTooLarge` as soon as they are more than `maxBytes`. */
export async function readBounded(body: ReadableStream<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body) {
    size += part.byteLength;
    if (size > maxBytes) throw payloadTooLarge(maxBytes);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** The JSON value of a request's body; undefined for an empty one. Throws 400 and 413. */
export async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  if (request.body === null) return undefined;
  const bytes = request.headers.has("content-length")
    ? new Uint8Array(await request.arrayBuffer()) // the gate has judged the announced length
    : await readBounded(request.body, maxBytes);
  if (bytes.byteLength === 0) return undefined;
  try {
    return JSON.parse(decoder.decode(bytes));
  } catch {
    throw badRequest("The body is not JSON.", "invalid_json");
  }
}
