// The command line of `holdfast`: arguments to options, options to a command, its end to a code.
import { Command, CommanderError, type Help } from "commander";
import { HoldfastError } from "../base/errors.ts";
import { readConfigText } from "../config/config-text.ts";
import { readMachine } from "../config/machine.ts";
import { CONFIG_FILE_FLAG, CONFIG_FILE_VARIABLE } from "../config/option-names.ts";
import { OptionsError } from "../config/options-error.ts";
import { type OptionSources, type ResolvedOptions, resolveOptions } from "../config/resolve.ts";
import { packageVersion } from "../observe/package-version.ts";
import { EXIT, type ExitCode } from "./exit-code.ts";
import { addOperatorCommands } from "./operator-commands.ts";
import { addOptionFlags, givenFlags } from "./option-flags.ts";
import { commanderOutput, type Terminal } from "./terminal.ts";

const ABOUT_OPTIONS = `
Each option can be given in a YAML file (${CONFIG_FILE_FLAG}), as an environment variable, and as a
flag. Later ones win: default, file, environment, flag. Unknown options and values out of range
are refused before anything starts. null stands for null; lists are separated by commas.`;

const ABOUT_EXIT_CODES = `
Exit codes: 0 all went well; 1 it could not start, or failed; 2 the command line or an option
is wrong; 70 it found a defect in itself and ended at once.`;

/** Runs the command that `args` name (process.argv without its first two) until it ends. */
export async function runCommandLine(
  args: readonly string[],
  terminal: Terminal,
): Promise<ExitCode> {
  let code: ExitCode = EXIT.OK;
  const program = commandTree(terminal, (ended) => {
    code = ended;
  });
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (error) {
    // commander has written what is to be said, and ends --help and --version so too.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
    if (error instanceof OptionsError) {
      terminal.writeError(`holdfast: ${error.message}\n`);
      return EXIT.USAGE;
    }
    // A fault of ours shows its stack; what the user can put right is one line.
    if (!(error instanceof HoldfastError)) throw error;
    terminal.writeError(`holdfast: ${error.message}\n`);
    return error.code === "HOLDFAST_OPTIONS_INVALID" ? EXIT.USAGE : EXIT.FAILED;
  }
}

function commandTree(terminal: Terminal, end: (code: ExitCode) => void): Command {
  const program = new Command("holdfast")
    .description("A server that holds long-lived TCP and WebSocket connections.")
    .version(packageVersion(), "--version", "print the version")
    .exitOverride()
    .configureHelp({ formatItem: formatHelpItem })
    .configureOutput(commanderOutput(terminal))
    .addHelpText("after", ABOUT_EXIT_CODES);
  addOptionFlags(
    configFlag(program.command("serve"))
      .description("Listen, and serve until SIGTERM or SIGINT; a second signal hastens the end.")
      .addHelpText("after", ABOUT_OPTIONS)
      .addHelpText("after", ABOUT_EXIT_CODES)
      .action(async (_values, command: Command) => {
        const { runServe } = await import("./serve.ts");
        const sources = sourcesOf(command, terminal);
        end(await runServe(resolveOptions(sources), terminal, process, sources));
      }),
    "shown",
  );
  addConfigCommands(program, terminal);
  addOperatorCommands(program, terminal, end);
  return program;
}

function addConfigCommands(program: Command, terminal: Terminal): void {
  const config = program
    .command("config")
    .description("Look at options without starting anything.");
  const both = "The flags of serve are taken too.";
  addOptionFlags(
    configFlag(config.command("check"))
      .description(`Check the options and say what is set, and what this machine adds. ${both}`)
      .addHelpText("after", ABOUT_EXIT_CODES)
      .action(async (_values, command: Command) => {
        const { checkReport } = await import("./config-command.ts");
        terminal.write(checkReport(resolved(command, terminal), readMachine()));
      }),
    "hidden",
  );
  addOptionFlags(
    configFlag(config.command("print"))
      .description(`Print every option as YAML that ${CONFIG_FILE_FLAG} reads. ${both}`)
      .option("--json", "print JSON")
      .option("--origins", "say where each value came from")
      .addHelpText("after", ABOUT_EXIT_CODES)
      .action(async (values: Partial<Record<string, boolean>>, command: Command) => {
        const { printReport } = await import("./config-command.ts");
        const { json = false, origins = false } = values;
        terminal.write(printReport(resolved(command, terminal), { json, origins }));
      }),
    "hidden",
  );
}

function configFlag(command: Command): Command {
  const text = `a YAML file with options; or set ${CONFIG_FILE_VARIABLE}`;
  return command.option(`${CONFIG_FILE_FLAG} <file>`, text);
}

function resolved(command: Command, terminal: Terminal): ResolvedOptions {
  return resolveOptions(sourcesOf(command, terminal));
}

function sourcesOf(command: Command, terminal: Terminal): OptionSources {
  const { config } = command.opts<{ config?: string }>();
  const sources = { env: terminal.env, flags: givenFlags(command) };
  const file = config ?? terminal.env[CONFIG_FILE_VARIABLE];
  // Read once: what was judged is what is served, however soon it is written again.
  return file === undefined ? sources : { ...sources, file, text: readConfigText(file) };
}

// Flags are long: their meaning stands below them, not in a narrow column beside.
function formatHelpItem(
  term: string,
  termWidth: number,
  description: string,
  helper: Help,
): string {
  if (termWidth < 30) return `  ${term.padEnd(termWidth)}  ${description}`;
  const width = Math.max(40, (helper.helpWidth ?? 80) - 6);
  const text = helper.boxWrap(description, width).replaceAll("\n", "\n      ");
  return `  ${term}\n      ${text}`;
}
