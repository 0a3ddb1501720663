// Values for tests that search instead of enumerating: valid ones of a JSON Schema with a liking for its edges, and
// hostile ones for any place. Everything comes from one seed, so that a failure can be repeated.

export interface Random {
  /** In [0, 1). */
  next(): number;
  /** A whole number, both ends included. */
  int(min: number, max: number): number;
  pick<T>(list: readonly T[]): T;
  chance(probability: number): boolean;
}

/** A generator of 32 bits of state (mulberry32); `seed` may be a text, so that each test has a stream of its own. */
export function random(seed: number | string): Random {
  let state = typeof seed === "number" ? seed >>> 0 : Number(Bun.hash.wyhash(seed) & 0xffff_ffffn);
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 4_294_967_296;
  };
  const int = (min: number, max: number) => min + Math.floor(next() * (max - min + 1));
  return {
    next,
    int,
    chance: (probability) => next() < probability,
    pick: <T>(list: readonly T[]): T => {
      if (list.length === 0) throw new Error("nothing to pick from");
      return list[int(0, list.length - 1)] as T;
    },
  };
}

/** What of JSON Schema 2020-12 the API's document uses. */
export interface Schema {
  $ref?: string;
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  format?: string;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  uniqueItems?: boolean;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  patternProperties?: Record<string, Schema>;
  minProperties?: number;
  maxProperties?: number;
}

/** Values of real things for a field of this name; none where nothing is known. */
export type Suggest = (field: string) => readonly unknown[];

const ALPHABETS = [
  "abcdefghijklmnopqrstuvwxyz",
  "ABCxyz0123456789 .,-_",
  "äßéñøİıſﬁ",
  "日本語العربيةहिन्दी",
  "👍🏽👩‍👩‍👧🇩🇪𝕏",
  "\u0000\u0001\u0007\b\t\n\r\u001b\u007f\u0085\u2028",
  "\u200b\u200e\u202e\ufeff\u00ad",
  "\ud800\udfff\ud83d",
  "'\"`\\;--/*%_$#{}<>&|",
];

/** Texts that have broken programs before. */
const EVIL_TEXTS = [
  "",
  " ",
  "null",
  "undefined",
  "true",
  "NaN",
  "-1",
  "1e309",
  "00000000-0000-0000-0000-000000000000",
  "me",
  "__proto__",
  "constructor",
  "' OR 1=1 --",
  "'; DROP TABLE users; --",
  "%00",
  "%",
  "\\",
  "$1",
  "${7*7}",
  "{{7*7}}",
  "../../../../etc/passwd",
  "..\\..\\windows",
  "file:///etc/passwd",
  "http://169.254.169.254/",
  "<script>alert(1)</script>",
  "\r\nX-Injected: yes",
  "a\u0000b",
  "\ud800",
  "\udfff\ud800",
  "\u202eabc",
  "ﷺ".repeat(20),
  "i̇".repeat(40),
  "2024-02-30T25:61:61Z",
  "+275760-09-13T00:00:00.001Z",
  "0000-00-00T00:00:00Z",
  "9".repeat(400),
];

/** Numbers at the edges of the types behind them; the text ones reach the server as JSON numbers. */
const EVIL_NUMBERS = [
  0,
  -0,
  -1,
  1,
  0.1,
  -0.5,
  1e-323,
  255,
  256,
  32_768,
  2_147_483_647,
  2_147_483_648,
  -2_147_483_649,
  4_294_967_296,
  Number.MAX_SAFE_INTEGER,
  Number.MAX_SAFE_INTEGER + 1,
  9.3e18,
  1e21,
  1.797e308,
];

const RAW = "\u{10ffff}raw:";

/** Stands for a token that JSON.stringify cannot write; `jsonText` does. */
function raw(token: string): string {
  return RAW + token;
}

/** JSON of a value, lone surrogates escaped, with the tokens of `raw` as they are. */
export function jsonText(value: unknown): string {
  return (JSON.stringify(value) ?? "null").replace(new RegExp(`"${RAW}([^"]*)"`, "gu"), "$1");
}

/** A text of at most `max` UTF-16 units and at least `min` code points, in one or several alphabets. */
export function text(from: Random, min = 0, max = 40): string {
  const length = from.pick([min, min, min + 1, Math.min(max, min + 8), from.int(min, Math.min(max, min + 60)), max]);
  const bounded = Math.min(length, max, 3_000);
  const alphabets = from.chance(0.6) ? [from.pick(ALPHABETS)] : ALPHABETS;
  let made = "";
  let points = 0;
  while (points < bounded) {
    const characters = Array.from(from.pick(alphabets));
    const character = from.pick(characters);
    // Two halves of a pair that meet by chance would count as one.
    if (made.length + character.length > max || /[\ud800-\udbff]$/.test(made)) {
      made += "x";
    } else made += character;
    points += 1;
    if (made.length >= max) break;
  }
  return made.slice(0, max);
}

/** A text that may be anything, for places where it should be refused or treated as plain text. */
export function hostileText(from: Random): string {
  return from.chance(0.6) ? from.pick(EVIL_TEXTS) : text(from, 0, from.pick([1, 40, 300, 5_000]));
}

/** Any JSON value, with a liking for those that break programs. */
export function hostileValue(from: Random, depth = 0): unknown {
  switch (from.int(0, depth > 3 ? 5 : 9)) {
    case 0:
      return null;
    case 1:
      return from.chance(0.5);
    case 2:
    case 3:
      return from.chance(0.3) ? raw(from.pick(["1e400", "-1e400", "1E+9999", "-0.0"])) : from.pick(EVIL_NUMBERS);
    case 4:
    case 5:
      return hostileText(from);
    case 6:
      return Array.from({ length: from.pick([0, 1, 3, 300]) }, () => hostileValue(from, depth + 2));
    case 7:
      return nested(from.pick([5, 60, 900]), from.chance(0.5));
    case 8:
      return prototypeKeys(hostileValue(from, depth + 2));
    default:
      return Object.fromEntries(
        Array.from({ length: from.pick([0, 1, 4]) }, () => [hostileText(from), hostileValue(from, depth + 1)]),
      );
  }
}

/** Lists in lists, or objects in objects. */
export function nested(depth: number, asObjects: boolean): unknown {
  let value: unknown = asObjects ? {} : [];
  for (let level = 0; level < depth; level += 1) value = asObjects ? { a: value } : [value];
  return value;
}

/** An object whose own members bear the names of what every object inherits. */
export function prototypeKeys(value: unknown): unknown {
  const inner = JSON.stringify(value) ?? "null";
  return JSON.parse(
    `{"__proto__": ${inner}, "constructor": {"prototype": {"isAdmin": true}}, "toString": 1, "hasOwnProperty": 1}`,
  ) as unknown;
}

/** A moment as text: now and then, leap days, fractions, offsets. */
function moment(from: Random): string {
  return from.pick([
    "2024-02-29T23:59:59Z",
    "1970-01-01T00:00:00.000Z",
    "2038-01-19T03:14:08Z",
    "9999-12-31T23:59:59.999Z",
    "2026-03-29T02:30:00+01:00",
    "2026-08-01T12:00:00-12:00",
    "0001-01-01T00:00:00Z",
    "2100-06-15T10:00:00.123456Z",
  ]);
}

function uuid(from: Random): string {
  const hex = Array.from({ length: 32 }, () => from.int(0, 15).toString(16)).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
}

const FORMATS: Record<string, (from: Random) => unknown> = {
  "date-time": moment,
  date: (from) => moment(from).slice(0, 10),
  time: () => "23:59:59Z",
  uuid,
  email: (from) => from.pick(["a@example.org", "o'brien+tag@sub.example.org", `${"x".repeat(60)}@example.org`]),
  uri: (from) => from.pick(["https://example.org/", "https://example.org:8443/a?b=c#d", "http://127.0.0.1/"]),
  binary: () => "some bytes",
};

/** A value that `schema` allows. `field` is the member's name, for real things that `suggest` knows. */
export function validValue(schema: Schema, from: Random, suggest: Suggest, field = "", depth = 0): unknown {
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return from.pick(schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return validValue(from.pick(choices), from, suggest, field, depth);
  if (schema.allOf) {
    const parts = schema.allOf.map((part) => validValue(part, from, suggest, field, depth));
    return Object.assign({}, ...parts) as unknown;
  }
  const type = Array.isArray(schema.type) ? from.pick(schema.type) : schema.type;
  switch (type) {
    case "null":
      return null;
    case "boolean":
      return from.chance(0.5);
    case "integer":
    case "number":
      return validNumber(schema, from, type === "integer");
    case "string":
      return validText(schema, from, suggest, field);
    case "array": {
      const min = schema.minItems ?? 0;
      const max = Math.min(schema.maxItems ?? min + 5, min + 40);
      const length = depth > 4 ? min : from.pick([min, Math.min(max, min + 1), Math.min(max, min + 2), max]);
      const items = schema.items ?? {};
      const known = suggest(singular(field)).filter((value) => typeof value !== "string" || fits(items, value));
      if (known.length > 0 && from.chance(0.6)) return [...new Set(Array.from({ length }, () => from.pick(known)))];
      const list = Array.from({ length }, () => validValue(items, from, suggest, singular(field), depth + 1));
      return schema.uniqueItems ? [...new Map(list.map((item) => [JSON.stringify(item), item])).values()] : list;
    }
    case "object":
      return validObject(schema, from, suggest, depth);
    default:
      // No type: anything that JSON can hold and that is still harmless to write.
      return from.pick<unknown>(["text", 1, true, null, { a: [1, { b: "c" }] }, []]);
  }
}

/** What one of a list is called. */
export function singular(field: string): string {
  return field.replace(/ies$/, "y").replace(/s$/, "");
}

function validNumber(schema: Schema, from: Random, isInteger: boolean): number {
  const step = isInteger ? 1 : 0.5;
  const min = schema.minimum ?? (schema.exclusiveMinimum === undefined ? undefined : schema.exclusiveMinimum + step);
  const max = schema.maximum ?? (schema.exclusiveMaximum === undefined ? undefined : schema.exclusiveMaximum - step);
  const low = min ?? Math.min(-1_000_000, max ?? 0);
  const high = max ?? Math.max(1_000_000, low);
  const value = from.pick([low, high, Math.min(high, low + step), from.int(Math.ceil(low), Math.floor(high))]);
  if (schema.multipleOf) return Math.ceil(value / schema.multipleOf) * schema.multipleOf;
  return isInteger ? Math.round(value) : value;
}

function validText(schema: Schema, from: Random, suggest: Suggest, field: string): string {
  const known = suggest(field).filter((value): value is string => typeof value === "string" && fits(schema, value));
  if (known.length > 0 && from.chance(0.6)) return from.pick(known);
  const format = schema.format === undefined ? undefined : FORMATS[schema.format];
  if (format) return String(format(from));
  if (schema.pattern !== undefined) return textMatching(schema.pattern, from, schema);
  return text(from, schema.minLength ?? 0, schema.maxLength ?? 200);
}

function fits(schema: Schema, value: string): boolean {
  if (schema.minLength !== undefined && value.length < schema.minLength) return false;
  if (schema.maxLength !== undefined && value.length > schema.maxLength) return false;
  if (schema.pattern !== undefined && !new RegExp(schema.pattern, "u").test(value)) return false;
  return schema.format !== "uuid" || /^[0-9a-f-]{36}$/i.test(value);
}

function validObject(schema: Schema, from: Random, suggest: Suggest, depth: number): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  const required = new Set(schema.required);
  // Sometimes everything, sometimes only what must be, sometimes a part.
  const share = from.pick([0, 0.3, 0.6, 1]);
  for (const [name, member] of Object.entries(schema.properties ?? {})) {
    if (required.has(name) || (depth < 5 && from.chance(share))) {
      made[name] = validValue(member, from, suggest, name, depth + 1);
    }
  }
  const [named] = Object.entries(schema.patternProperties ?? {});
  const open = typeof schema.additionalProperties === "object" ? schema.additionalProperties : named?.[1];
  if (open && depth < 5) {
    const length = Math.min(schema.maxProperties ?? 3, Math.max(schema.minProperties ?? 0, from.int(0, 3)));
    for (let count = 0; count < length; count += 1) {
      const pattern = named?.[0] === "^(.*)$" || named === undefined ? "^[a-z]{1,12}$" : named[0];
      made[textMatching(pattern, from)] = validValue(open, from, suggest, "", depth + 1);
    }
  }
  return made;
}

/** `value` with at least one place changed into what its schema may not allow. */
export function spoiled(schema: Schema, value: unknown, from: Random): unknown {
  const choice = (schema.anyOf ?? schema.oneOf)?.find((part) => part.type !== "null") ?? schema;
  if (typeof value !== "object" || value === null || Array.isArray(value) || !choice.properties) {
    return from.chance(0.5) ? beyond(choice, from) : hostileValue(from);
  }
  const made: Record<string, unknown> = { ...value };
  const names = Object.keys(choice.properties);
  switch (from.int(0, names.length === 0 ? 1 : 5)) {
    case 0:
      made[hostileText(from) || "extra"] = hostileValue(from);
      return made;
    case 1:
      return { ...(prototypeKeys(hostileValue(from, 3)) as object), ...made };
    case 2:
      delete made[from.pick(choice.required?.length ? choice.required : names)];
      return made;
    default: {
      const name = from.pick(names);
      const member = choice.properties[name] ?? {};
      made[name] = spoiled(member, made[name], from);
      return made;
    }
  }
}

/** Just outside of a schema's bounds, where it has some. */
function beyond(schema: Schema, from: Random): unknown {
  const candidates: unknown[] = [];
  if (schema.minimum !== undefined) candidates.push(schema.minimum - 1);
  if (schema.maximum !== undefined) candidates.push(schema.maximum + 1, schema.maximum + 0.5);
  if (schema.minLength) candidates.push("x".repeat(schema.minLength - 1));
  if (schema.maxLength !== undefined) candidates.push("x".repeat(schema.maxLength + 1), "👍".repeat(schema.maxLength));
  if (schema.minItems) candidates.push([]);
  if (schema.maxItems !== undefined) candidates.push(Array(schema.maxItems + 1).fill("x"));
  if (schema.enum) candidates.push(`${String(schema.enum[0])} `, String(schema.enum[0]).toUpperCase(), "");
  if (schema.type === "integer" || schema.type === "number") candidates.push("1", "1e3", raw("1e400"), 1.5, "", []);
  if (schema.type === "string") candidates.push(1, null, ["x"], { toString: "x" });
  if (schema.type === "boolean") candidates.push("yes", 1, 0, "");
  return candidates.length > 0 ? from.pick(candidates) : hostileValue(from);
}

/** A text that matches `pattern`, found by walking it; look-arounds are met by trying again. */
export function textMatching(pattern: string, from: Random, bounds: Schema = {}): string {
  const wanted = new RegExp(pattern, "u");
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const made = new Sampler(pattern, from).text();
    if (wanted.test(made) && fits({ ...bounds, pattern }, made)) return made;
  }
  throw new Error(`no text was found that matches ${pattern}`);
}

const PRINTABLE = Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at));

/** Walks a regular expression and writes one text of it. */
class Sampler {
  readonly #pattern: string;
  readonly #from: Random;
  #at = 0;

  constructor(pattern: string, from: Random) {
    this.#pattern = pattern;
    this.#from = from;
  }

  text(): string {
    const branches = [this.#branch()];
    while (this.#pattern[this.#at] === "|") {
      this.#at += 1;
      branches.push(this.#branch());
    }
    return this.#from.pick(branches)();
  }

  #branch(): () => string {
    const parts: (() => string)[] = [];
    while (this.#at < this.#pattern.length && !"|)".includes(this.#pattern[this.#at] ?? "")) parts.push(this.#piece());
    return () => parts.map((part) => part()).join("");
  }

  #piece(): () => string {
    const atom = this.#atom();
    const quantifier = /^(?:[*+?]|\{(\d+)(,)?(\d*)\})\??/.exec(this.#pattern.slice(this.#at));
    if (!quantifier) return atom;
    this.#at += quantifier[0].length;
    const [word, least, comma, most] = quantifier;
    const min = least === undefined ? (word.startsWith("+") ? 1 : 0) : Number(least);
    const max = least === undefined ? (word.startsWith("?") ? 1 : min + 6) : comma ? Number(most || min + 6) : min;
    return () => {
      const length = this.#from.pick([min, max, this.#from.int(min, Math.min(max, min + 20))]);
      return Array.from({ length }, atom).join("");
    };
  }

  #atom(): () => string {
    const character = this.#pattern[this.#at] ?? "";
    this.#at += 1;
    if (character === "^" || character === "$") return () => "";
    if (character === "(") return this.#group();
    if (character === "[") return this.#among(this.#until(/^(?:\\.|[^\]\\])*\]/, "["));
    if (character === ".") return () => this.#from.pick(PRINTABLE);
    if (character !== "\\") return () => character;
    return this.#among(this.#until(/^(?:[pP]\{[^}]*\}|u[0-9a-fA-F]{4}|u\{[^}]*\}|.)/, "\\"));
  }

  #until(end: RegExp, prefix: string): string {
    const found = end.exec(this.#pattern.slice(this.#at));
    if (!found) throw new Error(`the pattern ${this.#pattern} ends too early`);
    this.#at += found[0].length;
    return prefix + found[0];
  }

  #group(): () => string {
    const kind = /^\?(?::|<?[=!]|<\w+>)/.exec(this.#pattern.slice(this.#at))?.[0] ?? "";
    this.#at += kind.length;
    const branches = [this.#branch()];
    while (this.#pattern[this.#at] === "|") {
      this.#at += 1;
      branches.push(this.#branch());
    }
    this.#at += 1;
    if (/[=!]$/.test(kind)) return () => "";
    return () => this.#from.pick(branches)();
  }

  #among(set: string): () => string {
    const one = new RegExp(`^${set}$`, "u");
    const all = [...PRINTABLE, "é", "ß", "日", "\t", "\n"].filter((candidate) => one.test(candidate));
    if (all.length === 0) throw new Error(`no character for ${set}`);
    return () => this.#from.pick(all);
  }
}
