// The extraction pool: whatever a file is made of, it ends within its limits, in its own Worker, beside the event loop.

import { afterAll, describe, expect, test } from "bun:test";
import { silentLog } from "../../src/core/log.ts";
import { openExtract } from "../../src/engines/extract/open.ts";
import { pdfBomb, pdfEncrypted, pdfEndlessTree, pdfLaughs, pdfNestedBomb, pdfOf } from "../support/pdf.ts";

const engine = openExtract({ workers: 2, log: silentLog, timeoutMs: 3_000, graceMs: 200 });
afterAll(() => engine.close());

const bytesOf = (text: string) => new TextEncoder().encode(text) as Uint8Array<ArrayBuffer>;
const request = (name: string, bytes: Uint8Array<ArrayBuffer>) => ({
  name,
  bytes,
  chunkTokens: 512,
  overlapTokens: 50,
});
const outcome = (name: string, bytes: Uint8Array<ArrayBuffer>, signal?: AbortSignal) =>
  engine.extract(request(name, bytes), signal).then(
    () => "read",
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  );

/** The longest that a 5 ms timer was late while `work` ran. */
async function longestLag(work: () => Promise<unknown>): Promise<number> {
  let last = performance.now();
  let worst = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    worst = Math.max(worst, now - last - 5);
    last = now;
  }, 5);
  await work();
  clearInterval(timer);
  return worst;
}

describe("a document", () => {
  test("comes back as text, language and passages in batches whose offsets hold", async () => {
    const sentence = (at: number) => `This is the sentence number ${at} of a document about leave and holidays.`;
    const source = `# Policy\n\n${Array.from({ length: 300 }, (_, at) => sentence(at)).join(" ")}`;
    const found = await engine.extract({ ...request("a.md", bytesOf(source)), chunkTokens: 64, overlapTokens: 10 });
    const text = new TextDecoder().decode(found.text);
    expect(found).toMatchObject({ mime: "text/markdown", language: "en", title: "Policy", pages: null });
    expect(text.length).toBe(found.characters);
    const batches = [...found.passages(20)];
    const all = batches.flat();
    expect(all).toHaveLength(found.passagesCount);
    expect(batches.slice(0, -1).every((batch) => batch.length === 20)).toBe(true);
    for (const one of all) expect(text.slice(one.charStart, one.charEnd)).toBe(one.text);
    expect([...found.passages(20, 30)].flat()).toEqual(all.slice(30));
  });

  test("PDF pages are counted from 1", async () => {
    const found = await engine.extract(request("a.pdf", await pdfOf([["one page"], ["another page"]])));
    expect(found.pages).toBe(2);
    expect([...found.passages(9)].flat().map(({ page, text }) => [page, text])).toEqual([
      [1, "one page"],
      [2, "another page"],
    ]);
  });
});

describe("a hostile file is refused, and the next one is read all the same", () => {
  const files: [string, () => Uint8Array<ArrayBuffer>, readonly string[]][] = [
    ["a stream that unpacks to 300 MB of text", () => pdfBomb(300), ["corrupted_file", "timeout", "text_too_long"]],
    ["Flate in Flate in Flate", () => pdfNestedBomb(), ["no_text", "corrupted_file", "timeout"]],
    ["forms that draw forms, 20^25 times", () => pdfLaughs(25, 20), ["corrupted_file", "timeout"]],
    ["a page tree that is its own child", () => pdfEndlessTree(), ["corrupted_file"]],
    ["an encrypted file", () => pdfEncrypted(), ["encrypted"]],
    ["a PDF of garbage", () => bytesOf(`%PDF-1.7\n${"x".repeat(999)}\nstartxref\n5\n%%EOF`), ["corrupted_file"]],
    ["HTML nested a million deep", () => bytesOf("<b>".repeat(1_000_000)), ["corrupted_file"]],
    ["Markdown quotes nested without end", () => bytesOf("> ".repeat(1_000_000)), ["timeout", "corrupted_file"]],
  ];
  for (const [what, make, expected] of files) {
    test(
      what,
      async () => {
        const bytes = make();
        const name = what.startsWith("HTML") ? "a.html" : what.startsWith("Markdown") ? "a.md" : "a.pdf";
        let ended = "";
        const lag = await longestLag(async () => {
          ended = await outcome(name, bytes);
        });
        expect(expected).toContain(ended);
        expect(lag).toBeLessThan(500);
        expect(await outcome("good.pdf", await pdfOf([["still read"]]))).toBe("read");
      },
      { timeout: 30_000 },
    );
  }
});

test("an aborted document gives its Worker up at once", async () => {
  const controller = new AbortController();
  const slow = outcome("a.md", bytesOf("> ".repeat(1_000_000)), controller.signal);
  // The other Worker has come to its end: this one is in the middle of its own.
  expect(await outcome("b.md", bytesOf("# Beside"))).toBe("read");
  const began = performance.now();
  controller.abort(new Error("stopped"));
  expect(await slow).toContain("stopped");
  expect(performance.now() - began).toBeLessThan(2_000);
  expect(engine.health().busy).toBe(0);
});

test("a hundred documents at once all end, two at a time", async () => {
  const work = Array.from({ length: 100 }, (_, at) => outcome(`${at}.md`, bytesOf(`# Document ${at}\n\ntext`)));
  expect(engine.health().workers).toBeLessThanOrEqual(2);
  expect(new Set(await Promise.all(work))).toEqual(new Set(["read"]));
});
