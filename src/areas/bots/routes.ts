// Routes of bots: using, managing, settings, memory, and the live state of conversations with them. The paths under
// /admin are the same handlers.

import { Elysia, t } from "elysia";
import type { Context } from "../../core/context.ts";
import { notFound } from "../../core/errors.ts";
import { enveloped, ok } from "../../http/envelope.ts";
import { kernel } from "../../http/failures.ts";
import type { IdempotentHooks } from "../../http/idempotent.ts";
import { mark } from "../../http/mark.ts";
import { listOf, listQuery } from "../../http/paging.ts";
import { sha256Hex } from "../../lib/ids/index.ts";
import type { MemoryService } from "./memory.ts";
import { memoryEtag, presentEntry } from "./memory.ts";
import * as schema from "./schema.ts";
import type { BotService } from "./service.ts";
import type { SessionContexts } from "./session.ts";
import type { BotSettings } from "./settings.ts";
import { themeCss } from "./theme.ts";

export interface BotRoutesDeps {
  bots: BotService;
  settings: BotSettings;
  memory: MemoryService;
  sessions: SessionContexts;
  idempotent: IdempotentHooks;
}

const TAG = "Bots";
const NoContent = { 204: t.Void() };

interface Answer {
  status?: unknown;
  headers: Record<string, unknown>;
}

const ifMatch = (request: Request) => request.headers.get("if-match");

const botList = listQuery({ filters: { search: t.String({ maxLength: 200 }) } });
const adminList = listQuery({
  sort: ["name", "created_at", "updated_at"],
  filters: {
    status: schema.BotStatus,
    visibility: schema.BotVisibility,
    organization_id: t.String({ format: "uuid" }),
    search: t.String({ maxLength: 200 }),
  },
});
const botMemoryList = listQuery({ page: true, filters: { prefix: t.String({ maxLength: 255 }) } });
const memoryList = listQuery({
  page: true,
  filters: {
    kind: schema.MemoryKind,
    bot_id: t.String({ maxLength: 64 }),
    user_id: t.String({ format: "uuid" }),
  },
});

/** The bots area. */
export function botRoutes(deps: BotRoutesDeps) {
  const { bots, settings, memory, sessions } = deps;

  const available = async ({
    ctx,
    query,
    request,
  }: {
    ctx: Context;
    query: Record<string, unknown>;
    request: Request;
  }) => {
    const { filters, limit, offset } = botList.read(query, request.url);
    return ok(await bots.available(ctx, { ...filters, limit, offset }));
  };
  const availableRoute = {
    query: botList.schema,
    response: { 200: enveloped(listOf("bots", schema.Card)) },
    detail: mark({
      access: "bots:use",
      chat: true,
      summary: "Bots that the caller may talk to",
      tag: TAG,
      aliases: ["/bots/available"],
    }),
  };

  const create = async ({ ctx, body, set }: { ctx: Context; body: typeof schema.NewBot.static; set: Answer }) => {
    const made = await bots.create(ctx, body);
    set.status = 201;
    return ok(made);
  };
  const createRoute = {
    ...deps.idempotent,
    body: schema.NewBot,
    response: { 201: enveloped(schema.Bot) },
    detail: mark({
      access: "bots:create",
      summary: "Make a bot",
      tag: TAG,
      idempotent: true,
      description: "It has an empty package and answers from knowledge and model.",
      aliases: ["/admin/bots"],
    }),
  };

  const change = async ({
    ctx,
    params,
    body,
    request,
    set,
  }: {
    ctx: Context;
    params: { bot: string };
    body: typeof schema.ChangedBot.static;
    request: Request;
    set: Answer;
  }) => {
    const { bot, etag } = await bots.update(ctx, params.bot, body, ifMatch(request));
    set.headers["etag"] = etag;
    return ok(bot);
  };
  const changeRoute = {
    params: schema.BotRef,
    body: schema.ChangedBot,
    response: { 200: enveloped(schema.Bot) },
    detail: mark({
      access: "bots:write",
      summary: "Change a bot",
      tag: TAG,
      description: "Fields that are left out stay as they are. `If-Match` is honoured.",
      aliases: ["/admin/bots/{bot}", "PUT and PATCH"],
    }),
  };

  const remove = async ({
    ctx,
    params,
    body,
    query,
    set,
  }: {
    ctx: Context;
    params: { bot: string };
    body: typeof schema.Removal.static | null | undefined;
    query: typeof schema.Removal.static;
    set: Answer;
  }) => {
    await bots.remove(ctx, params.bot, { ...query, ...body });
    set.status = 204;
  };
  const removeRoute = {
    params: schema.BotRef,
    query: schema.Removal,
    body: t.Optional(schema.Removal),
    response: NoContent,
    detail: mark({
      access: "bots:delete",
      summary: "Delete a bot",
      tag: TAG,
      description: "`confirm` is its name, in the body or the query. It can be restored for 30 days.",
      aliases: ["/admin/bots/{bot}"],
    }),
  };

  const restore = async ({ ctx, params }: { ctx: Context; params: { bot: string } }) =>
    ok(await bots.restore(ctx, params.bot));
  const restoreRoute = {
    params: schema.BotRef,
    response: { 200: enveloped(schema.Bot) },
    detail: mark({ access: "bots:delete", summary: "Bring a deleted bot back", tag: TAG }),
  };

  const getSettings = async ({ ctx, params }: { ctx: Context; params: { bot: string } }) => {
    const { row } = await bots.manageable(ctx, params.bot, "read");
    return ok({ settings: await settings.list(row.id) });
  };
  const getSettingsRoute = {
    params: schema.BotRef,
    response: { 200: enveloped(schema.Settings) },
    detail: mark({
      access: "bots:read",
      summary: "A bot's settings",
      tag: TAG,
      description: "Secrets read `***`.",
      aliases: ["/admin/bots/{bot}/config"],
    }),
  };

  const putSettings = async ({
    ctx,
    params,
    body,
  }: {
    ctx: Context;
    params: { bot: string };
    body: typeof schema.SettingValues.static;
  }) => {
    const { row } = await bots.manageable(ctx, params.bot, "full");
    return ok({ settings: await settings.put(ctx, row, body) });
  };
  const putSettingsRoute = {
    params: schema.BotRef,
    body: schema.SettingValues,
    response: { 200: enveloped(schema.Settings) },
    detail: mark({
      access: "bots:write",
      summary: "Set a bot's settings",
      tag: TAG,
      description: "Writes overrides of the package's values, all or none; null removes one. They count at once.",
      aliases: ["/admin/bots/{bot}/config"],
    }),
  };

  return new Elysia({ name: "bots" })
    .use(kernel)
    .get("/api/v1/bots", available, availableRoute)
    .get("/api/v1/bots/available", available, availableRoute)
    .get("/api/v1/bots/:bot", async ({ ctx, params }) => ok(await bots.card(ctx, params.bot)), {
      params: schema.BotRef,
      response: { 200: enveloped(schema.Card) },
      detail: mark({ access: "bots:use", chat: true, summary: "One bot", tag: TAG }),
    })
    .get(
      "/api/v1/bots/:bot/access",
      async ({ ctx, params, query }) => ok(await bots.access(ctx, params.bot, query.user_id ?? null)),
      {
        params: schema.BotRef,
        query: t.Object({ user_id: t.Optional(t.String({ format: "uuid" })) }),
        response: { 200: enveloped(schema.Decision) },
        detail: mark({
          access: "self",
          summary: "May one use this bot, and why?",
          tag: TAG,
          description: "Another account's answer, and the access fields, with `bots:read`.",
        }),
      },
    )
    .put("/api/v1/bots/:bot/access", async ({ ctx, params, body }) => ok(await bots.setAccess(ctx, params.bot, body)), {
      params: schema.BotRef,
      body: schema.AccessInput,
      response: { 200: enveloped(schema.Access) },
      detail: mark({ access: "bots:write", summary: "Say who may use a bot", tag: TAG }),
    })
    .get(
      "/api/v1/bots/:bot/theme.css",
      async ({ ctx, params, query, request, set }) => {
        const { config } = await bots.usable(ctx, params.bot);
        // Only packages bring named themes.
        if (query.name !== undefined && query.name !== "default") throw notFound("theme");
        const css = themeCss(config);
        const etag = `"${sha256Hex(css).slice(0, 16)}"`;
        set.headers["etag"] = etag;
        set.headers["cache-control"] = "no-cache";
        set.headers["content-type"] = "text/css; charset=utf-8";
        if (request.headers.get("if-none-match") !== etag) return css;
        set.status = 304;
        return "";
      },
      {
        params: schema.BotRef,
        query: t.Object({ name: t.Optional(t.String({ maxLength: 100 })) }),
        response: { 200: t.String({ description: "CSS" }), 304: t.String() },
        detail: mark({ access: "bots:use", chat: true, summary: "A bot's style sheet", tag: TAG, answers: "text/css" }),
      },
    )
    .get(
      "/api/v1/admin/bots",
      async ({ ctx, query, request }) => ok(await bots.list(ctx, adminList.read(query, request.url))),
      {
        query: adminList.schema,
        response: { 200: enveloped(listOf("bots", schema.Bot)) },
        detail: mark({ access: "bots:read", summary: "All bots of the caller's organizations", tag: TAG }),
      },
    )
    .get(
      "/api/v1/admin/bots/:bot",
      async ({ ctx, params, set }) => {
        const { bot, etag } = await bots.get(ctx, params.bot);
        set.headers["etag"] = etag;
        return ok(bot);
      },
      {
        params: schema.BotRef,
        response: { 200: enveloped(schema.Bot) },
        detail: mark({ access: "bots:read", summary: "One bot in full", tag: TAG }),
      },
    )
    .post("/api/v1/bots", create, createRoute)
    .post("/api/v1/admin/bots", create, createRoute)
    .put("/api/v1/bots/:bot", change, changeRoute)
    .patch("/api/v1/bots/:bot", change, changeRoute)
    .put("/api/v1/admin/bots/:bot", change, changeRoute)
    .patch("/api/v1/admin/bots/:bot", change, changeRoute)
    .delete("/api/v1/bots/:bot", remove, removeRoute)
    .delete("/api/v1/admin/bots/:bot", remove, removeRoute)
    .post("/api/v1/admin/bots/:bot/restore", restore, restoreRoute)
    .post("/api/v1/bots/:bot/restore", restore, restoreRoute)
    .get("/api/v1/bots/:bot/config", getSettings, getSettingsRoute)
    .get("/api/v1/admin/bots/:bot/config", getSettings, getSettingsRoute)
    .put("/api/v1/bots/:bot/config", putSettings, putSettingsRoute)
    .put("/api/v1/admin/bots/:bot/config", putSettings, putSettingsRoute)
    .put(
      "/api/v1/bots/:bot/config/:key",
      async ({ ctx, params, body }) => {
        const { row } = await bots.manageable(ctx, params.bot, "full");
        return ok(await settings.putOne(ctx, row, params.key, body.value));
      },
      {
        params: schema.SettingRef,
        body: schema.OneSetting,
        response: { 200: enveloped(schema.Setting) },
        detail: mark({ access: "bots:write", summary: "Set one setting", tag: TAG }),
      },
    )
    .delete(
      "/api/v1/bots/:bot/config/:key",
      async ({ ctx, params, set }) => {
        const { row } = await bots.manageable(ctx, params.bot, "full");
        await settings.removeOne(ctx, row, params.key);
        set.status = 204;
      },
      {
        params: schema.SettingRef,
        response: NoContent,
        detail: mark({ access: "bots:write", summary: "Back to the package's value", tag: TAG }),
      },
    )
    .get(
      "/api/v1/bots/:bot/memory",
      async ({ ctx, params, query, request }) => {
        const { filters, limit, offset } = botMemoryList.read(query, request.url);
        return ok(await memory.listOfBot(ctx, params.bot, { ...filters, limit, offset }));
      },
      {
        params: schema.BotRef,
        query: botMemoryList.schema,
        response: { 200: enveloped(listOf("entries", schema.MemoryEntry)) },
        detail: mark({ access: "bots:read", summary: "What a bot remembers of everybody", tag: TAG }),
      },
    )
    .get(
      "/api/v1/bots/:bot/memory/:key",
      async ({ ctx, params, set }) => {
        const row = await memory.getOfBot(ctx, params.bot, params.key);
        set.headers["etag"] = memoryEtag(row);
        return ok(presentEntry(row));
      },
      {
        params: schema.BotMemoryRef,
        response: { 200: enveloped(schema.MemoryEntry) },
        detail: mark({ access: "bots:read", summary: "One entry of a bot's memory", tag: TAG }),
      },
    )
    .put(
      "/api/v1/bots/:bot/memory/:key",
      async ({ ctx, params, body, request, set }) => {
        const row = await memory.putOfBot(ctx, params.bot, params.key, body, ifMatch(request));
        set.headers["etag"] = memoryEtag(row);
        return ok(presentEntry(row));
      },
      {
        params: schema.BotMemoryRef,
        body: schema.BotMemoryInput,
        response: { 200: enveloped(schema.MemoryEntry) },
        detail: mark({ access: "bots:write", summary: "Write an entry of a bot's memory", tag: TAG }),
      },
    )
    .delete(
      "/api/v1/bots/:bot/memory/:key",
      async ({ ctx, params, set }) => {
        await memory.removeOfBot(ctx, params.bot, params.key);
        set.status = 204;
      },
      {
        params: schema.BotMemoryRef,
        response: NoContent,
        detail: mark({ access: "bots:write", summary: "Delete an entry of a bot's memory", tag: TAG }),
      },
    )
    .get(
      "/api/v1/memory",
      async ({ ctx, query, request }) => {
        const { filters, limit, offset } = memoryList.read(query, request.url);
        return ok(await memory.list(ctx, { ...filters, limit, offset }));
      },
      {
        query: memoryList.schema,
        response: { 200: enveloped(listOf("entries", schema.MemoryEntry)) },
        detail: mark({ access: "settings:personal", summary: "What bots remember of the caller", tag: TAG }),
      },
    )
    .delete("/api/v1/memory", async ({ ctx, query }) => ok({ deleted: await memory.removeAll(ctx, query.bot_id) }), {
      query: schema.OfBot,
      response: { 200: enveloped(t.Object({ deleted: t.Integer() })) },
      detail: mark({ access: "settings:personal", summary: "Make bots forget the caller", tag: TAG }),
    })
    .get(
      "/api/v1/memory/:key",
      async ({ ctx, params, query, set }) => {
        const row = await memory.get(ctx, params.key, query.bot_id);
        set.headers["etag"] = memoryEtag(row);
        return ok(presentEntry(row));
      },
      {
        params: schema.MemoryRef,
        query: schema.OfBot,
        response: { 200: enveloped(schema.MemoryEntry) },
        detail: mark({ access: "settings:personal", summary: "One entry of what bots remember", tag: TAG }),
      },
    )
    .put(
      "/api/v1/memory/:key",
      async ({ ctx, params, query, body, request, set }) => {
        const row = await memory.put(ctx, params.key, body, body.bot_id ?? query.bot_id, ifMatch(request));
        set.headers["etag"] = memoryEtag(row);
        return ok(presentEntry(row));
      },
      {
        params: schema.MemoryRef,
        query: schema.OfBot,
        body: schema.UserMemoryInput,
        response: { 200: enveloped(schema.MemoryEntry) },
        detail: mark({ access: "settings:personal", summary: "Make bots remember something", tag: TAG }),
      },
    )
    .delete(
      "/api/v1/memory/:key",
      async ({ ctx, params, query, set }) => {
        await memory.remove(ctx, params.key, query.bot_id);
        set.status = 204;
      },
      {
        params: schema.MemoryRef,
        query: schema.OfBot,
        response: NoContent,
        detail: mark({ access: "settings:personal", summary: "Make bots forget one thing", tag: TAG }),
      },
    )
    .get("/api/v1/suggestions", async ({ ctx, query }) => ok(await sessions.suggestionsOf(ctx, query.session_id)), {
      query: t.Object({ session_id: t.String({ maxLength: 64 }) }),
      response: { 200: enveloped(schema.Choices) },
      detail: mark({ access: "chat:read", chat: true, summary: "What can be picked and switched now", tag: TAG }),
    })
    .put(
      "/api/v1/conversations/:id/switchers/:switcher_id",
      async ({ ctx, params, body }) => ok(await sessions.setSwitcher(ctx, params.id, params.switcher_id, body.active)),
      {
        params: schema.SwitcherRef,
        body: t.Object({ active: t.Boolean() }),
        response: { 200: enveloped(schema.Switchers) },
        detail: mark({ access: "chat:write", chat: true, summary: "Turn a switcher on or off", tag: TAG }),
      },
    )
    .get("/api/v1/conversations/:id/context", async ({ ctx, params }) => ok(await sessions.get(ctx, params.id)), {
      params: schema.ConversationRef,
      response: { 200: enveloped(schema.SessionContext) },
      detail: mark({
        access: "self",
        chat: true,
        summary: "The live state of a conversation",
        tag: TAG,
        description: "Variables only with `bots:read` and `conversations:read`.",
      }),
    })
    .patch(
      "/api/v1/conversations/:id/context",
      async ({ ctx, params, body }) => ok(await sessions.patch(ctx, params.id, body)),
      {
        params: schema.ConversationRef,
        body: schema.ContextPatch,
        response: { 200: enveloped(schema.SessionContext) },
        detail: mark({ access: "bots:write", summary: "Change the live state of a conversation", tag: TAG }),
      },
    );
}
