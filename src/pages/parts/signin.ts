// Signing in, up and through the second factor: one panel that the dialog of the chat page and the sign-in page both show.
import { acceptTokens } from "./account.ts";
import { call } from "./api.ts";
import { el, run } from "./dom.ts";
import { checkbox, faultText, field, form, notice } from "./forms.ts";
import { t } from "./texts.ts";
import { asObject, asText, asTexts } from "./wire.ts";
import type { Json } from "./wire.ts";

export interface SignInPanel {
  element: HTMLElement;
}

interface Options {
  /** Path of this origin to come back to from an outside provider. */
  returnTo: string;
  /** Outside providers refuse to be shown inside another site's frame. */
  framed: boolean;
  setTitle: (title: string) => void;
  done: () => void;
}

/** Builds the panel and asks the server which ways of signing in there are. */
export function signInPanel(options: Options): SignInPanel {
  const root = el("div", {}, el("p", { class: "row", role: "status" }, el("span", { class: "spinner" }), t("loading")));
  const show = (title: string, ...children: (Node | null)[]) => {
    options.setTitle(title);
    root.replaceChildren(...children.filter((child) => child !== null));
    root.querySelector<HTMLElement>("input")?.focus();
  };
  const link = (label: string, choose: () => void) =>
    el("button", { type: "button", class: "button quiet small", onclick: choose }, label);

  let providers: Json = {};

  const finish = async (answer: Json, remember: boolean) => {
    if (answer["requires_2fa"] === true) {
      codeStep(asText(answer["session_token"]) ?? "", asTexts(answer["methods"]), remember);
      return;
    }
    if (answer["password_change_required"] === true) {
      newPassword(asText(answer["reset_token"]) ?? "");
      return;
    }
    const elsewhere = asText(answer["redirect_url"]);
    if (elsewhere !== null && asText(answer["access_token"]) === null) {
      location.assign(new URL(elsewhere, location.origin));
      return;
    }
    if (await acceptTokens(answer)) options.done();
  };

  const outside = () => {
    const oidc = asObject(providers["oidc"]);
    if (oidc["enabled"] !== true || options.framed) return null;
    const url = new URL(asText(oidc["login_url"]) ?? "/auth/login?provider=oidc", location.origin);
    url.searchParams.set("redirect", options.returnTo);
    return el(
      "a",
      { class: "button wide", href: url.href },
      t("continueWith", { name: asText(oidc["name"]) ?? "OpenID" }),
    );
  };

  const signIn = () => {
    if (providers["local"] === false) {
      const way = outside();
      show(t("signIn"), way ?? notice("warn", t("noLocalLogin")));
      return;
    }
    const fields = {
      username: field(t("userOrEmail"), {
        name: "username",
        autocomplete: "username",
        autocapitalize: "none",
        spellcheck: "false",
        required: true,
      }),
      password: field(t("password"), {
        name: "password",
        type: "password",
        autocomplete: "current-password",
        required: true,
      }),
    };
    const remember = checkbox(t("stayIn"));
    const made = form(fields, [remember.element], t("signIn"), async () => {
      const name = fields.username.input.value.trim();
      const answer = await call("/auth/login", {
        method: "POST",
        json: {
          ...(name.includes("@") ? { email: name } : { username: name }),
          password: fields.password.input.value,
          remember_me: remember.input.checked,
        },
      });
      await finish(answer, remember.input.checked);
    });
    const way = outside();
    const open = asText(providers["registration"]) === "open";
    show(
      t("signIn"),
      way,
      way ? el("p", { class: "or" }, t("or")) : null,
      made.element,
      el("div", { class: "row apart form-links" }, link(t("forgot"), forgot), open ? link(t("signUp"), signUp) : null),
    );
  };

  const codeStep = (sessionToken: string, methods: string[], remember: boolean) => {
    const fields = {
      code: field(
        t("code"),
        { name: "code", inputmode: "numeric", autocomplete: "one-time-code", maxlength: 12, required: true },
        t("codeHint"),
      ),
    };
    const made = form(fields, [], t("continue"), async () => {
      const answer = await call("/security/auth/mfa/verify", {
        method: "POST",
        json: { session_token: sessionToken, code: fields.code.input.value.replace(/\s/g, ""), remember_me: remember },
      });
      await finish(answer, remember);
    });
    const sms = link(t("sendSms"), () =>
      run(
        async () => {
          const sent = await call("/security/auth/mfa/challenge", {
            method: "POST",
            json: { session_token: sessionToken, method: "sms" },
          });
          made.say(notice("good", t("smsSent", { to: asText(sent["sent_to"]) ?? "" })));
        },
        (fault) => made.say(notice("danger", faultText(fault))),
      ),
    );
    show(
      t("secondStep"),
      made.element,
      el("div", { class: "row apart form-links" }, link(t("back"), signIn), methods.includes("sms") ? sms : null),
    );
  };

  const newPassword = (token: string) => {
    const fields = {
      new_password: field(
        t("newPassword"),
        { type: "password", autocomplete: "new-password", required: true },
        t("passwordHint"),
      ),
    };
    const made = form(fields, [], t("saveAndSignIn"), async () => {
      await call("/auth/password/reset", {
        method: "POST",
        json: { token, new_password: fields.new_password.input.value },
      });
      signIn();
      root.prepend(notice("good", t("passwordSaved")));
    });
    made.say(notice("plain", t("passwordChangeNeeded")));
    show(t("newPassword"), made.element);
  };

  const forgot = () => {
    const fields = {
      email: field(t("email"), { type: "email", autocomplete: "email", required: true }),
    };
    const made = form(fields, [], t("sendLink"), async () => {
      await call("/auth/password/reset-request", { method: "POST", json: { email: fields.email.input.value.trim() } });
      made.say(notice("good", t("linkSent")));
    });
    show(t("forgot"), made.element, el("div", { class: "row form-links" }, link(t("back"), signIn)));
  };

  const signUp = () => {
    const fields = {
      display_name: field(t("name"), { autocomplete: "name", maxlength: 100, required: true }),
      email: field(t("email"), { type: "email", autocomplete: "email", required: true }),
      password: field(
        t("password"),
        { type: "password", autocomplete: "new-password", required: true },
        t("passwordHint"),
      ),
    };
    const made = form(fields, [], t("signUp"), async () => {
      const email = fields.email.input.value.trim();
      const password = fields.password.input.value;
      const answer = await call("/auth/register", {
        method: "POST",
        json: { email, password, display_name: fields.display_name.input.value.trim() },
      });
      if (asText(answer["status"]) === "active") {
        await finish(await call("/auth/login", { method: "POST", json: { email, password } }), false);
        return;
      }
      show(
        t("checkMail"),
        notice("good", t("checkMailText", { email })),
        el("div", { class: "row form-links" }, link(t("back"), signIn)),
      );
    });
    show(t("signUp"), made.element, el("div", { class: "row form-links" }, link(t("haveAccount"), signIn)));
  };

  run(
    async () => {
      providers = await call("/auth/providers");
      signIn();
    },
    (fault) => root.replaceChildren(notice("danger", faultText(fault))),
  );
  return { element: root };
}

/** Finishes a return from an outside provider: the code in the fragment becomes tokens. False if there was none. */
export async function redeemLoginCode(): Promise<boolean> {
  const code = new URLSearchParams(location.hash.slice(1)).get("login_code");
  if (code === null) return false;
  history.replaceState(null, "", location.pathname + location.search);
  const answer = await call("/auth/token", { method: "POST", json: { grant_type: "authorization_code", code } });
  return acceptTokens(answer);
}
