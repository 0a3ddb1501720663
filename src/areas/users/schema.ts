// Shapes of the users area on the wire (contract auth-and-users.md).

import { t } from "elysia";
import { CLOSED, Moment, nullable, oneOf } from "../../http/schema.ts";

export const UserRecord = t.Object({
  user_id: t.String(),
  id: t.String(),
  username: t.String(),
  email: t.String(),
  pending_email: nullable(t.String()),
  email_verified: t.Boolean(),
  display_name: t.String(),
  full_name: t.String(),
  first_name: nullable(t.String()),
  last_name: nullable(t.String()),
  avatar_url: nullable(t.String()),
  phone: nullable(t.String()),
  role: nullable(t.String({ description: "the held role with the highest level" })),
  roles: t.Array(t.String(), { description: "inherited ones included" }),
  groups: t.Array(t.Object({ id: t.String(), name: t.String() })),
  organization_id: nullable(t.String()),
  status: oneOf(["pending_verification", "pending_activation", "active", "suspended", "inactive", "deleted"]),
  suspended_reason: nullable(t.String()),
  two_factor_enabled: t.Boolean(),
  identities: t.Array(t.Object({ provider: oneOf(["local", "oidc"]), subject: t.String(), linked_at: Moment })),
  must_change_password: t.Boolean(),
  password_changed_at: nullable(Moment),
  metadata: t.Record(t.String(), t.Union([t.String(), t.Number(), t.Boolean()])),
  created_at: Moment,
  updated_at: Moment,
  last_login: nullable(Moment),
  deleted_at: nullable(Moment),
});

export const Me = t.Composite([UserRecord, t.Object({ permissions: t.Array(t.String()) })]);

export const Card = t.Object({
  user_id: t.String(),
  username: t.String(),
  display_name: t.String(),
  avatar_url: nullable(t.String()),
});

export const SessionRecord = t.Object({
  session_id: t.String(),
  user_id: t.String(),
  bot_id: nullable(t.String()),
  organization_id: nullable(t.String()),
  status: oneOf(["active", "ended"]),
  ended_reason: nullable(t.String()),
  method: t.String(),
  remember_me: t.Boolean(),
  restricted: nullable(t.String()),
  ip_address: nullable(t.String()),
  user_agent: nullable(t.String()),
  device: nullable(t.String()),
  location: nullable(t.String()),
  created_at: Moment,
  started_at: Moment,
  last_activity: Moment,
  expires_at: Moment,
  current: t.Boolean(),
});

export const KeyRecord = t.Object({
  key_id: t.String(),
  user_id: t.String(),
  name: t.String(),
  prefix: t.String({ description: "the first 12 characters" }),
  scopes: t.Array(t.String()),
  permissions: t.Array(t.String()),
  ip_allowlist: t.Array(t.String()),
  expires_at: nullable(Moment),
  last_used_at: nullable(Moment),
  last_used_ip: nullable(t.String()),
  status: oneOf(["active", "expired", "revoked"]),
  created_at: Moment,
  revoked_at: nullable(Moment),
});

export const KeySecret = t.Composite([
  KeyRecord,
  t.Object({ api_key: t.String({ description: "shown this once" }), key: t.String() }),
]);

const Password = t.String({ minLength: 1, maxLength: 1024 });
const Email = t.String({ minLength: 3, maxLength: 254, examples: ["ana@example.org"] });
const Name = t.String({ minLength: 1, maxLength: 100 });

export const Login = t.Object({
  username: t.Optional(t.String({ minLength: 1, maxLength: 254, description: "user name, or address if it has an @" })),
  email: t.Optional(t.String({ minLength: 1, maxLength: 254 })),
  password: Password,
  two_factor_code: t.Optional(t.String({ maxLength: 16 })),
  remember_me: t.Optional(t.Boolean()),
  remember: t.Optional(t.Boolean()),
});

export const TokenPair = t.Object({
  access_token: t.String(),
  refresh_token: t.String(),
  token_type: t.Literal("Bearer"),
  expires_in: t.Integer({ description: "seconds" }),
});

export const LoggedIn = t.Composite([
  TokenPair,
  t.Object({ session_id: t.String(), requires_2fa: t.Literal(false), user: UserRecord, redirect: t.String() }),
]);

export const Grant = t.Object({
  grant_type: t.Optional(t.String({ maxLength: 64, description: "password, refresh_token or client_credentials" })),
  username: t.Optional(t.String({ maxLength: 254 })),
  email: t.Optional(t.String({ maxLength: 254 })),
  password: t.Optional(Password),
  refresh_token: t.Optional(t.String({ maxLength: 512 })),
  client_id: t.Optional(t.String({ maxLength: 128 })),
  client_secret: t.Optional(t.String({ maxLength: 512 })),
  remember_me: t.Optional(t.Boolean()),
});

/** The bare answers of RFC 6749 to requests in form encoding (sections 5.1 and 5.2). */
export const OAuthTokens = t.Object({
  access_token: t.String(),
  refresh_token: t.Optional(t.String()),
  token_type: t.Literal("Bearer"),
  expires_in: t.Integer({ description: "seconds" }),
});
export const OAuthFailure = t.Object({ error: t.String(), error_description: t.Optional(t.String()) });

export const Refresh = t.Object({ refresh_token: t.String({ minLength: 1, maxLength: 512 }) });

export const Logout = t.Optional(
  t.Object({ refresh_token: t.Optional(t.String({ maxLength: 512 })), everywhere: t.Optional(t.Boolean()) }),
);

export const Register = t.Object({
  email: Email,
  password: Password,
  username: t.Optional(t.String({ minLength: 3, maxLength: 64 })),
  display_name: t.Optional(Name),
  first_name: t.Optional(Name),
  last_name: t.Optional(Name),
  invitation_token: t.Optional(t.String({ maxLength: 512 })),
});

export const Bootstrap = t.Object({
  bootstrap_secret: t.String({ minLength: 1, maxLength: 512, description: "of the setup link, or BOOTSTRAP_SECRET" }),
  username: t.Optional(t.String({ minLength: 3, maxLength: 64, default: "admin" })),
  email: Email,
  password: Password,
  organization_name: t.Optional(t.String({ minLength: 1, maxLength: 100, default: "Default" })),
  first_name: t.Optional(Name),
  last_name: t.Optional(Name),
});

export const Settings = t.Object({
  theme: oneOf(["light", "dark", "blue", "purple", "green", "orange"]),
  accent_color: nullable(t.String({ pattern: "^#[0-9a-fA-F]{6}$" })),
  font_size: oneOf(["small", "medium", "large"]),
  language: t.String({ minLength: 2, maxLength: 35, description: "BCP 47" }),
  timezone: t.String({ minLength: 1, maxLength: 64, description: "IANA" }),
  notifications: t.Object({
    email: t.Boolean(),
    push: t.Boolean(),
    sound: t.Boolean(),
    digest: oneOf(["off", "daily", "weekly"]),
  }),
  privacy: t.Object({ show_online: t.Boolean(), discoverable: t.Boolean() }),
  default_bot: t.String({ minLength: 1, maxLength: 64 }),
  custom: t.Record(t.String(), t.Unknown()),
});

export const SettingsPart = t.Partial(
  t.Composite([
    t.Omit(Settings, ["notifications", "privacy"]),
    t.Object({
      notifications: t.Partial(Settings.properties.notifications, CLOSED),
      privacy: t.Partial(Settings.properties.privacy, CLOSED),
    }),
  ]),
  CLOSED,
);

const KeyFields = {
  name: t.String({ minLength: 1, maxLength: 100 }),
  scopes: t.Optional(t.Array(t.String({ maxLength: 64 }), { minItems: 1, maxItems: 200 })),
  permissions: t.Optional(t.Array(t.String({ maxLength: 64 }), { minItems: 1, maxItems: 200 })),
  expires_at: t.Optional(t.String({ format: "date-time" })),
  expires_in_days: t.Optional(t.Integer({ minimum: 1, maximum: 365 })),
  ip_allowlist: t.Optional(t.Array(t.String({ maxLength: 64 }), { maxItems: 100 })),
};

export const NewKey = t.Object(KeyFields);
export const KeyPart = t.Partial(t.Omit(t.Object(KeyFields), ["expires_in_days"]));

export const Validation = t.Object({
  valid: t.Literal(true),
  kind: oneOf(["session", "api_key"]),
  user_id: t.String(),
  session_id: nullable(t.String()),
  expires_at: nullable(Moment),
  roles: t.Array(t.String()),
  permissions: t.Array(t.String()),
});
