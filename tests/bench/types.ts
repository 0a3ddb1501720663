// How long the type check of everything takes, the client included.

import { join } from "node:path";
import { median, report } from "./measure.ts";

const ROUNDS = 3;
const root = join(import.meta.dir, "../..");
const seconds: number[] = [];
for (let round = 0; round < ROUNDS; round += 1) {
  const began = performance.now();
  const { exitCode } = Bun.spawnSync([process.execPath, "x", "tsc", "--checkers", "1"], { cwd: root });
  if (exitCode !== 0) throw new Error("the type check found faults");
  seconds.push((performance.now() - began) / 1000);
}
const middle = median(seconds);
report("Type check of the whole", [
  { what: "tsc --checkers 1", measured: `${middle.toFixed(1)} s`, bound: "≤ 15 s", holds: middle <= 15 },
]);
