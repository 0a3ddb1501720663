// Markdown to blocks as a reader sees them: marks gone, headings, list items, tables and code kept.

import { lexer, type Token, type Tokens } from "marked";
import { parse as parseYaml } from "yaml";
import { extractHtml } from "./html.ts";
import { checkTime, type Block, type Extracted, type ExtractLimits } from "./types.ts";

const FRONT_MATTER = /^---[ \t]*\n([\s\S]*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)/;

/** Reads Markdown (CommonMark and GitHub's tables and task lists). */
export function extractMarkdown(source: string, limits: ExtractLimits): Extracted {
  const text = source.replace(/^\ufeff/, "").replaceAll(/\r\n?/g, "\n");
  const front = FRONT_MATTER.exec(text);
  const blocks: Block[] = [];
  let line = 1 + newLines(front?.[0] ?? "");
  for (const token of lexer(front ? text.slice(front[0].length) : text)) {
    checkTime(limits);
    addBlocks(blocks, token, line, limits);
    line += newLines(token.raw);
  }
  const title = frontTitle(front?.[1]) ?? blocks.find((block) => block.level === 1)?.text ?? null;
  return { title, paged: false, pages: [{ blocks }] };
}

function addBlocks(blocks: Block[], token: Token, line: number, limits: ExtractLimits): void {
  if (token.type === "heading") {
    blocks.push({ kind: "heading", level: Number(token["depth"]), text: inline(token.tokens), line });
  } else if (token.type === "code") {
    blocks.push({ kind: "code", text: String(token["text"]), line: line + (token.raw.startsWith("`") ? 1 : 0) });
  } else if (token.type === "list") {
    addItems(blocks, token as Tokens.List, line, limits);
  } else if (token.type === "table") {
    const { header, rows } = token as Tokens.Table;
    const lines = [header, ...rows].map((row) => row.map((cell) => inline(cell.tokens).trim()).join("\t"));
    blocks.push({ kind: "table", text: lines.join("\n"), line });
  } else if (token.type === "blockquote") {
    let at = line;
    for (const child of token.tokens ?? []) {
      addBlocks(blocks, child, at, limits);
      at += newLines(child.raw);
    }
  } else if (token.type === "html") {
    for (const block of extractHtml(token.raw, limits).pages.flatMap((page) => page.blocks)) {
      blocks.push({ ...block, line: line + (block.line ?? 1) - 1 });
    }
  } else if (token.type === "paragraph" || token.type === "text") {
    blocks.push({ kind: "text", text: inline(token.tokens) || String(token["text"]), line });
  }
}

function addItems(blocks: Block[], list: Tokens.List, start: number, limits: ExtractLimits): void {
  let line = start;
  let number = Number(list.start) || 1;
  for (const item of list.items) {
    const mark = list.ordered ? `${number++}. ` : "- ";
    let isFirst = true;
    let at = line;
    for (const child of item.tokens) {
      if (child.type === "list") addItems(blocks, child as Tokens.List, at, limits);
      else if (child.type === "text" || child.type === "paragraph") {
        const text = inline(child.tokens) || String(child["text"]);
        blocks.push({ kind: "text", text: `${isFirst ? mark : ""}${text}`, isItem: true, line: at });
        isFirst = false;
      } else addBlocks(blocks, child, at, limits);
      at += newLines(child.raw);
    }
    line += newLines(item.raw);
  }
}

/** Inline tokens as plain text. */
function inline(tokens: readonly Token[] | undefined): string {
  let text = "";
  for (const token of tokens ?? []) {
    if (token.type === "br") text += "\n";
    else if (token.type === "html") text += /^<br\s*\/?>/i.test(token.raw) ? "\n" : "";
    else if (token.type === "image") text += String(token["text"]);
    else if (token.type === "codespan") text += String(token["text"]);
    else if ("tokens" in token && token.tokens) text += inline(token.tokens);
    else if ("text" in token) text += decodeEntities(String(token["text"])).replaceAll("\n", " ");
  }
  return text;
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: " ",
  copy: "©",
  reg: "®",
  hellip: "…",
  mdash: "—",
  ndash: "–",
  euro: "€",
};

function decodeEntities(text: string): string {
  return text.replaceAll(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]+));/gi, (whole, decimal, hex, name) => {
    const code = decimal ? Number(decimal) : hex ? Number.parseInt(String(hex), 16) : null;
    if (code !== null) return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
    return ENTITIES[String(name).toLowerCase()] ?? whole;
  });
}

function frontTitle(yaml: string | undefined): string | null {
  if (yaml === undefined) return null;
  try {
    const data: unknown = parseYaml(yaml, { maxAliasCount: 10 });
    const title = typeof data === "object" && data !== null && "title" in data ? data.title : null;
    return typeof title === "string" && title.trim() !== "" ? title.trim() : null;
  } catch {
    // Front matter that is not YAML carries no title; the document's text is read all the same.
    return null;
  }
}

function newLines(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) count++;
  return count;
}
