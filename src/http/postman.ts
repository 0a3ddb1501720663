// A Postman collection (format v2.1) made of the OpenAPI document: folders by area, bodies from the schemas' examples.

type Json = Record<string, unknown>;

interface Operation {
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: {
    name: string;
    in: string;
    required?: boolean;
    description?: string;
    example?: unknown;
    schema?: Json;
  }[];
  requestBody?: { content: Record<string, { schema: Json }> };
}

/** A value that fits the schema: its example, default, first word, or something of its type. */
export function sample(schema: Json | undefined, depth = 0): unknown {
  if (!schema || depth > 6) return null;
  const examples = schema["examples"];
  if (Array.isArray(examples) && examples.length > 0) return examples[0];
  if (schema["example"] !== undefined) return schema["example"];
  if (schema["default"] !== undefined) return schema["default"];
  if (schema["const"] !== undefined) return schema["const"];
  if (Array.isArray(schema["enum"])) return schema["enum"][0];
  const anyOf = schema["anyOf"] ?? schema["allOf"];
  if (Array.isArray(anyOf)) return sample(anyOf[0] as Json, depth + 1);
  switch (schema["type"]) {
    case "object": {
      const required = new Set((schema["required"] as string[] | undefined) ?? []);
      const properties = Object.entries((schema["properties"] as Record<string, Json> | undefined) ?? {});
      return Object.fromEntries(
        properties.filter(([name]) => required.has(name)).map(([name, inner]) => [name, sample(inner, depth + 1)]),
      );
    }
    case "array":
      return schema["minItems"] ? [sample(schema["items"] as Json, depth + 1)] : [];
    case "integer":
    case "number":
      return schema["minimum"] ?? 0;
    case "boolean":
      return false;
    case "string":
      return schema["format"] === "date-time" ? "2026-01-01T00:00:00Z" : "text";
    default:
      return null;
  }
}

function bodyOf(operation: Operation): Json | undefined {
  const content = operation.requestBody?.content;
  if (!content) return undefined;
  const json = content["application/json"];
  if (json)
    return { mode: "raw", raw: JSON.stringify(sample(json.schema), null, 2), options: { raw: { language: "json" } } };
  if (content["multipart/form-data"]) {
    const properties = (content["multipart/form-data"].schema["properties"] as Record<string, Json> | undefined) ?? {};
    return {
      mode: "formdata",
      formdata: Object.entries(properties).map(([key, schema]) =>
        schema["format"] === "binary" ? { key, type: "file", src: [] } : { key, type: "text", value: "" },
      ),
    };
  }
  return { mode: "file", file: {} };
}

/** The collection; `{{baseUrl}}` and `{{token}}` are its variables. */
export function postmanCollection(document: Json, baseUrl: string): Json {
  const folders = new Map<string, Json[]>();
  for (const [path, operations] of Object.entries(document["paths"] as Record<string, Record<string, Operation>>)) {
    for (const [method, operation] of Object.entries(operations)) {
      const parameters = operation.parameters ?? [];
      const segments = path
        .split("/")
        .filter(Boolean)
        .map((segment) => segment.replace(/^\{(.*)\}$/, ":$1"));
      const query = parameters.filter((parameter) => parameter.in === "query");
      const body = bodyOf(operation);
      const item: Json = {
        name: operation.summary ?? `${method.toUpperCase()} ${path}`,
        request: {
          method: method.toUpperCase(),
          description: operation.description ?? "",
          header: body?.["mode"] === "raw" ? [{ key: "Content-Type", value: "application/json" }] : [],
          url: {
            raw: `{{baseUrl}}/${segments.join("/")}`,
            host: ["{{baseUrl}}"],
            path: segments,
            query: query.map(({ name, description, schema }) => ({
              key: name,
              value: schema?.["default"] === undefined ? "" : JSON.stringify(schema["default"]).replace(/^"|"$/g, ""),
              description: description ?? "",
              disabled: true,
            })),
            variable: parameters
              .filter((parameter) => parameter.in === "path")
              .map(({ name }) => ({ key: name, value: "" })),
          },
          ...(body ? { body } : {}),
        },
        response: [],
      };
      const tag = operation.tags?.[0] ?? "Other";
      folders.set(tag, [...(folders.get(tag) ?? []), item]);
    }
  }
  return {
    info: {
      name: "botserver",
      description: "Made from the server's own OpenAPI document.",
      schema: "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
    },
    auth: { type: "bearer", bearer: [{ key: "token", value: "{{token}}", type: "string" }] },
    variable: [
      { key: "baseUrl", value: baseUrl },
      { key: "token", value: "" },
    ],
    item: [...folders].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([name, item]) => ({ name, item })),
  };
}
