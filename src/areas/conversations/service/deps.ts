// What the services of this area stand on.

import type { Audit } from "../../../core/audit/index.ts";
import type { Clock } from "../../../core/clock.ts";
import type { Caller } from "../../../core/context.ts";
import type { Events } from "../../../core/events/index.ts";
import type { Log } from "../../../core/log.ts";
import type { Cache } from "../../../engines/cache/index.ts";
import type { DatabaseEngine } from "../../../engines/database/index.ts";
import type { ObjectStore } from "../../../engines/objects/index.ts";
import type {
  Attendance,
  BotDirectory,
  CallerSource,
  ConversationListener,
  Responder,
  Scanner,
  SignInSessions,
} from "../responder.ts";

export interface ConversationsDeps {
  engine: DatabaseEngine;
  cache: Cache;
  objects: ObjectStore;
  clock: Clock;
  log: Log;
  audit: Audit;
  events: Events;
  bots: BotDirectory;
  responder: Responder;
  callers: CallerSource;
  sessions: SignInSessions;
  /** Null where nobody attends. */
  attendance: Attendance | null;
  /** Null where no scanner is configured. */
  scanner: Scanner | null;
  listeners: readonly ConversationListener[];
  /** The caller without credentials, with what `anonymous` holds now. */
  anonymous: () => Caller;
  /** Largest attachment in bytes (`upload-max-size`). */
  attachmentBytesMax: () => number;
  /** False where nobody would take the event: outgoing webhooks know. Left out: every event is recorded. */
  isEventWanted?: (type: string) => boolean;
  limits: ChatLimits;
}

/** How much chat one instance and one person may cause. */
export interface ChatLimits {
  socketsPerUser: number;
  socketsPerAddress: number;
  /** Conversations with an open socket on this instance (`session-max-concurrent`). */
  conversations: number;
  /** Frames other than messages, a minute and socket. */
  framesPerMinute: number;
}

export const CHAT_LIMITS: ChatLimits = {
  socketsPerUser: 10,
  socketsPerAddress: 5,
  conversations: 1_000,
  framesPerMinute: 300,
};

export type AfterCommit = (action: () => void | Promise<void>) => void;
