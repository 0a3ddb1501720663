// The OpenAPI document. @elysiajs/swagger turns each route into an operation; what it leaves wrong for OpenAPI 3.1 is
// put right here: one media type per body, no string-or-integer unions, failures, permissions as security scopes.

import { registerSchemaPath } from "@elysiajs/swagger/utils";
import type { AnyElysia } from "elysia";
import type { Access, Mark } from "./mark.ts";

type Json = Record<string, unknown>;

interface RouteLike {
  method: string;
  path: string;
  hooks: { detail?: { "x-mark"?: Mark; hide?: boolean }; body?: { "~optional"?: unknown }; response?: Json };
}

const FAILURES: Record<number, string> = {
  400: "The body cannot be read, or the request contradicts itself.",
  401: "No credentials, or they are wrong, expired or revoked.",
  403: "A known caller without the permission.",
  404: "No such thing, or one that the caller may not know of.",
  409: "A duplicate, or a state that does not allow it.",
  412: "`If-Match` names another version.",
  413: "The body is too large.",
  415: "The route takes another content type.",
  416: "No byte of the range exists.",
  422: "Well-formed but invalid; all faults are named.",
  423: "The account is locked for now.",
  429: "Over a limit; see Retry-After.",
  500: "A fault of the server.",
  503: "A backing service is down or not configured.",
};

const MEDIA: Record<NonNullable<Mark["body"]>, readonly string[]> = {
  json: ["application/json"],
  form: ["application/x-www-form-urlencoded"],
  "json-or-form": ["application/json", "application/x-www-form-urlencoded"],
  multipart: ["multipart/form-data"],
  "json-or-multipart": ["application/json", "multipart/form-data"],
  raw: ["application/octet-stream"],
};

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A coerced number or boolean that Elysia spells as text-or-value, as the value alone. */
function withoutCoercion(parts: unknown[]): unknown[] {
  const formats = new Set(["integer", "numeric", "boolean", "date", "ObjectString", "ArrayString"]);
  const plain = parts.filter(
    (part) => !(isObject(part) && part["type"] === "string" && formats.has(String(part["format"]))),
  );
  return plain.length > 0 ? plain : parts;
}

/** Elysia's own words; `nullable` is OpenAPI 3.0's and says what stands in `anyOf` already. */
const NOT_OF_THE_SCHEMA = new Set(["~optional", "elysiaMeta", "noValidate", "nullable", "x-closed"]);

/** TypeBox as JSON Schema 2020-12: symbols and Elysia's own words dropped. */
function cleaned(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(cleaned);
  if (!isObject(schema)) return schema;
  const { anyOf } = schema;
  if (Array.isArray(anyOf)) {
    const parts = withoutCoercion(anyOf);
    if (parts.length === 1 && isObject(parts[0])) {
      const { anyOf: _dropped, ...around } = schema;
      return cleaned({ ...around, ...parts[0] });
    }
    if (parts.length !== anyOf.length) return cleaned({ ...schema, anyOf: parts });
  }
  const result: Json = {};
  for (const [key, value] of Object.entries(schema)) {
    if (value === undefined || NOT_OF_THE_SCHEMA.has(key)) continue;
    // Elysia closes every object when its route is first called; what it means by it is that others are left out.
    if (key === "additionalProperties" && value === false) continue;
    if (key === "default" && (value === "File" || value === "Files")) continue;
    result[key] = key === "properties" && isObject(value) ? mapValues(value, cleaned) : cleaned(value);
  }
  if (schema["x-closed"] === true) result["additionalProperties"] = false;
  return result;
}

function mapValues(object: Json, map: (value: unknown) => unknown): Json {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value)]));
}

function securityOf(mark: Mark): Json[] {
  const scopes: string[] = ["public", "signed-in", "self"].includes(mark.access) ? [] : [mark.access];
  const schemes = [{ bearer: scopes }, { apiKey: scopes }, ...(mark.chat ? [{ chatToken: [] }] : [])];
  const isOpen = mark.access === "public" || mark.access === "chat:write" || mark.access === "bots:use";
  return isOpen ? [...schemes, {}] : schemes;
}

/** True for the bytes of a file, of which a part may be asked for. */
function isRanged({ answers }: Mark): boolean {
  return answers === "*/*";
}

/** Statuses that a route can answer beside its successes, from what it takes and who may call it. */
function failuresOf(mark: Mark, operation: Json, method: string): number[] {
  const takesBody = operation["requestBody"] !== undefined;
  const hasInput = takesBody || (Array.isArray(operation["parameters"]) && operation["parameters"].length > 0);
  const isWrite = method !== "get";
  return [
    400,
    401,
    403,
    404,
    ...(hasInput || isWrite ? [409] : []),
    ...(isWrite ? [412] : []),
    ...(takesBody ? [413, 415] : []),
    ...(isRanged(mark) ? [416] : []),
    ...(hasInput || isWrite ? [422] : []),
    ...(mark.access === "public" && isWrite ? [423] : []),
    429,
    500,
    503,
  ];
}

const SUCCESS_TEXT: Record<string, string> = {
  "101": "The socket is open.",
  "200": "Done.",
  "201": "Made.",
  "202": "Accepted; the work goes on.",
  "204": "Done; nothing to say.",
  "206": "The part that was asked for.",
  "302": "Elsewhere.",
  "304": "Not modified.",
};

/** The media types of a success; the schema is that of the JSON among them, or of the only one. */
function contentOf({ answers = "application/json" }: Mark, schema: Json): Json {
  const types = [answers].flat();
  return Object.fromEntries(
    types.map((type) => [type, { schema: type === "application/json" || types.length === 1 ? schema : {} }]),
  );
}

function operationName(method: string, path: string): string {
  const words = path
    .replace(/^\/api\/v1/, "")
    .split("/")
    .filter(Boolean);
  return [method, ...words.map((word) => word.replace(/^:(.*)$/, "by_$1").replace("*", "path"))]
    .join("_")
    .replace(/[^A-Za-z0-9_]/g, "_");
}

function finish(operation: Json, route: RouteLike, mark: Mark): Json {
  const method = route.method.toLowerCase();
  const {
    "x-mark": _mark,
    responses: made,
    requestBody: takes,
    parameters,
    ...rest
  } = operation as Json & { "x-mark"?: unknown };
  const result: Json = {
    ...rest,
    operationId: operationName(method, route.path),
    "x-permission": mark.access satisfies Access,
  };
  if (Array.isArray(parameters)) {
    result["parameters"] = parameters.map((parameter: Json) => {
      const name = parameter["in"] === "path" && parameter["name"] === "*" ? "path" : parameter["name"];
      const clean = Object.fromEntries(
        Object.entries({ ...parameter, name, schema: cleaned(parameter["schema"]) }).filter(
          ([, value]) => value !== undefined,
        ),
      );
      if (parameter["in"] === "path") clean["required"] = true;
      const { examples, ...others } = clean;
      return Array.isArray(examples) ? { ...others, example: examples[0] as unknown } : clean;
    });
  }
  const media = MEDIA[mark.body ?? "json"];
  if (isObject(takes) && isObject(takes["content"])) {
    const [first] = Object.values(takes["content"]) as Json[];
    const schema = cleaned(first?.["schema"]);
    result["requestBody"] = {
      required: !(route.hooks.body && "~optional" in route.hooks.body) && !isOptional(route.hooks.body),
      content: Object.fromEntries(media.map((type) => [type, { schema }])),
    };
  } else if (mark.body === "raw" || mark.body === "multipart") {
    const schema =
      mark.body === "raw"
        ? { type: "string", format: "binary" }
        : { type: "object", properties: { file: { type: "string", format: "binary" } } };
    result["requestBody"] = { required: true, content: Object.fromEntries(media.map((type) => [type, { schema }])) };
  }
  const responses: Json = {};
  for (const [status, response] of Object.entries((made ?? {}) as Record<string, Json>)) {
    const content = isObject(response["content"])
      ? (Object.values(response["content"])[0] as Json | undefined)
      : undefined;
    const schema = content ? cleaned(content["schema"]) : undefined;
    const hasBody = isObject(schema) && !["204", "304", "302"].includes(status) && schema["type"] !== "void";
    responses[status] = {
      description: SUCCESS_TEXT[status] ?? FAILURES[Number(status)] ?? "See the message.",
      ...(hasBody ? { content: contentOf(mark, schema) } : {}),
    };
  }
  // A route that answers with bytes of its own need not declare a schema.
  if (!Object.keys(responses).some((status) => /^[123]/.test(status)) && mark.answers !== undefined) {
    responses["200"] = { description: SUCCESS_TEXT["200"], content: contentOf(mark, {}) };
  }
  if (isRanged(mark)) responses["206"] ??= { description: SUCCESS_TEXT["206"], content: contentOf(mark, {}) };
  for (const status of failuresOf(mark, result, method)) {
    responses[status] ??= { $ref: `#/components/responses/${status}` };
  }
  result["responses"] = responses;
  result["security"] = securityOf(mark);
  return result;
}

function isOptional(schema: unknown): boolean {
  if (!isObject(schema)) return false;
  return Object.getOwnPropertySymbols(schema).some((symbol) => symbol.description === "TypeBox.Optional");
}

const failureSchema = {
  type: "object",
  required: ["success", "error"],
  properties: {
    success: { const: false },
    error: {
      type: "object",
      required: ["code", "message", "details"],
      properties: {
        code: { type: "string" },
        message: { type: "string", description: "a sentence for people" },
        details: { type: "object", additionalProperties: true, description: "reason, fields, limits" },
      },
    },
  },
} as const;

/** The OpenAPI 3.1 document of all routes of `app`, ready for JSON. */
export function openapiDocument(app: AnyElysia, info: { version: string }): Json {
  const paths: Record<string, Record<string, Json>> = {};
  const tags = new Set<string>();
  for (const route of app.routes as unknown as RouteLike[]) {
    const mark = route.hooks.detail?.["x-mark"];
    if (!mark || route.method === "WS" || route.hooks.detail?.hide) continue;
    const scratch: Record<string, Record<string, Json>> = {};
    registerSchemaPath({
      schema: scratch as never,
      path: route.path,
      method: route.method as never,
      hook: route.hooks as never,
      models: {},
    });
    for (const [path, operations] of Object.entries(scratch)) {
      const named = path.replace("/*", "/{path}");
      const all = (paths[named] ??= {});
      for (const [method, operation] of Object.entries(operations)) {
        all[method] = finish(operation, route, mark);
        for (const tag of (operation["tags"] as string[] | undefined) ?? []) tags.add(tag);
      }
    }
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "botserver",
      version: info.version,
      description:
        "Every answer of JSON is an envelope: `success` with `data`, or `success: false` with `error`. `/api/<area>` without a version is the same route.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    tags: [...tags].toSorted().map((name) => ({ name })),
    paths,
    components: {
      schemas: { Failure: failureSchema },
      responses: Object.fromEntries(
        Object.entries(FAILURES).map(([status, description]) => [
          status,
          { description, content: { "application/json": { schema: { $ref: "#/components/schemas/Failure" } } } },
        ]),
      ),
      securitySchemes: {
        bearer: {
          type: "http",
          scheme: "bearer",
          bearerFormat: "JWT",
          description: "Access token of a session, or an API key (`sk_…`).",
        },
        apiKey: { type: "apiKey", in: "header", name: "X-API-Key" },
        chatToken: { type: "http", scheme: "bearer", description: "Chat token of one conversation (`cs_…`)." },
      },
    },
  };
}
