// Documents to normalised text: what each format gives, and what is refused for which reason.

import { describe, expect, test } from "bun:test";
import { PDFDocument, StandardFonts, degrees } from "pdf-lib";
import { extract } from "../../src/lib/extract/extractors.ts";
import { recognise } from "../../src/lib/extract/index.ts";
import { normalise } from "../../src/lib/extract/normalise.ts";
import { pdfEncrypted, pdfOf, pdfWithoutText } from "../support/pdf.ts";

const limits = { pagesMax: 2_000, charactersMax: 20_000_000, deadlineMs: Number.POSITIVE_INFINITY };
const pdfium = () => Bun.file(Bun.resolveSync("@hyzyla/pdfium/pdfium.wasm", import.meta.dir)).arrayBuffer();
const bytesOf = (text: string) => new TextEncoder().encode(text);

async function read(name: string, content: string | Uint8Array) {
  const bytes = typeof content === "string" ? bytesOf(content) : content;
  const extracted = await extract(bytes, name, { limits, pdfium });
  const { text, blocks } = normalise(extracted, limits);
  const shown = blocks.map((block) => ({ ...block, text: text.slice(block.start, block.end) }));
  return { ...extracted, text, blocks: shown };
}

const refusal = (name: string, content: string | Uint8Array) =>
  read(name, content).then(
    () => "none",
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  );

const hasPdftotext = Bun.which("pdftotext") !== null;
const plain = (text: string) => text.replaceAll(/\s+/g, " ").trim();

describe("Markdown", () => {
  test("reads as it is shown: marks gone, headings with levels, lists, tables and code kept, lines of the source", async () => {
    const { title, blocks } = await read(
      "a.md",
      "---\ntitle: Front\n---\n# Head *one*\n\nText with [a link](http://x.example), `code` &amp; more\nsecond line\n\n" +
        "- first\n  - below\n- second\n\n1. one\n2. two\n\n| a | b |\n|---|---|\n| 1 | **2** |\n\n```js\nlet x = 1;\n```\n\n> quoted\n",
    );
    expect(title).toBe("Front");
    expect(blocks.map(({ kind, level, text, line }) => [line, kind, level, text])).toEqual([
      [4, "heading", 1, "Head one"],
      [6, "text", null, "Text with a link, code & more second line"],
      [9, "text", null, "- first"],
      [10, "text", null, "- below"],
      [11, "text", null, "- second"],
      [13, "text", null, "1. one"],
      [14, "text", null, "2. two"],
      [16, "table", null, "a\tb\n1\t2"],
      [21, "code", null, "let x = 1;"],
      [24, "text", null, "quoted"],
    ]);
  });

  test("front matter that is no YAML costs no text", async () => {
    const { text, title } = await read("a.md", "---\n: [\n---\n# Real\n\nbody");
    expect(title).toBe("Real");
    expect(text).toContain("body");
  });
});

describe("HTML", () => {
  test("keeps headings, lists, tables and code; drops scripts, styles, menus and hidden parts; decodes entities", async () => {
    const { title, blocks } = await read(
      "a.html",
      "<!doctype html><html><head><title>T &amp; x</title><style>p{}</style></head>\n<body><nav>menu</nav><h1>Head</h1>\n" +
        '<p>One <b>bold</b>, two&nbsp;three\n lines<br>next</p><script>var x="<p>no</p>"</script><p hidden>gone</p>' +
        "<ul><li>a<ul><li>b</li></ul></li><li><p>c</p></li></ul><ol start=3><li>d</li></ol>" +
        "<table><tr><th>A<th>B</tr><tr><td>1</td><td>2</td></tr></table><pre>\n  code\n   more\n</pre>&#8364;</body></html>",
    );
    expect(title).toBe("T & x");
    expect(blocks.map(({ kind, text }) => [kind, text])).toEqual([
      ["heading", "Head"],
      ["text", "One bold, two three lines\nnext"],
      ["text", "- a"],
      ["text", "- b"],
      ["text", "- c"],
      ["text", "3. d"],
      ["table", "A\tB\n1\t2"],
      ["code", "  code\n   more"],
      ["text", "€"],
    ]);
  });

  test("the declared encoding is used where the bytes are not UTF-8", async () => {
    const latin = new Uint8Array([...bytesOf('<html><meta charset="iso-8859-2"><p>'), 0xb3, ...bytesOf("</p></html>")]);
    expect((await read("a.html", latin)).text).toBe("ł");
  });
});

describe("plain text", () => {
  test("paragraphs between empty lines, hyphens at line ends joined, blanks collapsed, NFC", async () => {
    const { blocks } = await read("a.txt", "Title\r\n\r\nA hyphen-\nated  word\tand\nline.\n\n\ne\u0301nd");
    expect(blocks.map(({ line, text }) => [line, text])).toEqual([
      [1, "Title"],
      [3, "A hyphenated word and\nline."],
      [8, "énd"],
    ]);
  });

  test("UTF-16 and Windows-1252 are told from their bytes", async () => {
    const utf16 = new Uint8Array([0xff, 0xfe, ...new Uint8Array(new Uint16Array([0x41, 0xe9]).buffer)]);
    expect((await read("a.txt", utf16)).text).toBe("Aé");
    expect((await read("a.txt", new Uint8Array([0x41, 0xe9, 0x42]))).text).toBe("AéB");
  });
});

describe("the format comes from the bytes", () => {
  test("a wrong suffix is no error", async () => {
    const pdf = await pdfOf([["inside a pdf"]]);
    expect((await read("report.txt", pdf)).text).toBe("inside a pdf");
    expect(recognise(bytesOf("<!DOCTYPE html><p>x"), "page.txt")?.format).toBe("html");
    expect(recognise(bytesOf("# just text"), "notes.pdf")?.format).toBe("text");
    expect(recognise(bytesOf("{}"), "a.json")?.mime).toBe("application/json");
  });

  test("what is not read is told apart from what is damaged", async () => {
    expect(await refusal("a.docx", new Uint8Array([0x50, 0x4b, 3, 4, 0, 0]))).toBe("unsupported_format");
    expect(await refusal("a.bin", new Uint8Array([1, 2, 0, 0, 0, 9, 8, 7]))).toBe("unsupported_format");
    expect(await refusal("a.txt", "")).toBe("empty_file");
    expect(await refusal("a.txt", " \n ")).toBe("no_text");
    expect(await refusal("a.md", "---\n***\n")).toBe("no_text");
  });
});

describe("PDF", () => {
  const lines = ["The first line of page one stands here.", "A second line follows it on the same page."];

  test.skipIf(!hasPdftotext)("gives page by page what pdftotext gives, up to white space", async () => {
    const pages = Array.from({ length: 12 }, (_, page) => [
      `Chapter ${page + 1} of many begins with this line of text.`,
      `Its figure is ${page * 7919} and its letter is ${String.fromCharCode(65 + page)}.`,
      ...lines,
      "Umlauts äöüß, accents éèê and a dash – all come through.",
    ]);
    const bytes = await pdfOf(pages);
    const path = `/tmp/extract-${process.pid}.pdf`;
    await Bun.write(path, bytes);
    const { text } = await read("a.pdf", bytes);
    const ours = text.split("\f").map(plain);
    for (let page = 1; page <= pages.length; page++) {
      const { stdout } = Bun.spawnSync(["pdftotext", "-f", String(page), "-l", String(page), path, "-"]);
      expect(ours[page - 1]).toBe(plain(stdout.toString()));
    }
    await Bun.file(path).delete();
  });

  test("columns are read one after the other, what crosses them in its place, table rows across", async () => {
    const pdf = await PDFDocument.create();
    const font = await pdf.embedFont(StandardFonts.Helvetica);
    const page = pdf.addPage([595, 842]);
    page.drawText("A title that runs across both columns of the page", { x: 60, y: 790, size: 18, font });
    for (const [name, x] of [
      ["left", 50],
      ["right", 310],
    ] as const) {
      for (let at = 0; at < 8; at++) {
        page.drawText(`${name} ${at} a line of prose in a column`, { x, y: 740 - at * 14, size: 10, font });
      }
    }
    const table: string[][] = [
      ["Product", "Price", "Stock"],
      ["Bolt", "0.12", "1400"],
      ["Nut", "0.07", "900"],
    ];
    const second = pdf.addPage([595, 842]);
    table.forEach((row, at) => {
      row.forEach((cell, column) => second.drawText(cell, { x: 60 + column * 150, y: 700 - at * 14, size: 10, font }));
    });
    const { blocks } = await read("a.pdf", new Uint8Array(await pdf.save()));
    const first = blocks.filter((block) => block.page === 1).map(({ text }) => text);
    expect(first[0]).toBe("A title that runs across both columns of the page");
    const order: string[] = plain(first.join(" ")).match(/(?:left|right) \d/g) ?? [];
    expect(order).toEqual(["left", "right"].flatMap((side) => Array.from({ length: 8 }, (_, n) => `${side} ${n}`)));
    expect(blocks.filter((block) => block.page === 2).map(({ kind, text }) => [kind, text])).toEqual([
      ["table", table.map((row) => row.join("\t")).join("\n")],
    ]);
  });

  test("turned pages and turned text read like upright ones", async () => {
    const pdf = await PDFDocument.create();
    const font = await pdf.embedFont(StandardFonts.Helvetica);
    for (const angle of [90, 180, 270]) {
      const page = pdf.addPage([595, 842]);
      page.setRotation(degrees(angle));
      for (let at = 0; at < 5; at++) {
        const place =
          angle === 90
            ? { x: 100 + 15 * at, y: 50 }
            : angle === 180
              ? { x: 500, y: 100 + 15 * at }
              : { x: 500 - 15 * at, y: 700 };
        page.drawText(`turned line ${at} by ${angle}`, { ...place, size: 11, font, rotate: degrees(angle) });
      }
    }
    const { text } = await read("a.pdf", new Uint8Array(await pdf.save()));
    for (const [at, page] of text.split("\f").entries()) {
      expect(page.match(/line \d/g)).toEqual(["line 0", "line 1", "line 2", "line 3", "line 4"]);
      expect(page).toContain(`by ${(at + 1) * 90}`);
    }
  });

  test("headings are told by their size, headers and footers that repeat are dropped, a page's own lines stay", async () => {
    const pdf = await PDFDocument.create();
    const font = await pdf.embedFont(StandardFonts.Helvetica);
    for (let at = 1; at <= 10; at++) {
      const page = pdf.addPage([595, 842]);
      page.drawText("Company handbook", { x: 50, y: 812, size: 9, font });
      page.drawText(`Page ${at} of 10`, { x: 280, y: 20, size: 9, font });
      page.drawText(`Section ${at}`, { x: 50, y: 760, size: 18, font });
      page.drawText(`The known sentence of page ${at} names code K-${at * 7919}.`, { x: 50, y: 730, size: 11, font });
      page.drawText("And a line that stands on every page in the middle.", { x: 50, y: 500, size: 11, font });
    }
    const { text, blocks } = await read("a.pdf", new Uint8Array(await pdf.save()));
    expect(text).not.toContain("Company handbook");
    expect(text).not.toContain("of 10");
    expect(text.match(/stands on every page/g)).toHaveLength(10);
    const seventh = blocks.filter((block) => block.page === 7);
    expect(seventh[0]).toMatchObject({ kind: "heading", level: 1, text: "Section 7" });
    expect(seventh[1]?.text).toContain("The known sentence of page 7 names code K-55433.");
  });

  test("a page whose only line repeats with its number keeps it", async () => {
    const pages = Array.from({ length: 5 }, (_, at) => [`The sentence of page ${at + 1}.`]);
    const { text } = await read("a.pdf", await pdfOf(pages));
    expect(text.split("\f")).toEqual(pages.map(([line]) => line ?? ""));
  });

  test("refuses what cannot be read, each for its reason", async () => {
    const good = await pdfOf([lines]);
    expect(await refusal("a.pdf", good.slice(0, good.length / 2))).toBe("corrupted_file");
    expect(await refusal("a.pdf", bytesOf(`%PDF-1.7\n${"x".repeat(500)}\nstartxref\n5\n%%EOF`))).toBe("corrupted_file");
    expect(await refusal("a.pdf", pdfEncrypted())).toBe("encrypted");
    expect(await refusal("a.pdf", await pdfWithoutText())).toBe("no_text");
    const many = extract(await pdfOf([lines, lines, lines]), "a.pdf", { limits: { ...limits, pagesMax: 2 }, pdfium });
    expect(await many.catch((error: unknown) => (error as { code: string }).code)).toBe("too_many_pages");
    const long = extract(good, "a.pdf", { limits: { ...limits, charactersMax: 20 }, pdfium });
    expect(await long.catch((error: unknown) => (error as { code: string }).code)).toBe("text_too_long");
  });
});
