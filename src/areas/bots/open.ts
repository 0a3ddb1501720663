// Builds the bots area from what it stands on: its services, its side of conversations, and its background work.

import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import type { Caller } from "../../core/context.ts";
import type { Log } from "../../core/log.ts";
import type { People } from "../../core/people/index.ts";
import type { Seal } from "../../core/seal.ts";
import type { Cache } from "../../engines/cache/index.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import type { Embedding } from "../../engines/embedding/index.ts";
import type { Fetcher } from "../../engines/fetch/index.ts";
import type { Jobs } from "../../engines/jobs/index.ts";
import type { Model, ModelOptions } from "../../engines/model/index.ts";
import type { VectorIndex } from "../../engines/vectors/index.ts";
import { openAnswerCache } from "./answer-cache.ts";
import { chatDirectory } from "./chat.ts";
import type { ConfigSurroundings } from "./config.ts";
import { botsDirectory } from "./directory.ts";
import type { BotEraser } from "./jobs.ts";
import { botJobs } from "./jobs.ts";
import type { AnsweringKnowledge } from "./knowledge.ts";
import { knowledgeDoor } from "./knowledge-door.ts";
import { memoryService } from "./memory.ts";
import type { OperatorModels } from "./models.ts";
import { botModels } from "./models.ts";
import { registerBots } from "./people.ts";
import { botResponder } from "./responder.ts";
import { botService } from "./service.ts";
import type { ConversationDoor } from "./session.ts";
import { sessionContexts } from "./session.ts";
import { botSettingsService } from "./settings.ts";
import { openSummaries } from "./summaries.ts";

export interface BotsDeps {
  engine: DatabaseEngine;
  cache: Cache;
  clock: Clock;
  log: Log;
  seal: Seal;
  audit: Audit;
  people: People;
  jobs: Jobs;
  embedding: Embedding | null;
  vectors: Pick<VectorIndex, "kind">;
  /** The outbound guard, for addresses that come from a bot's settings. */
  fetcher: Pick<Fetcher, "fetch" | "check">;
  openModel: (options: ModelOptions) => Model;
  operator: OperatorModels;
  surroundings: ConfigSurroundings;
  knowledge: AnsweringKnowledge;
  conversations: ConversationDoor;
  /** An account as a caller with its present rights; null when there is none. */
  callerOf: (userId: string) => Promise<Caller | null>;
  /** What other areas keep about a bot. */
  erasers: readonly BotEraser[];
}

export type BotsArea = ReturnType<typeof openBots>;

/** The bots area. Nothing is asked of the engines before `start`. */
export function openBots(deps: BotsDeps) {
  const { engine, cache, clock, log, seal, audit, jobs, embedding, vectors, fetcher, surroundings } = deps;
  const directory = botsDirectory({ engine, cache, clock, seal, log, surroundings });
  const models = botModels({ operator: deps.operator, open: deps.openModel, fetcher });
  const settings = botSettingsService({
    engine,
    clock,
    log,
    audit,
    seal,
    directory,
    surroundings,
    judgeAddress: (url) => fetcher.check(url),
  });
  const bots = botService({
    engine,
    clock,
    audit,
    directory,
    settings,
    engines: ({ config }) => ({
      llm: models.nameOf(config),
      embeddings: embedding?.model ?? null,
      vectors: vectors.kind === "off" ? null : vectors.kind,
    }),
    callerOf: deps.callerOf,
  });
  const memory = memoryService({ engine, clock, audit, directory, bots });
  const sessions = sessionContexts({ engine, clock, directory, conversations: deps.conversations });
  const answers = openAnswerCache({ cache, embedding, clock });
  const summaries = openSummaries({ models, sessions, log });
  const responder = botResponder({
    directory,
    sessions,
    memory,
    knowledge: deps.knowledge,
    models,
    answers,
    summaries,
    hasDocuments: bots.hasDocuments,
    cache,
    clock,
    log,
  });
  const background = botJobs({ engine, jobs, log, bots, erasers: deps.erasers });

  registerBots(deps.people, memory);

  return {
    directory,
    chat: chatDirectory(directory),
    forKnowledge: knowledgeDoor(directory),
    bots,
    settings,
    memory,
    sessions,
    answers,
    responder,
    /** The model that a bot talks to, for whoever asks it in the bot's name; null without one. */
    modelFor: async (botId: string): Promise<Model | null> => {
      const bot = await directory.find(botId);
      return bot ? models.first(bot.config) : null;
    },
    /** Seeds the default bot and listens for changes; after the migration, before the jobs engine starts. */
    start: async (): Promise<void> => {
      await directory.start();
      await answers.start();
      await bots.seed();
    },
    /** Once the jobs engine runs. */
    schedule: () => background.schedule(),
    eraseExpired: () => background.eraseExpired(),
    stop: async (): Promise<void> => {
      await responder.settled();
      await directory.stop();
      await answers.stop();
    },
  };
}
