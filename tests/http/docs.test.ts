// The API's own documents, judged by an independent validator.

import { Validator } from "@seriousme/openapi-schema-validator";
import { expect, test } from "bun:test";
import { startTestServer } from "../support/server.ts";

const { call, url } = await startTestServer();

test("the OpenAPI document is valid by an independent validator", async () => {
  const document = (await (await fetch(`${url}/docs/json`)).json()) as Record<string, unknown>;
  const result = await new Validator().validate(document);
  expect(result.errors ?? []).toEqual([]);
  expect(result.valid).toBe(true);
});

test("every operation names its permission, a summary, a tag, a success and its failures", async () => {
  const { paths } = (await (await fetch(`${url}/docs/json`)).json()) as {
    paths: Record<string, Record<string, { summary?: string; tags?: string[]; responses: object; security: object[] }>>;
  };
  const incomplete = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).flatMap(([method, operation]) => {
      const statuses = Object.keys(operation.responses);
      const whole =
        operation.summary &&
        operation.tags?.length &&
        operation.security.length > 0 &&
        statuses.some((status) => status.startsWith("2") || ["101", "302"].includes(status)) &&
        statuses.includes("401") &&
        statuses.includes("500");
      return whole ? [] : [`${method} ${path}`];
    }),
  );
  expect(incomplete).toEqual([]);
});

test("the Postman collection holds every operation of the document", async () => {
  const { paths } = (await (await fetch(`${url}/docs/json`)).json()) as { paths: Record<string, object> };
  const collection = (await (await fetch(`${url}/docs/postman.json`)).json()) as {
    info: { schema: string };
    item: { item: unknown[] }[];
  };
  expect(collection.info.schema).toContain("v2.1.0");
  const operations = Object.values(paths).reduce((sum, item) => sum + Object.keys(item).length, 0);
  expect(collection.item.reduce((sum, folder) => sum + folder.item.length, 0)).toBe(operations);
});

test("documents are not counted against the limits", async () => {
  expect((await call("GET", "/docs/json")).headers.get("x-ratelimit-limit")).toBeNull();
});

test("the document does not depend on what was called before it was asked for", async () => {
  const before = (await (await fetch(`${url}/docs/json`)).json()) as object;
  // Elysia changes a route's schemas when it is first called.
  for (const path of ["/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/conversations"])
    await call("POST", path, { body: { unknown: 1 } });
  const other = await startTestServer();
  const after = (await (await fetch(`${other.url}/docs/json`)).json()) as object;
  expect(after).toEqual(before);
});
