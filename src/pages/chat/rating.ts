// Judging: stars for a conversation, a few words on an answer that did not help.
import { openDialog } from "../parts/dialog.ts";
import { el, freshId } from "../parts/dom.ts";
import { faultText, notice } from "../parts/forms.ts";
import { icon } from "../parts/icons.ts";
import { t } from "../parts/texts.ts";
import type { Conversation } from "./conversation.ts";
import type { Message } from "./protocol.ts";

/** A form with one to five stars, whether it helped, and a comment. */
export function ratingForm(chat: Conversation, done: () => void): HTMLFormElement {
  const group = freshId("stars");
  const stars = [1, 2, 3, 4, 5].map((n) => {
    const input = el("input", { type: "radio", name: group, value: n, class: "unseen", id: `${group}-${n}` });
    return {
      input,
      label: el(
        "label",
        { for: input.id, class: "star", title: t("stars", { n }) },
        icon("star"),
        el("span", { class: "unseen" }, t("stars", { n })),
      ),
    };
  });
  const value = () => Number(stars.find((star) => star.input.checked)?.input.value ?? 0);
  const paint = () => stars.forEach((star, index) => star.label.classList.toggle("on", index < value()));
  const solved = el(
    "select",
    { class: "input", id: freshId("solved") },
    el("option", { value: "" }, t("noAnswerGiven")),
    el("option", { value: "yes" }, t("yes")),
    el("option", { value: "no" }, t("no")),
  );
  const comment = el("textarea", { class: "input", rows: 3, maxlength: 2000, id: freshId("comment") });
  const place = el("div", {});
  const form = el(
    "form",
    { class: "form" },
    place,
    el(
      "fieldset",
      { class: "stars" },
      el("legend", {}, t("howWasIt")),
      ...stars.flatMap((star) => [star.input, star.label]),
    ),
    el("div", { class: "field" }, el("label", { for: solved.id }, t("wasItSolved")), solved),
    el("div", { class: "field" }, el("label", { for: comment.id }, t("commentOptional")), comment),
    el("button", { type: "submit", class: "button primary wide" }, t("sendRating")),
  );
  form.addEventListener("change", paint);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (value() === 0) {
      place.replaceChildren(notice("warn", t("chooseStars")));
      stars[0]?.input.focus();
      return;
    }
    const resolved = solved.value === "" ? null : solved.value === "yes";
    chat
      .rate(value(), comment.value.trim(), resolved)
      .then(done, (fault: unknown) => place.replaceChildren(notice("danger", faultText(fault))));
  });
  return form;
}

/** Opens the form for the whole conversation. */
export function openRating(chat: Conversation, thanked: () => void): void {
  const form = ratingForm(chat, () => {
    dialog.close();
    thanked();
  });
  const dialog = openDialog(t("rateConversation"), {}, form);
}

/** Asks, after a thumb down, what was wrong; may be left unanswered. */
export function openComment(
  chat: Conversation,
  message: Message,
  thanked: () => void,
  fault: (fault: unknown) => void,
): void {
  const comment = el("textarea", { class: "input", rows: 4, maxlength: 1000, id: freshId("comment") });
  const form = el(
    "form",
    { class: "form" },
    el("div", { class: "field" }, el("label", { for: comment.id }, t("whatWasWrong")), comment),
    el(
      "div",
      { class: "row end" },
      el("button", { type: "button", class: "button", onclick: () => dialog.close() }, t("skip")),
      el("button", { type: "submit", class: "button primary" }, t("send")),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const words = comment.value.trim();
    dialog.close();
    if (words !== "") chat.setFeedback(message.id, "down", words).then(thanked, fault);
  });
  const dialog = openDialog(t("notHelpful"), {}, form);
}
