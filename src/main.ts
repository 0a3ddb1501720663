// Picks a command and gives its exit status. The only file that does something when imported.

import type { Command, CommandName } from "./commands/help.ts";
import type { FieldFault } from "./core/errors.ts";
import { isAppError } from "./core/errors.ts";
import { chooseCommand, helpText, overview, UsageError } from "./commands/help.ts";

/** Loaded when used, so that help and version need nothing of the server. */
const COMMANDS: Record<CommandName, () => Promise<Command>> = {
  serve: () => import("./commands/serve.ts"),
  migrate: () => import("./commands/migrate.ts"),
  doctor: () => import("./commands/doctor.ts"),
  "admin create": () => import("./commands/admin.ts"),
  openapi: () => import("./commands/openapi.ts"),
  help: () => import("./commands/help.ts"),
  version: () => import("./commands/version.ts"),
};

async function main(words: string[]): Promise<number> {
  try {
    if (words.some((word) => word === "--help" || word === "-h"))
      return await (await COMMANDS.help()).run(words.filter((word) => !word.startsWith("-")));
    if (words.includes("--version") || words[0] === "-v") return await (await COMMANDS.version()).run([]);
    const { name, args } = chooseCommand(words);
    return await (await COMMANDS[name]()).run(args);
  } catch (error) {
    const [status, text] = told(error);
    if (text !== "") process.stderr.write(`${text}\n`);
    return status;
  }
}

/** Exit status and text of a failure. What is not foreseen is told with its stack. */
function told(error: unknown): [number, string] {
  if (error instanceof UsageError)
    return [2, `${error.message}\n\n${error.command ? helpText(error.command.split(" ")) : overview()}`];
  if (!(error instanceof Error)) return [1, String(error)];
  if (error.name === "ConfigError" || error.name === "FolderLocked") return [1, error.message];
  // Whoever read our output has seen enough of it.
  if ("code" in error && error.code === "EPIPE") return [1, ""];
  if ("code" in error && error.code === "EADDRINUSE")
    return [1, "Another program listens on that address (HOST, PORT)."];
  if (!isAppError(error)) return [1, error.stack ?? error.message];
  const { fields } = error.details;
  const faults = Array.isArray(fields)
    ? (fields as FieldFault[]).map(({ path, message }) => `\n${path}: ${message}`)
    : [];
  const cause = error.cause instanceof Error ? ` (${error.cause.message})` : "";
  return [1, `${error.message}${cause}${faults.join("")}`];
}

process.exit(await main(process.argv.slice(2)));
