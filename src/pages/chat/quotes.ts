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
  const pieces = (passage.match(/[^.!?…\n]*(?:[.!?…]+["'”’)\]]*|\n+|$)\s*/g) ?? [passage])
    .filter((text) => text !== "")
    .map((text) => ({ text, marked: false }));
  for (const piece of pieces) {
    const words = bareWords(piece.text);
    piece.marked = words.length >= SHORTEST && said.includes(words);
  }
  if (!pieces.some((piece) => piece.marked)) return [{ text: passage, marked: true }];
  spread(pieces, said, (run, text) => run + text);
  spread(pieces.toReversed(), said, (run, text) => text + run);
  return merged(pieces);
}

/** Also marks short pieces beside marked ones, where the answer has both together: "costs 3." and "50 euros." */
function spread(
  pieces: readonly { text: string; marked: boolean }[],
  said: string,
  join: (run: string, text: string) => string,
): void {
  let run = "";
  for (const piece of pieces) {
    const longer = join(run, piece.text);
    if (!piece.marked && run !== "") piece.marked = said.includes(bareWords(longer));
    run = piece.marked ? longer : "";
  }
}

/** Equal neighbours as one; the blanks behind a quote are not quoted. */
function merged(pieces: readonly { text: string; marked: boolean }[]): { text: string; marked: boolean }[] {
  const parts: { text: string; marked: boolean }[] = [];
  const add = (text: string, marked: boolean) => {
    const last = parts.at(-1);
    if (last?.marked === marked) last.text += text;
    else if (text !== "") parts.push({ text, marked });
  };
  pieces.forEach(({ text, marked }, index) => {
    const ends = marked && !pieces[index + 1]?.marked;
    const words = ends ? text.trimEnd() : text;
    add(words, marked);
    add(text.slice(words.length), false);
  });
  return parts;
}
