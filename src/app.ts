// The only wiring: which services stand on which engines, which routes on which services. What depends on what is
// read here and nowhere else; tests build the same app with other engines.

import type { AnyElysia } from "elysia";
import { userRoutes } from "./areas/users/routes.ts";
import { openBots, type BotsArea } from "./areas/bots/open.ts";
import { botRoutes } from "./areas/bots/routes.ts";
import { isListed } from "./areas/bots/rules.ts";
import { openConversations, type ConversationsArea } from "./areas/conversations/open.ts";
import { conversationRoutes } from "./areas/conversations/routes.ts";
import { openKnowledge } from "./areas/knowledge/open.ts";
import { knowledgeRoutes } from "./areas/knowledge/routes.ts";
import { searchRoutes } from "./areas/knowledge/search-routes.ts";
import { openReranker } from "./engines/embedding/rerank.ts";
import type { ExtractEngine } from "./engines/extract/index.ts";
import type { Fetcher } from "./engines/fetch/index.ts";
import { openModel } from "./engines/model/open.ts";
import { monitoringRoutes } from "./areas/monitoring/routes.ts";
import { healthService, type Component } from "./areas/monitoring/service.ts";
import { accountService } from "./areas/users/accounts.ts";
import { openAuthenticator } from "./areas/users/authenticator.ts";
import { keyService } from "./areas/users/keys.ts";
import { openPasswords } from "./areas/users/passwords.ts";
import { registerUsers } from "./areas/users/people.ts";
import { sessionService } from "./areas/users/sessions.ts";
import { openSecuritySettings } from "./areas/users/settings.ts";
import { signInService } from "./areas/users/signin.ts";
import type { Config } from "./config.ts";
import { openAudit } from "./core/audit/index.ts";
import type { Clock } from "./core/clock.ts";
import { systemContext, type Context } from "./core/context.ts";
import { unauthorized } from "./core/errors.ts";
import { openEvents } from "./core/events/index.ts";
import { openIdempotency } from "./core/idempotency/index.ts";
import type { Log } from "./core/log.ts";
import { openPeople } from "./core/people/index.ts";
import { openPermissions } from "./core/permissions/index.ts";
import { openSeal } from "./core/seal.ts";
import type { Cache } from "./engines/cache/index.ts";
import type { DatabaseEngine } from "./engines/database/index.ts";
import type { EmbeddingEngine } from "./engines/embedding/index.ts";
import type { Jobs } from "./engines/jobs/index.ts";
import type { Model } from "./engines/model/index.ts";
import type { ObjectStore } from "./engines/objects/index.ts";
import type { VectorIndex } from "./engines/vectors/index.ts";
import { docsRoutes } from "./http/docs.ts";
import { pageRoutes } from "./http/pages.ts";
import type { Pages } from "./pages/open.ts";
import { idempotentRoutes } from "./http/idempotent.ts";
import { openKernel } from "./http/kernel.ts";
import { openLimits } from "./http/limits.ts";
import { openTokens } from "./http/tokens.ts";
import { ownWindow, type WindowOptions } from "./http/window.ts";

export interface Engines {
  database: DatabaseEngine;
  cache: Cache;
  objects: ObjectStore;
  jobs: Jobs;
  embedding: EmbeddingEngine;
  extract: ExtractEngine;
  fetcher: Fetcher;
  vectors: VectorIndex;
  /** Null: answers are quoted from the knowledge. */
  model: Model | null;
}

export interface AppDeps {
  config: Config;
  secretKey: string;
  engines: Engines;
  clock: Clock;
  log: Log;
  version: string;
  pages: Pages;
}

/** Builds services and routes. Nothing is asked of the engines before `start`. */
export function createApp(deps: AppDeps) {
  const { config, engines, clock, log } = deps;
  const { database, cache } = engines;

  // The documents and the sockets need the finished app; this reference keeps its type out of its own making.
  const finished: { app: AnyElysia | null } = { app: null };

  const seal = openSeal(deps.secretKey, config.secretKeyPrevious);
  const audit = openAudit({ clock });
  const events = openEvents({ clock });
  const people = openPeople();
  const permissions = openPermissions({ database, clock });
  const idempotency = openIdempotency({ database, clock, seal });
  const idempotent = idempotentRoutes(idempotency);
  const tokens = openTokens({ seal, clock });
  const window = (options: WindowOptions) => ownWindow({ cache, clock }, options);

  // Users
  registerUsers(people);
  const securitySettings = openSecuritySettings({ database });
  const authenticator = openAuthenticator({
    database,
    cache,
    clock,
    log,
    permissions,
    settings: securitySettings,
    verifyToken: (token) => tokens.verify(token),
  });
  const sessions = sessionService({
    database,
    clock,
    seal,
    audit,
    settings: securitySettings,
    authenticator,
    signToken: (claims) => tokens.sign(claims),
  });
  const signIn = signInService({
    database,
    clock,
    audit,
    events,
    permissions,
    passwords: openPasswords(),
    settings: securitySettings,
    sessions,
    authenticator,
    registration: () => config.registration,
    bootstrapSecret: config.bootstrapSecret,
  });
  const accounts = accountService({ database, clock, audit, events, permissions, authenticator, sessions });
  const keys = keyService({ database, clock, audit, authenticator });
  const keyToken = async (ctx: Context, keyId: string, secret: string) => {
    const caller = await authenticator.authenticate(secret, { ip: ctx.ip ?? "unknown", userAgent: ctx.userAgent });
    if (caller.keyId !== keyId || caller.userId === null) throw unauthorized("This API key is not valid.");
    const expiresIn = 15 * 60;
    const exp = Math.floor(clock.now() / 1000) + expiresIn;
    return { accessToken: await tokens.sign({ sub: caller.userId, key: keyId, exp }), expiresIn };
  };

  // Knowledge, bots and conversations know each other. Each is handed the others as small interfaces; those that are
  // built later are reached through this.
  const later: { bots: BotsArea | null; conversations: ConversationsArea | null } = {
    bots: null,
    conversations: null,
  };
  const now = <Name extends keyof typeof later>(name: Name): NonNullable<(typeof later)[Name]> => {
    const area = later[name];
    if (area === null) throw new Error(`${name} are not built yet`);
    return area as NonNullable<(typeof later)[Name]>;
  };

  const userCaller = async (userId: string) => authenticator.callerOf({ kind: "user", userId });
  const llm =
    config.llmUrl === null
      ? null
      : {
          url: config.llmUrl,
          apiKey: config.llmApiKey,
          model: config.llmModel,
          timeoutMs: config.llmTimeoutSeconds * 1000,
        };

  // Knowledge
  const reranker = config.rerankUrl === null ? null : openReranker({ url: config.rerankUrl });
  const knowledge = openKnowledge({
    database,
    objects: engines.objects,
    jobs: engines.jobs,
    extract: engines.extract,
    embedding: engines.embedding,
    vectors: engines.vectors,
    fetcher: engines.fetcher,
    reranker,
    modelFor: (botId) => now("bots").modelFor(botId),
    audit,
    events,
    people,
    clock,
    log,
    cachedAnswers: {
      stats: (botId) => now("bots").answers.stats(botId),
      clear: (botId) => now("bots").answers.clear(botId),
    },
    bots: {
      usable: (ctx, ref) => now("bots").bots.usable(ctx, ref),
      find: (ref) => now("bots").forKnowledge.find(ref),
      mayUse: (ctx, botId) => now("bots").forKnowledge.mayUse(ctx, botId),
    },
  });

  // Bots
  const bots = openBots({
    engine: database,
    cache,
    clock,
    log,
    seal,
    audit,
    people,
    jobs: engines.jobs,
    embedding: engines.embedding,
    vectors: engines.vectors,
    fetcher: engines.fetcher,
    openModel,
    operator: {
      connection: llm,
      aliases: { fast: config.llmFastModel, quality: config.llmQualityModel, code: config.llmCodeModel },
      fallbackOrder: config.llmFallbackOrder,
    },
    surroundings: {
      serverDefaults: {
        ...(config.llmModel === null ? {} : { "llm-model": config.llmModel }),
        ...(config.llmCache ? { "llm-cache": "true" } : {}),
      },
      environment: (name) => config.botEnvironment[name],
    },
    knowledge: knowledge.answers.knowledge,
    conversations: {
      find: (ctx, id) => now("conversations").door.find(ctx, id),
      tell: (id, suggestions, switchers) => now("conversations").door.tell(id, suggestions, switchers),
    },
    callerOf: userCaller,
    erasers: [
      (tx, bot) => knowledge.eraseBot(tx, bot),
      (tx, bot) =>
        bot.conversations === "delete" ? now("conversations").conversations.eraseOfBot(tx, bot.id) : Promise.resolve(),
    ],
  });
  later.bots = bots;

  // Conversations
  const server = (): AnyElysia["server"] => finished.app?.server ?? null;
  const conversations = openConversations({
    engine: database,
    cache,
    objects: engines.objects,
    clock,
    log,
    audit,
    events,
    people,
    jobs: engines.jobs,
    bots: bots.chat,
    responder: bots.responder,
    callers: { callerOf: (proof) => authenticator.callerOf(proof), endedOf: (ids) => sessions.endedOf(ids) },
    sessions: {
      view: async (ctx) => (ctx.caller.sessionId === null ? null : sessions.current(ctx)),
      botOf: (sessionId) => sessions.botOf(sessionId),
      chooseBot: async (ctx, botId) => {
        await sessions.chooseBot(ctx, botId);
      },
      end: (ctx, sessionId) => sessions.endOwn(ctx, sessionId),
    },
    attendance: null,
    scanner: null,
    listeners: [],
    anonymous: () => authenticator.anonymous(),
    attachmentBytesMax: () => Math.min(50 * 1024 * 1024, config.maxUploadBytes),
    authenticator,
    topics: server,
  });
  later.conversations = conversations;
  authenticator.useChatTokens(conversations.resolveToken);
  bots.directory.onChange((botId) => conversations.sockets.botChanged(botId));

  // Monitoring
  const components: Component[] = [
    { name: "database", required: true, ping: () => database.ping() },
    { name: "cache", required: false, ping: () => cache.ping() },
    { name: "objects", required: true, ping: () => engines.objects.ping() },
    { name: "vectors", required: false, ping: engines.vectors.kind === "off" ? null : () => engines.vectors.ping() },
    {
      name: "llm",
      required: false,
      ping: engines.model
        ? (
            (model) => () =>
              model.ping()
          )(engines.model)
        : null,
    },
  ];
  const health = healthService({ components, clock, log, version: deps.version });

  const kernel = openKernel({
    authenticator,
    limits: openLimits({
      cache,
      clock,
      limits: () => ({
        anonymous: config.rateLimitAnonymous,
        user: config.rateLimitUser,
        admin: config.rateLimitAdmin,
      }),
    }),
    settings: () => config,
    log,
    refused: (ctx, required) =>
      audit.record(database.db, ctx, {
        type: "permission_denied",
        result: "denied",
        details: { route: ctx.route, permission: required, roles: [...ctx.caller.roles] },
      }),
    requestFailed: idempotent.failed,
    degraded: () => (cache.isUp() ? null : "cache"),
    isStopping: health.isStopping,
  });

  const app = kernel.root
    .use(docsRoutes({ app: () => finished.app ?? kernel.root, version: deps.version }))
    .use(monitoringRoutes({ health }))
    .use(botRoutes({ ...bots, idempotent: idempotent.hooks }))
    .use(knowledgeRoutes({ ...knowledge, idempotent: idempotent.hooks }))
    .use(searchRoutes(knowledge))
    .use(conversationRoutes({ area: conversations, idempotency, window, idempotent: idempotent.hooks }))
    .use(
      userRoutes({
        signIn,
        sessions,
        accounts,
        keys,
        keyToken,
        window,
        registration: () => config.registration,
        idempotent: idempotent.hooks,
      }),
    )
    .use(
      pageRoutes({
        pages: deps.pages,
        botPage: async (name) => {
          const bot = await bots.directory.find(name);
          const embedOrigins = bot?.config.value("embed-origins") ?? [];
          return { boundBot: null, listed: bot !== null && isListed(bot.row, embedOrigins), embedOrigins };
        },
      }),
    );
  finished.app = app;
  const table = kernel.seal(app);

  return {
    app,
    table,
    services: {
      bots,
      conversations,
      knowledge,
      signIn,
      sessions,
      accounts,
      keys,
      health,
      permissions,
      people,
      authenticator,
    },
    /** Brings up what the areas need: seeds, subscriptions, jobs. */
    start: async (): Promise<void> => {
      await permissions.seed();
      await securitySettings.load();
      await authenticator.start();
      await bots.start();
      await engines.vectors.start();
      await conversations.start();
      await engines.jobs.start();
      await bots.schedule();
      await knowledge.start();
      if (config.adminEmail !== null && config.adminPassword !== null) {
        const ctx = systemContext(["*"], "start");
        await signIn.ensureAdmin(ctx, config.adminEmail, config.adminPassword);
      }
      health.setPhase("serving");
    },
    /** Not ready from now on. */
    announceStop: (): void => health.setPhase("stopping"),
    /** Lets answers and jobs under way finish, hands back what has not after `graceMs`, closes the sockets. */
    drain: async (graceMs: number): Promise<void> => {
      // A job that does not end when it is told to is left to itself after another second.
      await Promise.all([conversations.drain(graceMs), engines.jobs.stop(Math.max(0, graceMs - 1_000))]);
    },
    /** After the last request. */
    stop: async (): Promise<void> => {
      await bots.stop();
      await authenticator.stop();
    },
  };
}

/** The type that the Eden client is made of. */
export type App = ReturnType<typeof createApp>["app"];
