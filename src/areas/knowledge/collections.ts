// Collections: making, finding, changing, deleting, and their figures.

import { and, asc, count, eq, gte, inArray, sql, sum } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import { holds, type Context } from "../../core/context.ts";
import { conflict, invalid, notFound } from "../../core/errors.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import type { EmbeddingEngine } from "../../engines/embedding/index.ts";
import type { Reader, VectorIndex } from "../../engines/vectors/index.ts";
import { uuidv7 } from "../../lib/ids/index.ts";
import { admittedDocuments } from "./admitted.ts";
import type { Blobs } from "./blobs.ts";
import type { BotsDoor } from "./doors.ts";
import { collectionKey, lockCollection, type Finder } from "./finder.ts";
import {
  kbChunks,
  kbCollections,
  kbDocuments,
  kbFolderRules,
  kbRuleSets,
  kbVectors,
  type AccessLevel,
  type CollectionRow,
} from "./model.ts";
import type { PassageStore } from "./passages.ts";
import type { Permissions } from "./permissions.ts";
import type { Readers } from "./reader.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9 _.-]{0,99}$/;
const DAY_MS = 86_400_000;

export const COLLECTION_STATUSES = ["empty", "indexing", "ready", "stale", "error"] as const;
export type CollectionStatus = (typeof COLLECTION_STATUSES)[number];

export interface Collection {
  id: string;
  bot_id: string;
  name: string;
  description: string;
  source: "folder" | "upload" | "website";
  status: CollectionStatus;
  auto: boolean;
  documents_count: number;
  chunks_count: number;
  vectors_count: number;
  bytes: number;
  failed_count: number;
  embedding_model: string | null;
  dimensions: number | null;
  generation: number;
  default_access: AccessLevel;
  created_at: string;
  updated_at: string;
  last_indexed_at: string | null;
}

export interface CollectionStats {
  id: string;
  name: string;
  vectors_count: number;
  points_count: number;
  indexed_vectors_count: number | null;
  segments_count: number | null;
  disk_data_size: number;
  ram_data_size: number | null;
  status: "green" | "yellow" | "red";
}

export interface CollectionInput {
  bot_id?: string;
  name: string;
  description?: string;
  auto?: boolean;
  default_access?: AccessLevel;
}

interface Counts {
  documents: number;
  failed: number;
  open: number;
  bytes: number;
  chunks: number;
}

const NONE: Counts = { documents: 0, failed: 0, open: 0, bytes: 0, chunks: 0 };

export type Collections = ReturnType<typeof collectionService>;

export function collectionService(deps: {
  database: DatabaseEngine;
  clock: Clock;
  audit: Audit;
  bots: BotsDoor;
  finder: Finder;
  readers: Readers;
  passages: PassageStore;
  permissions: Permissions;
  blobs: Blobs;
  vectors: VectorIndex;
  embedding: EmbeddingEngine;
}) {
  const { database, clock, audit, bots, finder, readers, passages, permissions, blobs, vectors, embedding } = deps;

  /** Per collection, what the reader may know of. */
  async function countsOf(ids: readonly string[], reader: Reader | null): Promise<Map<string, Counts>> {
    if (ids.length === 0) return new Map();
    const rows = await database.db
      .select({
        id: kbDocuments.collectionId,
        documents: count(),
        failed: sql<number>`count(*) filter (where status in ('failed', 'unsupported', 'infected'))::int`,
        open: sql<number>`count(*) filter (where status in ('pending', 'extracting', 'chunking', 'embedding'))::int`,
        bytes: sum(kbDocuments.bytes),
        chunks: sum(kbDocuments.chunksCount),
      })
      .from(kbDocuments)
      .where(and(inArray(kbDocuments.collectionId, [...ids]), reader ? admittedDocuments(reader, "title") : undefined))
      .groupBy(kbDocuments.collectionId);
    return new Map(
      rows.map(({ id, documents, failed, open, bytes, chunks }) => [
        id,
        { documents, failed, open, bytes: Number(bytes ?? 0), chunks: Number(chunks ?? 0) },
      ]),
    );
  }

  async function vectorsOf(ids: readonly string[]): Promise<Map<string, number>> {
    if (ids.length === 0) return new Map();
    const rows = await database.db
      .select({ id: kbVectors.collectionId, vectors: count() })
      .from(kbVectors)
      .innerJoin(
        kbCollections,
        and(eq(kbCollections.id, kbVectors.collectionId), eq(kbCollections.embeddingModel, kbVectors.model)),
      )
      .where(inArray(kbVectors.collectionId, [...ids]))
      .groupBy(kbVectors.collectionId);
    return new Map(rows.map(({ id, vectors: found }) => [id, found]));
  }

  function statusOf(row: CollectionRow, counts: Counts): CollectionStatus {
    if (counts.documents === 0) return "empty";
    if (counts.open > 0) return "indexing";
    if (passages.isStale(row)) return "stale";
    return counts.failed === counts.documents ? "error" : "ready";
  }

  function present(row: CollectionRow, counts: Counts, vectorsCount: number): Collection {
    return {
      id: row.id,
      bot_id: row.botId,
      name: row.name,
      description: row.description,
      source: row.source,
      status: statusOf(row, counts),
      auto: row.auto,
      documents_count: counts.documents,
      chunks_count: counts.chunks,
      vectors_count: vectorsCount,
      bytes: counts.bytes,
      failed_count: counts.failed,
      embedding_model: row.embeddingModel,
      dimensions: row.dimensions,
      generation: row.generation,
      default_access: row.defaultAccess,
      created_at: row.createdAt.toISOString(),
      updated_at: row.updatedAt.toISOString(),
      last_indexed_at: row.lastIndexedAt?.toISOString() ?? null,
    };
  }

  async function one(ctx: Context, row: CollectionRow, reader: Reader): Promise<Collection> {
    const counts = await countsOf([row.id], holds(ctx.caller, "kb:write") ? null : reader);
    const found = await vectorsOf([row.id]);
    return present(row, counts.get(row.id) ?? NONE, found.get(row.id) ?? 0);
  }

  function checkName(name: string): string {
    const plain = name.trim().replace(/\.gbkb$/i, "");
    if (!NAME.test(plain)) {
      const message = "begins with a letter or digit and holds at most 100 letters, digits, blanks, _ . -";
      throw invalid([{ path: "name", message }]);
    }
    return plain;
  }

  /** Bots whose knowledge the caller may know of. */
  async function botsOf(ctx: Context): Promise<string[]> {
    const rows = await database.db.selectDistinct({ id: kbCollections.botId }).from(kbCollections);
    const usable = await Promise.all(
      rows.map(async ({ id }) => {
        if ((await bots.find(id)) === null) return false;
        return holds(ctx.caller, "kb:write") || bots.mayUse(ctx, id);
      }),
    );
    return rows.filter((_, at) => usable[at]).map(({ id }) => id);
  }

  /** Rows that the caller may know of, by name, with their counts. */
  async function known(ctx: Context, botRef: string | undefined) {
    const botIds = botRef === undefined ? await botsOf(ctx) : [(await finder.bot(ctx, botRef)).id];
    const reader = await readers.of(ctx);
    const isManager = holds(ctx.caller, "kb:write");
    const rows = botIds.length
      ? await database.db
          .select()
          .from(kbCollections)
          .where(inArray(kbCollections.botId, botIds))
          .orderBy(asc(kbCollections.nameKey), asc(kbCollections.id))
      : [];
    const counts = await countsOf(
      rows.map(({ id }) => id),
      isManager ? null : reader,
    );
    const found: { row: CollectionRow; counts: Counts }[] = [];
    for (const row of rows) {
      const own = counts.get(row.id) ?? NONE;
      if (isManager || own.documents > 0 || (await finder.mayKnow(ctx, row, reader))) found.push({ row, counts: own });
    }
    return found;
  }

  async function statsOf(rows: readonly { row: CollectionRow; counts: Counts }[]): Promise<CollectionStats[]> {
    const ids = rows.map(({ row }) => row.id);
    if (ids.length === 0) return [];
    const stored = await vectorsOf(ids);
    const held = new Map((await vectors.figures(ids)).map((figures) => [figures.id, figures]));
    const sizes = await database.db
      .select({ id: kbChunks.collectionId, bytes: sql<string>`sum(pg_column_size(${kbChunks}.*))` })
      .from(kbChunks)
      .where(inArray(kbChunks.collectionId, ids))
      .groupBy(kbChunks.collectionId);
    const vectorSizes = await database.db
      .select({ id: kbVectors.collectionId, bytes: sql<string>`sum(pg_column_size(${kbVectors}.*))` })
      .from(kbVectors)
      .where(inArray(kbVectors.collectionId, ids))
      .groupBy(kbVectors.collectionId);
    return rows.map(({ row, counts }) => {
      const figures = held.get(row.id);
      const status = statusOf(row, counts);
      const bytes = [...sizes, ...vectorSizes].filter(({ id }) => id === row.id);
      return {
        id: row.id,
        name: row.name,
        vectors_count: stored.get(row.id) ?? 0,
        points_count: row.chunksCount,
        indexed_vectors_count: figures?.vectors ?? null,
        // Segments are a notion of outside engines; the index in the process has none.
        segments_count: null,
        disk_data_size: bytes.reduce((total, one) => total + Number(one.bytes), 0),
        ram_data_size: figures?.bytes ?? null,
        status: status === "indexing" ? "yellow" : status === "error" ? "red" : "green",
      };
    });
  }

  return {
    list: async (
      ctx: Context,
      query: { bot_id?: string; status?: CollectionStatus; q?: string; limit: number; offset: number },
    ): Promise<{ collections: Collection[]; total: number }> => {
      const wanted = query.q?.trim().toLowerCase() ?? "";
      const found = (await known(ctx, query.bot_id)).filter(
        ({ row, counts }) =>
          (query.status === undefined || statusOf(row, counts) === query.status) &&
          [row.name, row.description].some((text) => text.toLowerCase().includes(wanted)),
      );
      const page = found.slice(query.offset, query.offset + query.limit);
      const stored = await vectorsOf(page.map(({ row }) => row.id));
      return {
        collections: page.map(({ row, counts }) => present(row, counts, stored.get(row.id) ?? 0)),
        total: found.length,
      };
    },

    get: async (ctx: Context, ref: string): Promise<Collection> => {
      const { collection, reader } = await finder.collection(ctx, ref);
      return one(ctx, collection, reader);
    },

    create: async (ctx: Context, input: CollectionInput): Promise<Collection> => {
      const bot = await finder.bot(ctx, input.bot_id ?? null);
      const name = checkName(input.name);
      const at = clock.date();
      const row = await database.transaction(async (tx) => {
        // The bot's own lock: the limit holds and a name is taken once, on every instance.
        await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`kb_collections ${bot.id}`}, 0))`);
        const rows = await tx
          .select({ key: kbCollections.nameKey })
          .from(kbCollections)
          .where(eq(kbCollections.botId, bot.id));
        if (rows.some(({ key }) => key === collectionKey(name))) {
          throw conflict("name_taken", "This bot has a collection of that name.");
        }
        if (rows.length >= bot.collectionsMax) {
          throw conflict("collection_limit", `A bot has at most ${bot.collectionsMax} collections.`, {
            limit: bot.collectionsMax,
          });
        }
        const [set] = await tx.select().from(kbRuleSets).where(eq(kbRuleSets.botId, bot.id));
        const [made] = await tx
          .insert(kbCollections)
          .values({
            id: uuidv7(),
            botId: bot.id,
            name,
            nameKey: collectionKey(name),
            description: input.description ?? "",
            auto: input.auto ?? false,
            defaultAccess: input.default_access ?? set?.defaultAccess ?? "authenticated",
            createdBy: ctx.caller.userId,
            createdAt: at,
            updatedAt: at,
          })
          .returning();
        if (!made) throw new Error("the collection was not stored");
        await audit.record(tx, ctx, {
          type: "kb_collection_created",
          resource: { type: "kb_collection", id: made.id, label: made.name },
          details: { bot_id: bot.id },
        });
        return made;
      });
      return present(row, NONE, 0);
    },

    update: async (
      ctx: Context,
      ref: string,
      input: { name?: string; description?: string; auto?: boolean; default_access?: AccessLevel },
    ): Promise<Collection> => {
      const { collection, reader } = await finder.collection(ctx, ref);
      const name = input.name === undefined ? collection.name : checkName(input.name);
      const nameKey = collectionKey(name);
      const row = await database.transaction(async (tx, afterCommit) => {
        const { changeSeq } = await passages.raise(tx, collection.id);
        const before = await lockCollection(tx, collection.id);
        if (nameKey !== before.nameKey) {
          const [other] = await tx
            .select({ id: kbCollections.id })
            .from(kbCollections)
            .where(and(eq(kbCollections.botId, before.botId), eq(kbCollections.nameKey, nameKey)));
          if (other) throw conflict("name_taken", "This bot has a collection of that name.");
          await tx
            .update(kbFolderRules)
            .set({ collectionKey: nameKey })
            .where(and(eq(kbFolderRules.botId, before.botId), eq(kbFolderRules.collectionKey, before.nameKey)));
        }
        const [after] = await tx
          .update(kbCollections)
          .set({
            name,
            nameKey,
            description: input.description ?? before.description,
            auto: input.auto ?? before.auto,
            defaultAccess: input.default_access ?? before.defaultAccess,
            updatedAt: clock.date(),
          })
          .where(eq(kbCollections.id, collection.id))
          .returning();
        if (!after) throw notFound("collection");
        const changes: Record<string, { from: unknown; to: unknown }> = {};
        for (const field of ["name", "description", "auto", "defaultAccess"] as const) {
          if (before[field] !== after[field]) changes[field] = { from: before[field], to: after[field] };
        }
        if (before.defaultAccess !== after.defaultAccess) {
          await permissions.refresh(tx, after, changeSeq);
          await audit.record(tx, ctx, {
            type: "kb_permissions_changed",
            resource: { type: "kb_collection", id: after.id, label: after.name },
            changes: { default_access: { from: before.defaultAccess, to: after.defaultAccess } },
          });
        }
        await audit.record(tx, ctx, {
          type: "kb_collection_updated",
          resource: { type: "kb_collection", id: after.id, label: after.name },
          changes,
        });
        afterCommit(() => passages.announce([after.id]));
        return after;
      });
      return one(ctx, row, reader);
    },

    remove: async (ctx: Context, ref: string): Promise<void> => {
      const { collection } = await finder.collection(ctx, ref);
      await database.transaction(async (tx, afterCommit) => {
        await lockCollection(tx, collection.id);
        const gone = await tx
          .select({ blobId: kbDocuments.blobId, textBlobId: kbDocuments.textBlobId })
          .from(kbDocuments)
          .where(eq(kbDocuments.collectionId, collection.id));
        await tx
          .delete(kbFolderRules)
          .where(and(eq(kbFolderRules.botId, collection.botId), eq(kbFolderRules.collectionKey, collection.nameKey)));
        // Documents, passages and vectors go with the row.
        await tx.delete(kbCollections).where(eq(kbCollections.id, collection.id));
        await audit.record(tx, ctx, {
          type: "kb_collection_deleted",
          resource: { type: "kb_collection", id: collection.id, label: collection.name },
          details: { bot_id: collection.botId, documents: gone.length },
        });
        afterCommit(() => passages.announce([collection.id]));
        afterCommit(() => blobs.drop(gone.flatMap(({ blobId, textBlobId }) => [blobId, textBlobId])));
      });
    },

    stats: async (ctx: Context, ref: string): Promise<CollectionStats> => {
      const { collection, reader } = await finder.collection(ctx, ref);
      const counts = await countsOf([collection.id], holds(ctx.caller, "kb:write") ? null : reader);
      const [stats] = await statsOf([{ row: collection, counts: counts.get(collection.id) ?? NONE }]);
      if (!stats) throw notFound("collection");
      return stats;
    },

    /** Figures over a bot's collections, or over all that the caller may know of. */
    totals: async (ctx: Context, botRef: string | undefined, queueLength: number) => {
      const found = await known(ctx, botRef);
      const stats = await statsOf(found);
      const ids = found.map(({ row }) => row.id);
      const added = async (days: number) => {
        if (ids.length === 0) return 0;
        const since = new Date(clock.now() - days * DAY_MS);
        const [row] = await database.db
          .select({ documents: count() })
          .from(kbDocuments)
          .where(and(inArray(kbDocuments.collectionId, ids), gte(kbDocuments.createdAt, since)));
        return row?.documents ?? 0;
      };
      const MB = 2 ** 20;
      const add = (pick: (one: CollectionStats) => number | null) =>
        stats.reduce((total, one) => total + (pick(one) ?? 0), 0);
      const originals = found.reduce((total, { counts }) => total + counts.bytes, 0);
      const rounded = (bytes: number) => Math.round((bytes / MB) * 1000) / 1000;
      return {
        total_collections: found.length,
        total_documents: found.reduce((total, { counts }) => total + counts.documents, 0),
        total_vectors: add((one) => one.vectors_count),
        total_disk_size_mb: rounded(add((one) => one.disk_data_size) + originals),
        total_ram_size_mb: rounded(add((one) => one.ram_data_size)),
        documents_added_last_week: await added(7),
        documents_added_last_month: await added(30),
        collections: stats,
        embedding_model: embedding.model,
        queue_length: queueLength,
      };
    },
  };
}
