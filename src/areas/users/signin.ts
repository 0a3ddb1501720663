// Signing in with a password, registering, and the first administrator.

import { eq, sql } from "drizzle-orm";
import type { Audit } from "../../core/audit/index.ts";
import type { Clock } from "../../core/clock.ts";
import type { Context } from "../../core/context.ts";
import { AppError, conflict, forbidden, invalid, locked, unauthorized, type FieldFault } from "../../core/errors.ts";
import type { Events } from "../../core/events/index.ts";
import type { Permissions } from "../../core/permissions/index.ts";
import { groups } from "../../core/permissions/model.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import { randomToken, sha256Hex, uuidv7 } from "../../lib/ids/index.ts";
import { oneTimeTokens, passwordHistory, signInFailures, users, type UserRow } from "./model.ts";
import type { Passwords } from "./passwords.ts";
import type { Sessions, SessionTokens } from "./sessions.ts";
import type { SecuritySettingsStore } from "./settings.ts";
import type { UserAuthenticator } from "./authenticator.ts";

export interface NewAccount {
  email: string;
  username?: string | undefined;
  displayName?: string | undefined;
  firstName?: string | undefined;
  lastName?: string | undefined;
  password: string;
}

export interface SignInDeps {
  database: DatabaseEngine;
  clock: Clock;
  audit: Audit;
  events: Events;
  permissions: Permissions;
  passwords: Passwords;
  settings: SecuritySettingsStore;
  sessions: Sessions;
  authenticator: UserAuthenticator;
  registration: () => "open" | "closed" | "invite";
  bootstrapSecret: string | null;
}

const RESERVED_NAMES = new Set(["me", "system", "anonymous", "root"]);
const USERNAME = /^[a-z0-9._-]{3,64}$/;
const SETUP_LIFE_MS = 24 * 3_600_000;
const WRONG = "The name or the password is wrong.";

/** One form per address: case does not tell people apart. */
export function foldName(name: string): string {
  return name.trim().normalize("NFKC").toLowerCase();
}

/** Makes the verbs of signing in and of making accounts. */
export function signInService(deps: SignInDeps) {
  const { database, clock, passwords, settings } = deps;
  const { db } = database;

  const byName = async (tx: Database, name: string): Promise<UserRow | undefined> => {
    const key = foldName(name);
    const column = key.includes("@") ? users.emailKey : users.usernameKey;
    const [row] = await tx.select().from(users).where(eq(column, key));
    return row;
  };

  /** Counts a failure; returns when the name is locked until, if this one locked it. */
  const countFailure = async (tx: Database, nameKey: string): Promise<Date | null> => {
    const {
      max_attempts: max,
      lockout_duration_minutes: minutes,
      reset_window_minutes: window,
    } = settings.current().lockout_policy;
    const at = clock.date();
    const windowStart = new Date(at.getTime() - window * 60_000);
    const until = new Date(at.getTime() + minutes * 60_000);
    const isOver = sql`${signInFailures.windowStartedAt} < ${windowStart} OR ${signInFailures.lockedUntil} IS NOT NULL`;
    const rows = await tx
      .insert(signInFailures)
      .values({ nameKey, count: 1, windowStartedAt: at })
      .onConflictDoUpdate({
        target: signInFailures.nameKey,
        set: {
          count: sql`CASE WHEN ${isOver} THEN 1 ELSE ${signInFailures.count} + 1 END`,
          windowStartedAt: sql`CASE WHEN ${isOver} THEN ${at} ELSE ${signInFailures.windowStartedAt} END`,
          lockedUntil: null,
        },
      })
      .returning({ count: signInFailures.count });
    if ((rows[0]?.count ?? 0) < max) return null;
    await tx.update(signInFailures).set({ lockedUntil: until }).where(eq(signInFailures.nameKey, nameKey));
    return until;
  };

  const lockOf = async (nameKey: string): Promise<Date | null> => {
    const [row] = await db.select().from(signInFailures).where(eq(signInFailures.nameKey, nameKey));
    return row?.lockedUntil && row.lockedUntil > clock.date() ? row.lockedUntil : null;
  };

  /** A user name for an address: its local part, numbered if it is taken. */
  const freeUsername = async (tx: Database, email: string): Promise<string> => {
    const local = foldName(email.split("@", 1)[0] ?? "")
      .replace(/[^a-z0-9._-]/g, "-")
      .slice(0, 56);
    const base = local.length < 3 || RESERVED_NAMES.has(local) ? `user-${local}` : local;
    const taken = await tx
      .select({ key: users.usernameKey })
      .from(users)
      .where(sql`${users.usernameKey} LIKE ${`${base.replace(/[\\%_]/g, "\\$&")}%`}`);
    const names = new Set(taken.map(({ key }) => key));
    if (!names.has(base)) return base;
    let number = 2;
    while (names.has(`${base}${number}`)) number += 1;
    return `${base}${number}`;
  };

  /** All faults of a new account's input, the password's policy included. */
  const accountFaults = async (input: NewAccount): Promise<FieldFault[]> => {
    const faults: FieldFault[] = [];
    if (!/^[^\s@]+@[^\s@]+$/.test(input.email) || input.email.length > 254) {
      faults.push({ path: "email", message: "is not an e-mail address" });
    }
    if (input.username !== undefined) {
      const key = foldName(input.username);
      if (!USERNAME.test(key)) faults.push({ path: "username", message: "must be 3–64 of a-z 0-9 . _ -" });
      else if (RESERVED_NAMES.has(key)) faults.push({ path: "username", message: "is reserved" });
    }
    return faults;
  };

  const checkPassword = async (password: string, identity: readonly string[], path = "password"): Promise<void> => {
    const unmet = await passwords.unmet(password, settings.current().password_policy, identity);
    if (unmet.length === 0) return;
    throw new AppError("VALIDATION_ERROR", "The password does not meet the policy.", {
      reason: "password_policy",
      unmet,
      fields: unmet.map((rule) => ({ path, message: rule, expected: rule })),
    });
  };

  /** Inserts the account; 409 with `details.field` for a name or address that is taken. */
  const insertAccount = async (
    tx: Database,
    input: NewAccount & {
      passwordHash: string;
      status: UserRow["status"];
      emailVerified: boolean;
      organizationId: string | null;
    },
  ): Promise<UserRow> => {
    const at = clock.date();
    const username = input.username === undefined ? await freeUsername(tx, input.email) : foldName(input.username);
    const names = [input.firstName, input.lastName].filter(Boolean).join(" ");
    const taken = await tx
      .select({ usernameKey: users.usernameKey, emailKey: users.emailKey })
      .from(users)
      .where(sql`${users.usernameKey} = ${username} OR ${users.emailKey} = ${foldName(input.email)}`);
    for (const row of taken) {
      const field = row.emailKey === foldName(input.email) ? "email" : "username";
      throw conflict("taken", `This ${field} is taken.`, { field });
    }
    const [row] = await tx
      .insert(users)
      .values({
        id: uuidv7(),
        username,
        usernameKey: username,
        email: input.email.trim(),
        emailKey: foldName(input.email),
        emailVerified: input.emailVerified,
        displayName: input.displayName ?? (names || username),
        firstName: input.firstName ?? null,
        lastName: input.lastName ?? null,
        organizationId: input.organizationId,
        status: input.status,
        passwordHash: input.passwordHash,
        passwordChangedAt: at,
        createdAt: at,
        updatedAt: at,
      })
      .onConflictDoNothing()
      .returning();
    if (!row) throw conflict("taken", "This name or address is taken.", { field: "email" });
    await tx
      .insert(passwordHistory)
      .values({ id: uuidv7(), userId: row.id, passwordHash: input.passwordHash, createdAt: at });
    return row;
  };

  /** Makes an administrator inside `tx`, with the organization when there is none. */
  const insertAdmin = async (
    tx: Database,
    ctx: Context,
    input: NewAccount & { passwordHash: string; organizationName: string },
  ) => {
    const at = clock.date();
    const name = input.organizationName;
    const [existing] = await tx.select({ id: groups.id }).from(groups).where(eq(groups.type, "organization")).limit(1);
    const organizationId = existing?.id ?? uuidv7();
    if (!existing) {
      await tx.insert(groups).values({
        id: organizationId,
        name,
        nameKey: foldName(name),
        type: "organization",
        slug:
          foldName(name)
            .replace(/[^a-z0-9]+/g, "-")
            .replace(/^-|-$/g, "") || "default",
        organization: {},
        createdAt: at,
        updatedAt: at,
      });
    }
    const user = await insertAccount(tx, { ...input, status: "active", emailVerified: true, organizationId });
    await deps.permissions.give(tx, user.id, "user", null);
    await deps.permissions.give(tx, user.id, "admin", null);
    await deps.audit.record(tx, ctx, {
      type: "admin_bootstrapped",
      resource: { type: "user", id: user.id, label: user.username },
      userId: user.id,
    });
    return { user, organizationId };
  };

  /** The one lock under which the last and the first administrator are decided. */
  const lockAdmins = async (tx: Database): Promise<void> => {
    await tx.execute(sql`SELECT pg_advisory_xact_lock(8260911)`);
  };

  return {
    /** Order: lock → password → account status → session (contract auth-and-users.md, "Order of a sign-in"). */
    login: async (
      ctx: Context,
      input: { name: string; password: string; rememberMe: boolean },
    ): Promise<SessionTokens & { user: UserRow }> => {
      const nameKey = foldName(input.name).slice(0, 254);
      const lockedUntil = await lockOf(nameKey);
      if (lockedUntil) throw locked(lockedUntil);
      const user = await byName(db, input.name);
      const isKnown = user !== undefined && user.status !== "deleted";
      const isRight = await passwords.verify(isKnown ? user.passwordHash : null, input.password);
      if (!isKnown || !isRight) {
        await database.transaction(async (tx) => {
          const until = await countFailure(tx, nameKey);
          const details = { reason: isKnown ? "wrong_password" : "unknown_name" };
          await deps.audit.record(tx, ctx, {
            type: "login_failed",
            result: "failure",
            identifier: input.name.slice(0, 254),
            details,
            ...(isKnown ? { userId: user.id } : {}),
          });
          if (until) {
            await deps.audit.record(tx, ctx, {
              type: "account_locked",
              result: "failure",
              identifier: input.name.slice(0, 254),
              ...(isKnown ? { userId: user.id } : {}),
            });
          }
        });
        throw unauthorized(WRONG, "invalid_credentials");
      }
      const refusal = {
        pending_verification: "email_not_verified",
        pending_activation: "activation_pending",
        suspended: "account_suspended",
        inactive: "account_inactive",
        deleted: "account_inactive",
        active: null,
      }[user.status];
      if (refusal) throw forbidden(null, refusal);
      const rehash =
        user.passwordHash && passwords.isOutdated(user.passwordHash) ? await passwords.hash(input.password) : null;
      const session = await database.transaction(async (tx, afterCommit) => {
        const opened = await deps.sessions.open(tx, afterCommit, {
          ctx,
          userId: user.id,
          organizationId: user.organizationId,
          method: "password",
          rememberMe: input.rememberMe,
        });
        // Suspended between the check above and here: the row is locked by `open`, so this reading is the last word.
        const [current] = await tx.select({ status: users.status }).from(users).where(eq(users.id, user.id));
        if (current?.status !== "active") throw unauthorized(WRONG, "invalid_credentials");
        await tx.delete(signInFailures).where(eq(signInFailures.nameKey, nameKey));
        await tx
          .update(users)
          .set({ lastLogin: clock.date(), ...(rehash ? { passwordHash: rehash } : {}) })
          .where(eq(users.id, user.id));
        await deps.audit.record(tx, ctx, {
          type: "login_success",
          userId: user.id,
          sessionId: opened.id,
          details: { method: "password" },
        });
        await deps.events.record(tx, ctx, {
          type: "user.login",
          subject: { area: "users", id: user.id },
          ownerId: user.id,
          data: { user_id: user.id, username: user.username, status: user.status },
        });
        return opened;
      });
      return { ...(await deps.sessions.tokens(session)), user };
    },

    /** Self-registration, as REGISTRATION says. */
    register: async (ctx: Context, input: NewAccount): Promise<{ user_id: string; status: UserRow["status"] }> => {
      const mode = deps.registration();
      if (mode === "closed") throw forbidden(null, "registration_closed");
      if (mode === "invite") throw forbidden(null, "invitation_required");
      const {
        allowed_email_domains: domains,
        require_verification: mustVerify,
        default_role: role,
      } = settings.current().registration;
      const faults = await accountFaults(input);
      if (faults.length > 0) throw invalid(faults);
      const domain = foldName(input.email.slice(input.email.lastIndexOf("@") + 1));
      if (domains.length > 0 && !domains.includes(domain)) throw forbidden(null, "domain_not_allowed");
      await checkPassword(input.password, [input.username ?? "", input.email.split("@", 1)[0] ?? ""]);
      const passwordHash = await passwords.hash(input.password);
      const user = await database.transaction(async (tx) => {
        const made = await insertAccount(tx, {
          ...input,
          passwordHash,
          status: mustVerify ? "pending_verification" : "active",
          emailVerified: false,
          organizationId: null,
        });
        await deps.permissions.give(tx, made.id, role, null);
        await deps.audit.record(tx, ctx, {
          type: "user_created",
          resource: { type: "user", id: made.id, label: made.username },
          userId: made.id,
          details: { by: "registration" },
        });
        await deps.events.record(tx, ctx, {
          type: "user.created",
          subject: { area: "users", id: made.id },
          ownerId: made.id,
          data: { user_id: made.id, username: made.username, status: made.status },
        });
        return made;
      });
      return { user_id: user.id, status: user.status };
    },

    /** True while no active account is an administrator. */
    bootstrapRequired: async (): Promise<boolean> => (await deps.permissions.countAdmins(db)) === 0,

    /** A fresh one-time setup token; earlier ones die. For the terminal only. Null when an administrator exists. */
    setupToken: async (): Promise<string | null> => {
      if ((await deps.permissions.countAdmins(db)) > 0) return null;
      const token = randomToken(32);
      const at = clock.date();
      await database.transaction(async (tx) => {
        await tx.delete(oneTimeTokens).where(eq(oneTimeTokens.purpose, "setup"));
        await tx.insert(oneTimeTokens).values({
          tokenHash: sha256Hex(token),
          purpose: "setup",
          createdAt: at,
          expiresAt: new Date(at.getTime() + SETUP_LIFE_MS),
        });
      });
      return token;
    },

    /** Makes the first administrator; of two racing calls one gets 409 `admin_exists`. */
    bootstrap: async (ctx: Context, secret: string, input: NewAccount & { organizationName: string }) => {
      const faults = await accountFaults(input);
      if (faults.length > 0) throw invalid(faults);
      const isSecret = deps.bootstrapSecret !== null && sha256Hex(secret) === sha256Hex(deps.bootstrapSecret);
      const [token] = isSecret
        ? []
        : await db
            .select()
            .from(oneTimeTokens)
            .where(eq(oneTimeTokens.tokenHash, sha256Hex(secret)));
      const isToken = token?.purpose === "setup" && token.usedAt === null && token.expiresAt > clock.date();
      if ((await deps.permissions.countAdmins(db)) > 0)
        throw conflict("admin_exists", "There is an administrator already.");
      if (!isSecret && !isToken) throw unauthorized("This setup secret is not valid.", "token_invalid");
      await checkPassword(input.password, [input.username ?? "", input.email.split("@", 1)[0] ?? ""]);
      const passwordHash = await passwords.hash(input.password);
      const made = await database.transaction(async (tx) => {
        await lockAdmins(tx);
        if ((await deps.permissions.countAdmins(tx)) > 0)
          throw conflict("admin_exists", "There is an administrator already.");
        await tx.delete(oneTimeTokens).where(eq(oneTimeTokens.purpose, "setup"));
        return insertAdmin(tx, ctx, { ...input, passwordHash });
      });
      return { user_id: made.user.id, organization_id: made.organizationId };
    },

    /** ADMIN_EMAIL and ADMIN_PASSWORD on the first start. Throws 422 when the password does not meet the policy. */
    ensureAdmin: async (ctx: Context, email: string, password: string): Promise<"made" | "exists"> => {
      if ((await deps.permissions.countAdmins(db)) > 0) return "exists";
      const input: NewAccount & { organizationName: string } = {
        email,
        password,
        organizationName: "Default",
        username: "admin",
      };
      const faults = await accountFaults(input);
      if (faults.length > 0) throw invalid(faults);
      await checkPassword(password, ["admin", email.split("@", 1)[0] ?? ""]);
      const passwordHash = await passwords.hash(password);
      return database.transaction(async (tx) => {
        await lockAdmins(tx);
        if ((await deps.permissions.countAdmins(tx)) > 0) return "exists" as const;
        await insertAdmin(tx, ctx, { ...input, passwordHash });
        return "made" as const;
      });
    },

    /** The way back in: an existing account gets `admin` and the password, an unknown address a new one. */
    makeAdmin: async (ctx: Context, email: string, password: string): Promise<"made" | "promoted"> => {
      const faults = await accountFaults({ email, password });
      if (faults.length > 0) throw invalid(faults);
      await checkPassword(password, [email.split("@", 1)[0] ?? ""]);
      const passwordHash = await passwords.hash(password);
      return database.transaction(async (tx, afterCommit) => {
        await lockAdmins(tx);
        const user = await byName(tx, email);
        if (!user) {
          await insertAdmin(tx, ctx, { email, password, passwordHash, organizationName: "Default" });
          return "made" as const;
        }
        const at = clock.date();
        await tx
          .update(users)
          .set({
            passwordHash,
            passwordChangedAt: at,
            status: "active",
            emailVerified: true,
            updatedAt: at,
            authzVersion: sql`${users.authzVersion} + 1`,
          })
          .where(eq(users.id, user.id));
        await deps.permissions.give(tx, user.id, "admin", null);
        await tx
          .delete(signInFailures)
          .where(sql`${signInFailures.nameKey} IN (${user.usernameKey}, ${user.emailKey})`);
        const ids = await deps.sessions.activeIds(tx, user.id, null);
        await deps.sessions.end(tx, afterCommit, ids, "password_changed");
        await deps.audit.record(tx, ctx, {
          type: "role_changed",
          resource: { type: "user", id: user.id },
          details: { role: "admin", by: "cli" },
        });
        afterCommit(() => deps.authenticator.rightsChanged(user.id));
        return "promoted" as const;
      });
    },

    checkPassword,
    daysFromNow: (days: number): Date => new Date(clock.now() + days * 86_400_000),
  };
}

export type SignIn = ReturnType<typeof signInService>;
