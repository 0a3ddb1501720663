// Lists: limit, offset or page, sort and order, filters — written once (contract README, "Parameters that recur").

import { t, type TSchema } from "elysia";
import { oneOf } from "./schema.ts";
import type { TArray, TInteger, TObject, TOptional, TProperties, TUnsafe } from "@sinclair/typebox";
import { invalid, type FieldFault } from "../core/errors.ts";

export interface ListRules<Sort extends string, Filters extends TProperties, Page extends boolean> {
  /** Fields that `sort` may name, the default first; a leading `-` on the default means descending. */
  sort?: readonly [`-${Sort}` | Sort, ...Sort[]];
  /** Plain query parameters that narrow the list; `filter[name]=` means the same. */
  filters: Filters;
  /** The area's table says `page` too. */
  page?: Page;
  defaultLimit?: number;
  maxLimit?: number;
}

export interface ListQuery<Sort extends string> {
  limit: number;
  offset: number;
  /** From 1; only where the area pages by number. */
  page: number;
  sort: Sort;
  order: "asc" | "desc";
}

/** The fields that every list's `data` carries beside its rows. */
export const pageFields = { total: t.Integer(), limit: t.Integer(), offset: t.Integer() };

/** `{<plural>: [...], total, limit, offset}` as a schema. */
export function listOf<Name extends string, Row extends TSchema>(name: Name, row: Row) {
  return t.Object({ ...({ [name]: t.Array(row) } as Record<Name, TArray<Row>>), ...pageFields });
}

/** What a list's query may hold, as far as types go: `filter[name]` is for those who write addresses by hand. */
type ListProperties<Sort extends string, Filters extends TProperties, Page extends boolean> = {
  limit: TOptional<TInteger>;
  offset: TOptional<TInteger>;
  order: TOptional<TUnsafe<"asc" | "desc">>;
} & { [Key in keyof Filters]: TOptional<Filters[Key]> } & (Page extends true
    ? { page: TOptional<TInteger> }
    : Record<never, never>) &
  ([Sort] extends [never] ? Record<never, never> : { sort: TOptional<TUnsafe<Sort>> });

/** The query schema of a list and the reader that judges names which the schema cannot (`filter[x]`, unknown ones). */
export function listQuery<
  const Sort extends string = never,
  Filters extends TProperties = TProperties,
  const Page extends boolean = false,
>(rules: ListRules<Sort, Filters, Page>) {
  const maxLimit = rules.maxLimit ?? 100;
  const sortable = (rules.sort ?? []).map((name) => name.replace(/^-/, "")) as Sort[];
  const filterAliases: Record<string, TSchema> = {};
  for (const [name, schema] of Object.entries(rules.filters)) filterAliases[`filter[${name}]`] = t.Optional(schema);
  const schema = t.Object({
    limit: t.Optional(t.Integer({ minimum: 1, maximum: maxLimit, default: rules.defaultLimit ?? 20 })),
    offset: t.Optional(t.Integer({ minimum: 0, maximum: 1_000_000_000, default: 0 })),
    ...(rules.page ? { page: t.Optional(t.Integer({ minimum: 1, maximum: 10_000_000 })) } : {}),
    ...(sortable.length > 0 ? { sort: t.Optional(oneOf(sortable as [Sort, ...Sort[]])) } : {}),
    order: t.Optional(oneOf(["asc", "desc"])),
    ...(Object.fromEntries(Object.entries(rules.filters).map(([name, filter]) => [name, t.Optional(filter)])) as {
      [Key in keyof Filters]: TOptional<Filters[Key]>;
    }),
    ...filterAliases,
  });
  const known = new Set(Object.keys(schema.properties));
  const first = rules.sort?.[0] ?? "";

  /** Limit, offset, sort and filters of a checked query; throws 422 for names that the list does not have. */
  const read = (query: Record<string, unknown>, url: string) => {
    const at = url.indexOf("?");
    const faults: FieldFault[] = [];
    if (at >= 0) {
      for (const name of new Set(new URLSearchParams(url.slice(at + 1)).keys())) {
        if (!known.has(name)) faults.push({ path: name, message: "is not a parameter of this list" });
      }
    }
    const filters: Record<string, unknown> = {};
    for (const name of Object.keys(rules.filters)) {
      const plain = query[name];
      const bracketed = query[`filter[${name}]`];
      if (plain !== undefined && bracketed !== undefined && plain !== bracketed) {
        faults.push({ path: name, message: "is given twice with different values" });
      }
      const value = plain ?? bracketed;
      if (value !== undefined) filters[name] = value;
    }
    if (faults.length > 0) throw invalid(faults);
    const limit = (query["limit"] as number | undefined) ?? rules.defaultLimit ?? 20;
    const page = query["page"] as number | undefined;
    const offset = page === undefined ? ((query["offset"] as number | undefined) ?? 0) : (page - 1) * limit;
    const sort = (query["sort"] as Sort | undefined) ?? (first.replace(/^-/, "") as Sort);
    const natural = sort === first.replace(/^-/, "") && first.startsWith("-") ? "desc" : "asc";
    const order = (query["order"] as "asc" | "desc" | undefined) ?? natural;
    const paging: ListQuery<Sort> = { limit, offset, page: Math.floor(offset / limit) + 1, sort, order };
    return { ...paging, filters: filters as { [Key in keyof Filters]?: Filters[Key]["static"] } };
  };
  return { schema: schema as unknown as TObject<ListProperties<Sort, Filters, Page>>, read };
}
