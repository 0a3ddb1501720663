// The one script tag for other sites: a round button and a panel with the chat page in a frame.
// It lives in a shadow root with a constructed style sheet, so that it needs neither inline styles nor the host's; a host's
// content policy has to allow this script (script-src) and the frame (frame-src), nothing else.

interface Options {
  origin: string;
  bot: string;
  label: string;
  side: "left" | "right";
  color: string | null;
}

const TEXTS = {
  en: { open: "Open chat", close: "Close chat", title: "Chat", unread: "unread" },
  pt: { open: "Abrir conversa", close: "Fechar conversa", title: "Conversa", unread: "não lidas" },
};
const texts = navigator.language.toLowerCase().startsWith("pt") ? TEXTS.pt : TEXTS.en;

const STYLE = `
:host { all: initial; }
* { box-sizing: border-box; }
.button {
  position: fixed; z-index: 2147483000; bottom: calc(20px + env(safe-area-inset-bottom)); width: 56px; height: 56px;
  display: grid; place-items: center; padding: 0; border: 0; border-radius: 50%; cursor: pointer;
  background: var(--color); color: var(--on-color); box-shadow: 0 2px 6px rgb(0 0 0 / .16), 0 10px 28px rgb(0 0 0 / .22);
  transition: transform 160ms cubic-bezier(.2,0,0,1);
}
.button:hover { transform: translateY(-2px); }
.button:focus-visible { outline: 3px solid var(--color); outline-offset: 3px; box-shadow: 0 0 0 3px #fff; }
.button svg { width: 26px; height: 26px; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
.right { right: 20px; } .left { left: 20px; }
.badge {
  position: absolute; top: -3px; right: -3px; min-width: 20px; height: 20px; padding: 0 6px; border-radius: 10px;
  background: #b3261e; color: #fff; font: 600 12px/20px system-ui, sans-serif; text-align: center;
}
.panel {
  position: fixed; z-index: 2147483001; bottom: calc(88px + env(safe-area-inset-bottom)); width: min(400px, calc(100vw - 40px));
  height: min(640px, calc(100dvh - 120px)); border: 1px solid rgb(0 0 0 / .1); border-radius: 16px; overflow: hidden;
  background: Canvas; color-scheme: light dark; box-shadow: 0 4px 12px rgb(0 0 0 / .12), 0 24px 60px rgb(0 0 0 / .24);
}
.panel[hidden], .badge[hidden] { display: none; }
iframe { display: block; width: 100%; height: 100%; border: 0; color-scheme: light dark; }
.shut {
  position: absolute; z-index: 1; top: 10px; right: 10px; width: 36px; height: 36px; display: grid; place-items: center; padding: 0; border: 0;
  border-radius: 10px; background: transparent; color: CanvasText; cursor: pointer;
}
.shut:hover { background: color-mix(in srgb, CanvasText 10%, transparent); }
.shut:focus-visible { outline: 2px solid CanvasText; }
.shut svg { width: 20px; height: 20px; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round; }
@media (max-width: 480px) {
  .panel { inset: 0; width: 100%; height: 100dvh; border: 0; border-radius: 0; }
}
@media (prefers-reduced-motion: reduce) { .button { transition: none; } .button:hover { transform: none; } }
`;

function drawing(...shapes: string[]): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  for (const shape of shapes) {
    const path = document.createElementNS(space, "path");
    path.setAttribute("d", shape);
    svg.append(path);
  }
  return svg;
}

/** Black or white on a colour given as #rrggbb; white for anything else. */
function textOn(color: string): string {
  const hex = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(color);
  if (!hex) return "#fff";
  const part = (text: string | undefined) => {
    const share = parseInt(text ?? "0", 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  const light = 0.2126 * part(hex[1]) + 0.7152 * part(hex[2]) + 0.0722 * part(hex[3]);
  return light > 0.24 ? "#10140f" : "#fff";
}

function start(options: Options): void {
  const host = document.createElement("div");
  host.setAttribute("data-botserver", options.bot);
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  const color = options.color ?? "#0a665a";
  host.style.setProperty("--color", color);
  host.style.setProperty("--on-color", textOn(color));

  const button = document.createElement("button");
  button.type = "button";
  button.className = `button ${options.side}`;
  button.setAttribute("aria-label", options.label);
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", "panel");
  const badge = document.createElement("span");
  badge.className = "badge";
  badge.hidden = true;
  button.append(drawing("M5 6.5h14v9.5h-8L7 19.5V16H5z"), badge);

  const panel = document.createElement("div");
  panel.id = "panel";
  panel.className = `panel ${options.side}`;
  panel.hidden = true;
  panel.setAttribute("role", "dialog");
  panel.setAttribute("aria-label", texts.title);
  const shut = document.createElement("button");
  shut.type = "button";
  shut.className = "shut";
  shut.setAttribute("aria-label", texts.close);
  shut.append(drawing("M6.5 6.5l11 11", "M17.5 6.5l-11 11"));
  panel.append(shut);
  root.append(button, panel);
  document.body.append(host);

  let frame: HTMLIFrameElement | null = null;
  let open = false;
  let ready = false;
  const tell = (type: "open" | "close") => {
    if (ready) frame?.contentWindow?.postMessage({ source: "botserver-widget", type }, options.origin);
  };
  const name = (unread: number) => {
    badge.hidden = unread === 0;
    badge.textContent = unread > 99 ? "99+" : String(unread);
    button.setAttribute(
      "aria-label",
      open ? texts.close : unread > 0 ? `${options.label} (${unread} ${texts.unread})` : options.label,
    );
  };
  let unread = 0;
  const show = (next: boolean) => {
    if (open === next) return;
    open = next;
    if (!frame) {
      // Made at the first opening: a visitor who never asks costs the host site nothing.
      frame = document.createElement("iframe");
      frame.title = texts.title;
      frame.allow = "clipboard-write";
      const path = options.bot === "default" ? "/" : `/${encodeURIComponent(options.bot)}`;
      const address = new URL(path, options.origin);
      address.searchParams.set("embed", "1");
      address.searchParams.set("origin", location.origin);
      frame.src = address.href;
      panel.append(frame);
    }
    panel.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open) unread = 0;
    name(unread);
    tell(open ? "open" : "close");
    if (open) (ready ? frame : shut).focus();
    else button.focus();
  };
  button.addEventListener("click", () => show(!open));
  shut.addEventListener("click", () => show(false));
  root.addEventListener("keydown", (event) => {
    if (event instanceof KeyboardEvent && event.key === "Escape" && open) {
      event.stopPropagation();
      show(false);
    }
  });
  window.addEventListener("message", (event) => {
    if (!frame || event.source !== frame.contentWindow || event.origin !== options.origin) return;
    const data: unknown = event.data;
    if (
      typeof data !== "object" ||
      data === null ||
      !("source" in data) ||
      data.source !== "botserver" ||
      !("type" in data)
    )
      return;
    if (data.type === "ready") {
      ready = true;
      if (open) {
        tell("open");
        frame.focus();
      }
    } else if (data.type === "close") {
      show(false);
    } else if (data.type === "unread" && "count" in data && typeof data.count === "number") {
      unread = data.count;
      name(unread);
    }
  });
}

const tag = document.currentScript;
if (tag instanceof HTMLScriptElement) {
  const data = tag.dataset;
  const options: Options = {
    origin: new URL(tag.src, location.href).origin,
    bot: data["bot"] ?? "default",
    label: data["label"] ?? texts.open,
    side: data["side"] === "left" ? "left" : "right",
    color: data["color"] ?? null,
  };
  if (document.body) start(options);
  else document.addEventListener("DOMContentLoaded", () => start(options));
}
