// Which conversation this browser is in, per bot, kept in local storage so that a reload and other tabs go on with it.
import { readStored, writeStored } from "../parts/storage.ts";
import { asObject, asText } from "../parts/wire.ts";

export interface KeptSession {
  sessionId: string;
  /** The chat token of an anonymous conversation; null when the person's own token is used. */
  token: string | null;
  personId: string | null;
  /** The anonymous person has said something in it: worth taking along when they sign in. */
  wrote: boolean;
}

function key(bot: string | null): string {
  return `botserver.chat:${bot ?? ""}`;
}

function shape(value: unknown): KeptSession | null {
  const row = asObject(value);
  const sessionId = asText(row["sessionId"]);
  if (sessionId === null) return null;
  return {
    sessionId,
    token: asText(row["token"]),
    personId: asText(row["personId"]),
    wrote: row["wrote"] === true,
  };
}

/** The kept conversation with this bot if it belongs to `personId` (null: anonymous), else null. */
export function keptSession(bot: string | null, personId: string | null): KeptSession | null {
  const kept = readStored(key(bot), shape);
  if (!kept) return null;
  if (personId === null) return kept.token === null ? null : kept;
  return kept.personId === personId ? kept : null;
}

/** The anonymous conversation that somebody who just signed in has brought along. */
export function anonymousSession(bot: string | null): KeptSession | null {
  const kept = readStored(key(bot), shape);
  return kept && kept.token !== null && kept.personId === null ? kept : null;
}

/** Notes that something was said in the kept anonymous conversation. */
export function noteWritten(bot: string | null): void {
  const kept = anonymousSession(bot);
  if (kept && !kept.wrote) keepSession(bot, { ...kept, wrote: true });
}

/** Keeps this conversation for the next visit, or none. */
export function keepSession(bot: string | null, session: KeptSession | null): void {
  writeStored(key(bot), session);
}
