// The commands that ask a running server, or order it: stats, connections, drain, kick, reload.

import type { Command } from "commander";
import { HoldfastError } from "../base/errors.ts";
import { CONFIG_FILE_FLAG, CONFIG_FILE_VARIABLE } from "../config/option-names.ts";
import { resolveOptions } from "../config/resolve.ts";
import { AdminClient } from "./admin-client.ts";
import type { ExitCode } from "./exit-code.ts";
import type { OPERATOR_RUNS as RUNS, Values } from "./operator-run.ts";
import type { Terminal } from "./terminal.ts";

const ABOUT_ADDRESS = `
The server's admin listener is looked for where the options of \`holdfast serve\` put it: give the
same file (${CONFIG_FILE_FLAG}), environment and flags, or its address with --admin.

Exit codes: 0 it was answered; 1 nobody answered, or it failed; 2 the command line or an option is
wrong.`;

export function addOperatorCommands(
  program: Command,
  terminal: Terminal,
  end: (code: ExitCode) => void,
): void {
  const add = (word: keyof typeof RUNS, argument: string, about: string): Command =>
    addressFlags(program.command(`${word}${argument}`).description(about))
      .option("--json", "print the answer as JSON")
      .addHelpText("after", ABOUT_ADDRESS)
      .action(async (...given: unknown[]) => {
        const command = given.at(-1) as Command;
        const values = command.opts<Values>();
        const client = new AdminClient(addressOf(values, terminal));
        // Loaded when it is wanted: --help and serve do without.
        const { OPERATOR_RUNS } = await import("./operator-run.ts");
        end(await OPERATOR_RUNS[word]({ client, values, terminal }, command.args[0] ?? ""));
      });
  add("stats", "", "Show a running server in numbers.").option(
    "--worker <number>",
    "of one worker alone, by its number in the table's column worker",
  );
  add("connections", " [id]", "Show connections that stand out, or one by its id.")
    .option("--sort <queue|age|bytes>", "what comes first")
    .option("--limit <number>", "how many: 1 to 1000")
    .option("--state <state>", "only those that are accepted, handshaking, active, idle or closing")
    .option("--transport <transport>", "only those on tcp-epoll, tcp-net or websocket");
  add("drain", "", "Stop a running server in order, as SIGTERM does.").option(
    "--now",
    "end at once what is left, as a second SIGTERM does",
  );
  add("kick", " <id>", "Disconnect one connection; it is told to come back.");
  add("reload", "", "Replace every worker by a new one, slot by slot, as SIGHUP does.").option(
    "--wait",
    "until it is over; exit with 1 where it failed",
  );
}

function addressFlags(command: Command): Command {
  return command
    .option(`${CONFIG_FILE_FLAG} <file>`, `the server's file; or set ${CONFIG_FILE_VARIABLE}`)
    .option("--admin <address>", "such as http://127.0.0.1:7402")
    .option("--admin-host <text>", "the server's admin.host")
    .option("--admin-port <number>", "the server's admin.port");
}

function addressOf(values: Values, terminal: Terminal): string {
  const { admin, config, adminHost, adminPort } = values;
  if (typeof admin === "string") return admin;
  const flags = {
    ...(typeof adminHost === "string" ? { "--admin-host": adminHost } : {}),
    ...(typeof adminPort === "string" ? { "--admin-port": adminPort } : {}),
  };
  const file = typeof config === "string" ? { file: config } : {};
  const { options } = resolveOptions({ env: terminal.env, flags, ...file });
  const { enabled, host, port } = options.admin;
  if (!enabled || port === 0) {
    const why = enabled ? "admin.port is 0, which takes any port" : "admin.enabled is false";
    throw new HoldfastError("HOLDFAST_OPTIONS_INVALID", `${why}: say with --admin where to ask`);
  }
  // What listens on every address is asked on loopback.
  const name = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `http://${name.includes(":") ? `[${name}]` : name}:${port}`;
}
