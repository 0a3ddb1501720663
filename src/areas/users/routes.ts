// Routes of sign-in, accounts, sessions and API keys. Aliases of the contract are the same handlers.

import { Elysia, t } from "elysia";
import { oneOf } from "../../http/schema.ts";
import type { Context } from "../../core/context.ts";
import { requireUser } from "../../core/context.ts";
import { badRequest, invalid, isAppError } from "../../core/errors.ts";
import { expandPermissions } from "../../core/permissions/words.ts";
import { enveloped, ok, otherForm } from "../../http/envelope.ts";
import type { IdempotentHooks } from "../../http/idempotent.ts";
import { Failure, kernel } from "../../http/failures.ts";
import { mark } from "../../http/mark.ts";
import { listOf, listQuery } from "../../http/paging.ts";
import type { WindowOptions } from "../../http/window.ts";
import type { Accounts } from "./accounts.ts";
import type { Keys } from "./keys.ts";
import * as schema from "./schema.ts";
import type { Sessions, SessionTokens } from "./sessions.ts";
import type { SignIn } from "./signin.ts";

export interface UserRoutesDeps {
  signIn: SignIn;
  sessions: Sessions;
  accounts: Accounts;
  keys: Keys;
  /** Grants of `client_credentials`: a 15-minute access token for an API key. */
  keyToken: (ctx: Context, keyId: string, secret: string) => Promise<{ accessToken: string; expiresIn: number }>;
  window: (options: WindowOptions) => (app: Elysia) => Elysia;
  registration: () => "open" | "closed" | "invite";
  idempotent: IdempotentHooks;
}

const TAG = "Users";
const tokens = (pair: SessionTokens) => ({
  access_token: pair.accessToken,
  refresh_token: pair.refreshToken,
  token_type: "Bearer" as const,
  expires_in: pair.expiresIn,
});

const userList = listQuery({
  sort: ["username", "email", "display_name", "created_at", "last_login"],
  page: true,
  filters: {
    search: t.String({ maxLength: 200 }),
    status: oneOf([
      "pending",
      "pending_verification",
      "pending_activation",
      "active",
      "suspended",
      "inactive",
      "deleted",
    ]),
  },
});
const sessionList = listQuery({ filters: { status: oneOf(["active", "ended"]) } });
const keyList = listQuery({
  filters: { status: oneOf(["active", "expired", "revoked"]), user_id: t.String({ format: "uuid" }) },
});

const UserId = t.Object({ user_id: t.String({ maxLength: 64, description: "an id, or `me`" }) });
const SessionId = t.Object({ user_id: t.String({ maxLength: 64 }), session_id: t.String({ format: "uuid" }) });
const KeyId = t.Object({ key_id: t.String({ format: "uuid" }) });

/** Bare JSON that must not be stored (RFC 6749, 5.1). */
function oauthAnswer(status: number, body: Record<string, unknown>): never {
  const headers = { "content-type": "application/json", "cache-control": "no-store", pragma: "no-cache" };
  return otherForm(new Response(JSON.stringify(body), { status, headers }));
}

/** The users area. */
export function userRoutes(deps: UserRoutesDeps) {
  const { signIn, sessions, accounts, keys } = deps;

  const loggedIn = async (ctx: Context, input: typeof schema.Login.static) => {
    const name = input.username ?? input.email;
    if (name === undefined) throw invalid([{ path: "username", message: "username or email is required" }]);
    const pair = await signIn.login(ctx, {
      name,
      password: input.password,
      rememberMe: input.remember_me ?? input.remember ?? false,
    });
    return {
      ...tokens(pair),
      session_id: pair.sessionId,
      requires_2fa: false as const,
      user: await accounts.record(pair.user.id),
      redirect: "/",
    };
  };

  const login = async ({ ctx, body }: { ctx: Context; body: typeof schema.Login.static }) =>
    ok(await loggedIn(ctx, body));
  const loginRoute = {
    body: schema.Login,
    response: { 200: enveloped(schema.LoggedIn) },
    detail: mark({
      access: "public",
      summary: "Sign in with a password",
      tag: TAG,
      whileRestricted: true,
      aliases: ["/users/login", "/security/auth/login"],
    }),
  };

  const refresh = async ({ ctx, body }: { ctx: Context; body: typeof schema.Refresh.static }) =>
    ok(tokens(await sessions.refresh(ctx, body.refresh_token)));
  const refreshRoute = {
    body: schema.Refresh,
    response: { 200: enveloped(schema.TokenPair) },
    detail: mark({
      access: "public",
      summary: "Exchange a refresh token for a new pair",
      tag: TAG,
      whileRestricted: true,
    }),
  };

  const logout = async ({ ctx, body }: { ctx: Context; body: typeof schema.Logout.static | null }) => {
    await sessions.logout(ctx, {
      ...(body?.refresh_token === undefined ? {} : { refreshToken: body.refresh_token }),
      everywhere: body?.everywhere ?? false,
    });
    return ok({ status: "logged_out" as const, redirect_url: "/" });
  };
  const logoutRoute = {
    body: schema.Logout,
    response: { 200: enveloped(t.Object({ status: t.Literal("logged_out"), redirect_url: t.String() })) },
    detail: mark({ access: "public", summary: "End the session", tag: TAG, whileRestricted: true }),
  };

  const register = async ({
    ctx,
    body,
    set,
  }: {
    ctx: Context;
    body: typeof schema.Register.static;
    set: { status?: unknown };
  }) => {
    const made = await signIn.register(ctx, {
      email: body.email,
      password: body.password,
      username: body.username,
      displayName: body.display_name,
      firstName: body.first_name,
      lastName: body.last_name,
    });
    set.status = 201;
    return ok(made);
  };
  const registerRoute = {
    body: schema.Register,
    response: { 201: enveloped(t.Object({ user_id: t.String(), status: t.String() })) },
    detail: mark({
      access: "public",
      summary: "Make an account of one's own",
      tag: TAG,
      description: "As REGISTRATION says: open, closed or by invitation.",
    }),
  };

  const validate = async ({ ctx }: { ctx: Context }) => {
    const { caller } = ctx;
    const userId = requireUser(ctx);
    const session = caller.sessionId ? await sessions.current(ctx) : null;
    const key = caller.keyId ? await keys.get(ctx, caller.keyId) : null;
    return ok({
      valid: true as const,
      kind: caller.kind === "api_key" ? ("api_key" as const) : ("session" as const),
      user_id: userId,
      session_id: caller.sessionId,
      expires_at: session?.expires_at ?? key?.expires_at ?? null,
      roles: [...caller.roles],
      permissions: expandPermissions(caller.permissions),
    });
  };
  const validateRoute = {
    response: { 200: enveloped(schema.Validation) },
    detail: mark({ access: "signed-in", summary: "Say whose credential this is", tag: TAG, whileRestricted: true }),
  };

  const me = async ({ ctx }: { ctx: Context }) => ok(await accounts.me(ctx));
  const meRoute = {
    response: { 200: enveloped(schema.Me) },
    detail: mark({
      access: "signed-in",
      summary: "The caller's own account",
      tag: TAG,
      whileRestricted: true,
      aliases: ["/auth/me", "/user/profile"],
    }),
  };

  const keyInput = (body: typeof schema.NewKey.static) => {
    const scopes = body.scopes ?? body.permissions;
    if (!scopes) throw invalid([{ path: "scopes", message: "is required", expected: "at least one permission" }]);
    const days = body.expires_in_days ?? 90;
    return {
      name: body.name,
      scopes,
      ipAllowlist: body.ip_allowlist ?? [],
      expiresAt: body.expires_at === undefined ? deps.signIn.daysFromNow(days) : new Date(body.expires_at),
    };
  };
  const createKey = async ({
    ctx,
    body,
    set,
  }: {
    ctx: Context;
    body: typeof schema.NewKey.static;
    set: { status?: unknown };
  }) => {
    const made = await keys.create(ctx, keyInput(body));
    set.status = 201;
    return ok(made);
  };
  const createKeyRoute = {
    ...deps.idempotent,
    body: schema.NewKey,
    response: { 201: enveloped(schema.KeySecret) },
    detail: mark({
      access: "keys:own",
      summary: "Make an API key",
      tag: TAG,
      sessionOnly: true,
      idempotent: true,
      description: "The secret is shown in this answer only.",
    }),
  };
  const listKeys = async ({
    ctx,
    query,
    request,
  }: {
    ctx: Context;
    query: Record<string, unknown>;
    request: Request;
  }) => {
    const { filters, limit, offset } = keyList.read(query, request.url);
    return ok(await keys.list(ctx, { userId: filters.user_id, status: filters.status, limit, offset }));
  };
  const listKeysRoute = {
    query: keyList.schema,
    response: { 200: enveloped(listOf("keys", schema.KeyRecord)) },
    detail: mark({ access: "keys:own", summary: "List API keys", tag: TAG }),
  };
  const revokeKey = async ({
    ctx,
    params,
    set,
  }: {
    ctx: Context;
    params: { key_id: string };
    set: { status?: unknown };
  }) => {
    await keys.revoke(ctx, params.key_id);
    set.status = 204;
  };
  const revokeKeyRoute = {
    params: KeyId,
    response: { 204: t.Void() },
    detail: mark({ access: "keys:own", summary: "Revoke an API key", tag: TAG, sessionOnly: true }),
  };

  const grant = async (ctx: Context, body: typeof schema.Grant.static) => {
    const missing = (path: string) => invalid([{ path, message: "is required" }]);
    switch (body.grant_type) {
      case "refresh_token":
        if (body.refresh_token === undefined) throw missing("refresh_token");
        return tokens(await sessions.refresh(ctx, body.refresh_token));
      case "client_credentials": {
        if (body.client_id === undefined) throw missing("client_id");
        if (body.client_secret === undefined) throw missing("client_secret");
        const made = await deps.keyToken(ctx, body.client_id, body.client_secret);
        return { access_token: made.accessToken, token_type: "Bearer" as const, expires_in: made.expiresIn };
      }
      case "password":
        if (body.password === undefined) throw missing("password");
        return loggedIn(ctx, { ...body, password: body.password });
      case undefined:
        throw missing("grant_type");
      default:
        throw badRequest(`The grant ${JSON.stringify(body.grant_type)} is not supported.`, "unsupported_grant_type");
    }
  };
  const token = async ({
    ctx,
    body,
    request,
  }: {
    ctx: Context;
    body: typeof schema.Grant.static;
    request: Request;
  }) => {
    const isForm = request.headers.get("content-type")?.startsWith("application/x-www-form-urlencoded") ?? false;
    if (!isForm) return ok(await grant(ctx, body));
    // OAuth clients expect the bare shapes of RFC 6749, sections 5.1 and 5.2.
    try {
      const { access_token, token_type, expires_in, ...rest } = await grant(ctx, body);
      const refreshToken = "refresh_token" in rest ? { refresh_token: rest.refresh_token } : {};
      return oauthAnswer(200, { access_token, token_type, expires_in, ...refreshToken });
    } catch (error) {
      if (!isAppError(error) || error.code === "RATE_LIMITED" || error.code === "SERVICE_UNAVAILABLE") throw error;
      const reason = error.code === "VALIDATION_ERROR" ? "invalid_request" : error.details["reason"];
      const fault = reason === "invalid_request" || reason === "unsupported_grant_type" ? reason : "invalid_grant";
      const isClient = body.grant_type === "client_credentials" && fault === "invalid_grant";
      return oauthAnswer(isClient ? 401 : 400, {
        error: isClient ? "invalid_client" : fault,
        error_description: error.message,
      });
    }
  };

  // One window for every way to try a password.
  const loginWindow = deps.window({ name: "login", max: 5, seconds: 60, by: "address" });
  const passwordWindow = deps.window({ name: "login", max: 5, seconds: 60, by: "address" });

  const signInRoutes = new Elysia({ name: "users.login" })
    .use(kernel)
    .use(loginWindow)
    .post("/api/v1/auth/login", login, loginRoute)
    .post("/api/v1/users/login", login, loginRoute)
    .post("/api/v1/security/auth/login", login, loginRoute);

  const tokenRoutes = new Elysia({ name: "users.token" })
    .use(kernel)
    .use(passwordWindow)
    .post("/api/v1/auth/token", token, {
      body: schema.Grant,
      response: {
        200: t.Union([
          enveloped(
            t.Union([
              schema.LoggedIn,
              schema.TokenPair,
              t.Object({ access_token: t.String(), token_type: t.Literal("Bearer"), expires_in: t.Integer() }),
            ]),
          ),
          schema.OAuthTokens,
        ]),
        400: t.Union([Failure, schema.OAuthFailure]),
        401: t.Union([Failure, schema.OAuthFailure]),
      },
      detail: mark({ access: "public", summary: "Token endpoint of RFC 6749", tag: TAG, body: "json-or-form" }),
    });

  const refreshRoutes = new Elysia({ name: "users.refresh" })
    .use(kernel)
    .use(deps.window({ name: "refresh", max: 30, seconds: 60, by: "address" }))
    .post("/api/v1/auth/refresh", refresh, refreshRoute)
    .post("/api/v1/security/auth/refresh", refresh, refreshRoute);

  const registerRoutes = new Elysia({ name: "users.register" })
    .use(kernel)
    .use(deps.window({ name: "register", max: 5, seconds: 3600, by: "address" }))
    .post("/api/v1/users/register", register, registerRoute)
    .post("/api/v1/auth/register", register, registerRoute);

  const bootstrapRoutes = new Elysia({ name: "users.bootstrap" })
    .use(kernel)
    .use(deps.window({ name: "bootstrap", max: 5, seconds: 60, by: "address" }))
    .post(
      "/api/v1/auth/bootstrap",
      async ({ ctx, body, set }) => {
        const made = await signIn.bootstrap(ctx, body.bootstrap_secret, {
          email: body.email,
          password: body.password,
          username: body.username ?? "admin",
          firstName: body.first_name,
          lastName: body.last_name,
          organizationName: body.organization_name ?? "Default",
        });
        set.status = 201;
        return ok(made);
      },
      {
        body: schema.Bootstrap,
        response: { 201: enveloped(t.Object({ user_id: t.String(), organization_id: t.String() })) },
        detail: mark({ access: "public", summary: "Make the first administrator", tag: TAG }),
      },
    );

  const keyMakingRoutes = new Elysia({ name: "users.keys" })
    .use(kernel)
    .use(deps.window({ name: "keys", max: 10, seconds: 86_400, by: "user" }))
    .post("/api/v1/security/keys/generate", createKey, createKeyRoute)
    .post("/api/v1/user/api-keys", createKey, createKeyRoute);

  return new Elysia({ name: "users" })
    .use(kernel)
    .use(signInRoutes)
    .use(tokenRoutes)
    .use(refreshRoutes)
    .use(registerRoutes)
    .use(bootstrapRoutes)
    .use(keyMakingRoutes)
    .post("/api/v1/auth/logout", logout, logoutRoute)
    .post("/api/v1/users/logout", logout, logoutRoute)
    .post("/api/v1/security/auth/logout", logout, logoutRoute)
    .get(
      "/api/v1/auth/providers",
      async () =>
        ok({
          local: true,
          registration: deps.registration(),
          oidc: { enabled: false, name: null, login_url: null },
          bootstrap_required: await signIn.bootstrapRequired(),
        }),
      {
        response: {
          200: enveloped(
            t.Object({
              local: t.Boolean(),
              registration: oneOf(["open", "closed", "invite"]),
              oidc: t.Object({ enabled: t.Boolean(), name: t.Null(), login_url: t.Null() }),
              bootstrap_required: t.Boolean(),
            }),
          ),
        },
        detail: mark({ access: "public", summary: "Ways to sign in here", tag: TAG, whileRestricted: true }),
      },
    )
    .get("/api/v1/auth/bootstrap", async () => ok({ required: await signIn.bootstrapRequired() }), {
      response: { 200: enveloped(t.Object({ required: t.Boolean() })) },
      detail: mark({ access: "public", summary: "Is the first administrator still missing?", tag: TAG }),
    })
    .get("/api/v1/auth/validate", validate, validateRoute)
    .get("/api/v1/security/auth/verify", validate, validateRoute)
    .get("/api/v1/users/me", me, meRoute)
    .get("/api/v1/auth/me", me, meRoute)
    .get("/api/v1/user/profile", me, meRoute)
    .get(
      "/api/v1/users",
      async ({ ctx, query, request }) => {
        const { filters, ...paging } = userList.read(query, request.url);
        return ok(await accounts.list(ctx, { ...paging, search: filters.search, status: filters.status }));
      },
      {
        query: userList.schema,
        response: { 200: enveloped(listOf("users", t.Union([schema.UserRecord, schema.Card]))) },
        detail: mark({
          access: "self",
          summary: "Find accounts",
          tag: TAG,
          description: "Whole records with `users:read`; cards, and only for a search, with `users:directory`.",
        }),
      },
    )
    .get("/api/v1/users/:user_id", async ({ ctx, params }) => ok(await accounts.get(ctx, params.user_id)), {
      params: UserId,
      response: { 200: enveloped(t.Union([schema.UserRecord, schema.Card])) },
      detail: mark({ access: "self", summary: "One account", tag: TAG }),
    })
    .post(
      "/api/v1/users/:user_id/suspend",
      async ({ ctx, params, body }) => ok(await accounts.suspend(ctx, params.user_id, body.reason)),
      {
        params: UserId,
        body: t.Object({ reason: t.String({ minLength: 1, maxLength: 500 }) }),
        response: {
          200: enveloped(t.Object({ user_id: t.String(), status: t.Literal("suspended"), suspended_at: t.String() })),
        },
        detail: mark({ access: "users:write", summary: "Suspend an account", tag: TAG, sessionOnly: true }),
      },
    )
    .post(
      "/api/v1/users/:user_id/activate",
      async ({ ctx, params }) => ok(await accounts.activate(ctx, params.user_id)),
      {
        params: UserId,
        response: {
          200: enveloped(t.Object({ user_id: t.String(), status: t.Literal("active"), activated_at: t.String() })),
        },
        detail: mark({ access: "users:write", summary: "Activate an account", tag: TAG, sessionOnly: true }),
      },
    )
    .get(
      "/api/v1/users/:user_id/settings",
      async ({ ctx, params }) => ok(await accounts.settings(ctx, params.user_id)),
      {
        params: UserId,
        response: { 200: enveloped(schema.Settings) },
        detail: mark({ access: "self", summary: "Personal settings", tag: TAG }),
      },
    )
    .put(
      "/api/v1/users/:user_id/settings",
      async ({ ctx, params, body }) =>
        ok({ status: "updated" as const, settings: await accounts.updateSettings(ctx, params.user_id, body) }),
      {
        params: UserId,
        body: schema.SettingsPart,
        response: { 200: enveloped(t.Object({ status: t.Literal("updated"), settings: schema.Settings })) },
        detail: mark({
          access: "self",
          summary: "Change personal settings",
          tag: TAG,
          description: "Merged, not replaced.",
        }),
      },
    )
    .patch(
      "/api/v1/users/:user_id/settings",
      async ({ ctx, params, body }) =>
        ok({ status: "updated" as const, settings: await accounts.updateSettings(ctx, params.user_id, body) }),
      {
        params: UserId,
        body: schema.SettingsPart,
        response: { 200: enveloped(t.Object({ status: t.Literal("updated"), settings: schema.Settings })) },
        detail: mark({
          access: "self",
          summary: "Change personal settings",
          tag: TAG,
          description: "Merged, not replaced.",
        }),
      },
    )
    .get(
      "/api/v1/users/:user_id/sessions",
      async ({ ctx, params, query, request }) => {
        const { filters, limit, offset } = sessionList.read(query, request.url);
        return ok(
          await sessions.list(ctx, { userId: params.user_id, status: filters.status ?? "active", limit, offset }),
        );
      },
      {
        params: UserId,
        query: sessionList.schema,
        response: { 200: enveloped(listOf("sessions", schema.SessionRecord)) },
        detail: mark({ access: "self", summary: "Sign-in sessions of an account", tag: TAG }),
      },
    )
    .delete(
      "/api/v1/users/:user_id/sessions/:session_id",
      async ({ ctx, params }) =>
        ok(await sessions.terminate(ctx, { userId: params.user_id, sessionId: params.session_id })),
      {
        params: SessionId,
        response: { 200: enveloped(t.Object({ session_id: t.String(), status: t.Literal("terminated") })) },
        detail: mark({ access: "self", summary: "End a session", tag: TAG, sessionOnly: true }),
      },
    )
    .delete(
      "/api/v1/users/:user_id/sessions",
      async ({ ctx, params, query }) =>
        ok(await sessions.terminateAll(ctx, { userId: params.user_id, keepCurrent: query.keep_current ?? false })),
      {
        params: UserId,
        query: t.Object({ keep_current: t.Optional(t.Boolean()) }),
        response: {
          200: enveloped(t.Object({ terminated_count: t.Integer(), status: t.Literal("all_sessions_terminated") })),
        },
        detail: mark({ access: "self", summary: "End all sessions of an account", tag: TAG, sessionOnly: true }),
      },
    )
    .get("/api/v1/security/keys", listKeys, listKeysRoute)
    .get("/api/v1/user/api-keys", listKeys, listKeysRoute)
    .get("/api/v1/security/keys/:key_id", async ({ ctx, params }) => ok(await keys.get(ctx, params.key_id)), {
      params: KeyId,
      response: { 200: enveloped(schema.KeyRecord) },
      detail: mark({ access: "keys:own", summary: "One API key", tag: TAG }),
    })
    .put(
      "/api/v1/security/keys/:key_id",
      async ({ ctx, params, body }) => {
        const scopes = body.scopes ?? body.permissions;
        return ok(
          await keys.update(ctx, params.key_id, {
            ...(body.name === undefined ? {} : { name: body.name }),
            ...(scopes === undefined ? {} : { scopes }),
            ...(body.ip_allowlist === undefined ? {} : { ipAllowlist: body.ip_allowlist }),
            ...(body.expires_at === undefined ? {} : { expiresAt: new Date(body.expires_at) }),
          }),
        );
      },
      {
        params: KeyId,
        body: schema.KeyPart,
        response: { 200: enveloped(schema.KeyRecord) },
        detail: mark({ access: "keys:own", summary: "Change an API key", tag: TAG, sessionOnly: true }),
      },
    )
    .post(
      "/api/v1/security/keys/:key_id/rotate",
      async ({ ctx, params, body }) => ok(await keys.rotate(ctx, params.key_id, body?.overlap_seconds ?? 0)),
      {
        params: KeyId,
        body: t.Optional(t.Object({ overlap_seconds: t.Optional(t.Integer({ minimum: 0, maximum: 86_400 })) })),
        response: { 200: enveloped(schema.KeySecret) },
        detail: mark({ access: "keys:own", summary: "Replace an API key's secret", tag: TAG, sessionOnly: true }),
      },
    )
    .delete("/api/v1/security/keys/:key_id", revokeKey, revokeKeyRoute)
    .delete("/api/v1/security/api-keys/:key_id", revokeKey, revokeKeyRoute)
    .delete("/api/v1/user/api-keys/:key_id", revokeKey, revokeKeyRoute);
}
