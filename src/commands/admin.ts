// `botserver admin create`: makes an admin on the configured database, which no running PGlite server may have open.

import { createApp } from "../app.ts";
import { ensureSecretKey, loadConfig } from "../config.ts";
import { systemClock } from "../core/clock.ts";
import { systemContext } from "../core/context.ts";
import { openLog } from "../core/log.ts";
import { readOptions, UsageError } from "./help.ts";
import { openEngines } from "./serve.ts";
import { version } from "./version.ts";

export async function run(args: string[]): Promise<number> {
  const { email, "password-stdin": fromStdin } = readOptions("admin create", args, {
    email: { type: "string" },
    "password-stdin": { type: "boolean" },
  });
  if (email === undefined) throw new UsageError("--email is missing.", "admin create");
  const config = loadConfig();
  const password = fromStdin ? await restOfStdin() : await askTwice();
  const log = openLog(config.logLevel, config.logFormat);
  const engines = await openEngines(config, systemClock, log, { beside: true });
  try {
    await engines.database.migrate();
    const { services } = createApp({
      config,
      secretKey: ensureSecretKey(config),
      engines,
      clock: systemClock,
      log,
      version,
      pages: { get: () => null },
    });
    await services.permissions.seed();
    const made = await services.signIn.makeAdmin(systemContext(["*"], "admin create"), email, password);
    const words = made === "made" ? "is a new admin" : "is an admin now, with the new password";
    await Bun.write(Bun.stdout, `${email} ${words}.\n`);
  } finally {
    await engines.close();
  }
  return 0;
}

/** Standard input without its last line end. */
async function restOfStdin(): Promise<string> {
  return (await Bun.stdin.text()).replace(/\r?\n$/, "");
}

async function askTwice(): Promise<string> {
  if (!process.stdin.isTTY)
    throw new UsageError("Standard input is no terminal; use --password-stdin.", "admin create");
  const password = await ask("Password: ");
  if (password !== (await ask("Once more: "))) throw new UsageError("The two differ.", "admin create");
  return password;
}

/** One line from the terminal, which does not show it. */
function ask(question: string): Promise<string> {
  const { stdin, stderr } = process;
  // Before the question: what is typed right after it must not be shown either.
  stdin.setRawMode(true);
  stderr.write(question);
  stdin.resume();
  return new Promise((resolve, reject) => {
    let typed = "";
    const end = () => {
      stdin.off("data", take);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write("\n");
    };
    const take = (chunk: Buffer) => {
      for (const key of chunk.toString("utf8")) {
        if (key === "\r" || key === "\n") {
          end();
          resolve(typed);
          return;
        }
        if (key === "\u0003" || key === "\u0004") {
          end();
          reject(new UsageError("Nothing was changed.", null));
          return;
        }
        if (key === "\u007f" || key === "\b") typed = typed.replace(/.$/su, "");
        else typed += key;
      }
    };
    stdin.on("data", take);
  });
}
