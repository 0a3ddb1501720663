// Files in conversations: taken in as streams, typed by their bytes, scanned, served in ranges. A file that no message
// carries vanishes after 24 hours; a blob without a row is swept.

import { and, eq, isNull, lt } from "drizzle-orm";
import type { Context } from "../../../core/context.ts";
import { invalid, notFound, rangeNotSatisfiable } from "../../../core/errors.ts";
import { uuidv7 } from "../../../lib/ids/index.ts";
import { HEAD_BYTES, mediaType } from "../../../lib/mediatype/index.ts";
import { attachments, orphanedBlobs, type AttachmentRow } from "../model.ts";
import { byteRange, contentDisposition, fileName, maySeeInline } from "../rules.ts";
import type { Access } from "./access.ts";
import type { ConversationsDeps } from "./deps.ts";
import { dropBlobs } from "./messages.ts";

const UNUSED_MS = 24 * 3_600_000;
const SWEEP_MAX = 200;

export interface ServedFile {
  status: 200 | 206;
  headers: Record<string, string>;
  body: ReadableStream<Uint8Array>;
}

export type AttachmentService = ReturnType<typeof attachmentService>;

/** The stream as it is, its first bytes kept aside. */
function watched(body: ReadableStream<Uint8Array>): {
  body: ReadableStream<Uint8Array>;
  head: () => Uint8Array;
  size: () => number;
} {
  const parts: Uint8Array[] = [];
  let kept = 0;
  let size = 0;
  const through = new TransformStream<Uint8Array, Uint8Array>({
    transform: (chunk, controller) => {
      size += chunk.byteLength;
      if (kept < HEAD_BYTES) {
        const part = chunk.slice(0, HEAD_BYTES - kept);
        parts.push(part);
        kept += part.byteLength;
      }
      controller.enqueue(chunk);
    },
  });
  return { body: body.pipeThrough(through as never), head: () => Buffer.concat(parts), size: () => size };
}

function asStream(body: ReadableStream<Uint8Array> | Uint8Array | Blob): ReadableStream<Uint8Array> {
  if (body instanceof ReadableStream) return body;
  return (
    body instanceof Blob ? body : new Blob([body as Uint8Array<ArrayBuffer>])
  ).stream() as ReadableStream<Uint8Array>;
}

/** Makes the verbs over files. */
export function attachmentService(
  deps: Pick<ConversationsDeps, "engine" | "objects" | "clock" | "log" | "scanner" | "attachmentBytesMax"> & {
    access: Access;
  },
) {
  const { engine, objects, clock, access } = deps;
  const { db } = engine;

  const scan = async (blobId: string): Promise<void> => {
    if (deps.scanner === null) return;
    try {
      const found = await deps.scanner.scan(await objects.get(blobId));
      if (found === null) return;
    } catch (error) {
      await objects.delete(blobId);
      throw error;
    }
    await objects.delete(blobId);
    throw invalid([{ path: "file", message: "is infected" }], "infected_file");
  };

  const store = async (
    conversationId: string,
    name: string,
    given: ReadableStream<Uint8Array> | Uint8Array | Blob,
  ): Promise<AttachmentRow> => {
    const { body, head, size } = watched(asStream(given));
    const blob = await objects.put(body, { maxBytes: deps.attachmentBytesMax() });
    await scan(blob.id);
    const [row] = await db
      .insert(attachments)
      .values({
        id: uuidv7(),
        conversationId,
        blobId: blob.id,
        name: fileName(name),
        mime: await mediaType(head(), size() <= HEAD_BYTES),
        sizeBytes: blob.sizeBytes,
        sha256: blob.sha256,
        createdAt: clock.date(),
      })
      .returning();
    if (!row) throw new Error("no attachment was stored");
    return row;
  };

  return {
    /** Whoever may speak in the conversation; returns its id for `store`. */
    open: async (ctx: Context, id: string): Promise<string> => (await access.speaker(ctx, id)).row.id,

    /** Stores one file; throws 413, 422 `infected_file`, and nothing stays behind. */
    store,

    /** One file, or a range of it, with headers that no browser takes for a page of ours. */
    serve: async (
      ctx: Context,
      id: string,
      attachmentId: string,
      options: { range: string | null; download: boolean },
    ): Promise<ServedFile> => {
      const { row } = await access.reader(ctx, id, "attachment_read");
      const [file] = await db
        .select()
        .from(attachments)
        .where(and(eq(attachments.id, attachmentId), eq(attachments.conversationId, row.id)));
      if (!file) throw notFound("attachment");
      const range = byteRange(options.range, file.sizeBytes);
      if (range === "unsatisfiable") throw rangeNotSatisfiable(file.sizeBytes);
      const isInline = !options.download && maySeeInline(file.mime);
      const length = range === null ? file.sizeBytes : range.end - range.start + 1;
      const text = file.mime.startsWith("text/") ? "; charset=utf-8" : "";
      return {
        status: range === null ? 200 : 206,
        headers: {
          "content-type": maySeeInline(file.mime) ? file.mime + text : "application/octet-stream",
          "content-length": String(length),
          "accept-ranges": "bytes",
          "content-disposition": contentDisposition(isInline ? "inline" : "attachment", file.name),
          "x-content-type-options": "nosniff",
          "content-security-policy": "default-src 'none'; sandbox",
          "cache-control": "private, max-age=3600",
          etag: `"${file.sha256.slice(0, 32)}"`,
          ...(range === null ? {} : { "content-range": `bytes ${range.start}-${range.end}/${file.sizeBytes}` }),
        },
        body: await objects.get(file.blobId, range ?? undefined),
      };
    },

    /** Deletes files that no message took within 24 hours, and blobs whose rows are gone. */
    sweep: async (): Promise<void> => {
      const before = new Date(clock.now() - UNUSED_MS);
      const gone = await engine.transaction(async (tx) => {
        const rows = await tx
          .select({ id: attachments.id, blobId: attachments.blobId })
          .from(attachments)
          .where(and(isNull(attachments.messageId), lt(attachments.createdAt, before)))
          .limit(SWEEP_MAX)
          .for("update");
        for (const { id, blobId } of rows) {
          await tx.insert(orphanedBlobs).values({ blobId, createdAt: clock.date() }).onConflictDoNothing();
          await tx.delete(attachments).where(eq(attachments.id, id));
        }
        return rows.map(({ blobId }) => blobId);
      });
      const left = await db.select().from(orphanedBlobs).limit(SWEEP_MAX);
      await dropBlobs(deps, [...new Set([...gone, ...left.map(({ blobId }) => blobId)])]);
    },
  };
}
