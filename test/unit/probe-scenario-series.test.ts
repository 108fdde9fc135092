import { describe, expect, it } from "vitest";
import { type ErrorCode, HoldfastError } from "../../src/base/errors.ts";
import type { RunContext } from "../../src/probe/run.ts";
import { scenariosNamed } from "../../src/probe/scenario-plan.ts";
import type { ScenariosReport } from "../../src/probe/scenario-report.ts";
import { runSeries, type SeriesOptions } from "../../src/probe/scenario-series.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

const NAMES = ["echo-steady", "fan-out", "rolling-restart"];
const CLIENT = { protocol: "holdfast", argv: [] } as unknown as SeriesOptions["probe"];

/** A series whose servers do not start, each for the next of these reasons. */
async function seriesOf(
  codes: readonly ErrorCode[],
  { isOwn = true, isAborted = false } = {},
): Promise<{ report: ScenariosReport; ended: readonly string[] }> {
  const left = [...codes];
  const ended: string[] = [];
  const interrupt = new AbortController();
  if (isAborted) interrupt.abort();
  const context = { clock: new VirtualClock(), view: {}, signal: interrupt.signal };
  const start = async (): Promise<never> => {
    const code = left.shift()!;
    throw new HoldfastError(code, `no server: ${code}`);
  };
  const report = await runSeries(
    { scenarios: scenariosNamed(NAMES), scale: 1, timeScale: 1, probe: CLIENT },
    { text: "nothing", isOwn, isWatched: true, start },
    context as unknown as RunContext,
    { began: () => {}, ended: ({ name, verdict }) => void ended.push(`${name} ${verdict}`) },
  );
  return { report, ended };
}

describe("a series of scenarios", () => {
  it("goes on when a server of its own does not start, and says why", async () => {
    const { report, ended } = await seriesOf(Array(3).fill("HOLDFAST_WORKER_FAILED"));
    expect(ended).toEqual(NAMES.map((name) => `${name} failed`));
    expect(report).toMatchObject({ outcome: "failed", exitCode: 99 });
    expect(report.scenarios[0]!.reason).toBe("no server: HOLDFAST_WORKER_FAILED");
  });

  it("keeps what it has when a later one fails for whatever reason of the server's", async () => {
    const { ended } = await seriesOf([
      "HOLDFAST_WORKER_FAILED",
      "HOLDFAST_OPTIONS_INVALID",
      "HOLDFAST_CONNECT_FAILED",
    ]);
    expect(ended).toHaveLength(3);
  });

  it("ends at once with what is wrong with its options", async () => {
    const series = seriesOf(["HOLDFAST_OPTIONS_INVALID"], { isOwn: false });
    await expect(series).rejects.toMatchObject({ code: "HOLDFAST_OPTIONS_INVALID" });
  });

  it("is not begun when it was interrupted, and is no success", async () => {
    const { report } = await seriesOf([], { isAborted: true });
    expect(report).toMatchObject({ outcome: "aborted", exitCode: 105 });
    expect(report.sentence).toBe(
      "0 of 3 scenarios passed; interrupted: echo-steady, fan-out, rolling-restart.",
    );
  });
});
