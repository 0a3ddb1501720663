// Who is behind a credential, without a query on the hot path: sessions and keys are kept in memory for a few
// seconds, dropped at once when the bus says that they ended or that somebody's rights changed.

import { and, eq, gt, or } from "drizzle-orm";
import type { Authenticator, Client } from "../../core/authentication.ts";
import type { Clock } from "../../core/clock.ts";
import { anonymousCaller, type Caller } from "../../core/context.ts";
import { forbidden, isAppError, unauthorized } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Permissions } from "../../core/permissions/index.ts";
import { covers, expandPermissions } from "../../core/permissions/words.ts";
import type { Cache, MaybePromise } from "../../engines/cache/index.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import { isInside } from "../../lib/guard/address.ts";
import { sha256Hex } from "../../lib/ids/index.ts";
import { apiKeys, sessions, users, type SessionRow } from "./model.ts";
import type { SecuritySettingsStore } from "./settings.ts";

/** Channel on which ended sessions travel: `{"session_ids": []}` or `{"user_id"}`. */
export const SESSION_ENDED = "session.ended";
/** Channel on which changed rights travel: `{"user_id"}` or `{"all": true}`. */
export const AUTHZ_CHANGED = "authz";

/** How long a loaded session or key is taken as it is; a lost message is made good after this. */
const FRESH_MS = 5_000;
/** The same while other instances may not be heard: with the time that a load takes it stays below 5 s. */
const FRESH_ALONE_MS = 2_000;
const ACTIVITY_WRITE_MS = 60_000;
const REMEMBERED_MAX = 50_000;
const ENTRIES_MAX = 20_000;

interface AccessClaims {
  sub: string;
  sid?: string;
  key?: string;
  exp: number;
}

interface Verified {
  /** `sid:` or `key:` and the id. */
  entryKey: string;
  subject: string;
  /** Milliseconds since the epoch; API keys carry their own end in the entry. */
  expiresAt: number;
  isAdmin: boolean;
}

interface Entry {
  caller: Caller;
  loadedAt: number;
  /** The session's or key's end, or the first end of an expiring role, whichever comes first. */
  endsAt: number;
  idleMs: number | null;
  lastActivity: number;
  activityWritten: number;
  allowlist: readonly string[];
}

export interface AuthenticatorDeps {
  database: DatabaseEngine;
  cache: Cache;
  clock: Clock;
  log: Log;
  permissions: Permissions;
  settings: SecuritySettingsStore;
  verifyToken: (token: string) => Promise<AccessClaims | null>;
}

/** A proof that was checked earlier: of a socket, of a turn that outlives its request. */
export type CallerProof =
  | { kind: "session"; userId: string; sessionId: string }
  | { kind: "api_key"; userId: string; keyId: string }
  /** The person with all their rights, whatever they signed in with. */
  | { kind: "user"; userId: string };

export interface UserAuthenticator extends Authenticator {
  /**
   * The caller behind a proof with the rights held now; null when session or key has ended or the account is not
   * active. Counts as activity. Synchronous while it is fresh in memory.
   */
  callerOf(proof: CallerProof): MaybePromise<Caller | null>;
  /** Hands over chat tokens (`cs_…`) to the area that knows them. */
  useChatTokens(resolve: (token: string) => Promise<Caller | null>): void;
  /** Forgets what is kept of these, here and on every instance. */
  sessionsEnded(sessionIds: readonly string[]): Promise<void>;
  /** Of one account, or of `all`. */
  rightsChanged(userId: string): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Makes the authenticator; `start` subscribes to the bus. */
export function openAuthenticator(deps: AuthenticatorDeps): UserAuthenticator {
  const { database, clock } = deps;
  const { db } = database;
  const verified = new Map<string, Verified>();
  const entries = new Map<string, Entry>();
  const loading = new Map<string, Promise<Entry>>();
  // Raised by every message; a load that began before it serves those who asked before it and is not kept, so that
  // no answer from before the change stays.
  let epoch = 0;
  let anonymous = anonymousCaller(deps.permissions.anonymous());
  let chatTokens: (token: string) => Promise<Caller | null> = () => Promise.resolve(null);
  const unsubscribe: (() => Promise<void>)[] = [];

  const remember = (credential: string, value: Verified) => {
    if (verified.size >= REMEMBERED_MAX) {
      const [oldest] = verified.keys();
      if (oldest !== undefined) verified.delete(oldest);
    }
    verified.set(credential, value);
  };

  const forget = (matches: (entry: Entry) => boolean) => {
    epoch += 1;
    // What is being read may be from before the change: whoever asks from now on reads anew.
    loading.clear();
    for (const [key, entry] of entries) if (matches(entry)) entries.delete(key);
  };

  const callerOf = async (
    base: Pick<Caller, "kind" | "sessionId" | "keyId" | "restricted">,
    user: { id: string; username: string; email: string; organizationId: string | null },
    scopes: readonly string[] | null,
  ): Promise<{ caller: Caller; validUntil: number | null }> => {
    const grants = await deps.permissions.of(user.id);
    // A key acts within its scopes and what its owner holds at this moment.
    const permissions =
      scopes === null
        ? grants.permissions
        : new Set(expandPermissions(new Set(scopes)).filter((word) => covers(grants.permissions, word)));
    return {
      validUntil: grants.validUntil,
      caller: {
        ...base,
        userId: user.id,
        conversationId: null,
        botId: null,
        username: user.username,
        email: user.email,
        organizationId: user.organizationId,
        roles: grants.roles,
        groups: grants.groups,
        permissions,
      },
    };
  };

  const userColumns = {
    id: users.id,
    username: users.username,
    email: users.email,
    organizationId: users.organizationId,
    status: users.status,
  };

  const loadSession = async (sessionId: string): Promise<Entry> => {
    const [row] = await db
      .select({ session: sessions, user: userColumns })
      .from(sessions)
      .innerJoin(users, eq(users.id, sessions.userId))
      .where(eq(sessions.id, sessionId));
    if (!row || row.session.status !== "active" || row.user.status !== "active") {
      throw unauthorized("This session has ended; sign in again.", "session_ended");
    }
    const { session } = row;
    const { caller, validUntil } = await callerOf(
      { kind: "session", sessionId, keyId: null, restricted: session.restricted },
      row.user,
      null,
    );
    return {
      caller,
      loadedAt: clock.now(),
      endsAt: Math.min(session.expiresAt.getTime(), validUntil ?? Number.POSITIVE_INFINITY),
      idleMs: idleLimit(session),
      lastActivity: Math.max(session.lastActivity.getTime(), entries.get(`sid:${sessionId}`)?.lastActivity ?? 0),
      activityWritten: session.lastActivity.getTime(),
      allowlist: [],
    };
  };

  const idleLimit = (session: SessionRow): number | null => {
    const minutes = deps.settings.current().session_policy.timeout_minutes;
    return session.rememberMe || minutes === 0 ? null : minutes * 60_000;
  };

  const keyEntry = async (where: { id: string } | { secretHash: string }): Promise<Entry> => {
    const at = clock.date();
    const [row] = await db
      .select({ key: apiKeys, user: userColumns })
      .from(apiKeys)
      .innerJoin(users, eq(users.id, apiKeys.userId))
      .where(
        "id" in where
          ? eq(apiKeys.id, where.id)
          : or(
              eq(apiKeys.secretHash, where.secretHash),
              and(eq(apiKeys.previousHash, where.secretHash), gt(apiKeys.previousUntil, at)),
            ),
      );
    const isOver = row?.key.revokedAt || (row?.key.expiresAt && row.key.expiresAt <= at);
    if (!row || isOver || row.user.status !== "active") {
      throw unauthorized("This API key is not valid.", isOver ? "key_ended" : undefined);
    }
    const { key } = row;
    const isPrevious = "secretHash" in where && key.secretHash !== where.secretHash;
    const { caller, validUntil } = await callerOf(
      { kind: "api_key", sessionId: null, keyId: key.id, restricted: null },
      row.user,
      key.scopes,
    );
    return {
      caller,
      loadedAt: clock.now(),
      endsAt: Math.min(
        key.expiresAt?.getTime() ?? Number.POSITIVE_INFINITY,
        (isPrevious ? key.previousUntil?.getTime() : undefined) ?? Number.POSITIVE_INFINITY,
        validUntil ?? Number.POSITIVE_INFINITY,
      ),
      idleMs: null,
      lastActivity: clock.now(),
      activityWritten: key.lastUsedAt?.getTime() ?? 0,
      allowlist: key.ipAllowlist,
    };
  };

  const keep = (entryKey: string, entry: Entry) => {
    if (entries.size >= ENTRIES_MAX) {
      const stale = clock.now() - freshMs();
      for (const [key, { loadedAt }] of entries) if (loadedAt < stale) entries.delete(key);
    }
    entries.set(entryKey, entry);
  };

  /** One load at a time per key, however many requests ask. */
  const load = (entryKey: string, read: () => Promise<Entry>): Promise<Entry> => {
    const running = loading.get(entryKey);
    if (running) return running;
    const began = epoch;
    const promise = read()
      .then((entry) => {
        if (began === epoch) keep(entryKey, entry);
        return entry;
      })
      .catch((error: unknown) => {
        if (began === epoch) entries.delete(entryKey);
        throw error;
      })
      .finally(() => {
        if (loading.get(entryKey) === promise) loading.delete(entryKey);
      });
    loading.set(entryKey, promise);
    return promise;
  };

  /** The caller of a fresh entry, its activity noted. Throws when it has expired or was idle too long. */
  const use = (entry: Entry, client: Client, now: number): Caller => {
    if (entry.idleMs !== null && now - entry.lastActivity > entry.idleMs) {
      throw unauthorized("This session was idle for too long; sign in again.", "session_ended");
    }
    if (entry.allowlist.length > 0 && !entry.allowlist.some((block) => isInside(client.ip, block))) {
      throw forbidden(null, "ip_not_allowed");
    }
    return touch(entry, client, now);
  };

  /** Notes activity, in the database at most once a minute. */
  const touch = (entry: Entry, client: Client | null, now: number): Caller => {
    entry.lastActivity = now;
    if (now - entry.activityWritten > ACTIVITY_WRITE_MS) {
      entry.activityWritten = now;
      noteActivity(entry.caller, client, new Date(now)).catch((cause: unknown) => {
        deps.log.warn("activity of a session was not written", { cause });
      });
    }
    return entry.caller;
  };

  const noteActivity = async (caller: Caller, client: Client | null, at: Date): Promise<void> => {
    if (caller.sessionId) await db.update(sessions).set({ lastActivity: at }).where(eq(sessions.id, caller.sessionId));
    if (caller.keyId) {
      await db
        .update(apiKeys)
        .set({ lastUsedAt: at, ...(client ? { lastUsedIp: client.ip } : {}) })
        .where(eq(apiKeys.id, caller.keyId));
    }
  };

  const freshMs = () => (deps.cache.isUp() ? FRESH_MS : FRESH_ALONE_MS);

  const isFresh = (entry: Entry | undefined, now: number): entry is Entry =>
    entry !== undefined && now - entry.loadedAt < freshMs() && now < entry.endsAt;

  const resolve = async (credential: string, client: Client): Promise<Caller> => {
    if (credential.startsWith("cs_")) {
      const caller = await chatTokens(credential);
      if (!caller) throw unauthorized("This chat token is not valid.");
      return caller;
    }
    if (credential.startsWith("sk_")) {
      const secretHash = sha256Hex(credential);
      const entryKey = `key:${secretHash}`;
      const entry = await load(entryKey, () => keyEntry({ secretHash }));
      const { userId } = entry.caller;
      if (userId === null) throw unauthorized();
      const caller = use(entry, client, clock.now());
      remember(credential, { entryKey, subject: userId, expiresAt: Number.POSITIVE_INFINITY, isAdmin: isAdmin(entry) });
      return caller;
    }
    const claims = credential === "" ? null : await deps.verifyToken(credential);
    if (!claims) throw unauthorized("This token is not valid.", "token_invalid");
    const { sid, key } = claims;
    const entryKey = sid ? `sid:${sid}` : `key:${key}`;
    const entry = await load(entryKey, () => (sid ? loadSession(sid) : keyEntry({ id: key ?? "" })));
    if (entry.caller.userId !== claims.sub) throw unauthorized("This token is not valid.", "token_invalid");
    const now = clock.now();
    if (now >= entry.endsAt && sid) throw unauthorized("This session has ended; sign in again.", "session_ended");
    const caller = use(entry, client, now);
    remember(credential, { entryKey, subject: claims.sub, expiresAt: claims.exp * 1000, isAdmin: isAdmin(entry) });
    return caller;
  };

  const loadUser = async (userId: string): Promise<Entry> => {
    const [user] = await db.select(userColumns).from(users).where(eq(users.id, userId));
    if (user?.status !== "active") throw unauthorized();
    const { caller, validUntil } = await callerOf(
      { kind: "session", sessionId: null, keyId: null, restricted: null },
      user,
      null,
    );
    const now = clock.now();
    return {
      caller,
      loadedAt: now,
      endsAt: validUntil ?? Number.POSITIVE_INFINITY,
      idleMs: null,
      lastActivity: now,
      activityWritten: now,
      allowlist: [],
    };
  };

  const proven = (proof: CallerProof): { entryKey: string; read: () => Promise<Entry> } => {
    if (proof.kind === "session") {
      return { entryKey: `sid:${proof.sessionId}`, read: () => loadSession(proof.sessionId) };
    }
    if (proof.kind === "api_key") return { entryKey: `key:${proof.keyId}`, read: () => keyEntry({ id: proof.keyId }) };
    return { entryKey: `user:${proof.userId}`, read: () => loadUser(proof.userId) };
  };

  /** As `use`, for callers who have no request of their own at hand; null instead of a refusal. */
  const useProven = (entry: Entry, proof: CallerProof, now: number): Caller | null => {
    if (entry.caller.userId !== proof.userId || now >= entry.endsAt) return null;
    if (entry.idleMs !== null && now - entry.lastActivity > entry.idleMs) return null;
    return touch(entry, null, now);
  };

  const isAdmin = (entry: Entry) => entry.caller.permissions.has("*");

  return {
    remembered: (credential) => verified.get(credential) ?? null,
    anonymous: () => anonymous,
    authenticate: (credential, client) => {
      const known = verified.get(credential);
      if (known) {
        const now = clock.now();
        const entry = entries.get(known.entryKey);
        if (now < known.expiresAt && isFresh(entry, now)) return use(entry, client, now);
      }
      return resolve(credential, client).catch((error: unknown) => {
        // What is no longer accepted counts against its address again, not against whose it was.
        verified.delete(credential);
        throw error;
      });
    },
    callerOf: (proof) => {
      const now = clock.now();
      const { entryKey, read } = proven(proof);
      const entry = entries.get(entryKey);
      if (isFresh(entry, now)) return useProven(entry, proof, now);
      return load(entryKey, read).then(
        (loaded) => useProven(loaded, proof, clock.now()),
        (error: unknown) => {
          if (isAppError(error) && error.code === "UNAUTHORIZED") return null;
          throw error;
        },
      );
    },
    useChatTokens: (resolver) => {
      chatTokens = resolver;
    },
    sessionsEnded: async (sessionIds) => {
      const ids = new Set(sessionIds);
      forget((entry) => entry.caller.sessionId !== null && ids.has(entry.caller.sessionId));
      await deps.cache.publish(SESSION_ENDED, JSON.stringify({ session_ids: sessionIds }));
    },
    rightsChanged: async (userId) => {
      forget((entry) => userId === "all" || entry.caller.userId === userId);
      await deps.cache.publish(AUTHZ_CHANGED, JSON.stringify(userId === "all" ? { all: true } : { user_id: userId }));
    },
    start: async () => {
      anonymous = anonymousCaller(deps.permissions.anonymous());
      unsubscribe.push(
        await deps.cache.subscribe(SESSION_ENDED, (text) => {
          const message = JSON.parse(text) as { session_ids?: string[]; user_id?: string };
          const ids = new Set(message.session_ids);
          forget(
            ({ caller }) =>
              (caller.sessionId !== null && ids.has(caller.sessionId)) ||
              (message.user_id !== undefined && caller.userId === message.user_id),
          );
        }),
        await deps.cache.subscribe(AUTHZ_CHANGED, (text) => {
          const message = JSON.parse(text) as { user_id?: string; all?: boolean };
          forget(({ caller }) => message.all === true || caller.userId === message.user_id);
        }),
      );
      // What was said while nobody heard is in the database.
      const end = deps.cache.onStatus(() => forget(() => true));
      unsubscribe.push(() => Promise.resolve(end()));
    },
    stop: async () => {
      await Promise.all(unsubscribe.splice(0).map((end) => end()));
    },
  };
}
