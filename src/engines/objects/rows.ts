// Blobs as rows of PostgreSQL: what several instances on one database share when no S3 is configured, for a data folder
// belongs to one process. A blob is seen when its last part is there; what a crash leaves half-written is cleared away.

import type { Clock } from "../../core/clock.ts";
import { conflict, notFound, payloadTooLarge, rangeNotSatisfiable, unavailable } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { uuidv7 } from "../../lib/ids/index.ts";
import { BLOB_ID, knownSize, piecesOf } from "./bodies.ts";
import type { BlobInfo, BlobSource, ByteRange, ObjectStore, PutOptions } from "./index.ts";

/** The database as this engine needs it. */
export interface Rows {
  query<Row extends Record<string, unknown>>(text: string, values?: unknown[]): Promise<Row[]>;
}

export interface RowObjectsOptions {
  rows: Rows;
  clock: Clock;
  log: Log;
}

/** Turning one into the text in which it travels takes about a millisecond. */
const PART_BYTES = 256 * 1024;
/** Parts that are read at a time: a reader that has begun has these, though the blob is deleted meanwhile. */
const PARTS_AHEAD = 16;
const LIST_PAGE = 500;
/** A blob that has been written for so long was left by a process that died. */
const UNFINISHED_MS = 86_400_000;

/** Parts of equal size, the last one shorter; none for an empty body. A body that is too long is not read further. */
async function* partsOf(body: BlobSource, maxBytes: number): AsyncGenerator<Uint8Array> {
  let part = new Uint8Array(PART_BYTES);
  let filled = 0;
  let total = 0;
  for await (const piece of piecesOf(body, PART_BYTES)) {
    total += piece.byteLength;
    if (total > maxBytes) throw payloadTooLarge(maxBytes);
    for (let at = 0; at < piece.byteLength;) {
      const taken = Math.min(piece.byteLength - at, PART_BYTES - filled);
      part.set(piece.subarray(at, at + taken), filled);
      at += taken;
      filled += taken;
      if (filled < PART_BYTES) continue;
      yield part;
      part = new Uint8Array(PART_BYTES);
      filled = 0;
    }
  }
  if (filled > 0) yield part.subarray(0, filled);
}

/** Opens the store. Nothing is asked of the database before the first call. */
export function rowObjects({ rows, clock, log }: RowObjectsOptions): ObjectStore {
  let sweptAt = Number.NEGATIVE_INFINITY;

  const ask = async <Row extends Record<string, unknown>>(text: string, values: unknown[]): Promise<Row[]> => {
    try {
      return await rows.query<Row>(text, values);
    } catch (error) {
      throw unavailable("storage", error);
    }
  };

  const sizeOf = async (id: string): Promise<number | null> => {
    if (!BLOB_ID.test(id)) return null;
    const [row] = await ask<{ size_bytes: number }>(
      "select size_bytes from blobs where id = $1 and completed_at is not null",
      [id],
    );
    return row ? row.size_bytes : null;
  };

  /** Parts `from` to `to`, both inclusive; `notFound("blob")` if they are not all there any more. */
  const read = async (id: string, from: number, to: number): Promise<Uint8Array[]> => {
    const found = await ask<{ bytes: Uint8Array }>(
      "select bytes from blob_parts where blob_id = $1 and part between $2::int and $3::int order by part",
      [id, from, to],
    );
    if (found.length !== to - from + 1) throw notFound("blob");
    return found.map(({ bytes }) => bytes);
  };

  const sweep = () => {
    const now = clock.now();
    if (now - sweptAt < UNFINISHED_MS) return;
    sweptAt = now;
    ask<{ id: string }>("delete from blobs where completed_at is null and created_at < $1 returning id", [
      new Date(now - UNFINISHED_MS),
    ]).then(
      (left) => {
        if (left.length > 0) log.info("unfinished blobs of an earlier process are removed", { count: left.length });
      },
      (error: unknown) => log.warn("unfinished blobs stay for now", { error }),
    );
  };

  const addPart = async (id: string, part: number, bytes: Uint8Array) => {
    await ask("insert into blob_parts (blob_id, part, bytes) values ($1, $2::int, $3::bytea)", [id, part, bytes]);
  };

  /** A blob of at most one part, in one statement. False if the id is taken. */
  const insertSmall = async (info: BlobInfo, bytes: Uint8Array | null): Promise<boolean> => {
    const values: unknown[] = [info.id, info.sizeBytes, info.sha256, clock.date()];
    const blob = `insert into blobs (id, size_bytes, sha256, created_at, completed_at)
      values ($1, $2::bigint, $3, $4::timestamptz, $4::timestamptz) on conflict do nothing returning id`;
    const made =
      bytes === null
        ? await ask(blob, values)
        : await ask(
            `with b as (${blob}) insert into blob_parts (blob_id, part, bytes) select id, 0, $5::bytea from b returning blob_id`,
            [...values, bytes],
          );
    return made.length > 0;
  };

  const put = async (
    body: BlobSource,
    { maxBytes = Number.POSITIVE_INFINITY, id = uuidv7() }: PutOptions = {},
  ): Promise<BlobInfo> => {
    if (!BLOB_ID.test(id)) throw new Error("a blob's id is a UUIDv7 in lower case");
    if (knownSize(body) > maxBytes) throw payloadTooLarge(maxBytes);
    sweep();
    const hash = new Bun.CryptoHasher("sha256");
    let sizeBytes = 0;
    let count = 0;
    let isReserved = false;
    /** The part that is not written yet: with a single one there is nothing to reserve. */
    let last: Uint8Array | null = null;
    try {
      for await (const part of partsOf(body, maxBytes)) {
        sizeBytes += part.byteLength;
        hash.update(part);
        if (last !== null) {
          if (!isReserved) {
            const made = await ask(
              "insert into blobs (id, created_at) values ($1, $2) on conflict do nothing returning id",
              [id, clock.date()],
            );
            if (made.length === 0) throw conflict("blob_exists");
            isReserved = true;
          }
          await addPart(id, count, last);
          count += 1;
        }
        last = part;
      }
      const info: BlobInfo = { id, sizeBytes, sha256: hash.digest("hex") };
      if (!isReserved) {
        if (!(await insertSmall(info, last))) throw conflict("blob_exists");
        return info;
      }
      if (last !== null) await addPart(id, count, last);
      const done = await ask(
        `update blobs set size_bytes = $2::bigint, sha256 = $3, completed_at = $4
         where id = $1 and completed_at is null returning id`,
        [id, sizeBytes, info.sha256, clock.date()],
      );
      if (done.length === 0) throw unavailable("storage", new Error("the blob was removed while it was written"));
      return info;
    } catch (error) {
      if (isReserved) {
        await ask("delete from blobs where id = $1 and completed_at is null", [id]).catch((cause: unknown) =>
          log.warn("an unfinished blob stays for a day", { error: cause }),
        );
      }
      throw error;
    }
  };

  const get = async (id: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>> => {
    const sizeBytes = await sizeOf(id);
    if (sizeBytes === null) throw notFound("blob");
    const { start, end } = range ?? { start: 0, end: sizeBytes - 1 };
    const isInside = Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && end < sizeBytes;
    if (range && (!isInside || start > end)) throw rangeNotSatisfiable(sizeBytes);
    const lastPart = Math.floor(end / PART_BYTES);
    let next = Math.floor(start / PART_BYTES);
    const some = async (): Promise<Uint8Array[]> => {
      if (sizeBytes === 0 || next > lastPart) return [];
      const from = next;
      next = Math.min(lastPart, from + PARTS_AHEAD - 1) + 1;
      const parts = await read(id, from, next - 1);
      return parts.map((bytes, i) => {
        const offset = (from + i) * PART_BYTES;
        return bytes.subarray(Math.max(0, start - offset), Math.min(bytes.byteLength, end + 1 - offset));
      });
    };
    let ready = await some();
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          if (ready.length === 0) ready = await some();
          const part = ready.shift();
          if (part === undefined) controller.close();
          else controller.enqueue(part);
        },
        cancel: () => {
          ready = [];
          next = lastPart + 1;
        },
      },
      { highWaterMark: 0 },
    );
  };

  const bytes = async (id: string): Promise<Uint8Array> => {
    const sizeBytes = await sizeOf(id);
    if (sizeBytes === null) throw notFound("blob");
    const whole = new Uint8Array(sizeBytes);
    const count = Math.ceil(sizeBytes / PART_BYTES);
    for (let from = 0; from < count; from += PARTS_AHEAD) {
      const parts = await read(id, from, Math.min(count, from + PARTS_AHEAD) - 1);
      for (const [i, part] of parts.entries()) whole.set(part, (from + i) * PART_BYTES);
    }
    return whole;
  };

  const remove = async (id: string): Promise<void> => {
    if (BLOB_ID.test(id)) await ask("delete from blobs where id = $1 and completed_at is not null", [id]);
  };

  const list = async function* (olderThanMs: number) {
    const latest = new Date(clock.now() - olderThanMs);
    for (let after = "00000000-0000-0000-0000-000000000000"; ;) {
      const page = await ask<{ id: string }>(
        "select id from blobs where completed_at < $1 and id > $2::uuid order by id limit $3::int",
        [latest, after, LIST_PAGE],
      );
      for (const { id } of page) yield id;
      const last = page.at(-1);
      if (last === undefined || page.length < LIST_PAGE) return;
      after = last.id;
    }
  };

  return {
    kind: "database",
    put,
    get,
    bytes,
    stat: async (id) => {
      const sizeBytes = await sizeOf(id);
      return sizeBytes === null ? null : { sizeBytes };
    },
    delete: remove,
    list,
    ping: async () => {
      const begin = performance.now();
      const { id } = await put(new Uint8Array(1));
      await bytes(id);
      await remove(id);
      return { latencyMs: performance.now() - begin, freeBytes: null };
    },
  };
}
