// The label of a device in lists of sessions ("Chrome on Windows"), by bowser.

import Bowser from "bowser";

/** A label for people, or null when the header tells nothing. */
export function deviceLabel(userAgent: string | null): string | null {
  if (!userAgent) return null;
  const { browser, os } = Bowser.parse(userAgent.slice(0, 512));
  if (!browser.name) return userAgent.split(/[\s/]/, 1)[0]?.slice(0, 40) ?? null;
  return os.name ? `${browser.name} on ${os.name}` : browser.name;
}
