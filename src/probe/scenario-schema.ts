// The JSON Schema of a document of scenarios (scenario-report.ts), with what every field means.
// docs/probe-scenarios-report.md is made from it.

import {
  count,
  type JsonSchema,
  list,
  number,
  object,
  oneOf,
  orNull,
  reference,
  text,
} from "./json-schema.ts";
import { OUTCOMES } from "./report.ts";
import { REPORT_PARTS } from "./report-schema.ts";
import { SCENARIO_VERDICTS, SCENARIOS_SCHEMA } from "./scenario-report.ts";

const SCENARIO_RESULT = object("What one scenario came to.", {
  name: text("As it is named on the command line, as in `echo-steady`."),
  title: text("As people name it, as in `Echo, steady`."),
  question: text("What it asks."),
  plan: text("What was done, in words."),
  verdict: oneOf(
    SCENARIO_VERDICTS,
    "`passed`: every objective held. `failed`: one did not. `generator-bound`: the probe was the " +
      "limit, so nothing is said about the server. `skipped`: it needs what is not there. " +
      "`aborted`: it was interrupted.",
  ),
  reason: text("Why it is not `passed`, for people; empty where it is."),
  objectives: list(reference("ObjectiveResult", "One objective."), "What it was judged by."),
  report: orNull(
    reference("Report", "Its whole run; the stages are its phases. null: nothing ran."),
  ),
});

const OBJECTIVE_RESULT = object("One demand on one phase, beside what was measured.", {
  phase: text("Name of the phase, which is that of a stage of the report."),
  ...REPORT_PARTS["ThresholdResult"]!.properties,
});

/** The whole document. Unknown fields are allowed: they come without a new version. */
export const SCENARIOS_JSON_SCHEMA: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Scenarios of holdfast-probe",
  ...object("What a run of `holdfast-probe scenario` found out.", {
    schema: {
      type: "string",
      const: SCENARIOS_SCHEMA,
      description: "Name and version of this document.",
    },
    sentence: text("The result in one sentence, for people."),
    outcome: oneOf(OUTCOMES, "How the run ended."),
    exitCode: count("What the command exits with; it follows from `outcome`."),
    startedAt: { ...text("Start of the run, ISO 8601 in UTC."), format: "date-time" },
    durationMs: number("Length of the run, in milliseconds."),
    argv: list({ type: "string" }, "The command line, without the program's name."),
    server: text("What was probed: targets, or how the server was started."),
    scale: number("Connections and rates, as a share of what the scenarios say."),
    timeScale: number("Durations of holds and faults, as a share of what the scenarios say."),
    scenarios: list(
      reference("ScenarioResult", "One scenario."),
      "Scenarios, in the order in which they ran.",
    ),
  }),
  $defs: {
    ScenarioResult: SCENARIO_RESULT,
    ObjectiveResult: OBJECTIVE_RESULT,
    ...REPORT_PARTS,
  },
};
