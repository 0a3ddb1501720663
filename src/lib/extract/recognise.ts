// Which format bytes are in: by their beginning first, by the file's name only between kinds of plain text.

/** Formats that are read. */
export type Format = "pdf" | "html" | "markdown" | "text";

/** Formats that share a size limit. */
export type SizeClass = "pdf" | "word" | "excel" | "slides" | "text" | "image";

export interface Recognised {
  format: Format;
  mime: string;
  sizeClass: SizeClass;
}

/** How many first bytes `recognise` wants to see. */
export const HEAD_BYTES = 4096;

const TEXT_MIMES: Readonly<Record<string, string>> = {
  csv: "text/csv",
  tsv: "text/tab-separated-values",
  json: "application/json",
  jsonl: "application/jsonl",
  yaml: "application/yaml",
  yml: "application/yaml",
  toml: "application/toml",
  xml: "application/xml",
  svg: "image/svg+xml",
  css: "text/css",
  ics: "text/calendar",
  vcf: "text/vcard",
  rst: "text/x-rst",
  adoc: "text/asciidoc",
};

const HTML_START = /^\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--[\s\S]*?-->\s*)*<(?:!doctype\s+html|html|head|body)[\s>]/i;

/** Beginnings of formats that hold no text of their own kind, or are not read yet. */
const BINARY_STARTS: readonly (readonly number[])[] = [
  [0x50, 0x4b, 0x03, 0x04],
  [0x50, 0x4b, 0x05, 0x06],
  [0xd0, 0xcf, 0x11, 0xe0],
  [0x7b, 0x5c, 0x72, 0x74, 0x66],
  [0x1f, 0x8b],
  [0x89, 0x50, 0x4e, 0x47],
  [0xff, 0xd8, 0xff],
  [0x47, 0x49, 0x46, 0x38],
  [0x42, 0x5a, 0x68],
  [0x37, 0x7a, 0xbc, 0xaf],
  [0x52, 0x61, 0x72, 0x21],
  [0x7f, 0x45, 0x4c, 0x46],
  [0x4d, 0x5a, 0x90],
];

/** The format of a file that begins with `head` and is named `name`; null if it is none that can be read. */
export function recognise(head: Uint8Array, name: string): Recognised | null {
  const start = head.subarray(0, HEAD_BYTES);
  if (Buffer.from(start.subarray(0, 1024)).includes("%PDF-")) {
    return { format: "pdf", mime: "application/pdf", sizeClass: "pdf" };
  }
  if (BINARY_STARTS.some((bytes) => bytes.every((byte, at) => start[at] === byte))) return null;
  if (!looksLikeText(start)) return null;
  const beginning = new TextDecoder("latin1")
    .decode(start)
    .replace(/^(?:ï»¿|ÿþ|þÿ)/, "")
    .replaceAll("\0", "");
  const suffix = /\.([a-z0-9]+)$/i.exec(name)?.[1]?.toLowerCase() ?? "";
  if (HTML_START.test(beginning) || ["html", "htm", "xhtml"].includes(suffix)) {
    return { format: "html", mime: "text/html", sizeClass: "text" };
  }
  if (["md", "markdown", "mdown", "mkd"].includes(suffix)) {
    return { format: "markdown", mime: "text/markdown", sizeClass: "text" };
  }
  return { format: "text", mime: TEXT_MIMES[suffix] ?? "text/plain", sizeClass: "text" };
}

/** Text has hardly any control characters; zero bytes only as halves of UTF-16. */
function looksLikeText(bytes: Uint8Array): boolean {
  const hasMark = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
  if (hasMark || isUtf16(bytes) !== null) return true;
  let controls = 0;
  for (const byte of bytes) {
    if (byte === 0) return false;
    if (byte < 32 && byte !== 9 && byte !== 10 && byte !== 13 && byte !== 12 && byte !== 27) controls++;
  }
  return controls <= bytes.length / 50;
}

/** The byte order of UTF-16 without a mark, told by zero bytes in every other place; null if it is not. */
export function isUtf16(bytes: Uint8Array): "utf-16le" | "utf-16be" | null {
  const sample = bytes.subarray(0, 1024);
  if (sample.length < 4) return null;
  let even = 0;
  let odd = 0;
  for (let at = 0; at + 1 < sample.length; at += 2) {
    if (sample[at] === 0) even++;
    if (sample[at + 1] === 0) odd++;
  }
  const pairs = Math.floor(sample.length / 2);
  if (odd > pairs * 0.7 && even === 0) return "utf-16le";
  if (even > pairs * 0.7 && odd === 0) return "utf-16be";
  return null;
}
