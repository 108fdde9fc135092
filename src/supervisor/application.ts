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

const HOOKS: readonly string[] = [
  "onConnect",
  "onDisconnect",
  "onDrain",
] satisfies (keyof ServerHooks)[];

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
    throw failed(`cannot load the application ${path}: ${textOf(error)}${placeOf(error)}`, error);
  }
  const { default: setUp, hooks = {} } = loaded;
  if (typeof setUp !== "function") {
    throw failed(`the application ${path} has no default export that is a function`, null);
  }
  if (typeof hooks !== "object" || hooks === null) {
    throw failed(`the application ${path} exports hooks that are no object`, null);
  }
  const unknown = Object.keys(hooks).filter((name) => !HOOKS.includes(name));
  if (unknown.length > 0) {
    const text = `there is no hook ${unknown.join(", ")}; there are ${HOOKS.join(", ")}`;
    throw failed(`the application ${path}: ${text}`, null);
  }
  return {
    hooks,
    async setUp(server) {
      try {
        await (setUp as (server: HoldfastServer) => unknown)(server);
      } catch (error) {
        throw failed(`the application ${path} failed: ${textOf(error)}`, error);
      }
    },
  };
}

function failed(text: string, cause: unknown): HoldfastError {
  return new HoldfastError("HOLDFAST_WORKER_FAILED", text, { cause });
}

function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Node tells of a syntax error where it is, but not in the message. */
function placeOf(thrown: unknown): string {
  const stack = thrown instanceof SyntaxError ? (thrown.stack ?? "") : "";
  const place = /^file:\S+:\d+/.exec(stack)?.[0];
  return place === undefined ? "" : ` (${place})`;
}
