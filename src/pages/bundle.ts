// Makes the pages: bundles markup, styles and scripts, names every asset by its content, packs all of it into one file.
// Runs at the build for the binary and at the start from source; never in the binary.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { PACK_NAME, packPages } from "./pack.ts";
import type { PageFile } from "./pack.ts";

const HERE = fileURLToPath(new URL(".", import.meta.url));

/** Page by address → its markup's file. */
const PAGES: Record<string, string> = {
  "/": "chat/chat.html",
  "/setup": "setup/setup.html",
  "/docs": "docs/docs.html",
  "/auth/login": "login/login.html",
};

const WORTH_ZIPPING = /^(text\/|application\/(javascript|json)|image\/svg)/;
/** Pages of fewer bytes fit into one packet as they are. */
const ZIP_FROM_BYTES = 1400;

function file(path: string, bytes: Uint8Array<ArrayBuffer>, type: string, immutable: boolean): PageFile {
  const zipped =
    WORTH_ZIPPING.test(type) && bytes.length >= ZIP_FROM_BYTES ? new Uint8Array(gzipSync(bytes, { level: 9 })) : null;
  const etag = `"${new Bun.CryptoHasher("sha256").update(bytes).digest("base64url").slice(0, 22)}"`;
  return { path, body: bytes, gzip: zipped, type, etag, immutable };
}

/** Bundles everything anew and gives the files by their addresses; throws when a source does not compile. */
export async function buildPages(): Promise<PageFile[]> {
  const shared = { root: HERE, target: "browser", minify: true, sourcemap: "none", publicPath: "/assets/" } as const;
  const pages = await Bun.build({
    ...shared,
    entrypoints: Object.values(PAGES).map((name) => join(HERE, name)),
    splitting: true,
    naming: { entry: "[hash]-[name].[ext]", chunk: "[hash]-[name].[ext]", asset: "[hash]-[name].[ext]" },
  });
  const widget = await Bun.build({ ...shared, entrypoints: [join(HERE, "widget/widget.ts")], format: "iife" });
  const files: PageFile[] = [];
  const addresses = new Map(Object.entries(PAGES).map(([address, name]) => [name.replace(/^.*\//, ""), address]));
  for (const output of pages.outputs) {
    const name = output.path.replace(/^.*\//, "");
    const bytes = new Uint8Array(await output.arrayBuffer());
    const type = output.type.replace(/;charset=/, "; charset=");
    const address = type.startsWith("text/html") ? addresses.get(name.replace(/^[^-]*-/, "")) : `/assets/${name}`;
    if (address === undefined) throw new Error(`The bundle holds a page without an address: ${name}`);
    files.push(file(address, bytes, type, address.startsWith("/assets/")));
  }
  const script = widget.outputs[0];
  if (!script) throw new Error("The widget was not bundled.");
  // A stable address, which other sites have in their markup: short-lived, checked again by its ETag.
  files.push(
    file("/assets/widget.js", new Uint8Array(await script.arrayBuffer()), "text/javascript; charset=utf-8", false),
  );
  return files;
}

/** Bundles the pages into `folder` as one file, which the build embeds and `openPages` reads. */
export async function bundlePages(folder: string): Promise<void> {
  await Bun.write(join(folder, PACK_NAME), packPages(await buildPages()));
}
