// The API as its own document describes it: operations to call, and a judge of answers that shares no code with the
// server (Ajv, JSON Schema 2020-12).

import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import type { Schema } from "./arbitrary.ts";

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  required?: boolean;
  schema: Schema;
}

interface Content {
  schema?: Schema;
}

export interface Operation {
  /** `GET /api/v1/users/{user_id}`. */
  name: string;
  method: string;
  path: string;
  /** `public`, `signed-in`, `self` or a permission word. */
  access: string;
  parameters: readonly Parameter[];
  /** Media types of the body and their schemas; none for an operation without one. */
  bodies: readonly { type: string; schema: Schema }[];
  bodyRequired: boolean;
  responses: Record<string, { $ref?: string; content?: Record<string, Content> }>;
  /** True where a conversation's chat token is among the credentials. */
  takesChatToken: boolean;
}

interface DocumentOperation {
  "x-permission": string;
  parameters?: Parameter[];
  requestBody?: { required?: boolean; content: Record<string, Content> };
  responses: Operation["responses"];
  security: Record<string, unknown>[];
}

export interface ApiDocument {
  paths: Record<string, Record<string, DocumentOperation>>;
  components: { responses: Record<string, { content?: Record<string, Content> }> };
}

/** The document that a server gives of itself. */
export async function readDocument(url: string): Promise<ApiDocument> {
  return (await (await fetch(`${url}/docs/json`)).json()) as ApiDocument;
}

/** Every operation of the document. */
export function operationsOf(document: ApiDocument): Operation[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): Operation => ({
      name: `${method.toUpperCase()} ${path}`,
      method: method.toUpperCase(),
      path,
      access: operation["x-permission"],
      parameters: operation.parameters ?? [],
      bodies: Object.entries(operation.requestBody?.content ?? {}).map(([type, { schema }]) => ({
        type,
        schema: schema ?? {},
      })),
      bodyRequired: operation.requestBody?.required ?? false,
      responses: operation.responses,
      takesChatToken: operation.security.some((one) => "chatToken" in one),
    })),
  );
}

export interface Answered {
  status: number;
  headers: Headers;
  text: string;
}

export interface Judge {
  /** What is wrong with an answer, in words; none when it is as declared. */
  faults(operation: Operation, answer: Answered, tolerated?: readonly number[]): string[];
  /** True if a JSON body is allowed by the document, numbers and booleans in text form included. */
  allowsBody(operation: Operation, type: string, body: unknown): boolean;
  /** Names of query parameters whose last value the document does not allow, and of required ones that are missing. */
  refusedQuery(operation: Operation, query: URLSearchParams): string[];
}

/** What no answer may show: traces, SQL, drivers' words, places in the file system. */
const PRIVATE = [
  /\n\s+at [^\n]*[(/]/,
  /\.(ts|js|mjs):\d+/,
  /node_modules|\/src\/|bunfs|file:\/\/\/(?!etc\/passwd)/,
  /\b(select|insert into|delete from|update) \\"|\b(SELECT|INSERT INTO|DELETE FROM|UPDATE) [a-z_*]/,
  /syntax error at or near|violates [a-z-]+ constraint|relation "|invalid input syntax|invalid byte sequence|PGlite|postgres:/i,
  /TypeError|ReferenceError|RangeError|SyntaxError|is not a function|Cannot read propert/,
  /drizzle|typebox|elysia/i,
];

/** Makes the judge of a document's answers. */
export function openJudge(document: ApiDocument, places: readonly string[]): Judge {
  // An integer beyond what a double holds exactly is still an integer; formats are checked as well.
  const strict = addFormats.default(new Ajv2020({ strict: false, allErrors: true }));
  const coercing = addFormats.default(new Ajv2020({ strict: false, coerceTypes: "array" }));
  const compiled = new Map<Schema, ValidateFunction>();
  const coerced = new Map<Schema, ValidateFunction>();
  const wrappers = new Map<Schema, Schema>();
  const components = { components: document.components };
  const compile = (ajv: Ajv2020, known: Map<Schema, ValidateFunction>, schema: Schema): ValidateFunction => {
    let made = known.get(schema);
    if (!made) {
      made = ajv.compile({ ...schema, ...components });
      known.set(schema, made);
    }
    return made;
  };

  const declared = (operation: Operation, status: number) => {
    const response = operation.responses[String(status)];
    const name = response?.$ref?.split("/").at(-1);
    return name === undefined ? response : document.components.responses[name];
  };

  return {
    faults: (operation, { status, headers, text }, tolerated = []) => {
      const faults: string[] = [];
      if (!headers.get("x-request-id")) faults.push("no X-Request-Id");
      if (status >= 500 && status !== 503) faults.push(`status ${status}`);
      const response =
        declared(operation, status) ?? (tolerated.includes(status) ? document.components.responses["404"] : undefined);
      if (!response) return [...faults, `status ${status} is not in the document`];
      const contents = Object.entries(response.content ?? {});
      const type = (headers.get("content-type") ?? "").split(";", 1)[0]?.trim() ?? "";
      if (contents.length === 0 || operation.method === "HEAD") {
        if (text !== "") faults.push(`a body where none is declared: ${text.slice(0, 200)}`);
        return faults;
      }
      const content = contents.find(([name]) => name === type || name === "*/*")?.[1];
      if (!content) return [...faults, `content type ${type || "none"} is not in the document`];
      if (!text.startsWith('{"openapi"')) {
        faults.push(...PRIVATE.filter((pattern) => pattern.test(text)).map((pattern) => `the body shows ${pattern}`));
        faults.push(...places.filter((place) => text.includes(place)).map((place) => `the body shows ${place}`));
      }
      if (type !== "application/json") return faults;
      let body: unknown;
      try {
        body = JSON.parse(text);
      } catch {
        return [...faults, "the body is not JSON"];
      }
      const validate = compile(strict, compiled, content.schema ?? {});
      if (!validate(body)) {
        const errors = (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message ?? ""}`);
        faults.push(`the body is not as declared: ${[...new Set(errors)].slice(0, 5).join("; ")}`);
      }
      return faults;
    },
    allowsBody: (operation, type, body) => {
      const schema = operation.bodies.find((one) => one.type === type)?.schema;
      if (!schema) return true;
      if (compile(strict, compiled, schema)(body)) return true;
      return Boolean(compile(coercing, coerced, schema)(structuredClone(body)));
    },
    refusedQuery: (operation, query) =>
      operation.parameters.flatMap(({ in: place, name, schema, required }) => {
        if (place !== "query") return [];
        const values = query.getAll(name);
        const value = schema.type === "array" ? values : values.at(-1);
        if (values.length === 0) return required ? [name] : [];
        let wrapped = wrappers.get(schema);
        if (!wrapped) wrappers.set(schema, (wrapped = { properties: { value: schema } }));
        return compile(coercing, coerced, wrapped)({ value }) ? [] : [name];
      }),
  };
}
