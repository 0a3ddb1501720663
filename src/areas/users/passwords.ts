// Passwords: the policy with every unmet rule at once, argon2id with a bound on how many run at a time.

import { availableParallelism } from "node:os";
import { unavailable } from "../../core/errors.ts";
import type { PasswordPolicy } from "./settings.ts";

const ARGON2 = { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 } as const;
const RUNNING_MAX = availableParallelism() * 2;
const WAITING_MAX = 200;

export interface Passwords {
  /** PHC string. Throws `unavailable("sign-in")` when more than 200 wait. */
  hash(password: string): Promise<string>;
  /** False for a null hash too, after the same work, so that unknown names take as long as known ones. */
  verify(hash: string | null, password: string): Promise<boolean>;
  /** True if the hash was made with other parameters than today's. */
  isOutdated(hash: string): boolean;
  /** Names of the rules that are not met (contract auth-and-users.md, "Password check"). */
  unmet(password: string, policy: PasswordPolicy, identity: readonly string[]): Promise<string[]>;
}

let common: Promise<Set<string>> | null = null;
/** The list is 300 kB of text: loaded at the first check only. */
function commonPasswords(): Promise<Set<string>> {
  common ??= import("@zxcvbn-ts/language-common").then(({ dictionary }) => new Set(dictionary["passwords-common"]));
  return common;
}

/** Makes the password functions; their bound is shared by all who use this instance. */
export function openPasswords(): Passwords {
  let running = 0;
  const waiting: (() => void)[] = [];
  const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= RUNNING_MAX) {
      if (waiting.length >= WAITING_MAX) throw unavailable("sign-in");
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
    running += 1;
    try {
      return await work();
    } finally {
      running -= 1;
      waiting.shift()?.();
    }
  };
  const normal = (password: string) => password.normalize("NFKC");
  let decoy: Promise<string> | null = null;
  const hash = (password: string) => inTurn(() => Bun.password.hash(normal(password), ARGON2));
  return {
    hash,
    verify: async (stored, password) => {
      decoy ??= hash(crypto.randomUUID());
      const against = stored ?? (await decoy);
      const matches = await inTurn(() => Bun.password.verify(normal(password), against));
      return stored !== null && matches;
    },
    isOutdated: (stored) => !stored.startsWith(`$argon2id$v=19$m=${ARGON2.memoryCost},t=${ARGON2.timeCost},`),
    unmet: async (password, policy, identity) => {
      const text = normal(password);
      const length = Array.from(text).length;
      const folded = text.toLowerCase();
      const rules: [string, boolean][] = [
        ["min_length", length >= policy.min_length],
        ["max_length", length <= policy.max_length],
        ["uppercase", !policy.require_uppercase || /\p{Lu}/u.test(text)],
        ["lowercase", !policy.require_lowercase || /\p{Ll}/u.test(text)],
        ["number", !policy.require_numbers || /\p{Nd}/u.test(text)],
        ["special", !policy.require_special || /[^\p{L}\p{Nd}\s]/u.test(text)],
        ["common", !policy.block_common || !(await commonPasswords()).has(folded)],
        ["contains_identity", !identity.some((name) => name.length >= 4 && folded.includes(name.toLowerCase()))],
      ];
      return rules.filter(([, isMet]) => !isMet).map(([rule]) => rule);
    },
  };
}
