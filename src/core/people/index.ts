// Data about people: each area registers how to find, export and erase what it keeps of a person. Compliance and
// account deletion use nothing else; a test walks the schema and fails for a table with a user column that is
// registered nowhere.

import type { Database } from "../../engines/database/index.ts";

export interface PersonData {
  /** Folder name of the area. */
  area: string;
  /** Names of the tables that this entry answers for. */
  tables: readonly string[];
  /** Plain data of the person, ready for JSON. */
  export(db: Database, userId: string): Promise<Record<string, unknown>>;
  /** Deletes or empties; part of the caller's transaction. */
  erase(tx: Database, userId: string): Promise<void>;
}

export interface People {
  register(entry: PersonData): void;
  all(): readonly PersonData[];
}

/** Makes an empty registry. */
export function openPeople(): People {
  const entries: PersonData[] = [];
  return {
    register: (entry) => {
      entries.push(entry);
    },
    all: () => entries,
  };
}
