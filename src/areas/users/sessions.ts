// Sign-in sessions: made, refreshed with rotation and reuse detection, ended everywhere at once.

import { and, asc, count, desc, eq, inArray, isNull, ne } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import { holds, requireUser, type Context } from "../../core/context.ts";
import { forbidden, notFound, unauthorized } from "../../core/errors.ts";
import type { Seal } from "../../core/seal.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import { isUuid, randomToken, sha256Hex, uuidv7 } from "../../lib/ids/index.ts";
import type { UserAuthenticator } from "./authenticator.ts";
import { deviceLabel } from "./device.ts";
import { refreshTokens, sessions, users, type SessionEnd, type SessionRow, type SignInMethod } from "./model.ts";
import { presentSession, type Session } from "./present.ts";
import type { SecuritySettingsStore } from "./settings.ts";

export interface SessionTokens {
  accessToken: string;
  refreshToken: string;
  /** Life of the access token in seconds. */
  expiresIn: number;
  sessionId: string;
}

export interface SessionsDeps {
  database: DatabaseEngine;
  clock: Clock;
  seal: Seal;
  audit: Audit;
  settings: SecuritySettingsStore;
  authenticator: UserAuthenticator;
  signToken: (claims: { sub: string; sid: string; exp: number }) => Promise<string>;
}

type AfterCommit = (action: () => void | Promise<void>) => void;

/** Makes the verbs over sign-in sessions. */
export function sessionService(deps: SessionsDeps) {
  const { database, clock, settings } = deps;
  const { db } = database;

  const accessToken = async (session: { id: string; userId: string; expiresAt: Date }) => {
    const lifeMs = settings.current().session_policy.access_token_minutes * 60_000;
    const until = Math.min(clock.now() + lifeMs, session.expiresAt.getTime());
    const exp = Math.floor(until / 1000);
    return {
      accessToken: await deps.signToken({ sub: session.userId, sid: session.id, exp }),
      expiresIn: Math.max(0, exp - Math.floor(clock.now() / 1000)),
    };
  };

  const issueRefresh = async (tx: Database, sessionId: string): Promise<string> => {
    const token = randomToken(32);
    await tx.insert(refreshTokens).values({ tokenHash: sha256Hex(token), sessionId, createdAt: clock.date() });
    return token;
  };

  /** Ends sessions inside `tx`; they are refused everywhere as soon as it has committed. Returns the ended ids. */
  const end = async (
    tx: Database,
    afterCommit: AfterCommit,
    ids: readonly string[],
    reason: SessionEnd,
  ): Promise<string[]> => {
    if (ids.length === 0) return [];
    const ended = await tx
      .update(sessions)
      .set({ status: "ended", endedReason: reason, endedAt: clock.date() })
      .where(and(inArray(sessions.id, [...ids]), eq(sessions.status, "active")))
      .returning({ id: sessions.id });
    const endedIds = ended.map(({ id }) => id);
    if (endedIds.length > 0) afterCommit(() => deps.authenticator.sessionsEnded(endedIds));
    return endedIds;
  };

  const activeIds = async (tx: Database, userId: string, exceptId: string | null): Promise<string[]> => {
    const rows = await tx
      .select({ id: sessions.id })
      .from(sessions)
      .where(
        and(
          eq(sessions.userId, userId),
          eq(sessions.status, "active"),
          exceptId === null ? undefined : ne(sessions.id, exceptId),
        ),
      );
    return rows.map(({ id }) => id);
  };

  /** The account's id; 403 unless the caller may do this to its sessions, 404 for what is no id. */
  const visibleUser = (ctx: Context, userId: string, permission: "sessions:read" | "sessions:terminate"): string => {
    const own = requireUser(ctx);
    if (userId === "me" || userId.toLowerCase() === own) return own;
    if (!holds(ctx.caller, permission)) throw forbidden(permission);
    if (!isUuid(userId)) throw notFound("user");
    return userId;
  };

  return {
    end,
    activeIds,

    /** Opens a session inside `tx`; the oldest ones over the limit end with it. */
    open: async (
      tx: Database,
      afterCommit: AfterCommit,
      input: {
        ctx: Context;
        userId: string;
        organizationId: string | null;
        method: SignInMethod;
        rememberMe: boolean;
      },
    ): Promise<SessionRow & { refreshToken: string }> => {
      const policy = settings.current().session_policy;
      const at = clock.date();
      const lifeMs = input.rememberMe ? policy.remember_me_days * 86_400_000 : policy.absolute_hours * 3_600_000;
      // The account's row is the lock: two sign-ins at once must not both count themselves as the last allowed one.
      await tx.select({ id: users.id }).from(users).where(eq(users.id, input.userId)).for("update");
      const [session] = await tx
        .insert(sessions)
        .values({
          id: uuidv7(),
          userId: input.userId,
          organizationId: input.organizationId,
          method: input.method,
          rememberMe: input.rememberMe,
          ipAddress: input.ctx.ip,
          userAgent: input.ctx.userAgent?.slice(0, 512) ?? null,
          device: deviceLabel(input.ctx.userAgent),
          createdAt: at,
          lastActivity: at,
          expiresAt: new Date(at.getTime() + lifeMs),
        })
        .returning();
      if (!session) throw new Error("no session was made");
      const active = await tx
        .select({ id: sessions.id })
        .from(sessions)
        .where(and(eq(sessions.userId, input.userId), eq(sessions.status, "active"), ne(sessions.id, session.id)))
        .orderBy(asc(sessions.lastActivity), asc(sessions.id));
      const surplus = active.slice(0, Math.max(0, active.length + 1 - policy.max_sessions)).map(({ id }) => id);
      await end(tx, afterCommit, surplus, "session_limit");
      return { ...session, refreshToken: await issueRefresh(tx, session.id) };
    },

    /** Tokens of a session that was just opened. */
    tokens: async (session: SessionRow & { refreshToken: string }): Promise<SessionTokens> => ({
      ...(await accessToken(session)),
      refreshToken: session.refreshToken,
      sessionId: session.id,
    }),

    /**
     * A new pair for a refresh token. A second use within the grace gets the same successor (two tabs); after it
     * the whole session ends, because somebody else holds a copy.
     */
    refresh: async (ctx: Context, token: string): Promise<SessionTokens> => {
      const tokenHash = sha256Hex(token);
      const outcome = await database.transaction(async (tx, afterCommit) => {
        const [row] = await tx
          .select({ token: refreshTokens, session: sessions, userStatus: users.status })
          .from(refreshTokens)
          .innerJoin(sessions, eq(sessions.id, refreshTokens.sessionId))
          .innerJoin(users, eq(users.id, sessions.userId))
          .where(eq(refreshTokens.tokenHash, tokenHash))
          .for("update", { of: refreshTokens });
        const at = clock.date();
        if (!row) return { fault: "token_invalid" } as const;
        const { session } = row;
        if (session.status !== "active" || session.expiresAt <= at || row.userStatus !== "active") {
          return { fault: "session_ended" } as const;
        }
        const idleMs = settings.current().session_policy.timeout_minutes * 60_000;
        if (!session.rememberMe && idleMs > 0 && at.getTime() - session.lastActivity.getTime() > idleMs) {
          await end(tx, afterCommit, [session.id], "idle");
          return { fault: "session_ended" } as const;
        }
        const { usedAt, successorSealed } = row.token;
        if (usedAt) {
          const graceMs = settings.current().session_policy.refresh_reuse_grace_seconds * 1000;
          if (successorSealed && at.getTime() - usedAt.getTime() <= graceMs) {
            return { session, refreshToken: deps.seal.open(successorSealed) };
          }
          await end(tx, afterCommit, [session.id], "token_reuse");
          await deps.audit.record(tx, ctx, {
            type: "suspicious_activity",
            result: "denied",
            resource: { type: "session", id: session.id },
            details: { reason: "token_reuse" },
            userId: session.userId,
            sessionId: session.id,
          });
          return { fault: "token_reuse" } as const;
        }
        const successor = await issueRefresh(tx, session.id);
        await tx
          .update(refreshTokens)
          .set({ usedAt: at, successorSealed: deps.seal.seal(successor) })
          .where(and(eq(refreshTokens.tokenHash, tokenHash), isNull(refreshTokens.usedAt)));
        await tx.update(sessions).set({ lastActivity: at }).where(eq(sessions.id, session.id));
        return { session, refreshToken: successor };
      });
      if ("fault" in outcome) throw unauthorized("Sign in again.", outcome.fault);
      return {
        ...(await accessToken(outcome.session)),
        refreshToken: outcome.refreshToken,
        sessionId: outcome.session.id,
      };
    },

    /** Ends the caller's session, or the one of a refresh token; `everywhere` ends all of that account. */
    logout: async (ctx: Context, input: { refreshToken?: string; everywhere?: boolean }): Promise<void> => {
      await database.transaction(async (tx, afterCommit) => {
        let sessionId = ctx.caller.sessionId;
        let { userId } = ctx.caller;
        if (input.refreshToken !== undefined) {
          const [row] = await tx
            .select({ id: sessions.id, userId: sessions.userId })
            .from(refreshTokens)
            .innerJoin(sessions, eq(sessions.id, refreshTokens.sessionId))
            .where(eq(refreshTokens.tokenHash, sha256Hex(input.refreshToken)));
          if (row && (userId === null || row.userId === userId)) ({ id: sessionId, userId } = row);
        }
        if (sessionId === null || userId === null) {
          if (input.refreshToken === undefined) throw unauthorized();
          return; // an unknown token: there is nothing left to end
        }
        const ids = input.everywhere ? await activeIds(tx, userId, null) : [sessionId];
        const ended = await end(tx, afterCommit, ids, "logout");
        if (ended.length > 0) {
          await deps.audit.record(tx, ctx, { type: "logout", userId, sessionId, details: { ended: ended.length } });
        }
      });
    },

    /** Sessions of an account, newest first. */
    list: async (
      ctx: Context,
      input: { userId: string; status: "active" | "ended"; limit: number; offset: number },
    ) => {
      const userId = visibleUser(ctx, input.userId, "sessions:read");
      const where = and(eq(sessions.userId, userId), eq(sessions.status, input.status));
      const rows = await db
        .select()
        .from(sessions)
        .where(where)
        .orderBy(desc(sessions.lastActivity), desc(sessions.id))
        .limit(input.limit)
        .offset(input.offset);
      const [all] = await db.select({ total: count() }).from(sessions).where(where);
      return {
        sessions: rows.map((row): Session => presentSession(row, ctx.caller.sessionId)),
        total: all?.total ?? 0,
        limit: input.limit,
        offset: input.offset,
      };
    },

    /** Ends one session of an account. */
    terminate: async (ctx: Context, input: { userId: string; sessionId: string }) => {
      const userId = visibleUser(ctx, input.userId, "sessions:terminate");
      if (!isUuid(input.sessionId)) throw notFound("session");
      await database.transaction(async (tx, afterCommit) => {
        const [row] = await tx
          .select({ id: sessions.id })
          .from(sessions)
          .where(and(eq(sessions.id, input.sessionId), eq(sessions.userId, userId)));
        if (!row) throw notFound("session");
        const ended = await end(tx, afterCommit, [row.id], "terminated");
        if (ended.length === 0) return;
        await deps.audit.record(tx, ctx, { type: "session_terminated", resource: { type: "session", id: row.id } });
      });
      return { session_id: input.sessionId, status: "terminated" as const };
    },

    /** Ends all sessions of an account, the caller's own too unless `keepCurrent`. */
    terminateAll: async (ctx: Context, input: { userId: string; keepCurrent: boolean }) => {
      const userId = visibleUser(ctx, input.userId, "sessions:terminate");
      const ended = await database.transaction(async (tx, afterCommit) => {
        const ids = await activeIds(tx, userId, input.keepCurrent ? ctx.caller.sessionId : null);
        const done = await end(tx, afterCommit, ids, "terminated");
        for (const id of done) {
          await deps.audit.record(tx, ctx, { type: "session_terminated", resource: { type: "session", id } });
        }
        return done;
      });
      return { terminated_count: ended.length, status: "all_sessions_terminated" as const };
    },

    /** The caller's own sign-in session; 404 for callers without one (API keys). */
    current: async (ctx: Context): Promise<Session> => {
      const [row] = ctx.caller.sessionId
        ? await db.select().from(sessions).where(eq(sessions.id, ctx.caller.sessionId))
        : [];
      if (!row) throw notFound("session");
      return presentSession(row, ctx.caller.sessionId);
    },

    /** The bot that a session last chose. */
    botOf: async (sessionId: string): Promise<string | null> => {
      const [row] = await db.select({ botId: sessions.botId }).from(sessions).where(eq(sessions.id, sessionId));
      return row?.botId ?? null;
    },

    /** Notes the bot that a session last chose. */
    chooseBot: async (ctx: Context, botId: string): Promise<Session> => {
      const [row] = ctx.caller.sessionId
        ? await db.update(sessions).set({ botId }).where(eq(sessions.id, ctx.caller.sessionId)).returning()
        : [];
      if (!row) throw notFound("session");
      return presentSession(row, ctx.caller.sessionId);
    },

    /** Ends one of the caller's own sessions; false if it is none of theirs. */
    endOwn: async (ctx: Context, sessionId: string): Promise<boolean> => {
      const userId = requireUser(ctx);
      if (!isUuid(sessionId)) return false;
      return database.transaction(async (tx, afterCommit) => {
        const [row] = await tx
          .select({ id: sessions.id })
          .from(sessions)
          .where(and(eq(sessions.id, sessionId), eq(sessions.userId, userId)));
        if (!row) return false;
        if ((await end(tx, afterCommit, [row.id], "terminated")).length > 0) {
          await deps.audit.record(tx, ctx, { type: "session_terminated", resource: { type: "session", id: row.id } });
        }
        return true;
      });
    },

    /** Those of these sessions that have ended by now, by idleness and expiry too. */
    endedOf: async (ids: readonly string[]): Promise<string[]> => {
      if (ids.length === 0) return [];
      const now = clock.now();
      const idleMs = settings.current().session_policy.timeout_minutes * 60_000;
      const rows = await db
        .select()
        .from(sessions)
        .where(inArray(sessions.id, [...ids]));
      const alive = rows.filter((row) => {
        // Activity is written once a minute: what the row says may be that old.
        const isIdle = idleMs > 0 && !row.rememberMe && now - row.lastActivity.getTime() > idleMs + 60_000;
        return row.status === "active" && row.expiresAt.getTime() > now && !isIdle;
      });
      const living = new Set(alive.map(({ id }) => id));
      return ids.filter((id) => !living.has(id));
    },

    /** Marks what has expired; what is refused already by the clock gets its row right. */
    sweep: async (): Promise<number> => {
      const rows = await database.query<{ id: string }>(
        `UPDATE sessions SET status = 'ended', ended_reason = 'expired', ended_at = $1::timestamptz
         WHERE status = 'active' AND expires_at <= $1::timestamptz RETURNING id`,
        [clock.date().toISOString()],
      );
      return rows.length;
    },
  };
}

export type Sessions = ReturnType<typeof sessionService>;
