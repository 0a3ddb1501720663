// What the HTTP kernel and sockets need of sign-in; the users area implements it.

import type { MaybePromise } from "../engines/cache/index.ts";
import type { Caller } from "./context.ts";

export interface Client {
  ip: string;
  userAgent: string | null;
}

export interface Authenticator {
  /** Whom requests with this credential are counted against, if it was accepted lately. No I/O. */
  remembered(credential: string): { subject: string; isAdmin: boolean } | null;
  /**
   * The caller behind an access token, an API key or a chat token, as of now. Synchronous while the session is fresh
   * in memory. Throws `unauthorized` (reason `session_ended` where there was one) or `forbidden` (`ip_not_allowed`).
   */
  authenticate(credential: string, client: Client): MaybePromise<Caller>;
  /** The caller without credentials, with what `anonymous` holds now. */
  anonymous(): Caller;
}
