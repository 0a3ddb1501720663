// Keeps the newest message in sight while the person reads along, and leaves them alone while they read further up.
import { el } from "../parts/dom.ts";
import { icon } from "../parts/icons.ts";
import { t } from "../parts/texts.ts";

/** So near the end counts as being there. */
const NEAR_PX = 80;

/** Wraps the column in its scrolling frame. */
export function scrollFrame(column: HTMLElement, hooks: { left: () => void }) {
  const scroller = el(
    "div",
    { class: "scroller", tabindex: 0, role: "region", "aria-label": t("conversation") },
    column,
  );
  const toEnd = el(
    "button",
    { type: "button", class: "icon-button to-end", "aria-label": t("toNewest"), title: t("toNewest"), hidden: true },
    icon("arrowDown"),
  );
  const element = el("div", { class: "scroll-frame" }, scroller, toEnd);
  let following = true;
  let seen = "";
  const size = () => `${scroller.scrollHeight}/${scroller.clientHeight}`;
  const toBottom = (smooth = false) => {
    following = true;
    toEnd.hidden = true;
    scroller.scrollTo({ top: scroller.scrollHeight, behavior: smooth ? "smooth" : "instant" });
    seen = size();
  };
  const follow = () => {
    if (following) toBottom();
    else seen = size();
  };
  scroller.addEventListener(
    "scroll",
    () => {
      // Content or window changed its size: the browser moved, not the person.
      if (size() !== seen) {
        follow();
        return;
      }
      following = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX;
      toEnd.hidden = following;
    },
    { passive: true },
  );
  toEnd.addEventListener("click", () => {
    toBottom(true);
    hooks.left();
  });
  const observer = new ResizeObserver(follow);
  observer.observe(scroller);
  observer.observe(column);
  return {
    element,
    scroller,
    follow,
    toBottom,
    /** Runs a change above what is read, and keeps that where it is. */
    steady: async (change: () => Promise<void>) => {
      const fromEnd = scroller.scrollHeight - scroller.scrollTop;
      following = false;
      await change();
      scroller.scrollTop = scroller.scrollHeight - fromEnd;
      seen = size();
    },
  };
}
