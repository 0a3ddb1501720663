// The things that travel between the page and the server, read from JSON into known forms.
import { asNumber, asObject, asObjects, asText, asTexts } from "../parts/wire.ts";
import type { Json } from "../parts/wire.ts";

export interface Citation {
  n: number;
  documentId: string | null;
  title: string;
  collection: string | null;
  path: string | null;
  page: number | null;
  slide: number | null;
  sheet: string | null;
  row: number | null;
  line: number | null;
  headings: string[];
  snippet: string;
  charStart: number | null;
  charEnd: number | null;
  /** Where a page of a website was read. */
  sourceUrl: string | null;
}

export interface Attachment {
  id: string;
  name: string;
  mime: string;
  size: number;
}

export interface Suggestion {
  label: string;
  value: string;
}

export interface Switcher {
  id: string;
  label: string;
  color: string | null;
  active: boolean;
}

export type Sender = "user" | "bot" | "attendant" | "system" | "tool";

export interface Message {
  id: string;
  /** Null while it is on its way to the server or still being written. */
  seq: number | null;
  sender: Sender;
  senderName: string | null;
  content: string;
  contentType: string;
  attachments: Attachment[];
  citations: Citation[];
  clientId: string | null;
  status: string | null;
  feedback: "up" | "down" | null;
  complete: boolean;
  finishReason: string | null;
  degraded: string[];
  timestamp: string | null;
  deleted: boolean;
  supersededBy: string | null;
}

export interface BotInfo {
  id: string | null;
  name: string;
  title: string;
  themed: boolean;
  themeName: string | null;
  logo: string | null;
}

const SENDERS: readonly string[] = ["user", "bot", "attendant", "system", "tool"];

function isSender(value: string | null): value is Sender {
  return value !== null && SENDERS.includes(value);
}

export function readCitation(row: Json): Citation {
  const heading = row["heading_path"] ?? row["heading"];
  return {
    n: asNumber(row["n"]) ?? 0,
    documentId: asText(row["document_id"]),
    title: asText(row["title"]) ?? asText(row["name"]) ?? "",
    collection: asText(row["collection"]),
    path: asText(row["path"]),
    page: asNumber(row["page"]),
    slide: asNumber(row["slide"]),
    sheet: asText(row["sheet"]),
    row: asNumber(row["row"]),
    line: asNumber(row["line"]),
    headings: typeof heading === "string" ? [heading] : asTexts(heading),
    snippet: asText(row["snippet"]) ?? asText(row["text"]) ?? "",
    charStart: asNumber(row["char_start"]),
    charEnd: asNumber(row["char_end"]),
    sourceUrl: asText(row["source_url"]),
  };
}

export function readAttachment(row: Json): Attachment {
  return {
    id: asText(row["id"]) ?? "",
    name: asText(row["name"]) ?? "",
    mime: asText(row["mime"]) ?? "application/octet-stream",
    size: asNumber(row["size"]) ?? 0,
  };
}

/** A stored message; null when it has no id. */
export function readMessage(row: Json): Message | null {
  const id = asText(row["message_id"]) ?? asText(row["id"]);
  if (id === null) return null;
  const sender = asText(row["sender"]);
  const feedback = row["feedback"];
  return {
    id,
    seq: asNumber(row["seq"]),
    sender: isSender(sender) ? sender : "system",
    senderName: asText(row["sender_name"]),
    content: asText(row["content"]) ?? "",
    contentType: asText(row["content_type"]) ?? "text/markdown",
    attachments: asObjects(row["attachments"]).map(readAttachment),
    citations: asObjects(row["citations"]).map(readCitation),
    clientId: asText(row["client_id"]),
    status: asText(row["status"]),
    feedback: feedback === "up" || feedback === "down" ? feedback : null,
    complete: row["is_complete"] !== false,
    finishReason: asText(row["finish_reason"]),
    degraded: asTexts(asObject(row["metadata"])["degraded"]),
    timestamp: asText(row["timestamp"]),
    deleted: asText(row["deleted_at"]) !== null,
    supersededBy: asText(row["superseded_by"]),
  };
}

export function readSuggestions(value: unknown): Suggestion[] {
  return asObjects(value).flatMap((row) => {
    const label = asText(row["label"]);
    return label === null ? [] : [{ label, value: asText(row["value"]) ?? label }];
  });
}

export function readSwitchers(value: unknown): Switcher[] {
  return asObjects(value).flatMap((row) => {
    const id = asText(row["id"]);
    if (id === null) return [];
    return [{ id, label: asText(row["label"]) ?? id, color: asText(row["color"]), active: row["active"] === true }];
  });
}

/** The bot as the `connected` frame tells it. `theme` may be a name, or an object with `name`, `title`, `logo`, colours. */
export function readBot(value: unknown): BotInfo | null {
  const row = asObject(value);
  const name = asText(row["name"]);
  if (name === null) return null;
  const theme = asObject(row["theme"]);
  const themeName = asText(row["theme"]) ?? asText(theme["name"]);
  return {
    id: asText(row["id"]),
    name,
    title: asText(theme["title"]) ?? asText(row["title"]) ?? name,
    themed: row["theme"] !== null && row["theme"] !== undefined && row["theme"] !== "",
    themeName,
    logo: asText(theme["logo"]),
  };
}
