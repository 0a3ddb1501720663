// The socket's life: opening, noticing that it is dead, coming back with growing patience. What frames mean is told elsewhere.
import { asObject } from "../parts/wire.ts";
import type { Json } from "../parts/wire.ts";

export interface Address {
  url: string;
  protocols: string[];
}

/** What to do after a close: try again with patience, at once, after so many milliseconds, or not at all. */
export type Next = "retry" | "now" | "stop" | number;

interface LinkOptions {
  /** Where to connect; asked before every attempt, so that tokens are fresh. Null: do not connect. */
  address: () => Promise<Address | null>;
  onFrame: (frame: Json) => void;
  onTrying: () => void;
  onWaiting: (untilMs: number) => void;
  /** `opened` is false when the upgrade itself failed. */
  onClose: (code: number, opened: boolean) => Promise<Next>;
}

export interface Link {
  /** False when nothing could be sent. */
  send(frame: Json): boolean;
  /** The conversation is joined: the next break starts again with the shortest wait. */
  settled(heartbeatSeconds: number): void;
  /** The server said how long it will be away; used for the next attempt. */
  expectRestart(ms: number): void;
  retryNow(): void;
  close(): void;
}

const FIRST_MS = 500;
const LONGEST_MS = 30_000;
const PONG_MS = 10_000;

/** The wait before attempt number `attempt` (from 0): 0.5 s doubling to 30 s, spread by ±20 % so that clients do not return in step. */
export function backOffMs(attempt: number, random: number): number {
  const plain = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.min(LONGEST_MS, Math.round(plain * (0.8 + 0.4 * random)));
}

/** Opens the link and keeps it open until `close`. */
export function openLink(options: LinkOptions): Link {
  let socket: WebSocket | null = null;
  let attempt = 0;
  let ended = false;
  let timer: ReturnType<typeof setTimeout> | null = null;
  let restartMs: number | null = null;
  let heartbeat: ReturnType<typeof setInterval> | null = null;
  let deadline: ReturnType<typeof setTimeout> | null = null;
  let trying = false;

  const quiet = () => {
    if (heartbeat) clearInterval(heartbeat);
    if (deadline) clearTimeout(deadline);
    heartbeat = null;
    deadline = null;
  };

  const wait = (ms: number) => {
    if (timer) clearTimeout(timer);
    options.onWaiting(Date.now() + ms);
    timer = setTimeout(start, ms);
  };

  const patience = () => {
    const ms = backOffMs(attempt, Math.random());
    attempt += 1;
    wait(ms);
  };

  const gone = async (code: number, opened: boolean) => {
    quiet();
    socket = null;
    if (ended) return;
    let next: Next = "retry";
    try {
      next = await options.onClose(code, opened);
    } catch {
      // Asking why has failed too: the network is away.
      next = "retry";
    }
    if (ended || next === "stop") return;
    const announced = restartMs;
    restartMs = null;
    if (next === "now") start();
    else if (typeof next === "number") wait(next);
    else if (announced !== null) wait(announced);
    else patience();
  };

  const open = async () => {
    let address: Address | null;
    try {
      address = await options.address();
    } catch {
      patience();
      return;
    }
    if (ended || address === null) return;
    const next = new WebSocket(address.url, address.protocols);
    let opened = false;
    let over = false;
    socket = next;
    const finish = (code: number) => {
      if (over) return;
      over = true;
      gone(code, opened).catch(() => patience());
    };
    next.addEventListener("open", () => {
      opened = true;
    });
    next.addEventListener("message", (event) => {
      if (over || typeof event.data !== "string") return;
      if (deadline) clearTimeout(deadline);
      deadline = null;
      let frame: unknown;
      try {
        frame = JSON.parse(event.data);
      } catch {
        return;
      }
      options.onFrame(asObject(frame));
    });
    next.addEventListener("close", (event) => finish(event.code));
    // A dead network never closes a socket by itself; the heartbeat does it through this.
    next.addEventListener("botserver:dead", () => {
      next.close();
      finish(1006);
    });
  };

  function start(): void {
    if (timer) clearTimeout(timer);
    timer = null;
    if (ended || trying || socket) return;
    trying = true;
    options.onTrying();
    open().then(
      () => {
        trying = false;
      },
      () => {
        trying = false;
        patience();
      },
    );
  }

  const beat = () => {
    const current = socket;
    if (!current || current.readyState !== WebSocket.OPEN) return;
    current.send(JSON.stringify({ type: "ping", t: Date.now() }));
    deadline ??= setTimeout(() => current.dispatchEvent(new Event("botserver:dead")), PONG_MS);
  };

  start();
  return {
    send: (frame) => {
      if (!socket || socket.readyState !== WebSocket.OPEN) return false;
      socket.send(JSON.stringify(frame));
      return true;
    },
    settled: (heartbeatSeconds) => {
      attempt = 0;
      if (heartbeat) clearInterval(heartbeat);
      heartbeat = setInterval(beat, Math.max(5, heartbeatSeconds) * 1000);
    },
    expectRestart: (ms) => {
      restartMs = ms;
    },
    retryNow: () => {
      if (timer) {
        start();
        return;
      }
      // Coming back from sleep: the socket may be dead without knowing it.
      beat();
    },
    close: () => {
      ended = true;
      quiet();
      if (timer) clearTimeout(timer);
      socket?.close(1000);
      socket = null;
    },
  };
}
