// The live state of one conversation with a bot: texts, knowledge and tools that are on, suggestions and switchers.
// Nothing of it reaches another conversation, not even of the same person.

import { eq } from "drizzle-orm";
import type { Clock } from "../../core/clock.ts";
import type { Context } from "../../core/context.ts";
import { holds } from "../../core/context.ts";
import { forbidden, notFound, payloadTooLarge } from "../../core/errors.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type { BotsDirectory } from "./directory.ts";
import type { AnswerMode, ContextRow, Suggestion, Switcher } from "./model.ts";
import { conversationContexts } from "./model.ts";
import { decideManagement } from "./rules.ts";
import { BUILT_IN_SWITCHERS, isBuiltInSwitcher } from "./switchers.ts";

/** What this area must know of a conversation that somebody names. */
export interface ConversationDoor {
  /** By its id, or by the caller's own sign-in session; null when there is none. `isOwner`: also the bearer of its chat token. */
  find(ctx: Context, id: string): Promise<{ id: string; botId: string; isOwner: boolean } | null>;
  /** Tells the sockets of a conversation what can be picked and switched now. */
  tell(conversationId: string, suggestions: Suggestion[], switchers: Switcher[]): Promise<void>;
}

export type SessionState = Omit<ContextRow, "updatedAt">;

export interface ContextPatch {
  contexts?: Record<string, string>;
  active_kbs?: string[] | null;
  active_tools?: string[] | null;
  system_prompt?: string | null;
  model?: string | null;
  answer_mode?: AnswerMode | null;
}

const CONTEXTS_MAX_BYTES = 1_048_576;
const SWITCHER_ID_MAX = 200;

export type SessionContexts = ReturnType<typeof sessionContexts>;

/** Reading and changing of session contexts. */
export function sessionContexts(deps: {
  engine: DatabaseEngine;
  clock: Clock;
  directory: BotsDirectory;
  conversations: ConversationDoor;
}) {
  const { engine, clock, directory, conversations } = deps;

  const empty = (conversationId: string, botId: string): SessionState => ({
    conversationId,
    botId,
    variables: {},
    contexts: {},
    activeKbs: null,
    activeWebsites: [],
    activeTools: null,
    bots: [],
    systemPrompt: null,
    model: null,
    answerMode: null,
    suggestions: [],
    switchers: [],
    summary: null,
    summaryToSeq: 0,
  });

  /** The state as it is now; the default one where nothing has been set yet. */
  async function read(conversation: { id: string; botId: string }, db: Database = engine.db): Promise<SessionState> {
    const [row] = await db
      .select()
      .from(conversationContexts)
      .where(eq(conversationContexts.conversationId, conversation.id));
    return row ?? empty(conversation.id, conversation.botId);
  }

  /** Changes the state under its lock; `change` sees it as it stands and returns what is different. */
  async function update(
    conversation: { id: string; botId: string },
    change: (state: SessionState) => Partial<SessionState>,
  ): Promise<SessionState> {
    return engine.transaction(async (tx) => {
      await tx
        .insert(conversationContexts)
        .values({ conversationId: conversation.id, botId: conversation.botId, updatedAt: clock.date() })
        .onConflictDoNothing();
      const [row] = await tx
        .select()
        .from(conversationContexts)
        .where(eq(conversationContexts.conversationId, conversation.id))
        .for("update");
      if (!row) throw notFound("conversation");
      const changed = change(row);
      await tx
        .update(conversationContexts)
        .set({ ...changed, updatedAt: clock.date() })
        .where(eq(conversationContexts.conversationId, conversation.id));
      return { ...row, ...changed };
    });
  }

  function checkSize(contexts: Record<string, string>): void {
    const bytes = Object.entries(contexts).reduce((sum, [name, text]) => sum + Buffer.byteLength(name + text), 0);
    if (bytes > CONTEXTS_MAX_BYTES) throw payloadTooLarge(CONTEXTS_MAX_BYTES);
  }

  /** The conversation for its owner; 404 for everyone else. */
  async function owned(ctx: Context, id: string) {
    const found = await conversations.find(ctx, id);
    if (!found?.isOwner) throw notFound("conversation");
    return found;
  }

  /** The conversation with a bot that the caller manages by `word`. */
  async function managed(ctx: Context, id: string, level: "read" | "full") {
    const found = await conversations.find(ctx, id);
    const bot = found ? await directory.find(found.botId) : null;
    const standing = bot ? decideManagement(bot.row, ctx.caller) : "hidden";
    if (!found || standing === "hidden") throw notFound("conversation");
    if (level === "full" && standing === "read") throw forbidden(null, "other_organization");
    return found;
  }

  function view(state: SessionState, withVariables: boolean) {
    return {
      conversation_id: state.conversationId,
      session_id: state.conversationId,
      bot_id: state.botId,
      ...(withVariables ? { variables: state.variables } : {}),
      contexts: state.contexts,
      active_kbs: state.activeKbs,
      active_websites: state.activeWebsites,
      active_tools: state.activeTools,
      bots: state.bots,
      system_prompt: state.systemPrompt,
      model: state.model,
      answer_mode: state.answerMode,
    };
  }

  /** Switchers that a client can show: those that were offered, in their order. */
  const offered = (state: SessionState): Switcher[] => state.switchers;

  function switched(switchers: readonly Switcher[], id: string, active: boolean): Switcher[] {
    if (switchers.some((one) => one.id === id)) {
      return switchers.map((one) => (one.id === id ? { ...one, active } : one));
    }
    if (!isBuiltInSwitcher(id)) throw notFound("switcher");
    return [...switchers, { id, label: BUILT_IN_SWITCHERS[id].label, color: null, active }];
  }

  return {
    read,
    update,

    /** A text that stands under a name from now on; empty removes it. */
    setContext: async (conversation: { id: string; botId: string }, name: string, content: string): Promise<void> => {
      await update(conversation, ({ contexts }) => {
        const { [name]: _, ...others } = contexts;
        const next = content === "" ? others : { ...others, [name]: content };
        checkSize(next);
        return { contexts: next };
      });
    },

    /** What can be picked and switched now. */
    choices: async (conversation: { id: string; botId: string }) => {
      const state = await read(conversation);
      return { suggestions: state.suggestions, switchers: offered(state) };
    },

    suggestionsOf: async (ctx: Context, sessionId: string) => {
      const state = await read(await owned(ctx, sessionId));
      return { suggestions: state.suggestions, switchers: offered(state) };
    },

    setSwitcher: async (ctx: Context, conversationId: string, switcherId: string, active: boolean) => {
      if (switcherId.length > SWITCHER_ID_MAX) throw notFound("switcher");
      const conversation = await owned(ctx, conversationId);
      const state = await update(conversation, ({ switchers }) => ({
        switchers: switched(switchers, switcherId, active),
      }));
      await conversations.tell(conversation.id, state.suggestions, offered(state));
      return { switchers: offered(state) };
    },

    get: async (ctx: Context, conversationId: string) => {
      const found = await conversations.find(ctx, conversationId);
      const mayRead = holds(ctx.caller, "bots:read");
      const conversation =
        found?.isOwner || !mayRead ? await owned(ctx, conversationId) : await managed(ctx, conversationId, "read");
      return view(await read(conversation), mayRead && holds(ctx.caller, "conversations:read"));
    },

    patch: async (ctx: Context, conversationId: string, input: ContextPatch) => {
      const conversation = await managed(ctx, conversationId, "full");
      if (input.contexts) checkSize(input.contexts);
      const state = await update(conversation, () => ({
        ...(input.contexts === undefined ? {} : { contexts: input.contexts }),
        ...(input.active_kbs === undefined ? {} : { activeKbs: input.active_kbs }),
        ...(input.active_tools === undefined ? {} : { activeTools: input.active_tools }),
        ...(input.system_prompt === undefined ? {} : { systemPrompt: input.system_prompt }),
        ...(input.model === undefined ? {} : { model: input.model }),
        ...(input.answer_mode === undefined ? {} : { answerMode: input.answer_mode }),
      }));
      return view(state, holds(ctx.caller, "conversations:read"));
    },
  };
}
