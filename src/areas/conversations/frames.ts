// Frames of the socket protocol: what a client may send, read from JSON without trust, and what the server says of
// itself. Shapes only; what they do is in socket.ts.

import type { AppError } from "../../core/errors.ts";
import { invalid } from "../../core/errors.ts";
import { isTooDeep } from "../../lib/json/parse.ts";
import { ATTACHMENTS_MAX, CONTENT_CHARACTERS_MAX, messageType, type MessageInput } from "./rules.ts";
import type { MessageType } from "./responder.ts";

export type Frame = Readonly<Record<string, unknown>> & { readonly type: string | number };

export const FRAME_BYTES_MAX = 128 * 1024;
export const HEARTBEAT_SECONDS = 30;

/** The frame in a text; null when it is no JSON object with a `type`. */
export function parseFrame(text: string): Frame | null {
  if (isTooDeep(text)) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const { type } = value as Record<string, unknown>;
  return typeof type === "string" || typeof type === "number" ? (value as Frame) : null;
}

/** A text field; null when it is absent. Throws 422 for another type. */
export function textField(frame: Frame, name: string): string | null {
  const value = frame[name];
  if (value === undefined || value === null) return null;
  if (typeof value !== "string") throw invalid([{ path: name, message: "must be a text", expected: "a text" }]);
  return value;
}

/** A whole number; null when it is absent. */
export function numberField(frame: Frame, name: string): number | null {
  const value = frame[name];
  if (value === undefined || value === null) return null;
  if (typeof value !== "number" || !Number.isSafeInteger(value)) {
    throw invalid([{ path: name, message: "must be a whole number", expected: "a whole number" }]);
  }
  return value;
}

function texts(frame: Frame, name: string, max: number): string[] {
  const value = frame[name];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > max || !value.every((item) => typeof item === "string")) {
    throw invalid([{ path: name, message: "must be a list of texts", expected: `≤ ${max} texts` }]);
  }
  return value as string[];
}

function objectField(frame: Frame, name: string): Record<string, unknown> {
  const value = frame[name];
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw invalid([{ path: name, message: "must be an object", expected: "an object" }]);
  }
  return value as Record<string, unknown>;
}

/** The kind of message that a frame's `type` means: `message` or 1–5; null for other frames. */
export function messageKind(frame: Frame): MessageType | null {
  if (frame.type === "message") return "text";
  return typeof frame.type === "number" ? messageType(frame.type) : null;
}

/** The message in a `message` frame, not judged yet. */
export function messageOf(frame: Frame, type: MessageType): MessageInput {
  return {
    content: textField(frame, "content") ?? "",
    type,
    attachments: texts(frame, "attachments", ATTACHMENTS_MAX),
    clientId: textField(frame, "client_id"),
    replyTo: textField(frame, "reply_to"),
    switchers: texts(frame, "switchers", 50),
    metadata: objectField(frame, "metadata"),
    name: textField(frame, "name"),
  };
}

/** The `error` frame of a refusal. */
export function errorFrame(error: AppError, clientId: string | null, fatal: boolean): string {
  return JSON.stringify({
    type: "error",
    code: error.code,
    message: error.message,
    details: error.details,
    ...(clientId === null ? {} : { client_id: clientId }),
    fatal,
  });
}

/** What a client is told of its bounds when it connects. */
export function limitsOf(messagesPerMinute: number, attachmentBytesMax: number): Record<string, number> {
  return {
    content_characters: CONTENT_CHARACTERS_MAX,
    attachments: ATTACHMENTS_MAX,
    attachment_bytes: attachmentBytesMax,
    frame_bytes: FRAME_BYTES_MAX,
    messages_per_minute: messagesPerMinute,
  };
}
