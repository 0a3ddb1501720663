// Erases deleted bots when their 30 days are over, with everything that hangs on them.

import { and, eq, isNotNull } from "drizzle-orm";
import type { Log } from "../../core/log.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type { Jobs } from "../../engines/jobs/index.ts";
import type { BotRow } from "./model.ts";
import { bots } from "./model.ts";
import type { BotService } from "./service.ts";

const KIND = "bots.erase";

/** Erases what an area keeps about a bot, in the transaction that ends the bot's row. */
export type BotEraser = (tx: Database, bot: { id: string; conversations: "keep" | "delete" }) => Promise<void>;

/** Defines the daily job; call before the jobs engine starts. */
export function botJobs(deps: {
  engine: DatabaseEngine;
  jobs: Jobs;
  log: Log;
  bots: Pick<BotService, "expired">;
  erasers: readonly BotEraser[];
}) {
  const { engine, jobs, log, erasers } = deps;

  async function erase(row: BotRow): Promise<void> {
    await engine.transaction(async (tx) => {
      // Settings and memory go with the row.
      const gone = await tx
        .delete(bots)
        .where(and(eq(bots.id, row.id), isNotNull(bots.deletedAt)))
        .returning({ id: bots.id });
      // Restored meanwhile.
      if (gone.length === 0) return;
      for (const eraser of erasers) await eraser(tx, { id: row.id, conversations: row.conversationsOnErase });
    });
  }

  async function eraseExpired(): Promise<{ erased: number }> {
    const expired = await deps.bots.expired();
    for (const row of expired) await erase(row);
    if (expired.length > 0) log.info("deleted bots were erased", { count: expired.length });
    return { erased: expired.length };
  }

  jobs.define({ kind: KIND, run: () => eraseExpired() });
  return {
    eraseExpired,
    /** Registers the daily run; once the jobs engine has started. */
    schedule: () => jobs.schedule(KIND, "17 3 * * *", "UTC", KIND, {}),
  };
}
