// Forms with files: names as the person knows them, one file after another, refusals of what is no form.

import { describe, expect, test } from "bun:test";
import { readMultipart } from "../../src/http/multipart.ts";
import { refusal } from "../support/refusals.ts";

const BOUNDARY = "a-line-between";

/** A form written byte by byte: heads of its parts with their bodies. */
function formOf(parts: readonly [disposition: string, body: string][]): Request {
  const written = parts.map(
    ([disposition, body]) => `--${BOUNDARY}\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n${body}\r\n`,
  );
  return new Request("http://localhost/", {
    method: "POST",
    headers: { "content-type": `multipart/form-data; boundary=${BOUNDARY}` },
    body: `${written.join("")}--${BOUNDARY}--\r\n`,
  });
}

async function read(request: Request) {
  const files: { field: string; name: string; text: string }[] = [];
  const fields = await readMultipart(request, { filesMax: 5 }, async ({ field, name, body }) => {
    files.push({ field, name, text: await new Response(body).text() });
  });
  return { files, fields };
}

describe("names", () => {
  const cases: [why: string, written: string, name: string][] = [
    ["a quote", "a %22good%22 plan.txt", 'a "good" plan.txt'],
    ["a line break", "two%0D%0Alines.txt", "two\r\nlines.txt"],
    ["nothing else is escaped by browsers", "100%25 %41 %2F %0d %0a %00 %.txt", "100%25 %41 %2F %0d %0a %00 %.txt"],
    ["what looks escaped twice is unescaped once", "%2522.txt", "%2522.txt"],
    ["letters of any script", "Übersicht 計画.txt", "Übersicht 計画.txt"],
    ["a quote as other programs escape it", 'a \\"good\\" plan.txt', 'a "good" plan.txt'],
  ];
  test.each(cases)("%s: %p is %p", async (_why, written, name) => {
    const request = formOf([
      [`name="file"; filename="${written}"`, "content"],
      [`name="${written.replaceAll("/", "")}"`, "a value %22"],
    ]);
    const { files, fields } = await read(request);
    expect(files).toEqual([{ field: "file", name, text: "content" }]);
    expect(fields).toEqual({ [name.replaceAll("/", "")]: "a value %22" });
  });

  test("a form that this platform writes is read back as it was", async () => {
    const form = new FormData();
    form.append('a "field"', "with\nlines");
    form.append('the "file"', new Blob(["content"]), 'it\'s "here".txt');
    const { files, fields } = await read(new Request("http://localhost/", { method: "POST", body: form }));
    expect(Object.keys(fields)).toEqual(['a "field"']);
    expect(files).toEqual([{ field: 'the "file"', name: 'it\'s "here".txt', text: "content" }]);
  });
});

test("what is no form, breaks off or has too many files is refused", async () => {
  const other = new Request("http://localhost/", {
    method: "POST",
    body: "{}",
    headers: { "content-type": "text/plain" },
  });
  expect(await refusal(read(other))).toMatchObject({ code: "UNSUPPORTED_MEDIA_TYPE" });
  const headers = { "content-type": `multipart/form-data; boundary=${BOUNDARY}` };
  const broken = new Request("http://localhost/", { method: "POST", headers, body: `--${BOUNDARY}\r\nContent-Disp` });
  expect(await refusal(read(broken))).toMatchObject({ code: "BAD_REQUEST", details: { reason: "invalid_form" } });
  const many = formOf(Array.from({ length: 6 }, (_, at) => [`name="file"; filename="${at}.txt"`, "x"]));
  expect(await refusal(read(many))).toMatchObject({ code: "BAD_REQUEST", details: { reason: "too_many_files" } });
});
