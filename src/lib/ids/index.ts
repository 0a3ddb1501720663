// Identifiers and secrets: UUIDv7 (RFC 9562), random tokens, SHA-256 digests.

import { createHash, randomBytes } from "node:crypto";

/** A new UUIDv7; later ones sort after earlier ones of this process. */
export function uuidv7(): string {
  return Bun.randomUUIDv7();
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** True for a UUID of any version in its usual text form. */
export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** `bytes` random bytes in base64url without padding. */
export function randomToken(bytes = 32): string {
  return randomBytes(bytes).toString("base64url");
}

/** SHA-256 of a text, in hex. */
export function sha256Hex(text: string | Uint8Array): string {
  return createHash("sha256").update(text).digest("hex");
}

/** UUIDv5 (RFC 9562, SHA-1) of `name` in the namespace UUID `namespace`. */
export function uuidv5(namespace: string, name: string): string {
  const space = Buffer.from(namespace.replaceAll("-", ""), "hex");
  const hash = createHash("sha1").update(space).update(name).digest().subarray(0, 16);
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
