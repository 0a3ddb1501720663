// The interactive API page: Swagger UI from this server alone, reading /docs/json, signed in as whoever is.
import swaggerAddress from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "file" };
import { accessToken, onPersonChange, person, signOut } from "../parts/account.ts";
import { openDialog } from "../parts/dialog.ts";
import { byId, el, run } from "../parts/dom.ts";
import { notice } from "../parts/forms.ts";
import { icon } from "../parts/icons.ts";
import { signInPanel } from "../parts/signin.ts";
import { language, t } from "../parts/texts.ts";
import { asObject, asText } from "../parts/wire.ts";

interface SwaggerRequest {
  url: string;
  headers: Record<string, string>;
}

interface SwaggerSystem {
  preauthorizeApiKey(scheme: string, value: string): void;
  specSelectors: { specJson(): { toJS(): unknown } };
}

type SwaggerFactory = (options: Record<string, unknown>) => SwaggerSystem;

document.documentElement.lang = language;
document.title = t("docsTitle");
const place = byId("reference", HTMLElement);
const top = byId("top", HTMLElement);

const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", dress);
dress();

function load(address: string): Promise<SwaggerFactory> {
  return new Promise((resolve, reject) => {
    const script = el("script", { src: address });
    script.addEventListener("load", () => {
      const factory = (window as unknown as { SwaggerUIBundle?: SwaggerFactory }).SwaggerUIBundle;
      if (factory) resolve(factory);
      else reject(new Error("The reference could not be started."));
    });
    script.addEventListener("error", () => reject(new Error("The reference could not be loaded.")));
    document.head.append(script);
  });
}

function showTop(): void {
  const who = person();
  const button = who
    ? el("button", { type: "button", class: "button small", onclick: () => run(signOut, reportError) }, t("signOut"))
    : el(
        "button",
        {
          type: "button",
          class: "button small",
          onclick: () => {
            const panel = signInPanel({
              returnTo: "/docs",
              framed: false,
              setTitle: (title) => dialog.setTitle(title),
              done: () => dialog.close(),
            });
            const dialog = openDialog(t("signIn"), {}, panel.element);
          },
        },
        t("signIn"),
      );
  top.replaceChildren(
    el(
      "a",
      { class: "docs-name", href: "/" },
      el("span", { class: "brand", "aria-hidden": true }, icon("book")),
      t("docsTitle"),
    ),
    el(
      "div",
      { class: "row" },
      el("a", { href: "/docs/json" }, "/docs/json"),
      who ? el("span", { class: "who" }, who.name) : null,
      button,
    ),
  );
}

let system: SwaggerSystem | null = null;

/** Fills the token into every bearer scheme of the document, so that "Try it out" shows as signed in. */
async function fillToken(): Promise<void> {
  const token = await accessToken();
  if (!system) return;
  const schemes = asObject(asObject(asObject(system.specSelectors.specJson().toJS())["components"])["securitySchemes"]);
  for (const [name, scheme] of Object.entries(schemes)) {
    if (asText(asObject(scheme)["scheme"])?.toLowerCase() === "bearer" && token !== null)
      system.preauthorizeApiKey(name, token);
  }
}

async function start(): Promise<void> {
  showTop();
  const factory = await load(swaggerAddress);
  const at = el("div", {});
  place.replaceChildren(at);
  system = factory({
    domNode: at,
    url: "/docs/json",
    // Many hundred routes: closed, with a search, and no models below.
    docExpansion: "none",
    filter: true,
    defaultModelsExpandDepth: -1,
    deepLinking: true,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    persistAuthorization: false,
    // Nothing leaves this origin: no outside validator, no configuration by address.
    validatorUrl: null,
    queryConfigEnabled: false,
    syntaxHighlight: { activated: true, theme: "agate" },
    requestInterceptor: async (request: SwaggerRequest) => {
      const url = new URL(request.url, location.origin);
      const token = await accessToken();
      const named = Object.keys(request.headers).some((name) => name.toLowerCase() === "authorization");
      if (url.origin === location.origin && token !== null && !named)
        request.headers["Authorization"] = `Bearer ${token}`;
      return request;
    },
    onComplete: () => run(fillToken, reportError),
  });
}

onPersonChange(() => location.reload());
run(start, () => place.replaceChildren(notice("danger", t("unreachable"))));
