// Shapes of the bots area on the wire (contract bots.md and admin.md).

import { t } from "elysia";
import { Moment, nullable, oneOf } from "../../http/schema.ts";

const Visibility = oneOf(["organization", "public", "private", "admin"]);
const Status = oneOf(["active", "inactive", "restarting", "error"]);
const AnswerMode = oneOf(["direct", "document", "tool", "chart"]);
const Language = t.String({ pattern: "^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description: "BCP 47" });
const Names = t.Array(t.String({ minLength: 1, maxLength: 200 }), { maxItems: 1000 });

export const BotRef = t.Object({ bot: t.String({ maxLength: 64, description: "id or name" }) });
export const BotStatus = Status;
export const BotVisibility = Visibility;

export const Card = t.Object({
  bot_id: t.String(),
  id: t.String(),
  name: t.String(),
  display_name: t.String(),
  title: t.String({ description: "= display_name" }),
  description: t.String(),
  avatar_url: nullable(t.String()),
  language: t.String(),
  status: Status,
  is_default: t.Boolean(),
});

const accessFields = {
  visibility: Visibility,
  anonymous_allowed: t.Boolean(),
  allowed_roles: t.Array(t.String()),
  allowed_groups: t.Array(t.String(), { description: "ids" }),
  allowed_users: t.Array(t.String(), { description: "ids" }),
  denied_users: t.Array(t.String(), { description: "ids; stronger than everything that lets in" }),
};
export const Access = t.Object(accessFields);

export const Decision = t.Object({
  allowed: t.Boolean(),
  reason: t.String({
    description: "`public`, `organization`, `user`, `role:x`, `group:y`; `denied`, `inactive`, `none`",
  }),
  visibility: t.Optional(Visibility),
  anonymous_allowed: t.Optional(t.Boolean()),
  allowed_roles: t.Optional(t.Array(t.String())),
  allowed_groups: t.Optional(t.Array(t.String())),
  allowed_users: t.Optional(t.Array(t.String())),
  denied_users: t.Optional(t.Array(t.String())),
});

export const Bot = t.Composite([
  Card,
  t.Object({
    organization_id: nullable(t.String()),
    ...accessFields,
    system_permissions: t.Array(t.String()),
    limits: t.Object({ max_concurrent_sessions: nullable(t.Integer()) }),
    answer_mode: AnswerMode,
    engines: t.Object({
      llm: nullable(t.String()),
      embeddings: nullable(t.String()),
      vectors: nullable(t.String()),
    }),
    version: t.Integer({ description: "+1 per change of the package" }),
    generation: t.Integer({ description: "+1 per load" }),
    loaded: t.Object({
      dialogs: t.Integer(),
      tools: t.Integer(),
      kb_collections: t.Integer(),
      documents: t.Integer(),
      schedules: t.Integer(),
    }),
    problems: t.Array(
      t.Object({
        file: t.String(),
        line: nullable(t.Integer()),
        column: nullable(t.Integer()),
        severity: oneOf(["error", "warning"]),
        message: t.String(),
      }),
    ),
    broken_scripts: t.Array(t.String()),
    last_restart: nullable(
      t.Object({
        at: t.String(),
        by: nullable(t.String()),
        result: oneOf(["ok", "failed"]),
        duration_ms: t.Number(),
      }),
    ),
    channels: t.Array(t.String()),
    created_by: nullable(t.String()),
    created_at: Moment,
    updated_at: Moment,
  }),
]);

const SettingInput = t.Union([
  t.String({ maxLength: 65_536 }),
  t.Number(),
  t.Boolean(),
  t.Array(t.String({ maxLength: 1000 }), { maxItems: 1000 }),
  t.Null(),
]);
export const SettingValues = t.Record(t.String({ maxLength: 200 }), SettingInput, { maxProperties: 1000 });
export const OneSetting = t.Object({ value: SettingInput });

const accessInput = {
  visibility: t.Optional(Visibility),
  anonymous_allowed: t.Optional(t.Boolean()),
  allowed_roles: t.Optional(Names),
  allowed_groups: t.Optional(t.Array(t.String({ minLength: 1, maxLength: 200 }), { description: "ids or names" })),
  allowed_users: t.Optional(t.Array(t.String({ minLength: 1, maxLength: 64 }), { maxItems: 10_000 })),
  denied_users: t.Optional(t.Array(t.String({ minLength: 1, maxLength: 64 }), { maxItems: 10_000 })),
};
export const AccessInput = t.Object(accessInput);

const botInput = {
  display_name: t.Optional(t.String({ minLength: 1, maxLength: 100, pattern: "\\S" })),
  title: t.Optional(t.String({ minLength: 1, maxLength: 100, pattern: "\\S", description: "= display_name" })),
  description: t.Optional(t.String({ maxLength: 1000 })),
  avatar_url: t.Optional(nullable(t.String({ maxLength: 2000, pattern: "^(https?://|/)" }))),
  language: t.Optional(Language),
  organization_id: t.Optional(nullable(t.String({ format: "uuid" }))),
  ...accessInput,
  system_permissions: t.Optional(t.Array(t.String({ maxLength: 100 }), { maxItems: 200 })),
  limits: t.Optional(
    t.Object({ max_concurrent_sessions: t.Optional(nullable(t.Integer({ minimum: 1, maximum: 1_000_000 }))) }),
  ),
  answer_mode: t.Optional(AnswerMode),
  config: t.Optional(SettingValues),
};
export const NewBot = t.Object({
  name: t.String({ minLength: 1, maxLength: 100, description: "a–z, 0–9 and -; fixed for life" }),
  ...botInput,
  active: t.Optional(t.Boolean()),
});
export const ChangedBot = t.Object({
  name: t.Optional(t.String({ maxLength: 100 })),
  ...botInput,
  status: t.Optional(oneOf(["active", "inactive"])),
});
export const Removal = t.Object({
  confirm: t.Optional(t.String({ maxLength: 100, description: "the bot's name" })),
  conversations: t.Optional(oneOf(["keep", "delete"])),
});

export const Setting = t.Object({
  name: t.String(),
  value: t.Union([t.String(), t.Number(), t.Boolean(), t.Array(t.String()), t.Null()]),
  source: oneOf(["default", "package", "override"]),
  secret: t.Boolean(),
});
export const Settings = t.Object({ settings: t.Array(Setting) });
export const SettingRef = t.Object({
  bot: t.String({ maxLength: 64, description: "id or name" }),
  key: t.String({ minLength: 1, maxLength: 200 }),
});

export const MemoryKind = oneOf(["preference", "fact", "context"]);
export const MemoryEntry = t.Object({
  key: t.String(),
  value: t.Unknown({ description: "any JSON" }),
  kind: nullable(MemoryKind),
  bot_id: nullable(t.String()),
  user_id: nullable(t.String()),
  expires_at: nullable(Moment),
  updated_at: Moment,
});
const ttl = t.Optional(t.Integer({ minimum: 0, maximum: 3_153_600_000, description: "seconds; 0 keeps" }));
export const BotMemoryInput = t.Object({ value: t.Unknown({ description: "any JSON, at most 64 KiB" }), ttl });
export const UserMemoryInput = t.Object({
  value: t.Unknown({ description: "any JSON, at most 64 KiB" }),
  kind: t.Optional(nullable(MemoryKind)),
  ttl,
  bot_id: t.Optional(t.String({ maxLength: 64 })),
});
export const BotMemoryRef = t.Object({
  bot: t.String({ maxLength: 64, description: "id or name" }),
  key: t.String({ minLength: 1, maxLength: 255 }),
});
export const MemoryRef = t.Object({ key: t.String({ minLength: 1, maxLength: 255 }) });
export const OfBot = t.Object({ bot_id: t.Optional(t.String({ maxLength: 64, description: "id or name" })) });

export const Suggestion = t.Object({ label: t.String(), value: t.String() });
export const Switcher = t.Object({
  id: t.String(),
  label: t.String(),
  color: nullable(t.String()),
  active: t.Boolean(),
});
export const Choices = t.Object({ suggestions: t.Array(Suggestion), switchers: t.Array(Switcher) });
export const Switchers = t.Object({ switchers: t.Array(Switcher) });
export const SwitcherRef = t.Object({
  id: t.String({ maxLength: 64 }),
  switcher_id: t.String({ minLength: 1, maxLength: 200 }),
});
export const ConversationRef = t.Object({ id: t.String({ maxLength: 64 }) });

const Texts = t.Record(t.String({ maxLength: 255 }), t.String({ maxLength: 1_048_576 }));
export const SessionContext = t.Object({
  conversation_id: t.String(),
  session_id: t.String(),
  bot_id: t.String(),
  variables: t.Optional(t.Record(t.String(), t.Unknown())),
  contexts: Texts,
  active_kbs: nullable(t.Array(t.String())),
  active_websites: t.Array(t.String()),
  active_tools: nullable(t.Array(t.String())),
  bots: t.Array(t.Object({ bot_id: t.String(), triggers: t.Array(t.String()) })),
  system_prompt: nullable(t.String()),
  model: nullable(t.String()),
  answer_mode: nullable(AnswerMode),
});
export const ContextPatch = t.Object({
  contexts: t.Optional(Texts),
  active_kbs: t.Optional(nullable(Names)),
  active_tools: t.Optional(nullable(Names)),
  system_prompt: t.Optional(nullable(t.String({ maxLength: 65_536 }))),
  model: t.Optional(nullable(t.String({ minLength: 1, maxLength: 200 }))),
  answer_mode: t.Optional(nullable(AnswerMode)),
});
