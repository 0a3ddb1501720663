// Security settings: the one row of what differs from the defaults, read from memory on the hot path.

import { eq } from "drizzle-orm";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import { securitySettings } from "./model.ts";

export interface PasswordPolicy {
  min_length: number;
  max_length: number;
  require_uppercase: boolean;
  require_lowercase: boolean;
  require_numbers: boolean;
  require_special: boolean;
  expiry_days: number;
  history_count: number;
  block_common: boolean;
}

export interface SessionPolicy {
  /** Idle minutes; 0 for none. */
  timeout_minutes: number;
  absolute_hours: number;
  max_sessions: number;
  remember_me_days: number;
  access_token_minutes: number;
  refresh_reuse_grace_seconds: number;
}

export interface SecuritySettings {
  password_policy: PasswordPolicy;
  session_policy: SessionPolicy;
  lockout_policy: { max_attempts: number; lockout_duration_minutes: number; reset_window_minutes: number };
  registration: { require_verification: boolean; allowed_email_domains: string[]; default_role: string };
}

/** The contract's defaults (auth-and-users.md, "Security settings"). */
export const DEFAULT_SETTINGS: SecuritySettings = {
  password_policy: {
    min_length: 12,
    max_length: 128,
    require_uppercase: false,
    require_lowercase: false,
    require_numbers: false,
    require_special: false,
    expiry_days: 0,
    history_count: 5,
    block_common: true,
  },
  session_policy: {
    timeout_minutes: 30,
    absolute_hours: 24,
    max_sessions: 5,
    remember_me_days: 30,
    access_token_minutes: 60,
    refresh_reuse_grace_seconds: 10,
  },
  lockout_policy: { max_attempts: 5, lockout_duration_minutes: 30, reset_window_minutes: 15 },
  registration: { require_verification: true, allowed_email_domains: [], default_role: "user" },
};

export interface SecuritySettingsStore {
  /** As last loaded. */
  current(): SecuritySettings;
  /** Reads the row again. */
  load(): Promise<void>;
}

/** Makes the store with the defaults; `load` brings in what the database says. */
export function openSecuritySettings(deps: { database: DatabaseEngine }): SecuritySettingsStore {
  let current = DEFAULT_SETTINGS;
  return {
    current: () => current,
    load: async () => {
      const [row] = await deps.database.db.select().from(securitySettings).where(eq(securitySettings.id, 1));
      const stored = (row?.settings ?? {}) as { [Key in keyof SecuritySettings]?: Partial<SecuritySettings[Key]> };
      current = {
        password_policy: { ...DEFAULT_SETTINGS.password_policy, ...stored.password_policy },
        session_policy: { ...DEFAULT_SETTINGS.session_policy, ...stored.session_policy },
        lockout_policy: { ...DEFAULT_SETTINGS.lockout_policy, ...stored.lockout_policy },
        registration: { ...DEFAULT_SETTINGS.registration, ...stored.registration },
      };
    },
  };
}
