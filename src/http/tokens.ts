// Access tokens: JWT HS256 by @elysiajs/jwt, keys derived from SECRET_KEY; tokens of the previous key still verify.

import { jwt } from "@elysiajs/jwt";
import type { Clock } from "../core/clock.ts";
import type { Seal } from "../core/seal.ts";

/** Claims of an access token (contract auth-and-users.md, "Access token"): a session's, or an API key's. */
export interface AccessClaims {
  sub: string;
  sid?: string;
  key?: string;
  /** Seconds since the epoch. */
  exp: number;
}

export interface Tokens {
  sign(claims: AccessClaims): Promise<string>;
  /** The claims, or null for anything but a valid, unexpired access token of this installation. */
  verify(token: string): Promise<AccessClaims | null>;
}

const ISSUER = "botserver";

/** Makes the signer; the algorithm is fixed, whatever a token's header says. */
export function openTokens(deps: { seal: Seal; clock: Clock }): Tokens {
  const keys = deps.seal.keys("tokens").map((secret) => jwt({ name: "jwt", secret, alg: "HS256" }).decorator.jwt);
  return {
    sign: async (claims) => {
      const [current] = keys;
      if (!current) throw new Error("no key to sign with");
      return current.sign({ ...claims, iss: ISSUER, jti: Bun.randomUUIDv7(), typ: "access" });
    },
    verify: async (token) => {
      for (const key of keys) {
        const claims = await key.verify(token, {
          algorithms: ["HS256"],
          issuer: ISSUER,
          currentDate: deps.clock.date(),
          requiredClaims: ["sub", "exp", "jti"],
        });
        if (!claims) continue;
        const { sub, sid, key: keyId, exp, typ } = claims as Record<string, unknown>;
        if (typ !== "access" || typeof sub !== "string" || typeof exp !== "number") return null;
        if (typeof sid === "string") return { sub, sid, exp };
        if (typeof keyId === "string") return { sub, key: keyId, exp };
        return null;
      }
      return null;
    },
  };
}
