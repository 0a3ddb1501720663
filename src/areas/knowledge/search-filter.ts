// Filters of a search as people send them: one object, or parameters of an address. Pure.

import { invalid, type FieldFault } from "../../core/errors.ts";
import type { SearchFilter } from "./search.ts";

const LIST_MAX = 100;
const TEXT_MAX = 1000;
const METADATA = /^metadata\.(.{1,100})$/s;

/** The filter that `raw` means. Throws 422 with every fault; `prefix` stands before the names in it. */
export function readFilter(raw: Readonly<Record<string, unknown>>, prefix = "filter."): SearchFilter {
  const faults: FieldFault[] = [];
  const filter: SearchFilter = {};
  const fault = (name: string, message: string) => faults.push({ path: `${prefix}${name}`, message });

  const text = (name: string, value: unknown): string | undefined => {
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    if (typeof value === "string" && value.length <= TEXT_MAX) return value;
    fault(name, `is a text of at most ${TEXT_MAX} characters`);
    return undefined;
  };
  const list = (name: string, value: unknown): string[] => {
    const items: unknown[] = Array.isArray(value) ? value : [value];
    if (items.length > LIST_MAX) fault(name, `has at most ${LIST_MAX} entries`);
    return items.flatMap((item) => text(name, item) ?? []);
  };

  for (const [name, value] of Object.entries(raw)) {
    if (value === undefined || value === null) continue;
    const key = METADATA.exec(name)?.[1];
    if (name === "tags" || name === "tag") filter.tags = list(name, value);
    else if (name === "mime") filter.mime = list(name, value);
    else if (name === "document_id") filter.documentIds = list(name, value);
    else if (name === "path") {
      const path = text(name, value);
      if (path !== undefined) filter.path = path;
    } else if (name === "updated_after") {
      const moment = typeof value === "string" ? new Date(value) : null;
      if (moment && !Number.isNaN(moment.getTime())) filter.updatedAfter = moment;
      else fault(name, "is a moment (RFC 3339)");
    } else if (key !== undefined) {
      const wanted = text(name, value);
      if (wanted !== undefined) filter.metadata = { ...filter.metadata, [key]: wanted };
    } else if (name === "metadata" && typeof value === "object" && !Array.isArray(value)) {
      for (const [inner, given] of Object.entries(value)) {
        const wanted = text(`metadata.${inner}`, given);
        if (wanted !== undefined) filter.metadata = { ...filter.metadata, [inner]: wanted };
      }
    } else {
      fault(name, "is not a field that can be filtered by");
    }
  }
  if (faults.length > 0) throw invalid(faults);
  return filter;
}

const BRACKETED = /^filter\[(.+)\]$/s;

/** Filters of an address: `filter[name]=value`, or the plain name. `known`: parameters that are no filters. */
export function filterOfUrl(url: string, known: ReadonlySet<string>): SearchFilter {
  const found: Record<string, string | string[]> = {};
  for (const [name, value] of new URL(url).searchParams) {
    if (known.has(name)) continue;
    const field = BRACKETED.exec(name)?.[1] ?? name;
    const before = found[field];
    found[field] = before === undefined ? value : [before, value].flat();
  }
  // A list may stand in one parameter, with commas.
  for (const field of ["tags", "mime", "document_id"]) {
    const value = found[field];
    if (value !== undefined)
      found[field] = [value]
        .flat()
        .flatMap((item) => item.split(","))
        .map((item) => item.trim());
  }
  return readFilter(found, "");
}
