// The fields of a bot as they are sent, checked and turned into columns.

import { and, eq, inArray, isNull } from "drizzle-orm";
import type { Context } from "../../core/context.ts";
import type { FieldFault } from "../../core/errors.ts";
import { forbidden, invalid } from "../../core/errors.ts";
import { groups, roles } from "../../core/permissions/model.ts";
import { canonicalPermission, covers } from "../../core/permissions/words.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import { isUuid } from "../../lib/ids/index.ts";
import { users } from "../users/model.ts";
import type { BotRow, BotVisibility } from "./model.ts";
import type { SettingInput } from "./settings.ts";

/** The fields that say who may use a bot, as they are sent. Groups by id or name, users by id. */
export interface AccessInput {
  visibility?: BotVisibility;
  anonymous_allowed?: boolean;
  allowed_roles?: string[];
  allowed_groups?: string[];
  allowed_users?: string[];
  denied_users?: string[];
}

/** What a bot may be made with or changed to. */
export interface BotInput extends AccessInput {
  name?: string;
  display_name?: string;
  title?: string;
  description?: string;
  avatar_url?: string | null;
  language?: string;
  organization_id?: string | null;
  system_permissions?: string[];
  limits?: { max_concurrent_sessions?: number | null };
  answer_mode?: string;
  config?: Record<string, SettingInput>;
}

/** The checks, which need the database for what exists. */
export function botFields(engine: DatabaseEngine) {
  /** Checks that roles, groups and users exist and gives the columns; every fault at once. */
  async function accessColumns(input: AccessInput): Promise<Partial<BotRow>> {
    const faults: FieldFault[] = [];
    const columns: Partial<BotRow> = {};
    if (input.visibility !== undefined) columns.visibility = input.visibility;
    if (input.anonymous_allowed !== undefined) columns.anonymousAllowed = input.anonymous_allowed;
    if (input.allowed_roles) {
      const wanted = [...new Set(input.allowed_roles)];
      const found = wanted.length
        ? await engine.db.select({ id: roles.id }).from(roles).where(inArray(roles.id, wanted))
        : [];
      // The pseudo-role of callers without credentials has no row of its own.
      const known = new Set([...found.map(({ id }) => id), "anonymous"]);
      for (const role of wanted) {
        if (!known.has(role)) faults.push({ path: "allowed_roles", message: `there is no role ${role}` });
      }
      columns.allowedRoles = wanted;
    }
    if (input.allowed_groups) {
      const found = input.allowed_groups.length
        ? await engine.db.select({ id: groups.id, name: groups.name }).from(groups)
        : [];
      const ids = input.allowed_groups.map((ref) => {
        const group = found.find(({ id, name }) => id === ref.toLowerCase() || name === ref);
        if (!group) faults.push({ path: "allowed_groups", message: `there is no group ${ref}` });
        return group?.id ?? ref;
      });
      columns.allowedGroups = [...new Set(ids)];
    }
    for (const [path, column] of [
      ["allowed_users", "allowedUsers"],
      ["denied_users", "deniedUsers"],
    ] as const) {
      const given = input[path];
      if (!given) continue;
      const wanted = [...new Set(given.map((id) => id.toLowerCase()))];
      const sound = wanted.filter(isUuid);
      const found = sound.length
        ? await engine.db
            .select({ id: users.id })
            .from(users)
            .where(and(inArray(users.id, sound), isNull(users.deletedAt)))
        : [];
      const known = new Set(found.map(({ id }) => id));
      for (const id of wanted) if (!known.has(id)) faults.push({ path, message: `there is no user ${id}` });
      columns[column] = wanted;
    }
    if (faults.length > 0) throw invalid(faults);
    return columns;
  }

  function systemPermissions(ctx: Context, words: string[]): string[] {
    const canonical = words.flatMap((word) => {
      const found = canonicalPermission(word);
      if (!found) throw invalid([{ path: "system_permissions", message: `there is no permission ${word}` }]);
      return found;
    });
    const missing = canonical.find((word) => !covers(ctx.caller.permissions, word));
    if (missing !== undefined) throw forbidden(missing, "permission_not_held");
    return [...new Set(canonical)];
  }

  /** Columns of all fields but the name; throws 422 and 403. */
  async function columnsOf(ctx: Context, input: BotInput): Promise<Partial<BotRow>> {
    const columns = await accessColumns(input);
    const displayName = input.display_name ?? input.title;
    if (displayName !== undefined) columns.displayName = displayName.trim();
    if (input.description !== undefined) columns.description = input.description;
    if (input.avatar_url !== undefined) columns.avatarUrl = input.avatar_url;
    if (input.language !== undefined) columns.language = input.language;
    if (input.system_permissions) columns.systemPermissions = systemPermissions(ctx, input.system_permissions);
    const sessions = input.limits?.max_concurrent_sessions;
    if (sessions !== undefined) columns.maxConcurrentSessions = sessions;
    if (input.organization_id !== undefined) {
      const { organization_id: id } = input;
      const isOwn = id === null || id === ctx.caller.organizationId || ctx.caller.groups.has(id);
      if (!isOwn && !ctx.caller.permissions.has("*")) throw forbidden(null, "other_organization");
      if (id !== null) {
        const isOrganization = and(eq(groups.id, id), eq(groups.type, "organization"));
        const found = await engine.db.select({ id: groups.id }).from(groups).where(isOrganization);
        if (found.length === 0) throw invalid([{ path: "organization_id", message: "there is no such organization" }]);
      }
      columns.organizationId = id;
    }
    return columns;
  }

  return { accessColumns, columnsOf };
}
