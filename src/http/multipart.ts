// Streams the files of a multipart body one after another (RFC 7578), so that an upload never lies in memory whole.

import { Readable } from "node:stream";
import busboy from "busboy";
import { AppError, badRequest, invalid, isAppError, unsupportedMediaType } from "../core/errors.ts";

export interface UploadedPart {
  /** Name of the form's field. */
  field: string;
  /** As the client calls it; may hold anything. */
  name: string;
  body: ReadableStream<Uint8Array>;
}

export interface MultipartBounds {
  filesMax: number;
  /** Bytes of all text fields together, and of each. */
  fieldBytesMax?: number;
}

const ESCAPED: Record<string, string> = { "%0A": "\n", "%0D": "\r", "%22": '"' };

/** A name as it was before a browser escaped it: the HTML standard's encoding of multipart/form-data escapes these three. */
function unescaped(name: string): string {
  return name.replaceAll(/%0A|%0D|%22/g, (escape) => ESCAPED[escape] ?? escape);
}

/**
 * Calls `take` for each file, in order and one at a time; it must read the body or cancel it. Returns the text fields.
 * Throws 415 for another content type, 400 for a body that breaks off or is no form, and whatever `take` throws.
 */
export async function readMultipart(
  request: Request,
  bounds: MultipartBounds,
  take: (part: UploadedPart) => Promise<void>,
): Promise<Record<string, string>> {
  const type = request.headers.get("content-type") ?? "";
  if (!type.toLowerCase().startsWith("multipart/form-data")) throw unsupportedMediaType(["multipart/form-data"]);
  if (request.body === null) throw badRequest("The form is empty.", "invalid_form");
  const fields: Record<string, string> = {};
  let parser: busboy.Busboy;
  try {
    parser = busboy({
      headers: { "content-type": type },
      defParamCharset: "utf8",
      limits: {
        files: bounds.filesMax,
        fields: 50,
        fieldSize: bounds.fieldBytesMax ?? 65_536,
        parts: bounds.filesMax + 50,
      },
    });
  } catch (cause) {
    throw new AppError("BAD_REQUEST", "The form cannot be read.", { reason: "invalid_form" }, { cause });
  }
  const source = Readable.fromWeb(request.body as never);
  // One at a time: the next part is not parsed before this one has been read.
  let line: Promise<void> = Promise.resolve();
  let failure: unknown;
  const done = Promise.withResolvers<void>();
  const fail = (error: unknown) => {
    failure ??= error;
    source.unpipe(parser);
    source.destroy();
    done.resolve();
  };
  parser.on("field", (escaped, value) => {
    const name = unescaped(escaped);
    if (value.includes("\0")) fail(invalid([{ path: name, message: "must not contain U+0000" }]));
    if (name !== "__proto__") fields[name] = value;
  });
  parser.on("file", (field, stream, { filename }) => {
    const body = Readable.toWeb(stream) as unknown as ReadableStream<Uint8Array>;
    stream.on("error", () => undefined); // told through the body's reader
    line = line.then(async () => {
      if (failure !== undefined) {
        stream.resume();
        return;
      }
      try {
        await take({ field: unescaped(field), name: unescaped(filename ?? ""), body });
      } catch (error) {
        fail(error);
      } finally {
        stream.resume();
      }
    });
  });
  parser.on("filesLimit", () =>
    fail(badRequest(`At most ${bounds.filesMax} files are taken at once.`, "too_many_files")),
  );
  parser.on("error", (error) => fail(error));
  parser.on("close", () => done.resolve());
  source.on("error", (error) => fail(error));
  source.pipe(parser);
  await done.promise;
  await line;
  if (failure === undefined) return fields;
  if (isAppError(failure)) throw failure;
  throw new AppError("BAD_REQUEST", "The form cannot be read.", { reason: "invalid_form" }, { cause: failure });
}
