// PostgreSQL's text form of values and JavaScript's, by type OID: one table for both engines, so that they agree.

type Parse = (text: string) => unknown;
type Serialize = (value: unknown) => string;

/** Array type of each element type. */
const ARRAYS: readonly (readonly [element: number, array: number])[] = [
  [16, 1000], // bool
  [17, 1001], // bytea
  [20, 1016], // int8
  [21, 1005], // int2
  [23, 1007], // int4
  [25, 1009], // text
  [26, 1028], // oid
  [114, 199], // json
  [700, 1021], // float4
  [701, 1022], // float8
  [1042, 1014], // bpchar
  [1043, 1015], // varchar
  [1082, 1182], // date
  [1083, 1183], // time
  [1114, 1115], // timestamp
  [1184, 1185], // timestamptz
  [1186, 1187], // interval
  [1700, 1231], // numeric
  [2950, 2951], // uuid
  [3802, 3807], // jsonb
];

const parsers = new Map<number, Parse>();
const serializers = new Map<number, Serialize>();

const number: Parse = (text) => Number(text);
for (const type of [21, 23, 26, 700, 701]) parsers.set(type, number);
parsers.set(20, (text) => {
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : BigInt(text);
});
parsers.set(16, (text) => text === "t");
for (const type of [114, 3802]) {
  parsers.set(type, (text): unknown => JSON.parse(text));
  serializers.set(type, (value) => (typeof value === "string" ? value : JSON.stringify(value)));
}
parsers.set(17, (text) => Buffer.from(text.slice(2), "hex"));
for (const [element, array] of ARRAYS) {
  parsers.set(array, (text) => parseArray(text, parsers.get(element)));
  serializers.set(array, (value) =>
    Array.isArray(value) ? writeArray(value, serializers.get(element)) : plain(value),
  );
}

/** All types of the table, with or without a form of their own; whatever else there is travels as text. */
export const knownTypes: readonly number[] = ARRAYS.flat();

/** JavaScript value of the server's text: see Result in connection.ts. */
export function parseValue(text: string, type: number): unknown {
  const parse = parsers.get(type);
  return parse ? parse(text) : text;
}

/** Text for a parameter that the server takes as `type`; numbers, booleans, dates, bytes and JSON as one expects. */
export function serializeValue(value: unknown, type: number): string {
  const serialize = serializers.get(type);
  return serialize ? serialize(value) : plain(value);
}

function plain(value: unknown): string {
  if (typeof value === "string") return value;
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array)
    return `\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex")}`;
  if (Array.isArray(value)) return writeArray(value, undefined);
  if (typeof value === "object" && value !== null) return JSON.stringify(value);
  return String(value);
}

function writeArray(values: unknown[], serialize: Serialize | undefined): string {
  const items = values.map((value): string => {
    if (value === null || value === undefined) return "NULL";
    if (Array.isArray(value)) return writeArray(value, serialize);
    const text = serialize ? serialize(value) : plain(value);
    return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
  });
  return `{${items.join(",")}}`;
}

/** PostgreSQL's array literal (manual, section 8.15.6), with nested arrays and an optional bounds prefix. */
function parseArray(text: string, parse: Parse | undefined): unknown[] {
  let at = text.indexOf("{");
  const value = (raw: string) => (parse ? parse(raw) : raw);
  const level = (): unknown[] => {
    const items: unknown[] = [];
    at++;
    while (text[at] !== "}") {
      if (text[at] === ",") at++;
      if (text[at] === "{") items.push(level());
      else if (text[at] === '"') {
        let raw = "";
        for (at++; text[at] !== '"'; at++) {
          if (text[at] === "\\") at++;
          raw += text[at];
        }
        at++;
        items.push(value(raw));
      } else {
        const start = at;
        while (text[at] !== "," && text[at] !== "}") at++;
        const raw = text.slice(start, at);
        items.push(raw === "NULL" ? null : value(raw));
      }
    }
    at++;
    return items;
  };
  return level();
}
