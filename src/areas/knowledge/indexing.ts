// Documents from bytes to visible passages, as background jobs: every stage can be taken up again, nothing is visible
// before it is whole, one document is worked on once at a time.

import { and, asc, count, eq, inArray, isNull, lt, or, sql } from "drizzle-orm";
import type { Clock } from "../../core/clock.ts";
import { systemContext, type Context } from "../../core/context.ts";
import { isAppError } from "../../core/errors.ts";
import type { Events } from "../../core/events/index.ts";
import type { Log } from "../../core/log.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type { EmbeddingEngine } from "../../engines/embedding/index.ts";
import type { ExtractedDocument, ExtractEngine } from "../../engines/extract/index.ts";
import { fetchReason, type Fetcher } from "../../engines/fetch/index.ts";
import { JobFailure, type JobRun, type Jobs } from "../../engines/jobs/index.ts";
import type { ObjectStore } from "../../engines/objects/index.ts";
import { ExtractFailure, recognise } from "../../lib/extract/index.ts";
import type { Blobs } from "./blobs.ts";
import type { BotsDoor, KnowledgeBot } from "./doors.ts";
import { kbChunks, kbCollections, kbDocuments, kbJobDocuments, kbJobs, type DocumentRow } from "./model.ts";
import { titleOf } from "./names.ts";
import { BATCH_SIZE, type PassageStore, type PreparedPassage } from "./passages.ts";

export const INDEX_JOB = "kb.index";
const SWEEP_JOB = "kb.sweep";

/** Raised when extraction gives other text for the same bytes: a re-index then finds all documents changed. */
const EXTRACTOR = "1";
/** Documents at a time on one instance. */
const DOCUMENTS_AT_A_TIME = 4;
/** Delays of 5 s, doubling up to the engine's hour: in all 24 hours. */
const ATTEMPTS_MAX = 34;
const BACKOFF_MS = 5_000;
const LEASE_MS = 120_000;
const LEASE_RENEW_MS = 30_000;
const LEASE_WAIT_MS = 400;
/** A stage that has gone on for this long is worth telling. */
const STAGE_SHOWN_AFTER_MS = 250;
const VECTOR_BATCH = 100;
const JOBS_KEPT_DAYS = 30;
const DAY_MS = 86_400_000;
const FETCH_BYTES_MAX = 10 * 2 ** 20;

export const OPEN_STATUSES = ["pending", "extracting", "chunking", "embedding"] as const;

/** What the visible passages of a document are made of; equal keys mean that there is nothing to do. */
export function indexKey(bot: Pick<KnowledgeBot, "chunkTokens" | "overlapTokens">, sha256: string): string {
  return `${indexKeyPrefix(bot)}${sha256}`;
}

export function indexKeyPrefix({ chunkTokens, overlapTokens }: Pick<KnowledgeBot, "chunkTokens" | "overlapTokens">) {
  return `${EXTRACTOR}:${chunkTokens}:${overlapTokens}:`;
}

/** The document is somebody else's now: another version, another job, or gone. */
class Superseded extends Error {}

interface Progress {
  total: number;
  done: number;
  failed: number;
}

export interface NewJob {
  botId: string | null;
  collectionId: string | null;
  kind: "ingest" | "reindex";
  documents: readonly { id: string; name: string }[];
}

export type Indexing = ReturnType<typeof openIndexing>;

/** Defines the jobs; call before the jobs engine starts. */
export function openIndexing(deps: {
  database: DatabaseEngine;
  objects: ObjectStore;
  jobs: Jobs;
  extract: ExtractEngine;
  embedding: EmbeddingEngine;
  passages: PassageStore;
  blobs: Blobs;
  bots: BotsDoor;
  events: Events;
  clock: Clock;
  log: Log;
  fetcher: Pick<Fetcher, "fetch">;
}) {
  const { database, objects, jobs, extract, embedding, passages, blobs, bots, events, clock, log, fetcher } = deps;
  const places = semaphore(DOCUMENTS_AT_A_TIME);

  /** Takes the document for this job, waiting while another job has it. Null: it is gone. */
  async function claim(documentId: string, job: JobRun<unknown>): Promise<DocumentRow | null> {
    for (;;) {
      job.signal.throwIfAborted();
      const now = clock.now();
      const [row] = await database.db
        .update(kbDocuments)
        .set({
          leaseJob: job.id,
          leaseUntil: new Date(now + LEASE_MS),
          status: sql`case when status = 'indexed' then status else 'extracting' end`,
        })
        .where(
          and(
            eq(kbDocuments.id, documentId),
            or(
              isNull(kbDocuments.leaseUntil),
              lt(kbDocuments.leaseUntil, new Date(now)),
              eq(kbDocuments.leaseJob, job.id),
            ),
          ),
        )
        .returning();
      if (row) return row;
      const [other] = await database.db
        .select({ id: kbDocuments.id })
        .from(kbDocuments)
        .where(eq(kbDocuments.id, documentId));
      if (!other) return null;
      await pause(LEASE_WAIT_MS, job.signal);
    }
  }

  const isMine = (job: JobRun<unknown>, row: DocumentRow) =>
    and(eq(kbDocuments.id, row.id), eq(kbDocuments.leaseJob, job.id), eq(kbDocuments.version, row.version));

  async function renew(job: JobRun<unknown>, row: DocumentRow): Promise<void> {
    await database.db
      .update(kbDocuments)
      .set({ leaseUntil: new Date(clock.now() + LEASE_MS) })
      .where(isMine(job, row));
  }

  const release = (job: JobRun<unknown>, row: DocumentRow) =>
    database.db
      .update(kbDocuments)
      .set({ leaseJob: null, leaseUntil: null })
      .where(and(eq(kbDocuments.id, row.id), eq(kbDocuments.leaseJob, job.id)));

  const settle = (tx: Database, jobId: string, documentId: string, failure: { code: string; message: string } | null) =>
    tx
      .update(kbJobDocuments)
      .set({
        status: failure ? "failed" : "done",
        errorCode: failure?.code ?? null,
        errorMessage: failure?.message ?? null,
      })
      .where(and(eq(kbJobDocuments.jobId, jobId), eq(kbJobDocuments.documentId, documentId)));

  /** The document's job entry ends failed; what was visible before stays visible. */
  async function fail(job: JobRun<unknown>, row: DocumentRow, code: string, message: string): Promise<void> {
    await database.transaction(async (tx) => {
      const [mine] = await tx
        .update(kbDocuments)
        .set({
          status: code === "unsupported_format" ? "unsupported" : "failed",
          errorCode: code,
          errorMessage: message,
          draftKey: null,
          leaseJob: null,
          leaseUntil: null,
          updatedAt: clock.date(),
        })
        .where(isMine(job, row))
        .returning({ visible: kbDocuments.visibleVersion });
      if (mine && mine.visible !== row.version) {
        await tx.delete(kbChunks).where(and(eq(kbChunks.documentId, row.id), eq(kbChunks.version, row.version)));
      }
      await settle(tx, job.id, row.id, { code, message });
      if (!mine) return;
      await events.record(tx, systemContext([], `job ${job.id}`, row.botId), {
        type: "kb.document.failed",
        subject: { area: "knowledge", id: row.id },
        ownerId: row.createdBy,
        data: { collection_id: row.collectionId, bot_id: row.botId, name: row.name, error_code: code },
      });
    });
  }

  /** Brings the bytes of a document that stands at an address. Gives the row as it is then. */
  async function bringBytes(job: JobRun<unknown>, row: DocumentRow): Promise<DocumentRow> {
    if (!row.needsFetch || row.sourceUrl === null) return row;
    let bytes: Uint8Array;
    try {
      const answer = await fetcher.fetch(row.sourceUrl, { signal: job.signal, maxBytes: FETCH_BYTES_MAX });
      bytes = await answer.bytes();
      if (answer.status !== 200) {
        throw new ExtractFailure("fetch_failed", `The address answered with status ${answer.status}.`);
      }
    } catch (error) {
      const reason = fetchReason(error);
      if (reason === null) throw error;
      throw new ExtractFailure("fetch_failed", `The address could not be read: ${reason.replaceAll("_", " ")}.`);
    }
    if (bytes.length === 0) throw new ExtractFailure("empty_file", "The address gave nothing.");
    const blob = await objects.put(bytes);
    const recognised = recognise(bytes, row.name);
    const [fresh] = await database.db
      .update(kbDocuments)
      .set({
        blobId: blob.id,
        sha256: blob.sha256,
        bytes: blob.sizeBytes,
        mime: recognised?.mime ?? "application/octet-stream",
        needsFetch: false,
      })
      .where(isMine(job, row))
      .returning();
    if (!fresh) {
      await objects.delete(blob.id);
      throw new Superseded();
    }
    await blobs.drop([row.blobId]);
    return fresh;
  }

  /**
   * How many passages of this version an earlier run has written whole batches of; anything else is cleared away.
   * A draft key stands on the row as soon as, and only if, a batch is written before the last one.
   */
  async function resumable(row: DocumentRow, draftKey: string): Promise<number> {
    if (row.draftKey === null) return 0;
    const ofVersion = and(eq(kbChunks.documentId, row.id), eq(kbChunks.version, row.version));
    if (row.draftKey === draftKey) {
      const [found] = await database.db
        .select({ written: count(), last: sql<number | null>`max(${kbChunks.ordinal})` })
        .from(kbChunks)
        .where(ofVersion);
      if (found && found.written === (found.last ?? -1) + 1) return found.written;
    }
    await database.db.delete(kbChunks).where(ofVersion);
    return 0;
  }

  /** The document's bytes. Where they alone are gone that is a fault, and not a document that was deleted meanwhile. */
  async function bytesOf(job: JobRun<unknown>, row: DocumentRow): Promise<Uint8Array> {
    if (row.blobId === null) throw new Error("a document has neither bytes nor an address");
    try {
      return await objects.bytes(row.blobId);
    } catch (error) {
      const [present] = await database.db
        .select({ blobId: kbDocuments.blobId })
        .from(kbDocuments)
        .where(isMine(job, row));
      if (isGone(error) && present?.blobId === row.blobId) throw new Error("the bytes are missing", { cause: error });
      throw error;
    }
  }

  async function read(job: JobRun<unknown>, row: DocumentRow, bot: KnowledgeBot): Promise<ExtractedDocument> {
    const bytes = await bytesOf(job, row);
    const began = performance.now();
    // The Worker takes the memory over, so it must be a buffer of its own.
    const own = bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer;
    const document = await extract.extract(
      {
        bytes: own ? new Uint8Array(bytes.buffer as ArrayBuffer) : new Uint8Array(bytes),
        name: row.name,
        chunkTokens: bot.chunkTokens,
        overlapTokens: bot.overlapTokens,
        onChunking: () => {
          if (performance.now() - began < STAGE_SHOWN_AFTER_MS) return;
          void database.db
            .update(kbDocuments)
            .set({ status: "chunking" })
            .where(and(isMine(job, row), eq(kbDocuments.status, "extracting")))
            .catch((error: unknown) => log.warn("a document's stage was not stored", { document: row.id, error }));
        },
      },
      job.signal,
    );
    return document;
  }

  /** Writes the passages that are missing and makes them visible together with the last of them. */
  async function write(
    job: JobRun<unknown>,
    row: DocumentRow,
    bot: KnowledgeBot,
    document: ExtractedDocument,
    title: string,
  ): Promise<void> {
    const key = indexKey(bot, row.sha256);
    const draftKey = `${key}:${row.version}:${embedding.model}`;
    const from = await resumable(row, draftKey);
    const target = { collectionId: row.collectionId, documentId: row.id, version: row.version };
    const batches = document.passages(BATCH_SIZE, from);
    const prepareNext = (): Promise<PreparedPassage[]> | null => {
      const next = batches.next();
      if (next.done) return null;
      const prepared = passages.prepare(
        { collectionId: row.collectionId, language: document.language, title, passages: next.value },
        job.signal,
      );
      // It is awaited after the batch before it is written; a failure until then is not unhandled.
      prepared.catch(() => undefined);
      return prepared;
    };
    let pending = prepareNext();
    let isFirst = true;
    while (pending) {
      const batch: PreparedPassage[] = await pending;
      pending = prepareNext();
      if (pending === null) {
        await publish(job, row, key, document, title, batch);
        return;
      }
      await database.transaction(async (tx) => {
        const lease = { leaseUntil: new Date(clock.now() + LEASE_MS) };
        const [mine] = await tx
          .update(kbDocuments)
          .set(isFirst ? { ...lease, draftKey, status: "embedding" } : lease)
          .where(isMine(job, row))
          .returning({ id: kbDocuments.id });
        if (!mine) throw new Superseded();
        await passages.write(tx, target, batch);
      });
      isFirst = false;
    }
    await publish(job, row, key, document, title, []);
  }

  async function publish(
    job: JobRun<unknown>,
    row: DocumentRow,
    key: string,
    document: ExtractedDocument,
    title: string,
    batch: readonly PreparedPassage[],
  ): Promise<void> {
    job.signal.throwIfAborted();
    const text = await objects.put(document.text);
    const target = { collectionId: row.collectionId, documentId: row.id, version: row.version };
    try {
      await database.transaction(async (tx, afterCommit) => {
        // Order of locks: collection, document, passages.
        await tx
          .select({ id: kbCollections.id })
          .from(kbCollections)
          .where(eq(kbCollections.id, row.collectionId))
          .for("update");
        const [mine] = await tx
          .select({ textBlobId: kbDocuments.textBlobId })
          .from(kbDocuments)
          .where(and(isMine(job, row), eq(kbDocuments.collectionId, row.collectionId)))
          .for("update");
        if (!mine) throw new Superseded();
        await passages.write(tx, target, batch);
        await passages.publish(tx, target);
        const at = clock.date();
        await tx
          .update(kbDocuments)
          .set({
            status: "indexed",
            errorCode: null,
            errorMessage: null,
            title: sql`case when is_title_given then title else ${title} end`,
            mime: document.mime,
            language: document.language,
            pages: document.pages,
            textBlobId: text.id,
            indexKey: key,
            draftKey: null,
            leaseJob: null,
            leaseUntil: null,
            indexedAt: at,
            updatedAt: at,
          })
          .where(eq(kbDocuments.id, row.id));
        await settle(tx, job.id, row.id, null);
        await events.record(tx, systemContext([], `job ${job.id}`, row.botId), {
          type: "kb.document.indexed",
          subject: { area: "knowledge", id: row.id },
          ownerId: row.createdBy,
          data: {
            collection_id: row.collectionId,
            bot_id: row.botId,
            name: row.name,
            version: row.version,
            chunks_count: document.passagesCount,
          },
        });
        afterCommit(() => passages.announce([row.collectionId]));
        afterCommit(() => blobs.drop([mine.textBlobId]));
      });
    } catch (error) {
      await blobs.drop([text.id]);
      throw error;
    }
  }

  /** The job has been stopped: the document waits for the next run, or ends as whoever cancelled the job has said. */
  async function letGo(job: JobRun<unknown>, row: DocumentRow): Promise<void> {
    await database.db.execute(sql`
      update kb_documents d set lease_job = null, lease_until = null, status = case
        when d.status not in ('extracting', 'chunking', 'embedding') then d.status
        when e.status = 'failed' then 'failed' else 'pending' end,
        error_code = case when e.status = 'failed' then e.error_code else d.error_code end,
        error_message = case when e.status = 'failed' then e.error_message else d.error_message end
      from kb_job_documents e
      where d.id = ${row.id} and d.lease_job = ${job.id} and d.version = ${row.version}
        and e.job_id = ${job.id} and e.document_id = d.id`);
  }

  /** One document to its end. Throws only what is worth another try of the job. */
  async function index(job: JobRun<unknown>, documentId: string): Promise<"done" | "failed"> {
    const claimed = await claim(documentId, job);
    if (!claimed) {
      await settle(database.db, job.id, documentId, null);
      return "done";
    }
    let row = claimed;
    const renewal = setInterval(() => {
      renew(job, row).catch((error: unknown) => log.warn("a lease was not renewed", { document: documentId, error }));
    }, LEASE_RENEW_MS);
    try {
      const bot = await bots.find(row.botId);
      if (!bot) throw new Superseded();
      if (row.status === "indexed" && row.visibleVersion === row.version) throw new Superseded();
      row = await bringBytes(job, row);
      const document = await read(job, row, bot);
      const title = row.isTitleGiven ? row.title : (shortened(document.title) ?? titleOf(row.name));
      await write(job, row, bot, document, title);
      return "done";
    } catch (error) {
      if (error instanceof Superseded || isGone(error)) {
        await settle(database.db, job.id, documentId, null);
        await release(job, row);
        return "done";
      }
      if (job.signal.aborted) {
        await letGo(job, row);
        throw error;
      }
      if (error instanceof ExtractFailure) {
        await fail(job, row, error.code, error.message);
        return "failed";
      }
      if (isPassing(error)) {
        await release(job, row);
        throw error;
      }
      const useless = badVectors(error);
      if (useless !== null) {
        await fail(job, row, "bad_vectors", useless);
        throw new JobFailure("bad_vectors", useless, { cause: error });
      }
      log.error("a document could not be indexed", { document: documentId, job: job.id, error });
      await fail(job, row, "processing_failed", "Something went wrong while it was taken in.");
      return "failed";
    } finally {
      clearInterval(renewal);
    }
  }

  /** Vectors of the present model for collections that have another's, and the switch when all are there. */
  async function renewVectors(job: JobRun<unknown>, collectionIds: readonly string[]): Promise<void> {
    for (const id of collectionIds) {
      const [collection] = await database.db.select().from(kbCollections).where(eq(kbCollections.id, id));
      if (!collection || !passages.isStale(collection)) continue;
      await database.db
        .update(kbCollections)
        .set({ nextEmbeddingModel: embedding.model, nextDimensions: embedding.dimensions })
        .where(eq(kbCollections.id, id));
      for (;;) {
        job.signal.throwIfAborted();
        const missing = await passages.missingVectors(id, VECTOR_BATCH);
        if (missing.length > 0) {
          await passages.addVectors(id, missing, job.signal);
          continue;
        }
        const isSwitched = await database.transaction(async (tx, afterCommit) => {
          afterCommit(() => passages.announce([id]));
          return passages.switchModel(tx, id);
        });
        if (isSwitched) break;
      }
    }
  }

  async function collectionsOf(jobId: string): Promise<string[]> {
    const [scope] = await database.db.select().from(kbJobs).where(eq(kbJobs.id, jobId));
    if (scope?.kind !== "reindex") return [];
    if (scope.collectionId !== null) return [scope.collectionId];
    const rows = await database.db
      .select({ id: kbCollections.id })
      .from(kbCollections)
      .where(scope.botId === null ? undefined : eq(kbCollections.botId, scope.botId))
      .orderBy(asc(kbCollections.id));
    return rows.map(({ id }) => id);
  }

  async function progressOf(jobId: string): Promise<Progress> {
    const rows = await database.db
      .select({ status: kbJobDocuments.status, documents: count() })
      .from(kbJobDocuments)
      .where(eq(kbJobDocuments.jobId, jobId))
      .groupBy(kbJobDocuments.status);
    const of = (status: string) => rows.find((row) => row.status === status)?.documents ?? 0;
    return { total: of("pending") + of("done") + of("failed"), done: of("done"), failed: of("failed") };
  }

  const shown = ({ total, done, failed }: Progress) => ({
    documents_total: total,
    documents_done: done,
    documents_failed: failed,
  });

  async function run(job: JobRun<unknown>): Promise<Record<string, unknown>> {
    const progress = await progressOf(job.id);
    const queue = await database.db
      .select({ id: kbJobDocuments.documentId })
      .from(kbJobDocuments)
      .where(and(eq(kbJobDocuments.jobId, job.id), eq(kbJobDocuments.status, "pending")))
      .orderBy(asc(kbJobDocuments.documentId));
    const failures: unknown[] = [];
    const work = async () => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const { id } = next;
        try {
          const outcome = await places(job.signal, () => index(job, id));
          progress[outcome]++;
          await job.progress(((progress.done + progress.failed) / progress.total) * 100, shown(progress));
        } catch (error) {
          if (job.signal.aborted) throw error;
          failures.push(error);
          // The service that is missing will be missing for the rest, too.
          queue.length = 0;
        }
      }
    };
    await Promise.all(Array.from({ length: DOCUMENTS_AT_A_TIME }, work));
    if (failures.length === 0) await renewVectors(job, await collectionsOf(job.id)).catch(judged(failures));
    const failure = failures.find((one) => one instanceof JobFailure) ?? failures[0];
    if (failure === undefined) return shown(progress);
    if (failure instanceof JobFailure) {
      // What every other document of the job would meet, too.
      await closeJob(job.id, failure.code, failure.message);
      throw failure;
    }
    if (job.attempt < ATTEMPTS_MAX) throw failure;
    await giveUp(job, failure);
    throw new JobFailure("service_unavailable", "A service that indexing needs has been missing for a day.", {
      cause: failure,
    });
  }

  /** The last try has failed: what is left ends failed. */
  async function giveUp(job: JobRun<unknown>, cause: unknown): Promise<void> {
    log.error("an indexing job is given up", { job: job.id, cause });
    await closeJob(job.id, "service_unavailable", "A service that indexing needs has been missing for a day.");
  }

  /** Ends what a job has left undone; documents that another job will still do are left to it. */
  async function closeJob(jobId: string, code: string, message: string): Promise<void> {
    await database.transaction(async (tx) => {
      const left = await tx
        .update(kbJobDocuments)
        .set({ status: "failed", errorCode: code, errorMessage: message })
        .where(and(eq(kbJobDocuments.jobId, jobId), eq(kbJobDocuments.status, "pending")))
        .returning({ id: kbJobDocuments.documentId });
      for (let at = 0; at < left.length; at += 1000) {
        const ids = left.slice(at, at + 1000).map(({ id }) => id);
        await tx
          .update(kbDocuments)
          .set({ status: "failed", errorCode: code, errorMessage: message, leaseJob: null, leaseUntil: null })
          .where(
            and(
              inArray(kbDocuments.id, ids),
              inArray(kbDocuments.status, [...OPEN_STATUSES]),
              sql`not exists (select 1 from ${kbJobDocuments} o where o.document_id = ${kbDocuments.id}
                and o.job_id <> ${jobId} and o.status = 'pending')`,
            ),
          );
      }
    });
  }

  /** What crashes and deletions leave behind: passages of no version, old job entries, swept removals. */
  async function sweep(): Promise<Record<string, unknown>> {
    const removals = await passages.sweep();
    const orphans = await database.query<{ id: string }>(`
      delete from kb_chunks c using kb_documents d
      where d.id = c.document_id and c.version is distinct from d.visible_version and d.lease_job is null
        and d.status in ('indexed', 'failed', 'unsupported', 'infected')
      returning c.id`);
    const before = new Date(clock.now() - JOBS_KEPT_DAYS * DAY_MS);
    const old = await database.db
      .select({ id: kbJobs.id })
      .from(kbJobs)
      .where(lt(kbJobs.createdAt, before))
      .limit(1000);
    const ended: string[] = [];
    for (const { id } of old) {
      const view = await jobs.get(id);
      if (!view || (view.status !== "queued" && view.status !== "running")) ended.push(id);
    }
    if (ended.length > 0) await database.db.delete(kbJobs).where(inArray(kbJobs.id, ended));
    return { removals, orphans: orphans.length, jobs: ended.length };
  }

  jobs.define<unknown>({
    kind: INDEX_JOB,
    concurrency: DOCUMENTS_AT_A_TIME,
    attemptsMax: ATTEMPTS_MAX,
    backoffMs: BACKOFF_MS,
    leaseSeconds: 60,
    run,
  });
  jobs.define<unknown>({ kind: SWEEP_JOB, run: sweep });

  return {
    /** Queues the documents in the caller's transaction; gives the job's id. */
    enqueue: async (tx: Database, ctx: Context, job: NewJob): Promise<string> => {
      const id = await jobs.enqueue(tx, INDEX_JOB, {}, { ownerId: ctx.caller.userId });
      await tx.insert(kbJobs).values({
        id,
        botId: job.botId,
        collectionId: job.collectionId,
        kind: job.kind,
        createdBy: ctx.caller.userId,
        createdAt: clock.date(),
      });
      for (let at = 0; at < job.documents.length; at += 1000) {
        const rows = job.documents.slice(at, at + 1000);
        await tx
          .insert(kbJobDocuments)
          .values(rows.map(({ id: documentId, name }) => ({ jobId: id, documentId, name })))
          .onConflictDoNothing();
      }
      return id;
    },
    progressOf,
    closeJob,
    sweep,
    /** Documents that wait or are worked on. */
    queueLength: async (): Promise<number> => {
      const [row] = await database.db
        .select({ documents: count() })
        .from(kbDocuments)
        .where(inArray(kbDocuments.status, [...OPEN_STATUSES]));
      return row?.documents ?? 0;
    },
    /** Once the jobs engine runs. */
    schedule: () => jobs.schedule(SWEEP_JOB, "41 3 * * *", "UTC", SWEEP_JOB, {}),
  };
}

/** A service that will be back: worth another try. */
function isPassing(error: unknown): boolean {
  return isAppError(error) && error.code === "SERVICE_UNAVAILABLE" && badVectors(error) === null;
}

/** Collects what ends the job or is worth another try, lets the rest through. */
function judged(failures: unknown[]): (error: unknown) => void {
  return (error) => {
    const useless = badVectors(error);
    if (useless !== null) failures.push(new JobFailure("bad_vectors", useless, { cause: error }));
    else if (isPassing(error)) failures.push(error);
    else throw error;
  };
}

/** The sentence about an embedding server whose vectors are of no use; null for other errors. */
function badVectors(error: unknown): string | null {
  if (!isAppError(error) || error.details["reason"] !== "bad_vectors") return null;
  return error.message;
}

/** Deleted or replaced while it was worked on. */
function isGone(error: unknown): boolean {
  if (!isAppError(error)) return false;
  return error.code === "NOT_FOUND" || error.details["reason"] === "older_version";
}

const TITLE_LENGTH_MAX = 500;

function shortened(title: string | null): string | null {
  const plain = title?.replaceAll(/\s+/g, " ").trim() ?? "";
  return plain === "" ? null : plain.slice(0, TITLE_LENGTH_MAX).toWellFormed();
}

/** At most `size` at a time, in order of arrival. */
function semaphore(size: number) {
  let taken = 0;
  const line: (() => void)[] = [];
  return async <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
    if (taken >= size) await new Promise<void>((resolve) => line.push(resolve));
    else taken++;
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      const next = line.shift();
      if (next) next();
      else taken--;
    }
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}
