// A certificate that signs itself, made by openssl for one test run.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { spawnProcess, temporaryFolder } from "./processes.ts";

export interface Certificate {
  /** PEM texts. */
  certificate: string;
  key: string;
  /** The certificate as a file, for NODE_EXTRA_CA_CERTS. */
  file: string;
  remove(): Promise<void>;
}

/** Valid for `names`, as `DNS:localhost` or `IP:127.0.0.1`, for a day. */
export async function selfSignedCertificate(...names: string[]): Promise<Certificate> {
  const folder = await temporaryFolder("certificate");
  const [file, keyFile] = [join(folder.path, "certificate.pem"), join(folder.path, "key.pem")];
  const form = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-days",
    "1",
    "-subj",
    "/CN=test",
  ];
  const extension = ["-addext", `subjectAltName=${names.join(",")}`];
  const openssl = spawnProcess({
    command: ["openssl", "req", "-x509", ...form, ...extension, "-keyout", keyFile, "-out", file],
  });
  if ((await openssl.exited) !== 0) throw new Error(`openssl failed: ${openssl.stderr()}`);
  return {
    certificate: await readFile(file, "utf8"),
    key: await readFile(keyFile, "utf8"),
    file,
    remove: () => folder.remove(),
  };
}
