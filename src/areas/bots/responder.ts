// How a message is answered (contract bots.md): answer cache, retrieval, then the model with its fallbacks or a
// quotation from the knowledge. Storing and sending are the conversations area's.

import { conflict, invalid, isAppError, unavailable } from "../../core/errors.ts";
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { Cache } from "../../engines/cache/index.ts";
import { randomToken, sha256Hex } from "../../lib/ids/index.ts";
import type {
  Citation,
  FinishReason,
  Reply,
  RespondInput,
  Responder,
  StoredMessage,
  Suggestion,
  TurnConversation,
  TurnInput,
} from "../conversations/responder.ts";
import type { AnswerCache, AnswerCacheRules, AnswerCircumstances } from "./answer-cache.ts";
import { standsAlone } from "./answer-cache.ts";
import { botLanguage } from "./chat.ts";
import { citationFilter, withoutCitations } from "./citations.ts";
import type { BotsDirectory, LoadedBot } from "./directory.ts";
import type { AnsweringKnowledge, FoundPassage, KnowledgeScope } from "./knowledge.ts";
import type { MemoryService } from "./memory.ts";
import type { AnswerMode } from "./model.ts";
import type { BotModels, ModelChoice } from "./models.ts";
import { assemblePrompt, estimateTokens, NO_ANSWER } from "./prompt.ts";
import type { Prompt, PromptMessage } from "./prompt.ts";
import { isOpen } from "./rules.ts";
import type { SessionContexts, SessionState } from "./session.ts";
import type { Summaries } from "./summaries.ts";
import { isBuiltInSwitcher, switcherInstruction } from "./switchers.ts";
import type { BuiltInTexts } from "./texts.ts";
import { textsFor } from "./texts.ts";

const CONTENT_MAX = 32_768;
const SNIPPET_MAX = 2000;
/** What is shown before a quote in a passage that is too long to be shown whole. */
const SNIPPET_LEAD = 600;
const PASSAGE_TOKENS = 2000;
const NEAREST_MAX = 3;
const QUESTIONS_MAX = 3;
const QUESTIONS_TTL_MS = 3_600_000;
const QUESTIONS_WAIT_MS = 1000;
const CONTEXT_NAME_MAX = 255;
/** A window that common models have at least; what is beyond it is cut from the prompt. */
const WINDOW_TOKENS = 8192;
const CACHED_PIECE = 80;
const CONTINUE = "Go on with your last answer exactly where it was cut off. Repeat nothing of it.";

/** Everything that is known of a turn before its answer is sought. */
interface Turn {
  input: RespondInput;
  bot: LoadedBot;
  state: SessionState;
  language: string;
  texts: BuiltInTexts;
  scope: KnowledgeScope;
  answerMode: AnswerMode;
  /** What was asked. */
  question: string;
  /** What is looked up: also what was asked before, where the question cannot be understood without it. */
  lookup: string;
  /** What the model is asked; differs where a cut answer goes on. */
  ask: string;
  instructions: string[];
  startedAt: number;
}

export type BotResponder = Responder & {
  /** Resolves when no background work of an answer is under way. */
  settled(): Promise<void>;
};

/** The words that say where in its document a passage stands; empty where there is nothing to say. */
export function placeOf(
  passage: Pick<FoundPassage, "page" | "slide" | "sheet" | "row" | "line">,
  texts: BuiltInTexts,
): string {
  const parts = [
    passage.page === null ? null : `${texts.page} ${passage.page}`,
    passage.slide === null ? null : `${texts.slide} ${passage.slide}`,
    passage.sheet === null ? null : `${texts.sheet} ${passage.sheet}`,
    passage.row === null ? null : `${texts.row} ${passage.row}`,
    passage.line === null ? null : `${texts.line} ${passage.line}`,
  ];
  return parts.filter((part) => part !== null).join(", ");
}

/** `at`, or the beginning of the word that it stands in; a word without an end in reach is cut, never a character. */
function betweenWords(text: string, at: number): number {
  for (let back = at; back > 0 && at - back < 40; back--) if (/\s/.test(text.charAt(back - 1))) return back;
  return (text.charCodeAt(at) & 0xfc00) === 0xdc00 ? at - 1 : at;
}

/** The passage, or of a long one what stands around `from`. */
function snippetOf(text: string, from: number): string {
  if (text.length <= SNIPPET_MAX) return text.trim();
  const start = betweenWords(text, Math.max(0, Math.min(from - SNIPPET_LEAD, text.length - SNIPPET_MAX)));
  const isToEnd = start + SNIPPET_MAX >= text.length;
  const kept = text.slice(start, isToEnd ? text.length : betweenWords(text, start + SNIPPET_MAX));
  return `${start > 0 ? "…" : ""}${kept.trim()}${isToEnd ? "" : "…"}`;
}

/** What is told of a source; `quote`: the part of the passage that stands in the answer, null where none does. */
function citation(n: number, passage: FoundPassage, quote: { start: number; text: string } | null): Citation {
  const start = passage.charStart + (quote?.start ?? 0);
  return {
    n,
    document_id: passage.documentId,
    title: passage.title,
    collection: passage.collection,
    path: passage.path,
    page: passage.page,
    slide: passage.slide,
    sheet: passage.sheet,
    row: passage.row,
    line: passage.line,
    heading_path: [...passage.headingPath],
    source_url: passage.sourceUrl,
    snippet: snippetOf(passage.text, quote?.start ?? 0),
    char_start: start,
    char_end: quote ? start + quote.text.length : passage.charEnd,
    score: passage.score,
  };
}

function reply(content: string, rest: Partial<Reply>): Reply {
  return {
    content,
    contentType: "text/markdown",
    citations: [],
    suggestions: [],
    metadata: {},
    usage: null,
    finishReason: "stop",
    ...rest,
  };
}

/** Messages as the model sees them: what people and the bot said, oldest first. */
function asPrompt(messages: readonly StoredMessage[]): PromptMessage[] {
  return messages.flatMap((message): PromptMessage[] => {
    if (message.content === "" || message.type === "context" || message.type === "system") return [];
    if (message.sender === "user") return [{ role: "user", content: message.content }];
    if (message.sender !== "bot" && message.sender !== "attendant") return [];
    const content = message.citations.length > 0 ? withoutCitations(message.content) : message.content;
    return [{ role: "assistant", content }];
  });
}

/** Makes the responder of all bots. */
export function botResponder(deps: {
  directory: BotsDirectory;
  sessions: Pick<SessionContexts, "read" | "update" | "setContext" | "choices">;
  memory: Pick<MemoryService, "facts">;
  knowledge: AnsweringKnowledge;
  models: BotModels;
  answers: AnswerCache;
  summaries: Summaries;
  /** Whether the bot has any document that is searched, whoever may read it. */
  hasDocuments: (botId: string) => Promise<boolean>;
  cache: Cache;
  clock: Clock;
  log: Log;
}): BotResponder {
  const { directory, sessions, memory, knowledge, models, answers, summaries, cache, clock, log } = deps;

  async function openBot(conversation: TurnConversation): Promise<LoadedBot> {
    const bot = await directory.find(conversation.botId);
    if (!bot || !isOpen(bot.row)) throw conflict("bot_inactive");
    return bot;
  }

  /** The person's language where the bot speaks it, else the bot's own. */
  function languageOf({ row, config }: LoadedBot, conversation: TurnConversation): string {
    const supported = config.value("supported-languages");
    const wanted = conversation.language;
    const own = botLanguage(row, config);
    if (wanted === null || supported === null) return wanted ?? own;
    const primary = (tag: string) => tag.toLowerCase().split("-")[0];
    return supported.some((tag) => primary(tag) === primary(wanted)) ? wanted : own;
  }

  function scopeOf({ row, config }: LoadedBot, state: Pick<SessionState, "activeKbs">): KnowledgeScope {
    // No bot has a start script yet: all its knowledge is active unless `kb-auto` says otherwise.
    const usual = config.value("kb-auto") === false ? "auto" : "all";
    return { botId: row.id, collections: state.activeKbs ?? usual, config };
  }

  /** A new set of suggestions replaces the former one, and is told only if it is another. */
  async function offer(
    { conversation, emit }: Pick<TurnInput, "conversation" | "emit">,
    state: SessionState,
    suggestions: Suggestion[],
  ): Promise<void> {
    if (JSON.stringify(state.suggestions) === JSON.stringify(suggestions)) return;
    const next = await sessions.update(conversation, () => ({ suggestions }));
    emit.suggestions(suggestions, next.switchers);
  }

  /** Questions that this caller's knowledge answers; worked out once an hour per state of the knowledge. */
  async function questionsFor(input: TurnInput, bot: LoadedBot, language: string): Promise<string[]> {
    const scope = scopeOf(bot, { activeKbs: null });
    const limit = Math.min(QUESTIONS_MAX, bot.config.value("max-suggestions"));
    const state = await knowledge.fingerprint(input.ctx, scope);
    const key = `questions:${sha256Hex(JSON.stringify([bot.row.id, state, language, limit]))}`;
    const kept = await cache.get(key);
    if (kept !== null) return JSON.parse(kept) as string[];
    const questions = await knowledge.questions(input.ctx, scope, language, limit);
    await cache.set(key, JSON.stringify(questions), QUESTIONS_TTL_MS);
    return questions;
  }

  /** The questions, if they are there in time: nobody waits long for a greeting. Late ones are kept for the next. */
  async function questionsInTime(input: TurnInput, bot: LoadedBot, language: string): Promise<string[]> {
    const late = Promise.withResolvers<string[]>();
    const timer = setTimeout(() => late.resolve([]), QUESTIONS_WAIT_MS);
    const questions = questionsFor(input, bot, language).catch((error: unknown) => {
      log.warn("no questions could be suggested", { bot: bot.row.id, error });
      return [];
    });
    return Promise.race([questions, late.promise]).finally(() => clearTimeout(timer));
  }

  async function prepare(input: RespondInput): Promise<Turn> {
    const { conversation, message } = input;
    const bot = await openBot(conversation);
    const state = await sessions.read(conversation);
    const language = languageOf(bot, conversation);
    const picked = message.metadata["suggestion"];
    let question = (typeof picked === "string" && picked !== "" ? picked : message.content).trim();
    let ask = question;
    let lookup = question;
    const before = async () =>
      (await input.history(20)).findLast(({ sender, type }) => sender === "user" && type !== "continue")?.content ?? "";
    if (message.type === "continue") {
      question = (await before()).trim() || question;
      lookup = question;
      ask = CONTINUE;
    } else if (question === "" && message.type === "voice") {
      throw unavailable("transcription");
    } else if (question !== "" && !standsAlone(question)) {
      lookup = `${await before()}\n${question}`.trim();
    }
    const active = state.switchers.filter((one) => one.active).map(({ id }) => id);
    const named = input.switchers.filter((id) => isBuiltInSwitcher(id) || state.switchers.some((one) => one.id === id));
    return {
      input,
      bot,
      state,
      language,
      texts: textsFor(language),
      scope: scopeOf(bot, state),
      answerMode: state.answerMode ?? bot.config.value("answer-mode"),
      question,
      lookup,
      ask,
      instructions: [...new Set([...active, ...named])].map(switcherInstruction),
      startedAt: clock.now(),
    };
  }

  function noAnswer(
    turn: Turn,
    passages: readonly FoundPassage[],
    metadata: Record<string, unknown>,
    head = "",
  ): Reply {
    const text = turn.bot.config.value("no-answer-message") ?? turn.texts.noAnswer;
    const titles = [...new Set(passages.map(({ title }) => title))].slice(0, NEAREST_MAX);
    return reply(`${head}${text}`, {
      metadata: { ...metadata, no_answer: true },
      suggestions: titles.map((title) => ({ label: title, value: title })),
    });
  }

  /** The best sentences word for word, or the no-answer text where they are not sure enough. */
  async function quoted(turn: Turn, passages: readonly FoundPassage[], degraded: string[], head = ""): Promise<Reply> {
    const { config } = turn.bot;
    const metadata: Record<string, unknown> = { answer_mode: "quoted", ...(degraded.length > 0 ? { degraded } : {}) };
    const found = await knowledge.quote(turn.question, passages, turn.language);
    const quotations = found.quotations.flatMap(({ passage, ...quote }) => {
      const source = passages[passage];
      return source ? [{ source, quote }] : [];
    });
    if (quotations.length === 0 || found.confidence < config.value("quoted-min-confidence")) {
      return noAnswer(turn, passages, metadata, head);
    }
    const citations = quotations.map(({ source, quote }, index) => citation(index + 1, source, quote));
    const showsCitations = config.value("show-citations");
    const blocks = quotations.map(({ source, quote }, index) => {
      const place = placeOf(source, turn.texts);
      const lines = quote.text.split("\n").map((line) => `> ${line}`.trimEnd());
      const number = showsCitations ? ` [${index + 1}]` : "";
      return `${lines.join("\n")}\n>\n> — ${source.title}${place === "" ? "" : `, ${place}`}${number}`;
    });
    return reply(`${head}${blocks.join("\n\n")}`, { citations: showsCitations ? citations : [], metadata });
  }

  /** What is said when no model answered: the quoted answer under a visible line, or the error text and a failure. */
  async function withoutModel(turn: Turn, passages: readonly FoundPassage[], degraded: string[]): Promise<Reply> {
    const { config } = turn.bot;
    const services = [...new Set([...degraded, "llm"])];
    if (config.value("llm-fallback") === "quote") {
      return quoted(turn, passages, services, `*${turn.texts.modelUnreachable}*\n\n`);
    }
    const { code, message, details } = unavailable("llm");
    return reply(config.value("error-message") ?? turn.texts.error, {
      metadata: { degraded: services },
      finishReason: "error",
      failure: { code, message, details },
    });
  }

  interface Circumstances {
    key: AnswerCircumstances;
    rules: AnswerCacheRules;
  }

  /** What the answer depends on, if it is one that may be kept and given again; null if it is not. */
  async function cacheable(turn: Turn, facts: readonly unknown[], earlier: readonly StoredMessage[]) {
    const { config, row } = turn.bot;
    const { input, state } = turn;
    if (!config.value("llm-cache") || facts.length > 0) return null;
    if (input.message.attachments.length > 0 || input.message.type !== "text") return null;
    const isFirst = !earlier.some(({ sender }) => sender === "user");
    if (!isFirst && !standsAlone(turn.question)) return null;
    const circumstances: Circumstances = {
      key: {
        package: row.packageSha256,
        generation: row.generation,
        changed: row.updatedAt.getTime(),
        model: models.nameOf(config, state.model),
        systemPrompt: state.systemPrompt,
        contexts: state.contexts,
        knowledge: await knowledge.fingerprint(input.ctx, turn.scope),
        answerMode: turn.answerMode,
        instructions: turn.instructions,
        language: turn.language,
      },
      rules: {
        ttlSeconds: config.value("llm-cache-ttl"),
        isSemantic: config.value("llm-cache-semantic"),
        threshold: config.value("llm-cache-threshold"),
      },
    };
    return circumstances;
  }

  async function fromCache(turn: Turn, circumstances: Circumstances): Promise<Reply | null> {
    const { input, bot } = turn;
    const found = await answers.find(bot.row.id, circumstances.key, turn.question, circumstances.rules);
    if (!found) return null;
    const { content, citations, model } = found.answer;
    for (let at = 0; at < content.length; at += CACHED_PIECE) input.emit.delta(content.slice(at, at + CACHED_PIECE));
    return reply(content, {
      citations,
      metadata: { answer_mode: "model" },
      usage: {
        model,
        prompt_tokens: 0,
        completion_tokens: 0,
        latency_ms: clock.now() - turn.startedAt,
        cached: true,
      },
    });
  }

  function promptFor(
    turn: Turn,
    passages: readonly FoundPassage[],
    facts: { key: string; value: unknown }[],
    earlier: readonly StoredMessage[],
  ): Prompt {
    const { bot, state } = turn;
    const { config } = bot;
    const recent = earlier.filter(({ seq }) => seq > state.summaryToSeq);
    const maxTokens = config.value("max-tokens");
    return assemblePrompt(
      {
        systemPrompt: state.systemPrompt ?? config.value("system-prompt"),
        botTitle: bot.row.displayName,
        language: turn.language,
        answerMode: turn.answerMode,
        contexts: state.contexts,
        facts,
        instructions: turn.instructions,
        passages: passages.map((passage) => ({
          title: passage.title,
          place: placeOf(passage, turn.texts),
          text: passage.text,
        })),
        summary: config.value("episodic-memory-enabled") ? state.summary : null,
        history: asPrompt(recent),
        question: turn.ask,
      },
      {
        tokens: Math.max(1024, WINDOW_TOKENS - maxTokens),
        passageTokens: PASSAGE_TOKENS,
        marker: randomToken(9),
      },
    );
  }

  /** One model's answer, streamed; throws `unavailable("llm")` before its first token. */
  async function stream(
    turn: Turn,
    choice: ModelChoice,
    prompt: Prompt,
    passages: readonly FoundPassage[],
    degraded: string[],
  ): Promise<Reply> {
    const { input, bot, answerMode } = turn;
    const { config } = bot;
    const showsCitations = config.value("show-citations");
    const filter = citationFilter(showsCitations ? prompt.passages : 0);
    let content = "";
    let raw = "";
    /** Held back while it may still turn out to be the word for "not in the passages". */
    let isHeld = answerMode === "document";
    let finishReason: FinishReason = "error";
    let model = choice.name ?? choice.model.name;
    let counted: { promptTokens: number; completionTokens: number } | null = null;

    const show = (text: string) => {
      const shown = filter.push(text).slice(0, CONTENT_MAX - content.length);
      if (shown === "") return;
      content += shown;
      input.emit.delta(shown);
    };

    try {
      const pieces = choice.model.stream({
        messages: prompt.messages,
        ...(choice.name === null ? {} : { model: choice.name }),
        temperature: config.value("llm-temperature"),
        maxTokens: config.value("max-tokens"),
        signal: input.signal,
      });
      for await (const piece of pieces) {
        if (piece.type === "end") {
          finishReason = piece.finishReason;
          model = piece.model === "" ? model : piece.model;
          counted = piece.usage;
          continue;
        }
        raw += piece.text;
        if (isHeld) {
          if (NO_ANSWER.startsWith(raw.trim())) continue;
          isHeld = false;
          if (raw.trim().startsWith(NO_ANSWER)) break;
          show(raw);
        } else show(piece.text);
        if (content.length >= CONTENT_MAX) {
          finishReason = "length";
          break;
        }
      }
    } catch (error) {
      if (!input.signal.aborted) throw error;
      finishReason = "cancelled";
    }

    if (raw.trim().startsWith(NO_ANSWER) && answerMode === "document") {
      return noAnswer(turn, passages, { answer_mode: "model", ...(degraded.length > 0 ? { degraded } : {}) });
    }
    if (finishReason !== "cancelled" && raw.trim() === "") {
      throw unavailable("llm", new Error("the model said nothing"));
    }
    if (isHeld) show(raw);
    const rest = filter.end().slice(0, CONTENT_MAX - content.length);
    if (rest !== "") {
      content += rest;
      input.emit.delta(rest);
    }
    const citations = filter.cited.flatMap((n) => {
      const passage = passages[n - 1];
      return passage ? [citation(n, passage, null)] : [];
    });
    const asked = prompt.messages.reduce((sum, message) => sum + estimateTokens(message.content), 0);
    return reply(content, {
      citations,
      metadata: { answer_mode: "model", ...(degraded.length > 0 ? { degraded } : {}) },
      usage: {
        model,
        prompt_tokens: counted?.promptTokens ?? asked,
        completion_tokens: counted?.completionTokens ?? estimateTokens(raw),
        latency_ms: clock.now() - turn.startedAt,
        cached: false,
      },
      finishReason,
    });
  }

  async function fromModels(turn: Turn, choices: readonly ModelChoice[]): Promise<Reply> {
    const { input, bot, state } = turn;
    const { config } = bot;
    const { conversation, signal } = input;
    const usesMemory = config.value("user-memory-enabled") && conversation.userId !== null;
    const facts = usesMemory && conversation.userId ? await memory.facts(bot.row.id, conversation.userId) : [];
    const earlier = await input.history(config.value("context-window"));
    const circumstances = await cacheable(turn, facts, earlier);
    const known = circumstances && !input.regenerate ? await fromCache(turn, circumstances) : null;
    if (known) return known;

    const { passages, degraded } = await find(turn);
    const hasContexts = Object.keys(state.contexts).length > 0;
    if (turn.answerMode === "document" && passages.length === 0 && !hasContexts) {
      return noAnswer(turn, [], { answer_mode: "model", ...(degraded.length > 0 ? { degraded } : {}) });
    }
    const prompt = promptFor(turn, passages, facts, earlier);
    for (const choice of choices) {
      try {
        const answer = await stream(turn, choice, prompt, passages, degraded);
        const isKeepable = answer.finishReason === "stop" && degraded.length === 0 && !answer.metadata["no_answer"];
        if (circumstances && isKeepable) {
          const { content, citations } = answer;
          const model = answer.usage?.model ?? choice.model.name;
          await answers.store(
            bot.row.id,
            circumstances.key,
            turn.question,
            { content, citations, model },
            circumstances.rules,
          );
        }
        if (!signal.aborted) summaries.after({ bot, state, conversation, messages: [...earlier, input.message] });
        return answer;
      } catch (error) {
        signal.throwIfAborted();
        if (!isAppError(error) || error.details["service"] !== "llm") throw error;
        log.warn("the language model did not answer", { bot: bot.row.id, model: choice.name, error });
      }
    }
    return withoutModel(turn, passages, degraded);
  }

  const find = (turn: Turn) => knowledge.find(turn.input.ctx, turn.scope, turn.lookup, turn.input.signal);

  async function respond(input: RespondInput): Promise<Reply> {
    const turn = await prepare(input);
    const answer = await answerOf(turn);
    // Streamed answers have been shown piece by piece; all others are one piece.
    if (answer.metadata["answer_mode"] !== "model" || answer.metadata["no_answer"]) input.emit.delta(answer.content);
    await offer(input, turn.state, answer.suggestions);
    return answer;
  }

  async function answerOf(turn: Turn): Promise<Reply> {
    if (turn.question === "") return noAnswer(turn, [], { answer_mode: "quoted" });
    const choices = models.order(turn.bot.config, turn.state.model);
    if (choices.length > 0) return fromModels(turn, choices);
    const { passages, degraded } = await find(turn);
    return quoted(turn, passages, degraded);
  }

  return {
    respond,

    greet: async (input) => {
      const bot = await openBot(input.conversation);
      const language = languageOf(bot, input.conversation);
      const texts = textsFor(language);
      const questions = await questionsInTime(input, bot, language);
      const suggestions = questions.map((question) => ({ label: question, value: question }));
      const title = bot.row.displayName;
      const canAnswer =
        questions.length > 0 || models.nameOf(bot.config) !== null || (await deps.hasDocuments(bot.row.id));
      const builtIn = canAnswer ? texts.greeting(title) : texts.emptyGreeting(title);
      const content = bot.config.value("welcome-message") ?? builtIn;
      await offer(input, await sessions.read(input.conversation), suggestions);
      return [reply(content, { suggestions })];
    },

    setContext: async (_ctx, conversation, name, content) => {
      if (name === "" || name.length > CONTEXT_NAME_MAX) {
        throw invalid([{ path: "name", message: `must be 1–${CONTEXT_NAME_MAX} characters` }]);
      }
      await sessions.setContext(conversation, name, content);
    },

    present: (_ctx, conversation) => sessions.choices(conversation),

    settled: () => summaries.settled(),
  };
}
