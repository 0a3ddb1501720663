// `bun run readme`: writes the generated parts of README.md and .env.example. Like the build a step of development.

import { join } from "node:path";
import { configExample, configTable } from "../config.ts";
import { commandTable } from "./help.ts";

const ROOT = join(import.meta.dir, "../..");
const parts: Record<string, string> = { commands: commandTable(), configuration: configTable("markdown") };

let readme = await Bun.file(join(ROOT, "README.md")).text();
for (const [name, text] of Object.entries(parts)) {
  const place = new RegExp(`(<!-- ${name}: [^\\n]* -->\\n)[\\s\\S]*?(<!-- /${name} -->)`);
  readme = readme.replace(place, (_, begin: string, end: string) => `${begin}${text}\n${end}`);
}
await Bun.write(join(ROOT, "README.md"), readme);
await Bun.write(join(ROOT, ".env.example"), configExample());
