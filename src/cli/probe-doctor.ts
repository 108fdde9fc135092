// `holdfast-probe doctor`: this host's limits, judged.
import { diagnosisText, type DoctorQuestion, examine } from "../probe/doctor.ts";
import { readHost } from "../probe/host.ts";
import type { Terminal } from "./terminal.ts";
import { hasColour } from "./probe-run.ts";

export function runDoctor(question: DoctorQuestion, isJson: boolean, terminal: Terminal): number {
  const diagnosis = examine(readHost(), question);
  terminal.write(
    isJson
      ? `${JSON.stringify(diagnosis, null, 2)}\n`
      : diagnosisText(diagnosis, terminal.columns, hasColour(terminal)),
  );
  return diagnosis.exitCode;
}
