// Bots as answers show them.

import type { LoadedBot } from "./directory.ts";
import type { AccessDecision } from "./rules.ts";
import type { BotRow } from "./model.ts";

/** Which engines answer for a bot; null where there is none. */
export interface BotEngines {
  llm: string | null;
  embeddings: string | null;
  vectors: string | null;
}

/** What the knowledge of a bot amounts to. */
export interface KnowledgeCounts {
  collections: number;
  documents: number;
}

/** What everyone who may use a bot sees of it. */
export function presentCard(row: BotRow, isDefault: boolean) {
  return {
    bot_id: row.id,
    id: row.id,
    name: row.name,
    display_name: row.displayName,
    title: row.displayName,
    description: row.description,
    avatar_url: row.avatarUrl,
    language: row.language,
    status: row.status,
    is_default: isDefault,
  };
}

/** The fields that say who may use it. */
export function presentAccess(row: BotRow) {
  return {
    visibility: row.visibility,
    anonymous_allowed: row.anonymousAllowed,
    allowed_roles: row.allowedRoles,
    allowed_groups: row.allowedGroups,
    allowed_users: row.allowedUsers,
    denied_users: row.deniedUsers,
  };
}

export function presentDecision(decision: AccessDecision) {
  return { allowed: decision.allowed, reason: decision.reason };
}

/** The whole bot, for those who manage it. */
export function presentBot(
  { row, config }: LoadedBot,
  around: { isDefault: boolean; engines: BotEngines; knowledge: KnowledgeCounts },
) {
  return {
    ...presentCard(row, around.isDefault),
    organization_id: row.organizationId,
    ...presentAccess(row),
    system_permissions: row.systemPermissions,
    limits: { max_concurrent_sessions: row.maxConcurrentSessions },
    answer_mode: config.value("answer-mode"),
    engines: around.engines,
    version: row.version,
    generation: row.generation,
    loaded: {
      dialogs: row.loaded.dialogs,
      tools: row.loaded.tools,
      kb_collections: around.knowledge.collections,
      documents: around.knowledge.documents,
      schedules: row.loaded.schedules,
    },
    problems: row.problems,
    broken_scripts: row.brokenScripts,
    last_restart: row.lastRestart,
    channels: [] as string[],
    created_by: row.createdBy,
    created_at: row.createdAt.toISOString(),
    updated_at: row.updatedAt.toISOString(),
  };
}

export type BotCard = ReturnType<typeof presentCard>;
export type Bot = ReturnType<typeof presentBot>;

/** Changes with every write of the row or its settings. */
export function botEtag(row: BotRow): string {
  return `"${row.version}-${row.updatedAt.getTime().toString(36)}"`;
}
