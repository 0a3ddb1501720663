// Short-lived shared state: values with a life, counters of windows, locks, publish and subscribe.
// In the process, or Valkey/Redis by ioredis. Nothing that must survive a restart lives here.

export type MaybePromise<T> = T | Promise<T>;

export interface WindowCount {
  /** Hits in the window, this one included. */
  count: number;
  /** When the window ends, in milliseconds since the epoch. */
  resetAt: number;
}

export interface Lock {
  /** Larger than that of every earlier holder of any lock; write it beside what the lock guards to fence off late writers. */
  readonly token: number;
  /** False when the lock was lost meanwhile, or when nobody can tell because the server is away. */
  extend(ttlMs: number): Promise<boolean>;
  /** Never fails: a lock that cannot be released ends with its life. */
  release(): Promise<void>;
}

/**
 * Values, windows and locks have namespaces of their own: the same key may be used in each.
 * While the outside server is away every promise but those of `hit` and `peek` fails within 1 s by `unavailable("cache")`,
 * if not said otherwise. On PostgreSQL messages of up to some 7 KiB are then published through its notifications.
 */
export interface Cache {
  readonly kind: "memory" | "valkey";
  /** The longest message in UTF-8 bytes that `publish` takes. Send a reference to what is longer. */
  readonly messageBytesMax: number;
  get(key: string): Promise<string | null>;
  /** A life of 0 or less deletes. */
  set(key: string, value: string, ttlMs: number): Promise<void>;
  /** Deletes the values and ends the windows of these keys; locks stay. */
  delete(...keys: string[]): Promise<void>;
  /** Reads and deletes in one step. */
  take(key: string): Promise<string | null>;
  /**
   * Counts `by` hits in a fixed window that begins with the first; one atomic step, synchronous in the memory engine.
   * Never fails: while the outside server is away it counts in this process, synchronously.
   */
  hit(key: string, windowMs: number, by?: number): MaybePromise<WindowCount>;
  /** The window's present count without a hit; null when there is none. Never fails. */
  peek(key: string): MaybePromise<WindowCount | null>;
  /** Takes the lock or returns null at once. */
  lock(key: string, ttlMs: number): Promise<Lock | null>;
  /**
   * Delivers to the subscribers of every instance, this one included, in order of sending per sender.
   * A message above `messageBytesMax` is the caller's fault: a plain Error.
   */
  publish(channel: string, message: string): Promise<void>;
  /**
   * Once it has resolved every later message arrives. While the outside server is away it resolves too, and messages
   * come from the moment when `onStatus` tells true. Handlers must not throw; what they throw is logged.
   */
  subscribe(channel: string, handler: (message: string) => void): Promise<() => Promise<void>>;
  /** False while the outside server is away; the memory engine is always up. */
  isUp(): boolean;
  /**
   * Told of each change of `isUp`; true means that subscriptions are alive again. Where the database carries messages,
   * also false and true at once after its notifications were not heard for a while.
   */
  onStatus(handler: (isUp: boolean) => void): () => void;
  ping(): Promise<{ version: string; latencyMs: number }>;
  close(): Promise<void>;
}
