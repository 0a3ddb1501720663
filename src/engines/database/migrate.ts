// Brings the schema up to date: every embedded migration once, in order, each in its own transaction.

import { sql } from "drizzle-orm";
import type { Log } from "../../core/log.ts";
import type { DatabaseEngine } from "./index.ts";
import { migrations as embedded } from "./migrations.ts";

/** Any constant: what the instances that start on one database agree upon. */
const LOCK_KEY = 7_242_018_655_310_001;

export interface Migration {
  name: string;
  sql: string;
}

/** Hex SHA-256 over the text with uniform line ends. */
export function migrationHash(sql: string): string {
  return new Bun.CryptoHasher("sha256").update(sql.replaceAll("\r\n", "\n")).digest("hex");
}

/** Applies what is missing and returns the names; throws when an applied migration has another content than ours. */
export async function applyMigrations(
  engine: DatabaseEngine,
  log: Log,
  migrations: readonly Migration[] = embedded,
): Promise<string[]> {
  const applied: string[] = [];
  for (;;) {
    const name = await engine.transaction(async (tx) => {
      // PGlite has a single connection under the folder's lock; there the call costs nothing.
      await tx.execute(sql`select pg_advisory_xact_lock(${LOCK_KEY}::bigint)`);
      await tx.execute(sql`
        create table if not exists schema_migrations (
          name text primary key,
          hash text not null,
          applied_at timestamptz not null default now()
        )`);
      const rows = await tx.execute(sql`select name, hash from schema_migrations`);
      const known = new Map((rows as unknown as { name: string; hash: string }[]).map((row) => [row.name, row.hash]));
      for (const migration of migrations) {
        const hash = known.get(migration.name);
        const own = migrationHash(migration.sql);
        if (hash === own) continue;
        if (hash !== undefined) {
          throw new Error(
            `Migration ${migration.name} was applied to this database with other content: it was made by another, ` +
              "unreleased version. Start with a new data folder or database, or with that version.",
          );
        }
        for (const statement of migration.sql.split("--> statement-breakpoint")) {
          if (statement.trim()) await tx.execute(sql.raw(statement));
        }
        await tx.execute(sql`insert into schema_migrations (name, hash) values (${migration.name}, ${own})`);
        return migration.name;
      }
      const ours = new Set(migrations.map((migration) => migration.name));
      const newer = [...known.keys()].filter((other) => !ours.has(other));
      if (newer.length > 0) {
        throw new Error(`This database was migrated by a newer version (${newer.join(", ")}); start that version.`);
      }
      return null;
    });
    if (name === null) return applied;
    log.info("migration applied", { name });
    applied.push(name);
  }
}
