// Routes of collections, documents, folder rules and jobs. Searching and answering are search-routes.ts.

import { Value } from "@sinclair/typebox/value";
import { Elysia, t, type TSchema } from "elysia";
import type { Context } from "../../core/context.ts";
import { invalid, notFound } from "../../core/errors.ts";
import { attachmentNamed, contentResponse } from "../../http/content.ts";
import { enveloped, ok } from "../../http/envelope.ts";
import { kernel } from "../../http/failures.ts";
import type { IdempotentHooks } from "../../http/idempotent.ts";
import { mark } from "../../http/mark.ts";
import { readMultipart } from "../../http/multipart.ts";
import { listOf, listQuery } from "../../http/paging.ts";
import { oneOf } from "../../http/schema.ts";
import { parseJson } from "../../lib/json/parse.ts";
import type { CachedAnswers } from "./cached-answers.ts";
import type { Collections } from "./collections.ts";
import type { Documents } from "./documents.ts";
import type { Indexing } from "./indexing.ts";
import type { Intake, IntakeOptions } from "./intake.ts";
import type { Permissions, RuleInput } from "./permissions.ts";
import * as schema from "./schema.ts";
import type { Work } from "./work.ts";

export interface KnowledgeRoutesDeps {
  collections: Collections;
  documents: Documents;
  intake: Intake;
  work: Work;
  permissions: Permissions;
  indexing: Indexing;
  cached: CachedAnswers;
  idempotent: IdempotentHooks;
}

const TAG = "Knowledge";
const FILES_MAX = 100;
/** A hundred files of the largest size with their heads; each is stored while it arrives. */
const UPLOAD_BYTES_MAX = FILES_MAX * 50 * 2 ** 20 + 2 ** 20;
/** Texts of one request; JSON is read whole. */
const INGEST_BYTES_MAX = 32 * 2 ** 20;
const NoContent = { 204: t.Void() };

const collectionList = listQuery({
  page: true,
  filters: { bot_id: schema.BotRef, status: schema.CollectionStatus, q: t.String({ maxLength: 200 }) },
});
const documentList = listQuery({
  sort: ["-updated_at", "name", "bytes"],
  page: true,
  filters: schema.DocumentFilters,
});
const chunkList = listQuery({ page: true, filters: {} });
const jobList = listQuery({ page: true, filters: { status: schema.JobStatus } });

const Folder = t.Object({ kb_id: schema.BotRef, path: t.String({ maxLength: 2000, description: "folder path" }) });
const FOLDER =
  "The first part of the path is the collection. Deeper paths stand as they are, or with %2F for the slash.";

function ruleOf({ access, ...rest }: typeof schema.FolderRule.static): RuleInput {
  return { ...rest, level: access ?? null };
}

/** A JSON field of a form, checked; what is not given stays away. */
function formField<Schema extends TSchema>(
  fields: Record<string, string>,
  name: string,
  shape: Schema,
): Schema["static"] | undefined {
  const raw = fields[name];
  if (raw === undefined || raw.trim() === "") return undefined;
  const parsed = parseJson(Buffer.from(raw));
  if ("faults" in parsed) {
    throw invalid(parsed.faults.map(({ path, message }) => ({ path: path ? `${name}.${path}` : name, message })));
  }
  // `tags=a,b` is what forms without a script send.
  const value = "value" in parsed ? parsed.value : name === "tags" ? raw.split(",").map((word) => word.trim()) : raw;
  const faults = [...Value.Errors(shape, value)];
  if (faults.length > 0) {
    throw invalid(
      faults.slice(0, 20).map(({ path, message }) => ({ path: `${name}${path.replaceAll("/", ".")}`, message })),
    );
  }
  return value as Schema["static"];
}

function intakeOptions(fields: Record<string, string>): IntakeOptions {
  const tags = formField(fields, "tags", schema.UploadFields.tags);
  const metadata = formField(fields, "metadata", schema.UploadFields.metadata);
  const access = formField(fields, "access", schema.UploadFields.access);
  return {
    ...(fields["path"] === undefined ? {} : { path: fields["path"] }),
    ...(tags === undefined ? {} : { tags }),
    ...(metadata === undefined ? {} : { metadata }),
    ...(access === undefined ? {} : { access }),
  };
}

/**
 * Splits `<folder>/access` and `<folder>/permissions`; any other end is no address. A folder of more than one part is
 * the end of a pattern or none of it, so that what stands behind it is parted here.
 */
function folderAddress(rest: string, words: readonly string[]): { folder: string; word: string } {
  const at = rest.lastIndexOf("/");
  const word = rest.slice(at + 1);
  if (at < 1 || !words.includes(word)) throw notFound("address");
  return { folder: rest.slice(0, at), word };
}

/** The part of the knowledge area that takes in and manages. */
export function knowledgeRoutes(deps: KnowledgeRoutesDeps) {
  const { collections, documents, intake, work, permissions, indexing, cached } = deps;

  const upload = async ({
    ctx,
    params,
    request,
    set,
  }: {
    ctx: Context;
    params: { c: string };
    request: Request;
    set: { status?: unknown };
  }) => {
    const open = await intake.open(ctx, params.c);
    try {
      const fields = await readMultipart(request, { filesMax: FILES_MAX }, async ({ name, body }) => {
        await open.add({ name, body });
      });
      const taken = await open.commit(intakeOptions(fields));
      set.status = 202;
      return ok(taken);
    } catch (error) {
      await open.discard();
      throw error;
    }
  };

  return new Elysia({ name: "knowledge" })
    .use(kernel)
    .get(
      "/api/v1/kb/collections",
      async ({ ctx, query, request }) => {
        const { filters, limit, offset } = collectionList.read(query, request.url);
        return ok({ ...(await collections.list(ctx, { ...filters, limit, offset })), limit, offset });
      },
      {
        query: collectionList.schema,
        response: { 200: enveloped(listOf("collections", schema.Collection)) },
        detail: mark({ access: "kb:read", summary: "Collections that the caller may know of", tag: TAG }),
      },
    )
    .post(
      "/api/v1/kb/collections",
      async ({ ctx, body, set }) => {
        const made = await collections.create(ctx, body);
        set.status = 201;
        return ok(made);
      },
      {
        ...deps.idempotent,
        body: schema.NewCollection,
        response: { 201: enveloped(schema.Collection) },
        detail: mark({ access: "kb:write", summary: "Make a collection", tag: TAG, idempotent: true }),
      },
    )
    .get("/api/v1/kb/collections/:c", async ({ ctx, params }) => ok(await collections.get(ctx, params.c)), {
      params: schema.CollectionRef,
      response: { 200: enveloped(schema.Collection) },
      detail: mark({ access: "kb:read", summary: "One collection", tag: TAG }),
    })
    .patch(
      "/api/v1/kb/collections/:c",
      async ({ ctx, params, body }) => ok(await collections.update(ctx, params.c, body)),
      {
        params: schema.CollectionRef,
        body: schema.ChangedCollection,
        response: { 200: enveloped(schema.Collection) },
        detail: mark({
          access: "kb:write",
          summary: "Change a collection",
          tag: TAG,
          description: "Renaming does not index again.",
        }),
      },
    )
    .delete(
      "/api/v1/kb/collections/:c",
      async ({ ctx, params, set }) => {
        await collections.remove(ctx, params.c);
        set.status = 204;
      },
      {
        params: schema.CollectionRef,
        response: NoContent,
        detail: mark({ access: "kb:admin", summary: "Delete a collection with all that is in it", tag: TAG }),
      },
    )
    .get("/api/v1/kb/collections/:c/stats", async ({ ctx, params }) => ok(await collections.stats(ctx, params.c)), {
      params: schema.CollectionRef,
      response: { 200: enveloped(schema.CollectionStats) },
      detail: mark({ access: "kb:read", summary: "Figures of a collection's index", tag: TAG }),
    })
    .post(
      "/api/v1/kb/collections/:c/reindex",
      async ({ ctx, params, body, set }) => {
        const started = await work.reindexCollection(ctx, params.c, body ?? {});
        set.status = 202;
        return ok(started);
      },
      {
        params: schema.CollectionRef,
        body: schema.Reindex,
        response: { 202: enveloped(schema.Started) },
        detail: mark({
          access: "kb:write",
          summary: "Index a collection again",
          tag: TAG,
          description: "Without `force` only what has changed, and vectors of another embedding model.",
          aliases: ["/bots/{bot}/kb/index"],
        }),
      },
    )
    .post(
      "/api/v1/bots/:bot/kb/index",
      async ({ ctx, params, body, set }) => {
        const { kb_name: name, ...input } = body;
        const started = await work.reindexCollection(ctx, `${params.bot}:${name}`, input);
        set.status = 202;
        return ok(started);
      },
      {
        params: t.Object({ bot: schema.BotRef }),
        body: schema.ReindexNamed,
        response: { 202: enveloped(schema.Started) },
        detail: mark({ access: "kb:write", summary: "Index a bot's collection again, by its name", tag: TAG }),
      },
    )
    .post("/api/v1/kb/collections/:c/documents", upload, {
      parse: "none",
      params: schema.CollectionRef,
      response: { 202: enveloped(schema.TakenIn) },
      detail: mark({
        access: "kb:write",
        summary: "Upload documents",
        tag: TAG,
        description:
          "A form with up to 100 `file` parts, and `path`, `tags`, `metadata`, `access` (JSON) for all of them.",
        body: "multipart",
        maxBody: UPLOAD_BYTES_MAX,
      }),
    })
    .post(
      "/api/v1/kb/ingest",
      async ({ ctx, body, set }) => {
        const { wait = 0, ...input } = body;
        const taken = await intake.ingest(ctx, input);
        const isDone = taken.job_id === null || (wait > 0 && (await work.wait(taken.job_id, wait)));
        set.status = isDone && wait > 0 ? 200 : 202;
        return ok(isDone ? await intake.refreshed(ctx, taken) : taken);
      },
      {
        ...deps.idempotent,
        body: schema.Ingest,
        response: { 200: enveloped(schema.TakenIn), 202: enveloped(schema.TakenIn) },
        detail: mark({
          access: "kb:write",
          summary: "Take in texts, addresses or drive files",
          tag: TAG,
          description: "200 with `wait` when all of it is searchable, else 202.",
          maxBody: INGEST_BYTES_MAX,
          idempotent: true,
        }),
      },
    )
    .get(
      "/api/v1/kb/documents",
      async ({ ctx, query, request }) => {
        const { filters, limit, offset, sort, order } = documentList.read(query, request.url);
        const found = await documents.list(ctx, { filters, sort, order, limit, offset });
        return ok({ ...found, limit, offset });
      },
      {
        query: documentList.schema,
        response: { 200: enveloped(listOf("documents", schema.Document)) },
        detail: mark({ access: "kb:read", summary: "Documents that the caller may know of", tag: TAG }),
      },
    )
    .post("/api/v1/kb/documents/delete", async ({ ctx, body }) => ok(await documents.removeMany(ctx, body)), {
      body: schema.Removal,
      response: { 200: enveloped(t.Object({ deleted: t.Integer() })) },
      detail: mark({ access: "kb:write", summary: "Delete many documents", tag: TAG }),
    })
    .get("/api/v1/kb/documents/:id", async ({ ctx, params }) => ok(await documents.get(ctx, params.id)), {
      params: schema.DocumentRef,
      response: { 200: enveloped(schema.Document) },
      detail: mark({ access: "kb:read", summary: "One document", tag: TAG }),
    })
    .patch(
      "/api/v1/kb/documents/:id",
      async ({ ctx, params, body }) => ok(await documents.update(ctx, params.id, body)),
      {
        params: schema.DocumentRef,
        body: schema.ChangedDocument,
        response: { 200: enveloped(schema.Document) },
        detail: mark({
          access: "kb:write",
          summary: "Change or move a document",
          tag: TAG,
          description: "Moving does not embed again.",
        }),
      },
    )
    .delete(
      "/api/v1/kb/documents/:id",
      async ({ ctx, params, set }) => {
        await documents.remove(ctx, params.id);
        set.status = 204;
      },
      {
        params: schema.DocumentRef,
        response: NoContent,
        detail: mark({
          access: "kb:write",
          summary: "Delete a document",
          tag: TAG,
          description: "It is out of every search when the answer is sent.",
        }),
      },
    )
    .get(
      "/api/v1/kb/documents/:id/content",
      async ({ ctx, params, query, request }) => {
        const content = await documents.content(ctx, params.id, query.format ?? "original");
        return contentResponse(request, content);
      },
      {
        params: schema.DocumentRef,
        query: t.Object({ format: t.Optional(oneOf(["original", "text"])) }),
        detail: mark({
          access: "kb:read",
          summary: "A document's bytes or text",
          tag: TAG,
          description: "Ranges are honoured. Needs access to the text, not only to the title.",
          answers: "*/*",
        }),
      },
    )
    .get(
      "/api/v1/kb/documents/:id/chunks",
      async ({ ctx, params, query, request }) => {
        const { limit, offset } = chunkList.read(query, request.url);
        return ok({ ...(await documents.chunks(ctx, params.id, { limit, offset })), limit, offset });
      },
      {
        params: schema.DocumentRef,
        query: chunkList.schema,
        response: { 200: enveloped(listOf("chunks", schema.Chunk)) },
        detail: mark({ access: "kb:read", summary: "A document's passages", tag: TAG }),
      },
    )
    .post(
      "/api/v1/kb/documents/:id/reindex",
      async ({ ctx, params, set }) => {
        const started = await work.reindexDocument(ctx, params.id);
        set.status = 202;
        return ok(started);
      },
      {
        params: schema.DocumentRef,
        response: { 202: enveloped(schema.Started) },
        detail: mark({ access: "kb:write", summary: "Index a document again", tag: TAG }),
      },
    )
    .put(
      "/api/v1/kb/documents/:id/access",
      async ({ ctx, params, body }) => ok(await documents.setAccess(ctx, params.id, body)),
      {
        params: schema.DocumentRef,
        body: schema.AccessInput,
        response: { 200: enveloped(schema.Document) },
        detail: mark({
          access: "kb:admin",
          summary: "Say who may open a document",
          tag: TAG,
          description: "Immediate; nothing is embedded again.",
        }),
      },
    )
    .delete(
      "/api/v1/kb/documents/:id/access",
      async ({ ctx, params }) => ok(await documents.clearAccess(ctx, params.id)),
      {
        params: schema.DocumentRef,
        response: { 200: enveloped(schema.Document) },
        detail: mark({ access: "kb:admin", summary: "Let a document inherit its access again", tag: TAG }),
      },
    )
    .get(
      "/api/v1/kb/stats",
      async ({ ctx, query }) => ok(await collections.totals(ctx, query.bot_id, await indexing.queueLength())),
      {
        query: t.Object({ bot_id: t.Optional(schema.BotRef) }),
        response: { 200: enveloped(schema.Stats) },
        detail: mark({ access: "kb:write", summary: "Figures over all collections", tag: TAG }),
      },
    )
    .get("/api/v1/kb/cache/stats", async ({ ctx, query }) => ok(await cached.stats(ctx, query.bot_id)), {
      query: t.Object({ bot_id: t.Optional(schema.BotRef) }),
      response: { 200: enveloped(schema.CachedAnswers) },
      detail: mark({ access: "kb:write", summary: "Figures of the answers that are kept", tag: TAG }),
    })
    .delete("/api/v1/kb/cache", async ({ ctx, query }) => ok(await cached.clear(ctx, query.bot_id)), {
      query: t.Object({ bot_id: t.Optional(schema.BotRef) }),
      response: { 200: enveloped(t.Object({ cleared: t.Integer() })) },
      detail: mark({
        access: "self",
        summary: "Forget the answers that are kept",
        tag: TAG,
        description: "Of one bot with `kb:write`; of all bots with `admin:cache`.",
      }),
    })
    .post(
      "/api/v1/kb/reindex",
      async ({ ctx, body, set }) => {
        const started = await work.reindexAll(ctx, body ?? {});
        set.status = 202;
        return ok(started);
      },
      {
        body: schema.ReindexAll,
        response: { 202: enveloped(schema.Started) },
        detail: mark({ access: "kb:admin", summary: "Index all collections again", tag: TAG }),
      },
    )
    .get(
      "/api/v1/kb/jobs",
      async ({ ctx, query, request }) => {
        const { filters, limit, offset } = jobList.read(query, request.url);
        return ok({ ...(await work.listJobs(ctx, { ...filters, limit, offset })), limit, offset });
      },
      {
        query: jobList.schema,
        response: { 200: enveloped(listOf("jobs", schema.Job)) },
        detail: mark({
          access: "self",
          summary: "Indexing jobs",
          tag: TAG,
          description: "Those that the caller has started; with `kb:write` all.",
        }),
      },
    )
    .get("/api/v1/kb/jobs/:job_id", async ({ ctx, params }) => ok(await work.getJob(ctx, params.job_id)), {
      params: schema.JobRef,
      response: { 200: enveloped(schema.Job) },
      detail: mark({ access: "self", summary: "One indexing job", tag: TAG }),
    })
    .post("/api/v1/kb/jobs/:job_id/cancel", async ({ ctx, params }) => ok(await work.cancelJob(ctx, params.job_id)), {
      params: schema.JobRef,
      response: { 200: enveloped(schema.Job) },
      detail: mark({
        access: "self",
        summary: "Cancel an indexing job",
        tag: TAG,
        description: "Finished documents stay.",
      }),
    })
    .get(
      "/api/v1/kb/:kb_id/folders/:path/access",
      async ({ ctx, params }) => ok(await permissions.decide(ctx, params.kb_id, params.path)),
      {
        params: Folder,
        response: { 200: enveloped(schema.FolderDecision) },
        detail: mark({
          access: "signed-in",
          summary: "Whether the caller may open what lies in a folder, and why",
          tag: TAG,
          description: FOLDER,
        }),
      },
    )
    .get(
      "/api/v1/kb/:kb_id/folders/:path/permissions",
      async ({ ctx, params }) => ok(await permissions.get(ctx, params.kb_id, params.path)),
      {
        params: Folder,
        response: { 200: enveloped(schema.FolderPermissions) },
        detail: mark({ access: "kb:write", summary: "A folder's rule", tag: TAG, description: FOLDER }),
      },
    )
    .put(
      "/api/v1/kb/:kb_id/folders/:path/permissions",
      async ({ ctx, params, body }) => ok(await permissions.put(ctx, params.kb_id, params.path, ruleOf(body))),
      {
        params: Folder,
        body: schema.FolderRule,
        response: { 200: enveloped(schema.FolderPermissions) },
        detail: mark({ access: "kb:admin", summary: "Set a folder's rule", tag: TAG, description: FOLDER }),
      },
    )
    .get(
      "/api/v1/kb/:kb_id/folders/*",
      async ({ ctx, params }) => {
        const { folder, word } = folderAddress(params["*"], ["access", "permissions"]);
        return word === "access"
          ? ok(await permissions.decide(ctx, params.kb_id, folder))
          : ok(await permissions.get(ctx, params.kb_id, folder));
      },
      {
        response: { 200: enveloped(t.Union([schema.FolderPermissions, schema.FolderDecision])) },
        detail: mark({
          access: "signed-in",
          summary: "Access to a deeper folder, or its rule",
          tag: TAG,
          description: "`…/access` and `…/permissions` (needs `kb:write`) behind a path of any depth.",
        }),
      },
    )
    .put(
      "/api/v1/kb/:kb_id/folders/*",
      async ({ ctx, params, body }) => {
        const { folder } = folderAddress(params["*"], ["permissions"]);
        return ok(await permissions.put(ctx, params.kb_id, folder, ruleOf(body)));
      },
      {
        body: schema.FolderRule,
        response: { 200: enveloped(schema.FolderPermissions) },
        detail: mark({ access: "kb:admin", summary: "Set a deeper folder's rule (`…/permissions`)", tag: TAG }),
      },
    )
    .get(
      "/api/v1/kb/:kb_id/permissions/export",
      async ({ ctx, params, query }) => {
        const format = query.format ?? "yaml";
        const text = await permissions.export(ctx, params.kb_id, format);
        return new Response(text, {
          headers: {
            "content-type": format === "json" ? "application/json" : "application/yaml; charset=utf-8",
            "content-disposition": attachmentNamed(`kb.permissions.${format}`),
          },
        });
      },
      {
        params: t.Object({ kb_id: schema.BotRef }),
        query: t.Object({ format: t.Optional(oneOf(["yaml", "json"])) }),
        detail: mark({
          access: "kb:admin",
          summary: "A bot's whole rule set with its effective values",
          tag: TAG,
          answers: ["application/yaml", "application/json"],
        }),
      },
    );
}
