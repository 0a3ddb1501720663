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
/** Characters of a member's name within a path. */
const NAME_SHOWN_MAX = 100;
const decoder = new TextDecoder("utf-8", { fatal: true });

const [QUOTE, BACKSLASH, LOWER_U, PLUS, ZERO, NINE] = [0x22, 0x5c, 0x75, 0x2b, 0x30, 0x39];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];
const [LOWER_E, UPPER_E] = [0x65, 0x45];

/** Digits of a number that may be beyond a double (1e308), and of its exponent. */
const HUGE_DIGITS = 309;
const HUGE_EXPONENT_DIGITS = 3;

/** Depth of JSON, and whether it holds `\u` in texts or numbers that may be too large; without parsing it. */
function look(bytes: Uint8Array): { depth: number; isPlain: boolean } {
  let depth = 0;
  let level = 0;
  let isPlain = true;
  let isText = false;
  let digits = 0;
  let isExponent = false;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (isText) {
      if (byte === QUOTE) isText = false;
      else if (byte === BACKSLASH) {
        at += 1;
        if (bytes[at] === LOWER_U) isPlain = false;
      }
      continue;
    }
    if (byte >= ZERO && byte <= NINE) {
      digits += 1;
      if (digits >= (isExponent ? HUGE_EXPONENT_DIGITS : HUGE_DIGITS)) isPlain = false;
      continue;
    }
    if (byte !== PLUS) isExponent = byte === LOWER_E || byte === UPPER_E;
    digits = 0;
    if (byte === QUOTE) isText = true;
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      level += 1;
      if (level > depth) depth = level;
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) level -= 1;
  }
  return { depth, isPlain };
}

/** True if JSON is nested deeper than anything of ours needs; cheap, and no recursion itself. */
export function isTooDeep(text: string): boolean {
  return text.length > JSON_DEPTH_MAX && look(Buffer.from(text)).depth > JSON_DEPTH_MAX;
}

/** Names that every object inherits, and that make trouble when it has them itself. */
const INHERITED = ["__proto__", "toString", "valueOf"];

/** The value of a JSON text in UTF-8, as `storable` leaves it. */
export function parseJson(bytes: Uint8Array): ParsedJson {
  const { depth, isPlain } = look(bytes);
  if (depth > JSON_DEPTH_MAX) return { reason: "nested_too_deep" };
  try {
    const text = decoder.decode(bytes);
    const value: unknown = JSON.parse(text);
    return isPlain && !INHERITED.some((name) => text.includes(name)) ? { value } : storable(value);
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
  // Where the walk is; a path is made of it only when there is something to say.
  const trail: (string | number)[] = [];
  const refuse = (message: string) => {
    if (faults.length < FAULTS_MAX) faults.push({ path: trail.join("."), message });
  };
  const text = (given: string): string => {
    if (given.includes("\0")) refuse("must not contain U+0000");
    return given.isWellFormed() ? given : given.toWellFormed();
  };
  const below = (name: string | number, given: unknown): unknown => {
    trail.push(name);
    const kept = walk(given);
    trail.pop();
    return kept;
  };
  const walk = (given: unknown): unknown => {
    if (typeof given === "string") return text(given);
    if (typeof given === "number" && !Number.isFinite(given)) refuse("must be a number that a double can hold");
    if (typeof given !== "object" || given === null) return given;
    if (Array.isArray(given)) {
      for (const [at, item] of given.entries()) given[at] = below(at, item);
      return given;
    }
    const names = Object.keys(given);
    const isSound = names.every((name) => name.isWellFormed());
    const members = (isSound ? given : {}) as Record<string, unknown>;
    for (const name of names) {
      const sound = text(name);
      if (sound === "__proto__") {
        refuse("must not have a member __proto__");
        continue;
      }
      const shown = sound.length > NAME_SHOWN_MAX ? sound.slice(0, NAME_SHOWN_MAX) : sound;
      members[sound] = below(shown, (given as Record<string, unknown>)[name]);
    }
    // Code that writes such an object into a text would fail for want of a function.
    if (Object.hasOwn(members, "toString") || Object.hasOwn(members, "valueOf")) {
      Object.defineProperty(members, Symbol.toPrimitive, { value: () => "[object Object]" });
    }
    return members;
  };
  const result = walk(value);
  return faults.length > 0 ? { faults } : { value: result };
}
