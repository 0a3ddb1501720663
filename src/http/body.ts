// Reading JSON and form bodies: bounded also when the length is not announced, refused when they are not what they
// say, and without what neither the database nor our own code can hold.

import { badRequest, invalid, payloadTooLarge, type FieldFault } from "../core/errors.ts";

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Levels of lists and objects; deeper ones serve only to exhaust the stack of whoever walks them. */
const DEPTH_MAX = 100;

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
  const { depth, isEscaped } = look(bytes);
  if (depth > DEPTH_MAX) throw badRequest(`The body is nested more than ${DEPTH_MAX} levels deep.`, "nested_too_deep");
  let text: string;
  let value: unknown;
  try {
    text = decoder.decode(bytes);
    value = JSON.parse(text);
  } catch {
    throw badRequest("The body is not JSON.", "invalid_json");
  }
  return isEscaped || SUSPECT.test(text) ? checked(value) : value;
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
  return checked(Object.fromEntries(fields)) as Record<string, string | string[]>;
}

const [QUOTE, BACKSLASH, LOWER_U] = [0x22, 0x5c, 0x75];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/** Depth of JSON and whether its texts hold `\u`, without parsing it. */
function look(bytes: Uint8Array): { depth: number; isEscaped: boolean } {
  let depth = 0;
  let level = 0;
  let isEscaped = false;
  let isText = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (isText) {
      if (byte === QUOTE) isText = false;
      else if (byte === BACKSLASH) {
        at += 1;
        if (bytes[at] === LOWER_U) isEscaped = true;
      }
    } else if (byte === QUOTE) isText = true;
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      level += 1;
      if (level > depth) depth = level;
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) level -= 1;
  }
  return { depth, isEscaped };
}

/** What makes a closer look at the parsed value necessary, besides `\u`: names that objects inherit, huge numbers. */
const SUSPECT = /__proto__|toString|valueOf|e\+?\d{3}|\d{309}/i;

/**
 * The value with lone surrogates replaced as UTF-8 does it (U+FFFD). Throws 422 for what no table can hold (U+0000,
 * numbers beyond a double) and for `__proto__`, which assigning would take for the object's prototype.
 */
function checked(value: unknown): unknown {
  const faults: FieldFault[] = [];
  const refuse = (path: string, message: string) => {
    if (faults.length < 20) faults.push({ path: path || "body", message });
  };
  const text = (given: string, path: string): string => {
    if (given.includes("\0")) refuse(path, "must not contain U+0000");
    return given.isWellFormed() ? given : given.toWellFormed();
  };
  const walk = (given: unknown, path: string): unknown => {
    if (typeof given === "string") return text(given, path);
    if (typeof given === "number" && !Number.isFinite(given)) refuse(path, "must be a number that a double can hold");
    if (typeof given !== "object" || given === null) return given;
    const below = (name: string | number) => (path === "" ? String(name) : `${path}.${name}`);
    if (Array.isArray(given)) {
      for (const [at, item] of given.entries()) given[at] = walk(item, below(at));
      return given;
    }
    const members = given as Record<string, unknown>;
    for (const [name, member] of Object.entries(members)) {
      const sound = text(name, path);
      if (sound === "__proto__") {
        refuse(path, "must not have a member __proto__");
        continue;
      }
      if (sound !== name) delete members[name];
      members[sound] = walk(member, below(sound.slice(0, 100)));
    }
    // Code that writes such an object into a text would fail for want of a function.
    if (Object.hasOwn(members, "toString") || Object.hasOwn(members, "valueOf")) {
      Object.defineProperty(members, Symbol.toPrimitive, { value: () => "[object Object]" });
    }
    return members;
  };
  const result = walk(value, "");
  if (faults.length > 0) throw invalid(faults);
  return result;
}
