// Form fields with their label, hint and fault tied together for screen readers.
import { ApiFault } from "./api.ts";
import { el, freshId } from "./dom.ts";
import type { Attributes, Child } from "./dom.ts";
import { icon } from "./icons.ts";
import { t } from "./texts.ts";

export interface Field {
  element: HTMLElement;
  input: HTMLInputElement;
  /** Shows what is wrong with it, or null for nothing. */
  fault(message: string | null): void;
}

/** A labelled input. */
export function field(label: string, attributes: Attributes, hint: string | null = null): Field {
  const id = freshId("field");
  const hintElement = hint === null ? null : el("p", { class: "hint", id: `${id}-hint` }, hint);
  const faultElement = el("p", { class: "fault", id: `${id}-fault`, hidden: true });
  const input = el("input", {
    id,
    class: "input",
    type: "text",
    "aria-describedby": hintElement ? `${hintElement.id} ${faultElement.id}` : faultElement.id,
    ...attributes,
  });
  const fault = (message: string | null) => {
    faultElement.hidden = message === null;
    faultElement.textContent = message ?? "";
    if (message === null) input.removeAttribute("aria-invalid");
    else input.setAttribute("aria-invalid", "true");
  };
  input.addEventListener("input", () => fault(null));
  return {
    element: el("div", { class: "field" }, el("label", { for: id }, label), input, hintElement, faultElement),
    input,
    fault,
  };
}

/** A labelled check box. */
export function checkbox(label: string, checked = false): { element: HTMLElement; input: HTMLInputElement } {
  const input = el("input", { type: "checkbox", checked });
  return { element: el("label", { class: "check" }, input, label), input };
}

/** A message box inside a form or page. `danger` ones are announced at once. */
export function notice(kind: "danger" | "warn" | "good" | "plain", ...children: Child[]): HTMLElement {
  return el(
    "div",
    { class: `notice ${kind}`, role: kind === "danger" ? "alert" : "status" },
    icon(kind === "good" ? "check" : kind === "plain" ? "info" : "warning"),
    el("div", { class: "grow" }, ...children),
  );
}

/** A fault in words for people. */
export function faultText(fault: unknown): string {
  if (!(fault instanceof ApiFault)) return t("unexpected");
  if (fault.status === 0) return t("unreachable");
  if (fault.status === 429) return t("tooMany", { seconds: fault.retryAfterSeconds ?? 60 });
  const reason = fault.reason;
  const known: Record<string, string> = {
    email_not_verified: t("emailNotVerified"),
    activation_pending: t("activationPending"),
    account_suspended: t("accountSuspended"),
    account_inactive: t("accountInactive"),
    registration_closed: t("registrationClosed"),
    invitation_required: t("invitationRequired"),
    domain_not_allowed: t("domainNotAllowed"),
    infected_file: t("infectedFile"),
    turn_queue_full: t("turnQueueFull"),
    conversation_closed: t("conversationClosed"),
    token_invalid: t("linkInvalid"),
    admin_exists: t("adminExists"),
    two_factor_required: t("twoFactorRequired"),
    two_factor_invalid: t("codeWrong"),
  };
  if (reason !== null && known[reason] !== undefined) return known[reason];
  if (fault.status === 413) return t("tooLarge");
  if (fault.status === 423) return t("accountLocked");
  if (fault.status >= 500 && fault.code === "SERVER_ERROR") return t("unexpected");
  return fault.message;
}

export interface Form {
  element: HTMLFormElement;
  say(message: HTMLElement | null): void;
}

/** A form whose submission runs `work`: button busy meanwhile, faults shown at their field or on top. */
export function form(
  fields: Record<string, Field>,
  extra: readonly Child[],
  submitLabel: string,
  work: () => Promise<void>,
): Form {
  const place = el("div", {});
  const submit = el("button", { type: "submit", class: "button primary wide" }, submitLabel);
  const say = (message: HTMLElement | null) => {
    if (message) place.replaceChildren(message);
    else place.replaceChildren();
  };
  const element = el(
    "form",
    { class: "form", novalidate: true },
    place,
    ...Object.values(fields).map((f) => f.element),
    ...extra,
    submit,
  );
  const showFault = (fault: unknown) => {
    if (fault instanceof ApiFault && fault.fields.size > 0) {
      let shown = false;
      for (const [path, message] of fault.fields) {
        const at = fields[path];
        if (!at) continue;
        at.fault(message);
        if (!shown) at.input.focus();
        shown = true;
      }
      if (shown) return;
    }
    if (fault instanceof ApiFault && Array.isArray(fault.details["unmet"])) {
      const at = fields["password"] ?? fields["new_password"];
      if (at) {
        at.fault(fault.details["unmet"].map((rule) => passwordRule(String(rule))).join(" "));
        at.input.focus();
        return;
      }
    }
    if (fault instanceof ApiFault && fault.status === 401 && fault.reason === null)
      say(notice("danger", t("credentialsWrong")));
    else say(notice("danger", faultText(fault)));
  };
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    if (submit.getAttribute("aria-disabled") === "true") return;
    say(null);
    let empty: Field | null = null;
    for (const one of Object.values(fields)) {
      one.fault(null);
      if (one.input.required && one.input.value.trim() === "") {
        one.fault(t("required"));
        empty ??= one;
      }
    }
    if (empty) {
      empty.input.focus();
      return;
    }
    submit.setAttribute("aria-disabled", "true");
    work().then(
      () => submit.removeAttribute("aria-disabled"),
      (fault: unknown) => {
        submit.removeAttribute("aria-disabled");
        showFault(fault);
      },
    );
  });
  return { element, say };
}

function passwordRule(rule: string): string {
  const words: Record<string, string> = {
    min_length: t("ruleMinLength"),
    max_length: t("ruleMaxLength"),
    uppercase: t("ruleUppercase"),
    lowercase: t("ruleLowercase"),
    number: t("ruleNumber"),
    special: t("ruleSpecial"),
    common: t("ruleCommon"),
    contains_identity: t("ruleIdentity"),
    reused: t("ruleReused"),
    breached: t("ruleBreached"),
  };
  return words[rule] ?? rule.replaceAll("_", " ");
}
