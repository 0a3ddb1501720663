// Which words of a passage an answer quotes. Pure.

/** Words only: marks of Markdown, kinds of quotes and white space do not count when quotes are compared. */
export function bareWords(text: string): string {
  return text
    .replace(/[*_`>#[\]()|]/g, " ")
    .replace(/[“”„«»]/g, '"')
    .replace(/[‘’]/g, "'")
    .replace(/\s+/g, " ")
    .replace(/\s+([.,;:!?])/g, "$1")
    .trim()
    .toLowerCase();
}

/** Shorter sentences are repeated by accident. */
const SHORTEST = 12;

/** Splits `passage` into marked and unmarked parts: the sentences that the answer repeats word for word; all of it if none is. */
export function markQuoted(passage: string, answer: string): { text: string; marked: boolean }[] {
  const said = bareWords(answer);
  const sentences = passage.match(/[^.!?…\n]*(?:[.!?…]+["'”’)\]]*|\n+|$)\s*/g) ?? [passage];
  const parts: { text: string; marked: boolean }[] = [];
  for (const text of sentences) {
    if (text === "") continue;
    const words = bareWords(text);
    const marked = words.length >= SHORTEST && said.includes(words);
    const last = parts.at(-1);
    if (last && last.marked === marked) last.text += text;
    else parts.push({ text, marked });
  }
  return parts.some((part) => part.marked) ? parts : [{ text: passage, marked: true }];
}
