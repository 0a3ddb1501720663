// Bodies of blobs as both stores read them, and the form of their ids.

import type { BlobSource } from "./index.ts";

/** Lower case only, so that one id is one file on every file system. */
export const BLOB_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** The bytes in order, in pieces of at most `pieceBytes`. */
export async function* piecesOf(body: BlobSource, pieceBytes: number): AsyncGenerator<Uint8Array> {
  const chunks = body instanceof Uint8Array ? [body] : body instanceof Blob ? body.stream() : body;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.byteLength; at += pieceBytes) yield chunk.subarray(at, at + pieceBytes);
  }
}

/** Bytes of a body whose length is known before it is read; 0 for others. */
export function knownSize(body: BlobSource): number {
  if (body instanceof Uint8Array) return body.byteLength;
  return body instanceof Blob ? body.size : 0;
}
