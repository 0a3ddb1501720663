// The part of pdfium (WebAssembly) that reading text needs: documents, pages, characters with their places.
// Memory is bounded; when pdfium runs out of it the instance is dead and its owner must make another.

import { PDFiumModule } from "@hyzyla/pdfium";
import { ExtractFailure } from "../types.ts";

/** More than any sane page needs, and what a bomb may take before it is refused. */
const MEMORY_BYTES_MAX = 768 * 2 ** 20;

const ERROR_PASSWORD = 4;
const ERROR_SECURITY = 5;

interface Raw {
  HEAPU8: Uint8Array;
  wasmExports: { malloc: (size: number) => number; free: (pointer: number) => void };
  _FPDF_InitLibraryWithConfig(config: object): void;
  _FPDF_LoadMemDocument(bytes: number, size: number, password: number): number;
  _FPDF_GetLastError(): number;
  _FPDF_CloseDocument(document: number): void;
  _FPDF_GetPageCount(document: number): number;
  _FPDF_GetMetaText(document: number, tag: number, buffer: number, size: number): number;
  _FPDF_LoadPage(document: number, index: number): number;
  _FPDF_ClosePage(page: number): void;
  _FPDF_GetPageWidthF(page: number): number;
  _FPDF_GetPageHeightF(page: number): number;
  _FPDFPage_GetCropBox(page: number, left: number, bottom: number, right: number, top: number): number;
  _FPDFPage_GetMediaBox(page: number, left: number, bottom: number, right: number, top: number): number;
  _FPDFText_LoadPage(page: number): number;
  _FPDFText_ClosePage(text: number): void;
  _FPDFText_CountChars(text: number): number;
  _FPDFText_GetUnicode(text: number, index: number): number;
  _FPDFText_GetText(text: number, start: number, count: number, buffer: number): number;
  _FPDFText_GetCharAngle(text: number, index: number): number;
  _FPDFText_GetFontWeight(text: number, index: number): number;
  _FPDFText_GetLooseCharBox(text: number, index: number, rect: number): number;
}

/** Characters of one page in the order of its content, with boxes in the page turned so that most text is upright. */
export interface PageCharacters {
  heightPt: number;
  /** One entry for each character; \r and \n between lines, U+0002 for a hyphen at a line's end. */
  text: string | readonly string[];
  /** Writes left, bottom, right, top in points, from the page's lower left corner, into `box`. */
  place(index: number, box: Float32Array): void;
  isBold(index: number): boolean;
}

export interface PdfDocument {
  pageCount: number;
  title: string | null;
  /** `read` gets page `index`; its argument is valid only during the call. */
  page<T>(index: number, read: (characters: PageCharacters) => T): T;
  close(): void;
}

export interface Pdfium {
  /** Throws `encrypted` or `corrupted_file`. */
  open(bytes: Uint8Array): PdfDocument;
}

/** Starts pdfium from its WebAssembly bytes. */
export async function startPdfium(wasm: ArrayBuffer): Promise<Pdfium> {
  const compiled = await WebAssembly.compile(wasm);
  // The package's types name only what its own classes use, and only one way of starting; this is the rest.
  const start = PDFiumModule as unknown as (options: {
    locateFile: () => string;
    instantiateWasm: (
      imports: WebAssembly.Imports,
      done: (instance: WebAssembly.Instance) => void,
    ) => Record<string, never>;
    print: () => void;
    printErr: () => void;
  }) => Promise<Raw>;
  const failed = Promise.withResolvers<never>();
  const raw = await Promise.race([
    failed.promise,
    start({
      locateFile: () => "",
      instantiateWasm: (imports, done) => {
        const env = imports["env"] ?? {};
        const grow = env["emscripten_resize_heap"];
        if (typeof grow !== "function") throw new Error("pdfium's WebAssembly has changed its imports");
        const bounded = (size: number): unknown => (size >>> 0 > MEMORY_BYTES_MAX ? 0 : grow(size));
        WebAssembly.instantiate(compiled, { ...imports, env: { ...env, emscripten_resize_heap: bounded } }).then(
          done,
          failed.reject,
        );
        return {};
      },
      print: () => undefined,
      printErr: () => undefined,
    }),
  ]);
  raw._FPDF_InitLibraryWithConfig({});
  return { open: (bytes) => openDocument(raw, bytes) };
}

function openDocument(raw: Raw, bytes: Uint8Array): PdfDocument {
  const { malloc, free } = raw.wasmExports;
  const data = malloc(bytes.length);
  if (data === 0) throw new ExtractFailure("corrupted_file", "The PDF needs more memory than is allowed.");
  raw.HEAPU8.set(bytes, data);
  const document = raw._FPDF_LoadMemDocument(data, bytes.length, 0);
  if (document === 0) {
    const code = raw._FPDF_GetLastError();
    free(data);
    if (code === ERROR_PASSWORD || code === ERROR_SECURITY) {
      throw new ExtractFailure("encrypted", "The PDF is protected by a password.");
    }
    throw new ExtractFailure("corrupted_file", "The PDF is damaged and cannot be opened.");
  }
  const scratch = malloc(64);
  const floats = (): Float32Array => new Float32Array(raw.HEAPU8.buffer, scratch, 4);
  return {
    pageCount: raw._FPDF_GetPageCount(document),
    title: metaText(raw, document, "Title"),
    page: (index, read) => {
      const page = raw._FPDF_LoadPage(document, index);
      if (page === 0) throw new ExtractFailure("corrupted_file", `Page ${index + 1} of the PDF cannot be read.`);
      const text = raw._FPDFText_LoadPage(page);
      try {
        if (text === 0) throw new ExtractFailure("corrupted_file", `Page ${index + 1} of the PDF cannot be read.`);
        return read(characters(raw, page, text, scratch, floats));
      } finally {
        if (text !== 0) raw._FPDFText_ClosePage(text);
        raw._FPDF_ClosePage(page);
      }
    },
    close: () => {
      raw._FPDF_CloseDocument(document);
      free(scratch);
      free(data);
    },
  };
}

function characters(raw: Raw, page: number, text: number, scratch: number, floats: () => Float32Array): PageCharacters {
  const hasBox =
    raw._FPDFPage_GetCropBox(page, scratch, scratch + 4, scratch + 8, scratch + 12) ||
    raw._FPDFPage_GetMediaBox(page, scratch, scratch + 4, scratch + 8, scratch + 12);
  const sizes = [0, 0, raw._FPDF_GetPageWidthF(page), raw._FPDF_GetPageHeightF(page)];
  const [boxLeft = 0, boxBottom = 0, boxRight = 0, boxTop = 0] = hasBox ? [...floats()] : sizes;
  const count = Math.max(0, raw._FPDFText_CountChars(text));
  const quarterTurns = textDirection(raw, text, count);
  // The heap's buffer is replaced when it grows: the view is made anew then.
  let rect = floats();
  return {
    heightPt: quarterTurns % 2 === 0 ? boxTop - boxBottom : boxRight - boxLeft,
    text: textOf(raw, text, count),
    place: (index, box) => {
      raw._FPDFText_GetLooseCharBox(text, index, scratch);
      if (rect.length === 0) rect = floats();
      // FS_RECTF: left, top, right, bottom.
      const [left = 0, top = 0, right = 0, bottom = 0] = rect;
      if (quarterTurns === 0) box.set([left - boxLeft, bottom - boxBottom, right - boxLeft, top - boxBottom]);
      else if (quarterTurns === 1) box.set([bottom - boxBottom, boxRight - right, top - boxBottom, boxRight - left]);
      else if (quarterTurns === 2) box.set([boxRight - right, boxTop - top, boxRight - left, boxTop - bottom]);
      else box.set([boxTop - top, left - boxLeft, boxTop - bottom, right - boxLeft]);
    },
    isBold: (index) => raw._FPDFText_GetFontWeight(text, index) >= 600,
  };
}

const utf16 = new TextDecoder("utf-16le", { ignoreBOM: true });

/** All characters at once where each is one unit of UTF-16; one by one where some are more, or left out. */
function textOf(raw: Raw, text: number, count: number): string | readonly string[] {
  if (count === 0) return "";
  const { malloc, free } = raw.wasmExports;
  const buffer = malloc(2 * (count + 1));
  if (buffer !== 0) {
    const written = raw._FPDFText_GetText(text, 0, count, buffer);
    const whole = written === count + 1 ? utf16.decode(raw.HEAPU8.subarray(buffer, buffer + 2 * count)) : null;
    free(buffer);
    if (whole?.length === count) return whole;
  }
  return Array.from({ length: count }, (_, index) => {
    const code = raw._FPDFText_GetUnicode(text, index);
    return code <= 0x10ffff ? String.fromCodePoint(code) : "";
  });
}

const ANGLE_SAMPLES = 48;

/** Quarter turns (counter-clockwise) in which most of the page's text runs. */
function textDirection(raw: Raw, text: number, count: number): number {
  const votes = [0, 0, 0, 0];
  const step = Math.max(1, Math.floor(count / ANGLE_SAMPLES));
  for (let index = 0; index < count; index += step) {
    if (raw._FPDFText_GetUnicode(text, index) <= 32) continue;
    // pdfium counts angles clockwise.
    const turns = -Math.round(raw._FPDFText_GetCharAngle(text, index) / (Math.PI / 2)) & 3;
    votes[turns] = (votes[turns] ?? 0) + 1;
  }
  return votes.indexOf(Math.max(...votes));
}

function metaText(raw: Raw, document: number, tag: string): string | null {
  const { malloc, free } = raw.wasmExports;
  const name = malloc(tag.length + 1);
  raw.HEAPU8.set(new TextEncoder().encode(`${tag}\0`), name);
  const size = raw._FPDF_GetMetaText(document, name, 0, 0);
  let found = "";
  if (size > 2 && size <= 4096) {
    const buffer = malloc(size);
    raw._FPDF_GetMetaText(document, name, buffer, size);
    found = new TextDecoder("utf-16le").decode(raw.HEAPU8.slice(buffer, buffer + size - 2)).trim();
    free(buffer);
  }
  free(name);
  return found === "" ? null : found;
}
