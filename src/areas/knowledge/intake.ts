// Taking files, texts and addresses into a collection: bytes first, then rows and job in one transaction.

import { and, count, eq, inArray, sql } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import { requirePermission, type Context } from "../../core/context.ts";
import { conflict, invalid, isAppError, payloadTooLarge, unavailable, type FieldFault } from "../../core/errors.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type { Fetcher } from "../../engines/fetch/index.ts";
import type { ObjectStore } from "../../engines/objects/index.ts";
import { HEAD_BYTES, recognise, type Recognised } from "../../lib/extract/index.ts";
import { uuidv7 } from "../../lib/ids/index.ts";
import type { Blobs } from "./blobs.ts";
import type { Collections } from "./collections.ts";
import type { KnowledgeBot } from "./doors.ts";
import { collectionKey, lockCollection, type Finder, type FoundCollection } from "./finder.ts";
import { indexKey, OPEN_STATUSES, type Indexing } from "./indexing.ts";
import { kbDocuments, type AccessRule, type CollectionRow, type DocumentRow } from "./model.ts";
import { checkedMetadata, checkedName, checkedPath, checkedTags, nameFor, numbered, titleOf } from "./names.ts";
import { effectiveAccess, readRules, wholeRule, type Permissions, type RuleInput } from "./permissions.ts";
import type { PassageStore } from "./passages.ts";
import { presentDocument, type KnowledgeDocument } from "./present.ts";

const FILES_MAX = 100;
const DOCUMENTS_PER_BOT_MAX = 100_000;
const TEXT_BYTES_MAX = 10 * 2 ** 20;

/** What is said of all documents of one request. */
export interface IntakeOptions {
  path?: string;
  tags?: string[];
  metadata?: Record<string, unknown>;
  access?: RuleInput;
}

export interface TextItem {
  text?: string;
  title?: string;
  external_id?: string;
  url?: string;
  file_id?: string;
}

export interface IngestInput extends IntakeOptions {
  /** Id, `<bot>:<name>`, or name beside `bot_id`. */
  collection: string;
  bot_id?: string;
  /** Makes the collection if there is none of that name. */
  create?: boolean;
  items: TextItem[];
}

export type IntakeResult = "created" | "updated" | "unchanged";

export interface TakenIn {
  documents: (KnowledgeDocument & { result: IntakeResult })[];
  /** Null: there is nothing to do. */
  job_id: string | null;
}

/** Bytes that are stored, or an address that is to be fetched, before its row is made. */
interface Staged {
  name: string;
  title: string | null;
  externalId: string | null;
  sourceUrl: string | null;
  blob: { id: string; sha256: string; sizeBytes: number } | null;
  recognised: Recognised | null;
  /** True: another document of the same name is no reason to replace it. */
  isOwnDocument: boolean;
}

export interface IntakeFile {
  name: string;
  body: ReadableStream<Uint8Array> | Uint8Array;
  title?: string;
  externalId?: string;
}

/** One request's files, stored one by one and registered together. */
export interface OpenIntake {
  /** Stores a file's bytes; throws 413 above the format's size and 422 for what is no document. */
  add(file: IntakeFile): Promise<void>;
  /** Makes the rows and the job. */
  commit(options: IntakeOptions): Promise<TakenIn>;
  /** Deletes what was stored; for a request that failed. */
  discard(): Promise<void>;
}

export type Intake = ReturnType<typeof intakeService>;

export function intakeService(deps: {
  database: DatabaseEngine;
  objects: ObjectStore;
  clock: Clock;
  audit: Audit;
  finder: Finder;
  collections: Collections;
  permissions: Permissions;
  passages: PassageStore;
  indexing: Indexing;
  blobs: Blobs;
  fetcher: Pick<Fetcher, "check">;
}) {
  const { database, objects, clock, audit, finder, collections, permissions, passages, indexing, blobs } = deps;

  async function store(bot: KnowledgeBot, file: IntakeFile): Promise<Staged> {
    const name = checkedName(file.name);
    const sizes = Object.values(bot.sizeMax);
    const head = new Head();
    const body = file.body instanceof Uint8Array ? head.seen(file.body) : file.body.pipeThrough(head.tap());
    const blob = await objects.put(body, { maxBytes: Math.max(...sizes) });
    try {
      if (blob.sizeBytes === 0) throw invalid([{ path: name, message: "is empty" }], "empty_file");
      const recognised = recognise(head.bytes(), name);
      const max = recognised ? bot.sizeMax[recognised.sizeClass] : Math.max(...sizes);
      if (blob.sizeBytes > max) throw payloadTooLarge(max);
      return {
        name,
        title: file.title?.trim() || null,
        externalId: file.externalId ?? null,
        sourceUrl: null,
        blob,
        recognised,
        isOwnDocument: false,
      };
    } catch (error) {
      await objects.delete(blob.id);
      throw error;
    }
  }

  async function checkedOptions(ctx: Context, options: IntakeOptions) {
    const checked = {
      path: checkedPath(options.path ?? ""),
      tags: options.tags === undefined ? null : checkedTags(options.tags),
      metadata: options.metadata === undefined ? null : checkedMetadata(options.metadata),
      access: null as AccessRule | null,
    };
    if (options.access !== undefined) {
      requirePermission(ctx, "kb:admin");
      checked.access = wholeRule(options.access);
      const faults = await permissions.check(checked.access, "access.");
      if (faults.length > 0) throw invalid(faults);
    }
    return checked;
  }

  /** The document that a staged one is another version of. */
  async function existing(
    tx: Database,
    collection: CollectionRow,
    path: string,
    staged: Staged,
  ): Promise<DocumentRow | null> {
    const inCollection = eq(kbDocuments.collectionId, collection.id);
    if (staged.externalId !== null) {
      const [row] = await tx
        .select()
        .from(kbDocuments)
        .where(and(inCollection, eq(kbDocuments.externalId, staged.externalId)));
      return row ?? null;
    }
    if (staged.sourceUrl !== null) {
      const [row] = await tx
        .select()
        .from(kbDocuments)
        .where(and(inCollection, eq(kbDocuments.sourceUrl, staged.sourceUrl)));
      return row ?? null;
    }
    const [row] = await tx
      .select()
      .from(kbDocuments)
      .where(and(inCollection, eq(kbDocuments.path, path), eq(kbDocuments.name, staged.name)));
    if (!row || !staged.isOwnDocument) return row ?? null;
    return row.sha256 === staged.blob?.sha256 ? row : null;
  }

  async function freeName(tx: Database, collection: CollectionRow, path: string, wanted: string): Promise<string> {
    const rows = await tx
      .select({ name: kbDocuments.name })
      .from(kbDocuments)
      .where(and(eq(kbDocuments.collectionId, collection.id), eq(kbDocuments.path, path)));
    const taken = new Set(rows.map(({ name }) => name));
    let name = wanted;
    for (let number = 2; taken.has(name); number++) name = numbered(wanted, number);
    return name;
  }

  async function register(
    ctx: Context,
    { collection: target, bot, reader }: FoundCollection,
    staged: readonly Staged[],
    options: Awaited<ReturnType<typeof checkedOptions>>,
  ): Promise<TakenIn> {
    return database.transaction(async (tx, afterCommit) => {
      const collection = await lockCollection(tx, target.id);
      // A document that is new is not visible yet: only what is known already is a change for readers.
      let raised: number | null = null;
      const seqOfChange = async () => (raised ??= (await passages.raise(tx, target.id)).changeSeq);
      const [held] = await tx.select({ documents: count() }).from(kbDocuments).where(eq(kbDocuments.botId, bot.id));
      const book = await readRules(tx, collection.botId, collection.nameKey);
      const at = clock.date();
      const unneeded: (string | null)[] = [];
      const results: { row: DocumentRow; result: IntakeResult }[] = [];
      let room = DOCUMENTS_PER_BOT_MAX - (held?.documents ?? 0);

      for (const item of staged) {
        const old = await existing(tx, collection, options.path, item);
        const access = options.access ?? old?.access ?? null;
        const { decidedBy: _, ...effective } = effectiveAccess(book, collection, old?.path ?? options.path, access);
        const said = {
          ...(options.tags === null ? {} : { tags: options.tags }),
          ...(options.metadata === null ? {} : { metadata: options.metadata }),
          ...(item.title === null ? {} : { title: item.title, isTitleGiven: true }),
          access,
          ...effective,
          updatedAt: at,
        };
        const content = item.blob
          ? { blobId: item.blob.id, sha256: item.blob.sha256, bytes: item.blob.sizeBytes, needsFetch: false }
          : { needsFetch: true };
        const kind = {
          mime: item.recognised?.mime ?? "application/octet-stream",
          status: item.blob && !item.recognised ? ("unsupported" as const) : ("pending" as const),
          errorCode: item.blob && !item.recognised ? "unsupported_format" : null,
          errorMessage: item.blob && !item.recognised ? "Files of this format are not read." : null,
        };
        if (!old) {
          if (--room < 0) {
            throw conflict("document_limit", `A bot has at most ${DOCUMENTS_PER_BOT_MAX} documents.`, {
              limit: DOCUMENTS_PER_BOT_MAX,
            });
          }
          const isFree = !item.isOwnDocument && item.externalId === null && item.sourceUrl === null;
          const name = isFree ? item.name : await freeName(tx, collection, options.path, item.name);
          const [row] = await tx
            .insert(kbDocuments)
            .values({
              id: uuidv7(),
              collectionId: collection.id,
              botId: bot.id,
              name,
              path: options.path,
              title: titleOf(name),
              externalId: item.externalId,
              sourceUrl: item.sourceUrl,
              createdBy: ctx.caller.userId,
              createdAt: at,
              ...said,
              ...kind,
              ...content,
            })
            .returning();
          if (row) results.push({ row, result: "created" });
          continue;
        }
        const isSame =
          item.blob !== null &&
          old.sha256 === item.blob.sha256 &&
          (old.indexKey === indexKey(bot, old.sha256) || OPEN_STATUSES.some((open) => open === old.status));
        if (isSame) unneeded.push(item.blob?.id ?? null);
        else if (item.blob) unneeded.push(old.blobId);
        const renewed = isSame ? {} : { ...kind, ...content, version: sql`${kbDocuments.version} + 1`, draftKey: null };
        const [row] = await tx
          .update(kbDocuments)
          .set({ ...said, ...renewed, changeSeq: await seqOfChange() })
          .where(eq(kbDocuments.id, old.id))
          .returning();
        if (row) results.push({ row, result: isSame ? "unchanged" : "updated" });
      }

      const open = results.filter(({ row, result }) => result !== "unchanged" && row.status === "pending");
      const jobId =
        open.length === 0
          ? null
          : await indexing.enqueue(tx, ctx, {
              botId: bot.id,
              collectionId: collection.id,
              kind: "ingest",
              documents: open.map(({ row }) => ({ id: row.id, name: row.name })),
            });
      for (const result of ["created", "updated"] as const) {
        const rows = results.filter((one) => one.result === result);
        if (rows.length === 0) continue;
        await audit.record(tx, ctx, {
          type: result === "created" ? "kb_document_added" : "kb_document_updated",
          resource: { type: "kb_collection", id: collection.id, label: collection.name },
          details: { documents: rows.map(({ row }) => row.id), job_id: jobId },
        });
      }
      if (raised !== null) afterCommit(() => passages.announce([collection.id]));
      afterCommit(() => blobs.drop(unneeded));
      return {
        documents: results.map(({ row, result }) => ({ ...presentDocument(ctx, reader, row), result })),
        job_id: jobId,
      };
    });
  }

  /** Collects staged documents of one request and drops their bytes if it fails. */
  function openIntake(ctx: Context, found: FoundCollection): OpenIntake & { stage(item: Staged): void } {
    const staged: Staged[] = [];
    const discard = () => blobs.drop(staged.splice(0).map(({ blob }) => blob?.id ?? null));
    const stage = (item: Staged) => {
      if (staged.length >= FILES_MAX) throw invalid([{ path: "file", message: `at most ${FILES_MAX} at a time` }]);
      staged.push(item);
    };
    return {
      stage,
      discard,
      add: async (file) => stage(await store(found.bot, file)),
      commit: async (options) => {
        try {
          if (staged.length === 0) throw invalid([{ path: "file", message: "is missing" }]);
          const names = staged.map(({ name }) => name);
          const twice = names.find((name, index) => names.indexOf(name) !== index && !staged[index]?.isOwnDocument);
          if (twice !== undefined) throw invalid([{ path: "file", message: `${twice} is there twice` }]);
          return await register(ctx, found, staged, await checkedOptions(ctx, options));
        } catch (error) {
          await discard();
          throw error;
        }
      },
    };
  }

  async function collectionFor(ctx: Context, input: IngestInput): Promise<FoundCollection> {
    try {
      return await finder.collection(ctx, input.collection, input.bot_id ?? null);
    } catch (error) {
      const isMissing = isAppError(error) && error.code === "NOT_FOUND";
      if (!isMissing || input.create !== true) throw error;
      const colon = input.collection.indexOf(":");
      const botRef = colon < 0 ? (input.bot_id ?? null) : input.collection.slice(0, colon);
      const bot = await finder.bot(ctx, botRef);
      const name = input.collection.slice(colon + 1);
      await collections.create(ctx, { bot_id: bot.id, name }).catch((refusal: unknown) => {
        // Somebody else has made it in this moment.
        if (!isAppError(refusal) || refusal.details["reason"] !== "name_taken") throw refusal;
      });
      return finder.collection(ctx, `${bot.id}:${collectionKey(name)}`);
    }
  }

  /** Every item's faults at once; the rest is judged while it is taken in. */
  function checkItems(items: readonly TextItem[]): void {
    const faults: FieldFault[] = [];
    const keys = new Set<string>();
    items.forEach((item, index) => {
      const given = [item.text, item.url, item.file_id].filter((one) => one !== undefined);
      if (given.length !== 1)
        faults.push({ path: `items.${index}`, message: "holds exactly one of text, url, file_id" });
      if (item.text !== undefined && item.text.trim() === "") {
        faults.push({ path: `items.${index}.text`, message: "is empty" });
      }
      if (item.external_id !== undefined) {
        if (keys.has(item.external_id)) faults.push({ path: `items.${index}.external_id`, message: "is there twice" });
        keys.add(item.external_id);
      }
    });
    if (faults.length > 0) throw invalid(faults);
    if (items.some((item) => item.file_id !== undefined)) throw unavailable("files");
  }

  return {
    /** Files of one upload into the collection. */
    open: async (ctx: Context, ref: string): Promise<OpenIntake> => openIntake(ctx, await finder.collection(ctx, ref)),

    ingest: async (ctx: Context, input: IngestInput): Promise<TakenIn> => {
      checkItems(input.items);
      await checkedOptions(ctx, input);
      for (const { url } of input.items) if (url !== undefined) await deps.fetcher.check(url);
      const found = await collectionFor(ctx, input);
      const intake = openIntake(ctx, found);
      try {
        for (const item of input.items) {
          if (item.url !== undefined) {
            intake.stage({
              name: nameOfAddress(item.url),
              title: item.title?.trim() || null,
              externalId: item.external_id ?? null,
              sourceUrl: item.url,
              blob: null,
              recognised: null,
              isOwnDocument: true,
            });
            continue;
          }
          const bytes = new TextEncoder().encode((item.text ?? "").toWellFormed());
          if (bytes.length > TEXT_BYTES_MAX) throw payloadTooLarge(TEXT_BYTES_MAX);
          const staged = await store(found.bot, {
            name: nameFor(item.title ?? item.external_id ?? "text"),
            body: bytes,
            ...(item.title === undefined ? {} : { title: item.title }),
            ...(item.external_id === undefined ? {} : { externalId: item.external_id }),
          });
          intake.stage({ ...staged, isOwnDocument: true });
        }
        return await intake.commit(input);
      } catch (error) {
        await intake.discard();
        throw error;
      }
    },

    /** The documents as they are now, for a caller who has waited. */
    refreshed: async (ctx: Context, taken: TakenIn): Promise<TakenIn> => {
      const ids = taken.documents.map(({ id }) => id);
      const first = taken.documents[0];
      if (!first) return taken;
      const { reader } = await finder.collection(ctx, first.collection_id);
      const rows = await database.db.select().from(kbDocuments).where(inArray(kbDocuments.id, ids));
      const byId = new Map(rows.map((row) => [row.id, row]));
      const documents = taken.documents.flatMap(({ id, result }) => {
        const row = byId.get(id);
        return row ? [{ ...presentDocument(ctx, reader, row), result }] : [];
      });
      return { ...taken, documents };
    },
  };
}

/** A file name of the last part of an address. */
function nameOfAddress(url: string): string {
  const { hostname, pathname } = new URL(url);
  const last = decodeURIComponentSafely(pathname.split("/").findLast((part) => part !== "") ?? "");
  const plain = last.replaceAll(/[\\/]/g, " ").trim();
  if (plain === "" || plain.startsWith(".")) return `${hostname}.html`;
  return Buffer.byteLength(plain) > 200 ? plain.slice(-60) : plain;
}

function decodeURIComponentSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Keeps the first bytes of what passes by. */
class Head {
  #bytes = new Uint8Array(0);

  seen(bytes: Uint8Array): Uint8Array {
    const missing = HEAD_BYTES - this.#bytes.length;
    if (missing > 0) this.#bytes = new Uint8Array(Buffer.concat([this.#bytes, bytes.subarray(0, missing)]));
    return bytes;
  }

  tap(): TransformStream<Uint8Array, Uint8Array> {
    return new TransformStream({ transform: (chunk, controller) => controller.enqueue(this.seen(chunk)) });
  }

  bytes(): Uint8Array {
    return this.#bytes;
  }
}
