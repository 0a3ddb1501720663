// What waits to be sent survives a reload of its tab: kept in the tab's session storage, per bot and person.
import { person } from "../parts/account.ts";
import { asNumber, asObjects, asText } from "../parts/wire.ts";
import type { Json } from "../parts/wire.ts";
import type { Outgoing } from "./state.ts";

function key(bot: string | null): string {
  return `botserver.outbox:${bot ?? ""}:${person()?.id ?? ""}`;
}

/** Keeps what is not refused. Messages with files are not kept: unsent files vanish at the server. */
export function keepOutbox(bot: string | null, rows: Iterable<Outgoing>): void {
  const kept = [...rows]
    .filter((row) => row.fault === null && row.attachments.length === 0)
    .map(({ clientId, content, suggestion, madeAt }) => ({ clientId, content, suggestion, madeAt }));
  try {
    if (kept.length === 0) sessionStorage.removeItem(key(bot));
    else sessionStorage.setItem(key(bot), JSON.stringify(kept));
  } catch {
    // No storage: an unsent message lives as long as the page.
    return;
  }
}

export function keptOutbox(bot: string | null): Outgoing[] {
  let rows: Json[] = [];
  try {
    rows = asObjects(JSON.parse(sessionStorage.getItem(key(bot)) ?? "[]"));
  } catch {
    rows = [];
  }
  return rows.flatMap((row) => {
    const clientId = asText(row["clientId"]);
    const content = asText(row["content"]);
    if (clientId === null || content === null) return [];
    const madeAt = asNumber(row["madeAt"]) ?? Date.now();
    return [{ clientId, content, attachments: [], suggestion: asText(row["suggestion"]), fault: null, madeAt }];
  });
}
