// Names and folders of documents as they may be: pure checks of input.

import { invalid } from "../../core/errors.ts";

const NAME_LENGTH_MAX = 255;
const PATH_LENGTH_MAX = 1024;
const PATH_DEPTH_MAX = 32;
// eslint-disable-next-line no-control-regex -- control characters are what it finds
const CONTROLS = /[\u0000-\u001f\u007f]/;

/** A file's own name without folders; throws 422 for what is no name, and for files of secrets. */
export function checkedName(raw: string): string {
  const name = (raw.split(/[\\/]/).at(-1) ?? "").normalize("NFC").trim();
  const refuse = (message: string, reason?: string) => invalid([{ path: "name", message }], reason);
  if (name === "" || name === "." || name === "..") throw refuse("is missing");
  if (CONTROLS.test(name) || !name.isWellFormed()) throw refuse("holds characters that no name has");
  if (Buffer.byteLength(name) > NAME_LENGTH_MAX) throw refuse(`is longer than ${NAME_LENGTH_MAX} bytes`);
  if (/^\.env(?:\..*)?$/i.test(name)) throw refuse("files of secrets are never taken in", "env_file");
  return name;
}

/** A folder inside a collection, without slashes at its ends; empty for the top. */
export function checkedPath(raw: string): string {
  const parts = raw
    .normalize("NFC")
    .split("/")
    .map((part) => part.trim())
    .filter((part) => part !== "");
  const path = parts.join("/");
  const isBad =
    parts.some((part) => part === "." || part === "..") ||
    CONTROLS.test(path) ||
    !path.isWellFormed() ||
    path.length > PATH_LENGTH_MAX ||
    parts.length > PATH_DEPTH_MAX;
  if (isBad) throw invalid([{ path: "path", message: "is no folder inside a collection" }]);
  return path;
}

/** A title without its file name's suffix. */
export function titleOf(name: string): string {
  return name.replace(/(?<=.)\.[A-Za-z0-9]{1,8}$/, "");
}

/** A file name made of a title or key: `Leave policy` → `Leave policy.md`. */
export function nameFor(title: string): string {
  const plain = title
    .normalize("NFC")
    .replaceAll(/[\\/\s]+/g, " ")
    .replaceAll(new RegExp(CONTROLS, "g"), "")
    .trim()
    .slice(0, 80)
    .trim();
  return `${plain === "" || plain.startsWith(".") ? `text ${plain}`.trim() : plain}.md`;
}

/** `name` with a number before its suffix: `a.md` → `a (2).md`. */
export function numbered(name: string, number: number): string {
  const at = name.lastIndexOf(".");
  return at <= 0 ? `${name} (${number})` : `${name.slice(0, at)} (${number})${name.slice(at)}`;
}

const METADATA_BYTES_MAX = 16 * 1024;
const TAGS_MAX = 50;
const TAG_LENGTH_MAX = 100;

/** Tags without repetitions; throws 422 over the limits. */
export function checkedTags(tags: readonly string[]): string[] {
  const found = [...new Set(tags.map((tag) => tag.normalize("NFC").trim()).filter((tag) => tag !== ""))];
  if (found.length > TAGS_MAX || found.some((tag) => tag.length > TAG_LENGTH_MAX || CONTROLS.test(tag))) {
    throw invalid([{ path: "tags", message: `at most ${TAGS_MAX} words of ${TAG_LENGTH_MAX} characters` }]);
  }
  return found;
}

/** Metadata of at most 16 KiB as JSON; throws 422 above. */
export function checkedMetadata(metadata: Record<string, unknown>): Record<string, unknown> {
  const json = JSON.stringify(metadata);
  if (Buffer.byteLength(json) > METADATA_BYTES_MAX || json.includes("\\u0000")) {
    throw invalid([{ path: "metadata", message: `at most ${METADATA_BYTES_MAX} bytes of JSON` }]);
  }
  return metadata;
}
