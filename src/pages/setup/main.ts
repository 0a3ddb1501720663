// The page of the one-time setup link: makes the first administrator, then signs them in. The token comes in the fragment,
// which browsers never send to a server.
import { acceptTokens } from "../parts/account.ts";
import { ApiFault, call } from "../parts/api.ts";
import { byId, el, run } from "../parts/dom.ts";
import { faultText, field, form, notice } from "../parts/forms.ts";
import { icon } from "../parts/icons.ts";
import { language, t } from "../parts/texts.ts";

document.documentElement.lang = language;
document.title = t("setupTitle");
const card = byId("card", HTMLDivElement);
const brand = () => el("span", { class: "brand", "aria-hidden": true }, icon("key"));

const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
// Out of the address bar and the history: whoever looks over a shoulder later finds nothing.
if (token !== "") history.replaceState(null, "", location.pathname);

function showDone(lead: string): void {
  card.replaceChildren(
    brand(),
    el("h1", { tabindex: -1 }, lead),
    el("p", { class: "lead" }, t("setupDoneText")),
    el("a", { class: "button primary wide", href: "/" }, t("signIn")),
  );
  card.querySelector("h1")?.focus();
}

function showForm(): void {
  const secret = field(t("setupToken"), { autocomplete: "off", spellcheck: "false", required: true }, t("setupAgain"));
  const fields = {
    ...(token === "" ? { bootstrap_secret: secret } : {}),
    username: field(t("userName"), {
      value: "admin",
      autocomplete: "username",
      autocapitalize: "none",
      spellcheck: "false",
      maxlength: 64,
      required: true,
    }),
    email: field(t("email"), { type: "email", autocomplete: "email", required: true }),
    password: field(
      t("password"),
      { type: "password", autocomplete: "new-password", required: true },
      t("passwordHint"),
    ),
    organization_name: field(t("organization"), { value: "Default", autocomplete: "organization", maxlength: 100 }),
  };
  const made = form(fields, [], t("setupCreate"), async () => {
    const username = fields.username.input.value.trim();
    const password = fields.password.input.value;
    try {
      await call("/auth/bootstrap", {
        method: "POST",
        json: {
          bootstrap_secret: token === "" ? secret.input.value.trim() : token,
          username,
          email: fields.email.input.value.trim(),
          password,
          organization_name: fields.organization_name.input.value.trim() || "Default",
        },
      });
    } catch (fault) {
      if (fault instanceof ApiFault && fault.status === 401) {
        made.say(notice("danger", t("setupTokenWrong")));
        return;
      }
      if (fault instanceof ApiFault && fault.reason === "admin_exists") {
        showDone(t("setupNotNeeded"));
        return;
      }
      throw fault;
    }
    // Made; if signing in at once fails (a second factor is wanted), the person does it on the next page.
    try {
      if (await acceptTokens(await call("/auth/login", { method: "POST", json: { username, password } }))) {
        location.replace("/");
        return;
      }
    } catch (fault) {
      if (!(fault instanceof ApiFault)) throw fault;
    }
    showDone(t("setupDone"));
  });
  card.replaceChildren(
    brand(),
    el("h1", {}, t("setupTitle")),
    el("p", { class: "lead" }, t("setupLead")),
    made.element,
  );
  (token === "" ? secret.input : fields.email.input).focus();
}

run(
  async () => {
    const answer = await call("/auth/bootstrap");
    if (answer["required"] === true) showForm();
    else showDone(t("setupNotNeeded"));
  },
  (fault) => card.replaceChildren(brand(), el("h1", {}, t("setupTitle")), notice("danger", faultText(fault))),
);
