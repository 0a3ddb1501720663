// What the passage index reads of the tables.

import { and, asc, eq, gt, inArray, sql } from "drizzle-orm";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import type { DocumentState, PassageSource } from "../../engines/vectors/index.ts";
import { kbChunks, kbCollections, kbDocuments, kbRemovals, kbVectors } from "./model.ts";

const NO_ID = "00000000-0000-0000-0000-000000000000";

/** The tables as the index wants them. */
export function passageSource(database: DatabaseEngine): PassageSource {
  const { db } = database;
  return {
    collections: (ids) =>
      db
        .select({
          id: kbCollections.id,
          seq: kbCollections.changeSeq,
          model: kbCollections.embeddingModel,
          dimensions: kbCollections.dimensions,
        })
        .from(kbCollections)
        .where(ids ? inArray(kbCollections.id, [...ids]) : undefined)
        .orderBy(asc(kbCollections.id)),

    documents: async (collectionId, seq, after, limit) => {
      const rows = await db
        .select({
          id: kbDocuments.id,
          seq: kbDocuments.changeSeq,
          version: kbDocuments.visibleVersion,
          chunksCount: kbDocuments.chunksCount,
          language: kbDocuments.language,
          level: kbDocuments.accessLevel,
          visibility: kbDocuments.indexVisibility,
          roles: kbDocuments.allowedRoles,
          groups: kbDocuments.allowedGroups,
          users: kbDocuments.allowedUsers,
        })
        .from(kbDocuments)
        .where(
          and(
            eq(kbDocuments.collectionId, collectionId),
            gt(kbDocuments.changeSeq, seq),
            gt(kbDocuments.id, after ?? NO_ID),
          ),
        )
        .orderBy(asc(kbDocuments.id))
        .limit(limit);
      return rows.map(({ level, visibility, roles, groups, users, ...document }): DocumentState => ({
        ...document,
        rights: { level, visibility, roles, groups, users },
      }));
    },

    removals: async (collectionId, seq) => {
      const [collection] = await db
        .select({ sweptSeq: kbCollections.sweptSeq })
        .from(kbCollections)
        .where(eq(kbCollections.id, collectionId));
      if (!collection || collection.sweptSeq > seq) return null;
      const rows = await db
        .select({ id: kbRemovals.documentId })
        .from(kbRemovals)
        .where(and(eq(kbRemovals.collectionId, collectionId), gt(kbRemovals.changeSeq, seq)));
      return rows.map(({ id }) => id);
    },

    passages: (documents, model, after, limit) => {
      const wanted = sql`jsonb_to_recordset(${JSON.stringify(documents)}::jsonb) as wanted(id uuid, version int)`;
      return db
        .select({
          id: kbChunks.id,
          documentId: kbChunks.documentId,
          ordinal: kbChunks.ordinal,
          length: kbChunks.termsCount,
          terms: kbChunks.terms,
          vector: kbVectors.embedding,
        })
        .from(kbChunks)
        .innerJoin(wanted, sql`wanted.id = ${kbChunks.documentId} and wanted.version = ${kbChunks.version}`)
        .innerJoin(
          kbDocuments,
          and(eq(kbDocuments.id, kbChunks.documentId), eq(kbDocuments.visibleVersion, kbChunks.version)),
        )
        .leftJoin(kbVectors, and(eq(kbVectors.chunkId, kbChunks.id), eq(kbVectors.model, model ?? "")))
        .where(
          after
            ? sql`(${kbChunks.documentId}, ${kbChunks.ordinal}) > (${after.documentId}::uuid, ${after.ordinal}::int)`
            : undefined,
        )
        .orderBy(asc(kbChunks.documentId), asc(kbChunks.ordinal))
        .limit(limit);
    },

    versions: async (documentIds) => {
      const rows = await db
        .select({
          id: kbDocuments.id,
          version: kbDocuments.visibleVersion,
          chunksCount: kbDocuments.chunksCount,
        })
        .from(kbDocuments)
        .where(inArray(kbDocuments.id, [...documentIds]));
      return new Map(rows.map(({ id, ...state }) => [id, state]));
    },
  };
}
