// The one shape of answers: {"success": true, "data", "message"?} (contract README, "Envelopes").

import { t, type TSchema } from "elysia";

/** The success envelope around `data`. */
export function ok<Data>(data: Data): { success: true; data: Data } {
  return { success: true, data };
}

/**
 * A finished answer in another form than the envelope that its route declares (a stream, RFC 6749's bare JSON). Elysia
 * passes a Response by untouched; `never` keeps it out of the route's type.
 */
export function otherForm(response: Response): never {
  return response as never;
}

/** The schema of a success envelope; declared per route so that OpenAPI and the Eden client know it. */
export function enveloped<Schema extends TSchema>(data: Schema) {
  return t.Object({ success: t.Literal(true), data, message: t.Optional(t.String()) });
}
