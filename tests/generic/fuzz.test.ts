// Every operation of the API's document under valid and invalid requests in all their parts, made from a seed:
// whatever is sent, the answer is one that the document declares, and tells nothing of the inside.
// FUZZ_COUNT: requests of each kind per operation; FUZZ_SEED: a run to repeat.

import { expect, test } from "bun:test";
import type { Log, LogFields } from "../../src/core/log.ts";
import {
  hostileText,
  hostileValue,
  jsonText,
  nested,
  random,
  singular,
  spoiled,
  validValue,
  type Random,
  type Schema,
} from "../support/arbitrary.ts";
import { makeAccount, makeKey, type Account } from "../support/callers.ts";
import { openJudge, operationsOf, readDocument, type Answered, type Operation } from "../support/operations.ts";
import { ADMIN, startTestServer } from "../support/server.ts";
import { must, plantBot, plantConversation, plantOwn, valuesFor, type Things } from "../support/things.ts";

const COUNT = Number(process.env["FUZZ_COUNT"] ?? 20);
const SEED = Number(process.env["FUZZ_SEED"] ?? 20_261_124);
/** Requests under way at a time. */
const WIDTH = 6;
const DEADLINE_MS = 20_000;
const STREAM_MS = 120;
/** How often an operation that changes things gets new ones. */
const REPLANTED_MAX = 10;
/** Longer addresses are refused by the HTTP server itself (431), before anything of ours. */
const URL_MAX = 6_000;

/** What the server said to itself about a request, for the report of a failure. */
const logged: { at: number; text: string }[] = [];
const note =
  (level: string) =>
  (message: string, fields: LogFields = {}) => {
    logged.push({
      at: performance.now(),
      text: `${level} ${message} ${Bun.inspect(fields, { depth: 6 }).slice(0, 3_000)}`,
    });
    if (logged.length > 50) logged.shift();
  };
const log: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: note("warn"),
  error: note("error"),
  with: () => log,
};

const server = await startTestServer(
  { REGISTRATION: "open", TRUST_PROXY: "1", BOOTSTRAP_SECRET: "a bootstrap secret of enough length" },
  { log },
);
const document = await readDocument(server.url);
const judge = openJudge(document, [server.dataDir, process.cwd()]);
// The files area is not part of this build; the others are told by the server itself.
const unconfigured = new Set(["files", ...(await unconfiguredServices())]);

/** What makes things comes first, what takes them away or ends sessions last. */
function rank({ method, path, responses }: Operation): number {
  if (/\/(re)?activate$/.test(path)) return 7;
  if (/logout|suspend|sessions|reset|erase/.test(path) && method !== "GET") return 6;
  if (method === "DELETE") return 5;
  if (method === "POST") return "201" in responses ? 0 : 2;
  return method === "GET" ? 1 : 3;
}
const operations = operationsOf(document).toSorted((a, b) => rank(a) - rank(b));

async function unconfiguredServices(): Promise<string[]> {
  const { data } = await server.call<{ components: { name: string; status: string }[] }>("GET", "/api/v1/health");
  return data.components.filter(({ status }) => status === "not_configured").map(({ name }) => name);
}

// --- Real things, known from answers ---

const KNOWN_MAX = 40;
const things = new Map<string, string[]>();

function learn(field: string, value: string): void {
  const known = things.get(field) ?? [];
  if (known.includes(value)) return;
  known.push(value);
  if (known.length > KNOWN_MAX) known.splice(1, 1);
  things.set(field, known);
}

/** Ids, names and tokens in an answer, by the name of their field; an `id` also by the name of its thing. */
function harvest(value: unknown, thing: string, field = "", depth = 0): void {
  if (depth > 8) return;
  if (typeof value === "string") {
    if (value === "" || value.length > 200) return;
    if (/(^|_)(id|name|slug|token|bot|key)$/.test(field)) learn(field, value);
    if (field === "id") learn(`${thing}_id`, value);
    if (value.startsWith("cs_")) learn("chat credential", value);
    return;
  }
  if (Array.isArray(value)) for (const item of value.slice(0, 20)) harvest(item, singular(field), field, depth + 1);
  else if (typeof value === "object" && value !== null) {
    const own = depth > 1 && !Array.isArray(value) && field !== "" && !field.endsWith("s") ? field : thing;
    for (const [name, member] of Object.entries(value)) harvest(member, own, name, depth + 1);
  }
}

/** What is named last in a path: `/kb/documents/{id}` is about a document. */
function thingOf(path: string): string {
  const named = path.split("/").filter((segment) => !segment.startsWith("{"));
  return singular(named.at(-1) ?? "").replaceAll("-", "_");
}

const PERMISSIONS = [...new Set(operations.map(({ access }) => access).filter((access) => access.includes(":")))];
let made = 0;

/** What chance would not find: words of a catalogue, a password that is right, an address that is free. */
function written(field: string): readonly string[] {
  switch (field) {
    case "email":
      made += 1;
      return [`somebody.new${made}@example.org`, `somebody.else${made}@example.org`, ADMIN.email];
    case "password":
    case "new_password":
      return [ADMIN.password, "quite another long secret"];
    case "scope":
    case "permission":
      return PERMISSIONS;
    case "name":
      made += 1;
      return [`thing-${made}`, `other-${made}`];
    case "type":
      return ["text", "voice", "context"];
    case "grant_type":
      return ["password", "refresh_token", "client_credentials"];
    case "bot":
    case "bot_name":
    case "bot_id":
      return ["default"];
    default:
      return [];
  }
}

/** Real things for a place in a path: `{id}` behind `documents` is a document's. */
function thingsAt(path: string, parameter: string): readonly string[] {
  const thing = thingOf(path.slice(0, path.indexOf(`{${parameter}}`)).replace(/\/$/, ""));
  const own = [`${thing}_id`, thing, ...(thing === "session" ? ["conversation_id"] : [])].flatMap(
    (field) => things.get(field) ?? [],
  );
  return own.length > 0 && !/_id$|^bot$/.test(parameter) ? own : suggest(parameter);
}

const suggest = (field: string): readonly string[] => {
  const known = [...(things.get(field) ?? []), ...(things.get(`${field}_id`) ?? [])];
  // The latest ones are the likeliest to be still there.
  return [...written(field), ...known, ...known.slice(-2), ...known.slice(-2)];
};

// --- Callers ---

type CallerKind = "admin" | "user" | "guest" | "key" | "chat" | "anonymous" | "wrong";
const accounts = new Map<CallerKind, { account: Account; credential: string }>();

async function renew(kind: "admin" | "user" | "guest" | "key"): Promise<void> {
  const account = await makeAccount(
    server,
    kind === "guest" ? ["guest"] : kind === "user" ? ["user"] : ["user", "admin"],
  );
  const credential = kind === "key" ? (await makeKey(server, account, ["*"])).secret : account.token;
  accounts.set(kind, { account, credential });
  for (const [field, value] of [
    ["user_id", account.userId],
    ["session_id", account.sessionId],
    ["refresh_token", account.refreshToken],
    ["username", account.username],
    ["email", account.email],
  ] as const)
    learn(field, value);
}
for (const kind of ["admin", "user", "guest", "key"] as const) await renew(kind);

function credentialOf(kind: CallerKind): string | null {
  if (kind === "anonymous") return null;
  if (kind === "wrong") return "not.a.token";
  if (kind === "chat") return chatToken ?? things.get("chat credential")?.at(-1) ?? null;
  return accounts.get(kind)?.credential ?? null;
}

// --- Things of these callers ---

const planted = new Map<CallerKind, Things>();
let chatToken: string | null = null;
let plantings = 0;

/** Gives the callers new things of their own, as far as the operation asks for some; and new callers, for new limits. */
async function plant({ path }: Operation): Promise<void> {
  if (!path.includes("{") || path.startsWith("/assets/")) return;
  await renew("admin");
  await renew("user");
  const [admin, user] = [accounts.get("admin"), accounts.get("user")];
  if (!admin || !user) return;
  if (/^\/api\/v1\/(conversations|sessions?)\//.test(path)) {
    planted.set("admin", (await plantConversation(server, admin.credential)).things);
    planted.set("user", (await plantConversation(server, user.credential)).things);
    const chat = await plantConversation(server, null);
    planted.set("chat", chat.things);
    chatToken = chat.token;
  } else if (/^\/api\/v1\/(admin\/bots|bots|kb)\//.test(path)) {
    await makeRoomForBots(admin.credential);
    plantings += 1;
    planted.set("admin", await plantBot(server, admin.credential, `planted-${plantings}`));
  } else {
    planted.set("admin", await plantOwn(server, admin.account));
    planted.set("user", await plantOwn(server, user.account));
  }
}

/** There may be a hundred bots only. */
async function makeRoomForBots(token: string): Promise<void> {
  const { data } = await server.call<{ bots: { bot_id: string; name: string }[] }>(
    "GET",
    "/api/v1/admin/bots?limit=100",
    {
      token,
    },
  );
  if (data.bots.length < 60) return;
  for (const { bot_id, name } of data.bots)
    if (name !== "default") await must(204, server.call("DELETE", `/api/v1/bots/${bot_id}?confirm=${name}`, { token }));
}

/** A caller that was signed out, suspended or counted out gets a successor. */
async function mend(kind: CallerKind, status: number): Promise<void> {
  if (status !== 401 && status !== 429) return;
  if (kind === "admin" || kind === "user" || kind === "guest" || kind === "key") {
    const { account, credential } = accounts.get(kind) ?? {};
    if (!account || !credential) return;
    const alive = await server.call("GET", "/api/v1/users/me", { token: credential });
    if (alive.status !== 200 || status === 429) await renew(kind);
  }
}

// --- Requests ---

interface Request {
  kind: "valid" | "invalid";
  caller: CallerKind;
  url: string;
  headers: Record<string, string>;
  body: string | FormData | Uint8Array | undefined;
  /** The JSON value behind the body, where it is one and the type is declared. */
  json?: { type: string; value: unknown };
  /** Statuses beside the declared ones: a path that was bent leads to another route, or to none. */
  tolerated: readonly number[];
}

function encoded(value: unknown): string {
  // A lone surrogate has no UTF-8; it is sent as what an encoder makes of it.
  return encodeURIComponent((typeof value === "string" ? value : JSON.stringify(value)).toWellFormed());
}

/** Texts for a place in a path, as they stand in the address. */
const PATH_PIECES = ["%", "%zz", "%ff", "%00", "%2F", "..%2f..", "a%2Fb", ";a=b", "%E2%80%AE", "x".repeat(2_000)];

function pathOf(operation: Operation, caller: CallerKind, from: Random, spoil: boolean): string {
  const own = valuesFor(operation, planted.get(caller) ?? {});
  const isOwn = own !== null && from.chance(spoil ? 0.5 : 0.7);
  return operation.path.replace(/\{([^}]+)\}/g, (_, name: string) => {
    const schema = operation.parameters.find((one) => one.in === "path" && one.name === name)?.schema ?? {
      type: "string",
    };
    if (isOwn) return encodeURIComponent(own[name] ?? "");
    if (spoil && from.chance(0.3)) return from.pick(PATH_PIECES);
    if (name === "user_id" && from.chance(0.15)) return "me";
    const hostile = spoil && from.chance(0.4);
    const valid = () => validValue({ minLength: 1, ...schema }, from, () => thingsAt(operation.path, name), name);
    const text = encoded(hostile ? hostileText(from) : valid());
    // Dots alone are steps in the path and no name.
    return /^\.*$/.test(text) ? "x" : text;
  });
}

function queryOf(operation: Operation, from: Random, spoil: boolean): string {
  const parts: string[] = [];
  for (const { name, schema, required } of operation.parameters.filter((one) => one.in === "query")) {
    if (!required && !from.chance(0.4)) continue;
    const value =
      spoil && from.chance(0.5) ? spoiled(schema, undefined, from) : validValue(schema, from, suggest, name);
    for (const one of Array.isArray(value) ? value : [value])
      parts.push(`${encodeURIComponent(name)}=${encoded(one ?? "")}`);
  }
  if (spoil && from.chance(0.4)) {
    const [first = "limit=1"] = parts;
    parts.push(
      from.pick([
        first,
        "unknown=1",
        "limit=1&limit=2",
        "limit[]=1",
        "limit[a]=1",
        "filter[x]=1",
        "filter=%7B%22a%22",
        "__proto__=1",
        "constructor[prototype][a]=1",
        "%ff=%fe",
        "=",
        "&&",
        `${encoded(hostileText(from))}=${encoded(hostileText(from))}`,
      ]),
    );
  }
  return parts.length > 0 ? `?${parts.join("&")}` : "";
}

const BROKEN_JSON = [
  "{",
  '{"a":}',
  "[1,2",
  "'x'",
  "undefined",
  '{"a":1}}',
  "\u0000",
  "{a:1}",
  '"\\ud800',
  "NaN",
  "-",
  '{"a":1,}',
];

function isFileField({ format, items }: Schema): boolean {
  return format === "binary" || items?.format === "binary";
}

/** Fields beside the files: what forms of this API take, and what they do not. */
const FORM_FIELDS = ["path", "title", "tags", "metadata", "access", "name", "__proto__", "file"];

function multipart(schema: Schema, value: Record<string, unknown>, from: Random, spoil: boolean): FormData {
  const form = new FormData();
  for (let count = spoil ? from.int(0, 3) : 0; count > 0; count -= 1)
    form.append(
      from.pick(FORM_FIELDS),
      (from.chance(0.5) ? hostileText(from) : jsonText(hostileValue(from))).toWellFormed(),
    );
  const members = { ...value };
  for (const [name, declared] of Object.entries(schema.properties ?? {}))
    if (isFileField(declared)) members[name] ??= "# Notes";
  for (const [name, member] of Object.entries(members)) {
    const isFile = isFileField(schema.properties?.[name] ?? {});
    for (const one of Array.isArray(member) ? member : [member]) {
      const text = typeof one === "string" ? one : JSON.stringify(one ?? null);
      if (isFile) form.append(name, new File([text.toWellFormed()], "notes.txt", { type: "text/plain" }));
      else form.append(name, text.toWellFormed());
    }
  }
  return form;
}

function formText(value: unknown): string {
  const members = typeof value === "object" && value !== null ? Object.entries(value) : [];
  return members.map(([name, member]) => `${encoded(name)}=${encoded(member ?? "")}`).join("&");
}

function withBody(operation: Operation, from: Random, spoil: boolean, request: Request): void {
  if (operation.bodies.length === 0) {
    if (spoil && operation.method !== "GET" && from.chance(0.3)) {
      request.headers["content-type"] = from.pick(["application/json", "text/plain", "application/xml"]);
      request.body = from.pick(["{}", "[", "x".repeat(3_000)]);
      request.tolerated = [...request.tolerated, 400, 413, 415];
    }
    return;
  }
  const { type, schema } = from.pick(operation.bodies);
  if (!operation.bodyRequired && !spoil && from.chance(0.3)) return;
  const right = from.chance(0.25) ? rightBody(operation) : undefined;
  const valid = right ?? validValue(schema, from, suggest);
  if (!spoil && !judge.allowsBody(operation, type, valid) && type === "application/json") {
    throw new Error(`the generator made an invalid body for ${operation.name}: ${jsonText(valid).slice(0, 500)}`);
  }
  request.headers["content-type"] = type;
  const hostile = spoil && from.chance(0.8);
  const value = hostile ? (from.chance(0.75) ? spoiled(schema, valid, from) : hostileValue(from)) : valid;
  if (type === "application/json") {
    request.body = jsonText(value);
    request.json = { type, value };
  } else if (type === "multipart/form-data") {
    delete request.headers["content-type"]; // with its boundary, by fetch
    request.body = multipart(
      schema,
      typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {},
      from,
      spoil,
    );
  } else if (type === "application/x-www-form-urlencoded") request.body = formText(value);
  else request.body = typeof value === "string" ? value.toWellFormed() : jsonText(value);
  if (!spoil || !from.chance(0.35)) return;
  // The body as a whole: no JSON, another type, bytes that are no UTF-8, nothing.
  delete request.json;
  switch (from.int(0, 6)) {
    case 0:
      request.body = from.pick(BROKEN_JSON);
      break;
    case 1:
      request.headers["content-type"] = from.pick([
        "text/plain",
        "application/xml",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "APPLICATION/JSON",
        "application/vnd.x+json",
        "application/octet-stream",
        "json",
        ",",
      ]);
      break;
    case 2:
      request.body = new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]);
      break;
    case 3:
      request.body = "";
      break;
    case 4:
      request.body = undefined;
      break;
    case 5:
      request.body = `\ufeff${typeof request.body === "string" ? request.body : "{}"}`;
      break;
    default:
      request.body = JSON.stringify(nested(from.pick([200, 5_000]), from.chance(0.5)));
  }
}

/** A body that does what the operation is for, where chance would hardly make one. */
function rightBody({ path, method }: Operation): unknown {
  if (method === "DELETE" && path.endsWith("/bots/{bot}")) return { confirm: `planted-${plantings}` };
  if (method !== "POST") return undefined;
  if (path.endsWith("/login")) return { email: ADMIN.email, password: ADMIN.password };
  if (path.endsWith("/auth/token")) return { grant_type: "password", email: ADMIN.email, password: ADMIN.password };
  if (/\/messages?$/.test(path)) return { content: "What is botserver?" };
  if (path.endsWith("/register")) {
    made += 1;
    return { email: `right${made}@example.org`, password: "quite another long secret" };
  }
  if (/api-keys$|keys\/generate$/.test(path)) return { name: "right", scopes: ["chat:read"], expires_in_days: 1 };
  if (path.endsWith("/kb/ingest"))
    return { collection: "about", items: [{ text: "# A page\n\nSome text.", title: "A" }] };
  return undefined;
}

const ODD_HEADERS: readonly (readonly [string, string])[] = [
  ["idempotency-key", "a b"],
  ["idempotency-key", "x".repeat(300)],
  ["idempotency-key", "same"],
  ["if-match", "*"],
  ["if-match", '"nonsense"'],
  ["if-none-match", "W/"],
  ["range", "bytes=5-1"],
  ["range", "bytes=99999999999999999999-"],
  ["accept", "application/xml"],
  ["accept", "text/event-stream"],
  ["accept-language", "x".repeat(500)],
  ["x-request-id", "a b"],
  ["last-event-id", "-1"],
  ["origin", "null"],
  ["user-agent", ""],
  ["user-agent", "x".repeat(3_000)],
  ["upgrade", "websocket"],
  ["x-http-method-override", "DELETE"],
  ["content-encoding", "gzip"],
  ["expect", "nothing"],
];

function requestFor(operation: Operation, kind: Request["kind"], from: Random): Request {
  const spoil = kind === "invalid";
  const callers: CallerKind[] = [
    "admin",
    "admin",
    "admin",
    "admin",
    "user",
    "user",
    "guest",
    "key",
    "anonymous",
    "wrong",
  ];
  if (operation.takesChatToken) callers.push("chat", "chat", "chat", "chat");
  const caller = from.pick(callers);
  const credential = credentialOf(caller);
  const request: Request = {
    kind,
    caller,
    url: (server.url + pathOf(operation, caller, from, spoil) + queryOf(operation, from, spoil)).slice(0, URL_MAX),
    headers: {
      // Each from an address of its own, so that no window closes.
      "x-forwarded-for": `10.${from.int(0, 255)}.${from.int(0, 255)}.${from.int(1, 254)}`,
      ...(credential === null ? {} : { authorization: `Bearer ${credential}` }),
    },
    body: undefined,
    tolerated: spoil && operation.path.includes("{") ? [404, 405, 400] : [],
  };
  withBody(operation, from, spoil, request);
  if (spoil && from.chance(0.2)) {
    const [name, value] = from.pick(ODD_HEADERS);
    request.headers[name] = value;
    // A body that is not what it says cannot be read at all.
    if (name === "content-encoding") request.tolerated = [...request.tolerated, 400];
  }
  return request;
}

/** The answer's text; of a stream only what comes at once. */
async function readText(response: Response): Promise<string> {
  if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) return response.text();
  const reader = response.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  let text = "";
  const late = Bun.sleep(STREAM_MS).then(() => ({ done: true, value: undefined }) as const);
  for (;;) {
    const { done, value } = await Promise.race([reader.read(), late]);
    if (done) break;
    text += decoder.decode(value as Uint8Array, { stream: true });
  }
  await reader.cancel();
  return text;
}

async function send(operation: Operation, request: Request): Promise<Answered> {
  const response = await fetch(request.url, {
    method: operation.method,
    headers: request.headers,
    redirect: "manual",
    signal: AbortSignal.timeout(DEADLINE_MS),
    ...(request.body === undefined ? {} : { body: request.body as string }),
  });
  return { status: response.status, headers: response.headers, text: await readText(response) };
}

function faultsOf(operation: Operation, request: Request, answer: Answered): string[] {
  const faults = judge.faults(operation, answer, request.tolerated);
  if (answer.status === 503) {
    const { error } = JSON.parse(answer.text) as { error?: { details?: { service?: string } } };
    const service = error?.details?.service ?? "";
    if (!unconfigured.has(service)) faults.push(`503 for ${service || "no service"}, which is configured`);
  }
  const isDone = answer.status >= 200 && answer.status < 300;
  if (
    isDone &&
    request.json &&
    // What may be left out may be null as well.
    (operation.bodyRequired || request.json.value !== null) &&
    !judge.allowsBody(operation, request.json.type, JSON.parse(jsonText(request.json.value)))
  ) {
    faults.push("a body that the document does not allow was taken");
  }
  const refused = isDone ? judge.refusedQuery(operation, new URL(request.url).searchParams) : [];
  if (refused.length > 0) faults.push(`a query that the document does not allow was taken: ${refused.join(", ")}`);
  return faults;
}

function shown(operation: Operation, request: Request): string {
  const { body } = request;
  const text = typeof body === "string" ? body : body === undefined ? "" : Bun.inspect(body);
  const { authorization: _hidden, ...headers } = request.headers;
  return `${request.kind}, as ${request.caller}: ${operation.method} ${request.url.slice(server.url.length, 600)} ${JSON.stringify(headers)}\n  ${text.slice(0, 800)}`;
}

let sent = 0;
/** How often each operation answered with which status. */
const statuses = new Map<string, Map<number, number>>();
function count(name: string, status: number): void {
  const known = statuses.get(name) ?? new Map<number, number>();
  known.set(status, (known.get(status) ?? 0) + 1);
  statuses.set(name, known);
}

for (const operation of operations) {
  test(
    `${operation.name} answers as declared, whatever is sent`,
    async () => {
      const from = random(`${SEED} ${operation.name}`);
      const failures: string[] = [];
      await plant(operation);
      let replanted = 0;
      const kinds = Array.from({ length: 2 * COUNT }, (_, at) =>
        at % 2 === 0 ? ("valid" as const) : ("invalid" as const),
      );
      for (let start = 0; start < kinds.length && failures.length < 4; start += WIDTH) {
        const requests = kinds.slice(start, start + WIDTH).map((kind) => requestFor(operation, kind, from));
        const began = performance.now();
        const answers = await Promise.all(
          requests.map((request) =>
            send(operation, request).catch((cause: unknown) => {
              throw new Error(`no answer (seed ${SEED}): ${shown(operation, request)}`, { cause });
            }),
          ),
        );
        for (const [at, request] of requests.entries()) {
          const answer = answers[at];
          if (!answer) continue;
          sent += 1;
          count(operation.name, answer.status);
          const faults = faultsOf(operation, request, answer);
          if (answer.status < 300) {
            if (answer.headers.get("content-type")?.startsWith("application/json"))
              harvest(JSON.parse(answer.text), thingOf(operation.path));
          }
          if (faults.length === 0) continue;
          const told = logged.filter((line) => line.at >= began).map((line) => `  log: ${line.text}`);
          failures.push(
            [
              `${faults.join(" | ")}\n  ${shown(operation, request)}`,
              `  → ${answer.status} ${answer.text.slice(0, 500)}`,
              ...(answer.status >= 500 ? told.slice(0, 3) : []),
            ].join("\n"),
          );
        }
        // What was changed may be gone.
        const isChanged = operation.method !== "GET" && answers.some(({ status }) => status < 300);
        if (isChanged && replanted < REPLANTED_MAX) {
          replanted += 1;
          await plant(operation);
        }
        for (const kind of new Set(requests.map(({ caller }) => caller))) {
          const refused = requests.findIndex(
            ({ caller }, at) => caller === kind && [401, 429].includes(answers[at]?.status ?? 0),
          );
          if (refused >= 0) await mend(kind, answers[refused]?.status ?? 0);
        }
      }
      if (failures.length > 0) throw new Error(`FUZZ_SEED=${SEED}\n${failures.join("\n\n")}`);
    },
    { timeout: 600_000 },
  );
}

test("the search reached what it searches", () => {
  const never = operations.flatMap(({ name }) => {
    const known = [...(statuses.get(name) ?? [])];
    if (known.some(([status]) => status < 400)) return [];
    return [`${name} (${known.map(([status, times]) => `${status}×${times}`).join(" ")})`];
  });
  console.log(`${sent} requests to ${operations.length} operations, FUZZ_SEED=${SEED}`);
  if (never.length > 0) console.log(`never with success: ${never.join(", ")}`);
  // Those that need a password, a provider or a state that chance does not reach.
  expect(never.length).toBeLessThan(operations.length / 3);
});
