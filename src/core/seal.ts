// Keys derived from SECRET_KEY (HKDF-SHA256, one label per use) and sealing of stored credentials (AES-256-GCM).

import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";

/** What a derived key is for; another label is another key. */
export type KeyUse = "tokens" | "sealing" | "backup-codes" | "audit" | "links";

export interface Seal {
  /** Current key first, then the one of SECRET_KEY_PREVIOUS if there is one. 32 bytes each. */
  keys(use: KeyUse): Uint8Array[];
  /** `text` encrypted and authenticated, as `v1.` + base64url. */
  seal(text: string): string;
  /** The text again; throws a plain Error when no key opens it. */
  open(sealed: string): string;
  /** HMAC-SHA256 in hex with the current key of `use`. */
  mac(use: KeyUse, text: string): string;
}

/** Makes the sealing functions of one installation from its secret and, for reading, the secret before. */
export function openSeal(secretKey: string, previousSecretKey: string | null): Seal {
  const secrets = previousSecretKey ? [secretKey, previousSecretKey] : [secretKey];
  const derived = new Map<KeyUse, Uint8Array[]>();
  const keys = (use: KeyUse): Uint8Array[] => {
    const known = derived.get(use);
    if (known) return known;
    const made = secrets.map((secret) => new Uint8Array(hkdfSync("sha256", secret, "", `botserver ${use}`, 32)));
    derived.set(use, made);
    return made;
  };
  const first = (use: KeyUse): Uint8Array => {
    const [key] = keys(use);
    if (!key) throw new Error("no key");
    return key;
  };
  return {
    keys,
    seal: (text) => {
      const nonce = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", first("sealing"), nonce);
      const body = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
      return `v1.${Buffer.concat([nonce, cipher.getAuthTag(), body]).toString("base64url")}`;
    },
    open: (sealed) => {
      const bytes = Buffer.from(sealed.slice(3), "base64url");
      if (!sealed.startsWith("v1.") || bytes.length < 28) throw new Error("not a sealed value");
      for (const key of keys("sealing")) {
        try {
          const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, 12));
          decipher.setAuthTag(bytes.subarray(12, 28));
          return Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString("utf8");
        } catch {
          continue; // sealed with the other key
        }
      }
      throw new Error("sealed with a key that is not known here");
    },
    mac: (use, text) => createHmac("sha256", first(use)).update(text).digest("hex"),
  };
}
