// A load generator that costs little: keep-alive connections over raw sockets, one request under way on each.
// Runs as a process of its own: `bun load.ts URL SECONDS CONNECTIONS [TOKEN]` prints the count of answers as JSON.

const [address = "", seconds = "1", connections = "16", token = ""] = process.argv.slice(2);
const url = new URL(address);
const head = `GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\n${token ? `Authorization: Bearer ${token}\r\n` : ""}\r\n`;
const request = Buffer.from(head);

let done = 0;
let faults = 0;
let stopping = false;

interface Answer {
  text: string;
}

/** Length of the first whole answer in `text`, or 0. */
function answerLength(text: string): number {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return 0;
  const length = /content-length: (\d+)/i.exec(text.slice(0, end));
  return end + 4 + Number(length?.[1] ?? 0);
}

const sockets = await Promise.all(
  Array.from({ length: Number(connections) }, () =>
    Bun.connect<Answer>({
      hostname: url.hostname,
      port: Number(url.port),
      socket: {
        open: (socket) => {
          socket.data = { text: "" };
        },
        data: (socket, chunk) => {
          socket.data.text += chunk.toString("latin1");
          const length = answerLength(socket.data.text);
          if (length === 0 || socket.data.text.length < length) return;
          if (!socket.data.text.startsWith("HTTP/1.1 200")) faults += 1;
          socket.data.text = "";
          done += 1;
          if (!stopping) socket.write(request);
        },
      },
    }),
  ),
);
for (const socket of sockets) socket.write(request);
await Bun.sleep(Number(seconds) * 1000);
stopping = true;
await Bun.sleep(50);
for (const socket of sockets) socket.end();
process.stdout.write(`${JSON.stringify({ done, faults })}\n`);
process.exit(0);
export {};
