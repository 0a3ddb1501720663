// Opens the passage behind a citation: where it stands, its words with the quoted ones marked, and, for those who may
// read the document, the text around it.
import { ApiFault, fetchRaw } from "../parts/api.ts";
import { el } from "../parts/dom.ts";
import { openDialog } from "../parts/dialog.ts";
import { faultText, notice } from "../parts/forms.ts";
import { icon } from "../parts/icons.ts";
import { plainText, safeHref } from "../parts/markdown.ts";
import { t } from "../parts/texts.ts";
import type { Conversation } from "./conversation.ts";
import type { Citation } from "./protocol.ts";
import { bareWords, markQuoted } from "./quotes.ts";
import { saveBlob } from "./attachments.ts";

/** Where in the document, in a few words: page, slide, sheet and row, line, or the heading. Empty if unknown. */
export function placeLabel(citation: Citation): string {
  if (citation.page !== null) return t("pageShort", { n: citation.page });
  if (citation.slide !== null) return t("slideShort", { n: citation.slide });
  if (citation.sheet !== null)
    return citation.row === null ? citation.sheet : t("rowOf", { sheet: citation.sheet, n: citation.row });
  const heading = citation.headings.at(-1);
  if (heading !== undefined) return heading;
  if (citation.line !== null) return t("lineShort", { n: citation.line });
  return "";
}

/** Opens the panel of one source. */
export function openSource(chat: Conversation, citation: Citation, answer: string): void {
  const facts: [string, string | null][] = [
    [t("page"), citation.page === null ? null : String(citation.page)],
    [t("slide"), citation.slide === null ? null : String(citation.slide)],
    [t("sheet"), citation.sheet],
    [t("row"), citation.row === null ? null : String(citation.row)],
    [t("section"), citation.headings.length > 0 ? citation.headings.join(" › ") : null],
    [t("line"), citation.line === null ? null : String(citation.line)],
    [
      t("characters"),
      citation.charStart === null || citation.charEnd === null ? null : `${citation.charStart}–${citation.charEnd}`,
    ],
    [t("collection"), citation.collection],
    [t("folder"), citation.path === "" ? null : citation.path],
  ];
  const quote = el("blockquote", { class: "passage" });
  if (citation.snippet === "") quote.append(el("p", { class: "remark" }, t("noPassage")));
  for (const part of markQuoted(citation.snippet, plainText(answer))) {
    if (part.text !== "") quote.append(part.marked ? el("mark", {}, part.text) : part.text);
  }
  const around = el("div", { class: "around" });
  const origin = citation.sourceUrl === null ? null : safeHref(citation.sourceUrl);
  if (origin?.startsWith("http")) {
    around.append(el("a", { href: origin, target: "_blank", rel: "noopener noreferrer nofollow" }, origin));
  }
  const panel = openDialog(
    citation.title || t("source"),
    { kind: "side" },
    el("p", { class: "source-number" }, t("sourceNumber", { n: citation.n })),
    el(
      "dl",
      { class: "facts" },
      ...facts.flatMap(([name, value]) =>
        value === null || value === "" ? [] : [el("dt", {}, name), el("dd", {}, value)],
      ),
    ),
    el("h3", { class: "small-title" }, t("quotedPassage")),
    quote,
    around,
  );
  panel.element.classList.add("source-panel");
  if (citation.documentId === null || chat.isAnonymous()) return;
  offerDocument(chat, citation, citation.documentId, around);
}

/** Buttons that read the document itself. They show only to people who are signed in; the server decides who may. */
function offerDocument(chat: Conversation, citation: Citation, documentId: string, place: HTMLElement): void {
  const path = `/kb/documents/${encodeURIComponent(documentId)}/content`;
  const say = (fault: unknown) => {
    const hidden = fault instanceof ApiFault && (fault.status === 403 || fault.status === 404);
    place.append(notice(hidden ? "plain" : "danger", hidden ? t("mayNotOpen") : faultText(fault)));
  };
  const showAround = el("button", { type: "button", class: "button small" }, icon("document"), t("showInDocument"));
  const save = el("button", { type: "button", class: "button small" }, icon("download"), t("downloadOriginal"));
  showAround.addEventListener("click", () => {
    showAround.disabled = true;
    const read = async () => {
      const response = await fetchRaw(path, { token: await chat.token(), query: { format: "text" } });
      const text = await response.text();
      const span = locate(text, citation);
      if (!span) {
        place.append(notice("plain", t("passageMoved")));
        return;
      }
      const margin = 900;
      const from = Math.max(0, span.start - margin);
      const to = Math.min(text.length, span.end + margin);
      const marked = el("mark", { tabindex: -1 }, shown(text.slice(span.start, span.end)));
      showAround.replaceWith(
        el(
          "div",
          { class: "document-text", tabindex: 0, role: "region", "aria-label": t("showInDocument") },
          from > 0 ? "… " : "",
          shown(text.slice(from, span.start)),
          marked,
          shown(text.slice(span.end, to)),
          to < text.length ? " …" : "",
        ),
      );
      marked.scrollIntoView({ block: "center" });
      marked.focus({ preventScroll: true });
    };
    read().then(undefined, (fault: unknown) => {
      showAround.remove();
      say(fault);
    });
  });
  save.addEventListener("click", () => {
    const read = async () => {
      const response = await fetchRaw(path, { token: await chat.token() });
      saveBlob(await response.blob(), citation.title);
    };
    read().then(undefined, say);
  });
  place.append(el("div", { class: "row" }, showAround, save));
}

/** A piece of a document's text; its pages end in form feeds, which no browser shows. */
function shown(text: string): string {
  return text.replaceAll("\f", "\n\n");
}

/** Where the passage stands in the document's text: at its offsets if its words are there, else wherever they are found. */
function locate(text: string, citation: Citation): { start: number; end: number } | null {
  const { charStart, charEnd, snippet } = citation;
  const trimmed = snippet.replace(/^…|…$/g, "").trim();
  if (charStart !== null && charEnd !== null && charEnd > charStart && charEnd <= text.length) {
    const there = bareWords(text.slice(charStart, charEnd));
    const words = bareWords(trimmed);
    if (words === "" || there.includes(words) || words.includes(there)) return { start: charStart, end: charEnd };
  }
  if (trimmed === "") return null;
  const start = text.indexOf(trimmed);
  return start < 0 ? null : { start, end: start + trimmed.length };
}
