// References of a finished answer to numbered passages: `[2]`, `[1, 3]`. Pure.

const GROUP = /[ \t]*\[(\d{1,3}(?:\s?[,;]\s?\d{1,3})*)\]/g;

/** The text without references that point nowhere, and the passages that are cited, in order of first mention. */
export function citedOf(text: string, passages: number): { text: string; cited: number[] } {
  const cited: number[] = [];
  const kept = text.replaceAll(GROUP, (whole, list: string) => {
    const numbers = list.split(/[,;]/).map(Number);
    const real = numbers.filter((n) => n >= 1 && n <= passages);
    for (const n of real) if (!cited.includes(n)) cited.push(n);
    if (real.length === 0) return "";
    return real.length === numbers.length ? whole : whole.replace(/\[.*\]/, `[${real.join(", ")}]`);
  });
  return { text: kept, cited };
}
