// What every route says of itself beside its schemas: who may call it, in one line what it does, and how the gate
// treats it. A route without a mark stops the start.

import type { DocumentDecoration } from "elysia";
import type { PermissionWord } from "../core/permissions/catalogue.ts";

/**
 * `public`: anyone. `signed-in`: any account. `self`: any account; the service decides by whose thing it is.
 * A catalogue word: holders of it.
 */
export type Access = "public" | "signed-in" | "self" | PermissionWord;

export interface Mark {
  access: Access;
  /** The bearer of a conversation's chat token may call it too; the service checks which conversation. */
  chat?: true;
  /** API keys are refused with `session_required`. */
  sessionOnly?: true;
  /** Also allowed while a session must set up its second factor. */
  whileRestricted?: true;
  /** The credential may stand in `?token=`: for clients that cannot set headers (EventSource). */
  queryToken?: true;
  /** Becomes a WebSocket: the credential may stand in the address or the subprotocol, the area has its own limits. */
  socket?: true;
  /** Not counted against the hourly limits (pages, documents, probes). */
  uncounted?: true;
  /** What a request body may be. JSON unless said; `raw` routes read the stream themselves. */
  body?: "json" | "form" | "json-or-form" | "multipart" | "raw" | "json-or-multipart";
  /** Bound of the body in bytes where it is not MAX_BODY_BYTES; `upload` is MAX_UPLOAD_BYTES. */
  maxBody?: number | "upload";
  /** Media types of the answer where it is not JSON alone; a range (`image/*`) where it depends on the thing. */
  answers?: string | readonly string[];
  /** A creating POST: `Idempotency-Key` is honoured for 24 hours. */
  idempotent?: true;
}

export interface MarkInput extends Mark {
  summary: string;
  /** Area name as shown in the document. */
  tag: string;
  description?: string;
  /** Other addresses of the same handler, for the document's reader. */
  aliases?: readonly string[];
}

/** The `detail` of a route: OpenAPI texts and, under `x-mark`, what the gate needs. */
export function mark(input: MarkInput): DocumentDecoration & { "x-mark": Mark } {
  const { summary, tag, description, aliases, ...rest } = input;
  const texts = [description, aliases ? `Same handler: ${aliases.join(", ")}.` : undefined].filter(Boolean);
  return {
    summary,
    tags: [tag],
    ...(texts.length ? { description: texts.join("\n\n") } : {}),
    "x-mark": rest,
  };
}
