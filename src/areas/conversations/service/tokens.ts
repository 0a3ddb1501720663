// Chat tokens: bearer credentials for one conversation. Only their SHA-256 is stored.

import { and, eq, isNull } from "drizzle-orm";
import type { Caller } from "../../../core/context.ts";
import type { Database } from "../../../engines/database/index.ts";
import { randomToken, sha256Hex } from "../../../lib/ids/index.ts";
import { chatTokens, conversations } from "../model.ts";
import type { ConversationsDeps } from "./deps.ts";

const PREFIX = "cs_";

export type ChatTokens = ReturnType<typeof chatTokenService>;

/** Makes the verbs over chat tokens. */
export function chatTokenService(deps: Pick<ConversationsDeps, "engine" | "clock" | "anonymous">) {
  const { engine, clock } = deps;
  return {
    /** A new token for the conversation; shown once. */
    mint: async (on: Database, conversationId: string): Promise<string> => {
      const token = PREFIX + randomToken(32);
      await on.insert(chatTokens).values({ hash: sha256Hex(token), conversationId, createdAt: clock.date() });
      return token;
    },

    /** The caller behind a token; null for one that is wrong, ended, or whose conversation has fallen silent. */
    resolve: async (token: string): Promise<Caller | null> => {
      if (!token.startsWith(PREFIX)) return null;
      const [row] = await engine.db
        .select({ conversationId: chatTokens.conversationId, expiresAt: conversations.expiresAt })
        .from(chatTokens)
        .innerJoin(conversations, eq(conversations.id, chatTokens.conversationId))
        .where(and(eq(chatTokens.hash, sha256Hex(token)), isNull(chatTokens.endedAt)));
      if (!row || (row.expiresAt !== null && row.expiresAt.getTime() <= clock.now())) return null;
      return { ...deps.anonymous(), kind: "chat", conversationId: row.conversationId };
    },

    /** Ends every token of the conversation. */
    endAll: async (on: Database, conversationId: string): Promise<void> => {
      await on
        .update(chatTokens)
        .set({ endedAt: clock.date() })
        .where(and(eq(chatTokens.conversationId, conversationId), isNull(chatTokens.endedAt)));
    },

    /** The conversation that a token was made for, whether or not it has ended; null for an unknown one. */
    origin: async (on: Database, token: string): Promise<{ conversationId: string; isEnded: boolean } | null> => {
      const [row] = await on
        .select({ conversationId: chatTokens.conversationId, endedAt: chatTokens.endedAt })
        .from(chatTokens)
        .where(eq(chatTokens.hash, sha256Hex(token)));
      return row ? { conversationId: row.conversationId, isEnded: row.endedAt !== null } : null;
    },

    /** True while at least one token of the conversation works. */
    hasLive: async (on: Database, conversationId: string): Promise<boolean> => {
      const [row] = await on
        .select({ hash: chatTokens.hash })
        .from(chatTokens)
        .where(and(eq(chatTokens.conversationId, conversationId), isNull(chatTokens.endedAt)))
        .limit(1);
      return row !== undefined;
    },
  };
}
