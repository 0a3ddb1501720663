// Reading JSON and form bodies: bounded also when the length is not announced, refused when they are not what they
// say.

import { badRequest, invalid, payloadTooLarge } from "../core/errors.ts";
import { JSON_DEPTH_MAX, parseJson, storable, type JsonFault } from "../lib/json/parse.ts";

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

async function readBytes(request: Request, maxBytes: number): Promise<Uint8Array> {
  if (request.body === null) return new Uint8Array();
  // An announced length has been judged by the gate, and the HTTP server holds the client to it.
  return request.headers.has("content-length")
    ? new Uint8Array(await request.arrayBuffer())
    : readBounded(request.body, maxBytes);
}

/** The JSON value of a request's body; undefined for an empty one. Throws 400, 413 and 422. */
export async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  const bytes = await readBytes(request, maxBytes);
  if (bytes.byteLength === 0) return undefined;
  const parsed = parseJson(bytes);
  if ("value" in parsed) return parsed.value;
  if ("faults" in parsed) throw unstorable(parsed.faults);
  throw parsed.reason === "nested_too_deep"
    ? badRequest(`The body is nested more than ${JSON_DEPTH_MAX} levels deep.`, parsed.reason)
    : badRequest("The body is not JSON.", parsed.reason);
}

function unstorable(faults: JsonFault[]) {
  return invalid(faults.map(({ path, message }) => ({ path: path || "body", message })));
}

/** The fields of a form (`application/x-www-form-urlencoded`); repeated ones are lists. Throws 400, 413 and 422. */
export async function readForm(request: Request, maxBytes: number): Promise<Record<string, string | string[]>> {
  const bytes = await readBytes(request, maxBytes);
  const fields = new Map<string, string | string[]>();
  try {
    for (const [name, value] of new URLSearchParams(decoder.decode(bytes))) {
      const known = fields.get(name);
      fields.set(name, known === undefined ? value : [known, value].flat());
    }
  } catch {
    throw badRequest("The form cannot be read.", "invalid_form");
  }
  const result = storable(Object.fromEntries(fields));
  if ("faults" in result) throw unstorable(result.faults);
  return result.value as Record<string, string | string[]>;
}
