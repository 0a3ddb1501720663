// The rules of folders and documents: who set them, what they come to, and keeping every document's columns in step.

import { and, eq, inArray, isNotNull, isNull, like, or, sql } from "drizzle-orm";
import { parse as parseYaml, stringify as toYaml } from "yaml";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import { holds, type Context } from "../../core/context.ts";
import { forbidden, invalid, notFound, type FieldFault } from "../../core/errors.ts";
import { groups, roles } from "../../core/permissions/model.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import { isUuid, sha256Hex, uuidv7 } from "../../lib/ids/index.ts";
import {
  ACCESS_LEVELS,
  foldersAbove,
  mayOpen,
  maySee,
  resolveAccess,
  type EffectiveAccess,
  type PlacedRule,
  type Resolved,
} from "./access.ts";
import { collectionKey, type Finder } from "./finder.ts";
import {
  kbCollections,
  kbDocuments,
  kbFolderRules,
  kbRuleSets,
  type AccessLevel,
  type AccessRule,
  type CollectionRow,
} from "./model.ts";
import type { PassageStore } from "./passages.ts";

/** A rule as it is sent; what is left out is empty, inherited or true. */
export interface RuleInput {
  level?: AccessLevel | null;
  roles?: string[];
  groups?: string[];
  users?: string[];
  index_visibility?: AccessLevel | null;
  inherit_parent?: boolean;
}

export interface RuleBook {
  inheritance: boolean;
  /** By path inside the collection. */
  rules: ReadonlyMap<string, AccessRule>;
}

export interface FolderPermissions {
  folder: string;
  access: AccessLevel | null;
  roles: string[];
  groups: string[];
  users: string[];
  index_visibility: AccessLevel | null;
  inherit_parent: boolean;
  effective_access: ShownAccess;
}

export interface ShownAccess {
  level: AccessLevel;
  roles: string[];
  groups: string[];
  users: string[];
  index_visibility: AccessLevel;
}

const BATCH = 500;

export function presentAccess(access: EffectiveAccess): ShownAccess {
  return {
    level: access.accessLevel,
    roles: access.allowedRoles,
    groups: access.allowedGroups,
    users: access.allowedUsers,
    index_visibility: access.indexVisibility,
  };
}

/** A sent rule made whole. */
export function wholeRule(input: RuleInput): AccessRule {
  return {
    level: input.level ?? null,
    roles: [...new Set(input.roles ?? [])],
    groups: [...new Set(input.groups ?? [])],
    users: [...new Set((input.users ?? []).map((user) => user.toLowerCase()))],
    index_visibility: input.index_visibility ?? null,
    inherit_parent: input.inherit_parent ?? true,
  };
}

/** What the rules come to for a document in `path`, or for the folder itself when `own` is null. */
export function effectiveAccess(
  book: RuleBook,
  collection: Pick<CollectionRow, "defaultAccess">,
  path: string,
  own: AccessRule | null,
): Resolved {
  const folders = book.inheritance ? foldersAbove(path) : [path];
  const chain: PlacedRule[] = own ? [{ place: "document", rule: own }] : [];
  for (const folder of folders) {
    const rule = book.rules.get(folder);
    if (rule) chain.push({ place: folder, rule });
  }
  return resolveAccess(chain, collection.defaultAccess);
}

/** The rules of one collection. */
export async function readRules(db: Database, botId: string, key: string): Promise<RuleBook> {
  const rows = await db
    .select({ path: kbFolderRules.path, rule: kbFolderRules.rule })
    .from(kbFolderRules)
    .where(and(eq(kbFolderRules.botId, botId), eq(kbFolderRules.collectionKey, key)));
  const [set] = await db.select().from(kbRuleSets).where(eq(kbRuleSets.botId, botId));
  return { inheritance: set?.inheritance ?? true, rules: new Map(rows.map(({ path, rule }) => [path, rule])) };
}

export type Permissions = ReturnType<typeof permissionService>;

export function permissionService(deps: {
  database: DatabaseEngine;
  clock: Clock;
  audit: Audit;
  passages: PassageStore;
  finder: Finder;
}) {
  const { database, clock, audit, passages, finder } = deps;

  /** Refuses words that name nobody; `path` is where the rule stands in the input. */
  async function check(rule: AccessRule, at = ""): Promise<FieldFault[]> {
    const faults: FieldFault[] = [];
    const known = rule.roles.length
      ? await database.db.select({ id: roles.id }).from(roles).where(inArray(roles.id, rule.roles))
      : [];
    for (const role of rule.roles) {
      if (role === "anonymous" || known.some(({ id }) => id === role)) continue;
      faults.push({ path: `${at}roles`, message: `there is no role ${role}` });
    }
    if (rule.groups.length > 0) {
      const ids = rule.groups.filter(isUuid);
      const found = await database.db
        .select({ id: groups.id, name: groups.name })
        .from(groups)
        .where(or(inArray(groups.name, rule.groups), ids.length > 0 ? inArray(groups.id, ids) : undefined));
      for (const group of rule.groups) {
        if (found.some(({ id, name }) => id === group || name === group)) continue;
        faults.push({ path: `${at}groups`, message: `there is no group ${group}` });
      }
    }
    for (const user of rule.users) {
      if (!isUuid(user) && !user.includes("@")) {
        faults.push({ path: `${at}users`, message: `${user} is neither an id nor an e-mail address` });
      }
    }
    const hasLists = rule.roles.length + rule.groups.length + rule.users.length > 0;
    if (hasLists && rule.level === null) {
      faults.push({ path: `${at}access`, message: "is needed beside roles, groups or users" });
    }
    return faults;
  }

  /**
   * Brings the access columns of the collection's documents below `path` in step with its rules. The caller has
   * locked or raised the collection in this transaction and gives the change's number.
   */
  async function refresh(tx: Database, collection: CollectionRow, changeSeq: number, path = ""): Promise<void> {
    const book = await readRules(tx, collection.botId, collection.nameKey);
    const below =
      path === ""
        ? eq(kbDocuments.collectionId, collection.id)
        : and(
            eq(kbDocuments.collectionId, collection.id),
            or(eq(kbDocuments.path, path), like(kbDocuments.path, `${escapeLike(path)}/%`)),
          );
    const folders = await tx
      .selectDistinct({ path: kbDocuments.path })
      .from(kbDocuments)
      .where(and(below, isNull(kbDocuments.access)));
    const single = await tx
      .select({ id: kbDocuments.id, path: kbDocuments.path, access: kbDocuments.access })
      .from(kbDocuments)
      .where(and(below, isNotNull(kbDocuments.access)));
    const byFolder = folders.map((folder) => ({
      id: null,
      path: folder.path,
      ...effectiveAccess(book, collection, folder.path, null),
    }));
    const byDocument = single.map(({ id, path: at, access }) => ({
      id,
      path: at,
      ...effectiveAccess(book, collection, at, access),
    }));
    const all = [...byFolder, ...byDocument];
    for (let at = 0; at < all.length; at += BATCH) {
      const rows = all.slice(at, at + BATCH).map((one) => ({
        id: one.id,
        path: one.path,
        level: one.accessLevel,
        roles: one.allowedRoles,
        groups: one.allowedGroups,
        users: one.allowedUsers,
        visibility: one.indexVisibility,
      }));
      await tx.execute(sql`
        update kb_documents d set access_level = n.level, allowed_roles = n.roles, allowed_groups = n.groups,
          allowed_users = n.users, index_visibility = n.visibility, change_seq = ${changeSeq}
        from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
          as n(id uuid, path text, level text, roles text[], groups text[], users text[], visibility text)
        where d.collection_id = ${collection.id}
          and (d.id = n.id or (n.id is null and d.access is null and d.path = n.path))
          and (d.access_level, d.allowed_roles, d.allowed_groups, d.allowed_users, d.index_visibility)
            is distinct from (n.level, n.roles, n.groups, n.users, n.visibility)`);
    }
  }

  /** A folder address `<collection>/<path…>` of a bot. */
  async function folder(ctx: Context, kb: string, address: string) {
    const [name = "", ...rest] = address.split("/").filter((part) => part !== "");
    if (name === "") throw notFound("folder");
    const bot = await finder.bot(ctx, kb);
    const found = await finder.collection(ctx, `${bot.id}:${name}`);
    return { ...found, path: rest.join("/") };
  }

  const present = (collection: CollectionRow, path: string, rule: AccessRule | null, book: RuleBook) => ({
    folder: path === "" ? collection.name : `${collection.name}/${path}`,
    access: rule?.level ?? null,
    roles: rule?.roles ?? [],
    groups: rule?.groups ?? [],
    users: rule?.users ?? [],
    index_visibility: rule?.index_visibility ?? null,
    inherit_parent: rule?.inherit_parent ?? true,
    effective_access: presentAccess(effectiveAccess(book, collection, path, null)),
  });

  return {
    check,
    refresh,

    /** May the caller open what lies in a folder, and why. */
    decide: async (ctx: Context, kb: string, address: string) => {
      const { collection, path, reader } = await folder(ctx, kb, address);
      const book = await readRules(database.db, collection.botId, collection.nameKey);
      const access = effectiveAccess(book, collection, path, null);
      const isVisible = maySee(access, reader);
      const allowed = mayOpen(access, reader);
      const reason = !isVisible ? "none" : reader.isAdmin ? "admin" : access.accessLevel;
      return { allowed, reason, matched_rule: isVisible ? access.decidedBy : null, index_visible: isVisible };
    },

    /** A folder's rule; needs `kb:write`, which its address alone does not say. */
    get: async (ctx: Context, kb: string, address: string): Promise<FolderPermissions> => {
      if (!holds(ctx.caller, "kb:write")) {
        await audit.record(database.db, ctx, {
          type: "permission_denied",
          result: "denied",
          details: { route: ctx.route, permission: "kb:write", roles: [...ctx.caller.roles] },
        });
        throw forbidden("kb:write");
      }
      const { collection, path } = await folder(ctx, kb, address);
      const book = await readRules(database.db, collection.botId, collection.nameKey);
      return present(collection, path, book.rules.get(path) ?? null, book);
    },

    put: async (ctx: Context, kb: string, address: string, input: RuleInput): Promise<FolderPermissions> => {
      const { collection, path } = await folder(ctx, kb, address);
      const rule = wholeRule(input);
      const faults = await check(rule);
      if (faults.length > 0) throw invalid(faults);
      return database.transaction(async (tx, afterCommit) => {
        const { changeSeq } = await passages.raise(tx, collection.id);
        const before = (await readRules(tx, collection.botId, collection.nameKey)).rules.get(path) ?? null;
        const at = clock.date();
        await tx
          .insert(kbFolderRules)
          .values({
            id: uuidv7(),
            botId: collection.botId,
            collectionKey: collection.nameKey,
            path,
            rule,
            origin: "api",
            updatedBy: ctx.caller.userId,
            updatedAt: at,
          })
          .onConflictDoUpdate({
            target: [kbFolderRules.botId, kbFolderRules.collectionKey, kbFolderRules.path],
            set: { rule, origin: "api", updatedBy: ctx.caller.userId, updatedAt: at },
          });
        await refresh(tx, collection, changeSeq, path);
        await audit.record(tx, ctx, {
          type: "kb_permissions_changed",
          resource: { type: "kb_folder", id: collection.id, label: `${collection.name}/${path}` },
          changes: { rule: { from: before, to: rule } },
        });
        afterCommit(() => passages.announce([collection.id]));
        const book = await readRules(tx, collection.botId, collection.nameKey);
        return present(collection, path, rule, book);
      });
    },

    /** The whole rule set of a bot, with what it comes to for every folder that has documents or a rule. */
    export: async (ctx: Context, kb: string, format: "yaml" | "json"): Promise<string> => {
      const bot = await finder.bot(ctx, kb);
      const collections = await database.db.select().from(kbCollections).where(eq(kbCollections.botId, bot.id));
      const [set] = await database.db.select().from(kbRuleSets).where(eq(kbRuleSets.botId, bot.id));
      const rows = await database.db.select().from(kbFolderRules).where(eq(kbFolderRules.botId, bot.id));
      const used = await database.db
        .selectDistinct({ collectionId: kbDocuments.collectionId, path: kbDocuments.path })
        .from(kbDocuments)
        .where(eq(kbDocuments.botId, bot.id));
      const nameOf = new Map(collections.map(({ nameKey, name }) => [nameKey, name]));
      const placed = (key: string, path: string) => [nameOf.get(key) ?? key, path].filter(Boolean).join("/");
      const effective: Record<string, ShownAccess> = {};
      for (const collection of collections) {
        const book = {
          inheritance: set?.inheritance ?? true,
          rules: new Map(
            rows.filter((row) => row.collectionKey === collection.nameKey).map(({ path, rule }) => [path, rule]),
          ),
        };
        const paths = used.filter((one) => one.collectionId === collection.id).map(({ path }) => path);
        for (const path of new Set(["", ...book.rules.keys(), ...paths])) {
          effective[placed(collection.nameKey, path)] = presentAccess(effectiveAccess(book, collection, path, null));
        }
      }
      const sorted = <T>(entries: [string, T][]) => Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
      const whole = {
        version: 1,
        default_access: set?.defaultAccess ?? "authenticated",
        inheritance: set?.inheritance ?? true,
        collections: sorted(collections.map(({ name, defaultAccess }) => [name, { default_access: defaultAccess }])),
        folders: sorted(
          rows.map(({ collectionKey: key, path, rule: { level, ...rest } }) => [
            placed(key, path),
            { access: level, ...rest },
          ]),
        ),
        effective: sorted(Object.entries(effective)),
      };
      return format === "json" ? JSON.stringify(whole, null, 2) : toYaml(whole);
    },

    /**
     * Takes over a bot's `kb.permissions.yaml`. The same file changes nothing, so that rules set by the API since stay;
     * another one replaces all rules. Throws `invalid` for anything it does not know, and then the old rules stay.
     */
    applyFile: async (ctx: Context, botId: string, source: string): Promise<{ changed: boolean }> => {
      const digest = sha256Hex(source);
      const [known] = await database.db.select().from(kbRuleSets).where(eq(kbRuleSets.botId, botId));
      if (known?.fileSha256 === digest) return { changed: false };
      const file = readRuleFile(source);
      const faults: FieldFault[] = [];
      for (const { address, rule } of file.folders) faults.push(...(await check(rule, `folders.${address}.`)));
      if (faults.length > 0) throw invalid(faults);
      await database.transaction(async (tx, afterCommit) => {
        const at = clock.date();
        const set = {
          defaultAccess: file.defaultAccess,
          inheritance: file.inheritance,
          fileSha256: digest,
          updatedAt: at,
        };
        await tx
          .insert(kbRuleSets)
          .values({ botId, ...set })
          .onConflictDoUpdate({ target: kbRuleSets.botId, set });
        await tx.delete(kbFolderRules).where(eq(kbFolderRules.botId, botId));
        const rows = file.folders.map(({ address, rule }) => {
          const [name = "", ...rest] = address.split("/");
          const place = { botId, collectionKey: collectionKey(name), path: rest.join("/") };
          return { ...place, id: uuidv7(), rule, origin: "file" as const, updatedBy: null, updatedAt: at };
        });
        if (rows.length > 0) await tx.insert(kbFolderRules).values(rows);
        if (file.defaultAccess !== null) {
          await tx
            .update(kbCollections)
            .set({ defaultAccess: file.defaultAccess })
            .where(eq(kbCollections.botId, botId));
        }
        const collections = await tx.select().from(kbCollections).where(eq(kbCollections.botId, botId));
        for (const collection of collections.toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
          const { changeSeq } = await passages.raise(tx, collection.id);
          await refresh(tx, collection, changeSeq);
        }
        await audit.record(tx, ctx, {
          type: "kb_permissions_changed",
          resource: { type: "bot", id: botId },
          details: { file: "kb.permissions.yaml", folders: rows.length },
        });
        afterCommit(() => passages.announce(collections.map(({ id }) => id)));
      });
      return { changed: true };
    },
  };
}

function escapeLike(text: string): string {
  return text.replaceAll(/[\\%_]/g, (sign) => `\\${sign}`);
}

interface RuleFile {
  defaultAccess: AccessLevel | null;
  inheritance: boolean;
  folders: { address: string; rule: AccessRule }[];
}

/** Reads the file's words; every one that is not known is a fault. */
function readRuleFile(source: string): RuleFile {
  const faults: FieldFault[] = [];
  const fault = (path: string, message: string) => faults.push({ path, message });
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === "object" && value !== null && !Array.isArray(value);
  const level = (value: unknown, path: string): AccessLevel | null => {
    if (value === undefined || value === null) return null;
    const found = ACCESS_LEVELS.find((one) => one === value);
    if (!found) fault(path, `is none of ${ACCESS_LEVELS.join(", ")}`);
    return found ?? null;
  };
  const list = (value: unknown, path: string): string[] => {
    if (value === undefined || value === null) return [];
    if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value;
    fault(path, "is not a list of words");
    return [];
  };
  const flag = (value: unknown, path: string): boolean => {
    if (value === undefined) return true;
    if (typeof value !== "boolean") fault(path, "is neither true nor false");
    return value !== false;
  };
  const knownKeys = (value: Record<string, unknown>, known: readonly string[], path: string) => {
    for (const key of Object.keys(value)) if (!known.includes(key)) fault(`${path}${key}`, "is not known here");
  };
  let data: unknown;
  try {
    data = parseYaml(source, { maxAliasCount: 10 });
  } catch (error) {
    throw invalid([{ path: "", message: `is not YAML: ${error instanceof Error ? error.message : "unreadable"}` }]);
  }
  if (!isObject(data)) throw invalid([{ path: "", message: "is not a set of rules" }]);
  // `collections` and `effective` are what an export adds; they say nothing that the rules do not.
  knownKeys(data, ["version", "default_access", "inheritance", "folders", "collections", "effective"], "");
  if (data["version"] !== 1) fault("version", "must be 1");
  const folders: RuleFile["folders"] = [];
  const given = data["folders"] ?? {};
  if (!isObject(given)) fault("folders", "is not a set of folders");
  else {
    for (const [name, rule] of Object.entries(given)) {
      const path = `folders.${name}.`;
      const address = name
        .split("/")
        .filter((part) => part !== "")
        .join("/");
      if (address === "" || !isObject(rule)) {
        fault(path, "is not a rule for a folder");
        continue;
      }
      knownKeys(rule, ["access", "roles", "groups", "users", "index_visibility", "inherit_parent"], path);
      folders.push({
        address,
        rule: wholeRule({
          level: level(rule["access"], `${path}access`),
          roles: list(rule["roles"], `${path}roles`),
          groups: list(rule["groups"], `${path}groups`),
          users: list(rule["users"], `${path}users`),
          index_visibility: level(rule["index_visibility"], `${path}index_visibility`),
          inherit_parent: flag(rule["inherit_parent"], `${path}inherit_parent`),
        }),
      });
    }
  }
  const file: RuleFile = {
    defaultAccess: level(data["default_access"], "default_access"),
    inheritance: flag(data["inheritance"], "inheritance"),
    folders,
  };
  if (faults.length > 0) throw invalid(faults);
  return file;
}
