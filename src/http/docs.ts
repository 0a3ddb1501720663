// The documents of the API: OpenAPI at /docs/json, a Postman collection beside it. The page is src/pages/docs.

import { Elysia, t, type AnyElysia } from "elysia";
import { kernel } from "./failures.ts";
import { mark } from "./mark.ts";
import { openapiDocument } from "./openapi.ts";
import { postmanCollection } from "./postman.ts";

/** Routes of the documents; they are made at the first question, when all routes are known. */
export function docsRoutes(deps: { app: () => AnyElysia; version: string }) {
  const made: { document: Record<string, unknown> | null; text: string } = { document: null, text: "" };
  const document = () => {
    if (made.document === null) {
      made.document = openapiDocument(deps.app(), { version: deps.version });
      made.text = JSON.stringify(made.document);
    }
    return made.document;
  };
  const detail = (summary: string) =>
    mark({ access: "public", summary, tag: "Documents", uncounted: true, whileRestricted: true });
  return new Elysia({ name: "docs" })
    .use(kernel)
    .get(
      "/docs/json",
      () => {
        document();
        return new Response(made.text, { headers: { "content-type": "application/json; charset=utf-8" } });
      },
      { response: { 200: t.Unknown() }, detail: detail("The OpenAPI document") },
    )
    .get(
      "/docs/postman.json",
      ({ request }) => Response.json(postmanCollection(document(), new URL(request.url).origin)),
      { response: { 200: t.Unknown() }, detail: detail("A Postman collection of all routes") },
    );
}
