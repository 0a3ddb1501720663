// Local storage that never throws: a browser that refuses it (private windows, frames on other sites) gets memory instead.

const memory = new Map<string, string>();

function store(): Storage | null {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

/** The value kept under `key`, parsed and checked by `shape`; null if there is none or it is of another form. */
export function readStored<T>(key: string, shape: (value: unknown) => T | null): T | null {
  const text = store()?.getItem(key) ?? memory.get(key) ?? null;
  if (text === null) return null;
  try {
    return shape(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Keeps `value` under `key`, or forgets the key for null. */
export function writeStored(key: string, value: unknown): void {
  const kept = store();
  memory.delete(key);
  if (value === null) {
    kept?.removeItem(key);
    return;
  }
  const text = JSON.stringify(value);
  try {
    if (!kept) throw new Error("no storage");
    kept.setItem(key, text);
  } catch {
    // Full or refused: good for this page only.
    memory.set(key, text);
  }
}

/** Calls back when another tab changes `key`. */
export function onStoredElsewhere(key: string, changed: () => void): void {
  window.addEventListener("storage", (event) => {
    if (event.key === key || event.key === null) changed();
  });
}

/**
 * Runs `work` while no other tab of this origin does under the same name. Where Web Locks are missing (plain http) or
 * denied (a frame on another site without storage) it just runs.
 */
export async function alone<T>(name: string, work: () => Promise<T>): Promise<T> {
  // The type says that it is always there; insecure origins lack it.
  const locks = (navigator as { locks?: LockManager }).locks;
  if (!locks) return work();
  let begun = false;
  const once = () => {
    begun = true;
    return work();
  };
  try {
    return (await locks.request(name, once)) as T;
  } catch (fault) {
    if (begun) throw fault;
    return work();
  }
}
