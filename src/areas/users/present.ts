// Accounts, sessions and keys as they leave the server; hashes and secrets are left out here.

import type { ApiKeyRow, SessionRow, UserRow } from "./model.ts";

export interface Belongings {
  /** Role words, inherited ones included. */
  roles: readonly string[];
  groups: readonly { id: string; name: string }[];
  identities: readonly { provider: "local" | "oidc"; subject: string; linkedAt: Date }[];
  /** The held role with the highest level. */
  role: string | null;
  twoFactorEnabled: boolean;
}

/** A whole account record. */
export function presentUser(row: UserRow, belongings: Belongings) {
  return {
    user_id: row.id,
    id: row.id,
    username: row.username,
    email: row.email,
    pending_email: row.pendingEmail,
    email_verified: row.emailVerified,
    display_name: row.displayName,
    full_name: row.displayName,
    first_name: row.firstName,
    last_name: row.lastName,
    avatar_url: row.avatarUrl,
    phone: row.phone,
    role: belongings.role,
    roles: [...belongings.roles],
    groups: belongings.groups.map(({ id, name }) => ({ id, name })),
    organization_id: row.organizationId,
    status: row.status,
    suspended_reason: row.suspendedReason,
    two_factor_enabled: belongings.twoFactorEnabled,
    identities: [
      ...(row.passwordHash
        ? [{ provider: "local" as const, subject: row.username, linked_at: row.createdAt.toISOString() }]
        : []),
      ...belongings.identities.map(({ provider, subject, linkedAt }) => ({
        provider,
        subject,
        linked_at: linkedAt.toISOString(),
      })),
    ],
    must_change_password: row.mustChangePassword,
    password_changed_at: row.passwordChangedAt?.toISOString() ?? null,
    metadata: row.metadata,
    created_at: row.createdAt.toISOString(),
    updated_at: row.updatedAt.toISOString(),
    last_login: row.lastLogin?.toISOString() ?? null,
    deleted_at: row.deletedAt?.toISOString() ?? null,
  };
}

/** What people without `users:read` see of an account. */
export function presentCard(row: Pick<UserRow, "id" | "username" | "displayName" | "avatarUrl">) {
  return { user_id: row.id, username: row.username, display_name: row.displayName, avatar_url: row.avatarUrl };
}

/** A sign-in session; `currentId` is the asking one. */
export function presentSession(row: SessionRow, currentId: string | null) {
  return {
    session_id: row.id,
    user_id: row.userId,
    bot_id: row.botId,
    organization_id: row.organizationId,
    status: row.status,
    ended_reason: row.endedReason,
    method: row.method,
    remember_me: row.rememberMe,
    restricted: row.restricted,
    ip_address: row.ipAddress,
    user_agent: row.userAgent,
    device: row.device,
    location: row.location,
    created_at: row.createdAt.toISOString(),
    started_at: row.createdAt.toISOString(),
    last_activity: row.lastActivity.toISOString(),
    expires_at: row.expiresAt.toISOString(),
    current: row.id === currentId,
  };
}

/** An API key without its secret. */
export function presentKey(row: ApiKeyRow, now: Date) {
  const status = row.revokedAt ? "revoked" : row.expiresAt && row.expiresAt <= now ? "expired" : "active";
  return {
    key_id: row.id,
    user_id: row.userId,
    name: row.name,
    prefix: row.prefix,
    scopes: row.scopes,
    permissions: row.scopes,
    ip_allowlist: row.ipAllowlist,
    expires_at: row.expiresAt?.toISOString() ?? null,
    last_used_at: row.lastUsedAt?.toISOString() ?? null,
    last_used_ip: row.lastUsedIp,
    status: status as "active" | "expired" | "revoked",
    created_at: row.createdAt.toISOString(),
    revoked_at: row.revokedAt?.toISOString() ?? null,
  };
}

export type User = ReturnType<typeof presentUser>;
export type Session = ReturnType<typeof presentSession>;
export type ApiKey = ReturnType<typeof presentKey>;
