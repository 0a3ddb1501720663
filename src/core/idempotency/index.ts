// `Idempotency-Key`: the same key gets the same answer for 24 hours, another body under it is 409. The key is claimed
// in the database before the work begins; when the process dies in between, a repetition is told that the outcome is
// not known, instead of doing the work twice.

import { and, eq, isNull, lt } from "drizzle-orm";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import type { Clock } from "../clock.ts";
import { conflict } from "../errors.ts";
import type { Seal } from "../seal.ts";
import { idempotencyKeys } from "./model.ts";

export interface IdempotencyClaim {
  subject: string;
  route: string;
  key: string;
  bodyDigest: string;
}

export interface Idempotency {
  /**
   * Null: the key is new and now claimed, the work may begin. Else the stored answer.
   * Throws 409 `idempotency_mismatch`, `request_running` or `outcome_unknown`.
   */
  claim(claim: IdempotencyClaim): Promise<{ status: number; answer: string } | null>;
  /** Stores the answer of a claimed key. */
  finish(claim: IdempotencyClaim, status: number, answer: string): Promise<void>;
  /** The work was refused: the key may be used again. */
  release(claim: IdempotencyClaim): Promise<void>;
  sweep(): Promise<void>;
}

const KEPT_MS = 24 * 3_600_000;
/** No request runs longer; a claim older than this without an answer belongs to a process that died. */
const RUNNING_MS = 5 * 60_000;

/** Makes the register of keys. */
export function openIdempotency(deps: { database: DatabaseEngine; clock: Clock; seal: Seal }): Idempotency {
  const { db } = deps.database;
  const at = (claim: IdempotencyClaim) =>
    and(
      eq(idempotencyKeys.subject, claim.subject),
      eq(idempotencyKeys.route, claim.route),
      eq(idempotencyKeys.key, claim.key),
    );
  return {
    claim: async (claim) => {
      const now = deps.clock.date();
      await db
        .delete(idempotencyKeys)
        .where(and(at(claim), lt(idempotencyKeys.createdAt, new Date(now.getTime() - KEPT_MS))));
      const [made] = await db
        .insert(idempotencyKeys)
        .values({ ...claim, createdAt: now })
        .onConflictDoNothing()
        .returning({ key: idempotencyKeys.key });
      if (made) return null;
      const [row] = await db.select().from(idempotencyKeys).where(at(claim));
      if (!row) throw conflict("request_running", "A request with this key is under way.");
      if (row.bodyDigest !== claim.bodyDigest) {
        throw conflict("idempotency_mismatch", "This key was used with another body.");
      }
      if (row.status !== null) return { status: row.status, answer: deps.seal.open(row.answer ?? "") };
      const isRunning = now.getTime() - row.createdAt.getTime() < RUNNING_MS;
      throw isRunning
        ? conflict("request_running", "A request with this key is under way.")
        : conflict("outcome_unknown", "The server stopped while it did this; look whether it was done.");
    },
    finish: async (claim, status, answer) => {
      await db
        .update(idempotencyKeys)
        .set({ status, answer: deps.seal.seal(answer) })
        .where(at(claim));
    },
    release: async (claim) => {
      await db.delete(idempotencyKeys).where(and(at(claim), isNull(idempotencyKeys.status)));
    },
    sweep: async () => {
      await db.delete(idempotencyKeys).where(lt(idempotencyKeys.createdAt, new Date(deps.clock.now() - KEPT_MS)));
    },
  };
}
