// The version of the package that this code belongs to.

import { readFileSync } from "node:fs";

/** Reads package.json, which lies beside src/ and dist/ alike. */
export function packageVersion(): string {
  const file = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
