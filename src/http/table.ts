// The gate's own view of all routes: method and path → mark and pattern. Built once at boot from the app.

import Memoirist from "memoirist";
import type { AnyElysia, TSchema } from "elysia";
import type { Mark } from "./mark.ts";

export interface RouteEntry {
  method: string;
  /** The pattern, as the audit log and metrics show it. */
  path: string;
  mark: Mark;
  takesBody: boolean;
  /** Schema of the body; null where the route reads it by itself or takes none. */
  body: TSchema | null;
}

export interface RouteTable {
  /** The entry, the methods that the path does have, or null for an unknown path. */
  find(method: string, path: string): RouteEntry | readonly string[] | null;
  all: readonly RouteEntry[];
}

interface RouteLike {
  method: string;
  path: string;
  hooks: { detail?: { "x-mark"?: Mark }; body?: TSchema };
}

function withoutTrailingSlash(path: string): string {
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}

/** Reads the routes of `app`; throws a plain Error that names every route without a mark. */
export function routeTable(app: AnyElysia): RouteTable {
  const routes = app.routes as unknown as RouteLike[];
  const unmarked = routes.filter((route) => !route.hooks.detail?.["x-mark"]);
  if (unmarked.length > 0) {
    throw new Error(`routes without a mark: ${unmarked.map((route) => `${route.method} ${route.path}`).join(", ")}`);
  }
  const fixed = new Map<string, Map<string, RouteEntry>>();
  const dynamic = new Memoirist<Map<string, RouteEntry>>();
  const patterns = new Map<string, Map<string, RouteEntry>>();
  const all: RouteEntry[] = [];
  for (const route of routes) {
    const mark = route.hooks.detail?.["x-mark"];
    if (!mark) continue;
    const entry: RouteEntry = {
      method: route.method === "WS" ? "GET" : route.method,
      path: route.path,
      mark,
      takesBody: route.hooks.body !== undefined || mark.body !== undefined,
      body: route.hooks.body ?? null,
    };
    all.push(entry);
    const path = withoutTrailingSlash(route.path);
    let methods = patterns.get(path);
    if (!methods) {
      methods = new Map();
      patterns.set(path, methods);
      if (/[:*]/.test(path)) dynamic.add("*", path, methods);
      else fixed.set(path, methods);
    }
    methods.set(entry.method, entry);
  }
  return {
    all,
    find: (method, path) => {
      const plain = withoutTrailingSlash(path);
      const methods = fixed.get(plain) ?? dynamic.find("*", plain)?.store;
      if (!methods) return null;
      return methods.get(method) ?? (method === "HEAD" ? methods.get("GET") : undefined) ?? [...methods.keys()];
    },
  };
}
