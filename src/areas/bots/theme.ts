// The style sheet that a bot's settings make. Package themes come in front of it once a package brings one. Pure.

import type { BotConfig } from "./config.ts";

/** CSS custom properties of the page, from `theme-color1` and `theme-color2`; empty when neither is set. */
export function themeCss(config: Pick<BotConfig, "value">): string {
  const declarations = [
    ["--primary-color", config.value("theme-color1")],
    ["--secondary-color", config.value("theme-color2")],
  ].flatMap(([name, value]) => (value === null ? [] : [`  ${name}: ${value};`]));
  return declarations.length === 0 ? "" : `:root {\n${declarations.join("\n")}\n}\n`;
}
