// The application that a worker serves: a module of the user's that registers methods and hooks.

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { HoldfastError } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import { addBuiltInMethods } from "../server/built-in-methods.ts";
import type { HoldfastServer, Server, ServerHooks } from "../server/server.ts";

export interface Application {
  readonly hooks: ServerHooks;
  /** Before the server listens. Rejects with HOLDFAST_WORKER_FAILED. */
  setUp(server: Server): Promise<void>;
}

interface ApplicationModule {
  readonly default?: unknown;
  readonly hooks?: unknown;
}

/**
 * Loads an ES module: its default export sets the server up, `hooks` are the server's. Without a
 * file it is the built-in service. Rejects with HOLDFAST_WORKER_FAILED.
 */
export async function loadApplication(file: string | null, clock: Clock): Promise<Application> {
  if (file === null) {
    return { hooks: {}, setUp: (server) => Promise.resolve(addBuiltInMethods(server, clock)) };
  }
  const path = resolve(file);
  let loaded: ApplicationModule;
  try {
    loaded = (await import(pathToFileURL(path).href)) as ApplicationModule;
  } catch (error) {
    throw failed(`cannot load the application ${path}: ${(error as Error).message}`, error);
  }
  const { default: setUp, hooks = {} } = loaded;
  if (typeof setUp !== "function") {
    throw failed(`the application ${path} has no default export that is a function`, null);
  }
  if (typeof hooks !== "object" || hooks === null) {
    throw failed(`the application ${path} exports hooks that are no object`, null);
  }
  return {
    hooks,
    async setUp(server) {
      try {
        await (setUp as (server: HoldfastServer) => unknown)(server);
      } catch (error) {
        throw failed(`the application ${path} failed: ${(error as Error).message}`, error);
      }
    },
  };
}

function failed(text: string, cause: unknown): HoldfastError {
  return new HoldfastError("HOLDFAST_WORKER_FAILED", text, { cause });
}
