// Tables of knowledge: collections, documents, their passages with search terms and vectors, folder rules, jobs.
// What is searched: passages whose version is their document's `visible_version`, within what the reader may see.

import { sql } from "drizzle-orm";
import {
  bigint,
  boolean,
  customType,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";

/** Bytes; both drivers give a Uint8Array (a Buffer is one). */
const bytea = customType<{ data: Uint8Array; driverData: Uint8Array }>({ dataType: () => "bytea" });
const moment = (name: string) => timestamp(name, { withTimezone: true, mode: "date" });
const words = (name: string) =>
  text(name)
    .array()
    .notNull()
    .default(sql`'{}'::text[]`);

/** Who may open, from widest to nobody. The three `…_based` levels admit whoever stands on any of the rule's lists. */
export type AccessLevel = "all" | "authenticated" | "role_based" | "group_based" | "user_based" | "none";

/** A rule as it is written on a document or folder. `level` null: only visibility or inheritance is said here. */
export interface AccessRule {
  level: AccessLevel | null;
  roles: string[];
  groups: string[];
  users: string[];
  index_visibility: AccessLevel | null;
  inherit_parent: boolean;
}

export type DocumentStatus =
  "pending" | "extracting" | "chunking" | "embedding" | "indexed" | "failed" | "unsupported" | "infected";

export const kbCollections = pgTable(
  "kb_collections",
  {
    id: uuid("id").primaryKey(),
    botId: uuid("bot_id").notNull(),
    name: text("name").notNull(),
    /** Lower case, without `.gbkb`: what makes the name unique. */
    nameKey: text("name_key").notNull(),
    description: text("description").notNull().default(""),
    source: text("source").$type<"folder" | "upload" | "website">().notNull().default("upload"),
    auto: boolean("auto").notNull().default(false),
    defaultAccess: text("default_access").$type<AccessLevel>().notNull().default("authenticated"),
    /** Model of the vectors that are searched; null before the first passage. */
    embeddingModel: text("embedding_model"),
    dimensions: integer("dimensions"),
    /** Model whose vectors are being built beside the searched ones; null when none are. */
    nextEmbeddingModel: text("next_embedding_model"),
    nextDimensions: integer("next_dimensions"),
    /** Grows with every visible change of content or access; part of every cache key. */
    generation: bigint("generation", { mode: "number" }).notNull().default(0),
    /** Grows with every write that the vector indexes of the instances must learn of. */
    changeSeq: bigint("change_seq", { mode: "number" }).notNull().default(0),
    /** Removals up to here are swept: an index that is older reads the collection anew. */
    sweptSeq: bigint("swept_seq", { mode: "number" }).notNull().default(0),
    /** Visible passages. */
    chunksCount: integer("chunks_count").notNull().default(0),
    createdBy: uuid("created_by"),
    createdAt: moment("created_at").notNull().defaultNow(),
    updatedAt: moment("updated_at").notNull().defaultNow(),
    lastIndexedAt: moment("last_indexed_at"),
  },
  (table) => [uniqueIndex("kb_collections_name").on(table.botId, table.nameKey)],
);

export const kbDocuments = pgTable(
  "kb_documents",
  {
    id: uuid("id").primaryKey(),
    collectionId: uuid("collection_id")
      .notNull()
      .references(() => kbCollections.id, { onDelete: "cascade" }),
    botId: uuid("bot_id").notNull(),
    name: text("name").notNull(),
    /** Folder inside the collection without slashes at its ends; empty for the top. */
    path: text("path").notNull().default(""),
    title: text("title").notNull(),
    /** Given by somebody: a title found in the document does not replace it. */
    isTitleGiven: boolean("is_title_given").notNull().default(false),
    mime: text("mime").notNull(),
    bytes: bigint("bytes", { mode: "number" }).notNull().default(0),
    /** Empty until the bytes are there. */
    sha256: text("sha256").notNull().default(""),
    language: text("language"),
    status: text("status").$type<DocumentStatus>().notNull().default("pending"),
    errorCode: text("error_code"),
    errorMessage: text("error_message"),
    pages: integer("pages"),
    chunksCount: integer("chunks_count").notNull().default(0),
    tokens: integer("tokens").notNull().default(0),
    /** Counts what was taken in: each other content, and each forced re-index. */
    version: integer("version").notNull().default(1),
    /** The version whose passages are searched; null until the first one is complete. */
    visibleVersion: integer("visible_version"),
    sourceUrl: text("source_url"),
    externalId: text("external_id"),
    tags: words("tags"),
    metadata: jsonb("metadata").$type<Record<string, unknown>>().notNull().default({}),
    /** The document's own rule; null inherits. */
    access: jsonb("access").$type<AccessRule | null>(),
    /** Effective access, computed from the nearest rule whenever a rule changes. */
    accessLevel: text("access_level").$type<AccessLevel>().notNull().default("none"),
    allowedRoles: words("allowed_roles"),
    allowedGroups: words("allowed_groups"),
    /** Ids and e-mail addresses in lower case. */
    allowedUsers: words("allowed_users"),
    /** Who may see the title; the lists are those above. */
    indexVisibility: text("index_visibility").$type<AccessLevel>().notNull().default("none"),
    /** The collection's `change_seq` when visible passages or access last changed. */
    changeSeq: bigint("change_seq", { mode: "number" }).notNull().default(0),
    /** The newest bytes; null until they have been fetched from `source_url`. */
    blobId: text("blob_id"),
    /** The bytes are to be fetched from `source_url` before the next indexing. */
    needsFetch: boolean("needs_fetch").notNull().default(false),
    /** Normalised text of the visible version, which passages' offsets refer to. */
    textBlobId: text("text_blob_id"),
    /** Bytes, extractor and chunk settings that the visible passages were made of; equal key: nothing to do. */
    indexKey: text("index_key"),
    /** The same of the passages of `version` that are being written: a resumed run keeps them only if it is equal. */
    draftKey: text("draft_key"),
    /** The job that works on it now; nobody else does before the time has passed. */
    leaseJob: text("lease_job"),
    leaseUntil: moment("lease_until"),
    createdBy: uuid("created_by"),
    createdAt: moment("created_at").notNull().defaultNow(),
    updatedAt: moment("updated_at").notNull().defaultNow(),
    indexedAt: moment("indexed_at"),
  },
  (table) => [
    uniqueIndex("kb_documents_place").on(table.collectionId, table.path, table.name),
    uniqueIndex("kb_documents_external")
      .on(table.collectionId, table.externalId)
      .where(sql`external_id is not null`),
    index("kb_documents_bot").on(table.botId, table.updatedAt),
    index("kb_documents_changes").on(table.collectionId, table.changeSeq),
    index("kb_documents_open")
      .on(table.collectionId)
      .where(sql`status in ('pending', 'extracting', 'chunking', 'embedding')`),
    index("kb_documents_tags").using("gin", table.tags),
  ],
);

export const kbChunks = pgTable(
  "kb_chunks",
  {
    /** UUIDv5 of document id, version and ordinal. */
    id: uuid("id").primaryKey(),
    documentId: uuid("document_id")
      .notNull()
      .references(() => kbDocuments.id, { onDelete: "cascade" }),
    collectionId: uuid("collection_id").notNull(),
    /** The document's version that it belongs to; searched only while that is the visible one. */
    version: integer("version").notNull(),
    ordinal: integer("ordinal").notNull(),
    text: text("text").notNull(),
    headingPath: words("heading_path"),
    page: integer("page"),
    slide: integer("slide"),
    sheet: text("sheet"),
    row: integer("row"),
    line: integer("line"),
    charStart: integer("char_start").notNull(),
    charEnd: integer("char_end").notNull(),
    /** Model tokens of the text. */
    tokens: integer("tokens").notNull(),
    /** Search terms in it, repetitions counted: the length that BM25 uses. */
    termsCount: integer("terms_count").notNull().default(0),
    language: text("language"),
    /** Search terms, stemmed in the program: one line per frequency, `2 term term`. Every instance's index is built of it. */
    terms: text("terms").notNull(),
  },
  (table) => [
    uniqueIndex("kb_chunks_order").on(table.documentId, table.version, table.ordinal),
    index("kb_chunks_collection").on(table.collectionId),
  ],
);

export const kbVectors = pgTable(
  "kb_vectors",
  {
    chunkId: uuid("chunk_id")
      .notNull()
      .references(() => kbChunks.id, { onDelete: "cascade" }),
    documentId: uuid("document_id").notNull(),
    collectionId: uuid("collection_id").notNull(),
    /** Name of the embedding model: two generations stand beside each other while one is built. */
    model: text("model").notNull(),
    /** Unit vector, little-endian float32. */
    embedding: bytea("embedding").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.chunkId, table.model] }),
    index("kb_vectors_collection").on(table.collectionId, table.model),
    index("kb_vectors_document").on(table.documentId),
  ],
);

/** Documents that left a collection, for the instances' vector indexes; swept after a day. */
export const kbRemovals = pgTable(
  "kb_removals",
  {
    collectionId: uuid("collection_id").notNull(),
    changeSeq: bigint("change_seq", { mode: "number" }).notNull(),
    documentId: uuid("document_id").notNull(),
    removedAt: moment("removed_at").notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.collectionId, table.changeSeq, table.documentId] })],
);

/** One rule for a folder; path empty = the whole collection. */
export const kbFolderRules = pgTable(
  "kb_folder_rules",
  {
    id: uuid("id").primaryKey(),
    botId: uuid("bot_id").notNull(),
    /** Lower-case collection name: a rule file may name a folder that is not there yet. */
    collectionKey: text("collection_key").notNull(),
    path: text("path").notNull().default(""),
    rule: jsonb("rule").$type<AccessRule>().notNull(),
    origin: text("origin").$type<"api" | "file">().notNull().default("api"),
    updatedBy: uuid("updated_by"),
    updatedAt: moment("updated_at").notNull().defaultNow(),
  },
  (table) => [uniqueIndex("kb_folder_rules_place").on(table.botId, table.collectionKey, table.path)],
);

/** What a bot's `kb.permissions.yaml` said as a whole, and which file it was. */
export const kbRuleSets = pgTable("kb_rule_sets", {
  botId: uuid("bot_id").primaryKey(),
  /** Null: each collection's own default stands. */
  defaultAccess: text("default_access").$type<AccessLevel>(),
  inheritance: boolean("inheritance").notNull().default(true),
  fileSha256: text("file_sha256"),
  updatedAt: moment("updated_at").notNull().defaultNow(),
});

/** What a background job of this area is about; its state is the jobs engine's. */
export const kbJobs = pgTable(
  "kb_jobs",
  {
    /** The id that the jobs engine gave. */
    id: text("id").primaryKey(),
    /** Null: all bots. */
    botId: uuid("bot_id"),
    /** Null: all collections of the bot. */
    collectionId: uuid("collection_id").references(() => kbCollections.id, { onDelete: "cascade" }),
    kind: text("kind").$type<"ingest" | "reindex">().notNull(),
    createdBy: uuid("created_by"),
    createdAt: moment("created_at").notNull().defaultNow(),
  },
  (table) => [index("kb_jobs_bot").on(table.botId, table.createdAt), index("kb_jobs_owner").on(table.createdBy)],
);

/** The documents of one job and how each ended. */
export const kbJobDocuments = pgTable(
  "kb_job_documents",
  {
    jobId: text("job_id")
      .notNull()
      .references(() => kbJobs.id, { onDelete: "cascade" }),
    /** No reference: a document may be deleted while its job goes on. */
    documentId: uuid("document_id").notNull(),
    name: text("name").notNull(),
    status: text("status").$type<"pending" | "done" | "failed">().notNull().default("pending"),
    errorCode: text("error_code"),
    errorMessage: text("error_message"),
  },
  (table) => [
    primaryKey({ columns: [table.jobId, table.documentId] }),
    index("kb_job_documents_document").on(table.documentId),
  ],
);

/** Texts of the program's own that were given to a bot: which state of them, and into which collection. */
export const kbSeeds = pgTable("kb_seeds", {
  name: text("name").primaryKey(),
  sha256: text("sha256").notNull(),
  /** Null: somebody's own collection stands there, or ours was deleted. */
  collectionId: uuid("collection_id"),
  seededAt: moment("seeded_at").notNull(),
});

export type CollectionRow = typeof kbCollections.$inferSelect;
export type DocumentRow = typeof kbDocuments.$inferSelect;
export type ChunkRow = typeof kbChunks.$inferSelect;
export type FolderRuleRow = typeof kbFolderRules.$inferSelect;
