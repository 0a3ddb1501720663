// Puts on a bot's theme: its stylesheet from the server, and an accent that stays readable on light and dark.
import { ApiFault, fetchRaw } from "../parts/api.ts";

export interface Rgb {
  r: number;
  g: number;
  b: number;
}

/** Relative luminance (WCAG 2, 1.4.3), 0 to 1. */
export function luminance({ r, g, b }: Rgb): number {
  const part = (value: number) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
}

/** Contrast ratio of two colours, 1 to 21. */
export function contrast(one: Rgb, two: Rgb): number {
  const [low, high] = [luminance(one), luminance(two)].sort((a, b) => a - b);
  return ((high ?? 0) + 0.05) / ((low ?? 0) + 0.05);
}

/** `colour` moved towards black or white until it reads on `background` with at least 4.5 : 1. */
export function readable(colour: Rgb, background: Rgb): Rgb {
  const target = luminance(background) > 0.4 ? 0 : 255;
  let best = colour;
  for (let step = 0; step <= 20 && contrast(best, background) < 4.6; step += 1) {
    const share = step / 20;
    const mix = (value: number) => Math.round(value + (target - value) * share);
    best = { r: mix(colour.r), g: mix(colour.g), b: mix(colour.b) };
  }
  return best;
}

/** Black or white, whichever reads better on `colour`. */
export function textOn(colour: Rgb): Rgb {
  const white = { r: 255, g: 255, b: 255 };
  const black = { r: 16, g: 20, b: 19 };
  return contrast(colour, white) >= contrast(colour, black) ? white : black;
}

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

/** Loads the theme of `bot` (named `name`, or its default one) and puts it on; a bot without one leaves the page as it is. */
export async function wearTheme(bot: string, name: string | null, token: string | null): Promise<void> {
  let text: string;
  const path = `/bots/${encodeURIComponent(bot)}/theme.css`;
  try {
    text = await (await fetchRaw(path, { token, query: { name } })).text();
  } catch (fault) {
    // No theme, or none for this caller.
    if (fault instanceof ApiFault) return;
    throw fault;
  }
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
