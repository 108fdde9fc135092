// `holdfast-probe scenario`: the twelve scenarios by name, against a server that is started for
// them or one that is there.
import { type Command, Option } from "commander";
import { machineClock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import { planText, scaled, scenariosNamed } from "../probe/scenario-plan.ts";
import type { ScenariosReport } from "../probe/scenario-report.ts";
import { scenarioLine, scenariosText } from "../probe/scenario-text.ts";
import { SCENARIOS } from "../probe/scenarios.ts";
import { addClientOptions, collect } from "./probe-client-options.ts";
import { type ClientFlags, clientOptions } from "./probe-flags.ts";
import { type Outputs, type ProbeTerminal, runProbe } from "./probe-run.ts";

interface ScenarioFlags extends ClientFlags {
  readonly list?: boolean;
  readonly target?: readonly string[];
  readonly over: "tcp" | "websocket";
  readonly workers: string;
  readonly scale: string;
  readonly timeScale: string;
  readonly json?: boolean;
  readonly html?: string;
  readonly markdown?: string;
}

const EXAMPLES = `
Examples:
  holdfast-probe scenario all --html report.html --markdown report.md
  holdfast-probe scenario echo-steady fan-out --over websocket
  holdfast-probe scenario steady-idle --target tcp://10.0.0.5:7400 --server-stats http://10.0.0.5:7402
  holdfast-probe scenario all --scale 0.05 --time-scale 0.2`;

const SCALE_MAX = 100;
/** As `holdfast serve` has it. */
const WORKERS_MAX = 256;

export function addScenario(
  program: Command,
  args: readonly string[],
  terminal: ProbeTerminal,
  end: (code: number) => void,
): Command {
  const command = program
    .command("scenario")
    .description("Run named scenarios, good days and bad ones, each with objectives: pass or fail.")
    .argument("[names...]", "scenarios, one after the other; or all")
    .option("--list", "print the scenarios and end")
    .option(
      "--target <endpoint>",
      "a server of yours; repeatable (default: one is started)",
      collect,
    )
    .addOption(
      new Option("--over <transport>", "without --target: what the started server is probed over")
        .choices(["tcp", "websocket"])
        .default("tcp"),
    )
    .option("--workers <count>", "without --target: workers of the started server", "auto")
    .option("--scale <factor>", "connections and rates: times those of the scenario", "1")
    .option("--time-scale <factor>", "how long they are held: times as long", "1");
  return addClientOptions(command)
    .option("--json", "print the report as JSON")
    .option("--html <file>", "write the report with charts, as one file")
    .option("--markdown <file>", "write the report as Markdown")
    .addHelpText("after", EXAMPLES)
    .action(async (names: string[], flags: ScenarioFlags, self: Command) => {
      const isGiven = (flag: string): boolean => self.getOptionValueSource(flag) === "cli";
      const alone = (["over", "workers"] as const).find(isGiven);
      if (flags.target !== undefined && alone !== undefined) {
        throw invalid(`--${alone} is of a server that is started: it has no part in --target`);
      }
      if (flags.list === true) terminal.write(listText());
      else end(await run(names, flags, args, terminal));
    });
}

async function run(
  names: readonly string[],
  flags: ScenarioFlags,
  args: readonly string[],
  terminal: ProbeTerminal,
): Promise<number> {
  if (names.length === 0) throw invalid("no scenario is named: see --list, or give all");
  const scale = scaleOf("--scale", flags.scale);
  const timeScale = scaleOf("--time-scale", flags.timeScale);
  const scenarios = scenariosNamed(names).map((one) => scaled(one, scale, timeScale));
  const { target, over, workers, serverStats = [] } = flags;
  if (!/^(auto|\d{1,3})$/.test(workers) || Number(workers) > WORKERS_MAX) {
    throw invalid(`--workers: "${workers}" is neither auto nor 0 to ${WORKERS_MAX}`);
  }
  if (target === undefined && serverStats.length > 0) {
    throw invalid("--server-stats belongs to --target: a server that is started is watched anyway");
  }
  if (target === undefined && flags.protocol === "raw") {
    throw invalid("--protocol raw needs --target: a server that is started speaks Holdfast's own");
  }
  const probe = clientOptions(flags, { argv: args, env: terminal.env });
  const { givenServer, ownServers } = await import("./scenario-servers.ts");
  const { runSeries } = await import("../probe/scenario-series.ts");
  const servers =
    target === undefined
      ? ownServers(over, workers, machineClock())
      : givenServer(target, serverStats);
  return await runProbe(
    (context) =>
      runSeries({ scenarios, scale, timeScale, probe }, servers, context, {
        began: ({ title, name }, index, of) =>
          context.view.note(`scenario ${index + 1} of ${of}, ${name}: ${title}`),
        ended: (result) => context.view.note(scenarioLine(result)),
      }),
    outputs(flags),
    terminal,
  );
}

function outputs({ json, html, markdown }: ScenarioFlags): Outputs<ScenariosReport> {
  return {
    isJson: json === true,
    text: scenariosText,
    files: {
      "--html": {
        path: html,
        render: async (report) => (await import("../probe/scenario-html.ts")).scenariosHtml(report),
      },
      "--markdown": {
        path: markdown,
        render: async (report) =>
          (await import("../probe/scenario-markdown.ts")).scenariosMarkdown(report),
      },
    },
  };
}

function listText(): string {
  const width = Math.max(...SCENARIOS.map(({ name }) => name.length));
  return SCENARIOS.map(
    (scenario) =>
      `${scenario.name.padEnd(width)}  ${scenario.question}\n` +
      `${" ".repeat(width)}  ${planText(scenario)}\n`,
  ).join("");
}

function scaleOf(flag: string, text: string): number {
  const scale = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (scale > 0 && scale <= SCALE_MAX) return scale;
  throw invalid(`${flag}: "${text}" is not above 0 and at most ${SCALE_MAX}, such as 0.1 or 2`);
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("HOLDFAST_OPTIONS_INVALID", message);
}
