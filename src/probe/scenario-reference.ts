// docs/probe-scenarios.md, made from the table of scenarios.

import { formatBytes, formatCount, formatDuration } from "./quantity.ts";
import { planText } from "./scenario-plan.ts";
import { type Phase, type Scenario, SCENARIOS } from "./scenarios.ts";

const INTRODUCTION = `# Scenarios of holdfast-probe

What a fleet of long-lived clients does to a server, on good days and on bad ones: each scenario is
a run of phases (ramp, hold, fault, recover), and each phase has objectives. All of them hold, or
the scenario fails.

    holdfast-probe scenario all --html report.html --markdown report.md
    holdfast-probe scenario echo-steady fan-out --target tcp://10.0.0.5:7400

Without \`--target\` a Holdfast server is started for each scenario, and is watched; those that
crash or restart their server are skipped with \`--target\`. \`--scale 0.1\` makes connections,
topics and rates smaller, \`--time-scale 0.2\` makes holds and timed faults shorter; objectives
stay as they are.

A scenario in which the probe itself was late, busy or did not start what was due is
GENERATOR-BOUND: it is tried again, and if that does not help it has no verdict. The exit code is 0
where nothing failed and all that was run has a verdict, 99 where an objective was missed, 90 where
the probe was the limit ([probe-codes.md](probe-codes.md)). \`--json\` prints all that was found
out: [probe-scenarios-report.md](probe-scenarios-report.md).

Objectives are written as thresholds are ([probe.md](probe.md#load)). \`errors:count==0\` allows no
operation to fail and no connection to be lost.
`;

/** The page as Markdown, with a line break at its end. */
export function scenarioReference(scenarios: readonly Scenario[] = SCENARIOS): string {
  const rows = scenarios.map(({ name, question }) => `| [${name}](#${name}) | ${cell(question)} |`);
  const summary = `| scenario | question |\n| --- | --- |\n${rows.join("\n")}\n`;
  return [INTRODUCTION, summary, ...scenarios.map(section)].join("\n");
}

function section(scenario: Scenario): string {
  const rows = scenario.phases.map((phase) => {
    const asked = [...phase.objectives.map((text) => `\`${text}\``), ...recovery(phase)];
    // A scenario of one phase has that phase's plan.
    const plan = planText({ ...scenario, phases: [phase] });
    return `| ${phase.kind} | ${cell(plan)} | ${cell(asked.join(", ")) || "-"} |`;
  });
  const table = `| phase | what is done | objectives |\n| --- | --- | --- |\n${rows.join("\n")}`;
  const { name, title, question } = scenario;
  return `## ${name}\n\n**${title}.** ${question}\n\n${factsText(scenario)}\n\n${table}\n`;
}

function recovery(phase: Phase): string[] {
  if (phase.kind !== "recover") return [];
  const within = `within ${formatDuration(phase.withinMs)}`;
  return [
    phase.until === "held" ? `all connected again ${within}` : `all half-open noticed ${within}`,
  ];
}

function factsText(scenario: Scenario): string {
  const { connections, traffic, payloadBytes, topics, isReturning, serverFlags } = scenario;
  const events = `events of ${formatBytes(payloadBytes)} on ${
    topics === 1 ? "one topic" : `${formatCount(topics)} topics`
  }`;
  const sent = {
    none: "no traffic",
    echo: `echoes of ${formatBytes(payloadBytes)}`,
    publish: events,
  };
  const parts = [
    `${formatCount(connections)} connections, ${sent[traffic]}.`,
    ...(isReturning ? ["Clients that lose their server come back."] : []),
    ...(serverFlags.length === 0 ? [] : [`The server runs with \`${serverFlags.join(" ")}\`.`]),
  ];
  return parts.join(" ");
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}
