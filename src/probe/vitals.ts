// What the safety stop looks at: the last seconds of what the generators have reported.

import type { GeneratorReport } from "./generator-messages.ts";
import { DEATH_AGES_MS } from "./report.ts";
import type { Vitals } from "./scram.ts";

/** A connection that ends before was never really taken. */
const YOUNG_MS = 1_000;
const ATTEMPTS_MS = 1_000;
const DEATHS_MS = 5_000;

interface Moment {
  readonly atMs: number;
  readonly attempts: number;
  readonly failed: number;
  readonly deaths: number;
  readonly echoes: number;
  readonly echoTimeouts: number;
}

type Counted = Pick<Vitals, "attempts" | "failed" | "deaths" | "echoes" | "echoTimeouts">;

export class VitalSigns {
  readonly #moments: Moment[] = [];

  add(report: GeneratorReport): void {
    let young = 0;
    let deaths = 0;
    for (const ages of Object.values(report.deaths)) {
      for (const [index, count] of ages.entries()) {
        if ((DEATH_AGES_MS[index] ?? Infinity) <= YOUNG_MS) young += count;
        else deaths += count;
      }
    }
    const { connect, echo } = report.counts;
    this.#moments.push({
      atMs: report.toMs,
      attempts: connect.succeeded + connect.failed,
      failed: connect.failed + young,
      deaths,
      echoes: echo.succeeded + echo.failed,
      echoTimeouts: report.failures["echo.timeout"] ?? 0,
    });
  }

  /** Sums up to this moment; what is older than all windows is forgotten. */
  read(nowMs: number): Counted {
    while (this.#moments.length > 0 && this.#moments[0]!.atMs < nowMs - DEATHS_MS) {
      this.#moments.shift();
    }
    const sums = { attempts: 0, failed: 0, deaths: 0, echoes: 0, echoTimeouts: 0 };
    for (const moment of this.#moments) {
      sums.deaths += moment.deaths;
      sums.echoes += moment.echoes;
      sums.echoTimeouts += moment.echoTimeouts;
      if (moment.atMs < nowMs - ATTEMPTS_MS) continue;
      sums.attempts += moment.attempts;
      sums.failed += moment.failed;
    }
    return sums;
  }
}
