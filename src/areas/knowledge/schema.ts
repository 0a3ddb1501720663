// Shapes of collections, documents, folder rules and jobs on the wire (contract knowledge.md).

import { t } from "elysia";
import { Moment, nullable, oneOf } from "../../http/schema.ts";

const Id = t.String({ format: "uuid" });
const Level = oneOf(["all", "authenticated", "role_based", "group_based", "user_based", "none"]);
const Words = t.Array(t.String({ minLength: 1, maxLength: 200 }), { maxItems: 1000 });
const Count = t.Integer({ minimum: 0 });
const CollectionName = t.String({ maxLength: 105 });
const Metadata = t.Record(t.String({ maxLength: 200 }), t.Unknown(), { description: "at most 16 KiB" });
const Tags = t.Array(t.String({ maxLength: 100 }), { maxItems: 50 });

export const CollectionStatus = oneOf(["empty", "indexing", "ready", "stale", "error"]);
export const DocumentStatus = oneOf([
  "pending",
  "extracting",
  "chunking",
  "embedding",
  "indexed",
  "failed",
  "unsupported",
  "infected",
]);
export const JobStatus = oneOf(["queued", "running", "completed", "failed", "cancelled"]);
export const BotRef = t.String({ maxLength: 64, description: "id or name" });

export const CollectionRef = t.Object({
  c: t.String({ maxLength: 200, description: "an id, or `<bot>:<name>`" }),
});
export const DocumentRef = t.Object({ id: Id });
export const JobRef = t.Object({ job_id: t.String({ format: "uuid" }) });

export const Collection = t.Object({
  id: t.String(),
  bot_id: t.String(),
  name: t.String(),
  description: t.String(),
  source: oneOf(["folder", "upload", "website"]),
  status: CollectionStatus,
  auto: t.Boolean({ description: "active in every conversation without USE KB" }),
  documents_count: Count,
  chunks_count: Count,
  vectors_count: Count,
  bytes: Count,
  failed_count: Count,
  embedding_model: nullable(t.String()),
  dimensions: nullable(t.Integer()),
  generation: t.Integer({ description: "grows with every visible change of content" }),
  default_access: Level,
  created_at: Moment,
  updated_at: Moment,
  last_indexed_at: nullable(Moment),
});

export const NewCollection = t.Object({
  bot_id: t.Optional(BotRef),
  name: CollectionName,
  description: t.Optional(t.String({ maxLength: 2000 })),
  auto: t.Optional(t.Boolean()),
  default_access: t.Optional(Level),
});

export const ChangedCollection = t.Object({
  name: t.Optional(CollectionName),
  description: t.Optional(t.String({ maxLength: 2000 })),
  auto: t.Optional(t.Boolean()),
  default_access: t.Optional(Level),
});

export const CollectionStats = t.Object({
  id: t.String(),
  name: t.String(),
  vectors_count: Count,
  points_count: Count,
  indexed_vectors_count: nullable(Count),
  segments_count: nullable(Count),
  disk_data_size: t.Integer({ description: "bytes of passages and vectors in the database" }),
  ram_data_size: nullable(t.Integer({ description: "bytes in this instance's index; null while it is not loaded" })),
  status: oneOf(["green", "yellow", "red"], { description: "yellow: indexing" }),
});

export const Stats = t.Object({
  total_collections: Count,
  total_documents: Count,
  total_vectors: Count,
  total_disk_size_mb: t.Number(),
  total_ram_size_mb: t.Number(),
  documents_added_last_week: Count,
  documents_added_last_month: Count,
  collections: t.Array(CollectionStats),
  embedding_model: t.String(),
  queue_length: Count,
});

const ShownAccess = t.Object({
  level: Level,
  roles: t.Array(t.String()),
  groups: t.Array(t.String()),
  users: t.Array(t.String()),
  index_visibility: Level,
});

export const AccessInput = t.Object({
  level: t.Optional(nullable(Level)),
  roles: t.Optional(Words),
  groups: t.Optional(Words),
  users: t.Optional(Words),
  index_visibility: t.Optional(nullable(Level)),
  inherit_parent: t.Optional(t.Boolean()),
});

const AccessRule = t.Object({
  level: nullable(Level),
  roles: t.Array(t.String()),
  groups: t.Array(t.String()),
  users: t.Array(t.String()),
  index_visibility: nullable(Level),
  inherit_parent: t.Boolean(),
});

const documentFields = {
  id: t.String(),
  collection_id: t.String(),
  bot_id: t.String(),
  name: t.String(),
  path: t.String({ description: "folder inside the collection; empty for the top" }),
  title: t.String(),
  mime: t.String(),
  bytes: Count,
  sha256: t.String(),
  language: nullable(t.String({ description: "ISO 639-1" })),
  status: DocumentStatus,
  error_code: nullable(t.String()),
  error_message: nullable(t.String()),
  pages: nullable(t.Integer()),
  chunks_count: Count,
  tokens: Count,
  version: t.Integer(),
  source_url: nullable(t.String()),
  external_id: nullable(t.String()),
  tags: t.Array(t.String()),
  metadata: t.Record(t.String(), t.Unknown()),
  access: nullable(AccessRule),
  effective_access: ShownAccess,
  accessible: t.Boolean({ description: "false: only the title may be known" }),
  indexed_at: nullable(Moment),
  created_at: Moment,
  updated_at: Moment,
  created_by: nullable(t.String()),
};
export const Document = t.Object(documentFields);

export const TakenIn = t.Object({
  documents: t.Array(
    t.Object({
      ...documentFields,
      result: oneOf(["created", "updated", "unchanged"], { description: "unchanged: the bytes were there already" }),
    }),
  ),
  job_id: nullable(t.String({ description: "null: there is nothing to do" })),
});

export const ChangedDocument = t.Object({
  title: t.Optional(t.String({ minLength: 1, maxLength: 500 })),
  path: t.Optional(t.String({ maxLength: 1024 })),
  tags: t.Optional(Tags),
  metadata: t.Optional(Metadata),
  collection_id: t.Optional(Id),
});

export const Ingest = t.Object({
  collection: t.String({ minLength: 1, maxLength: 200, description: "id, `<bot>:<name>`, or a name beside `bot_id`" }),
  bot_id: t.Optional(BotRef),
  create: t.Optional(t.Boolean({ description: "make the collection if there is none of that name" })),
  items: t.Array(
    t.Object({
      text: t.Optional(t.String({ description: "Markdown or plain" })),
      title: t.Optional(t.String({ maxLength: 500 })),
      external_id: t.Optional(t.String({ minLength: 1, maxLength: 500, description: "makes it an upsert" })),
      url: t.Optional(t.String({ format: "uri", maxLength: 2000, description: "one page or file" })),
      file_id: t.Optional(Id),
    }),
    { minItems: 1, maxItems: 100 },
  ),
  path: t.Optional(t.String({ maxLength: 1024 })),
  tags: t.Optional(Tags),
  metadata: t.Optional(Metadata),
  access: t.Optional(AccessInput),
  wait: t.Optional(t.Number({ minimum: 0, maximum: 60, description: "seconds" })),
});

/** Text fields of an upload's form; objects and lists are JSON in them. */
export const UploadFields = {
  tags: Tags,
  metadata: Metadata,
  access: AccessInput,
};

const filters = {
  collection_id: t.Optional(t.String({ maxLength: 200 })),
  bot_id: t.Optional(BotRef),
  status: t.Optional(DocumentStatus),
  path: t.Optional(t.String({ maxLength: 1024 })),
  tag: t.Optional(t.String({ maxLength: 100 })),
  mime: t.Optional(t.String({ maxLength: 200 })),
  q: t.Optional(t.String({ maxLength: 500 })),
};
export const DocumentFilters = {
  collection_id: t.String({ maxLength: 200, description: "an id, or `<bot>:<name>`" }),
  bot_id: BotRef,
  status: DocumentStatus,
  path: t.String({ maxLength: 1024, description: "that folder and those below it" }),
  tag: t.String({ maxLength: 100 }),
  mime: t.String({ maxLength: 200 }),
  q: t.String({ maxLength: 500, description: "part of name or title" }),
};

export const Removal = t.Object({
  ids: t.Optional(t.Array(Id, { minItems: 1, maxItems: 1000 })),
  filter: t.Optional(t.Object(filters)),
});

export const Chunk = t.Object({
  id: t.String(),
  document_id: t.String(),
  ordinal: t.Integer(),
  text: t.String(),
  tokens: t.Integer(),
  heading_path: t.Array(t.String()),
  page: nullable(t.Integer()),
  slide: nullable(t.Integer()),
  sheet: nullable(t.String()),
  row: nullable(t.Integer()),
  line: nullable(t.Integer()),
  char_start: t.Integer({ description: "UTF-16 offset into the document's text" }),
  char_end: t.Integer(),
});

export const CachedAnswers = t.Object({
  entries: Count,
  hits: t.Integer({ description: "equal questions; since this instance began" }),
  semantic_hits: t.Integer({ description: "questions that mean the same" }),
  misses: Count,
  bytes: Count,
  hit_rate: t.Number({ minimum: 0, maximum: 1 }),
});

export const Reindex = t.Nullable(
  t.Object({
    force: t.Optional(t.Boolean({ default: false })),
    documents: t.Optional(t.Array(Id, { minItems: 1, maxItems: 1000 })),
  }),
);
export const ReindexNamed = t.Object({
  kb_name: t.String({ minLength: 1, maxLength: 105 }),
  force: t.Optional(t.Boolean({ default: false })),
  documents: t.Optional(t.Array(Id, { minItems: 1, maxItems: 1000 })),
});
export const ReindexAll = t.Nullable(
  t.Object({ bot_id: t.Optional(BotRef), force: t.Optional(t.Boolean({ default: false })) }),
);
export const Started = t.Object({ job_id: t.String(), status: oneOf(["queued"]) });

export const Job = t.Object({
  job_id: t.String(),
  kind: oneOf(["ingest", "reindex"]),
  bot_id: nullable(t.String()),
  collection_id: nullable(t.String()),
  status: JobStatus,
  progress: t.Number({ minimum: 0, maximum: 100 }),
  documents_total: Count,
  documents_done: Count,
  documents_failed: Count,
  errors: t.Array(t.Object({ document_id: t.String(), name: t.String(), code: t.String(), message: t.String() }), {
    description: "at most 100",
  }),
  error: nullable(t.Object({ code: t.String(), message: t.String() })),
  created_at: Moment,
  started_at: nullable(Moment),
  ended_at: nullable(Moment),
});

export const FolderRule = t.Object({
  access: t.Optional(nullable(Level)),
  roles: t.Optional(Words),
  groups: t.Optional(Words),
  users: t.Optional(Words),
  index_visibility: t.Optional(nullable(Level)),
  inherit_parent: t.Optional(t.Boolean()),
});

export const FolderPermissions = t.Object({
  folder: t.String(),
  access: nullable(Level),
  roles: t.Array(t.String()),
  groups: t.Array(t.String()),
  users: t.Array(t.String()),
  index_visibility: nullable(Level),
  inherit_parent: t.Boolean(),
  effective_access: ShownAccess,
});

export const FolderDecision = t.Object({
  allowed: t.Boolean(),
  reason: t.String({ description: "the level that decided, `admin`, or `none`" }),
  matched_rule: nullable(t.String({ description: "path of the rule inside the collection, or `default`" })),
  index_visible: t.Boolean(),
});
