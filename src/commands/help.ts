// What the commands are called and what they say about themselves; also how arguments that make no sense are told.

import { parseArgs } from "node:util";
import type { ParseArgsOptionsConfig } from "node:util";
import { configTable } from "../config.ts";

interface CommandText {
  usage: string;
  summary: string;
  /** Lines below the usage in the command's own help. */
  details?: string;
}

const COMMANDS = {
  serve: {
    usage: "botserver [serve]",
    summary: "migrate the database, then serve (what happens without a command)",
    details: "Prints the address, the engines in use and, while there is no admin yet, how to become one.",
  },
  migrate: {
    usage: "botserver migrate",
    summary: "bring the database up to date and exit",
    details: "Safe when several instances start at once.",
  },
  doctor: {
    usage: "botserver doctor [--health]",
    summary: "check the configuration and every configured service",
    details:
      "Exit status 1 if anything that is configured does not work.\n--health  only ask the server that runs here whether it is ready; for container health checks",
  },
  "admin create": {
    usage: "botserver admin create --email E [--password-stdin]",
    summary: "make an admin; the password is asked for",
    details: "--email E           address of the new admin\n--password-stdin    read the password from standard input",
  },
  openapi: {
    usage: "botserver openapi",
    summary: "print the OpenAPI document",
  },
  help: {
    usage: "botserver help [COMMAND]",
    summary: "show this, or more about one command",
  },
  version: {
    usage: "botserver version",
    summary: "print the version",
  },
} satisfies Record<string, CommandText>;

export type CommandName = keyof typeof COMMANDS;

/** What a command's file exports: `run` gives the exit status. */
export interface Command {
  run(args: string[]): Promise<number>;
}

/** Arguments that make no sense: exit status 2, with the help of `command`. */
export class UsageError extends Error {
  readonly command: CommandName | null;
  constructor(message: string, command: CommandName | null) {
    super(message);
    this.name = "UsageError";
    this.command = command;
  }
}

/** The command that `words` begin with, and the arguments behind it; without one it is `serve`. */
export function chooseCommand(words: readonly string[]): { name: CommandName; args: string[] } {
  const [first, second] = words;
  if (first === undefined || first.startsWith("-")) return { name: "serve", args: [...words] };
  if (isCommand(first)) return { name: first, args: words.slice(1) };
  const both = `${first} ${second}`;
  if (isCommand(both)) return { name: both, args: words.slice(2) };
  const isGroup = Object.keys(COMMANDS).some((name) => name.startsWith(`${first} `));
  throw new UsageError(
    isGroup ? `botserver ${first} needs a command behind it.` : `There is no command ${first}.`,
    null,
  );
}

function isCommand(word: string): word is CommandName {
  return Object.hasOwn(COMMANDS, word);
}

/** Options of a command; throws UsageError for what `options` does not have. */
export function readOptions<const T extends ParseArgsOptionsConfig>(command: CommandName, args: string[], options: T) {
  try {
    return parseArgs({ args, options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), command);
  }
}

/** Help for the words behind `botserver`: one command, a group of them (`admin`), or everything. */
export function helpText(words: readonly string[]): string {
  const asked = words.filter((word) => !word.startsWith("-"));
  const both = asked.slice(0, 2).join(" ");
  const name = isCommand(both) ? both : asked[0];
  if (name !== undefined && isCommand(name)) {
    const command: CommandText = COMMANDS[name];
    return `${command.usage}\n\n${capital(command.summary)}.\n${command.details ? `${command.details}\n` : ""}`;
  }
  const group = Object.entries(COMMANDS).filter(([one]) => name !== undefined && one.startsWith(`${name} `));
  if (group.length > 0) return `${commandList(group)}\n`;
  return `${overview()}
--help and --version work behind every command.

Everything is set by environment variables, or by a file .env beside the data folder; all of them are optional.

${configTable("text")}
`;
}

/** What there is to call, without the options of the environment. */
export function overview(): string {
  return `botserver, the back end of a company's bots in one program.

Commands
${commandList(Object.entries(COMMANDS))}
`;
}

/** The commands as a Markdown table. */
export function commandTable(): string {
  const rows = Object.values(COMMANDS).map(({ usage, summary }) => `| \`${usage}\` | ${summary} |`);
  return `| command | does |\n|---|---|\n${rows.join("\n")}`;
}

function commandList(commands: [string, CommandText][]): string {
  return commands.map(([, { usage, summary }]) => `  ${usage.padEnd(52)} ${summary}`).join("\n");
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** `botserver help [COMMAND]`. */
export async function run(args: string[]): Promise<number> {
  if (args.length > 0 && helpText(args) === helpText([]))
    throw new UsageError(`There is no command ${args.join(" ")}.`, null);
  await Bun.write(Bun.stdout, helpText(args));
  return 0;
}
