// The data folder belongs to one process. The kernel's lock on `lock.db` decides (SQLite takes it and the kernel
// drops it when the process dies, kill -9 and containers with equal pids included); `lock` beside it tells who.

import { Database as Sqlite } from "bun:sqlite";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The folder is in use by the process `pid` (null if it has not written its name yet). */
export class FolderLocked extends Error {
  readonly pid: number | null;
  constructor(folder: string, pid: number | null) {
    super(`The data folder ${folder} is in use by ${pid === null ? "another process" : `the process ${pid}`}.`);
    this.name = "FolderLocked";
    this.pid = pid;
  }
}

export interface FolderLock {
  release(): void;
}

interface Holder {
  pid: number;
  /** Start time of the process in clock ticks after boot, with the boot's id; null where there is no /proc. */
  started: string | null;
}

/** Identifies a process beyond its pid, which the system gives out again; null if it is gone or cannot be told. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const ticks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}:${ticks}`;
  } catch {
    return null;
  }
}

function readHolder(path: string): Holder | null {
  try {
    const holder: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof holder !== "object" || holder === null || !("pid" in holder) || typeof holder.pid !== "number")
      return null;
    return {
      pid: holder.pid,
      started: "started" in holder && typeof holder.started === "string" ? holder.started : null,
    };
  } catch {
    return null;
  }
}

/** True if that very process still runs. Where start times cannot be read the kernel's lock is trusted alone. */
function isAlive(holder: Holder): boolean {
  return holder.pid !== process.pid && holder.started !== null && startOf(holder.pid) === holder.started;
}

/** Takes the folder (made when missing) for this process; throws FolderLocked if another one has it. */
export function lockFolder(folder: string): FolderLock {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, "lock");
  const kernel = new Sqlite(join(folder, "lock.db"), { create: true });
  try {
    kernel.exec("pragma busy_timeout = 0; begin exclusive");
  } catch {
    kernel.close();
    throw new FolderLocked(folder, readHolder(path)?.pid ?? null);
  }
  // Some network file systems grant every lock; then the holder's name is all there is.
  const holder = readHolder(path);
  if (holder && isAlive(holder)) {
    kernel.close();
    throw new FolderLocked(folder, holder.pid);
  }
  const own: Holder = { pid: process.pid, started: startOf(process.pid) };
  writeFileSync(`${path}.new`, `${JSON.stringify(own)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
  let held = true;
  return {
    release: () => {
      if (!held) return;
      held = false;
      rmSync(path, { force: true });
      kernel.close();
    },
  };
}
