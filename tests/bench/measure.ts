// What the benchmarks share: CPU time of a process, medians, a table. Linux only (/proc).

import { readFileSync } from "node:fs";

/** User and system time of a process so far, all threads, in seconds. */
export function cpuSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100; // USER_HZ is 100 on every Linux that Bun runs on
}

/** Resident memory of a process in bytes. */
export function residentBytes(pid: number): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1] ?? 0) * 1024;
}

/** The middle of `values`; NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle] ?? Number.NaN;
  return ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/** The value below which `share` (0–1) of `values` lie. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/** Prints rows under a heading; every row says what was measured, the bound, and whether it holds. */
export function report(
  heading: string,
  rows: readonly { what: string; measured: string; bound: string; holds: boolean }[],
): void {
  console.log(`\n${heading}`);
  const width = Math.max(...rows.map(({ what }) => what.length));
  for (const { what, measured, bound, holds } of rows) {
    console.log(`  ${what.padEnd(width)}  ${measured.padEnd(24)}  ${bound.padEnd(12)}  ${holds ? "holds" : "MISSED"}`);
  }
}
