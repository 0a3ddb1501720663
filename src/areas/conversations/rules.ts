// Pure decisions about messages and conversations: what a text may be, what a client may name, how a stretch of
// talk is summed up. No database, no clock.

import { badRequest, invalid, payloadTooLarge, type FieldFault } from "../../core/errors.ts";
import { isUuid } from "../../lib/ids/index.ts";
import type { Handler, Resolution } from "./model.ts";
import type { MessageType, Sender } from "./responder.ts";

export const CONTENT_CHARACTERS_MAX = 32_768;
export const ATTACHMENTS_MAX = 10;
export const TITLE_CHARACTERS_MAX = 200;
export const WAITING_TURNS_MAX = 10;
export const METADATA_BYTES_MAX = 16 * 1024;
export const FRAME_METADATA_BYTES_MAX = 4 * 1024;
export const REPLAY_MESSAGES_MAX = 500;
export const ATTACHMENT_BYTES_MAX = 50 * 1024 * 1024;
export const LANGUAGE_CHARACTERS_MIN = 12;

const TITLE_FROM_MESSAGE = 80;
const LAST_MESSAGE = 200;

/** Everything below a space but tab and newline, and DEL with the C1 controls. */
// oxlint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** The text as it is stored: line ends as \n, other control characters gone, lone surrogates replaced. */
export function cleanText(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(CONTROLS, "").toWellFormed();
}

/** `cleanText` for every text inside a JSON value, names included: jsonb takes no NUL. */
export function cleanJson(value: unknown): unknown {
  if (typeof value === "string") return cleanText(value);
  if (Array.isArray(value)) return value.map(cleanJson);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [cleanText(key), cleanJson(item)]));
  }
  return value;
}

/** A cleaned metadata object; throws 422 when it is too large. */
export function cleanMetadata(value: Record<string, unknown>, maxBytes = METADATA_BYTES_MAX): Record<string, unknown> {
  const cleaned = cleanJson(value) as Record<string, unknown>;
  if (Buffer.byteLength(JSON.stringify(cleaned)) > maxBytes) {
    throw invalid([{ path: "metadata", message: `is larger than ${maxBytes} bytes`, expected: `≤ ${maxBytes} bytes` }]);
  }
  return cleaned;
}

/** True if `text` has more than `max` characters (code points). */
export function isLonger(text: string, max: number): boolean {
  if (text.length <= max) return false;
  if (text.length > max * 2) return true;
  let count = 0;
  for (const _ of text) if (++count > max) return true;
  return false;
}

/** The first `max` characters, never half of one. */
export function firstCharacters(text: string, max: number): string {
  return text.length <= max
    ? text
    : Array.from(text.slice(0, max * 2))
        .slice(0, max)
        .join("");
}

/** The default title: the beginning of the first user message on one line. */
export function titleFrom(content: string): string {
  return firstCharacters(content.replace(/\s+/g, " ").trim(), TITLE_FROM_MESSAGE);
}

/** What a conversation shows of its newest message. */
export function lastMessageFrom(content: string): string {
  return firstCharacters(content, LAST_MESSAGE);
}

const TYPES: readonly MessageType[] = ["text", "voice", "continue", "context", "system"];

/** The message type behind a name or a number 1–5; null for anything else. */
export function messageType(value: unknown): MessageType | null {
  if (typeof value === "number") return TYPES[value - 1] ?? null;
  return TYPES.find((type) => type === value) ?? null;
}

const CLIENT_ID = /^[A-Za-z0-9._:-]{1,64}$/;

/** A message as a client gives it, over REST or a socket. */
export interface MessageInput {
  content: string;
  type: MessageType;
  attachments: readonly string[];
  clientId: string | null;
  replyTo: string | null;
  switchers: readonly string[];
  metadata: Record<string, unknown>;
  /** For `context`: what the content is called. */
  name: string | null;
}

/** Judges a message before anything is looked up and returns it cleaned. Throws 413, 422 with every fault, 409. */
export function checkMessage(input: MessageInput, metadataBytesMax: number): MessageInput {
  const content = cleanText(input.content);
  if (isLonger(content, CONTENT_CHARACTERS_MAX)) {
    throw payloadTooLarge(CONTENT_CHARACTERS_MAX);
  }
  const faults: FieldFault[] = [];
  if (input.type === "system") {
    faults.push({ path: "type", message: "comes from the server only", expected: "text, voice, continue or context" });
  }
  if (
    content.trim() === "" &&
    input.attachments.length === 0 &&
    input.type !== "continue" &&
    input.type !== "context"
  ) {
    faults.push({ path: "content", message: "is empty and nothing is attached", expected: "a text or an attachment" });
  }
  if (input.attachments.length > ATTACHMENTS_MAX) {
    faults.push({ path: "attachments", message: "are too many", expected: `≤ ${ATTACHMENTS_MAX}` });
  }
  if (input.type === "voice" && input.attachments.length === 0) {
    faults.push({ path: "attachments", message: "needs an audio attachment", expected: "an audio attachment" });
  }
  if (input.clientId !== null && !CLIENT_ID.test(input.clientId)) {
    faults.push({ path: "client_id", message: "is not an id", expected: "1–64 of A-Z a-z 0-9 . _ : -" });
  }
  if (input.replyTo !== null && !isUuid(input.replyTo)) {
    faults.push({ path: "reply_to", message: "is not a message id", expected: "a message id" });
  }
  if (
    input.type === "context" &&
    (input.name === null || cleanText(input.name).trim() === "" || input.name.length > 100)
  ) {
    faults.push({ path: "name", message: "is required", expected: "a text of 1–100 characters" });
  }
  if (faults.length > 0) throw invalid(faults);
  return {
    ...input,
    content,
    name: input.name === null ? null : cleanText(input.name).trim(),
    attachments: [...new Set(input.attachments)],
    metadata: cleanMetadata(input.metadata, metadataBytesMax),
  };
}

/** Where a page of history begins or ends: a moment, a message, or a seq. */
export type HistoryMark = { seq: number } | { id: string } | { at: Date };

/** Reads `seq:N`, a message id or an RFC 3339 time; throws 400 for anything else. */
export function historyMark(text: string, path: string): HistoryMark {
  const seq = /^seq:(\d{1,9})$/.exec(text);
  if (seq) return { seq: Number(seq[1]) };
  if (isUuid(text)) return { id: text.toLowerCase() };
  const at = /^\d{4}-\d{2}-\d{2}T/.test(text) ? new Date(text) : null;
  if (at === null || Number.isNaN(at.getTime())) {
    throw invalid([
      { path, message: "is no place in the history", expected: "seq:N, a message id or an RFC 3339 time" },
    ]);
  }
  return { at };
}

/** What a search asks the text index for: every word, the last letters of each open. Null if there is no word in it. */
export function searchTerms(query: string): string | null {
  const words = cleanText(query)
    .toLowerCase()
    .match(/[\p{L}\p{N}]+/gu);
  return words
    ? words
        .slice(0, 12)
        .map((word) => `'${word}':*`)
        .join(" & ")
    : null;
}

/** One message as an outcome counts it. */
export interface CountedMessage {
  seq: number;
  sender: Sender;
  /** Milliseconds since the epoch. */
  at: number;
  noAnswer: boolean;
}

/** One stretch of talk, summed up. */
export interface Span {
  firstSeq: number;
  lastSeq: number;
  startedAt: number;
  endedAt: number;
  userMessages: number;
  botMessages: number;
  attendantMessages: number;
  firstAnswerMs: number | null;
  medianAnswerMs: number | null;
  noAnswerCount: number;
  /** The last answer of the bot was a no-answer. */
  endsUnanswered: boolean;
}

/** The middle of the values (the mean of the middle two), rounded; null for none. */
export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[sorted.length >> 1] ?? 0;
  const lower = sorted[(sorted.length - 1) >> 1] ?? 0;
  return Math.round((upper + lower) / 2);
}

/** Splits messages, in order of seq, where nothing was said for longer than `quietMs`, and sums each stretch up. */
export function spansOf(messages: readonly CountedMessage[], quietMs: number): Span[] {
  const stretches: CountedMessage[][] = [];
  let last = Number.NEGATIVE_INFINITY;
  for (const message of messages) {
    const open = stretches.at(-1);
    if (open && message.at - last <= quietMs) open.push(message);
    else stretches.push([message]);
    last = message.at;
  }
  return stretches.map(summedUp);
}

function summedUp(stretch: readonly CountedMessage[]): Span {
  const answers: number[] = [];
  let askedAt: number | null = null;
  let endsUnanswered = false;
  const count = { user: 0, bot: 0, attendant: 0, noAnswer: 0 };
  for (const { sender, at, noAnswer } of stretch) {
    if (sender === "user") {
      count.user += 1;
      askedAt ??= at;
      continue;
    }
    if (sender !== "bot" && sender !== "attendant") continue;
    count[sender] += 1;
    if (noAnswer) count.noAnswer += 1;
    if (sender === "bot") endsUnanswered = noAnswer;
    // From the first unanswered message of the person to the first word that came back.
    if (askedAt !== null) answers.push(Math.max(0, at - askedAt));
    askedAt = null;
  }
  const [first] = stretch;
  const last = stretch.at(-1);
  return {
    firstSeq: first?.seq ?? 0,
    lastSeq: last?.seq ?? 0,
    startedAt: first?.at ?? 0,
    endedAt: last?.at ?? 0,
    userMessages: count.user,
    botMessages: count.bot,
    attendantMessages: count.attendant,
    firstAnswerMs: answers[0] ?? null,
    medianAnswerMs: median(answers),
    noAnswerCount: count.noAnswer,
    endsUnanswered,
  };
}

/** What is known about how a stretch ended: the first that is known (contract, "Outcome for analytics"). */
export function resolutionOf(
  told: Resolution | null,
  handler: Handler,
  closed: boolean,
  span: Span,
): Resolution | null {
  if (told !== null) return told;
  if (handler === "human" && closed && span.attendantMessages === 0) return "abandoned";
  return span.endsUnanswered && span.userMessages > 0 ? "unresolved" : null;
}

/** A file name that is safe to store and show: no path, no control characters, at most 255 characters. */
export function fileName(name: string): string {
  const base = cleanText(name).replaceAll("\n", " ").replaceAll("\t", " ").split(/[/\\]/).at(-1)?.trim() ?? "";
  const cut = firstCharacters(base.replace(/^\.+/, ""), 255);
  return cut === "" ? "file" : cut;
}

/** Content-Disposition with a plain name for old clients and the real one (RFC 6266, RFC 8187). */
export function contentDisposition(kind: "inline" | "attachment", name: string): string {
  const plain = name.replace(/[^\x20-\x7e]/g, "_").replace(/["\\%]/g, "_");
  const encoded = encodeURIComponent(name).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  return `${kind}; filename="${plain}"; filename*=UTF-8''${encoded}`;
}

const INLINE =
  /^(image\/(png|jpeg|gif|webp|avif|bmp)|audio\/[a-z0-9.+-]+|video\/[a-z0-9.+-]+|application\/pdf|text\/plain)$/;

/** True for types that a browser may show by itself: never HTML, SVG or XML. */
export function maySeeInline(mime: string): boolean {
  return INLINE.test(mime);
}

/** One range of a Range header within `size` bytes; null for none or several, "unsatisfiable" beyond the end. */
export function byteRange(
  header: string | null,
  size: number,
): { start: number; end: number } | "unsatisfiable" | null {
  const found = header === null ? null : /^bytes=(\d*)-(\d*)$/.exec(header.trim());
  if (!found || (found[1] === "" && found[2] === "")) return null;
  const [from, to] = [found[1] ?? "", found[2] ?? ""];
  if (from === "") {
    const tail = Number(to);
    return tail === 0 || size === 0 ? "unsatisfiable" : { start: Math.max(0, size - tail), end: size - 1 };
  }
  const start = Number(from);
  if (start >= size) return "unsatisfiable";
  const end = to === "" ? size - 1 : Math.min(Number(to), size - 1);
  return end < start ? null : { start, end };
}

/** Refuses what is no UUID where an id is expected in a body. */
export function requireId(value: string, path: string): string {
  if (!isUuid(value)) throw badRequest(`${path} is not an id.`, "invalid_id");
  return value.toLowerCase();
}
