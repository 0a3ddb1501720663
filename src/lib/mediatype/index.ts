// The media type of bytes, as the bytes say: signatures by file-type, and whether the rest is text. Names of files are
// never looked at.

import { fileTypeFromBuffer } from "file-type";

/** How many first bytes are worth looking at. */
export const HEAD_BYTES = 4100;

const CONTROL = /[\u0000-\u0008\u000e-\u001a\u001c-\u001f]/; // oxlint-disable-line no-control-regex
const MARKUP: readonly (readonly [RegExp, string])[] = [
  [/^(?:<\?xml[^>]*>\s*)?(?:<!--[\s\S]*?-->\s*)*(?:<!doctype svg[^>]*>\s*)?<svg[\s>]/i, "image/svg+xml"],
  [
    /^(?:<!--[\s\S]*?-->\s*)*(?:<!doctype html|<html|<head|<body|<script|<iframe|<style|<table|<div|<p[\s>]|<a\s|<img\s|<h[1-6][\s>])/i,
    "text/html",
  ],
  [/^<\?xml\s/i, "application/xml"],
];

/** The text of `head` if it is UTF-8 (or UTF-16 with a mark) without control characters, else null. */
function asText(head: Uint8Array): string | null {
  const utf16 =
    head[0] === 0xff && head[1] === 0xfe ? "utf-16le" : head[0] === 0xfe && head[1] === 0xff ? "utf-16be" : null;
  try {
    // A stream decoder, because the head may end within a character.
    const text = new TextDecoder(utf16 ?? "utf-8", { fatal: true }).decode(head, { stream: true });
    return CONTROL.test(text) ? null : text;
  } catch {
    return null;
  }
}

/**
 * Media type of a file that begins with `head`; `isWhole` when nothing follows. What is no known format and no text
 * is `application/octet-stream`.
 */
export async function mediaType(head: Uint8Array, isWhole: boolean): Promise<string> {
  const text = asText(head);
  if (text !== null) {
    const start = text.trimStart();
    for (const [pattern, type] of MARKUP) if (pattern.test(start)) return type;
  }
  const found = await fileTypeFromBuffer(head);
  if (found)
    return found.mime === "application/xml" && text !== null ? "application/xml" : found.mime.replace(/;.*$/, "");
  if (text === null) return "application/octet-stream";
  const start = text.trimStart();
  if (isWhole && (start.startsWith("{") || start.startsWith("["))) {
    try {
      JSON.parse(text);
      return "application/json";
    } catch {
      return "text/plain";
    }
  }
  return "text/plain";
}
