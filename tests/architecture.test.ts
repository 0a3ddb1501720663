// The rules of the house that a machine can check: who imports whom, where drivers and the environment are touched,
// how files are named and begin, how handlers are written, what every route says of itself.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join, posix, resolve } from "node:path";
import { appWithoutEngines } from "../src/commands/openapi.ts";
import { loadConfig } from "../src/config.ts";

const ROOT = resolve(import.meta.dir, "..");
const transpiler = new Bun.Transpiler({ loader: "ts" });

interface Source {
  /** Path below src, with slashes. */
  path: string;
  text: string;
  /** The text without comments. */
  code: string;
  /** Value imports: own files as paths below src, packages as `npm:name`, the platform's as `node:fs` or `bun`. */
  imports: string[];
}

function readSource(path: string): Source {
  const text = readFileSync(join(ROOT, "src", path), "utf8");
  const imports = transpiler.scanImports(text).map(({ path: name }) => {
    if (name.startsWith(".")) return posix.normalize(posix.join(posix.dirname(path), name));
    return /^(node:|bun(:|$))/.test(name) ? name : `npm:${name}`;
  });
  return { path, text, imports, code: text.replace(/\/\*[\s\S]*?\*\/|(?<=^|[\s;{}(,])\/\/.*$/gm, "") };
}

const sources = [...new Bun.Glob("**/*.ts").scanSync(join(ROOT, "src"))]
  .filter((path) => !path.endsWith(".d.ts"))
  .sort()
  .map(readSource);

/** Where a path below src belongs: `area users routes`, `engine database index`, `lib ids`, … */
function placeOf(path: string): { layer: string; name: string; part: string } {
  const [first = "", second = "", ...rest] = path.replace(/\.ts$/, "").split("/");
  if (rest.length === 0 && second === "") return { layer: first, name: "", part: "" };
  const layers: Record<string, string> = { areas: "area", engines: "engine" };
  return { layer: layers[first] ?? first, name: second, part: rest.join("/") };
}

/** Also `search-routes`, and `sockets`, which holds all sockets of an instance. */
const SPEAKS_HTTP = /^([a-z]+-)*(routes|schema|sockets?)(\/|$)/;
/** What opens an engine that a setting names while the server runs; the others are opened by the commands. */
const OPENS = /^(open|rerank)$/;

/** Why `from` may not import `to`; null if it may. `to` is a path below src or a package. */
function breach(from: string, to: string): string | null {
  const here = placeOf(from);
  if (to.startsWith("npm:")) return packageBreach(here, packageOf(to));
  // Files beside src: package.json, SQL, what packages hold besides code.
  if (to.startsWith("../") || /^(node:|bun(:|$))/.test(to)) return null;
  const there = placeOf(to);
  const sameFolder = here.layer === there.layer && here.name === there.name;
  const isInterface = there.layer === "engine" && there.part === "index";
  if (there.layer === "main" || there.layer === "commands")
    return here.layer === "commands" || here.layer === "main" ? null : "nothing imports the commands";
  switch (here.layer) {
    case "main":
    case "commands":
      return null;
    case "client":
      return "the client of outside programs knows the app by its type";
    case "app":
      return (there.layer === "engine" && !OPENS.test(there.part)) || there.layer === "config"
        ? "app knows engines by what opens them, and config by its type"
        : null;
    case "config":
      return there.layer === "lib" ? null : "config stands on lib only";
    case "area":
      if (sameFolder) {
        // An area of many parts is put together by its own open.ts.
        if (here.part === "open") return null;
        return SPEAKS_HTTP.test(there.part) && !/^([a-z]+-)*schema/.test(there.part) && !SPEAKS_HTTP.test(here.part)
          ? "services know nothing of routes"
          : null;
      }
      if (there.layer === "area") return there.part === "model" ? null : "of another area only model.ts";
      if (there.layer === "core" || there.layer === "lib" || there.layer === "pages") return null;
      if (SPEAKS_HTTP.test(here.part)) return there.layer === "http" ? null : "routes stand on http, core and lib";
      return isInterface ? null : "services stand on core, lib and engine interfaces";
    case "http":
      return ["http", "core", "lib", "pages"].includes(there.layer) ? null : "http stands on core and lib";
    case "core":
      return there.layer === "core" || there.layer === "lib" || isInterface
        ? null
        : "core stands on lib and engine interfaces";
    case "engine":
      return sameFolder || there.layer === "lib" || to === "core/errors.ts"
        ? null
        : "engines stand on lib and core/errors";
    case "lib":
      return there.layer === "lib" ? null : "lib stands on lib";
    case "pages":
      return there.layer === "pages" || there.layer === "lib" ? null : "pages stand on lib";
    default:
      return `what is ${from}?`;
  }
}

/** The one engine that knows each; `openai` is spoken by two kinds, which may not know each other. */
const DRIVERS: Record<string, readonly string[]> = {
  postgres: ["engines/database"],
  "@electric-sql/pglite": ["engines/database"],
  ioredis: ["engines/cache"],
  "@qdrant/js-client-rest": ["engines/vectors"],
  openai: ["engines/model", "engines/embedding"],
};

/** `npm:@scope/name/file` → `@scope/name`. */
function packageOf(name: string): string {
  const plain = name.replace(/^npm:/, "");
  return plain
    .split("/")
    .slice(0, plain.startsWith("@") ? 2 : 1)
    .join("/");
}

function packageBreach(here: ReturnType<typeof placeOf>, name: string): string | null {
  const isRoute = here.layer === "area" && SPEAKS_HTTP.test(here.part);
  if (name in DRIVERS && here.layer !== "engine") return "drivers belong to engines";
  if (here.layer === "client") return name === "@elysiajs/eden" ? null : "the client stands on Eden alone";
  if (/^(elysia|@elysiajs\/|elysia-)/.test(name) && !isRoute && here.layer !== "http" && here.layer !== "app")
    return "only http, routes, schemas and sockets know elysia";
  if (name === "drizzle-orm" && (isRoute || ["http", "lib", "app"].includes(here.layer)))
    return "tables belong to services";
  return null;
}

describe("imports", () => {
  test("every value import goes down the layers", () => {
    const breaches = sources.flatMap(({ path, imports }) =>
      imports.flatMap((to) => {
        const why = breach(path, to);
        return why === null ? [] : [`${path} → ${to}: ${why}`];
      }),
    );
    expect(breaches).toEqual([]);
  });

  test("the rule refuses what it should", () => {
    const refused = [
      ["areas/tasks/routes.ts", "engines/cache/open.ts"],
      ["areas/tasks/routes.ts", "npm:drizzle-orm"],
      ["areas/tasks/service.ts", "areas/users/service.ts"],
      ["areas/tasks/service/create.ts", "areas/tasks/routes.ts"],
      ["areas/tasks/rules.ts", "http/envelope.ts"],
      ["areas/tasks/jobs.ts", "engines/mail/smtp.ts"],
      ["areas/tasks/service.ts", "npm:elysia"],
      ["core/audit/index.ts", "http/envelope.ts"],
      ["core/audit/index.ts", "engines/cache/open.ts"],
      ["engines/cache/valkey.ts", "engines/database/index.ts"],
      ["engines/cache/valkey.ts", "core/log.ts"],
      ["http/limits.ts", "areas/users/model.ts"],
      ["lib/ids/index.ts", "core/clock.ts"],
      ["app.ts", "engines/cache/valkey.ts"],
      ["app.ts", "npm:postgres"],
      ["areas/tasks/service.ts", "commands/serve.ts"],
    ] as const;
    expect(refused.filter(([from, to]) => breach(from, to) === null)).toEqual([]);
    const allowed = [
      ["areas/tasks/routes.ts", "http/envelope.ts"],
      ["areas/tasks/service.ts", "areas/users/model.ts"],
      ["areas/tasks/service.ts", "engines/jobs/index.ts"],
      ["engines/cache/valkey.ts", "npm:ioredis"],
      ["commands/serve.ts", "engines/cache/open.ts"],
    ] as const;
    expect(allowed.filter(([from, to]) => breach(from, to) !== null)).toEqual([]);
  });

  test("each driver is imported in one engine's folder only", () => {
    const strays = sources.flatMap(({ path, imports }) =>
      imports
        .filter((to) => to.startsWith("npm:") || to.startsWith("../node_modules/"))
        .map((to) => packageOf(to.replace("../node_modules/", "")))
        .filter((name) => DRIVERS[name] && !DRIVERS[name].some((folder) => path.startsWith(`${folder}/`)))
        .map((name) => `${path} → ${name}`),
    );
    expect(strays).toEqual([]);
  });

  test("no cycle of value imports", () => {
    const graph = new Map(sources.map(({ path, imports }) => [path, imports]));
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (path: string, trail: string[]) => {
      if (trail.includes(path)) cycles.push([...trail.slice(trail.indexOf(path)), path].join(" → "));
      if (done.has(path) || trail.includes(path)) return;
      for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
      done.add(path);
    };
    for (const { path } of sources) visit(path, []);
    expect(cycles).toEqual([]);
  });

  test("relative imports carry their file's ending", () => {
    const bare = sources.flatMap(({ path, imports }) =>
      imports.filter((to) => to.includes("/") && !/\.\w+$/.test(to) && graphHas(to)).map((to) => `${path} → ${to}`),
    );
    expect(bare).toEqual([]);
  });
});

function graphHas(to: string): boolean {
  return sources.some(({ path }) => path === `${to}.ts` || path === `${to}/index.ts`);
}

/** Lines of `code` where `pattern` occurs, outside the files of `allowed`. */
function found(pattern: RegExp, allowed: readonly (string | RegExp)[]): string[] {
  return sources
    .filter(({ path }) => !allowed.some((one) => (typeof one === "string" ? one === path : one.test(path))))
    .flatMap(({ path, code }) =>
      code
        .split("\n")
        .filter((line) => pattern.test(line))
        .map((line) => `${path}: ${line.trim()}`),
    );
}

describe("one place for", () => {
  // Pages are programs of the browser.
  const PAGES = /^pages\//;

  test("the environment: config.ts", () => {
    // The build only names the variable that it replaces.
    expect(found(/(?<!")process\.env\b|Bun\.env\b|import\.meta\.env\b/, ["config.ts", PAGES])).toEqual([]);
  });

  test("the console: core/log.ts", () => {
    expect(found(/\bconsole\s*\./, ["core/log.ts", PAGES])).toEqual([]);
  });

  test("the present time: the clock that is handed in", () => {
    // image.ts compares with the ages of files in a development cache, which no clock of ours moves.
    expect(
      found(/\bDate\.now\(|\bnew Date\(\s*\)/, ["core/clock.ts", "core/log.ts", "engines/database/image.ts", PAGES]),
    ).toEqual([]);
  });
});

describe("files", () => {
  test("are named after what they hold, in lower case", () => {
    const bad = sources.filter(
      ({ path }) =>
        !/^[a-z0-9/.-]+$/.test(path) || /(^|[/-])(utils?|helpers?|common|manager|misc)(\/|-|\.ts$)/.test(path),
    );
    expect(bad.map(({ path }) => path)).toEqual([]);
  });

  test("begin with what they are responsible for", () => {
    const silent = sources.filter(({ text }) => !/^(#!.*\n)?(\/\/ \S|\/\*)/.test(text));
    expect(silent.map(({ path }) => path)).toEqual([]);
  });

  test("hold no cast to any, no non-null assertion, no empty catch", () => {
    expect(found(/\bas any\b|: any\b|@ts-ignore|@ts-nocheck|catch\s*(\([^)]*\))?\s*\{\s*\}/, [])).toEqual([]);
  });

  test("name nothing outside the project", () => {
    const everything = [...new Bun.Glob("{src,tests,drizzle,.ci}/**/*").scanSync({ cwd: ROOT, dot: true })]
      .concat(["README.md", "Dockerfile", "compose.yaml", "fly.toml", "package.json"])
      .filter((path) => !/\.(png|woff2?|wasm|pdf|zip|docx?|xlsx?|pptx?|ico|gz|bin)$/.test(path));
    const own = new RegExp(["registry", "npmjs"].join("\\.") + "|/(work|root)/" + "(main|shared)");
    const naming = everything.filter((path) => own.test(readFileSync(join(ROOT, path), "utf8")));
    expect(naming).toEqual([]);
  });

  test("of an area that hold routes end in a plugin named after it", () => {
    const routes = sources.filter(({ path }) => /^areas\/[^/]+\/routes\.ts$/.test(path));
    expect(routes.length).toBeGreaterThan(0);
    for (const { path, text } of routes)
      expect({ path, has: /export function \w+Routes\(/.test(text) }).toEqual({ path, has: true });
  });
});

interface Route {
  method: string;
  path: string;
  handler: unknown;
  hooks: {
    detail?: { summary?: string; tags?: string[]; "x-mark"?: { access?: string; answers?: string } };
    response?: Record<string, unknown>;
  };
}

describe("routes", () => {
  const { app } = appWithoutEngines(loadConfig({}, "/nonexistent"));
  const routes = app.routes as unknown as Route[];
  const name = ({ method, path }: Route) => `${method} ${path}`;

  test("say who may call them, what they do and to which area they belong", () => {
    expect(routes.length).toBeGreaterThan(0);
    const silent = routes.filter(
      ({ hooks: { detail } }) => !detail?.["x-mark"]?.access || !detail.summary || !detail.tags?.[0],
    );
    expect(silent.map(name)).toEqual([]);
  });

  test("declare the shape of their success", () => {
    const open = routes.filter(({ path, hooks: { response, detail } }) => {
      // The answer of a socket's address is an upgrade.
      if (/^\/ws(\/|$)/.test(path) || detail?.["x-mark"]?.answers) return false;
      return !Object.keys(response ?? {}).some((status) => /^[23]/.test(status));
    });
    expect(open.map(name)).toEqual([]);
  });

  test("are not declared twice", () => {
    const names = routes.map(name);
    expect(names.filter((one, at) => names.indexOf(one) !== at)).toEqual([]);
  });

  /** Elysia reads the source text of handlers and hooks: these forms hide from it what a handler needs. */
  const BAD_FORMS: [string, RegExp][] = [
    ["method shorthand", /^(async\s+)?(?!function\b|async\b)[\w$]+\s*\([^)]*\)\s*\{/],
    ["bound function", /\[native code\]/],
    ["a default in the destructured context", /^(async\s+)?(function\s*\w*\s*)?\(\{[^)]*?[^=!<>]=[^=>][^)]*?\}\s*[,)]/],
    ["a rest of the context", /^(async\s+)?(function\s*\w*\s*)?\(\{[^)]*\.\.\.[^)]*\}\s*[,)]/],
    ["the whole context", /^(async\s+)?(function\s*\w*\s*)?(\(\s*[\w$]+\s*[,)]|[\w$]+\s*=>)/],
  ];

  test("have handlers whose needs Elysia can read", () => {
    const bad = routes.flatMap((route) => {
      if (typeof route.handler !== "function") return [];
      const text = String(route.handler);
      return BAD_FORMS.filter(([, form]) => form.test(text)).map(([form]) => `${name(route)}: ${form}`);
    });
    expect(bad).toEqual([]);
  });

  test("the check of handler forms finds what it looks for", () => {
    const samples: [string, string][] = [
      ["method shorthand", "get({ query }) { return query; }"],
      ["bound function", "function () { [native code] }"],
      ["a default in the destructured context", "async ({ query = {}, body }) => body"],
      ["a rest of the context", "({ body, ...rest }) => rest"],
      ["the whole context", "context => context.body"],
      ["the whole context", "async (c) => c.body"],
    ];
    for (const [form, text] of samples) {
      const hit = BAD_FORMS.filter(([, pattern]) => pattern.test(text)).map(([one]) => one);
      expect({ text, hit }).toEqual({ text, hit: [form] });
    }
    for (const text of [
      "({ body }) => body",
      "async ({ query: { a }, ctx }) => { const x = 1; }",
      "function ({ body }) { return body; }",
      "() => 1",
    ])
      expect({ text, hit: BAD_FORMS.some(([, pattern]) => pattern.test(text)) }).toEqual({ text, hit: false });
  });
});

test("the root holds what the layout lists and nothing else", () => {
  const listed =
    "src tests drizzle examples package.json bunfig.toml tsconfig.json Dockerfile fly.toml compose.yaml README.md LICENSE bun.lock";
  const madeHere = /^(node_modules|dist|data|.*\.log)$/;
  const strange = readdirSync(ROOT).filter(
    (name) => !name.startsWith(".") && !madeHere.test(name) && !listed.split(" ").includes(name),
  );
  expect(strange).toEqual([]);
});

test("tests lie where the thing tested lies", () => {
  const folders = new Set([
    "areas",
    "client",
    "engines",
    "generic",
    "http",
    "lib",
    "core",
    "support",
    "bench",
    "fixtures",
    "pages",
  ]);
  const strange = [...new Bun.Glob("**/*.ts").scanSync(join(ROOT, "tests"))].filter((path) => {
    const [first = ""] = path.split("/");
    return path.includes("/") ? !folders.has(first) : !path.endsWith(".test.ts");
  });
  expect(strange).toEqual([]);
});
