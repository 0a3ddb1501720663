// Bot text (Markdown from a model, a script or a document: data nobody has vouched for) → safe nodes.
// Two fences: the renderer writes raw HTML out as text, and DOMPurify keeps only the tags and attributes named here.
import DOMPurify from "dompurify";
import { Marked } from "marked";
import { icon } from "./icons.ts";
import { el } from "./dom.ts";
import { t } from "./texts.ts";

const TAGS = [
  ..."p br hr strong em del code pre blockquote ul ol li a h1 h2 h3 h4 h5 h6 sup sub".split(" "),
  ..."table thead tbody tr th td".split(" "),
];

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => entities[letter] ?? "");
}

/** The address if a link may lead there, else null. Relative ones stay inside this origin. */
export function safeHref(href: string): string | null {
  let url: URL;
  try {
    url = new URL(href, location.origin);
  } catch {
    return null;
  }
  return ["http:", "https:", "mailto:", "tel:"].includes(url.protocol) ? url.href : null;
}

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // HTML in content is data: it is shown as it was written.
    html: ({ text }) => escape(text),
    // No picture is loaded from anywhere: its words become a link, which only a person follows.
    image: ({ href, text }) => {
      const safe = safeHref(href);
      const words = escape(text || href);
      return safe === null ? words : `<a href="${escape(safe)}">${words}</a>`;
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

function clean(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ["href", "title", "start", "align"],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
}

/** Finishes sanitised nodes: links leave in a tab of their own, headings go below the page's, wide blocks scroll. */
function dress(fragment: DocumentFragment): void {
  for (const link of fragment.querySelectorAll("a")) {
    const safe = safeHref(link.getAttribute("href") ?? "");
    if (safe === null || !link.hasAttribute("href")) {
      link.replaceWith(...link.childNodes);
      continue;
    }
    link.href = safe;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const heading of fragment.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const lower = el("p", {
      class: "heading",
      role: "heading",
      "aria-level": Math.min(6, Number(heading.tagName.slice(1)) + 2),
    });
    lower.append(...heading.childNodes);
    heading.replaceWith(lower);
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = el("div", { class: "table-frame", tabindex: 0, role: "region", "aria-label": t("table") });
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const block of fragment.querySelectorAll("pre")) {
    const frame = el("div", { class: "code-frame" });
    const copy = el(
      "button",
      { type: "button", class: "icon-button small copy-code", "aria-label": t("copyCode") },
      icon("copy"),
    );
    const text = block.textContent;
    copy.addEventListener("click", () => {
      copyText(text).then(
        (worked) => {
          if (!worked) return;
          copy.replaceChildren(icon("check"));
          setTimeout(() => copy.replaceChildren(icon("copy")), 1500);
        },
        () => undefined,
      );
    });
    block.tabIndex = 0;
    block.replaceWith(frame);
    frame.append(block, copy);
  }
}

/** Puts text on the clipboard; false where the browser refuses (plain http, no permission). */
export async function copyText(text: string): Promise<boolean> {
  const board = (navigator as { clipboard?: Clipboard }).clipboard;
  if (!board) return false;
  try {
    await board.writeText(text);
    return true;
  } catch {
    return false;
  }
}

export interface Rendered {
  /** Shows `source`; blocks that have not changed keep their nodes, so that a growing answer does not flicker. */
  show(source: string): void;
}

/** Renders Markdown into `into`, block by block. */
export function renderer(into: HTMLElement): Rendered {
  let shown: { raw: string; nodes: ChildNode[] }[] = [];
  return {
    show: (source) => {
      const tokens = marked.lexer(source);
      const next: typeof shown = [];
      const blocks = tokens.filter((token) => token.type !== "space");
      blocks.forEach((token, at) => {
        const before = shown[at];
        if (before && before.raw === token.raw) {
          next.push(before);
          return;
        }
        // From the first changed block on, everything after it is drawn anew, in order.
        for (const old of shown.slice(at)) for (const node of old.nodes) node.remove();
        shown = shown.slice(0, at);
        const fragment = clean(marked.parser([token]));
        dress(fragment);
        const nodes = [...fragment.childNodes];
        into.append(fragment);
        next.push({ raw: token.raw, nodes });
      });
      for (const old of shown.slice(blocks.length)) for (const node of old.nodes) node.remove();
      shown = next;
    },
  };
}

/** Markdown without its marks, for screen readers and previews. */
export function plainText(source: string): string {
  const holder = document.createElement("div");
  renderer(holder).show(source);
  for (const button of holder.querySelectorAll("button")) button.remove();
  // What stands on lines of its own does not run into the next word.
  for (const end of holder.querySelectorAll("br, p, li, tr, td, th, pre, h1, h2, h3, h4, h5, h6")) end.after(" ");
  return holder.textContent.replace(/\s+/g, " ").trim();
}
