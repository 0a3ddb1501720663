// All measurements, one after another, each in a process of its own: `bun run bench [name…]`. They compare within one
// run, interleaved, and print what holds and what is missed. Not tests: a busy machine moves them.

import { join } from "node:path";

const ALL = ["types", "me", "sockets", "search", "ingest", "start", "kill"] as const;

const wanted = process.argv.slice(2);
const names = wanted.length > 0 ? wanted : ALL;
const failed: string[] = [];
for (const name of names) {
  if (!(ALL as readonly string[]).includes(name)) {
    console.error(`${name} is none of ${ALL.join(", ")}`);
    process.exit(2);
  }
  const child = Bun.spawn([process.execPath, join(import.meta.dir, `${name}.ts`)], {
    stdout: "inherit",
    stderr: "inherit",
  });
  if ((await child.exited) !== 0) failed.push(name);
}
if (failed.length > 0) {
  console.error(`\nended with a fault: ${failed.join(", ")}`);
  process.exit(1);
}
