// Builds the half of the knowledge area that takes in and manages; searching and answering stand beside it.

import { eq } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import type { Events } from "../../core/events/index.ts";
import type { Log } from "../../core/log.ts";
import type { People } from "../../core/people/index.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type { EmbeddingEngine } from "../../engines/embedding/index.ts";
import type { ExtractEngine } from "../../engines/extract/index.ts";
import type { Fetcher } from "../../engines/fetch/index.ts";
import type { Jobs } from "../../engines/jobs/index.ts";
import type { ObjectStore } from "../../engines/objects/index.ts";
import type { VectorIndex } from "../../engines/vectors/index.ts";
import { documentBlobs } from "./blobs.ts";
import { collectionService } from "./collections.ts";
import { documentService } from "./documents.ts";
import type { BotsDoor } from "./doors.ts";
import { openFinder } from "./finder.ts";
import { openIndexing } from "./indexing.ts";
import { intakeService } from "./intake.ts";
import { kbCollections, kbDocuments, kbFolderRules, kbJobs, kbRuleSets } from "./model.ts";
import { passageStore } from "./passages.ts";
import { permissionService } from "./permissions.ts";
import type { Readers } from "./reader.ts";
import { aboutSeed } from "./seed.ts";
import { workService } from "./work.ts";

export interface KnowledgeDeps {
  database: DatabaseEngine;
  objects: ObjectStore;
  jobs: Jobs;
  extract: ExtractEngine;
  embedding: EmbeddingEngine;
  vectors: VectorIndex;
  fetcher: Pick<Fetcher, "fetch" | "check">;
  readers: Readers;
  bots: BotsDoor;
  audit: Audit;
  events: Events;
  people: People;
  clock: Clock;
  log: Log;
}

export type KnowledgeArea = ReturnType<typeof openKnowledge>;

/** Nothing is asked of the engines before `seed`. */
export function openKnowledge(deps: KnowledgeDeps) {
  const { database, objects, jobs, embedding, vectors, fetcher, readers, bots, audit, events, clock, log } = deps;
  const passages = passageStore({ database, embedding, vectors, hasVectors: vectors.kind !== "off", clock, log });
  const blobs = documentBlobs({ database, objects, log });
  const finder = openFinder({ database, bots, readers });
  const permissions = permissionService({ database, clock, audit, passages, finder });
  const indexing = openIndexing({
    database,
    objects,
    jobs,
    extract: deps.extract,
    embedding,
    passages,
    blobs,
    bots,
    events,
    clock,
    log,
    fetcher,
  });
  const collections = collectionService({
    database,
    clock,
    audit,
    bots,
    finder,
    readers,
    passages,
    permissions,
    blobs,
    vectors,
    embedding,
  });
  const documents = documentService({
    database,
    objects,
    clock,
    audit,
    bots,
    finder,
    readers,
    passages,
    permissions,
    blobs,
  });
  const intake = intakeService({
    database,
    objects,
    clock,
    audit,
    finder,
    collections,
    permissions,
    passages,
    indexing,
    blobs,
    fetcher,
  });
  const work = workService({ database, jobs, audit, bots, finder, indexing });
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
    /** What the default bot knows about the product; once the jobs engine runs. */
    seed,
    /** The nightly sweep; once the jobs engine runs. */
    schedule: () => indexing.schedule(),
  };
}
