// Gives the default bot its knowledge about the product, so that the first question on a new machine is answered.

import { and, eq, isNull, notInArray } from "drizzle-orm";
import type { Clock } from "../../core/clock.ts";
import { systemContext } from "../../core/context.ts";
import type { Log } from "../../core/log.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import { sha256Hex } from "../../lib/ids/index.ts";
import { ABOUT_TEXTS } from "./about/index.ts";
import type { Collections } from "./collections.ts";
import type { Documents } from "./documents.ts";
import type { BotsDoor } from "./doors.ts";
import type { Intake } from "./intake.ts";
import { kbCollections, kbDocuments, kbSeeds } from "./model.ts";
import type { Work } from "./work.ts";

const NAME = "about";
const WAIT_SECONDS = 10;

export function aboutSeed(deps: {
  database: DatabaseEngine;
  clock: Clock;
  log: Log;
  bots: BotsDoor;
  collections: Collections;
  documents: Documents;
  intake: Intake;
  work: Work;
}) {
  const { database, clock, log, bots, collections, documents, intake, work } = deps;
  const digest = sha256Hex(JSON.stringify(ABOUT_TEXTS));

  /**
   * Makes or updates the collection `about` and waits until it can be searched. Does nothing when these very texts
   * were seeded before, when somebody has deleted the collection since, or when they have one of that name. Several
   * instances may run it at once. The jobs engine must run.
   */
  return async (): Promise<void> => {
    const [known] = await database.db.select().from(kbSeeds).where(eq(kbSeeds.name, NAME));
    if (known?.sha256 === digest) return;
    const bot = await bots.find(null);
    if (!bot) return;
    const ctx = systemContext(["*"], "seed");
    const [found] = await database.db
      .select()
      .from(kbCollections)
      .where(and(eq(kbCollections.botId, bot.id), eq(kbCollections.nameKey, NAME)));
    const isOurs = found !== undefined && (known?.collectionId === found.id || found.createdBy === null);
    const mark = async (collectionId: string | null) => {
      const set = { sha256: digest, collectionId, seededAt: clock.date() };
      await database.db
        .insert(kbSeeds)
        .values({ name: NAME, ...set })
        .onConflictDoUpdate({ target: kbSeeds.name, set });
    };
    if (known ? !isOurs : found !== undefined && !isOurs) {
      await mark(null);
      return;
    }
    const collectionId =
      found?.id ??
      (
        await collections
          .create(ctx, {
            bot_id: bot.id,
            name: NAME,
            description: "What botserver is and how it is used",
            auto: true,
            default_access: "all",
          })
          // Another instance was faster.
          .catch(() => collections.get(ctx, `${bot.id}:${NAME}`))
      ).id;
    const taken = await intake.ingest(ctx, {
      collection: collectionId,
      items: ABOUT_TEXTS.map(({ id, title, text }) => ({ text, title, external_id: id })),
    });
    const gone = await database.db
      .select({ id: kbDocuments.id })
      .from(kbDocuments)
      .where(
        and(
          eq(kbDocuments.collectionId, collectionId),
          isNull(kbDocuments.createdBy),
          notInArray(
            kbDocuments.id,
            taken.documents.map(({ id }) => id),
          ),
        ),
      );
    if (gone.length > 0) await documents.removeMany(ctx, { ids: gone.map(({ id }) => id) });
    await mark(collectionId);
    if (taken.job_id !== null && !(await work.wait(taken.job_id, WAIT_SECONDS))) {
      log.warn("what the default bot knows about the product is still being indexed");
    }
  };
}
