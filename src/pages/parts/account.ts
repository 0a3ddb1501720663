// Who is signed in: tokens in local storage, refreshed by one tab at a time, told to every listener and tab.
import { ApiFault, call } from "./api.ts";
import { alone, onStoredElsewhere, readStored, writeStored } from "./storage.ts";
import { asNumber, asObject, asText, asTexts } from "./wire.ts";
import type { Json } from "./wire.ts";

const KEY = "botserver.account";
/** A token is renewed this long before it ends. */
const EARLY_MS = 30_000;

export interface Person {
  id: string;
  name: string;
  email: string | null;
}

interface Stored {
  accessToken: string;
  refreshToken: string | null;
  expiresAt: number;
  person: Person;
}

function shape(value: unknown): Stored | null {
  const row = asObject(value);
  const accessToken = asText(row["accessToken"]);
  const person = asObject(row["person"]);
  const id = asText(person["id"]);
  if (accessToken === null || id === null) return null;
  return {
    accessToken,
    refreshToken: asText(row["refreshToken"]),
    expiresAt: asNumber(row["expiresAt"]) ?? 0,
    person: { id, name: asText(person["name"]) ?? "", email: asText(person["email"]) },
  };
}

let kept = readStored(KEY, shape);
let lost = false;
const listeners = new Set<() => void>();

function keep(next: Stored | null): void {
  const changed = kept?.person.id !== next?.person.id;
  kept = next;
  writeStored(KEY, next);
  if (changed) for (const listener of listeners) listener();
}

onStoredElsewhere(KEY, () => {
  const next = readStored(KEY, shape);
  const changed = kept?.person.id !== next?.person.id;
  kept = next;
  if (changed) for (const listener of listeners) listener();
});

/** The signed-in person, or null. */
export function person(): Person | null {
  return kept?.person ?? null;
}

/** True once after the server ended the session, as opposed to the person leaving. */
export function sessionWasLost(): boolean {
  const was = lost;
  lost = false;
  return was;
}

/** Calls back whenever another person, or nobody, is signed in, also when another tab did it. */
export function onPersonChange(listener: () => void): void {
  listeners.add(listener);
}

/** The account's name, as the User of the API tells it. */
function personOf(user: Json): Person | null {
  const id = asText(user["user_id"]) ?? asText(user["id"]);
  if (id === null) return null;
  const email = asText(user["email"]);
  return { id, name: asText(user["display_name"]) ?? asText(user["username"]) ?? email ?? "", email };
}

/** Keeps the tokens of a finished sign-in. Answers false when the answer holds none (second factor, password change). */
export async function acceptTokens(answer: Json): Promise<boolean> {
  const accessToken = asText(answer["access_token"]);
  if (accessToken === null) return false;
  let who = personOf(asObject(answer["user"]));
  if (!who) who = personOf(await call("/users/me", { token: accessToken }));
  if (!who) throw new Error("The sign-in answer names no user.");
  keep({
    accessToken,
    refreshToken: asText(answer["refresh_token"]),
    expiresAt: Date.now() + (asNumber(answer["expires_in"]) ?? 3600) * 1000,
    person: who,
  });
  return true;
}

/** Trades the refresh token for new ones. The lock makes it one tab's work; the others find the result in storage. */
async function renew(stale: string): Promise<string | null> {
  return alone("botserver.refresh", async () => {
    const stored = readStored(KEY, shape);
    if (!stored) {
      keep(null);
      return null;
    }
    if (stored.accessToken !== stale) {
      kept = stored;
      return stored.accessToken;
    }
    if (stored.refreshToken === null) {
      lost = true;
      keep(null);
      return null;
    }
    try {
      const answer = await call("/auth/refresh", { method: "POST", json: { refresh_token: stored.refreshToken } });
      const accessToken = asText(answer["access_token"]);
      if (accessToken === null) throw new Error("The refresh answer holds no token.");
      keep({
        ...stored,
        accessToken,
        refreshToken: asText(answer["refresh_token"]) ?? stored.refreshToken,
        expiresAt: Date.now() + (asNumber(answer["expires_in"]) ?? 3600) * 1000,
      });
      return accessToken;
    } catch (fault) {
      if (fault instanceof ApiFault && fault.reason === "already_refreshed") {
        // Another tab without the lock (plain http) was first: its tokens are in storage now or in a moment.
        await new Promise((resolve) => setTimeout(resolve, 400));
        const other = readStored(KEY, shape);
        if (other && other.accessToken !== stale) {
          kept = other;
          return other.accessToken;
        }
      }
      if (fault instanceof ApiFault && (fault.status === 401 || fault.status === 403 || fault.status === 409)) {
        lost = true;
        keep(null);
        return null;
      }
      throw fault;
    }
  });
}

/** A token that is good for a while yet; null when nobody is signed in or the session has ended. */
export async function accessToken(): Promise<string | null> {
  if (!kept) return null;
  if (kept.expiresAt - EARLY_MS > Date.now()) return kept.accessToken;
  return renew(kept.accessToken);
}

/** Says that the server refused `token`: renews it once, null when the session is over. */
export async function tokenRefused(token: string): Promise<string | null> {
  if (!kept) return null;
  return kept.accessToken === token ? renew(token) : kept.accessToken;
}

/** Runs `work` with the account's token; on 401 renews and runs it once more. */
export async function withAccount<T>(work: (token: string) => Promise<T>): Promise<T> {
  const token = await accessToken();
  if (token === null) throw new ApiFault(401, "UNAUTHORIZED", "Sign in to do this.", {});
  try {
    return await work(token);
  } catch (fault) {
    if (!(fault instanceof ApiFault) || fault.status !== 401) throw fault;
    const renewed = await tokenRefused(token);
    if (renewed === null) throw fault;
    return work(renewed);
  }
}

/** What the signed-in person may do; empty when nobody is signed in. */
export async function permissions(): Promise<ReadonlySet<string>> {
  if (!kept) return new Set();
  const me = await withAccount((token) => call("/users/me", { token }));
  return new Set(asTexts(me["permissions"]));
}

/** True if `word` is among the permissions, itself or by a wildcard. */
export function holds(held: ReadonlySet<string>, word: string): boolean {
  return held.has(word) || held.has("*") || held.has(`${word.slice(0, word.indexOf(":"))}:*`);
}

/** Ends the session here and on the server; gives the provider's end-session address if there is one to go to. */
export async function signOut(): Promise<string | null> {
  const stored = kept;
  keep(null);
  if (!stored) return null;
  try {
    const answer = await call("/auth/logout", {
      method: "POST",
      token: stored.accessToken,
      json: stored.refreshToken === null ? {} : { refresh_token: stored.refreshToken },
    });
    const next = asText(answer["redirect_url"]);
    return next !== null && next !== "/" && /^https?:/.test(next) ? next : null;
  } catch (fault) {
    // The tokens are gone from this browser; a session the server could not be told of ends by itself.
    if (fault instanceof ApiFault) return null;
    throw fault;
  }
}
