// Finds bots, collections and documents for a caller: what one may not know of is not found.

import { and, eq } from "drizzle-orm";
import { holds, type Context } from "../../core/context.ts";
import { notFound } from "../../core/errors.ts";
import type { Database, DatabaseEngine } from "../../engines/database/index.ts";
import type { Reader } from "../../engines/vectors/index.ts";
import { isUuid } from "../../lib/ids/index.ts";
import { maySee, type EffectiveAccess } from "./access.ts";
import type { BotsDoor, KnowledgeBot } from "./doors.ts";
import { admittedDocuments } from "./admitted.ts";
import { kbCollections, kbDocuments, type CollectionRow, type DocumentRow } from "./model.ts";
import type { Readers } from "./reader.ts";

/** What makes a collection's name unique: case and a trailing `.gbkb` do not count. */
export function collectionKey(name: string): string {
  return name.replace(/\.gbkb$/i, "").toLowerCase();
}

export interface FoundCollection {
  collection: CollectionRow;
  bot: KnowledgeBot;
  reader: Reader;
}

export interface FoundDocument extends FoundCollection {
  document: DocumentRow;
}

export type Finder = ReturnType<typeof openFinder>;

export function openFinder(deps: { database: DatabaseEngine; bots: BotsDoor; readers: Readers }) {
  const { database, bots, readers } = deps;

  /** The bot, if the caller may use it or manages knowledge. */
  async function bot(ctx: Context, ref: string | null): Promise<KnowledgeBot> {
    const found = await bots.find(ref);
    if (!found) throw notFound("bot");
    if (!holds(ctx.caller, "kb:write") && !(await bots.mayUse(ctx, found.id))) throw notFound("bot");
    return found;
  }

  /** The row of an id or of `<bot>:<name>`. */
  async function rowOf(ref: string, botRef: string | null): Promise<CollectionRow | null> {
    if (isUuid(ref)) {
      const [row] = await database.db.select().from(kbCollections).where(eq(kbCollections.id, ref));
      return row ?? null;
    }
    const colon = ref.indexOf(":");
    const ofBot = await bots.find(colon < 0 ? botRef : ref.slice(0, colon));
    if (!ofBot) return null;
    const key = collectionKey(ref.slice(colon + 1));
    const [row] = await database.db
      .select()
      .from(kbCollections)
      .where(and(eq(kbCollections.botId, ofBot.id), eq(kbCollections.nameKey, key)));
    return row ?? null;
  }

  /**
   * True if a reader may know of a collection: its default admits them, or one of its documents does. Managers know
   * of all.
   */
  async function mayKnow(ctx: Context, collection: CollectionRow, reader: Reader): Promise<boolean> {
    if (holds(ctx.caller, "kb:write")) return true;
    if (maySee(defaultAccess(collection), reader)) return true;
    const [seen] = await database.db
      .select({ id: kbDocuments.id })
      .from(kbDocuments)
      .where(and(eq(kbDocuments.collectionId, collection.id), admittedDocuments(reader, "title")))
      .limit(1);
    return seen !== undefined;
  }

  /** The collection `ref` (id, `<bot>:<name>`, or a name with `botRef`), else 404. */
  async function collection(ctx: Context, ref: string, botRef: string | null = null): Promise<FoundCollection> {
    const row = await rowOf(ref, botRef);
    if (!row) throw notFound("collection");
    const ofBot = await bots.find(row.botId);
    if (!ofBot) throw notFound("collection");
    if (!holds(ctx.caller, "kb:write") && !(await bots.mayUse(ctx, ofBot.id))) throw notFound("collection");
    const reader = await readers.of(ctx);
    if (!(await mayKnow(ctx, row, reader))) throw notFound("collection");
    return { collection: row, bot: ofBot, reader };
  }

  /** The document, else 404; managers of knowledge know of all. */
  async function document(ctx: Context, id: string): Promise<FoundDocument> {
    const [row] = await database.db
      .select({ document: kbDocuments, collection: kbCollections })
      .from(kbDocuments)
      .innerJoin(kbCollections, eq(kbCollections.id, kbDocuments.collectionId))
      .where(eq(kbDocuments.id, id));
    const ofBot = row ? await bots.find(row.document.botId) : null;
    if (!row || !ofBot) throw notFound("document");
    const reader = await readers.of(ctx);
    const isKnown =
      holds(ctx.caller, "kb:write") || ((await bots.mayUse(ctx, ofBot.id)) && maySee(row.document, reader));
    if (!isKnown) throw notFound("document");
    return { ...row, bot: ofBot, reader };
  }

  return { bot, collection, document, mayKnow };
}

/** A collection's default as the access of a document without any rule. */
export function defaultAccess({ defaultAccess: level }: Pick<CollectionRow, "defaultAccess">): EffectiveAccess {
  return {
    accessLevel: level,
    allowedRoles: [],
    allowedGroups: [],
    allowedUsers: [],
    indexVisibility: level,
  };
}

/** Locks the collection's row, so that what is read afterwards stays true until the end; 404 when it is gone. */
export async function lockCollection(tx: Database, id: string): Promise<CollectionRow> {
  const [row] = await tx.select().from(kbCollections).where(eq(kbCollections.id, id)).for("update");
  if (!row) throw notFound("collection");
  return row;
}
