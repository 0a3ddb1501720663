// Documents as they are answered; what a reader may not know of a document is left out here.

import { holds, type Context } from "../../core/context.ts";
import type { Reader } from "../../engines/vectors/index.ts";
import { mayOpen } from "./access.ts";
import type { AccessRule, DocumentRow, DocumentStatus } from "./model.ts";
import { presentAccess, type ShownAccess } from "./permissions.ts";

export interface KnowledgeDocument {
  id: string;
  collection_id: string;
  bot_id: string;
  name: string;
  path: string;
  title: string;
  mime: string;
  bytes: number;
  sha256: string;
  language: string | null;
  status: DocumentStatus;
  error_code: string | null;
  error_message: string | null;
  pages: number | null;
  chunks_count: number;
  tokens: number;
  version: number;
  source_url: string | null;
  external_id: string | null;
  tags: string[];
  metadata: Record<string, unknown>;
  access: AccessRule | null;
  effective_access: ShownAccess;
  /** False: the title may be known, the text not. */
  accessible: boolean;
  indexed_at: string | null;
  created_at: string;
  updated_at: string;
  created_by: string | null;
}

export function presentDocument(ctx: Context, reader: Reader, row: DocumentRow): KnowledgeDocument {
  const isManager = holds(ctx.caller, "kb:write");
  const accessible = mayOpen(row, reader);
  const isKnown = isManager || accessible;
  const effective = presentAccess(row);
  return {
    id: row.id,
    collection_id: row.collectionId,
    bot_id: row.botId,
    name: row.name,
    path: row.path,
    title: row.title,
    mime: row.mime,
    bytes: row.bytes,
    sha256: isKnown ? row.sha256 : "",
    language: row.language,
    status: row.status,
    error_code: row.errorCode,
    error_message: row.errorMessage,
    pages: row.pages,
    chunks_count: row.chunksCount,
    tokens: row.tokens,
    version: row.version,
    source_url: isKnown ? row.sourceUrl : null,
    external_id: isKnown ? row.externalId : null,
    tags: isKnown ? row.tags : [],
    metadata: isKnown ? row.metadata : {},
    // Whom else a rule names is for those who manage the rules.
    access: isManager ? row.access : null,
    effective_access: isManager ? effective : { ...effective, roles: [], groups: [], users: [] },
    accessible,
    indexed_at: row.indexedAt?.toISOString() ?? null,
    created_at: row.createdAt.toISOString(),
    updated_at: row.updatedAt.toISOString(),
    created_by: isManager ? row.createdBy : null,
  };
}
