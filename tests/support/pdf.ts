// PDFs for tests: readable ones by pdf-lib, broken and hostile ones written byte by byte.

import { deflateSync } from "node:zlib";
import { PDFDocument, StandardFonts } from "pdf-lib";

/** A PDF with one string per line of each page. */
export async function pdfOf(pages: readonly (readonly string[])[]): Promise<Uint8Array<ArrayBuffer>> {
  const pdf = await PDFDocument.create();
  const font = await pdf.embedFont(StandardFonts.Helvetica);
  for (const lines of pages) {
    const page = pdf.addPage([595, 842]);
    lines.forEach((line, at) => page.drawText(line, { x: 60, y: 720 - at * 16, size: 11, font }));
  }
  return new Uint8Array(await pdf.save());
}

/** A page without any text: a drawn rectangle. */
export async function pdfWithoutText(): Promise<Uint8Array<ArrayBuffer>> {
  const pdf = await PDFDocument.create();
  pdf.addPage([300, 300]).drawRectangle({ x: 50, y: 50, width: 100, height: 100 });
  return new Uint8Array(await pdf.save());
}

/** Objects by number to a whole PDF file; object 1 is the catalogue. */
export function rawPdf(objects: readonly (string | Buffer)[], trailer = ""): Uint8Array<ArrayBuffer> {
  const parts: Buffer[] = [Buffer.from("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "latin1")];
  let size = parts[0]?.length ?? 0;
  const offsets: number[] = [];
  const add = (piece: string | Buffer) => {
    const bytes = typeof piece === "string" ? Buffer.from(piece, "latin1") : piece;
    parts.push(bytes);
    size += bytes.length;
  };
  objects.forEach((object, at) => {
    offsets.push(size);
    add(`${at + 1} 0 obj\n`);
    add(object);
    add("\nendobj\n");
  });
  const xref = size;
  add(`xref\n0 ${objects.length + 1}\n0000000000 65535 f \n`);
  for (const offset of offsets) add(`${String(offset).padStart(10, "0")} 00000 n \n`);
  add(`trailer\n<< /Size ${objects.length + 1} /Root 1 0 R ${trailer} >>\nstartxref\n${xref}\n%%EOF\n`);
  return new Uint8Array(Buffer.concat(parts));
}

const stream = (data: Buffer, entries = ""): Buffer =>
  Buffer.concat([
    Buffer.from(`<< /Length ${data.length} ${entries} >>\nstream\n`, "latin1"),
    data,
    Buffer.from("\nendstream", "latin1"),
  ]);

const HEAD = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"];
const FONT = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>";

/** A content stream that unpacks to `megabytes` of text operators from a few kilobytes. */
export function pdfBomb(megabytes: number): Uint8Array<ArrayBuffer> {
  const line = "BT /F1 9 Tf 10 10 Td (AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA) Tj ET\n";
  const data = deflateSync(Buffer.alloc(megabytes * 2 ** 20, line), { level: 9 });
  return rawPdf([
    ...HEAD,
    "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 5 0 R /Resources << /Font << /F1 4 0 R >> >> >>",
    FONT,
    stream(data, "/Filter /FlateDecode"),
  ]);
}

/** Forms that each draw the next one `fan` times, `depth` deep: fan^depth drawings from a few kilobytes. */
export function pdfLaughs(depth: number, fan: number): Uint8Array<ArrayBuffer> {
  const first = 5;
  const form = (at: number) => {
    const isLast = at === depth - 1;
    const draw = isLast ? "BT /F1 9 Tf (ha) Tj ET\n" : "/X Do\n".repeat(fan);
    const next = isLast ? "" : `/XObject << /X ${first + at + 1} 0 R >>`;
    return stream(
      Buffer.from(draw),
      `/Type /XObject /Subtype /Form /BBox [0 0 600 800] /Resources << /Font << /F1 4 0 R >> ${next} >>`,
    );
  };
  const forms = Array.from({ length: depth }, (_, at) => form(at));
  return rawPdf([
    ...HEAD,
    `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents ${first + depth} 0 R /Resources << /XObject << /X ${first} 0 R >> >> >>`,
    FONT,
    ...forms,
    stream(Buffer.from("/X Do\n")),
  ]);
}

/** A page tree whose node is its own child, with a count to match. */
export function pdfEndlessTree(): Uint8Array<ArrayBuffer> {
  return rawPdf(["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 1000 >>"]);
}

/** Flate in Flate in Flate: each layer unpacks a thousandfold. */
export function pdfNestedBomb(): Uint8Array<ArrayBuffer> {
  const inner = deflateSync(Buffer.alloc(200 * 2 ** 20, " "), { level: 9 });
  const data = deflateSync(deflateSync(inner, { level: 9 }), { level: 9 });
  return rawPdf([
    ...HEAD,
    "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 5 0 R /Resources << /Font << /F1 4 0 R >> >> >>",
    FONT,
    stream(data, "/Filter [/FlateDecode /FlateDecode /FlateDecode]"),
  ]);
}

/** A PDF that says it is encrypted with a password that nobody has. */
export function pdfEncrypted(): Uint8Array<ArrayBuffer> {
  return rawPdf(
    [
      ...HEAD,
      "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 5 0 R /Resources << /Font << /F1 4 0 R >> >> >>",
      FONT,
      stream(Buffer.from("BT /F1 9 Tf (secret) Tj ET")),
      `<< /Filter /Standard /V 1 /R 2 /O <${"ab".repeat(32)}> /U <${"cd".repeat(32)}> /P -4 >>`,
    ],
    "/Encrypt 6 0 R /ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]",
  );
}
