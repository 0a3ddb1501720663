// Which version this is: the package's, and the commit it was built from.

import { version as packageVersion } from "../../package.json";
import { readOptions } from "./help.ts";

/** Put in by the build; not there from source. */
declare const BUILD_COMMIT: string | undefined;

/** Version of the package, such as 0.1.0. */
export const version: string = packageVersion;

/** Short commit that the binary was built from; null from source. */
export const commit: string | null = typeof BUILD_COMMIT === "string" && BUILD_COMMIT !== "" ? BUILD_COMMIT : null;

/** `botserver 0.1.0 (1a2b3c4, Bun 1.4.5, linux x64)`. */
export function versionLine(): string {
  const parts = [...(commit ? [commit] : []), `Bun ${Bun.version}`, `${process.platform} ${process.arch}`];
  return `botserver ${version} (${parts.join(", ")})\n`;
}

export async function run(args: string[]): Promise<number> {
  readOptions("version", args, {});
  await Bun.write(Bun.stdout, versionLine());
  return 0;
}
