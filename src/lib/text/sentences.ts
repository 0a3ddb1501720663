// Sentences of a text with their places, so that quotes are word for word.

/** UTF-16 offsets, `end` exclusive. */
export interface Span {
  start: number;
  end: number;
}

/** Folded, without the last full stop. After these a full stop ends nothing. */
const ABBREVIATIONS = new Set(
  (
    "mr mrs ms dr dra dres sr sra srs sras srta prof profa eng exmo exma ilmo st sto sta jr fig figs cap caps art arts no nos nr num n " +
    "p pp pag pags pg vol vols ed eds tel cel ext ref refs inc ltd ltda corp co cia dept depto av al bzw ca ggf inkl evtl max min usw " +
    "vgl z.b d.h u.a i.d.r s.a e.g i.e cf vs p.ex p.e approx est m mme mlle dott sig sigg ing gen col rev hon op par §"
  ).split(" "),
);
/** These may well end a sentence: they go on only before a small letter. */
const OPEN_ENDED = new Set(["etc", "usw", "inc", "ltda", "ltd", "jr", "s.a", "al"]);

const segmenters = new Map<string, Intl.Segmenter>();

function segmenter(language: string): Intl.Segmenter {
  let found = segmenters.get(language);
  if (!found) segmenters.set(language, (found = new Intl.Segmenter(language, { granularity: "sentence" })));
  return found;
}

const LAST_WORD = /([\p{L}\p{N}§.]+)\.\s*$/u;
const BEGINS_SMALL = /^[\s("'“‘«]*[\p{Ll}\p{N}]/u;
const TAIL = 80;
const INITIAL = /^\p{Lu}$/u;

/** True if the sentence `text` goes on in `next`: it ends in an abbreviation or an initial. */
function goesOn(text: string, next: string): boolean {
  const last = LAST_WORD.exec(text)?.[1];
  if (last === undefined) return false;
  const word = last.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "").replace(/[ºª°]/g, "");
  if (OPEN_ENDED.has(word)) return BEGINS_SMALL.test(next);
  return ABBREVIATIONS.has(word) || INITIAL.test(last);
}

/** A blank line, or the end of a line before an item of a list. */
const BREAK = /\n\s*\n|\n(?=\s*(?:[-*•▪–]|\d{1,3}[.)])\s)/g;

function blocks(text: string): Span[] {
  const spans: Span[] = [];
  let start = 0;
  for (const match of text.matchAll(BREAK)) {
    spans.push({ start, end: match.index });
    start = match.index + match[0].length;
  }
  spans.push({ start, end: text.length });
  return spans;
}

function trimmed(text: string, span: Span): Span {
  let { start, end } = span;
  while (start < end && /\s/.test(text.charAt(start))) start++;
  while (end > start && /\s/.test(text.charAt(end - 1))) end--;
  return { start, end };
}

/** Sentences of `text` in order, without the blanks around them; paragraphs and list items end one, abbreviations do not. */
export function splitSentences(text: string, language: string | null = null): Span[] {
  const found: Span[] = [];
  for (const block of blocks(text)) {
    const body = text.slice(block.start, block.end);
    let open: Span | null = null;
    for (const piece of segmenter(language ?? "en").segment(body)) {
      const start = block.start + piece.index;
      const end = start + piece.segment.length;
      // The last characters tell; looking at all of a text without an end would cost the square of its length.
      const tail = open ? text.slice(Math.max(open.start, open.end - TAIL), open.end) : "";
      if (open && goesOn(tail, piece.segment)) open.end = end;
      else if (open && !/[.!?…。！？:;]["'”’»)\]]*\s*$/.test(tail)) open.end = end;
      else {
        if (open) found.push(trimmed(text, open));
        open = { start, end };
      }
    }
    if (open) found.push(trimmed(text, open));
  }
  return found.filter((span) => span.end > span.start);
}
