// The only wiring: which services stand on which engines, which routes on which services. What depends on what is
// read here and nowhere else; tests build the same app with other engines.

import type { AnyElysia } from "elysia";
import { userRoutes } from "./areas/users/routes.ts";
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
import type { Embedding } from "./engines/embedding/index.ts";
import type { Jobs } from "./engines/jobs/index.ts";
import type { Model } from "./engines/model/index.ts";
import type { ObjectStore } from "./engines/objects/index.ts";
import type { VectorIndex } from "./engines/vectors/index.ts";
import { docsRoutes } from "./http/docs.ts";
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
  embedding: Embedding;
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
}

/** Builds services and routes. Nothing is asked of the engines before `start`. */
export function createApp(deps: AppDeps) {
  const { config, engines, clock, log } = deps;
  const { database, cache } = engines;

  const seal = openSeal(deps.secretKey, config.secretKeyPrevious);
  const audit = openAudit({ clock });
  const events = openEvents({ clock });
  const people = openPeople();
  const permissions = openPermissions({ database, clock });
  const idempotency = openIdempotency({ database, clock });
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
    verifyToken: tokens.verify,
  });
  const sessions = sessionService({
    database,
    clock,
    seal,
    audit,
    settings: securitySettings,
    authenticator,
    signToken: tokens.sign,
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
  });

  // The documents need the finished app; this reference keeps its type out of its own making.
  const finished: { app: AnyElysia | null } = { app: null };
  const app = kernel.root
    .use(docsRoutes({ app: () => finished.app ?? kernel.root, version: deps.version }))
    .use(monitoringRoutes({ health }))
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
    );
  finished.app = app;
  const table = kernel.seal(app);

  return {
    app,
    table,
    services: { signIn, sessions, accounts, keys, health, permissions, people, authenticator },
    /** Brings up what the areas need: seeds, subscriptions, jobs. */
    start: async (): Promise<void> => {
      await permissions.seed();
      await securitySettings.load();
      await authenticator.start();
      await engines.jobs.start();
      if (config.adminEmail !== null && config.adminPassword !== null) {
        const ctx = systemContext(["*"], "start");
        await signIn.ensureAdmin(ctx, config.adminEmail, config.adminPassword);
      }
      health.setPhase("serving");
    },
    /** Takes no more work and lets what is under way finish. */
    drain: async (graceMs: number): Promise<void> => {
      health.setPhase("stopping");
      await engines.jobs.stop(graceMs);
      await authenticator.stop();
    },
  };
}

/** The type that the Eden client is made of. */
export type App = ReturnType<typeof createApp>["app"];
