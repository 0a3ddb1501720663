// Bytes of a text file to text: byte order mark, UTF-8, UTF-16 by its zero bytes, what HTML declares, Windows-1252.

import { isUtf16 } from "./recognise.ts";

const DECLARED = /<meta[^>]+charset\s*=\s*["']?\s*([a-z0-9_-]+)/i;

/** The text; bytes that fit no encoding become U+FFFD or Latin letters, never an error. */
export function decodeText(bytes: Uint8Array): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  const wide = isUtf16(bytes);
  if (wide) return new TextDecoder(wide).decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder(declaredEncoding(bytes)).decode(bytes);
  }
}

function declaredEncoding(bytes: Uint8Array): "windows-1252" {
  const beginning = new TextDecoder("latin1").decode(bytes.subarray(0, 4096));
  const declared = DECLARED.exec(beginning)?.[1]?.toLowerCase();
  // Declared as UTF-8 but not UTF-8: what remains is the encoding that any bytes are valid in.
  if (declared === undefined || declared === "utf-8" || declared === "utf8") return "windows-1252";
  try {
    return new TextDecoder(declared as "windows-1252").encoding as "windows-1252";
  } catch {
    return "windows-1252";
  }
}
