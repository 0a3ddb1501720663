// Colours and how well they read on each other (WCAG 2). Pure.

export interface Rgb {
  r: number;
  g: number;
  b: number;
}

const ENOUGH = 4.6;
const WHITE: Rgb = { r: 255, g: 255, b: 255 };
const BLACK: Rgb = { r: 16, g: 20, b: 19 };

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
  const a = luminance(one);
  const b = luminance(two);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

/** `colour` moved towards black or white until it reads on `background` with at least 4.5 : 1. */
export function readable(colour: Rgb, background: Rgb): Rgb {
  const target = luminance(background) > 0.4 ? 0 : 255;
  for (let step = 0; step <= 20; step += 1) {
    const mix = (value: number) => Math.round(value + ((target - value) * step) / 20);
    const moved = { r: mix(colour.r), g: mix(colour.g), b: mix(colour.b) };
    if (contrast(moved, background) >= ENOUGH) return moved;
  }
  return { r: target, g: target, b: target };
}

/** Black or white, whichever reads better on `colour`. */
export function textOn(colour: Rgb): Rgb {
  return contrast(colour, WHITE) >= contrast(colour, BLACK) ? WHITE : BLACK;
}
