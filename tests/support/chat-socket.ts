// A client of the chat socket for tests: keeps every frame, waits for those that a test asks for.

export interface ChatFrame extends Record<string, unknown> {
  type: string;
}

export interface ChatSocket {
  frames: ChatFrame[];
  /** The first frame that matches, among those that came and those to come. */
  next(matches: (frame: ChatFrame) => boolean, timeoutMs?: number): Promise<ChatFrame>;
  /** The first `status` frame with that state. */
  status(state: string, timeoutMs?: number): Promise<ChatFrame>;
  /** The first message with that content. */
  message(content: string, timeoutMs?: number): Promise<ChatFrame>;
  send(frame: Record<string, unknown> | string | Uint8Array): void;
  closed: Promise<{ code: number; reason: string }>;
  close(): void;
  /** Seqs of all messages, in the order in which they came. */
  seqs(): number[];
}

/** Opens a socket; throws with the HTTP status when the upgrade is refused. */
export async function openSocket(
  url: string,
  query: Record<string, string> = {},
  options: { protocols?: string[]; token?: string; path?: string; headers?: Record<string, string> } = {},
): Promise<ChatSocket> {
  const address = new URL(`${url.replace(/^http/, "ws")}${options.path ?? "/ws"}`);
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
  if (options.token !== undefined) address.searchParams.set("token", options.token);
  const { protocols, headers } = options;
  // Bun's client takes headers, which the browser's type does not know.
  const socket = new WebSocket(
    address.href,
    (headers ? { headers, ...(protocols ? { protocols } : {}) } : protocols) as string[] | undefined,
  );
  const frames: ChatFrame[] = [];
  const waiting = new Set<() => void>();
  const ended = Promise.withResolvers<{ code: number; reason: string }>();
  let isClosed = false;
  socket.addEventListener("message", ({ data }) => {
    frames.push(JSON.parse(String(data)) as ChatFrame);
    for (const look of waiting) look();
  });
  socket.addEventListener("close", ({ code, reason }) => {
    isClosed = true;
    ended.resolve({ code, reason });
    for (const look of waiting) look();
  });
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener("open", () => resolve());
    socket.addEventListener("error", (event) => {
      const text = "message" in event ? String(event.message) : "refused";
      reject(new Error(text));
    });
  });
  const next: ChatSocket["next"] = (matches, timeoutMs = 5_000) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(look);
        reject(
          new Error(
            `no such frame within ${timeoutMs} ms; came: ${JSON.stringify(frames.map(({ type, state }) => [type, state]))}`,
          ),
        );
      }, timeoutMs);
      const look = () => {
        const found = frames.find(matches);
        if (!found && !isClosed) return;
        clearTimeout(timer);
        waiting.delete(look);
        if (found) resolve(found);
        else
          reject(
            new Error(
              `closed before the frame came: ${JSON.stringify(frames.map(({ type, state }) => [type, state]))}`,
            ),
          );
      };
      waiting.add(look);
      look();
    });
  return {
    frames,
    next,
    status: (state, timeoutMs) => next((frame) => frame.type === "status" && frame["state"] === state, timeoutMs),
    message: (content, timeoutMs) =>
      next((frame) => frame.type === "message" && frame["content"] === content, timeoutMs),
    send: (frame) =>
      socket.send(typeof frame === "string" || frame instanceof Uint8Array ? (frame as string) : JSON.stringify(frame)),
    closed: ended.promise,
    close: () => socket.close(1000),
    seqs: () => frames.filter(({ type }) => type === "message").map(({ seq }) => seq as number),
  };
}

/** The HTTP status and body with which an upgrade is answered. */
export async function refusedUpgrade(
  url: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Headers; body: { error?: { code: string; details: Record<string, unknown> } } }> {
  const response = await fetch(url, {
    headers: {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
      ...headers,
    },
  });
  return { status: response.status, headers: response.headers, body: (await response.json()) as never };
}
