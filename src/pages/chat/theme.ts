// Puts on a bot's theme: its stylesheet from the server, and an accent that stays readable on light and dark.
import { ApiFault, fetchRaw } from "../parts/api.ts";
import { luminance, readable, textOn } from "./colour.ts";
import type { Rgb } from "./colour.ts";

/** Any CSS colour as red, green and blue; null if it is none. */
function parse(colour: string): Rgb | null {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  if (!probe || !CSS.supports("color", colour)) return null;
  probe.canvas.width = 1;
  probe.canvas.height = 1;
  probe.fillStyle = colour;
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  return r === undefined || g === undefined || b === undefined ? null : { r, g, b };
}

const css = ({ r, g, b }: Rgb) => `rgb(${r} ${g} ${b})`;

/** The computed value of a colour property on the page. */
function computed(value: string): Rgb | null {
  const probe = document.createElement("span");
  probe.hidden = true;
  probe.style.color = value;
  document.body.append(probe);
  const found = parse(getComputedStyle(probe).color);
  probe.remove();
  return found;
}

let sheet: CSSStyleSheet | null = null;

function adjust(): void {
  const root = document.documentElement;
  for (const name of ["--accent", "--on-accent"]) root.style.removeProperty(name);
  delete root.dataset["scheme"];
  const own = getComputedStyle(root);
  // A theme with a background of its own decides between light and dark.
  const background = own.getPropertyValue("--background").trim();
  const themed = background === "" ? null : parse(background);
  if (themed) root.dataset["scheme"] = luminance(themed) > 0.4 ? "light" : "dark";
  const primary = own.getPropertyValue("--primary-color").trim();
  const colour = primary === "" ? null : parse(primary);
  const canvas = computed("var(--canvas)");
  if (!colour || !canvas) return;
  const accent = readable(colour, canvas);
  root.style.setProperty("--accent", css(accent));
  root.style.setProperty("--on-accent", css(textOn(accent)));
}

/** The style sheet's text; null when this caller gets none. */
async function themeText(path: string, name: string | null, token: string | null): Promise<string | null> {
  try {
    return await (await fetchRaw(path, { token, query: { name } })).text();
  } catch (fault) {
    if (!(fault instanceof ApiFault)) throw fault;
    // A name that the bot's package does not bring: its colours may be there all the same.
    return name === null ? null : themeText(path, null, token);
  }
}

/** Loads the theme of `bot` (named `name`, or its default one) and puts it on; a bot without one leaves the page as it is. */
export async function wearTheme(bot: string, name: string | null, token: string | null): Promise<void> {
  const path = `/bots/${encodeURIComponent(bot)}/theme.css`;
  const text = await themeText(path, name, token);
  if (text === null) return;
  // A constructed sheet is no inline style; addresses in it count from the theme's own.
  const next = new CSSStyleSheet({ baseURL: new URL(`/api/v1${path}`, location.origin).href });
  next.replaceSync(text);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets.filter((old) => old !== sheet), next];
  sheet = next;
  adjust();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (sheet) adjust();
});
