// JSON from outside: what is taken as it is, what is repaired, what is refused and where.

import { describe, expect, test } from "bun:test";
import { canonicalJson } from "../../src/lib/json/canonical.ts";
import { isTooDeep, JSON_DEPTH_MAX, parseJson } from "../../src/lib/json/parse.ts";

const parse = (text: string) => parseJson(Buffer.from(text));

describe("parsing", () => {
  test("gives what JSON.parse gives for what is plain", () => {
    for (const text of ['{"a":[1,2.5,-3e2,"b\\n",true,null,{}]}', "[]", '"text"', "5", "null", ' {"é":"日本"} '])
      expect(parse(text)).toEqual({ value: JSON.parse(text) as unknown });
  });

  test("replaces halves of surrogate pairs as UTF-8 does, in texts and names", () => {
    expect(parse('{"a":"\\ud83d","b":["x\\udc00y"],"\\ud800":1,"whole":"\\ud83d\\ude00"}')).toEqual({
      value: { a: "\ufffd", b: ["x\ufffdy"], "\ufffd": 1, whole: "😀" },
    });
  });

  test("names the place of what cannot be kept, all of them at once", () => {
    expect(parse('{"a":"\\u0000","b":{"c":[1,1e400]},"d":{"__proto__":1},"e\\u0000":1}')).toEqual({
      faults: [
        { path: "a", message: "must not contain U+0000" },
        { path: "b.c.1", message: "must be a number that a double can hold" },
        { path: "d", message: "must not have a member __proto__" },
        { path: "", message: "must not contain U+0000" },
      ],
    });
    const many = parse(JSON.stringify(Array(1_000).fill("\0")));
    expect("faults" in many && many.faults.length).toBe(20);
  });

  test("finds names and numbers however they are written", () => {
    for (const text of [
      '{"__proto__":1}',
      '{"\\u005f\\u005fproto__":1}',
      "[1E999]",
      "[-1e+400]",
      `[${"9".repeat(309)}]`,
    ])
      expect([text, "faults" in parse(text)]).toEqual([text, true]);
    for (const text of ['{"proto":"__proto__"}', "[1e308]", `["${"9".repeat(400)}"]`, '["1e999"]'])
      expect([text, "value" in parse(text)]).toEqual([text, true]);
  });

  test("leaves objects that can be written into a text", () => {
    const parsed = parse('{"toString":"a","valueOf":1}');
    if (!("value" in parsed)) throw new Error("refused");
    expect(`${parsed.value as string}`).toBe("[object Object]");
    expect(JSON.stringify(parsed.value)).toBe('{"toString":"a","valueOf":1}');
  });

  test("refuses what is nested too deep before it is parsed; brackets in texts do not count", () => {
    const lists = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
    expect("value" in parse(lists(JSON_DEPTH_MAX))).toBe(true);
    expect(parse(lists(JSON_DEPTH_MAX + 1))).toEqual({ reason: "nested_too_deep" });
    expect(parse("[".repeat(1_000_000))).toEqual({ reason: "nested_too_deep" });
    expect("value" in parse(JSON.stringify("[{".repeat(10_000)))).toBe(true);
    expect("value" in parse(JSON.stringify(`\\"${"[".repeat(10_000)}`))).toBe(true);
    expect([isTooDeep(lists(100)), isTooDeep(lists(101))]).toEqual([false, true]);
  });

  test("refuses what is no JSON or no UTF-8", () => {
    for (const text of ["", "{", "{a:1}", "[1,]", "NaN", "'a'", '{"a":1}x', '"\u0000"'])
      expect(parse(text)).toEqual({ reason: "invalid_json" });
    expect(parseJson(new Uint8Array([0x22, 0xff, 0x22]))).toEqual({ reason: "invalid_json" });
  });
});

test("the canonical form sorts names by UTF-16 units and leaves out what is undefined", () => {
  expect(canonicalJson({ b: 1, a: undefined, "\u{1f600}": 2, "\ufb01": [3, undefined] })).toBe(
    '{"b":1,"\u{1f600}":2,"\ufb01":[3,null]}',
  );
});
