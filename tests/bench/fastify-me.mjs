// The comparison: Fastify on Node with @fastify/jwt and a response schema, the same body from memory.

import fastifyJwt from "@fastify/jwt";
import Fastify from "fastify";
import { randomBytes } from "node:crypto";

const app = Fastify();
app.register(fastifyJwt, { secret: randomBytes(32).toString("hex") });
let answer = { success: true, data: {} };
const nullable = { type: ["string", "null"] };
const text = { type: "string" };
const schema = {
  type: "object",
  properties: {
    success: { type: "boolean" },
    data: {
      type: "object",
      properties: {
        ...Object.fromEntries(
          ["user_id", "id", "username", "email", "display_name", "full_name", "status", "created_at", "updated_at"].map(
            (name) => [name, text],
          ),
        ),
        ...Object.fromEntries(
          [
            "pending_email",
            "first_name",
            "last_name",
            "avatar_url",
            "phone",
            "role",
            "organization_id",
            "suspended_reason",
            "password_changed_at",
            "last_login",
            "deleted_at",
          ].map((name) => [name, nullable]),
        ),
        email_verified: { type: "boolean" },
        two_factor_enabled: { type: "boolean" },
        must_change_password: { type: "boolean" },
        roles: { type: "array", items: text },
        permissions: { type: "array", items: text },
        groups: { type: "array", items: { type: "object", properties: { id: text, name: text } } },
        identities: {
          type: "array",
          items: { type: "object", properties: { provider: text, subject: text, linked_at: text } },
        },
        metadata: { type: "object", additionalProperties: true },
      },
    },
  },
};
app.post("/body", async (request) => {
  answer = request.body;
  return {};
});
app.get("/token", async () => app.jwt.sign({ sub: "1" }));
app.get(
  "/me",
  { schema: { response: { 200: schema } }, preHandler: async (request) => request.jwtVerify() },
  async () => answer,
);
await app.listen({ port: 0, host: "127.0.0.1" });
console.log(`listens on http://127.0.0.1:${app.server.address().port}`);
process.on("SIGTERM", () => process.exit(0));
