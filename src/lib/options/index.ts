// Kinds of option values: how a text from the environment becomes a typed value, and the words that say what is
// expected. Pure; which options exist stands in src/config.ts.

import { isIP } from "node:net";
import { isAbsolute, resolve } from "node:path";

/** How values of one kind are read. */
export interface Kind<T> {
  /** Completes the sentence "expected …" and is the kind's name in tables. */
  readonly expected: string;
  /** The value, or undefined if the text is not of this kind. `cwd` is what relative paths start from. */
  parse(text: string, cwd: string): T | undefined;
}

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Any text, at least `bytesMin` bytes of UTF-8 long. */
export function text(bytesMin = 1): Kind<string> {
  return {
    expected: bytesMin > 1 ? `a text of at least ${bytesMin} bytes` : "a text",
    parse: (value) => (Buffer.byteLength(value) >= bytesMin ? value : undefined),
  };
}

/** A text of at least `charactersMin` characters. */
export function phrase(charactersMin: number): Kind<string> {
  return {
    expected: `a text of at least ${charactersMin} characters`,
    parse: (value) => (Array.from(value).length >= charactersMin ? value : undefined),
  };
}

/** A text that matches `pattern`, which `expected` tells in words. */
export function matching(pattern: RegExp, expected: string): Kind<string> {
  return { expected, parse: (value) => (pattern.test(value) ? value : undefined) };
}

/** A whole number within the bounds, both inclusive. */
export function whole(min: number, max: number = Number.MAX_SAFE_INTEGER): Kind<number> {
  const expected =
    max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`;
  return {
    expected,
    parse: (value) => {
      if (!/^-?\d{1,16}$/.test(value)) return undefined;
      const number = Number(value);
      return number >= min && number <= max ? number : undefined;
    },
  };
}

/** A TCP port; 0 takes a free one. */
export const port: Kind<number> = { ...whole(0, 65535), expected: "a port from 0 to 65535" };

/** A port, or `off` for none. */
export const portOrOff: Kind<number | null> = {
  expected: "a port from 0 to 65535, or off",
  parse: (value, cwd) => (value === "off" ? null : port.parse(value, cwd)),
};

/** `40000-40199`. */
export const portRange: Kind<PortRange> = {
  expected: "two ports as in 40000-40199, the lower one first",
  parse: (value) => {
    const found = /^(\d{1,5})-(\d{1,5})$/.exec(value);
    if (!found) return undefined;
    const [first, last] = [Number(found[1]), Number(found[2])];
    return first >= 1 && first <= last && last <= 65535 ? { first, last } : undefined;
  },
};

const YES = new Set(["true", "on", "yes", "1"]);
const NO = new Set(["false", "off", "no", "0"]);

/** A switch; `words` only chooses how it is written in tables. */
export function flag(words: "true or false" | "on or off" = "true or false"): Kind<boolean> {
  return {
    expected: words,
    parse: (value) => {
      const word = value.toLowerCase();
      return YES.has(word) ? true : NO.has(word) ? false : undefined;
    },
  };
}

/** One of a few words. */
export function oneOf<const Word extends string>(...words: Word[]): Kind<Word> {
  return {
    expected: `${words.slice(0, -1).join(", ")} or ${words.at(-1) ?? ""}`,
    parse: (value) => words.find((word) => word === value),
  };
}

const UNITS: Record<string, number> = {
  "": 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** A number of bytes, as such or with a unit (`100 MiB`). */
export function byteSize(min = 1): Kind<number> {
  return {
    expected: `a number of bytes of at least ${min}, such as 1048576 or "1 MiB"`,
    parse: (value) => {
      const found = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(value);
      const unit = UNITS[(found?.[2] ?? "?").toUpperCase()];
      if (!found || unit === undefined) return undefined;
      const bytes = Number(found[1]) * unit;
      return Number.isSafeInteger(bytes) && bytes >= min ? bytes : undefined;
    },
  };
}

/** An absolute URL with one of the schemes, without a trailing slash. */
export function url(...schemes: string[]): Kind<string> {
  const starts = schemes.map((scheme) => `${scheme}://`);
  return {
    expected: `a URL that begins with ${starts.join(" or ")}`,
    parse: (value) => {
      if (!starts.some((start) => value.toLowerCase().startsWith(start)) || /\s/.test(value)) return undefined;
      const parsed = URL.parse(value);
      if (!parsed || (parsed.host === "" && !["file:", "unix:"].includes(parsed.protocol))) return undefined;
      return value.replace(/\/+$/, "");
    },
  };
}

/** An `http` or `https` URL without query and fragment. */
export const httpUrl: Kind<string> = {
  expected: "a URL that begins with http:// or https://, without ? and #",
  parse: (value, cwd) => (/[?#]/.test(value) ? undefined : url("http", "https").parse(value, cwd)),
};

/** A file or folder; relative ones start at the working folder. */
export const path: Kind<string> = {
  expected: "a path",
  parse: (value, cwd) => (value.includes("\0") ? undefined : isAbsolute(value) ? value : resolve(cwd, value)),
};

/** A program: a path, or a name that is looked up on PATH when it is run. */
export const program: Kind<string> = {
  expected: "a path or the name of a program",
  parse: (value, cwd) => (/[/\\]/.test(value) ? path.parse(value, cwd) : value),
};

/** Items between commas; empty ones are dropped. */
export function list<T>(item: Kind<T>): Kind<readonly T[]> {
  return {
    expected: `a comma-separated list, each ${item.expected}`,
    parse: (value, cwd) => {
      const parts = value.split(",").map((part) => part.trim());
      const items = parts.filter((part) => part !== "").map((part) => item.parse(part, cwd));
      return items.some((one) => one === undefined) ? undefined : (items as T[]);
    },
  };
}

/** Words between blanks. */
export const words: Kind<readonly string[]> = {
  expected: "words with blanks between them",
  parse: (value) => value.split(/\s+/).filter((word) => word !== ""),
};

/** A JSON object whose values are texts. */
export const jsonMap: Kind<Readonly<Record<string, string>>> = {
  expected: 'a JSON object of texts, such as {"theirs": "ours"}',
  parse: (value) => {
    let parsed: unknown;
    try {
      parsed = JSON.parse(value);
    } catch {
      return undefined;
    }
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return undefined;
    const entries = Object.entries(parsed);
    return entries.every(([, one]) => typeof one === "string") ? Object.fromEntries(entries) : undefined;
  },
};

/** `name=value` pairs between commas, percent-encoded as OpenTelemetry writes them. */
export const pairs: Kind<Readonly<Record<string, string>>> = {
  expected: "name=value pairs with commas between them",
  parse: (value) => {
    const found: Record<string, string> = {};
    for (const part of value.split(",").filter((one) => one.trim() !== "")) {
      const at = part.indexOf("=");
      const name = part.slice(0, at).trim();
      if (at < 1 || name === "") return undefined;
      try {
        found[name] = decodeURIComponent(part.slice(at + 1).trim());
      } catch {
        return undefined;
      }
    }
    return found;
  },
};

const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/i;

/** A host name or an IP address. */
export const host: Kind<string> = {
  expected: "a host name or an IP address",
  parse: (value) => {
    const bare = value.replace(/^\[(.*)\]$/, "$1");
    return isIP(bare) || HOST_NAME.test(bare) ? bare : undefined;
  },
};

/** A host name, an IP address or a range of addresses (`10.0.0.0/8`). */
export const hostOrRange: Kind<string> = {
  expected: "a host name, an IP address or a range such as 10.0.0.0/8",
  parse: (value, cwd) => {
    const range = /^(.+)\/(\d{1,3})$/.exec(value);
    if (!range) return host.parse(value, cwd)?.toLowerCase();
    const family = isIP(range[1] ?? "");
    const bits = Number(range[2]);
    return family !== 0 && bits <= (family === 4 ? 32 : 128) ? value.toLowerCase() : undefined;
  },
};

/** An IP address. */
export const address: Kind<string> = {
  expected: "an IP address",
  parse: (value) => (isIP(value) ? value : undefined),
};

/** An e-mail address without a display name. */
export const email: Kind<string> = matching(/^[^\s@<>",]+@[^\s@<>",]+$/, "an e-mail address");

/** An e-mail address, with or without a display name (`Bots <bots@example.org>`). */
export const sender: Kind<string> = matching(
  /^(?:[^<>]*<[^\s@<>",]+@[^\s@<>",]+>|[^\s@<>",]+@[^\s@<>",]+)$/,
  'an e-mail address, or "Name <address>"',
);

/** An origin (`https://app.example.org`) or `*`. */
export const origin: Kind<string> = {
  expected: "an origin such as https://app.example.org, or *",
  parse: (value) => {
    if (value === "*") return value;
    const parsed = URL.parse(value);
    const isOrigin = parsed !== null && parsed.origin !== "null" && parsed.href === `${parsed.origin}/`;
    return isOrigin ? parsed.origin : undefined;
  },
};
