// The command line of `holdfast-probe`: arguments to options, options to a run, its end to a code.
import { Command, CommanderError, Option } from "commander";
import { type ErrorCode, HoldfastError } from "../base/errors.ts";
import { packageVersion } from "../observe/package-version.ts";
import { exitCodeOf, OTHER_EXIT_CODES, OUTCOME_TABLE } from "../probe/report.ts";
import {
  capacityOptions,
  type CapacityFlags,
  doctorQuestion,
  type DoctorFlags,
  loadOptions,
  type LoadFlags,
} from "./probe-flags.ts";
import { runDoctor } from "./probe-doctor.ts";
import { type ProbeTerminal, reportOutputs, runProbe } from "./probe-run.ts";
import { addClientOptions, collect } from "./probe-client-options.ts";
import { addScenario } from "./probe-scenario.ts";
import { commanderOutput } from "./terminal.ts";

const ABOUT_EXIT_CODES = `
Exit codes:
${[...Object.values(OUTCOME_TABLE), ...Object.values(OTHER_EXIT_CODES)]
  .toSorted((a, b) => a.exitCode - b.exitCode)
  .map(({ exitCode, meaning }) => `  ${String(exitCode).padStart(3)}  ${meaning}`)
  .join("\n")}`;

/** The doctor's verdict is none on a server. */
const ABOUT_DOCTOR_EXIT_CODES = `
Exit codes:
    0  Fit: nothing fails. Warnings do not count.
    2  The command line is wrong.
   92  The target's name was not resolved.
   99  Not fit: something fails.
  104  The value of an option is invalid.`;

const DOCTOR_EXAMPLE = `
Examples:
  holdfast-probe doctor
  holdfast-probe doctor -c 100k --as server
  holdfast-probe doctor -c 50k ws://10.0.0.5:7401`;

const ABOUT_TARGETS = `
Targets: tcp://host:port  tls://host:port  ws://host:port/path  wss://host:port/path  unix:/path
Several are used in turn. Quantities: 10k, 1.5m; 250ms, 30s, 1m30s; rates per second: 5k, 50/s.`;

const CAPACITY_EXAMPLE = `
Example:
  holdfast-probe capacity ws://127.0.0.1:7401 --server-stats http://127.0.0.1:7402 \\
    --start 1k --max 100k --connect-rate 5k --hold 30s --html report.html`;

const ABOUT_THRESHOLDS = `
Thresholds: metric:aggregate operator limit [over window] [abort [after time]]
  connect, connectService, connectLateness, lateness, service, response (or echo), delivery:
    p(N), avg, med, min, max, count; limits in ms, such as 50ms
  errors, loss: rate (default), count; rate: per second; held: value (default), min, max`;

const LOAD_EXAMPLE = `
Examples:
  holdfast-probe load tcp://127.0.0.1:7400 -c 200 -R 20k -d 30s --threshold 'response:p(99)<50ms'
  holdfast-probe load ws://127.0.0.1:7401 -c 1k --stages 10s:1k,30s:10k --arrival poisson \\
    --threshold 'response:p(99)<50ms over 5s' --fault slow-reader=1%,churn=20/s`;

/** An option asks for what makes no sense, or for what this host does not have. */
const INVALID_CODES: readonly ErrorCode[] = [
  "HOLDFAST_OPTIONS_INVALID",
  "HOLDFAST_TRANSPORT_UNAVAILABLE",
];

/** Runs the command that `args` name until it ends. */
export async function runProbeCommandLine(
  args: readonly string[],
  terminal: ProbeTerminal,
): Promise<number> {
  let code = 0;
  const program = commandTree(args, terminal, (ended) => {
    code = ended;
  });
  try {
    await program.parseAsync(withoutUnknown(program, args), { from: "user" });
    return code;
  } catch (error) {
    // commander has written what is to be said, and ends --help and --version so too.
    if (error instanceof CommanderError)
      return error.exitCode === 0 ? 0 : OTHER_EXIT_CODES.usage.exitCode;
    if (!(error instanceof HoldfastError)) throw error;
    terminal.writeError(`holdfast-probe: ${error.message}\n`);
    if (INVALID_CODES.includes(error.code)) {
      return OTHER_EXIT_CODES.invalid.exitCode;
    }
    return error.code === "HOLDFAST_CONNECT_FAILED"
      ? exitCodeOf("unreachable")
      : exitCodeOf("error");
  }
}

function commandTree(
  args: readonly string[],
  terminal: ProbeTerminal,
  end: (code: number) => void,
): Command {
  const program = new Command("holdfast-probe")
    .description("How many connections, how fast, and what was the limit.")
    .version(packageVersion(), "--version", "print the version")
    .exitOverride()
    .configureOutput(commanderOutput(terminal))
    .addHelpText("after", ABOUT_EXIT_CODES);
  addDoctor(program, terminal, end);
  addCapacity(program, args, terminal, end);
  addLoad(program, args, terminal, end);
  addScenario(program, args, terminal, end).addHelpText("after", ABOUT_EXIT_CODES);
  program.showHelpAfterError("See: holdfast-probe --help");
  for (const command of program.commands) {
    command.showHelpAfterError(`See: holdfast-probe ${command.name()} --help`);
  }
  return program;
}

/** commander answers --help before it looks at the command: one that is not known stands alone. */
function withoutUnknown(program: Command, args: readonly string[]): readonly string[] {
  const name = args[0] === "help" ? args[1] : args[0];
  if (name === undefined || name.startsWith("-")) return args;
  const isKnown = program.commands.some((command) => command.name() === name);
  return isKnown || name === "help" ? args : [name];
}

function addDoctor(program: Command, terminal: ProbeTerminal, end: (code: number) => void): void {
  program
    .command("doctor")
    .description(
      "Look at this host's limits: is it fit for so many connections, and what mends it?",
    )
    .argument("[target]", "what the probe would connect to; nothing is sent to it")
    .option(
      "-c, --connections <count>",
      "connections that are wanted (default: the most at which nothing fails)",
    )
    .addOption(
      new Option(
        "--as <role>",
        'what this host is to be (default: "client" where the target is another host, else "both")',
      ).choices(["server", "client", "both"]),
    )
    .option(
      "--processes <count>",
      "server processes, and generator processes at least, that the connections are spread over " +
        "(default: one server; as many generators as the file limit asks for)",
    )
    .option("--json", "print JSON")
    .addHelpText("after", DOCTOR_EXAMPLE)
    .addHelpText("after", ABOUT_DOCTOR_EXIT_CODES)
    .action(async (target: string | undefined, flags: DoctorFlags) => {
      const question = await doctorQuestion(target, flags);
      end(runDoctor(question, flags.json === true, terminal));
    });
}

function addCapacity(
  program: Command,
  args: readonly string[],
  terminal: ProbeTerminal,
  end: (code: number) => void,
): void {
  const command = program
    .command("capacity")
    .description("Find the most connections that hold while the objectives hold, and the limit.")
    .argument("<target...>", "what to connect to")
    .option("--start <count>", "the first level", "1k")
    .option("--max <count>", "no level above this", "1m")
    .addOption(
      new Option("--search <way>", "double and narrow down, or climb by equal steps")
        .choices(["exp", "stairs"])
        .default("exp"),
    )
    .option("--step <count>", "stairs: connections per step (default: --start)")
    .option("--warm-up <count>", "connections opened and closed before the first level")
    .option("--precision <share>", "width of the last bracket", "1%")
    .option("--ping-rate <rate>", "echoes per second and connection; raw: none unless given", "0.1")
    .option("--level-hold <time>", "how long every level is held", "3s")
    .option("--hold <time>", "how long the result is confirmed, at 0.95 of it", "30s")
    .option("--slo <objectives>", "what must hold", "connect:p(99)<1s,echo:p(99)<250ms,errors<0.1%")
    .option("--at-least <count>", "fail where the result is less")
    .option("--no-scram", "go on although the server is in trouble");
  addReport(addClientOptions(command))
    .addHelpText("after", ABOUT_TARGETS)
    .addHelpText("after", CAPACITY_EXAMPLE)
    .addHelpText("after", ABOUT_EXIT_CODES)
    .action(async (targets: string[], flags: CapacityFlags, self: Command) => {
      const isGiven = (flag: string): boolean => self.getOptionValueSource(flag) === "cli";
      const options = capacityOptions(targets, flags, { argv: args, env: terminal.env }, isGiven);
      const { runCapacity } = await import("../probe/capacity.ts");
      end(
        await runProbe((context) => runCapacity(options, context), reportOutputs(flags), terminal),
      );
    });
}

function addLoad(
  program: Command,
  args: readonly string[],
  terminal: ProbeTerminal,
  end: (code: number) => void,
): void {
  const command = program
    .command("load")
    .description("Drive a server by a schedule that does not wait for it (an open loop).")
    .argument("<target...>", "what to connect to")
    .option("-c, --connections <count>", "connections", "100")
    .option(
      "-R, --rate <rate>",
      "operations per second (default: 1k); with --stages, where they begin (0)",
    )
    .option("-d, --duration <time>", "how long (default: 30s)")
    .option("--stages <stages>", "rates to go to, linearly: 1m:10k,3m:50k")
    .addOption(
      new Option("--arrival <kind>", "gaps between operations")
        .choices(["constant", "poisson"])
        .default("constant"),
    )
    .addOption(
      new Option("--traffic <kind>", "echo calls, publishes to subscribers, or nothing")
        .choices(["echo", "publish", "none"])
        .default("echo"),
    )
    .option("--topics <count>", "publish: topics, to which connections subscribe in turn", "1")
    .option("--fault <faults>", "slow-reader=1%,churn=50/s,half-open=0.1%")
    .option(
      "--threshold <threshold>",
      "such as 'response:p(99)<50ms over 10s'; repeatable",
      collect,
    )
    .option("--baseline <file>", "the JSON report of an earlier run: worse than that fails");
  addReport(addClientOptions(command))
    .addHelpText("after", ABOUT_TARGETS)
    .addHelpText("after", ABOUT_THRESHOLDS)
    .addHelpText("after", LOAD_EXAMPLE)
    .addHelpText("after", ABOUT_EXIT_CODES)
    .action(async (targets: string[], flags: LoadFlags) => {
      const options = loadOptions(targets, flags, { argv: args, env: terminal.env });
      const { runLoad } = await import("../probe/load.ts");
      end(await runProbe((context) => runLoad(options, context), reportOutputs(flags), terminal));
    });
}

/** What the scenarios decide for themselves, and how one run is reported. */
function addReport(command: Command): Command {
  return command
    .option("--connect-rate <rate>", "new connections per second", "5k")
    .option("--payload <bytes>", "of an echo or event, 16 to 60000", "64")
    .option("--json", "print the report as JSON")
    .option("--csv <file>", "write one row a second")
    .option("--html <file>", "write the report with charts, as one file");
}
