// HTTP by hand over a TCP connection: for requests that no client library would send.

import { connect } from "node:net";

export interface RawAnswer {
  /** 0 when the server closed the connection without an answer. */
  status: number;
  /** Names in lower case; repeated ones joined by a comma. */
  headers: Record<string, string>;
  body: string;
  /** Everything that came, which may be several answers. */
  text: string;
}

/** Sends the bytes as they are and reads until the server closes or has been silent for `quietMs`. */
export function rawRequest(
  port: number,
  parts: string | Uint8Array | readonly (string | Uint8Array)[],
  options: { quietMs?: number; pauseMs?: number } = {},
): Promise<RawAnswer> {
  const { quietMs = 400, pauseMs = 0 } = options;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect({ port, host: "127.0.0.1" });
    const done = () => {
      socket.destroy();
      resolve(parsed(Buffer.concat(chunks).toString("latin1")));
    };
    socket.setTimeout(quietMs, done);
    socket.on("data", (chunk: Buffer | string) => chunks.push(typeof chunk === "string" ? Buffer.from(chunk) : chunk));
    socket.on("end", done);
    // A server that refuses may close while we still write.
    socket.on("error", (error) => (chunks.length > 0 || "code" in error ? done() : reject(error)));
    socket.on("connect", () => {
      const list: readonly (string | Uint8Array)[] =
        typeof parts === "string" || parts instanceof Uint8Array ? [parts] : parts;
      const send = async () => {
        for (const [at, part] of list.entries()) {
          if (at > 0 && pauseMs > 0) await Bun.sleep(pauseMs);
          socket.write(part);
        }
      };
      send().catch(reject);
    });
  });
}

function parsed(text: string): RawAnswer {
  const end = text.indexOf("\r\n\r\n");
  const [first = "", ...lines] = text.slice(0, Math.max(0, end)).split("\r\n");
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0), headers, body: text.slice(end + 4), text };
}
