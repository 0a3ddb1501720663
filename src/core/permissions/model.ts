// Tables of roles, groups and who holds what (contract permissions.md, "Underneath"). The permission engine reads
// them in one recursive query; the security and groups areas write them.

import {
  boolean,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  timestamp,
  unique,
  uuid,
} from "drizzle-orm/pg-core";

const moment = () => timestamp({ withTimezone: true, mode: "date" });

export const roles = pgTable("roles", {
  id: text().primaryKey(),
  name: text().notNull(),
  description: text().notNull().default(""),
  level: integer().notNull().default(50),
  builtin: boolean().notNull().default(false),
  version: integer().notNull().default(1),
  createdAt: moment().notNull(),
  updatedAt: moment().notNull(),
});

export const rolePermissions = pgTable(
  "role_permissions",
  {
    roleId: text()
      .notNull()
      .references(() => roles.id, { onDelete: "cascade" }),
    permission: text().notNull(),
  },
  (table) => [primaryKey({ columns: [table.roleId, table.permission] })],
);

export const roleParents = pgTable(
  "role_parents",
  {
    roleId: text()
      .notNull()
      .references(() => roles.id, { onDelete: "cascade" }),
    parentId: text()
      .notNull()
      .references(() => roles.id, { onDelete: "cascade" }),
  },
  (table) => [primaryKey({ columns: [table.roleId, table.parentId] })],
);

/** Direct roles of accounts. `source` keeps what a provider gave apart from what was given here. */
export const userRoles = pgTable(
  "user_roles",
  {
    userId: uuid().notNull(),
    roleId: text()
      .notNull()
      .references(() => roles.id, { onDelete: "cascade" }),
    source: text().$type<"local" | "oidc">().notNull().default("local"),
    grantedBy: uuid(),
    grantedAt: moment().notNull(),
    expiresAt: moment(),
  },
  (table) => [
    primaryKey({ columns: [table.userId, table.roleId, table.source] }),
    index("user_roles_role").on(table.roleId),
  ],
);

export const groups = pgTable(
  "groups",
  {
    id: uuid().primaryKey(),
    name: text().notNull(),
    /** Lower-case name: unique among siblings. */
    nameKey: text().notNull(),
    description: text().notNull().default(""),
    type: text().$type<"team" | "department" | "project" | "organization">().notNull().default("team"),
    visibility: text().$type<"private" | "public">().notNull().default("private"),
    domain: text(),
    domainVerified: boolean().notNull().default(false),
    parentId: uuid(),
    organizationId: uuid(),
    inheritPermissions: boolean().notNull().default(true),
    inheritMembers: boolean().notNull().default(false),
    settings: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    /** Organizations only: slug, website, quotas and the like. */
    slug: text().unique(),
    organization: jsonb().$type<Record<string, unknown>>(),
    builtin: boolean().notNull().default(false),
    createdBy: uuid(),
    version: integer().notNull().default(1),
    createdAt: moment().notNull(),
    updatedAt: moment().notNull(),
  },
  (table) => [
    unique("groups_sibling_name").on(table.organizationId, table.parentId, table.nameKey).nullsNotDistinct(),
    index("groups_parent").on(table.parentId),
  ],
);

export const groupMembers = pgTable(
  "group_members",
  {
    id: uuid().primaryKey(),
    groupId: uuid()
      .notNull()
      .references(() => groups.id, { onDelete: "cascade" }),
    userId: uuid().notNull(),
    roleId: text().notNull().default("member"),
    permissions: jsonb().$type<string[]>().notNull().default([]),
    status: text().$type<"active" | "suspended">().notNull().default("active"),
    addedBy: uuid(),
    joinedAt: moment().notNull(),
  },
  (table) => [
    unique("group_members_once").on(table.groupId, table.userId),
    index("group_members_user").on(table.userId),
  ],
);

export const groupRoles = pgTable(
  "group_roles",
  {
    groupId: uuid()
      .notNull()
      .references(() => groups.id, { onDelete: "cascade" }),
    roleId: text()
      .notNull()
      .references(() => roles.id, { onDelete: "cascade" }),
  },
  (table) => [primaryKey({ columns: [table.groupId, table.roleId] })],
);

export const groupPermissions = pgTable(
  "group_permissions",
  {
    groupId: uuid()
      .notNull()
      .references(() => groups.id, { onDelete: "cascade" }),
    permission: text().notNull(),
  },
  (table) => [primaryKey({ columns: [table.groupId, table.permission] })],
);
