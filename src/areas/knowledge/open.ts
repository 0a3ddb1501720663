// Builds the knowledge area from what it stands on: taking documents in, managing them, searching and answering.

import { eq } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import type { Events } from "../../core/events/index.ts";
import type { Log } from "../../core/log.ts";
import type { People } from "../../core/people/index.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type { EmbeddingEngine, Reranker } from "../../engines/embedding/index.ts";
import type { ExtractEngine } from "../../engines/extract/index.ts";
import type { Fetcher } from "../../engines/fetch/index.ts";
import type { Jobs } from "../../engines/jobs/index.ts";
import type { Model } from "../../engines/model/index.ts";
import type { ObjectStore } from "../../engines/objects/index.ts";
import type { VectorIndex } from "../../engines/vectors/index.ts";
import { answerService } from "./answer.ts";
import { documentBlobs } from "./blobs.ts";
import { cachedAnswers, type CachedAnswersDoor } from "./cached-answers.ts";
import { collectionService } from "./collections.ts";
import { documentService } from "./documents.ts";
import type { BotsDoor } from "./doors.ts";
import { openFinder } from "./finder.ts";
import { openIndexing } from "./indexing.ts";
import { intakeService } from "./intake.ts";
import { kbCollections, kbDocuments, kbFolderRules, kbJobs, kbRuleSets } from "./model.ts";
import { passageStore } from "./passages.ts";
import { permissionService } from "./permissions.ts";
import { readers as openReaders } from "./reader.ts";
import { searchService, type SearchBots } from "./search.ts";
import { aboutSeed } from "./seed.ts";
import { workService } from "./work.ts";

export interface KnowledgeDeps {
  database: DatabaseEngine;
  objects: ObjectStore;
  jobs: Jobs;
  extract: ExtractEngine;
  embedding: EmbeddingEngine;
  vectors: VectorIndex;
  fetcher: Pick<Fetcher, "check" | "fetch">;
  reranker: Reranker | null;
  /** The bot's model; null without one. */
  modelFor: (botId: string) => Promise<Model | null>;
  audit: Audit;
  events: Events;
  people: People;
  clock: Clock;
  log: Log;
  bots: BotsDoor & SearchBots;
  cachedAnswers: CachedAnswersDoor;
}

export type KnowledgeArea = ReturnType<typeof openKnowledge>;

/** The knowledge area. Nothing is asked of the engines before `start`. */
export function openKnowledge(deps: KnowledgeDeps) {
  const { database, objects, clock, log, audit, bots, embedding, vectors } = deps;
  const readers = openReaders({ database, clock });
  const finder = openFinder({ database, bots, readers });
  const blobs = documentBlobs({ database, objects, log });
  const passages = passageStore({ database, embedding, vectors, hasVectors: vectors.kind !== "off", clock, log });
  const permissions = permissionService({ database, clock, audit, passages, finder });
  const shared = { ...deps, readers, finder, blobs, passages, permissions };
  const collections = collectionService(shared);
  const documents = documentService(shared);
  const indexing = openIndexing(shared);
  const intake = intakeService({ ...shared, collections, indexing });
  const work = workService({ ...shared, indexing });
  const search = searchService({ ...shared });
  const answers = answerService({ ...shared, search });
  const cached = cachedAnswers(shared);
  const seed = aboutSeed({ database, clock, log, bots, collections, documents, intake, work });

  deps.people.register({
    area: "knowledge",
    tables: ["kb_collections", "kb_documents", "kb_folder_rules", "kb_jobs"],
    export: async (db, userId) => ({ documents_added: await documents.ofPerson(db, userId) }),
    // What somebody has added belongs to the bot; only who it was is forgotten.
    erase: async (tx, userId) => {
      await tx.update(kbCollections).set({ createdBy: null }).where(eq(kbCollections.createdBy, userId));
      await tx.update(kbDocuments).set({ createdBy: null }).where(eq(kbDocuments.createdBy, userId));
      await tx.update(kbFolderRules).set({ updatedBy: null }).where(eq(kbFolderRules.updatedBy, userId));
      await tx.update(kbJobs).set({ createdBy: null }).where(eq(kbJobs.createdBy, userId));
    },
  });

  return {
    collections,
    documents,
    intake,
    work,
    permissions,
    indexing,
    search,
    answers,
    cached,
    passages,
    /** Which of these blobs a document still needs; for the sweep of orphans. */
    referencedBlobs: blobs.referenced,
    /** Erases what hangs on a bot, in the transaction that ends it; its blobs are left to the sweep of orphans. */
    eraseBot: async (tx: Database, bot: { id: string }): Promise<void> => {
      await tx.delete(kbCollections).where(eq(kbCollections.botId, bot.id));
      await tx.delete(kbFolderRules).where(eq(kbFolderRules.botId, bot.id));
      await tx.delete(kbRuleSets).where(eq(kbRuleSets.botId, bot.id));
      await tx.delete(kbJobs).where(eq(kbJobs.botId, bot.id));
    },
    seed,
    /** Once the jobs engine runs: the sweep, and the knowledge about the product itself. */
    start: async (): Promise<void> => {
      // Searches read what they need themselves, so nobody waits for this.
      vectors.start().catch((error: unknown) => log.warn("the passage index was not loaded at start", { error }));
      await indexing.schedule();
      await seed();
    },
  };
}
