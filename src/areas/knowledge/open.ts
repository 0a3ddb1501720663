// Builds the knowledge area from what it stands on: taking documents in, managing them, searching and answering.

import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import type { Events } from "../../core/events/index.ts";
import type { Log } from "../../core/log.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import type { EmbeddingEngine, Reranker } from "../../engines/embedding/index.ts";
import type { ExtractEngine } from "../../engines/extract/index.ts";
import type { Fetcher } from "../../engines/fetch/index.ts";
import type { Jobs } from "../../engines/jobs/index.ts";
import type { Model } from "../../engines/model/index.ts";
import type { ObjectStore } from "../../engines/objects/index.ts";
import type { VectorIndex } from "../../engines/vectors/index.ts";
import { answerService } from "./answer.ts";
import { documentBlobs } from "./blobs.ts";
import { collectionService } from "./collections.ts";
import { documentService } from "./documents.ts";
import type { BotsDoor } from "./doors.ts";
import { openFinder } from "./finder.ts";
import { openIndexing } from "./indexing.ts";
import { intakeService } from "./intake.ts";
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
  clock: Clock;
  log: Log;
  bots: BotsDoor & SearchBots;
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
  const seed = aboutSeed({ database, clock, log, bots, collections, documents, intake, work });
  return {
    collections,
    documents,
    intake,
    work,
    permissions,
    indexing,
    search,
    answers,
    /** Once the jobs engine runs: the sweep, and the knowledge about the product itself. */
    start: async (): Promise<void> => {
      await indexing.schedule();
      await seed();
    },
  };
}
