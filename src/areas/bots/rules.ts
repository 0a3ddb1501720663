// Who may use a bot: pure decisions over its row and the caller, in the contract's order.

import type { Caller } from "../../core/context.ts";
import { holds } from "../../core/context.ts";
import type { BotRow } from "./model.ts";

/** What the decision reads of a bot. */
export type BotAccess = Pick<
  BotRow,
  | "id"
  | "status"
  | "organizationId"
  | "visibility"
  | "anonymousAllowed"
  | "allowedRoles"
  | "allowedGroups"
  | "allowedUsers"
  | "deniedUsers"
>;

/** `public`, `organization`, `user`, `role:x`, `group:y` let in; `denied`, `inactive`, `none` do not. */
export type AccessReason =
  "public" | "organization" | "user" | "denied" | "inactive" | "none" | `role:${string}` | `group:${string}`;

export interface AccessDecision {
  allowed: boolean;
  reason: AccessReason;
}

const yes = (reason: AccessReason): AccessDecision => ({ allowed: true, reason });
const no = (reason: "denied" | "inactive" | "none"): AccessDecision => ({ allowed: false, reason });

/** The first of the allow lists that the caller stands on. */
function listed(bot: BotAccess, caller: Caller): AccessReason | null {
  if (caller.userId !== null && bot.allowedUsers.includes(caller.userId)) return "user";
  const group = bot.allowedGroups.find((one) => caller.groups.has(one));
  if (group !== undefined) return `group:${group}`;
  const role = bot.allowedRoles.find((one) => caller.roles.has(one));
  return role === undefined ? null : `role:${role}`;
}

/** True while the bot answers: a restart is not seen from outside. */
export function isOpen(bot: Pick<BotAccess, "status">): boolean {
  return bot.status === "active" || bot.status === "restarting";
}

/** True if strangers may know that the bot is there: it is public, takes anybody, or is shown on other sites. */
export function isListed(
  bot: Pick<BotAccess, "status" | "visibility" | "anonymousAllowed">,
  embedOrigins: readonly string[],
): boolean {
  return isOpen(bot) && (bot.visibility === "public" || bot.anonymousAllowed || embedOrigins.length > 0);
}

/** Whether the caller may use the bot, and the rule that decided. */
export function decideAccess(bot: BotAccess, caller: Caller): AccessDecision {
  if (caller.userId !== null && bot.deniedUsers.includes(caller.userId)) return no("denied");
  if (!isOpen(bot)) return no("inactive");
  // The server itself, and a bot's own service identity in its schedules, are not people to be let in.
  if (caller.kind === "system") {
    return caller.permissions.has("*") || caller.botId === bot.id ? yes("role:system") : no("none");
  }
  const isAccount = caller.userId !== null;
  switch (bot.visibility) {
    case "admin":
      return holds(caller, "bots:read")
        ? yes(`role:${caller.roles.has("admin") ? "admin" : "bot_manager"}`)
        : no("none");
    case "private": {
      const reason = listed(bot, caller);
      return reason === null ? no("none") : yes(reason);
    }
    case "public":
      if (!isAccount && !bot.anonymousAllowed) return no("none");
      return narrowed(bot, caller, "public");
    case "organization":
      if (!isAccount) return no("none");
      if (!isMember(bot, caller)) return no("none");
      return narrowed(bot, caller, "organization");
  }
}

/** A bot that is tied to no organization counts every account as a member. */
function isMember(bot: Pick<BotAccess, "organizationId">, caller: Caller): boolean {
  const { organizationId } = bot;
  return organizationId === null || organizationId === caller.organizationId || caller.groups.has(organizationId);
}

/**
 * How a holder of a `bots:…` word stands to a bot: managers see the bots of their organizations and public ones,
 * and change only the former; `admin` and the server itself reach every bot.
 */
export function decideManagement(bot: BotAccess, caller: Caller): "full" | "read" | "hidden" {
  if (caller.permissions.has("*") || isMember(bot, caller)) return "full";
  return bot.visibility === "public" ? "read" : "hidden";
}

/** First segments of the root that are no bot's name (contract README, "Addresses"). */
const RESERVED = new Set(
  (
    "api ws docs s3 share auth llm-server meet well-known healthz livez readyz metrics assets console setup " +
    "account attendant health twilio webhooks"
  ).split(" "),
);
const NAME = /^[a-z0-9][a-z0-9-]{1,62}$/;

/** What is wrong with a name for a new bot; null if nothing is. */
export function nameFault(name: string): string | null {
  if (!NAME.test(name)) return "must be 2–63 of a–z, 0–9 and -, not beginning with -";
  return RESERVED.has(name) ? "is an address of the server itself" : null;
}

/** Days in which a deleted bot can be brought back. */
export const RESTORE_DAYS = 30;

/** Non-empty allow lists narrow what the visibility would let in. */
function narrowed(bot: BotAccess, caller: Caller, reason: "public" | "organization"): AccessDecision {
  const isOpenToAll = bot.allowedUsers.length + bot.allowedGroups.length + bot.allowedRoles.length === 0;
  if (isOpenToAll) return yes(reason);
  const found = listed(bot, caller);
  return found === null ? no("none") : yes(found);
}
