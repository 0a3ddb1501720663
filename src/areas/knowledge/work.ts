// Indexing asked for by hand, and what became of it: re-indexing and the jobs of this area.

import { and, asc, eq, inArray, notInArray, or, sql } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import { holds, type Context } from "../../core/context.ts";
import { conflict, notFound } from "../../core/errors.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type { Jobs, JobStatus, JobView } from "../../engines/jobs/index.ts";
import type { BotsDoor, KnowledgeBot } from "./doors.ts";
import { lockCollection, type Finder } from "./finder.ts";
import { INDEX_JOB, indexKeyPrefix, OPEN_STATUSES, type Indexing } from "./indexing.ts";
import { kbCollections, kbDocuments, kbJobDocuments, kbJobs } from "./model.ts";

const ERRORS_MAX = 100;

export interface KnowledgeJob {
  job_id: string;
  kind: "ingest" | "reindex";
  bot_id: string | null;
  collection_id: string | null;
  status: JobStatus;
  progress: number;
  documents_total: number;
  documents_done: number;
  documents_failed: number;
  errors: { document_id: string; name: string; code: string; message: string }[];
  /** Why the job as a whole has failed; null unless it has. */
  error: { code: string; message: string } | null;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
}

export type Work = ReturnType<typeof workService>;

export function workService(deps: {
  database: DatabaseEngine;
  jobs: Jobs;
  audit: Audit;
  bots: BotsDoor;
  finder: Finder;
  indexing: Indexing;
}) {
  const { database, jobs, audit, bots, finder, indexing } = deps;

  /**
   * Gives documents of a collection a new version to index: all with `force`, else those whose passages were made of
   * something else, or not at all. What is under way is left alone.
   */
  async function renew(
    tx: Database,
    collectionId: string,
    bot: KnowledgeBot,
    force: boolean,
    only: readonly string[] | null,
  ) {
    await lockCollection(tx, collectionId);
    const isChanged = or(
      eq(kbDocuments.status, "failed"),
      sql`${kbDocuments.indexKey} is distinct from ${indexKeyPrefix(bot)}::text || ${kbDocuments.sha256}`,
    );
    return tx
      .update(kbDocuments)
      .set({
        version: sql`${kbDocuments.version} + 1`,
        status: "pending",
        errorCode: null,
        errorMessage: null,
        draftKey: null,
        needsFetch: sql`${kbDocuments.needsFetch} or ${kbDocuments.blobId} is null`,
      })
      .where(
        and(
          eq(kbDocuments.collectionId, collectionId),
          notInArray(kbDocuments.status, [...OPEN_STATUSES, "infected", ...(force ? [] : (["unsupported"] as const))]),
          only ? inArray(kbDocuments.id, [...only]) : undefined,
          force ? undefined : isChanged,
        ),
      )
      .returning({ id: kbDocuments.id, name: kbDocuments.name });
  }

  /** The collections whose bots are there, in the order in which they are locked. */
  async function ownersOf(collectionIds: readonly string[]): Promise<{ id: string; bot: KnowledgeBot }[]> {
    const rows = await database.db
      .select({ id: kbCollections.id, botId: kbCollections.botId })
      .from(kbCollections)
      .where(inArray(kbCollections.id, [...collectionIds]))
      .orderBy(asc(kbCollections.id));
    const found = await Promise.all(rows.map(async ({ id, botId }) => ({ id, bot: await bots.find(botId) })));
    return found.flatMap(({ id, bot }) => (bot ? [{ id, bot }] : []));
  }

  async function start(
    ctx: Context,
    scope: { botId: string | null; collectionId: string | null; label: string },
    collectionIds: readonly string[],
    force: boolean,
    only: readonly string[] | null,
  ): Promise<{ job_id: string; status: "queued" }> {
    // Looked up beforehand: a bot that is not in memory is read with the database's own handle.
    const owners = await ownersOf(collectionIds);
    const jobId = await database.transaction(async (tx) => {
      const documents: { id: string; name: string }[] = [];
      for (const { id, bot } of owners) documents.push(...(await renew(tx, id, bot, force, only)));
      const id = await indexing.enqueue(tx, ctx, {
        botId: scope.botId,
        collectionId: scope.collectionId,
        kind: "reindex",
        documents,
      });
      await audit.record(tx, ctx, {
        type: "kb_reindex_started",
        ...(scope.collectionId === null
          ? {}
          : { resource: { type: "kb_collection", id: scope.collectionId, label: scope.label } }),
        details: { job_id: id, force, documents: documents.length, bot_id: scope.botId },
      });
      return id;
    });
    return { job_id: jobId, status: "queued" };
  }

  async function present(view: JobView): Promise<KnowledgeJob | null> {
    const [row] = await database.db.select().from(kbJobs).where(eq(kbJobs.id, view.id));
    if (!row) return null;
    const progress = await indexing.progressOf(view.id);
    const errors = await database.db
      .select()
      .from(kbJobDocuments)
      .where(and(eq(kbJobDocuments.jobId, view.id), eq(kbJobDocuments.status, "failed")))
      .limit(ERRORS_MAX);
    return {
      job_id: view.id,
      kind: row.kind,
      bot_id: row.botId,
      collection_id: row.collectionId,
      status: view.status,
      progress: view.status === "completed" ? 100 : Math.round(view.progress * 10) / 10,
      documents_total: progress.total,
      documents_done: progress.done,
      documents_failed: progress.failed,
      errors: errors.map(({ documentId, name, errorCode, errorMessage }) => ({
        document_id: documentId,
        name,
        code: errorCode ?? "failed",
        message: errorMessage ?? "",
      })),
      error: view.error,
      created_at: view.createdAt.toISOString(),
      started_at: view.startedAt?.toISOString() ?? null,
      ended_at: view.endedAt?.toISOString() ?? null,
    };
  }

  /** The job, for who started it and for managers; 404 for everybody else. */
  async function jobOf(ctx: Context, id: string): Promise<KnowledgeJob> {
    const view = await jobs.get(id);
    const isTheirs = view !== null && view.ownerId !== null && view.ownerId === ctx.caller.userId;
    if (view?.kind !== INDEX_JOB || (!isTheirs && !holds(ctx.caller, "kb:write"))) throw notFound("job");
    const shown = await present(view);
    if (!shown) throw notFound("job");
    return shown;
  }

  return {
    reindexCollection: async (ctx: Context, ref: string, input: { force?: boolean; documents?: string[] }) => {
      const { collection, bot } = await finder.collection(ctx, ref);
      const scope = { botId: bot.id, collectionId: collection.id, label: collection.name };
      return start(ctx, scope, [collection.id], input.force ?? false, input.documents ?? null);
    },

    reindexDocument: async (ctx: Context, id: string) => {
      const { document, collection, bot } = await finder.document(ctx, id);
      const scope = { botId: bot.id, collectionId: collection.id, label: collection.name };
      return start(ctx, scope, [collection.id], true, [document.id]);
    },

    /** All collections of a bot, or of all bots. */
    reindexAll: async (ctx: Context, input: { bot_id?: string; force?: boolean }) => {
      const bot = input.bot_id === undefined ? null : await finder.bot(ctx, input.bot_id);
      const rows = await database.db
        .select({ id: kbCollections.id })
        .from(kbCollections)
        .where(bot ? eq(kbCollections.botId, bot.id) : undefined);
      const scope = { botId: bot?.id ?? null, collectionId: null, label: "" };
      return start(
        ctx,
        scope,
        rows.map(({ id }) => id),
        input.force ?? false,
        null,
      );
    },

    listJobs: async (
      ctx: Context,
      query: { status?: JobStatus; limit: number; offset: number },
    ): Promise<{ jobs: KnowledgeJob[]; total: number }> => {
      const { userId } = ctx.caller;
      const isManager = holds(ctx.caller, "kb:write");
      if (!isManager && userId === null) return { jobs: [], total: 0 };
      const { jobs: views, total } = await jobs.list({
        kind: INDEX_JOB,
        ...(isManager || userId === null ? {} : { ownerId: userId }),
        ...(query.status === undefined ? {} : { status: query.status }),
        limit: query.limit,
        offset: query.offset,
      });
      const shown = await Promise.all(views.map(present));
      return { jobs: shown.filter((job) => job !== null), total };
    },

    getJob: jobOf,

    cancelJob: async (ctx: Context, id: string): Promise<KnowledgeJob> => {
      await jobOf(ctx, id);
      if (!(await jobs.cancel(id))) throw conflict("job_ended", "This job has ended already.");
      await indexing.closeJob(id, "cancelled", "The job was cancelled.");
      return jobOf(ctx, id);
    },

    /** Waits for a job's end, at most `seconds`; true if it has ended. */
    wait: async (jobId: string, seconds: number): Promise<boolean> => {
      const view = await jobs.wait(jobId, seconds * 1000);
      return view !== null && view.status !== "queued" && view.status !== "running";
    },
  };
}
