// The sign-in page (`/auth/login`): signs in and goes on to the path that was asked for; tells why a provider's sign-in failed.
import { byId, el } from "../parts/dom.ts";
import { notice } from "../parts/forms.ts";
import { icon } from "../parts/icons.ts";
import { signInPanel } from "../parts/signin.ts";
import { language, t } from "../parts/texts.ts";

document.documentElement.lang = language;
const card = byId("card", HTMLDivElement);
const query = new URLSearchParams(location.search);
const fragment = new URLSearchParams(location.hash.slice(1));

/** The wanted path if it stays on this origin, else the front page. */
function target(): string {
  const wanted = query.get("redirect") ?? "/";
  if (!wanted.startsWith("/") || wanted.includes("\\")) return "/";
  const url = new URL(wanted, location.origin);
  return url.origin === location.origin && !url.pathname.startsWith("//") ? url.pathname + url.search + url.hash : "/";
}

const heading = el("h1", {}, t("signIn"));
const panel = signInPanel({
  returnTo: target(),
  framed: window.top !== window,
  setTitle: (title) => {
    heading.textContent = title;
    document.title = title;
  },
  done: () => location.replace(target()),
});
const word = query.get("error") ?? fragment.get("error");
card.replaceChildren(
  el("span", { class: "brand", "aria-hidden": true }, icon("person")),
  heading,
  el("div", { class: "lead" }),
  ...(word === null
    ? []
    : [
        notice(
          "danger",
          t("signInFailed", {
            word: word
              .replace(/[^\w -]/g, "")
              .replaceAll("_", " ")
              .slice(0, 60),
          }),
        ),
      ]),
  panel.element,
);
