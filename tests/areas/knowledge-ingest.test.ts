// Taking documents in: collections, uploads, versions, rights, jobs, and what a crash leaves behind.

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pdfEncrypted, pdfLaughs, pdfOf, pdfWithoutText } from "../support/pdf.ts";
import { serverCommand, startProcess } from "../support/processes.ts";
import { startTestServer } from "../support/server.ts";

// Indexing is bound by the processor, which other tests use, too.
setDefaultTimeout(60_000);

interface Collection {
  id: string;
  name: string;
  status: string;
  documents_count: number;
  chunks_count: number;
  vectors_count: number;
  failed_count: number;
  generation: number;
  default_access: string;
}

interface Document {
  id: string;
  name: string;
  path: string;
  title: string;
  status: string;
  error_code: string | null;
  version: number;
  pages: number | null;
  chunks_count: number;
  sha256: string;
  tags: string[];
  accessible: boolean;
  effective_access: { level: string; groups: string[] };
  result?: string;
}

interface Chunk {
  id: string;
  ordinal: number;
  text: string;
  page: number | null;
  line: number | null;
  heading_path: string[];
  char_start: number;
  char_end: number;
}

interface Job {
  job_id: string;
  status: string;
  progress: number;
  documents_total: number;
  documents_done: number;
  documents_failed: number;
  errors: { code: string; name: string }[];
}

interface TakenIn {
  documents: Document[];
  job_id: string | null;
}

const server = await startTestServer();
const admin = await server.signIn();
const manager = await server.person(["user", "kb_manager"]);
const reader = await server.person();
const stranger = await server.person();

const form = (files: Record<string, string | Uint8Array<ArrayBuffer>>, fields: Record<string, string> = {}) => {
  const body = new FormData();
  for (const [name, content] of Object.entries(files)) body.append("file", new Blob([content]), name);
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return body;
};

async function made(name: string, more: Record<string, unknown> = {}): Promise<Collection> {
  const body = { name, ...more };
  const answer = await server.call<Collection>("POST", "/api/v1/kb/collections", { token: manager.token, body });
  expect(answer.status).toBe(201);
  return answer.data;
}

async function ended(jobId: string | null, at = server, token = manager.token): Promise<Job> {
  if (jobId === null) throw new Error("there is no job");
  await at.engines.jobs.wait(jobId, 30_000);
  return (await at.call<Job>("GET", `/api/v1/kb/jobs/${jobId}`, { token })).data;
}

async function uploaded(
  collection: string,
  files: Record<string, string | Uint8Array<ArrayBuffer>>,
  fields: Record<string, string> = {},
): Promise<TakenIn> {
  const path = `/api/v1/kb/collections/${encodeURIComponent(collection)}/documents`;
  const answer = await server.call<TakenIn>("POST", path, { token: manager.token, body: form(files, fields) });
  expect(answer.error).toBeNull();
  expect(answer.status).toBe(202);
  if (answer.data.job_id !== null) await ended(answer.data.job_id);
  return answer.data;
}

async function documentOf(id: string, token = manager.token): Promise<Document> {
  return (await server.call<Document>("GET", `/api/v1/kb/documents/${id}`, { token })).data;
}

const rows = <Row extends Record<string, unknown>>(text: string, values: unknown[] = []) =>
  server.engines.database.query<Row>(text, values);

const texts = async (query: string, token: string, collection: string) => {
  const body = { query, collections: [collection], mode: "sparse" };
  const found = await server.call<{ results: { text: string; page: number | null; title: string }[] }>(
    "POST",
    "/api/v1/kb/search",
    { token, body },
  );
  expect(found.error).toBeNull();
  return found.data.results;
};

describe("collections", () => {
  test("are made once per name, whatever its case and ending, and listed within what one may know of", async () => {
    const one = await made("Handbook", { description: "all rules" });
    expect(one).toMatchObject({ status: "empty", default_access: "authenticated", documents_count: 0 });
    for (const name of ["handbook", "HANDBOOK.gbkb"]) {
      const body = { name };
      const again = await server.call("POST", "/api/v1/kb/collections", { token: manager.token, body });
      expect([again.status, again.error?.details["reason"]]).toEqual([409, "name_taken"]);
    }
    const bad = await server.call("POST", "/api/v1/kb/collections", { token: manager.token, body: { name: "-x" } });
    expect(bad.status).toBe(422);
    const byName = await server.call<Collection>("GET", "/api/v1/kb/collections/default:handbook.gbkb", {
      token: reader.token,
    });
    expect(byName.data.id).toBe(one.id);

    const hidden = await made("Board papers", { default_access: "none" });
    const listed = await server.call<{ collections: Collection[]; total: number }>(
      "GET",
      "/api/v1/kb/collections?q=a&limit=100",
      { token: reader.token },
    );
    expect(listed.data.collections.map(({ name }) => name)).toContain("Handbook");
    expect(listed.data.collections.map(({ name }) => name)).not.toContain("Board papers");
    const seen = await server.call("GET", `/api/v1/kb/collections/${hidden.id}`, { token: reader.token });
    expect(seen.status).toBe(404);
  });

  test("each refusal for its reason", async () => {
    const one = await made("Refusals");
    const path = `/api/v1/kb/collections/${one.id}`;
    const cases: [string, string, string | null, unknown, number][] = [
      ["GET", "/api/v1/kb/collections", null, undefined, 401],
      ["POST", "/api/v1/kb/collections", reader.token, { name: "x" }, 403],
      ["PATCH", path, reader.token, { description: "x" }, 403],
      ["PATCH", path, manager.token, { auto: "perhaps" }, 422],
      ["GET", "/api/v1/kb/collections/default:nowhere", manager.token, undefined, 404],
      ["GET", "/api/v1/kb/collections?limit=1000", manager.token, undefined, 422],
      ["GET", "/api/v1/kb/collections?colour=red", manager.token, undefined, 422],
      ["GET", "/api/v1/kb/stats", reader.token, undefined, 403],
      ["POST", "/api/v1/kb/reindex", reader.token, {}, 403],
      ["DELETE", path, reader.token, undefined, 403],
    ];
    for (const [method, at, token, body, status] of cases) {
      const answer = await server.call(method, at, { token, body });
      expect([method, at, answer.status]).toEqual([method, at, status]);
    }
  });

  test("renaming keeps documents and rules; deleting takes all away, bytes too", async () => {
    const one = await made("Draft");
    const { documents } = await uploaded(one.id, { "a.md": "# A\n\nThe walrus sings." }, { path: "deep/er" });
    const rule = { access: "user_based", users: [reader.email] };
    const put = await server.call("PUT", "/api/v1/kb/default/folders/Draft/deep/permissions", {
      token: manager.token,
      body: rule,
    });
    expect(put.status).toBe(200);
    const path = `/api/v1/kb/collections/${one.id}`;
    const renamed = await server.call<Collection>("PATCH", path, { token: manager.token, body: { name: "Final" } });
    expect(renamed.data).toMatchObject({ name: "Final", chunks_count: 1 });
    expect(await texts("walrus", reader.token, "default:final")).toHaveLength(1);
    expect(await texts("walrus", stranger.token, one.id).catch(() => [])).toHaveLength(0);

    const [blobs] = await rows<{ blob_id: string; text_blob_id: string }>(
      "select blob_id, text_blob_id from kb_documents where id = $1",
      [documents[0]?.id],
    );
    const { objects } = server.engines;
    expect(await objects.stat(blobs?.blob_id ?? "")).not.toBeNull();
    const gone = await server.call("DELETE", path, { token: manager.token });
    expect(gone.status).toBe(204);
    expect((await server.call("GET", path, { token: manager.token })).status).toBe(404);
    expect(await objects.stat(blobs?.blob_id ?? "")).toBeNull();
    expect(await objects.stat(blobs?.text_blob_id ?? "")).toBeNull();
    const left = await rows("select 1 from kb_chunks where document_id = $1", [documents[0]?.id]);
    expect(left).toHaveLength(0);
    const audited = await rows<{ event_type: string }>(
      "select event_type from audit_log where resource_id = $1 order by at",
      [one.id],
    );
    expect(audited.map(({ event_type }) => event_type)).toEqual([
      "kb_collection_created",
      "kb_document_added",
      "kb_permissions_changed",
      "kb_collection_updated",
      "kb_collection_deleted",
    ]);
  });
});

describe("uploads", () => {
  test("300 pages: the sentence of page 217 is found on page 217, word for word what pdftotext reads there", async () => {
    const one = await made("Manual");
    const filler = "Filling words stand around it so that a page looks like a page of a book.";
    const pages = Array.from({ length: 300 }, (_, at) => [
      `Chapter ${Math.floor(at / 10) + 1} goes on here with more of its many words.`,
      filler,
      `The secret of page ${at + 1} is the number ${(at + 1) * 7919}.`,
      filler,
    ]);
    const pdf = await pdfOf(pages);
    const { documents } = await uploaded(one.id, { "manual.pdf": pdf });
    const document = await documentOf(documents[0]?.id ?? "");
    expect(document).toMatchObject({ status: "indexed", pages: 300, version: 1, error_code: null });
    const list = await server.call<{ chunks: Chunk[]; total: number }>(
      "GET",
      `/api/v1/kb/documents/${document.id}/chunks?limit=100&offset=200`,
      { token: reader.token },
    );
    expect(list.data.total).toBe(document.chunks_count);
    const onPage = list.data.chunks.filter(({ page }) => page === 217);
    expect(onPage.map(({ text }) => text).join(" ")).toContain(`The secret of page 217 is the number ${217 * 7919}.`);
    const text = await server.call<string>("GET", `/api/v1/kb/documents/${document.id}/content?format=text`, {
      token: reader.token,
    });
    for (const one of list.data.chunks) expect(text.data.slice(one.char_start, one.char_end)).toBe(one.text);
    const [best] = await texts(`secret number ${217 * 7919}`, reader.token, one.id);
    expect(best?.page).toBe(217);
    if (Bun.which("pdftotext") !== null) {
      const path = join(server.dataDir, "manual.pdf");
      await Bun.write(path, pdf);
      const { stdout } = Bun.spawnSync(["pdftotext", "-f", "217", "-l", "217", path, "-"]);
      const plain = (words: string) => words.replaceAll(/\s+/g, " ").trim();
      expect(plain(text.data.split("\f")[216] ?? "")).toBe(plain(stdout.toString()));
    }
  });

  test("the same bytes change nothing, others make a version, and the name stands for one document", async () => {
    const one = await made("Versions");
    const first = await uploaded(one.id, { "a.md": "# A\n\nThe kettle is blue." }, { tags: '["kitchen"]' });
    expect(first.documents[0]).toMatchObject({ result: "created", version: 1, tags: ["kitchen"], title: "a" });
    const same = await uploaded(one.id, { "a.md": "# A\n\nThe kettle is blue." });
    expect(same).toMatchObject({ job_id: null, documents: [{ result: "unchanged", version: 1, title: "A" }] });
    const other = await uploaded(one.id, { "a.md": "# A\n\nThe kettle is green." });
    expect(other.documents[0]).toMatchObject({ result: "updated", version: 2, tags: ["kitchen"] });
    expect(other.documents[0]?.id).toBe(first.documents[0]?.id);
    const found = await texts("kettle", reader.token, one.id);
    expect(found.map(({ text }) => text)).toEqual(["The kettle is green."]);
    const kept = await rows("select version from kb_chunks where document_id = $1", [first.documents[0]?.id]);
    expect(kept).toEqual([{ version: 2 }]);
    const events = await rows<{ type: string }>("select type from events where subject_id = $1 order by created_at", [
      first.documents[0]?.id,
    ]);
    expect(events.map(({ type }) => type)).toEqual(["kb.document.indexed", "kb.document.indexed"]);
  });

  test("what cannot be read ends with its reason and leaves what can be read alone", async () => {
    const one = await made("Mixed");
    const { documents } = await uploaded(one.id, {
      "good.md": "# Good\n\nThis one is fine.",
      "locked.pdf": pdfEncrypted(),
      "scan.pdf": await pdfWithoutText(),
      "half.pdf": (await pdfOf([["half of a file"]])).slice(0, 500),
      "laughs.pdf": pdfLaughs(25, 20),
      "letter.docx": new Uint8Array([0x50, 0x4b, 3, 4, 20, 0, 0, 0]),
      "wrong.pdf": "plain text all the same",
    });
    const now = await Promise.all(documents.map(({ id }) => documentOf(id)));
    const byName = Object.fromEntries(now.map(({ name, status, error_code }) => [name, [status, error_code]]));
    expect(byName).toEqual({
      "good.md": ["indexed", null],
      "locked.pdf": ["failed", "encrypted"],
      "scan.pdf": ["failed", "no_text"],
      "half.pdf": ["failed", "corrupted_file"],
      "laughs.pdf": ["failed", "corrupted_file"],
      "letter.docx": ["unsupported", "unsupported_format"],
      "wrong.pdf": ["indexed", null],
    });
    const seen = await server.call<Collection>("GET", `/api/v1/kb/collections/${one.id}`, { token: manager.token });
    expect(seen.data).toMatchObject({ status: "ready", documents_count: 7, failed_count: 5, chunks_count: 2 });
  });

  test("nothing of a refused request stays behind", async () => {
    const one = await made("Refused uploads");
    const path = `/api/v1/kb/collections/${one.id}/documents`;
    const count = async () => (await Array.fromAsync(server.engines.objects.list(0))).length;
    const before = await count();
    const large = "x".repeat(10 * 2 ** 20 + 1);
    const cases: [FormData, number, string | undefined][] = [
      [form({ "fine.md": "# Fine", ".env": "SECRET=1" }), 422, "env_file"],
      [form({ "fine.md": "# Fine", "empty.md": "" }), 422, "empty_file"],
      [form({ "fine.md": "# Fine", "large.txt": large }), 413, undefined],
      [form({}, { path: "x" }), 422, undefined],
      [form({ "fine.md": "# Fine" }, { path: "../x" }), 422, undefined],
      [form({ "fine.md": "# Fine" }, { metadata: "[1]" }), 422, undefined],
      [form({ "fine.md": "# Fine" }, { access: '{"level":"role_based","roles":["nobody-has-this"]}' }), 422, undefined],
    ];
    for (const [body, status, reason] of cases) {
      const answer = await server.call("POST", path, { token: manager.token, body });
      expect([answer.status, answer.error?.details["reason"]]).toEqual([status, reason]);
    }
    const json = await server.call("POST", path, { token: manager.token, body: { file: "x" } });
    expect(json.status).toBe(415);
    expect((await server.call("POST", path, { token: reader.token, body: form({ "a.md": "x" }) })).status).toBe(403);
    expect(await count()).toBe(before);
    expect(await rows("select 1 from kb_documents where collection_id = $1", [one.id])).toHaveLength(0);
  });

  test("replaced while 20 readers look: always the old or the new text, never both, never neither", async () => {
    const one = await made("Replaced");
    const body = (colour: string) =>
      Array.from({ length: 40 }, (_, at) => `## Part ${at}\n\nThe heron of part ${at} is ${colour}.`).join("\n\n");
    await uploaded(one.id, { "heron.md": body("grey") });
    const seen = new Set<string>();
    let isDone = false;
    const look = async () => {
      while (!isDone) {
        const found = await texts("heron part 7", reader.token, one.id);
        const colours = new Set(found.map(({ text }) => (text.includes("grey") ? "grey" : "white")));
        seen.add([...colours].sort().join("+"));
      }
    };
    const readers = Array.from({ length: 20 }, look);
    for (const colour of ["white", "grey", "white"]) await uploaded(one.id, { "heron.md": body(colour) });
    isDone = true;
    await Promise.all(readers);
    expect([...seen].sort()).toEqual(["grey", "white"]);
  });
});

describe("texts and addresses", () => {
  const ingest = (body: Record<string, unknown>, token = manager.token) =>
    server.call<TakenIn>("POST", "/api/v1/kb/ingest", { token, body });

  test("are searchable when `wait` answers, and an external id replaces", async () => {
    const items = [
      { text: "The lighthouse keeper is called Marlow.", title: "Keeper", external_id: "k1" },
      { text: "Ferries leave at noon.", title: "Ferries" },
    ];
    const first = await ingest({ collection: "Island", create: true, items, wait: 30, tags: ["isle"] });
    expect(first.status).toBe(200);
    expect(first.data.documents.map(({ status, result }) => [status, result])).toEqual([
      ["indexed", "created"],
      ["indexed", "created"],
    ]);
    const [found] = await texts("lighthouse keeper", reader.token, "default:island");
    expect(found).toMatchObject({ title: "Keeper", text: "The lighthouse keeper is called Marlow." });

    const again = await ingest({
      collection: "default:island",
      items: [{ text: "The lighthouse keeper is called Ines.", title: "Keeper", external_id: "k1" }],
      wait: 30,
    });
    expect(again.data.documents[0]).toMatchObject({ id: first.data.documents[0]?.id, version: 2, result: "updated" });
    const now = await texts("lighthouse keeper", reader.token, "default:island");
    expect(now.map(({ text }) => text)).toEqual(["The lighthouse keeper is called Ines."]);

    const twin = await ingest({
      collection: "Island",
      items: [{ text: "Ferries leave at one.", title: "Ferries" }],
      wait: 30,
    });
    expect(twin.data.documents[0]).toMatchObject({ name: "Ferries (2).md", result: "created" });
  });

  test("refuse what contradicts itself, private addresses, and say what is not there yet", async () => {
    const into = { collection: "Island" };
    const cases: [Record<string, unknown>, number][] = [
      [{ ...into, items: [] }, 422],
      [{ ...into, items: [{ title: "nothing" }] }, 422],
      [{ ...into, items: [{ text: "a", url: "https://example.org" }] }, 422],
      [
        {
          ...into,
          items: [
            { text: "a", external_id: "x" },
            { text: "b", external_id: "x" },
          ],
        },
        422,
      ],
      [{ ...into, items: [{ url: "http://127.0.0.1/secret" }] }, 422],
      [{ ...into, items: [{ url: "file:///etc/passwd" }] }, 422],
      [{ ...into, items: [{ file_id: crypto.randomUUID() }] }, 503],
      [{ collection: "No such", items: [{ text: "a" }] }, 404],
    ];
    for (const [body, status] of cases) {
      const answer = await ingest(body);
      expect([JSON.stringify(body), answer.status]).toEqual([JSON.stringify(body), status]);
    }
    expect((await ingest({ ...into, items: [{ text: "a" }] }, reader.token)).status).toBe(403);
  });
});

describe("who may read", () => {
  test("the nearest rule counts, at once; a title may be known where the text may not; denied opens are audited", async () => {
    const one = await made("Staff");
    const { documents } = await uploaded(one.id, { "pay.md": "# Pay\n\nThe bonus is seven." }, { path: "hr/pay" });
    const id = documents[0]?.id ?? "";
    expect(await texts("bonus", reader.token, one.id)).toHaveLength(1);
    const folder = "/api/v1/kb/default/folders/Staff/hr";
    const set = (body: unknown) => server.call("PUT", `${folder}/permissions`, { token: manager.token, body });

    expect((await set({ access: "user_based", users: [reader.userId] })).status).toBe(200);
    expect(await texts("bonus", reader.token, one.id)).toHaveLength(1);
    expect(await texts("bonus", stranger.token, one.id)).toHaveLength(0);
    expect((await server.call("GET", `/api/v1/kb/documents/${id}`, { token: stranger.token })).status).toBe(404);

    await set({ access: "user_based", users: [reader.email.toUpperCase()], index_visibility: "all" });
    const title = await server.call<Document>("GET", `/api/v1/kb/documents/${id}`, { token: stranger.token });
    expect(title.data).toMatchObject({ title: "Pay", accessible: false });
    const open = (token: string, what = "content") =>
      server.call("GET", `/api/v1/kb/documents/${id}/${what}`, { token });
    expect((await open(stranger.token)).status).toBe(403);
    expect((await open(stranger.token, "chunks")).status).toBe(403);
    expect((await open(reader.token)).status).toBe(200);
    const denied = await rows("select 1 from audit_log where resource_id = $1 and result = 'denied'", [id]);
    expect(denied).toHaveLength(2);

    const decided = (token: string) => server.call<Record<string, unknown>>("GET", `${folder}/pay/access`, { token });
    expect((await decided(reader.token)).data).toEqual({
      allowed: true,
      reason: "user_based",
      matched_rule: "hr",
      index_visible: true,
    });
    expect((await decided(stranger.token)).data).toMatchObject({ allowed: false, index_visible: true });
    expect((await decided(admin)).data).toMatchObject({ allowed: true, reason: "admin" });

    // The document's own rule is nearer than the folder's.
    const own = `/api/v1/kb/documents/${id}/access`;
    await server.call("PUT", own, { token: manager.token, body: { level: "authenticated" } });
    expect(await texts("bonus", stranger.token, one.id)).toHaveLength(1);
    await server.call("DELETE", own, { token: manager.token });
    expect((await open(stranger.token)).status).toBe(403);

    // A rule without a level that cuts the chain closes what is below.
    await server.call("PUT", `${folder}/pay/permissions`, { token: manager.token, body: { inherit_parent: false } });
    expect((await open(reader.token)).status).toBe(404);
    expect((await documentOf(id)).effective_access.level).toBe("none");
  });

  test("rules for groups by name; unknown words are refused; the rule set can be exported and taken in again", async () => {
    const one = await made("Grouped", { default_access: "none" });
    await uploaded(one.id, { "plan.md": "# Plan\n\nThe otter project begins." });
    const path = "/api/v1/kb/default/folders/Grouped/permissions";
    const put = (body: unknown) => server.call("PUT", path, { token: manager.token, body });
    const encoded = "/api/v1/kb/default/folders/Staff%2Fhr%2Fpay/permissions";
    const deep = await server.call<{ folder: string }>("GET", encoded, { token: manager.token });
    expect(deep.data.folder).toBe("Staff/hr/pay");
    for (const address of [encoded, "/api/v1/kb/default/folders/Staff/hr/pay/permissions"]) {
      const refused = await server.call("GET", address, { token: reader.token });
      expect([refused.status, refused.error?.details["required"]]).toEqual([403, "kb:write"]);
    }
    expect((await server.call("GET", "/api/v1/kb/default/folders/Staff", { token: manager.token })).status).toBe(404);
    const bad = await put({ access: "group_based", groups: ["Nobodies"], roles: ["no_role"], users: ["x"] });
    expect(bad.status).toBe(422);
    const faults = (bad.error?.details["fields"] ?? []) as { path: string }[];
    expect(faults.map(({ path: at }) => at).sort()).toEqual(["groups", "roles", "users"]);
    expect((await put({ roles: ["user"] })).status).toBe(422);
    expect((await put({ access: "role_based", roles: ["guest"] })).status).toBe(200);
    // Everybody with an account inherits `guest`.
    expect(await texts("otter", stranger.token, one.id)).toHaveLength(1);
    expect((await put({ access: "group_based", groups: ["Managers"] })).status).toBe(200);
    expect((await server.call("GET", `/api/v1/kb/collections/${one.id}`, { token: stranger.token })).status).toBe(404);

    const exported = await server.call<string>("GET", "/api/v1/kb/default/permissions/export", {
      token: manager.token,
    });
    expect(exported.data).toContain("Grouped:");
    const { knowledge, bots } = server.services;
    const bot = await bots.directory.find(null);
    const { systemContext } = await import("../../src/core/context.ts");
    const ctx = systemContext(["*"], "test");
    await knowledge.permissions.applyFile(ctx, bot?.row.id ?? "", exported.data);
    const rule = await server.call<{ access: string; groups: string[] }>("GET", path, { token: manager.token });
    expect(rule.data).toMatchObject({ access: "group_based", groups: ["Managers"] });
    // One unknown word refuses the whole file, and the old rules stay.
    const broken = exported.data.replace("group_based", "grouped");
    expect(
      await knowledge.permissions.applyFile(ctx, bot?.row.id ?? "", broken).catch((error: unknown) => String(error)),
    ).toContain("is none of");
    expect((await server.call("GET", path, { token: reader.token })).status).toBe(403);
    expect((await server.call<{ access: string }>("GET", path, { token: manager.token })).data.access).toBe(
      "group_based",
    );
  });
});

describe("documents", () => {
  test("content is served in ranges, as a download in a sandbox, with its state", async () => {
    const one = await made("Ranges");
    const { documents } = await uploaded(one.id, { "tën.txt": "0123456789" });
    const path = `${server.url}/api/v1/kb/documents/${documents[0]?.id}/content`;
    const get = (headers: Record<string, string>) =>
      fetch(path, { headers: { authorization: `Bearer ${reader.token}`, ...headers } });
    const whole = await get({});
    expect(await whole.text()).toBe("0123456789");
    expect(whole.headers.get("content-disposition")).toContain("filename*=UTF-8''t%C3%ABn.txt");
    expect(whole.headers.get("content-security-policy")).toContain("sandbox");
    const part = await get({ range: "bytes=2-4" });
    expect([part.status, part.headers.get("content-range"), await part.text()]).toEqual([206, "bytes 2-4/10", "234"]);
    expect(await (await get({ range: "bytes=-3" })).text()).toBe("789");
    expect(await (await get({ range: "bytes=8-99" })).text()).toBe("89");
    const beyond = await get({ range: "bytes=10-" });
    expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, "bytes */10"]);
    const etag = whole.headers.get("etag") ?? "";
    expect((await get({ "if-none-match": etag })).status).toBe(304);
  });

  test("are found by folder, tag, state and words, in a stable order", async () => {
    const one = await made("Shelf");
    await uploaded(
      one.id,
      { "b.md": "# Bee\n\nx", "a.md": "# Ant\n\nxx" },
      { path: "insects", tags: "small,six legs" },
    );
    await uploaded(one.id, { "c.pdf": pdfEncrypted() });
    const list = async (query: string) => {
      const path = `/api/v1/kb/documents?collection_id=${one.id}&${query}`;
      const found = await server.call<{ documents: Document[]; total: number }>("GET", path, { token: reader.token });
      expect(found.error).toBeNull();
      return found.data.documents.map(({ name }) => name);
    };
    expect(await list("sort=name&order=asc")).toEqual(["a.md", "b.md", "c.pdf"]);
    expect(await list("sort=bytes&order=asc&limit=1")).toEqual(["b.md"]);
    expect(await list("path=insects&sort=name&order=asc")).toEqual(["a.md", "b.md"]);
    expect(await list("tag=six%20legs&q=bee")).toEqual(["b.md"]);
    expect(await list("status=failed")).toEqual(["c.pdf"]);
    expect(await list("mime=application/pdf")).toEqual(["c.pdf"]);
  });

  test("moving keeps the passages as they are; a taken place is refused", async () => {
    const from = await made("From");
    const to = await made("To");
    const { documents } = await uploaded(from.id, { "m.md": "# M\n\nThe marmot sleeps." });
    const id = documents[0]?.id ?? "";
    await uploaded(to.id, { "m.md": "# M\n\nAnother one." });
    const change = (body: unknown) =>
      server.call<Document>("PATCH", `/api/v1/kb/documents/${id}`, { token: manager.token, body });
    const before = await rows<{ id: string }>("select id from kb_chunks where document_id = $1", [id]);
    expect((await change({ collection_id: to.id })).error?.details["reason"]).toBe("name_taken");
    const moved = await change({ collection_id: to.id, path: "winter", title: "Sleep", tags: ["cold"] });
    expect(moved.data).toMatchObject({ path: "winter", title: "Sleep", tags: ["cold"], version: 1 });
    expect(await rows("select id from kb_chunks where document_id = $1", [id])).toEqual(before);
    expect(await texts("marmot", reader.token, from.id)).toHaveLength(0);
    expect(await texts("marmot", reader.token, to.id)).toMatchObject([{ title: "Sleep" }]);
  });

  test("are out of every search when the deletion is answered, one or many", async () => {
    const one = await made("Doomed");
    const files = Object.fromEntries(
      Array.from({ length: 12 }, (_, at) => [`${at}.md`, `# ${at}\n\nThe dodo ${at} walks.`]),
    );
    const { documents } = await uploaded(one.id, files, { path: "birds" });
    expect(await texts("dodo", reader.token, one.id)).toHaveLength(10);
    const first = await server.call("DELETE", `/api/v1/kb/documents/${documents[0]?.id}`, { token: manager.token });
    expect(first.status).toBe(204);
    expect((await texts("dodo 0", reader.token, one.id)).map(({ text }) => text)).not.toContain("The dodo 0 walks.");
    const remove = (body: unknown) =>
      server.call<{ deleted: number }>("POST", "/api/v1/kb/documents/delete", { token: manager.token, body });
    expect((await remove({})).status).toBe(422);
    expect((await remove({ filter: {} })).status).toBe(422);
    expect((await remove({ ids: [documents[1]?.id, documents[2]?.id] })).data).toEqual({ deleted: 2 });
    expect((await remove({ filter: { collection_id: one.id, path: "birds" } })).data).toEqual({ deleted: 9 });
    expect(await texts("dodo", reader.token, one.id)).toHaveLength(0);
    const seen = await server.call<Collection>("GET", `/api/v1/kb/collections/${one.id}`, { token: manager.token });
    expect(seen.data).toMatchObject({ status: "empty", chunks_count: 0, vectors_count: 0 });
  });
});

describe("jobs", () => {
  test("re-indexing makes a new version without a gap; without force only what has changed", async () => {
    const one = await made("Again");
    const { documents } = await uploaded(one.id, { "a.md": "# A\n\nThe newt swims." });
    const id = documents[0]?.id ?? "";
    const run = async (path: string, body?: unknown) => {
      const answer = await server.call<{ job_id: string }>("POST", path, { token: manager.token, body });
      expect([path, answer.status]).toEqual([path, 202]);
      return ended(answer.data.job_id);
    };
    expect(await run(`/api/v1/kb/collections/${one.id}/reindex`, {})).toMatchObject({
      status: "completed",
      documents_total: 0,
    });
    expect(await run(`/api/v1/kb/collections/${one.id}/reindex`, { force: true })).toMatchObject({ documents_done: 1 });
    expect(await run(`/api/v1/kb/documents/${id}/reindex`)).toMatchObject({ documents_done: 1, documents_failed: 0 });
    expect((await documentOf(id)).version).toBe(3);
    expect(await texts("newt", reader.token, one.id)).toHaveLength(1);
    expect(await run("/api/v1/kb/reindex", { bot_id: "default" })).toMatchObject({ status: "completed" });
    const stats = await server.call<Record<string, unknown>>("GET", `/api/v1/kb/collections/${one.id}/stats`, {
      token: reader.token,
    });
    expect(stats.data).toMatchObject({ vectors_count: 1, points_count: 1, segments_count: null, status: "green" });
    const all = await server.call<{ queue_length: number; embedding_model: string; total_vectors: number }>(
      "GET",
      "/api/v1/kb/stats",
      { token: manager.token },
    );
    expect(all.data).toMatchObject({ queue_length: 0, embedding_model: "lexical-v1" });
    expect(all.data.total_vectors).toBeGreaterThan(0);
  });

  test("are seen by who started them and by managers; a cancelled one keeps what is finished, the rest can be done again", async () => {
    const one = await made("Cancelled");
    const path = `/api/v1/kb/collections/${one.id}/documents`;
    // Long texts, so that the job is still at work when it is cancelled.
    const long = (at: number) =>
      Array.from({ length: 3_000 }, (_, line) => `Line ${line} of text ${at} tells of herring.`).join("\n");
    const files = Object.fromEntries(Array.from({ length: 12 }, (_, at) => [`${at}.txt`, long(at)]));
    const answer = await server.call<TakenIn>("POST", path, { token: manager.token, body: form(files) });
    const jobId = answer.data.job_id ?? "";
    expect((await server.call("GET", `/api/v1/kb/jobs/${jobId}`, { token: reader.token })).status).toBe(404);
    const cancelled = await server.call<Job>("POST", `/api/v1/kb/jobs/${jobId}/cancel`, { token: manager.token });
    expect(cancelled.status).toBe(200);
    const job = await ended(jobId);
    expect(job.status).toBe("cancelled");
    expect(job.documents_done + job.documents_failed).toBe(12);
    expect(job.errors.every(({ code }) => code === "cancelled")).toBe(true);
    const again = await server.call("POST", `/api/v1/kb/jobs/${jobId}/cancel`, { token: manager.token });
    expect([again.status, again.error?.details["reason"]]).toEqual([409, "job_ended"]);
    const open = await rows(
      "select 1 from kb_documents where collection_id = $1 and status not in ('indexed', 'failed')",
      [one.id],
    );
    expect(open).toHaveLength(0);
    const retry = await server.call<{ job_id: string }>("POST", `/api/v1/kb/collections/${one.id}/reindex`, {
      token: manager.token,
      body: {},
    });
    expect(await ended(retry.data.job_id)).toMatchObject({
      status: "completed",
      documents_total: job.documents_failed,
      documents_failed: 0,
    });
    const seen = await server.call<Collection>("GET", `/api/v1/kb/collections/${one.id}`, { token: manager.token });
    expect(seen.data).toMatchObject({ status: "ready", documents_count: 12, failed_count: 0 });
    const doubled = await rows(
      `select d.id from kb_documents d join kb_chunks c on c.document_id = d.id where d.collection_id = $1
       group by d.id, d.chunks_count, d.visible_version having count(*) <> d.chunks_count or min(c.version) <> d.visible_version`,
      [one.id],
    );
    expect(doubled).toHaveLength(0);
    const listed = await server.call<{ jobs: Job[]; total: number }>("GET", "/api/v1/kb/jobs?status=cancelled", {
      token: manager.token,
    });
    expect(listed.data.jobs.map(({ job_id }) => job_id)).toContain(jobId);
    const own = await server.call<{ total: number }>("GET", "/api/v1/kb/jobs", { token: reader.token });
    expect(own.data.total).toBe(0);
  });
});

test("the nightly sweep takes away passages of no version and leaves the visible ones", async () => {
  const one = await made("Swept");
  const { documents } = await uploaded(one.id, { "a.md": "# A\n\nThe broom stands here." });
  await rows(
    `insert into kb_chunks (id, document_id, collection_id, version, ordinal, text, char_start, char_end, tokens, terms)
     select gen_random_uuid(), document_id, collection_id, 99, 0, text, 0, 1, 1, terms from kb_chunks where document_id = $1`,
    [documents[0]?.id],
  );
  expect(await server.services.knowledge.indexing.sweep()).toMatchObject({ orphans: 1 });
  expect(await rows("select version from kb_chunks where document_id = $1", [documents[0]?.id])).toEqual([
    { version: 1 },
  ]);
  expect(await texts("broom", reader.token, one.id)).toHaveLength(1);
});

test("the default bot knows about the product, once, and a deleted collection stays deleted", async () => {
  const { knowledge } = server.services;
  const about = await rows<{ id: string; name: string; chunks: number }>(
    "select id, name, chunks_count as chunks from kb_collections where name_key = 'about'",
  );
  expect(about).toHaveLength(1);
  const answer = await server.call<{ answer: string; citations: { title: string }[] }>("POST", "/api/v1/kb/answer", {
    token: reader.token,
    body: { question: "How do I add documents?", collections: ["default:about"] },
  });
  expect(answer.data.answer).toContain("To add documents, sign in");
  expect(answer.data.citations[0]?.title).toBe("Adding documents");
  await Promise.all([knowledge.seed(), knowledge.seed()]);
  const after = await rows("select id, name, chunks_count as chunks from kb_collections where name_key = 'about'");
  expect(after).toEqual(about);
  await rows("update kb_seeds set sha256 = 'an older state'");
  await Promise.all([knowledge.seed(), knowledge.seed()]);
  const count = await rows("select count(*)::int as documents from kb_documents where collection_id = $1", [
    about[0]?.id,
  ]);
  expect(count).toEqual([{ documents: 6 }]);
  await server.call("DELETE", "/api/v1/kb/collections/default:about", { token: manager.token });
  await rows("update kb_seeds set sha256 = 'an older state'");
  await knowledge.seed();
  expect(await rows("select 1 from kb_collections where name_key = 'about'")).toHaveLength(0);
});

test(
  "kill -9 in the middle of 200 files: after the restart the job ends, nothing is missing, nothing is doubled",
  async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "botserver-kill-"));
    afterAll(() => rmSync(dataDir, { recursive: true, force: true }));
    const env = {
      HOST: "127.0.0.1",
      PORT: "0",
      DATA_DIR: dataDir,
      ADMIN_EMAIL: "admin@example.org",
      ADMIN_PASSWORD: "correct horse battery staple",
      RATE_LIMIT_ADMIN: "0",
    };
    const child = await startProcess({ command: serverCommand.source, env, timeoutMs: 60_000 });
    const call = async <Data>(method: string, path: string, token: string, body?: FormData | object): Promise<Data> => {
      const isForm = body instanceof FormData;
      const answer = await fetch(`${child.url}${path}`, {
        method,
        headers: {
          ...(token === "" ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined || isForm ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
      });
      return ((await answer.json()) as { data: Data }).data;
    };
    const credentials = { email: env.ADMIN_EMAIL, password: env.ADMIN_PASSWORD };
    const { access_token: token } = await call<{ access_token: string }>("POST", "/api/v1/auth/login", "", credentials);
    const collection = await call<Collection>("POST", "/api/v1/kb/collections", token, { name: "Many" });
    const content = (at: number) =>
      `# File ${at}\n\n${Array.from({ length: 60 }, (_, line) => `Sentence ${line} of file ${at} stands here.`).join(" ")}`;
    const jobs: string[] = [];
    for (const half of [0, 1]) {
      const names = Array.from({ length: 100 }, (_, at) => half * 100 + at);
      const files = Object.fromEntries(names.map((at) => [`file-${at}.md`, content(at)]));
      const path = `/api/v1/kb/collections/${collection.id}/documents`;
      const { job_id } = await call<TakenIn>("POST", path, token, form(files));
      if (job_id !== null) jobs.push(job_id);
    }
    // Some are done, most are not: the moment to pull the plug.
    for (;;) {
      const seen = await call<{ total: number }>("GET", "/api/v1/kb/documents?status=indexed&limit=1", token);
      if (seen.total > 20) break;
    }
    await child.kill9();

    const restarted = await startTestServer({ DATA_DIR: dataDir });
    const { database } = restarted.engines;
    const [left] = await database.query<{ open: number }>(
      "select count(*)::int as open from kb_documents where collection_id = $1 and status <> 'indexed'",
      [collection.id],
    );
    expect(left?.open).toBeGreaterThan(0);
    // What the killed process held is free when its lease is over.
    restarted.clock.advance(70_000);
    const again = await restarted.signIn();
    for (const id of jobs) {
      expect(await ended(id, restarted, again)).toMatchObject({
        status: "completed",
        documents_total: 100,
        documents_done: 100,
        documents_failed: 0,
      });
    }
    const whole = await database.query(
      `select count(*)::int as documents, count(distinct name)::int as names, sum(chunks_count)::int as chunks
       from kb_documents where collection_id = $1 and status = 'indexed' and version = 1 and visible_version = 1`,
      [collection.id],
    );
    const [perFile] = await database.query<{ chunks: number }>(
      "select chunks_count as chunks from kb_documents where collection_id = $1 and name = 'file-0.md'",
      [collection.id],
    );
    const [chunks] = await database.query<{ rows: number; ids: number; vectors: number }>(
      `select count(*)::int as rows, count(distinct (document_id, ordinal))::int as ids,
         (select count(*)::int from kb_vectors where collection_id = $1) as vectors
       from kb_chunks where collection_id = $1`,
      [collection.id],
    );
    const [stored] = await database.query<{ chunks: number }>(
      "select chunks_count as chunks from kb_collections where id = $1",
      [collection.id],
    );
    const total = chunks?.rows ?? 0;
    expect(whole).toEqual([{ documents: 200, names: 200, chunks: total }]);
    expect(chunks).toEqual({ rows: total, ids: total, vectors: total });
    expect(stored?.chunks).toBe(total);
    expect(perFile?.chunks).toBeGreaterThan(1);
  },
  { timeout: 120_000 },
);
