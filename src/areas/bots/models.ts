// Which language models a bot talks to: the operator's, or its own by `llm-url`; under which names; and in which order
// others are tried when one does not answer.

import type { Fetcher } from "../../engines/fetch/index.ts";
import type { Model, ModelOptions } from "../../engines/model/index.ts";
import { sha256Hex } from "../../lib/ids/index.ts";
import type { BotConfig } from "./config.ts";

export type ModelAlias = "default" | "fast" | "quality" | "code";

/** A model and the name that it is asked for. */
export interface ModelChoice {
  model: Model;
  /** Null: the one that the connection was opened for. */
  name: string | null;
}

export interface BotModels {
  /** What is tried one after another; empty where no model is configured. `wanted`: a model's name or an alias. */
  order(config: BotConfig, wanted: string | null): ModelChoice[];
  /** The first choice with its name bound, for callers that know nothing of a bot's settings; null without a model. */
  first(config: BotConfig): Model | null;
  /** The name under which answers are made, for the bot's view and for caches; null without a model. */
  nameOf(config: BotConfig, wanted?: string | null): string | null;
}

export interface OperatorModels {
  /** Null: LLM_URL is not set. */
  connection: { url: string; apiKey: string | null; model: string | null; timeoutMs: number } | null;
  aliases: Partial<Record<ModelAlias, string | null>>;
  fallbackOrder: readonly string[];
}

const ALIASES: readonly string[] = ["default", "fast", "quality", "code"] satisfies ModelAlias[];
const OPEN_MAX = 200;

/** The guard's client in the platform's form, for the model of one bot. */
function guardedFetch(
  fetcher: Pick<Fetcher, "fetch">,
  config: BotConfig,
  timeoutMs: number,
): NonNullable<ModelOptions["fetch"]> {
  const hosts = {
    ...(config.value("allow-hosts") ? { allowed: config.value("allow-hosts") ?? [] } : {}),
    ...(config.value("deny-hosts") ? { denied: config.value("deny-hosts") ?? [] } : {}),
  };
  return async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    const answer = await fetcher.fetch(url, {
      method: init?.method ?? "GET",
      headers: Object.fromEntries(new Headers(init?.headers)),
      ...(typeof init?.body === "string" ? { body: init.body } : {}),
      ...(init?.signal ? { signal: init.signal } : {}),
      maxRedirects: 0,
      timeoutMs,
      hosts,
    });
    return new Response(answer.body, { status: answer.status, headers: answer.headers });
  };
}

/** `open` makes a connection; addresses from a bot's settings are called through `fetcher`, the outbound guard. */
export function botModels(deps: {
  operator: OperatorModels;
  open: (options: ModelOptions) => Model;
  fetcher: Pick<Fetcher, "fetch">;
}): BotModels {
  const { operator, open, fetcher } = deps;
  const timeoutMs = operator.connection?.timeoutMs ?? 120_000;
  const opened = new Map<string, Model>();

  /** One connection per server, key and model; the least lately used goes when there are too many. */
  function connect(key: string, make: () => Model): Model {
    const known = opened.get(key) ?? make();
    opened.delete(key);
    opened.set(key, known);
    const oldest = opened.size > OPEN_MAX ? opened.keys().next().value : undefined;
    if (oldest !== undefined) opened.delete(oldest);
    return known;
  }

  function modelOf(config: BotConfig): Model | null {
    const url = config.value("llm-url");
    const ownKey = config.value("llm-key");
    const written = config.value("llm-model");
    // The operator's model, shown as the default of this key, means nothing to a server of the bot's own.
    const name = url !== null && config.source("llm-model") === "default" ? null : written;
    if (url !== null) {
      const hosts = [config.text("allow-hosts"), config.text("deny-hosts")];
      return connect(sha256Hex(JSON.stringify(["own", url, ownKey, name, hosts])), () =>
        open({
          url,
          apiKey: ownKey,
          model: name,
          timeoutMs,
          fetch: guardedFetch(fetcher, config, timeoutMs),
        }),
      );
    }
    const { connection } = operator;
    if (connection === null) return null;
    const apiKey = ownKey ?? connection.apiKey;
    const model = name ?? connection.model;
    return connect(sha256Hex(JSON.stringify(["operator", apiKey, model])), () =>
      open({ ...connection, apiKey, model }),
    );
  }

  /** The model that an alias stands for, or the name itself; null for an alias that nobody has set. */
  function resolve(config: BotConfig, name: string): string | null {
    if (!ALIASES.includes(name)) return name === "local" ? null : name;
    const own = config.value(`model-${name as ModelAlias}`);
    // Names of the operator's server mean nothing to a server of the bot's own.
    return own ?? (config.value("llm-url") === null ? (operator.aliases[name as ModelAlias] ?? null) : null);
  }

  const firstName = (config: BotConfig, wanted: string | null) =>
    (wanted === null ? null : resolve(config, wanted)) ?? resolve(config, "default");

  function order(config: BotConfig, wanted: string | null): ModelChoice[] {
    const model = modelOf(config);
    if (model === null) return [];
    const first = firstName(config, wanted);
    const others = config.value("model-fallback-enabled")
      ? (config.value("model-fallback-order") ?? operator.fallbackOrder)
      : [];
    const names = others.map((name) => resolve(config, name)).filter((name) => name !== null);
    const distinct = [...new Set(names)].filter((name) => name !== (first ?? model.name));
    return [{ model, name: first }, ...distinct.map((name) => ({ model, name }))];
  }

  return {
    order,
    first: (config) => {
      const [choice] = order(config, null);
      if (!choice) return null;
      const { model, name } = choice;
      if (name === null) return model;
      return { ...model, name, stream: (request) => model.stream({ model: name, ...request }) };
    },
    nameOf: (config, wanted = null) => {
      const model = modelOf(config);
      return model === null ? null : (firstName(config, wanted) ?? model.name);
    },
  };
}
