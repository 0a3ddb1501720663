// HTML to blocks: headings, paragraphs, list items, table rows and code, without scripts, styles, menus and forms.

import { Parser } from "htmlparser2";
import { checkTime, ExtractFailure, type Block, type BlockKind, type Extracted, type ExtractLimits } from "./types.ts";

const SKIPPED = new Set(
  "script style nav template noscript svg math iframe object embed canvas audio video select button".split(" "),
);
const BLOCKS = new Set(
  (
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure footer " +
    "form header hgroup html legend main menu ol p section summary table tbody tfoot thead ul hr"
  ).split(" "),
);
const DEPTH_MAX = 5_000;

/** Reads HTML. Throws `corrupted_file` for nesting that no page has. */
export function extractHtml(html: string, limits: ExtractLimits): Extracted {
  const blocks: Block[] = [];
  let title = "";
  let inTitle = false;
  let parts: string[] = [];
  let isFilled = false;
  let line = 1;
  let blockLine = 1;
  let lineAt = 0;
  let skippedDepth = 0;
  let depth = 0;
  let preDepth = 0;
  let heading = 0;
  let isItem = false;
  /** What stands before the list item's first words. */
  let mark = "";
  let cells: string[] | null = null;
  const lists: { isOrdered: boolean; next: number }[] = [];
  let opened = 0;

  // Pieces are joined only when a block ends: looking at the whole at every tag would cost the square of its length.
  const append = (piece: string) => {
    if (piece === "") return;
    parts.push(piece);
    isFilled ||= piece.trim() !== "";
  };
  const take = () => {
    const whole = parts.join("");
    parts = [];
    isFilled = false;
    return whole;
  };
  const endsBlank = () => /\s/.test(parts.at(-1)?.at(-1) ?? " ");
  const emit = (kind: BlockKind) => {
    const whole = take();
    const content = kind === "code" ? whole.replace(/^\n+/, "").trimEnd() : whole.trim();
    if (content === "") return;
    const marked = kind === "text" ? mark + content : content;
    mark = "";
    if (kind === "heading") blocks.push({ kind, level: heading, text: content, line: blockLine });
    else blocks.push({ kind, text: marked, line: blockLine, ...(isItem ? { isItem } : {}) });
  };
  const endBlock = () => {
    if (cells) return;
    emit(preDepth > 0 ? "code" : heading > 0 ? "heading" : "text");
  };
  const endCell = () => {
    if (!cells) return;
    cells.push(take().replaceAll(/\s+/g, " ").trim());
  };
  const endRow = () => {
    if (!cells) return;
    if (isFilled) endCell();
    const row = cells.join("\t").trim();
    cells = null;
    const previous = blocks.at(-1);
    if (row === "") return;
    // Rows of one table are one block.
    if (previous?.kind === "table" && rowsFollow) previous.text += `\n${row}`;
    else blocks.push({ kind: "table", text: row, line: blockLine });
    rowsFollow = true;
  };
  let rowsFollow = false;

  const parser = new Parser(
    {
      onopentag: (name, attributes) => {
        if (++opened % 10_000 === 0) checkTime(limits);
        if (++depth > DEPTH_MAX) throw new ExtractFailure("corrupted_file", "The HTML is nested too deeply.");
        if (skippedDepth > 0 || SKIPPED.has(name) || "hidden" in attributes || attributes["aria-hidden"] === "true") {
          skippedDepth++;
          return;
        }
        if (!isFilled) blockLine = lineNow();
        if (name === "title" && title === "") inTitle = true;
        else if (name === "br") append("\n");
        else if (name === "img" && attributes["alt"]) append(` ${attributes["alt"]} `);
        else if (/^h[1-6]$/.test(name)) {
          endBlock();
          heading = Number(name.slice(1));
          blockLine = lineNow();
        } else if (name === "pre") {
          endBlock();
          preDepth++;
        } else if (name === "ul" || name === "ol" || name === "menu") {
          endBlock();
          lists.push({ isOrdered: name === "ol", next: Number(attributes["start"] ?? 1) || 1 });
        } else if (name === "li") {
          endBlock();
          isItem = true;
          const list = lists.at(-1);
          mark = list?.isOrdered ? `${list.next++}. ` : "- ";
          blockLine = lineNow();
        } else if (name === "tr") {
          endRow();
          endBlock();
          cells = [];
          blockLine = lineNow();
        } else if (name === "td" || name === "th") {
          if (isFilled) endCell();
        } else if (name === "table") {
          endBlock();
          rowsFollow = false;
        } else if (BLOCKS.has(name)) {
          endBlock();
          if (cells && isFilled) append(" ");
        }
      },
      onclosetag: (name) => {
        depth--;
        if (skippedDepth > 0) {
          skippedDepth--;
          return;
        }
        if (name === "title") inTitle = false;
        else if (/^h[1-6]$/.test(name)) {
          endBlock();
          heading = 0;
        } else if (name === "pre") {
          endBlock();
          preDepth = Math.max(0, preDepth - 1);
        } else if (name === "ul" || name === "ol" || name === "menu") {
          endBlock();
          lists.pop();
          isItem = lists.length > 0;
        } else if (name === "li") {
          endBlock();
          mark = "";
          isItem = lists.length > 1;
        } else if (name === "td" || name === "th") endCell();
        else if (name === "tr" || name === "table") endRow();
        else if (BLOCKS.has(name)) endBlock();
      },
      ontext: (piece) => {
        if (skippedDepth > 0) return;
        if (inTitle) title += piece;
        else if (preDepth > 0) append(piece);
        else {
          if (!isFilled) blockLine = lineNow();
          const flat = piece.replaceAll(/\s+/g, " ");
          append(endsBlank() ? flat.replace(/^ /, "") : flat);
        }
      },
    },
    { decodeEntities: true, lowerCaseTags: true },
  );
  const lineNow = () => {
    for (; lineAt < parser.startIndex; lineAt++) if (html.charCodeAt(lineAt) === 10) line++;
    return line;
  };
  parser.write(html);
  parser.end();
  endRow();
  endBlock();
  return {
    title: title.replaceAll(/\s+/g, " ").trim() || (blocks.find((block) => block.level === 1)?.text ?? null),
    paged: false,
    pages: [{ blocks }],
  };
}
