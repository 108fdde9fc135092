// How a key of the option table is spelled as an environment variable and as a flag.
import type { OptionPath } from "./options.ts";

export const ENVIRONMENT_PREFIX = "HOLDFAST_";

/** The environment variable that names the configuration file. It is no option itself. */
export const CONFIG_FILE_VARIABLE = "HOLDFAST_CONFIG";

/** Read when the native addon is built and when it is loaded. They are no options. */
export const NATIVE_VARIABLES: readonly string[] = ["HOLDFAST_NATIVE", "HOLDFAST_NATIVE_ADDON"];

/** The flag that names the configuration file. */
export const CONFIG_FILE_FLAG = "--config";

/** Flags that are shorter than the option's own name. */
export const FLAG_ALIASES: { readonly [flag: string]: OptionPath } = {
  "--transport": "tcp.transport",
  "--workers": "workers.count",
  "--strict": "preflight.strict",
};

/** The words of a key in lower case: `connection.idleTimeoutMs` has four. */
export function keyWords(key: string): string[] {
  return key
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
}

/** `connection.idleTimeoutMs` is `HOLDFAST_CONNECTION_IDLE_TIMEOUT_MS`. */
export function environmentName(path: string): string {
  return ENVIRONMENT_PREFIX + keyWords(path).join("_").toUpperCase();
}

/** `connection.idleTimeoutMs` is `--connection-idle-timeout-ms`. */
export function flagName(path: string): string {
  return `--${keyWords(path).join("-")}`;
}
