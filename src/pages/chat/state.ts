// What the page knows of its conversation, and the changes that views hear of.
import type { ApiFault } from "../parts/api.ts";
import type { Attachment, BotInfo, Message, Suggestion, Switcher } from "./protocol.ts";

/** Where the connection stands. `refused` is final until the person does something. */
export type Phase = "connecting" | "online" | "waiting" | "offline" | "refused";
/** Why it is refused: unknown or hidden bot, access withdrawn. */
export type Refusal = "not_found" | "withdrawn";

/** A message that the server has not confirmed yet. */
export interface Outgoing {
  clientId: string;
  content: string;
  attachments: Attachment[];
  /** Set for a picked quick reply: its value. */
  suggestion: string | null;
  fault: ApiFault | null;
  madeAt: number;
}

/** An answer while it is being written. */
export interface Draft {
  id: string;
  text: string;
  nextIndex: number;
  /** Deltas were missed; the text stands still until the next reset or the finished message. */
  gap: boolean;
  /** The connection broke; the server has not spoken of it since. */
  stale: boolean;
  startedAt: number;
}

export interface State {
  phase: Phase;
  refusal: Refusal | null;
  retryAt: number | null;
  bot: BotInfo | null;
  sessionId: string | null;
  messages: Map<string, Message>;
  drafts: Map<string, Draft>;
  outbox: Map<string, Outgoing>;
  earlier: { before: string } | null;
  /** What was said before is all here. */
  ready: boolean;
  handler: "bot" | "human";
  attendant: string | null;
  queuePosition: number | null;
  closed: boolean;
  degraded: boolean;
  typing: "bot" | "attendant" | null;
  activity: string | null;
  suggestions: Suggestion[];
  switchers: Switcher[];
}

/** What changed; `messages` names the keys to draw again, `all` means another conversation. */
export type Change =
  | { kind: "all" }
  | { kind: "messages"; keys: string[] }
  | { kind: "arrived"; message: Message }
  | { kind: "status" }
  | { kind: "suggestions" }
  | { kind: "bot"; themeChanged: boolean }
  | { kind: "fault"; fault: ApiFault };

export function emptyState(): State {
  return {
    phase: "connecting",
    refusal: null,
    retryAt: null,
    bot: null,
    sessionId: null,
    messages: new Map(),
    drafts: new Map(),
    outbox: new Map(),
    earlier: null,
    ready: false,
    handler: "bot",
    attendant: null,
    queuePosition: null,
    closed: false,
    degraded: false,
    typing: null,
    activity: null,
    suggestions: [],
    switchers: [],
  };
}

/** The key under which a view keeps a message: stable from the moment it is typed until long after it is stored. */
export function keyOf(message: Pick<Message, "id" | "clientId" | "sender">): string {
  return message.sender === "user" && message.clientId !== null ? `c:${message.clientId}` : `m:${message.id}`;
}
