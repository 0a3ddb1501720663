// Who acts, and on whose request. Every service verb takes a Context as its first argument; it knows nothing of HTTP.

import { forbidden, unauthorized } from "./errors.ts";
import type { PermissionWord } from "./permissions/catalogue.ts";

/** How the caller proved who they are. */
export type CallerKind = "anonymous" | "session" | "api_key" | "chat" | "system";

export interface Caller {
  readonly kind: CallerKind;
  /** Null for anonymous callers and chat tokens. */
  readonly userId: string | null;
  /** The sign-in session (`session`), else null. */
  readonly sessionId: string | null;
  /** The API key (`api_key`), else null. */
  readonly keyId: string | null;
  /** The one conversation that a chat token reaches (`chat`), else null. */
  readonly conversationId: string | null;
  /** For `system`: the bot whose service identity acts. */
  readonly botId: string | null;
  readonly username: string | null;
  readonly email: string | null;
  readonly organizationId: string | null;
  /** Held roles with inherited ones. */
  readonly roles: ReadonlySet<string>;
  /** Ids of groups, nested ones resolved. */
  readonly groups: ReadonlySet<string>;
  /** Effective permission words; `*` holds all. For an API key already cut to its scopes. */
  readonly permissions: ReadonlySet<string>;
  /** Sessions that must set up their second factor first. */
  readonly restricted: "two_factor_setup" | null;
}

export interface Context {
  readonly caller: Caller;
  readonly requestId: string;
  /** The client's address as far as TRUST_PROXY allows; null for jobs. */
  readonly ip: string | null;
  readonly userAgent: string | null;
  /** HTTP method and route pattern of the request, for the audit log; null elsewhere. */
  readonly method: string | null;
  readonly route: string | null;
}

const NONE: ReadonlySet<string> = new Set();

/** The caller without credentials: talks to the default bot and reads public things. */
export function anonymousCaller(permissions: ReadonlySet<string>): Caller {
  return {
    kind: "anonymous",
    userId: null,
    sessionId: null,
    keyId: null,
    conversationId: null,
    botId: null,
    username: null,
    email: null,
    organizationId: null,
    roles: new Set(["anonymous"]),
    groups: NONE,
    permissions,
    restricted: null,
  };
}

/** The server itself, for jobs and commands; `permissions` as the work needs, `*` for maintenance. */
export function systemContext(permissions: Iterable<string>, requestId: string, botId: string | null = null): Context {
  return {
    caller: { ...anonymousCaller(new Set(permissions)), kind: "system", roles: new Set(["system"]), botId },
    requestId,
    ip: null,
    userAgent: null,
    method: null,
    route: null,
  };
}

/** True if the caller holds `word`, by itself, by its area's wildcard or by `*`. */
export function holds(caller: Caller, word: string): boolean {
  const held = caller.permissions;
  return held.has(word) || held.has("*") || held.has(`${word.slice(0, word.indexOf(":"))}:*`);
}

/** The signed-in user's id; throws `unauthorized` for callers without an account. */
export function requireUser(ctx: Context): string {
  if (ctx.caller.userId === null) throw unauthorized();
  return ctx.caller.userId;
}

/** Throws `forbidden(word)` unless the caller holds the permission (401 if nobody is signed in). */
export function requirePermission(ctx: Context, word: PermissionWord): void {
  if (holds(ctx.caller, word)) return;
  if (ctx.caller.kind === "anonymous") throw unauthorized();
  throw forbidden(word);
}
