// What the bots area keeps of a person: what bots remember of them, and where their id stands on a bot.

import { eq } from "drizzle-orm";
import type { People } from "../../core/people/index.ts";
import type { MemoryService } from "./memory.ts";
import { bots, botSettings } from "./model.ts";

/** Registers these tables. Bots that a person made stay, without the name of who made them. */
export function registerBots(people: People, memory: Pick<MemoryService, "exportOf" | "eraseOf">): void {
  people.register({
    area: "bots",
    tables: ["bots", "bot_settings", "bot_memory"],
    export: async (db, userId) => ({
      memory: await memory.exportOf(db, userId),
      bots_made: await db.select({ id: bots.id, name: bots.name }).from(bots).where(eq(bots.createdBy, userId)),
    }),
    erase: async (tx, userId) => {
      await memory.eraseOf(tx, userId);
      await tx.update(bots).set({ createdBy: null }).where(eq(bots.createdBy, userId));
      await tx.update(bots).set({ deletedBy: null }).where(eq(bots.deletedBy, userId));
      await tx.update(botSettings).set({ updatedBy: null }).where(eq(botSettings.updatedBy, userId));
      // Allow lists keep the id, which points to an emptied account: a list that became empty would let everyone in.
    },
  });
}
