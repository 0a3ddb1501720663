// Elysia's validation errors as the contract's 422: every fault once, by its path, without repeating the input.

import type { ValidationError } from "elysia";
import { invalid, type AppError, type FieldFault } from "../core/errors.ts";

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

/** The 422 of a failed request check. Null when it was our own answer that failed, which is a bug (500). */
export function validationFailure(error: ValidationError): AppError | null {
  if (error.type === "response") return null;
  const faults = error.all as unknown as Fault[];
  const fields = new Map<string, FieldFault>();
  for (const fault of faults) {
    const inner = (fault.path ?? "").replace(/^\//, "").replaceAll("/", ".");
    const path = inner === "" ? (error.type === "body" ? "body" : String(error.type)) : inner;
    if (fields.has(path)) continue;
    const expected = expectation(fault.schema);
    const isMissing = fault.message === "Expected required property" || fault.message === "Required property";
    const message = isMissing ? "is required" : expected ? `must be ${expected}` : (fault.message ?? "is invalid");
    fields.set(path, { path, message, ...(expected ? { expected } : {}) });
  }
  return invalid(fields.size > 0 ? [...fields.values()] : [{ path: String(error.type), message: "is invalid" }]);
}
