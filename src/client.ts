// The client for programs outside: every route of the API with its types, by Eden. `bun run build:client` makes a
// package of it that knows nothing of the server's sources.

import { treaty, type Treaty } from "@elysiajs/eden";
import type { App } from "./app.ts";

export type { App };

export interface ClientOptions {
  /** An access token, an API key or a conversation's chat token; a function is asked before each request. */
  token?: string | (() => string | null | Promise<string | null>);
  /** What sends the requests, in place of the global `fetch`. */
  fetch?: (input: string | URL | Request, init?: RequestInit) => Promise<Response>;
}

/** Every route as a member of its path: `client.api.v1.users.me.get()`. */
export type Client = Treaty.Create<App>;

/**
 * A client of the server at `baseUrl`. Calls give `{data, error, status, response}` and do not throw: no answer at
 * all is an error of status 503 without a response. Moments stay the RFC 3339 texts that their types say.
 */
export function createClient(baseUrl: string, options: ClientOptions = {}): Client {
  const { token, fetch: send } = options;
  return treaty<App>(baseUrl.replace(/\/+$/, ""), {
    parseDate: false,
    // Eden calls it as a plain function; the type of the global one has members that nobody needs here.
    ...(send ? { fetcher: send as typeof fetch } : {}),
    ...(token === undefined
      ? {}
      : {
          headers: async () => {
            const value = typeof token === "function" ? await token() : token;
            return value === null ? {} : { authorization: `Bearer ${value}` };
          },
        }),
  });
}
