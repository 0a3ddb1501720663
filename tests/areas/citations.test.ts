// What an answer cites is where it says: the quoted words stand at these offsets of the document's text, under these
// headings, on this page, whatever the format and however small the passages are.

import { afterAll, describe, expect, test } from "bun:test";
import { pdfOf } from "../support/pdf.ts";
import { answer as modelAnswer, startModelServer } from "../support/model-server.ts";
import { startTestServer } from "../support/server.ts";

interface Citation {
  n: number;
  document_id: string;
  title: string;
  collection: string | null;
  path: string | null;
  page: number | null;
  slide: number | null;
  sheet: string | null;
  row: number | null;
  line: number | null;
  heading_path: string[];
  source_url: string | null;
  snippet: string;
  char_start: number;
  char_end: number;
  score: number;
}

interface Message {
  id: string;
  content: string;
  citations: Citation[];
  metadata: Record<string, unknown>;
}

const server = await startTestServer();
const admin = await server.signIn();

const model = await startModelServer();
afterAll(() => model.stop());
model.always(modelAnswer("Early [1]."));
const modelled = await startTestServer({ LLM_URL: model.url, LLM_MODEL: "test-model" });

const PLACES = ["harbour", "station", "museum", "theatre", "library", "market", "garden", "bakery", "chapel", "tower"];
/** A fact with words of its own for each place. */
const fact = (place: string, at: number) =>
  `The ${place} of Aldenrath opens at ${at + 6}:1${at} in the morning. Its keeper is called Brunhild ${at * 7 + 100}.`;
const FILLER = "Many people of the town walk there on Sundays. Some of them bring their dogs along.";

const markdown = `# Aldenrath\n\n${PLACES.map((place, at) => `## The ${place}\n\n${FILLER}\n\n${fact(place, at)}\n${FILLER}`).join("\n\n")}\n`;
const list = `Places of Aldenrath\n\n${PLACES.map((place, at) => `- ${fact(place, at)}`).join("\n")}\n`;
const html = `<h1>Aldenrath</h1>${PLACES.map((place, at) => `<p>${FILLER}</p><p>${fact(place, at)} <b>${FILLER}</b></p>`).join("\n")}`;
const plain = PLACES.map((place, at) => `${FILLER} ${fact(place, at)}`).join(" ");

async function made(
  name: string,
  config: Record<string, unknown>,
  file: string,
  bytes: string | Uint8Array<ArrayBuffer>,
) {
  const bot = await server.call<{ id: string }>("POST", "/api/v1/bots", {
    token: admin,
    body: { name, display_name: name, visibility: "public", anonymous_allowed: true, config },
  });
  expect(bot.error).toBeNull();
  const collection = await server.call<{ id: string }>("POST", "/api/v1/kb/collections", {
    token: admin,
    body: { name: "places", bot_id: name, default_access: "all" },
  });
  const form = new FormData();
  form.append("file", new Blob([bytes]), file);
  const path = `/api/v1/kb/collections/${collection.data.id}/documents`;
  const taken = await server.call<{ job_id: string; documents: { id: string }[] }>("POST", path, {
    token: admin,
    body: form,
  });
  await server.engines.jobs.wait(taken.data.job_id, 30_000);
  const id = taken.data.documents[0]?.id ?? "";
  const text = await server.call<string>("GET", `/api/v1/kb/documents/${id}/content?format=text`, { token: admin });
  expect(text.data.length).toBeGreaterThan(200);
  return { id, text: text.data };
}

async function ask(bot: string, message: string): Promise<Message> {
  const said = await server.call<{ answer: Message }>("POST", "/api/v1/chat", { body: { bot_id: bot, message } });
  expect(said.error).toBeNull();
  return said.data.answer;
}

/** The words of the block quote in an answer, without its last line, which names the source. */
function quotedIn(content: string): string {
  const lines = content.split("\n").map((line) => line.replace(/^> ?/, ""));
  return lines
    .slice(
      0,
      lines.findLastIndex((line) => line.startsWith("— ")),
    )
    .join("\n")
    .trimEnd();
}

const FORMATS: [string, string, () => Promise<string | Uint8Array<ArrayBuffer>>][] = [
  ["Markdown", "aldenrath.md", async () => markdown],
  ["a list", "places.md", async () => list],
  ["HTML", "aldenrath.html", async () => html],
  ["plain text", "aldenrath.txt", async () => plain],
  [
    "PDF",
    "aldenrath.pdf",
    () => pdfOf(PLACES.map((place, at) => [...fact(place, at).split(/(?<=\.) /), ...FILLER.split(/(?<=\.) /)])),
  ],
];

describe.each([
  ["passages of the usual size", {}],
  ["small passages that overlap", { "rag-chunk-size": 64, "rag-chunk-overlap": 24 }],
  ["small passages that do not", { "rag-chunk-size": 64, "rag-chunk-overlap": 0 }],
])("%s", (size, config) => {
  test.each(FORMATS)("%s: the quote stands at the offsets that the citation tells", async (format, file, bytes) => {
    const name = `${size}-${format}`.toLowerCase().replaceAll(/[^a-z]+/g, "-");
    const document = await made(name, config, file, await bytes());
    for (const [at, place] of PLACES.entries()) {
      const answer = await ask(
        name,
        `When does the ${place} of Aldenrath open, and who is the keeper of the ${place}?`,
      );
      expect(answer.metadata).toEqual({ answer_mode: "quoted" });
      const [citation, ...more] = answer.citations;
      expect(more).toEqual([]);
      if (!citation) throw new Error("nothing is cited");
      expect(citation).toMatchObject({
        n: 1,
        document_id: document.id,
        collection: "places",
        path: "",
        source_url: null,
      });
      const quote = document.text.slice(citation.char_start, citation.char_end);
      expect(quote).toBe(quotedIn(answer.content));
      expect(quote.replaceAll(/\s+/g, " ")).toContain(
        `The ${place} of Aldenrath opens at ${at + 6}:1${at} in the morning.`,
      );
      // The page marks the quote inside of the passage.
      expect(citation.snippet).toContain(quote);
      expect(document.text).toContain(citation.snippet.replaceAll(/^…|…$/g, ""));
      expect(citation.page).toBe(format === "PDF" ? at + 1 : null);
      if (format === "Markdown") {
        expect(citation.heading_path).toEqual(["Aldenrath", `The ${place}`]);
        expect(citation.line).toBeGreaterThan(0);
      }
    }
  });
});

test("what is told live, in the history and of one message is the same", async () => {
  const started = await server.call<{ session_id: string; token: string }>("POST", "/api/v1/session", {
    body: { bot_id: "passages-of-the-usual-size-markdown" },
  });
  const { session_id: id, token } = started.data;
  const said = await server.call<{ answer: Message }>("POST", `/api/v1/conversations/${id}/messages?wait=true`, {
    token,
    body: { content: "When does the chapel of Aldenrath open?" },
  });
  const { answer } = said.data;
  expect(answer.citations).toHaveLength(1);
  const history = await server.call<{ messages: Message[] }>("GET", `/api/v1/conversations/${id}/history`, { token });
  expect(history.data.messages.at(-1)?.citations).toEqual(answer.citations);
  const one = await server.call<Message>("GET", `/api/v1/conversations/${id}/messages/${answer.id}`, { token });
  expect(one.data.citations).toEqual(answer.citations);
});

test("a long passage is shown around its quote, cut between words", async () => {
  const words = (from: number) => Array.from({ length: 300 }, (_, at) => `Word${from + at}`).join(" ");
  const text = `${words(0)}. The lighthouse of Aldenrath has 217 steps. ${words(1000)}.`;
  const document = await made("long-passages", { "rag-chunk-size": 4096 }, "long.txt", text);
  const { citations } = await ask("long-passages", "How many steps does the lighthouse of Aldenrath have?");
  const [citation] = citations;
  if (!citation) throw new Error("nothing is cited");
  expect(document.text.slice(citation.char_start, citation.char_end)).toBe(
    "The lighthouse of Aldenrath has 217 steps.",
  );
  expect(citation.snippet).toMatch(/^…Word\d+ .*The lighthouse of Aldenrath has 217 steps\. .* Word\d+…$/);
  expect(citation.snippet.length).toBeLessThanOrEqual(2002);
  expect(document.text).toContain(citation.snippet.slice(1, -1));
});

test("what a model cites is told with the place of its passage", async () => {
  const token = await modelled.signIn();
  const body = { collection: "places", bot_id: "default", create: true, wait: 30, access: { level: "all" } };
  const items = [{ title: "Zebras", text: "# Zebras\n\nThe zebra house of Aldenrath opens at 5:55." }];
  const taken = await modelled.call<{ documents: { id: string }[] }>("POST", "/api/v1/kb/ingest", {
    token,
    body: { ...body, items },
  });
  expect(taken.error).toBeNull();
  const said = await modelled.call<{ answer: Message }>("POST", "/api/v1/chat", {
    body: { message: "When does the zebra house of Aldenrath open?" },
  });
  const id = taken.data.documents[0]?.id ?? "";
  const [citation] = said.data.answer.citations;
  expect(citation).toMatchObject({ document_id: id, title: "Zebras", collection: "places" });
  const text = await modelled.call<string>("GET", `/api/v1/kb/documents/${id}/content?format=text`, { token });
  expect(text.data.slice(citation?.char_start, citation?.char_end)).toBe(citation?.snippet ?? "?");
});
