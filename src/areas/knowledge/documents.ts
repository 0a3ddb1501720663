// Documents: finding, changing, deleting, opening. Taking them in is intake.ts, their passages are indexing.ts.

import { and, asc, count, desc, eq, ilike, inArray, isNotNull, ne, or, sql, type SQL } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import { holds, type Context } from "../../core/context.ts";
import { conflict, forbidden, invalid, notFound } from "../../core/errors.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type { ByteRange, ObjectStore } from "../../engines/objects/index.ts";
import type { Reader } from "../../engines/vectors/index.ts";
import { isUuid } from "../../lib/ids/index.ts";
import { mayOpen, maySee } from "./access.ts";
import { admittedDocuments } from "./admitted.ts";
import type { Blobs } from "./blobs.ts";
import type { BotsDoor } from "./doors.ts";
import { lockCollection, type Finder, type FoundDocument } from "./finder.ts";
import {
  kbChunks,
  kbCollections,
  kbDocuments,
  type AccessRule,
  type DocumentRow,
  type DocumentStatus,
} from "./model.ts";
import { checkedMetadata, checkedPath, checkedTags } from "./names.ts";
import type { PassageStore } from "./passages.ts";
import { effectiveAccess, readRules, wholeRule, type Permissions, type RuleInput } from "./permissions.ts";
import { presentDocument, type KnowledgeDocument } from "./present.ts";
import type { Readers } from "./reader.ts";

const REMOVE_BATCH = 200;

export interface DocumentFilter {
  collection_id?: string;
  bot_id?: string;
  status?: DocumentStatus;
  path?: string;
  tag?: string;
  mime?: string;
  q?: string;
}

export interface DocumentQuery {
  filters: DocumentFilter;
  sort: "name" | "updated_at" | "bytes";
  order: "asc" | "desc";
  limit: number;
  offset: number;
}

export interface DocumentChange {
  title?: string;
  path?: string;
  tags?: string[];
  metadata?: Record<string, unknown>;
  collection_id?: string;
}

export interface KnowledgeChunk {
  id: string;
  document_id: string;
  ordinal: number;
  text: string;
  tokens: number;
  heading_path: string[];
  page: number | null;
  slide: number | null;
  sheet: string | null;
  row: number | null;
  line: number | null;
  char_start: number;
  char_end: number;
}

/** Bytes of a document for the one who opens it. */
export interface OpenedContent {
  name: string;
  mime: string;
  sizeBytes: number;
  /** Names this state of the bytes. */
  etag: string;
  read: (range?: ByteRange) => Promise<ReadableStream<Uint8Array>>;
}

export type Documents = ReturnType<typeof documentService>;

export function documentService(deps: {
  database: DatabaseEngine;
  objects: ObjectStore;
  clock: Clock;
  audit: Audit;
  bots: BotsDoor;
  finder: Finder;
  readers: Readers;
  passages: PassageStore;
  permissions: Permissions;
  blobs: Blobs;
}) {
  const { database, objects, clock, audit, bots, finder, readers, passages, permissions, blobs } = deps;

  /** The condition of a filter, within what the caller may know of; null if nothing can match. */
  async function condition(ctx: Context, filter: DocumentFilter, reader: Reader): Promise<SQL | undefined | null> {
    const parts: (SQL | undefined)[] = [];
    const isManager = holds(ctx.caller, "kb:write");
    if (filter.collection_id !== undefined) {
      const { collection } = await finder.collection(ctx, filter.collection_id, filter.bot_id ?? null);
      parts.push(eq(kbDocuments.collectionId, collection.id));
    }
    if (filter.bot_id !== undefined) parts.push(eq(kbDocuments.botId, (await finder.bot(ctx, filter.bot_id)).id));
    else if (!isManager && filter.collection_id === undefined) {
      const all = await database.db.selectDistinct({ id: kbCollections.botId }).from(kbCollections);
      const usable: string[] = [];
      for (const { id } of all) if (await bots.mayUse(ctx, id)) usable.push(id);
      if (usable.length === 0) return null;
      parts.push(inArray(kbDocuments.botId, usable));
    }
    if (!isManager) parts.push(admittedDocuments(reader, "title"));
    if (filter.status !== undefined) parts.push(eq(kbDocuments.status, filter.status));
    if (filter.path !== undefined) {
      const path = checkedPath(filter.path);
      const below = `${escapeLike(path)}/%`;
      if (path !== "") parts.push(or(eq(kbDocuments.path, path), sql`${kbDocuments.path} like ${below}`));
    }
    if (filter.tag !== undefined) {
      // Tags of what one may not open are not told, so they are not searched either.
      if (!isManager) parts.push(admittedDocuments(reader, "access"));
      parts.push(sql`${kbDocuments.tags} @> array[${filter.tag}]::text[]`);
    }
    if (filter.mime !== undefined) parts.push(eq(kbDocuments.mime, filter.mime));
    if (filter.q !== undefined && filter.q.trim() !== "") {
      const pattern = `%${escapeLike(filter.q.trim())}%`;
      parts.push(or(ilike(kbDocuments.name, pattern), ilike(kbDocuments.title, pattern)));
    }
    return and(...parts);
  }

  /** 403 for a document of which only the title may be known; the refusal is audited. */
  async function openable(ctx: Context, id: string): Promise<FoundDocument> {
    const found = await finder.document(ctx, id).catch(async (error: unknown) => {
      await auditHidden(ctx, id);
      throw error;
    });
    if (mayOpen(found.document, found.reader)) return found;
    await denied(ctx, found.document);
    throw maySee(found.document, found.reader) ? forbidden(null, "document_access") : notFound("document");
  }

  const denied = (ctx: Context, { id, title }: DocumentRow) =>
    audit.record(database.db, ctx, {
      type: "data_access",
      action: "kb_document_opened",
      result: "denied",
      resource: { type: "kb_document", id, label: title },
    });

  /** A denied open of a document that the caller may not even know of leaves its entry, too. */
  async function auditHidden(ctx: Context, id: string): Promise<void> {
    const [row] = await database.db.select().from(kbDocuments).where(eq(kbDocuments.id, id));
    if (row) await denied(ctx, row);
  }

  /** Changes one document under its collection's lock and gives it as it is then. */
  async function change(
    ctx: Context,
    { document, reader }: FoundDocument,
    work: (tx: Database, row: DocumentRow, changeSeq: number) => Promise<void>,
  ): Promise<KnowledgeDocument> {
    return database.transaction(async (tx, afterCommit) => {
      const { changeSeq } = await passages.raise(tx, document.collectionId);
      const [row] = await tx.select().from(kbDocuments).where(eq(kbDocuments.id, document.id)).for("update");
      if (!row) throw notFound("document");
      if (row.collectionId !== document.collectionId) throw conflict("document_moved");
      await work(tx, row, changeSeq);
      const [after] = await tx.select().from(kbDocuments).where(eq(kbDocuments.id, row.id));
      if (!after) throw notFound("document");
      afterCommit(() => passages.announce([...new Set([row.collectionId, after.collectionId])]));
      return presentDocument(ctx, reader, after);
    });
  }

  /** Sets the effective access of a row from its own rule and its folder's. */
  async function effectiveColumns(tx: Database, row: Pick<DocumentRow, "path" | "access">, collectionId: string) {
    const collection = await lockCollection(tx, collectionId);
    const book = await readRules(tx, collection.botId, collection.nameKey);
    const { decidedBy: _, ...columns } = effectiveAccess(book, collection, row.path, row.access);
    return columns;
  }

  async function setAccess(ctx: Context, id: string, rule: AccessRule | null): Promise<KnowledgeDocument> {
    const found = await finder.document(ctx, id);
    return change(ctx, found, async (tx, row, changeSeq) => {
      const columns = await effectiveColumns(tx, { path: row.path, access: rule }, row.collectionId);
      await tx
        .update(kbDocuments)
        .set({ access: rule, ...columns, changeSeq, updatedAt: clock.date() })
        .where(eq(kbDocuments.id, row.id));
      await audit.record(tx, ctx, {
        type: "kb_permissions_changed",
        resource: { type: "kb_document", id: row.id, label: row.title },
        changes: { access: { from: row.access, to: rule } },
      });
    });
  }

  /** Deletes documents that the caller may know of; unknown ids are passed over. */
  async function removeAll(ctx: Context, ids: readonly string[]): Promise<number> {
    let deleted = 0;
    for (let at = 0; at < ids.length; at += REMOVE_BATCH) {
      const batch = ids.slice(at, at + REMOVE_BATCH);
      await database.transaction(async (tx, afterCommit) => {
        const { collectionIds } = await passages.remove(tx, batch);
        const gone = await tx.delete(kbDocuments).where(inArray(kbDocuments.id, batch)).returning({
          id: kbDocuments.id,
          name: kbDocuments.name,
          collectionId: kbDocuments.collectionId,
          blobId: kbDocuments.blobId,
          textBlobId: kbDocuments.textBlobId,
        });
        for (const [collectionId, rows] of Map.groupBy(gone, (row) => row.collectionId)) {
          await audit.record(tx, ctx, {
            type: "kb_document_deleted",
            resource: { type: "kb_collection", id: collectionId },
            details: { documents: rows.map(({ id }) => id), names: rows.slice(0, 20).map(({ name }) => name) },
          });
        }
        deleted += gone.length;
        afterCommit(() => passages.announce(collectionIds));
        afterCommit(() => blobs.drop(gone.flatMap(({ blobId, textBlobId }) => [blobId, textBlobId])));
      });
    }
    return deleted;
  }

  return {
    list: async (ctx: Context, query: DocumentQuery): Promise<{ documents: KnowledgeDocument[]; total: number }> => {
      const reader = await readers.of(ctx);
      const where = await condition(ctx, query.filters, reader);
      if (where === null) return { documents: [], total: 0 };
      const column = { name: kbDocuments.name, updated_at: kbDocuments.updatedAt, bytes: kbDocuments.bytes }[
        query.sort
      ];
      const direction = query.order === "asc" ? asc : desc;
      const [total] = await database.db.select({ documents: count() }).from(kbDocuments).where(where);
      const rows = await database.db
        .select()
        .from(kbDocuments)
        .where(where)
        .orderBy(direction(column), direction(kbDocuments.id))
        .limit(query.limit)
        .offset(query.offset);
      return { documents: rows.map((row) => presentDocument(ctx, reader, row)), total: total?.documents ?? 0 };
    },

    get: async (ctx: Context, id: string): Promise<KnowledgeDocument> => {
      const { document, reader } = await finder.document(ctx, id);
      return presentDocument(ctx, reader, document);
    },

    update: async (ctx: Context, id: string, input: DocumentChange): Promise<KnowledgeDocument> => {
      const found = await finder.document(ctx, id);
      const { document } = found;
      const title = input.title?.trim();
      if (title === "") throw invalid([{ path: "title", message: "is empty" }]);
      const target =
        input.collection_id === undefined
          ? found.collection
          : (await finder.collection(ctx, input.collection_id)).collection;
      if (target.botId !== document.botId) {
        throw invalid([{ path: "collection_id", message: "is a collection of another bot" }]);
      }
      const path = input.path === undefined ? document.path : checkedPath(input.path);
      const isMoved = target.id !== document.collectionId;
      const changed = {
        ...(title === undefined ? {} : { title, isTitleGiven: true }),
        ...(input.tags === undefined ? {} : { tags: checkedTags(input.tags) }),
        ...(input.metadata === undefined ? {} : { metadata: checkedMetadata(input.metadata) }),
        path,
      };
      return database.transaction(async (tx, afterCommit) => {
        // The store's own order of locks: collections by id, then documents.
        for (const id of [...new Set([document.collectionId, target.id])].toSorted()) await lockCollection(tx, id);
        const [row] = await tx.select().from(kbDocuments).where(eq(kbDocuments.id, document.id)).for("update");
        if (row?.collectionId !== document.collectionId) throw notFound("document");
        const isSamePlace = and(
          eq(kbDocuments.collectionId, target.id),
          or(
            and(eq(kbDocuments.path, path), eq(kbDocuments.name, row.name)),
            row.externalId === null ? undefined : eq(kbDocuments.externalId, row.externalId),
          ),
        );
        const [other] = await tx
          .select({ id: kbDocuments.id })
          .from(kbDocuments)
          .where(and(isSamePlace, ne(kbDocuments.id, row.id)));
        if (other) throw conflict("name_taken", "There is a document of that name in that place.");
        let moved: { collectionIds: string[] } | null = null;
        if (isMoved) {
          // Its old folder may be taken over there, and its new one here: for the moment it stands in one of its own.
          await tx.update(kbDocuments).set({ path: row.id }).where(eq(kbDocuments.id, row.id));
          moved = await passages.move(tx, [document.id], target.id);
        }
        const { changeSeq } = await passages.raise(tx, target.id);
        const columns = await effectiveColumns(tx, { path, access: row.access }, target.id);
        const [after] = await tx
          .update(kbDocuments)
          .set({ ...changed, ...columns, changeSeq, updatedAt: clock.date() })
          .where(eq(kbDocuments.id, row.id))
          .returning();
        if (!after) throw notFound("document");
        const changes: Record<string, { from: unknown; to: unknown }> = {};
        if (isMoved) changes["collection_id"] = { from: document.collectionId, to: target.id };
        for (const field of ["title", "path", "tags", "metadata"] as const) {
          if (JSON.stringify(row[field]) !== JSON.stringify(after[field])) {
            changes[field] = { from: row[field], to: after[field] };
          }
        }
        await audit.record(tx, ctx, {
          type: "kb_document_updated",
          resource: { type: "kb_document", id: after.id, label: after.title },
          changes,
        });
        afterCommit(() => passages.announce([...new Set([...(moved?.collectionIds ?? []), target.id])]));
        return presentDocument(ctx, found.reader, after);
      });
    },

    remove: async (ctx: Context, id: string): Promise<void> => {
      const { document } = await finder.document(ctx, id);
      await removeAll(ctx, [document.id]);
    },

    removeMany: async (
      ctx: Context,
      what: { ids?: string[]; filter?: DocumentFilter },
    ): Promise<{ deleted: number }> => {
      if ((what.ids === undefined) === (what.filter === undefined)) {
        throw invalid([{ path: "ids", message: "either ids or filter" }]);
      }
      if (what.ids) return { deleted: await removeAll(ctx, [...new Set(what.ids)]) };
      const filter = what.filter ?? {};
      if (Object.keys(filter).length === 0) throw invalid([{ path: "filter", message: "must narrow something" }]);
      const where = await condition(ctx, filter, await readers.of(ctx));
      if (where === null) return { deleted: 0 };
      const rows = await database.db.select({ id: kbDocuments.id }).from(kbDocuments).where(where);
      return {
        deleted: await removeAll(
          ctx,
          rows.map(({ id }) => id),
        ),
      };
    },

    setAccess: async (ctx: Context, id: string, input: RuleInput): Promise<KnowledgeDocument> => {
      await finder.document(ctx, id);
      const rule = wholeRule(input);
      const faults = await permissions.check(rule);
      if (faults.length > 0) throw invalid(faults);
      return setAccess(ctx, id, rule);
    },

    clearAccess: (ctx: Context, id: string): Promise<KnowledgeDocument> => setAccess(ctx, id, null),

    /** The original bytes, or the text that passages are cut from. Needs access to the text, not only to the title. */
    content: async (ctx: Context, id: string, format: "original" | "text"): Promise<OpenedContent> => {
      const { document } = await openable(ctx, id);
      const blobId = format === "original" ? document.blobId : document.textBlobId;
      if (blobId === null) throw conflict("not_indexed", "There is no text of this document yet.");
      const stat = await objects.stat(blobId);
      if (!stat) throw notFound("document");
      return {
        name: format === "original" ? document.name : `${document.name}.txt`,
        mime: format === "original" ? document.mime : "text/plain; charset=utf-8",
        sizeBytes: stat.sizeBytes,
        etag: `"${blobId}"`,
        read: (range) => objects.get(blobId, range),
      };
    },

    chunks: async (
      ctx: Context,
      id: string,
      page: { limit: number; offset: number },
    ): Promise<{ chunks: KnowledgeChunk[]; total: number }> => {
      const { document } = await openable(ctx, id);
      const where = and(eq(kbChunks.documentId, document.id), eq(kbChunks.version, document.visibleVersion ?? -1));
      const rows = await database.db
        .select()
        .from(kbChunks)
        .where(where)
        .orderBy(asc(kbChunks.ordinal))
        .limit(page.limit)
        .offset(page.offset);
      return { chunks: rows.map(presentChunk), total: document.chunksCount };
    },

    /** Documents that somebody has added; for what is kept about people. */
    ofPerson: async (db: Database, userId: string) => {
      if (!isUuid(userId)) return [];
      const rows = await db
        .select({ id: kbDocuments.id, name: kbDocuments.name, createdAt: kbDocuments.createdAt })
        .from(kbDocuments)
        .where(and(isNotNull(kbDocuments.createdBy), eq(kbDocuments.createdBy, userId)));
      return rows.map(({ id, name, createdAt }) => ({ id, name, created_at: createdAt.toISOString() }));
    },
  };
}

function presentChunk(row: typeof kbChunks.$inferSelect): KnowledgeChunk {
  return {
    id: row.id,
    document_id: row.documentId,
    ordinal: row.ordinal,
    text: row.text,
    tokens: row.tokens,
    heading_path: row.headingPath,
    page: row.page,
    slide: row.slide,
    sheet: row.sheet,
    row: row.row,
    line: row.line,
    char_start: row.charStart,
    char_end: row.charEnd,
  };
}

function escapeLike(text: string): string {
  return text.replaceAll(/[\\%_]/g, (sign) => `\\${sign}`);
}
