// The safety stop, named after a reactor's: it is always armed unless it is told not to be, so that
// a probe never takes down the server that it asks. It only judges; its owner stops and backs off.

import { formatCount, formatDuration, formatShare } from "./quantity.ts";
import type { LimitKind } from "./report.ts";
import type { ServerSample } from "./server-watch.ts";

/** What is looked at, once per report interval (about 250 ms). */
export interface Vitals {
  /** By the controller's clock, which is the server watch's as well. */
  readonly atMs: number;
  /** Attempts to connect that ended within the last second. */
  readonly attempts: number;
  /** Of these: failed, or connected and cut off again before they were a second old. */
  readonly failed: number;
  readonly held: number;
  /** Connections older than a second that ended on their own within the last 5 s. */
  readonly deaths: number;
  /** Echoes that ended within the last 5 s, and how many of them by their timeout. */
  readonly echoes: number;
  readonly echoTimeouts: number;
  /** The last sample, and the one before the first connection; null where nothing is watched. */
  readonly server: ServerSample | null;
  readonly baseline: ServerSample | null;
  /** Of this machine where the server runs on it, else null. */
  readonly memoryAvailableBytes: number | null;
  readonly memoryTotalBytes: number | null;
}

export interface ScramLimits {
  readonly attemptsMin: number;
  readonly failedShare: number;
  readonly deathsMin: number;
  readonly deathsShare: number;
  readonly loopLagMs: number;
  readonly memoryLeftShare: number;
  readonly silenceMs: number;
  readonly echoTimeoutsMin: number;
  readonly echoTimeoutsShare: number;
  readonly calmMs: number;
}

export const SCRAM_LIMITS: ScramLimits = {
  /** Fewer say little: a few resets in a bisection's last small step are no wall. */
  attemptsMin: 50,
  /** More fail than succeed: to try on is pointless, and impolite to whoever logs it. */
  failedShare: 0.5,
  /** A load balancer that restarts one of its backends may cost a handful. */
  deathsMin: 20,
  /** Held connections do not die by themselves: 1% within 5 s is the start of an avalanche. */
  deathsShare: 0.01,
  /** The loop's other clients wait as long; the server's own log calls a second a stall. */
  loopLagMs: 1_000,
  /** Below this the kernel reclaims all the time, and then kills the largest process. */
  memoryLeftShare: 0.05,
  /** Longer than two samples that wait for their timeout of 2 s: no single hiccup. */
  silenceMs: 5_000,
  /** As with deaths, so that slow traffic does not trip it by a few. */
  echoTimeoutsMin: 20,
  /** One in ten waits in vain: the answers are far behind, and more load puts them further. */
  echoTimeoutsShare: 0.1,
  /** Eight reports in a row: less may be the pause between two bursts. */
  calmMs: 2_000,
};

/** Samples that a source must miss in a row before it counts as silent, however long they take. */
const MISSED_SAMPLES_MIN = 2;
/** Recovered is below half of what trips it, so that it does not flap at the edge. */
const CALM = 0.5;

export interface ScramReason {
  /**
   * `wall`: new connections fail: stop attempting, keep what is held. `trouble`: the server is in
   * danger: shed load, back to the last good level.
   */
  readonly kind: "wall" | "trouble";
  /** A clause such as `1,020 of 1,400 attempts failed within a second`. */
  readonly reason: string;
  /** What is short where that shows from the reason itself; null: the level's evidence tells. */
  readonly limit: LimitKind | null;
}

type Trouble = Pick<ScramReason, "reason" | "limit">;

/** A source's last answer, and the samples that it has missed since. */
interface Hearing {
  atMs: number;
  missed: number;
}

export class Scram {
  readonly #limits: ScramLimits;
  readonly #heard: Map<string, Hearing> = new Map();
  #sampleAtMs: number = Number.NEGATIVE_INFINITY;
  /** null while it is not calm. */
  #calmSinceMs: number | null = null;

  constructor(limits: ScramLimits = SCRAM_LIMITS) {
    this.#limits = limits;
  }

  /** Why to stop now; null: go on. Trouble comes before a wall. */
  observe(vitals: Vitals): ScramReason | null {
    this.#listen(vitals);
    const trouble = this.#trouble(vitals, 1);
    const wall = this.#wall(vitals, 1);
    if (trouble === null && wall === null) return null;
    this.#calmSinceMs = null;
    if (trouble !== null) return { kind: "trouble", ...trouble };
    return { kind: "wall", reason: wall!, limit: null };
  }

  /** Everything has been below half of its trigger for 2 s. To be asked at every interval. */
  hasRecovered(vitals: Vitals): boolean {
    this.#listen(vitals);
    if (this.#trouble(vitals, CALM) !== null || this.#wall(vitals, CALM) !== null) {
      this.#calmSinceMs = null;
      return false;
    }
    this.#calmSinceMs ??= vitals.atMs;
    return vitals.atMs - this.#calmSinceMs >= this.#limits.calmMs;
  }

  /** @param part of the triggers at which it is tripped. */
  #wall({ attempts, failed }: Vitals, part: number): string | null {
    const { attemptsMin, failedShare } = this.#limits;
    if (attempts < attemptsMin || failed <= attempts * failedShare * part) return null;
    return `${formatCount(failed)} of ${formatCount(attempts)} attempts failed within a second`;
  }

  #trouble(vitals: Vitals, part: number): Trouble | null {
    const troubles: readonly [string | null, LimitKind | null][] = [
      [this.#deaths(vitals, part), null],
      [this.#echoes(vitals, part), null],
      [this.#loop(vitals, part), "server-cpu"],
      [this.#memory(vitals, part), "server-memory"],
      [this.#silence(vitals), "server-died"],
    ];
    const found = troubles.find(([reason]) => reason !== null);
    return found === undefined ? null : { reason: found[0]!, limit: found[1] };
  }

  #deaths({ deaths, held }: Vitals, part: number): string | null {
    const { deathsMin, deathsShare } = this.#limits;
    const all = held + deaths;
    if (deaths < deathsMin * part || deaths <= all * deathsShare * part) return null;
    return `${formatCount(deaths)} of ${formatCount(all)} held connections ended within 5 s`;
  }

  #echoes({ echoes, echoTimeouts }: Vitals, part: number): string | null {
    const { echoTimeoutsMin, echoTimeoutsShare } = this.#limits;
    if (echoTimeouts < echoTimeoutsMin * part) return null;
    if (echoTimeouts <= echoes * echoTimeoutsShare * part) return null;
    return `${formatCount(echoTimeouts)} of ${formatCount(echoes)} echoes timed out within 5 s`;
  }

  #loop({ server }: Vitals, part: number): string | null {
    const lagMs = server?.figures.loopLagP99Ms ?? 0;
    if (lagMs <= this.#limits.loopLagMs * part) return null;
    return `the server's event loop is ${formatDuration(lagMs)} late (p99)`;
  }

  #memory(vitals: Vitals, part: number): string | null {
    const { memoryAvailableBytes: left, memoryTotalBytes: total } = vitals;
    // Twice as much has to be left before it is calm.
    if (left === null || total === null) return null;
    if (left >= (total * this.#limits.memoryLeftShare) / part) return null;
    return `${formatShare(left / total)} of the memory of the server's machine is left`;
  }

  #silence({ server, atMs }: Vitals): string | null {
    for (const { source, kind, why } of server?.failed ?? []) {
      const heard = this.#heard.get(source);
      // What never answered cannot fall silent.
      if (heard === undefined) continue;
      if (kind === "gone") return why;
      // Whoever answers lives, whatever it is that it answers.
      if (kind === "answer") continue;
      const silentMs = atMs - heard.atMs;
      if (heard.missed < MISSED_SAMPLES_MIN || silentMs < this.#limits.silenceMs) continue;
      return `${source} has not answered for ${formatDuration(silentMs)} (${why})`;
    }
    return null;
  }

  /** Notes who answered; each sample counts once, however often it is shown. */
  #listen({ server, baseline }: Vitals): void {
    if (this.#heard.size === 0 && baseline !== null) this.#hear(baseline);
    if (server === null || server.atMs <= this.#sampleAtMs) return;
    this.#sampleAtMs = server.atMs;
    this.#hear(server);
    for (const { source } of server.failed) {
      const heard = this.#heard.get(source);
      if (heard !== undefined) heard.missed++;
    }
  }

  #hear({ atMs, processes }: ServerSample): void {
    for (const { source } of processes) this.#heard.set(source, { atMs, missed: 0 });
  }
}
