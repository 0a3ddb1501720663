// Every table that holds something of a person is registered for export and erasure.

import { expect, test } from "bun:test";
import { startTestServer } from "../support/server.ts";

const server = await startTestServer();

test("no table with a column of a person is registered nowhere", async () => {
  const columns = await server.engines.database.query<{ table: string }>(
    `SELECT DISTINCT table_name AS table FROM information_schema.columns
     WHERE table_schema = 'public' AND (column_name IN ('user_id', 'owner_id', 'actor_id', 'email', 'identifier')
       OR column_name LIKE '%\\_by' OR column_name LIKE '%ip_address')`,
  );
  const registered = new Set(server.services.people.all().flatMap(({ tables }) => tables));
  expect(
    columns
      .map(({ table }) => table)
      .filter((table) => !registered.has(table))
      .toSorted(),
  ).toEqual([]);
});

test("erasing leaves no name, address or credential of the person in any table", async () => {
  const person = await server.person();
  await server.call("POST", "/api/v1/user/api-keys", {
    token: person.token,
    body: { name: "k", scopes: ["chat:read"] },
  });
  await server.engines.database.transaction(async (tx) => {
    for (const entry of server.services.people.all()) await entry.erase(tx, person.userId);
  });
  const tables = await server.engines.database.query<{ name: string }>(
    "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'",
  );
  for (const { name } of tables) {
    const rows = await server.engines.database.query<{ text: string }>(`SELECT t::text AS text FROM "${name}" t`);
    expect([name, rows.some(({ text }) => text.includes(person.email))]).toEqual([name, false]);
  }
});
