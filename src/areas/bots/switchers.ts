// The switches that a conversation can turn on, and the instruction that each adds to the prompt. Pure.

/** Built-in switchers by id. */
export const BUILT_IN_SWITCHERS = {
  tables: { label: "Tables", instruction: "Present what can be compared or listed as Markdown tables." },
  infographic: {
    label: "Infographic",
    instruction: "Present the answer as an infographic in text: short headed blocks with the figures that matter.",
  },
  cards: { label: "Cards", instruction: "Present each item as a card of its own: a heading, then two or three lines." },
  list: { label: "List", instruction: "Present the answer as a list with one point per line." },
  comparison: { label: "Comparison", instruction: "Compare the things in question side by side, point by point." },
  timeline: {
    label: "Timeline",
    instruction: "Present the answer as a timeline, earliest first, each entry with its date.",
  },
  markdown: { label: "Markdown", instruction: "Structure the answer with Markdown headings, lists and emphasis." },
  chart: {
    label: "Chart",
    instruction: "Where there are figures, show them as a simple chart of text bars with their values.",
  },
} as const;

export type BuiltInSwitcher = keyof typeof BUILT_IN_SWITCHERS;

export function isBuiltInSwitcher(id: string): id is BuiltInSwitcher {
  return Object.hasOwn(BUILT_IN_SWITCHERS, id);
}

/** What a switcher says to the model; any id that is not built in is itself the instruction. */
export function switcherInstruction(id: string): string {
  return isBuiltInSwitcher(id) ? BUILT_IN_SWITCHERS[id].instruction : id;
}
