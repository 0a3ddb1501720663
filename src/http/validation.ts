// Elysia's validation errors as the contract's 422: every fault once, by its path, without repeating the input.

import { Value, type TransformDecodeCheckError, type TransformDecodeError } from "@sinclair/typebox/value";
import { OptionalKind } from "@sinclair/typebox";
import type { TSchema, ValidationError } from "elysia";
import { invalid, type AppError, type FieldFault } from "../core/errors.ts";

/** A schema as far as it is looked at here. */
interface SchemaLike {
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  format?: string;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  anyOf?: SchemaLike[];
  allOf?: SchemaLike[];
  items?: SchemaLike;
  properties?: Record<string, SchemaLike>;
  patternProperties?: Record<string, SchemaLike>;
  "x-closed"?: boolean;
  description?: string;
}

interface Fault {
  path?: string;
  message?: string;
  summary?: string;
  schema?: SchemaLike;
}

function range(low: number | undefined, high: number | undefined, unit: string): string {
  if (low === undefined && high === undefined) return "";
  if (low === undefined) return ` of at most ${high}${unit}`;
  if (high === undefined) return ` of at least ${low}${unit}`;
  return ` of ${low}–${high}${unit}`;
}

/** What a schema wants, in words. */
export function expectation(schema: SchemaLike | undefined): string | undefined {
  if (!schema) return undefined;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return `one of ${schema.enum.map((value) => JSON.stringify(value)).join(", ")}`;
  if (schema.anyOf) {
    const parts = schema.anyOf.filter(
      (part) => part.format !== "numeric" && part.format !== "integer" && part.format !== "boolean",
    );
    const words = [...new Set(parts.map(expectation).filter((word) => word !== undefined))];
    return words.length > 0 ? words.join(" or ") : undefined;
  }
  switch (schema.type) {
    case "integer":
      return `a whole number${range(schema.minimum, schema.maximum, "")}`;
    case "number":
      return `a number${range(schema.minimum, schema.maximum, "")}`;
    case "string":
      if (schema.format) return `a text in the format ${schema.format}`;
      if (schema.pattern) return `a text that matches ${schema.pattern}`;
      return `a text${range(schema.minLength, schema.maxLength, " characters")}`;
    case "array":
      return `a list${range(schema.minItems, schema.maxItems, " items")}`;
    case "object":
      return "an object";
    case "boolean":
      return "true or false";
    case "null":
      return "null";
    default:
      return undefined;
  }
}

const FAULTS_MAX = 64;

function failureOf(faults: Iterable<Fault>, part: string): AppError {
  const fields = new Map<string, FieldFault>();
  for (const fault of faults) {
    const inner = (fault.path ?? "").replace(/^\//, "").replaceAll("/", ".");
    const path = inner === "" ? part : inner;
    if (fields.has(path)) continue;
    if (fields.size >= FAULTS_MAX) break;
    const expected = expectation(fault.schema);
    const isMissing = fault.message === "Expected required property" || fault.message === "Required property";
    const message = isMissing ? "is required" : expected ? `must be ${expected}` : (fault.message ?? "is invalid");
    fields.set(path, { path, message, ...(expected ? { expected } : {}) });
  }
  return invalid(fields.size > 0 ? [...fields.values()] : [{ path: part, message: "is invalid" }]);
}

/** The 422 of a failed request check. Null when it was our own answer that failed, which is a bug (500). */
export function validationFailure(error: ValidationError): AppError | null {
  if (error.type === "response") return null;
  return failureOf(error.all as unknown as Fault[], String(error.type));
}

/** The 422 of a list in text form whose items are not as they should be. */
export function decodingFailure(error: TransformDecodeCheckError | TransformDecodeError): AppError {
  return failureOf("path" in error ? [{ path: error.path }] : [error.error as Fault], "query");
}

/** True where the schema wants an object or a list and the value has something else. */
function isMisshapen(schema: SchemaLike, value: unknown): boolean {
  if (value === undefined) return false;
  if (schema.allOf) return schema.allOf.some((part) => isMisshapen(part, value));
  if (schema.anyOf) {
    return schema.anyOf.every((part) =>
      part.type === "null" || part.type === "undefined" ? value !== null : isMisshapen(part, value),
    );
  }
  if (schema.type === "array") {
    if (!Array.isArray(value)) return true;
    const { items } = schema;
    return items !== undefined && value.some((item) => isMisshapen(items, item));
  }
  if (schema.type !== "object") return false;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return true;
  const members = value as Record<string, unknown>;
  for (const [name, member] of Object.entries(schema.properties ?? {})) {
    if (Object.hasOwn(members, name) && isMisshapen(member, members[name])) return true;
  }
  const [open] = Object.values(schema.patternProperties ?? {});
  return open !== undefined && Object.values(members).some((member) => isMisshapen(open, member));
}

/** Members that a closed object does not name. */
function* unknownMembers(schema: SchemaLike, value: unknown, path = ""): Generator<Fault> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return;
  for (const [name, member] of Object.entries(value)) {
    const known = Object.hasOwn(schema.properties ?? {}, name) ? schema.properties?.[name] : undefined;
    if (known) yield* unknownMembers(known, member, `${path}/${name}`);
    else if (schema["x-closed"]) yield { path: `${path}/${name.slice(0, 100)}`, message: "is not a field here" };
  }
}

/**
 * Throws 422 for a body in which a value stands where the schema wants an object or a list. Elysia's cleaner, which
 * comes before its check, would make an empty object of the one and run to the `length` that the other claims. And for
 * members that a closed object does not name.
 */
export function checkShape(schema: TSchema, body: unknown): void {
  if (body === null && OptionalKind in schema) return;
  const unknown = [...unknownMembers(schema as SchemaLike, body)];
  if (unknown.length === 0 && !isMisshapen(schema as SchemaLike, body)) return;
  throw failureOf([...unknown, ...(Value.Errors(schema, body) as Iterable<Fault>)], "body");
}
