// A person's own settings and their defaults (contract auth-and-users.md, "Settings").

export interface PersonalSettings {
  theme: "light" | "dark" | "blue" | "purple" | "green" | "orange";
  accent_color: string | null;
  font_size: "small" | "medium" | "large";
  language: string;
  timezone: string;
  notifications: { email: boolean; push: boolean; sound: boolean; digest: "off" | "daily" | "weekly" };
  privacy: { show_online: boolean; discoverable: boolean };
  default_bot: string;
  custom: Record<string, unknown>;
}

export const DEFAULT_PERSONAL: PersonalSettings = {
  theme: "light",
  accent_color: null,
  font_size: "medium",
  language: "en",
  timezone: "UTC",
  notifications: { email: true, push: true, sound: true, digest: "off" },
  privacy: { show_online: true, discoverable: true },
  default_bot: "default",
  custom: {},
};

/** A part of the settings; what is left out or undefined stays as it is. */
export type PersonalPart = {
  [Key in keyof Omit<PersonalSettings, "notifications" | "privacy">]?: PersonalSettings[Key] | undefined;
} & {
  notifications?:
    | { [Key in keyof PersonalSettings["notifications"]]?: PersonalSettings["notifications"][Key] | undefined }
    | undefined;
  privacy?: { [Key in keyof PersonalSettings["privacy"]]?: PersonalSettings["privacy"][Key] | undefined } | undefined;
};

/** `base` with the defined members of `part`. */
function overlay<T extends object>(base: T, part: object | undefined): T {
  return { ...base, ...Object.fromEntries(Object.entries(part ?? {}).filter(([, value]) => value !== undefined)) };
}

/** `stored` over the defaults, then `part` over both, the two nested objects by field. */
export function mergeSettings(stored: PersonalPart, part: PersonalPart): PersonalSettings {
  return {
    ...overlay(overlay(DEFAULT_PERSONAL, stored), part),
    notifications: overlay(overlay(DEFAULT_PERSONAL.notifications, stored.notifications), part.notifications),
    privacy: overlay(overlay(DEFAULT_PERSONAL.privacy, stored.privacy), part.privacy),
  };
}
