// JSON from outside: bounded in depth, and without what neither the database nor our own code can hold.

/** Levels of lists and objects; deeper ones serve only to exhaust the stack of whoever walks them. */
export const JSON_DEPTH_MAX = 100;

/** A place in a value, dotted and "" for the whole, and what is wrong with it. */
export interface JsonFault {
  path: string;
  message: string;
}

export type ParsedJson =
  | { value: unknown }
  | { reason: "invalid_json" | "nested_too_deep" }
  /** Well-formed, but with members, texts or numbers that cannot be kept. */
  | { faults: JsonFault[] };

const FAULTS_MAX = 20;
const decoder = new TextDecoder("utf-8", { fatal: true });

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

/** True if JSON is nested deeper than anything of ours needs; cheap, and no recursion itself. */
export function isTooDeep(text: string): boolean {
  return text.length > JSON_DEPTH_MAX && look(Buffer.from(text)).depth > JSON_DEPTH_MAX;
}

/** What makes a closer look at the parsed value necessary, besides `\u`: names that objects inherit, huge numbers. */
const SUSPECT = /__proto__|toString|valueOf|e\+?\d{3}|\d{309}/i;

/** The value of a JSON text in UTF-8, as `storable` leaves it. */
export function parseJson(bytes: Uint8Array): ParsedJson {
  const { depth, isEscaped } = look(bytes);
  if (depth > JSON_DEPTH_MAX) return { reason: "nested_too_deep" };
  try {
    const text = decoder.decode(bytes);
    const value: unknown = JSON.parse(text);
    return isEscaped || SUSPECT.test(text) ? storable(value) : { value };
  } catch {
    return { reason: "invalid_json" };
  }
}

/**
 * The value with lone surrogates replaced as UTF-8 does it (U+FFFD), changed in place. Faults are what no table can
 * hold (U+0000, numbers beyond a double) and `__proto__`, which assigning would take for the object's prototype.
 */
export function storable(value: unknown): { value: unknown } | { faults: JsonFault[] } {
  const faults: JsonFault[] = [];
  const refuse = (path: string, message: string) => {
    if (faults.length < FAULTS_MAX) faults.push({ path, message });
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
  return faults.length > 0 ? { faults } : { value: result };
}
