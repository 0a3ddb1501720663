// Blobs of documents whose rows are gone: deleted after the commit, best effort. What a crash leaves behind is an
// orphan, and `referenced` tells a sweep which ones are not.

import { inArray, or } from "drizzle-orm";
import type { Log } from "../../core/log.ts";
import type { DatabaseEngine } from "../../engines/database/index.ts";
import type { ObjectStore } from "../../engines/objects/index.ts";
import { kbDocuments } from "./model.ts";

export type Blobs = ReturnType<typeof documentBlobs>;

export function documentBlobs(deps: { database: DatabaseEngine; objects: ObjectStore; log: Log }) {
  const { database, objects, log } = deps;
  return {
    drop: async (ids: readonly (string | null)[]): Promise<void> => {
      for (const id of ids) {
        if (id === null) continue;
        await objects.delete(id).catch((error: unknown) => {
          log.warn("a blob of a deleted document stays behind", { blob: id, error });
        });
      }
    },
    /** Those of `ids` that a document still needs. */
    referenced: async (ids: readonly string[]): Promise<Set<string>> => {
      if (ids.length === 0) return new Set();
      const rows = await database.db
        .select({ blobId: kbDocuments.blobId, textBlobId: kbDocuments.textBlobId })
        .from(kbDocuments)
        .where(or(inArray(kbDocuments.blobId, [...ids]), inArray(kbDocuments.textBlobId, [...ids])));
      return new Set(rows.flatMap(({ blobId, textBlobId }) => [blobId, textBlobId].filter((id) => id !== null)));
    },
  };
}
