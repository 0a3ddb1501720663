// Written by `bun run db:generate`: the migrations in order, embedded as text.

import sql0000 from "../../../drizzle/0000_initial.sql" with { type: "text" };

/** Name and SQL text of every migration, oldest first. */
export const migrations: readonly { name: string; sql: string }[] = [{ name: "0000_initial", sql: sql0000 }];
