// References of an answer to numbered passages: `[2]`, `[1, 3]`. Those that point nowhere are taken out while the
// text streams by; those that point somewhere are counted. Pure.

const GROUP = /^\[\d{1,3}(?:\s?[,;]\s?\d{1,3})*\]$/;
/** The longest beginning of a reference that is held back until it is clear what it is. */
const HELD_MAX = 64;

/** Filters one answer. Text inside of code is left alone: brackets mean something else there. */
export interface CitationFilter {
  /** What can be shown of the text so far. */
  push(text: string): string;
  /** What was held back. */
  end(): string;
  /** Passage numbers in the order in which they were first referred to. */
  readonly cited: readonly number[];
}

/** A filter for an answer over passages 1…`passages`; with 0 every reference is removed. */
export function citationFilter(passages: number): CitationFilter {
  const cited: number[] = [];
  /** Blanks before a possible reference and the reference so far. */
  let held = "";
  let fence: "" | "`" | "```" = "";
  let ticks = 0;

  /** The reference without numbers that point nowhere; empty if none is left. */
  function judged(group: string): string {
    const numbers = group.match(/\d+/g)?.map(Number) ?? [];
    const real = numbers.filter((n) => n >= 1 && n <= passages);
    for (const n of real) if (!cited.includes(n)) cited.push(n);
    if (real.length === numbers.length) return group;
    return real.length === 0 ? "" : `[${real.join(", ")}]`;
  }

  /** A run of backticks has ended: it opens or closes code. */
  function closeTicks(): void {
    if (ticks === 0) return;
    const run = ticks >= 3 ? "```" : "`";
    ticks = 0;
    if (fence === "") fence = run;
    else if (fence === run) fence = "";
  }

  function take(char: string): string {
    if (char === "`") {
      ticks += 1;
      const before = held;
      held = "";
      return before + char;
    }
    closeTicks();
    if (fence !== "") return char;
    const at = held.indexOf("[");
    if (at < 0) {
      if (char === " " && held.length < HELD_MAX) {
        held += char;
        return "";
      }
      if (char === "[") {
        held += char;
        return "";
      }
      const before = held;
      held = "";
      return before + char;
    }
    if (char === "]") {
      const blanks = held.slice(0, at);
      const group = `${held.slice(at)}]`;
      held = "";
      if (!GROUP.test(group)) return blanks + group;
      const kept = judged(group);
      return kept === "" ? "" : blanks + kept;
    }
    if (/[\d,; ]/.test(char) && held.length < HELD_MAX) {
      held += char;
      return "";
    }
    const before = held;
    held = char === "[" ? "[" : "";
    return char === "[" ? before : before + char;
  }

  return {
    cited,
    push: (text) => {
      let shown = "";
      for (const char of text) shown += take(char);
      return shown;
    },
    end: () => {
      const rest = held;
      held = "";
      return rest;
    },
  };
}

/** An earlier answer without its references: their numbers meant other passages. */
export function withoutCitations(text: string): string {
  const filter = citationFilter(0);
  return filter.push(text) + filter.end();
}
