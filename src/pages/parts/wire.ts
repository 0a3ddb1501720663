// Reads what comes from the network: small checks that turn unknown JSON into values of a known form.

export type Json = Record<string, unknown>;

/** The value as an object, or an empty one. */
export function asObject(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

/** The value as a list of objects; everything else in it is left out. */
export function asObjects(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "object" && item !== null).map(asObject) : [];
}

/** The value if it is text, else null. */
export function asText(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

/** The value if it is a finite number, else null. */
export function asNumber(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** The texts of a list. */
export function asTexts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

/** `count` random characters of base62, for client ids; works on insecure origins, where crypto.randomUUID does not exist. */
export function randomId(count = 22): string {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  let made = "";
  for (const byte of crypto.getRandomValues(new Uint8Array(count))) made += letters.charAt(byte % letters.length);
  return made;
}
