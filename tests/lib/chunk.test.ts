// Passages: exact places, sizes, where they may be cut, overlap, headings and pages.

import { describe, expect, test } from "bun:test";
import { chunk, type Chunk } from "../../src/lib/chunk/index.ts";
import { extract } from "../../src/lib/extract/extractors.ts";
import { normalise, type NormalisedText } from "../../src/lib/extract/normalise.ts";
import { countTokens } from "../../src/lib/text/index.ts";

const limits = { pagesMax: 100, charactersMax: 20_000_000, deadlineMs: Number.POSITIVE_INFINITY };
const SIZE = { sizeTokens: 64, overlapTokens: 12 };

async function markdown(source: string): Promise<NormalisedText> {
  const bytes = new TextEncoder().encode(source);
  const tools = { limits, pdfium: () => Promise.resolve(new ArrayBuffer(0)) };
  return normalise(await extract(bytes, "a.md", tools), limits);
}

/** A seeded generator, so that a failure can be looked at again. */
function generator(seed: number) {
  let state = seed;
  return (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state % below;
  };
}

const WORDS = "alpha beta gamma delta. epsilon zeta? eta! theta iota kappa 漢字 émoji 🙂 x-ray K-77 lambda".split(" ");

function randomDocument(seed: number): NormalisedText {
  const next = generator(seed);
  const sentence = (words: number) => Array.from({ length: words }, () => WORDS[next(WORDS.length)]).join(" ");
  const pages = Array.from({ length: 1 + next(4) }, () => ({
    blocks: Array.from({ length: 1 + next(9) }, () => {
      switch (next(7)) {
        case 0:
          return { kind: "heading" as const, level: 1 + next(4), text: sentence(1 + next(5)) };
        case 1:
          return {
            kind: "table" as const,
            text: Array.from({ length: 1 + next(40) }, () => sentence(3).replaceAll(" ", "\t")).join("\n"),
          };
        case 2:
          return { kind: "code" as const, text: `if (x) {\n  ${sentence(next(90) + 1)}\n}` };
        case 3:
          return { kind: "text" as const, text: "w".repeat(1 + next(4000)) };
        default:
          return { kind: "text" as const, text: sentence(1 + next(250)) };
      }
    }),
  }));
  pages[0]?.blocks.push({ kind: "text", text: "There is always one sentence." });
  return normalise({ title: null, paged: pages.length > 1, pages }, limits);
}

/** Characters beside headings that stand in no passage, without blanks. */
function uncovered(document: NormalisedText, chunks: readonly Chunk[]): string {
  const covered = new Uint8Array(document.text.length);
  for (const { charStart, charEnd } of chunks) covered.fill(1, charStart, charEnd);
  for (const { kind, start, end } of document.blocks) if (kind === "heading") covered.fill(1, start, end);
  return document.text
    .split("")
    .filter((letter, at) => covered[at] === 0 && letter.trim() !== "")
    .join("");
}

describe("any document", () => {
  test("each passage is the text between its offsets; nothing is lost; sizes, pages and headings hold", () => {
    for (let seed = 1; seed <= 120; seed++) {
      const document = randomDocument(seed);
      const chunks = chunk(document, SIZE, "en");
      const headings = document.blocks.filter((block) => block.level !== null);
      expect(chunks.map(({ ordinal }) => ordinal)).toEqual(chunks.map((_, at) => at));
      for (const one of chunks) {
        const text = document.text.slice(one.charStart, one.charEnd);
        expect(text).not.toBe("");
        expect(text).toBe(text.trim());
        expect(text.isWellFormed()).toBe(true);
        expect(text).not.toContain("\f");
        // Only a whole table or block of code, perhaps below its heading, may be larger.
        const isWhole = document.blocks.some(
          ({ kind, start, end }) =>
            (kind === "table" || kind === "code") && start >= one.charStart && end === one.charEnd,
        );
        expect(countTokens(text)).toBeLessThanOrEqual(SIZE.sizeTokens * (isWhole ? 1.5 : 1));
        const crossed = headings.filter(
          ({ level, start }) => (level ?? 9) <= 2 && start > one.charStart && start < one.charEnd,
        );
        // A run of headings without text of their own is one passage.
        const isHeadingsAlone = document.blocks.every(
          ({ kind, start }) => start < one.charStart || start >= one.charEnd || kind === "heading",
        );
        if (!isHeadingsAlone) expect(crossed).toEqual([]);
      }
      // Only headings may stand in no passage: they are above one.
      expect(uncovered(document, chunks)).toBe("");
      for (const title of headings.map(({ start, end }) => document.text.slice(start, end))) {
        const isThere = chunks.some(
          ({ charStart, charEnd, headingPath }) =>
            headingPath.includes(title.replaceAll(/\s+/g, " ")) ||
            document.text.slice(charStart, charEnd).includes(title),
        );
        expect(isThere).toBe(true);
      }
    }
  });
});

describe("where a passage is cut", () => {
  test("between paragraphs if its second half has one, then between sentences", async () => {
    const sentence = (n: number) => `Sentence number ${n} has a few plain words in it.`;
    const paragraph = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, at) => sentence(from + at)).join(" ");
    const document = await markdown(`${paragraph(0, 4)}\n\n${paragraph(4, 9)}`);
    const [first, second] = chunk(document, { sizeTokens: 70, overlapTokens: 0 }, "en");
    expect(document.text.slice(first?.charStart, first?.charEnd)).toBe(paragraph(0, 4));
    expect(document.text.slice(second?.charStart, second?.charEnd)).toBe(paragraph(4, 9));
    const long = await markdown(paragraph(0, 30));
    for (const { charStart, charEnd } of chunk(long, { sizeTokens: 70, overlapTokens: 0 }, "en")) {
      expect(long.text.slice(charStart, charEnd)).toMatch(/^Sentence .*\.$/);
    }
  });

  test("neighbours of one section overlap by at most the overlap, sections not at all", async () => {
    const words = Array.from({ length: 400 }, (_, at) => `word${at}.`).join(" ");
    const document = await markdown(`# One\n\n${words}\n\n# Two\n\nShort text.`);
    const chunks = chunk(document, SIZE, "en");
    const ofOne = chunks.filter(({ headingPath }) => headingPath[0] === "One");
    for (const [at, one] of ofOne.entries()) {
      const next = ofOne[at + 1];
      if (!next) continue;
      expect(next.charStart).toBeLessThan(one.charEnd);
      expect(countTokens(document.text.slice(next.charStart, one.charEnd))).toBeLessThanOrEqual(SIZE.overlapTokens);
    }
    const two = chunks.at(-1);
    expect(document.text.slice(two?.charStart, two?.charEnd)).toBe("Short text.");
    expect(two?.headingPath).toEqual(["Two"]);
  });

  test("a table and a block of code stay whole up to one and a half times the size, longer ones are cut at lines", async () => {
    const row = (n: number) => `| item ${n} | ${n * 3} |`;
    const table = (rows: number) =>
      `| name | value |\n|---|---|\n${Array.from({ length: rows }, (_, at) => row(at)).join("\n")}`;
    const small = await markdown(`Before.\n\n${table(14)}\n\nAfter.`);
    const whole = chunk(small, SIZE, "en").map(({ charStart, charEnd }) => small.text.slice(charStart, charEnd));
    expect(whole.some((text) => text.startsWith("name\tvalue") && text.endsWith("item 13\t39"))).toBe(true);
    const large = await markdown(table(80));
    for (const { charStart, charEnd } of chunk(large, SIZE, "en")) {
      for (const line of large.text.slice(charStart, charEnd).split("\n")) {
        expect(line).toMatch(/^(?:name\tvalue|item \d+\t\d+)$/);
      }
    }
  });

  test("never across a page; page and line are those of its beginning", async () => {
    const paged = normalise(
      {
        title: null,
        paged: true,
        pages: [1, 2, 3].map((n) => ({ blocks: [{ kind: "text" as const, text: `Short page ${n}.` }] })),
      },
      limits,
    );
    const pages = chunk(paged, SIZE, "en");
    expect(pages.map(({ page }) => page)).toEqual([1, 2, 3]);
    const document = await markdown("# A\n\none\n\n# B\n\ntwo\n");
    expect(chunk(document, SIZE, "en").map(({ line, page }) => [line, page])).toEqual([
      [3, null],
      [7, null],
    ]);
  });

  test("lines that a text keeps are counted", async () => {
    const lines = Array.from({ length: 300 }, (_, at) => `12:00:${at} INFO request ${at} done`);
    const bytes = new TextEncoder().encode(lines.join("\n"));
    const tools = { limits, pdfium: () => Promise.resolve(new ArrayBuffer(0)) };
    const document = normalise(await extract(bytes, "a.log", tools), limits);
    for (const { charStart, line } of chunk(document, SIZE, "en")) {
      const before = document.text.slice(0, charStart).split("\n").length;
      expect(line).toBe(before);
    }
  });

  test("the path of headings stands apart from the text, deeper ones below wider ones", async () => {
    const document = await markdown("# A\n\n## B\n\nbody of b\n\n### C\n\nbody of c\n\n## D\n\nbody of d");
    const chunks = chunk(document, SIZE, "en");
    expect(chunks.map(({ headingPath }) => headingPath)).toEqual([
      ["A", "B"],
      ["A", "D"],
    ]);
    expect(document.text.slice(chunks[0]?.charStart, chunks[0]?.charEnd)).toBe("body of b\n\nC\n\nbody of c");
  });
});

test("text without an end costs time in proportion to its length", () => {
  const time = (length: number) => {
    const document = normalise(
      {
        title: null,
        paged: false,
        pages: [{ blocks: [{ kind: "text", text: "12:00 INFO request\n".repeat(length) }] }],
      },
      limits,
    );
    const began = performance.now();
    chunk(document, { sizeTokens: 512, overlapTokens: 50 }, null);
    return performance.now() - began;
  };
  time(2_000);
  const short = time(10_000);
  const long = time(80_000);
  expect(long).toBeLessThan(short * 8 * 4 + 100);
});
