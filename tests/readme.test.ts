// The README and the files beside it say what the code says: tables, versions, commands, folders, dependencies.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import manifest from "../package.json";
import { commandTable } from "../src/commands/help.ts";
import { configTable } from "../src/config.ts";

const ROOT = resolve(import.meta.dir, "..");
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const readme = read("README.md");

function between(name: string): string | undefined {
  return new RegExp(`<!-- ${name}: [^\\n]* -->\\n([\\s\\S]*?)<!-- /${name} -->`).exec(readme)?.[1]?.trim();
}

describe("tables", () => {
  // `bun run readme` writes both.
  test("the options are those of config.ts", () => {
    expect(between("configuration")).toBe(configTable("markdown"));
  });

  test("the commands are those of help.ts", () => {
    expect(between("commands")).toBe(commandTable());
  });
});

describe("versions", () => {
  const bun = manifest.packageManager.replace("bun@", "");

  test("this test runs on the pinned Bun", () => {
    expect(Bun.version).toBe(bun);
  });

  test("README, Dockerfile and types name the pinned Bun and no other", () => {
    expect([...readme.matchAll(/bun@([\d.]+)/g)].map(([, version]) => version)).toEqual(
      ["start", "build", "test"].map(() => bun),
    );
    expect([...read("Dockerfile").matchAll(/BUN_VERSION=(\S+)/g)].map(([, version]) => version)).toEqual([bun]);
    expect(manifest.devDependencies["bun-types"]).toBe(bun);
  });

  test("no other file pins it", () => {
    for (const path of [".ci/run", "compose.yaml", "fly.toml", "bunfig.toml"])
      expect({ path, pins: read(path).includes(bun) }).toEqual({ path, pins: false });
  });

  test("all dependencies are exact", () => {
    const versions = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
    expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))).toEqual([]);
  });
});

describe("what the README names", () => {
  test("every script exists", () => {
    const scripts = [...readme.matchAll(/bun(?:@[\d.]+)? run ([\w:]+)/g)].map(([, name = ""]) => name);
    expect(scripts.length).toBeGreaterThan(2);
    expect(scripts.filter((name) => !(name in manifest.scripts))).toEqual([]);
  });

  test("every place of the map exists", () => {
    const map = /```\n(src\/[\s\S]*?)```/.exec(readme)?.[1] ?? "";
    const places = map.split("\n").flatMap((line) => {
      const [, indent = "", name = ""] = /^( *)(\S+)/.exec(line) ?? [];
      return name === "" ? [] : [`${indent === "" ? "" : "src/"}${name.replace(/<.*/, "")}`];
    });
    expect(places.length).toBeGreaterThan(10);
    expect(places.filter((place) => !existsSync(join(ROOT, place)))).toEqual([]);
  });

  test("every dependency has its reason, and nothing else is called one", () => {
    const section = /## Dependencies\n([\s\S]*?)\n## /.exec(readme)?.[1] ?? "";
    const named = new Set([...section.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name));
    const installed = Object.keys({ ...manifest.dependencies, ...manifest.devDependencies });
    expect(installed.filter((name) => !named.has(name))).toEqual([]);
    expect([...named].filter((name) => !installed.includes(name))).toEqual([]);
  });

  test("every file it points to exists", () => {
    const files = [...readme.matchAll(/`((?:src|tests|\.ci)\/[\w./-]+|LICENSE|\.env\.example)`/g)].map(
      ([, name = ""]) => name,
    );
    expect(files.length).toBeGreaterThan(3);
    expect(files.filter((name) => !existsSync(join(ROOT, name)))).toEqual([]);
  });
});

describe("deployment files", () => {
  test("leave more time for a stop than the server takes by default", () => {
    const seconds = [
      /kill_timeout = "(\d+)s"/.exec(read("fly.toml")),
      /stop_grace_period: (\d+)s/.exec(read("compose.yaml")),
    ];
    for (const found of seconds) expect(Number(found?.[1])).toBeGreaterThan(10);
  });

  test("keep data in the image's one volume", () => {
    const dockerfile = read("Dockerfile");
    expect(dockerfile).toMatch(/^VOLUME \/data$/m);
    expect(dockerfile).toContain("DATA_DIR=/data");
    expect(dockerfile).toMatch(/^USER botserver$/m);
    expect(read("fly.toml")).toContain('destination = "/data"');
    expect(read("compose.yaml")).toContain('"data:/data"');
  });
});
