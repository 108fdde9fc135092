// The application that a worker serves: a module of the user's that registers methods and hooks.

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { HoldfastError } from "../base/errors.ts";
import type { HoldfastServer } from "../server/server.ts";

/** Loads an ES module and calls its default export. Rejects with HOLDFAST_WORKER_FAILED. */
export async function setUpApplication(file: string, server: HoldfastServer): Promise<void> {
  const path = resolve(file);
  let setUp: unknown;
  try {
    const loaded = (await import(pathToFileURL(path).href)) as { readonly default?: unknown };
    setUp = loaded.default;
  } catch (error) {
    throw failed(`cannot load the application ${path}: ${(error as Error).message}`, error);
  }
  if (typeof setUp !== "function") {
    throw failed(`the application ${path} has no default export that is a function`, null);
  }
  try {
    await (setUp as (server: HoldfastServer) => unknown)(server);
  } catch (error) {
    throw failed(`the application ${path} failed: ${(error as Error).message}`, error);
  }
}

function failed(text: string, cause: unknown): HoldfastError {
  return new HoldfastError("HOLDFAST_WORKER_FAILED", text, { cause });
}
