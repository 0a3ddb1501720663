// The page inside the widget's frame on another site: says when it wants to close and how much is unread, hears when it opens.

/** Talks to the widget. Only to the site that the widget named, and only hears from there. */
export function frame(hooks: { opened: () => void }) {
  const origin = originOf(new URLSearchParams(location.search).get("origin") ?? "");
  let open = false;
  const tell = (message: { type: string; count?: number }) => {
    if (window.parent !== window && origin !== "")
      window.parent.postMessage({ source: "botserver", ...message }, origin);
  };
  window.addEventListener("message", (event) => {
    if (event.source !== window.parent || event.origin !== origin) return;
    const data: unknown = event.data;
    if (
      typeof data !== "object" ||
      data === null ||
      !("source" in data) ||
      data.source !== "botserver-widget" ||
      !("type" in data)
    )
      return;
    if (data.type === "open") {
      open = true;
      hooks.opened();
    } else if (data.type === "close") {
      open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    // Escape first closes what is open in here or stops the answer; only then the panel.
    if (
      event.key === "Escape" &&
      !event.defaultPrevented &&
      !document.querySelector("dialog[open], [popover]:popover-open")
    )
      tell({ type: "close" });
  });
  let told = -1;
  tell({ type: "ready" });
  return {
    isOpen: () => open,
    unread: (count: number) => {
      if (count === told) return;
      told = count;
      tell({ type: "unread", count });
    },
  };
}

/** The address's origin, or nothing if it is none: a wrong target would make every postMessage throw. */
function originOf(address: string): string {
  try {
    const url = new URL(address);
    return url.protocol === "https:" || url.protocol === "http:" ? url.origin : "";
  } catch {
    return "";
  }
}
