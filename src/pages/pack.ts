// The one file in which the pages travel inside the binary: a length, an index as JSON, then the bytes one after another.

export interface PageFile {
  /** The address: `/`, `/setup`, `/assets/…`. */
  path: string;
  body: Uint8Array<ArrayBuffer>;
  /** The same bytes compressed; null where that is not worth it. */
  gzip: Uint8Array<ArrayBuffer> | null;
  /** Content-Type. */
  type: string;
  /** Quoted, as the header wants it. */
  etag: string;
  /** The address names the content, so it may be kept for ever. */
  immutable: boolean;
}

/** Name of the packed file among the embedded ones. */
export const PACK_NAME = "pages.pack";

interface Entry {
  path: string;
  type: string;
  etag: string;
  immutable: boolean;
  size: number;
  gzipSize: number | null;
}

/** Packs files; `unpackPages` gives them back. */
export function packPages(files: readonly PageFile[]): Uint8Array<ArrayBuffer> {
  const index: Entry[] = files.map(({ path, type, etag, immutable, body, gzip }) => ({
    path,
    type,
    etag,
    immutable,
    size: body.length,
    gzipSize: gzip?.length ?? null,
  }));
  const head = new TextEncoder().encode(JSON.stringify(index));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, head.length);
  return new Uint8Array(
    Buffer.concat([length, head, ...files.flatMap(({ body, gzip }) => (gzip ? [body, gzip] : [body]))]),
  );
}

/** The files of a pack; throws if it is damaged. */
export function unpackPages(pack: Uint8Array<ArrayBuffer>): PageFile[] {
  const headLength = new DataView(pack.buffer, pack.byteOffset, 4).getUint32(0);
  const index = JSON.parse(new TextDecoder().decode(pack.subarray(4, 4 + headLength))) as Entry[];
  let at = 4 + headLength;
  const take = (size: number) => {
    const bytes = pack.subarray(at, at + size);
    if (bytes.length !== size) throw new Error("The embedded pages are cut short.");
    at += size;
    return bytes;
  };
  return index.map(({ path, type, etag, immutable, size, gzipSize }) => {
    const body = take(size);
    return { path, type, etag, immutable, body, gzip: gzipSize === null ? null : take(gzipSize) };
  });
}
