// Schema pieces that every area uses, with the traps of Elysia's own ones removed.

import { t, type TSchema } from "elysia";

/**
 * One of these words. Elysia's UnionEnum carries its first word as a default, so that a parameter that was left out
 * would arrive as if it had been given.
 */
export function oneOf<const Values extends readonly [string, ...string[]]>(
  values: Values,
  options: { description?: string; default?: Values[number] } = {},
) {
  return t.UnionEnum(values as unknown as [Values[number], ...Values[number][]], { default: undefined, ...options });
}

/** The schema, or null. */
export function nullable<Schema extends TSchema>(schema: Schema) {
  return t.Union([schema, t.Null()]);
}

/** A moment: RFC 3339, UTC. */
export const Moment = t.String({ format: "date-time", description: "RFC 3339, UTC" });

/** Option of an object in a body: a member that it does not name is 422. Others are left out without a word. */
export const CLOSED = { "x-closed": true } as const;
