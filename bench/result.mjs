// What a suite found out, as one JSON document: `--json` prints it, `--out FILE` writes it, and the
// table is a rendering of it. Documents of two runs can be compared by `bench:compare`, and the
// tables of the README are made of those in results/.
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { progress, refuse } from "./command-line.mjs";
import { FIGURES } from "./figures.mjs";
import { machineFacts, versionFacts } from "./machine.mjs";
import { resultTable } from "./result-table.mjs";
import { ratiosByRound, spread } from "./spread.mjs";

/** Its number changes when a field changes its meaning or goes; new fields do not change it. */
export const RESULT_SCHEMA = "holdfast-bench.result/1";

/**
 * @typedef {Record<string, number | string>} Load what the side was given to do, such as
 *   {connections: 200, inFlight: 1, bytes: 32}; rows of the same load are compared
 * @typedef {{min?: number, max?: number}} Target
 * @typedef {{against: string, values: (number | null)[], median: number, min: number, max: number,
 *   target: Target | null, passed: boolean | null}} Ratio
 * @typedef {{side: string, load: Load, figure: string, unit: string, better: string,
 *   isClaim: boolean, values: (number | null)[], median: number, min: number, max: number,
 *   target: Target | null, passed: boolean | null, note: string, ratios: Ratio[]}} Row
 *   values: by round; null where that round was thrown away
 */
export class Result {
  #suite;
  #flags;
  #startedAt = new Date();
  #startedMs = performance.now();
  #machine = machineFacts();
  #versions;
  /** @type {Row[]} */
  #rows = [];
  #skipped = [];
  #discarded = [];
  #unmeasured = [];
  #failures = [];
  /** Figures of sides that were measured and are not known. */
  #unknown = new Set();

  /**
   * Ends this process where `out` cannot be written: later it would cost minutes of measurement.
   * @param flags as readFlags() gave them, `json` and `out` among them
   */
  constructor(suite, flags) {
    this.#suite = suite;
    this.#flags = flags;
    this.#versions = versionFacts(flags.dist);
    if (flags.out !== "") openDocument(flags.out);
  }

  /** Whether measurements count that others disturbed. */
  get keepsAll() {
    return this.#flags.keep === true;
  }

  /** What was added so far. */
  get rows() {
    return [...this.#rows];
  }

  /** A side that was not measured, and what would have to be done to measure it. */
  skip(side, why) {
    if (this.#skipped.some((entry) => entry.side === side)) return;
    progress(`${side}: skipped, ${why}`);
    this.#skipped.push({ side, why });
  }

  /** A measurement that counts for nothing: the machine or the generator spoilt it. */
  discard(side, load, why) {
    progress(`${side}: thrown away, ${why}`);
    this.#discarded.push({ side, load, why });
  }

  /** A side of which every measurement under this load was thrown away: nothing can be passed. */
  unmeasured(side, load) {
    this.#unmeasured.push({ side, load });
  }

  /** What else keeps a run from having shown what it was to show: it has not passed. */
  fail(why) {
    progress(why);
    this.#failures.push(why);
  }

  /**
   * @param {{side: string, load: Load, figure: string, values: (number | null)[],
   *   target?: Target | null, isMet?: boolean, note?: string}} row with a value for every round;
   *   isMet: where another rule than that of the median says whether the target was met. A target
   *   that nothing is known of fails the run.
   */
  add({ side, load, figure, values, target = null, isMet, note = "" }) {
    const { unit, better, isClaim = false } = FIGURES[figure];
    const known = values.filter((value) => value !== null);
    if (!known.every(Number.isFinite)) throw new Error(`${side}: ${figure} is ${values}`);
    if (known.length === 0) {
      this.#unknown.add(keyOf(side, load, figure));
      if (target !== null) this.fail(`${side}: ${FIGURES[figure].title} is not known`);
      return;
    }
    const figures = spread(known);
    const passed = target === null ? null : (isMet ?? isWithin(figures.median, target));
    this.#rows.push({
      ...{ side, load, figure, unit, better, isClaim, values, ...figures },
      ...{ target, passed, note, ratios: [] },
    });
  }

  /**
   * Puts a side's figure beside that of another under the same load. Pairs of one round saw the
   * same machine, so the ratio is the median of theirs. Without rows of both nothing happens; with
   * rows of both and no round in common, a target fails the run.
   * @param {{side: string, against: string, load: Load, figure: string, target?: Target | null,
   *   isMet?: boolean, roundsMin?: number}} pair isMet: as in add(); roundsMin: a target is judged
   *   by so many rounds at least
   */
  compare({ side, against, load, figure, target = null, isMet, roundsMin = 1 }) {
    const own = this.#find(side, load, figure);
    const other = this.#find(against, load, figure);
    if (own === undefined || other === undefined) {
      const isUnknown = [side, against].some((one) => this.#unknown.has(keyOf(one, load, figure)));
      if (isUnknown && target !== null) this.fail(`${side} beside ${against}: not known`);
      return;
    }
    const values = ratiosByRound(own.values, other.values);
    const known = values.filter((value) => value !== null);
    if (known.length < roundsMin && target !== null) {
      const rounds = `${known.length} rounds have both, ${roundsMin} are needed`;
      this.fail(`${side} beside ${against}: ${rounds}`);
    }
    if (known.length === 0) return;
    const figures = spread(known);
    const passed = target === null ? null : (isMet ?? isWithin(figures.median, target));
    own.ratios.push({ against, values, ...figures, target, passed });
  }

  #find(side, load, figure) {
    const key = keyOf(side, load, figure);
    return this.#rows.find((row) => keyOf(row.side, row.load, row.figure) === key);
  }

  document() {
    const verdicts = this.#rows.flatMap((row) => [row, ...row.ratios]).map(({ passed }) => passed);
    return {
      schema: RESULT_SCHEMA,
      suite: this.#suite,
      argv: argvWithoutOut(),
      startedAt: this.#startedAt.toISOString(),
      seconds: Math.round((performance.now() - this.#startedMs) / 1_000),
      // Without a row nothing was shown, and without a side not all that was asked for.
      passed:
        this.#rows.length > 0 &&
        this.#unmeasured.length === 0 &&
        this.#failures.length === 0 &&
        verdicts.every((passed) => passed !== false),
      machine: this.#machine,
      versions: this.#versions,
      skipped: this.#skipped,
      discarded: this.#discarded,
      unmeasured: this.#unmeasured,
      failures: this.#failures,
      rows: this.#rows,
    };
  }

  /** Prints and writes it, and ends this process: with 1 where a target was missed. */
  finish() {
    const document = this.document();
    const { json, out } = this.#flags;
    console.log(json ? JSON.stringify(document, null, 2) : resultTable(document));
    if (out !== "") writeDocument(out, document);
    process.exit(document.passed ? 0 : 1);
  }
}

/** Where the result went says nothing of how it came about. */
function argvWithoutOut() {
  const argv = process.argv.slice(2);
  const out = argv.indexOf("--out");
  return out === -1 ? argv : argv.toSpliced(out, 2);
}

/** Step by step: where the system refuses with ENOENT, `recursive` would try for ever. */
export function makeFolder(folder) {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  mkdirSync(folder);
}

/** Sees whether it can be written. What an earlier run left stays until this one has a result. */
function openDocument(file) {
  try {
    makeFolder(dirname(file));
    const isNew = !existsSync(file);
    closeSync(openSync(file, "a"));
    if (isNew) process.once("exit", () => forgetIfEmpty(file));
  } catch (error) {
    refuse(`--out ${file} cannot be written (${error.code})`);
  }
}

/** It was to have a result, and this process ends without one. */
function forgetIfEmpty(file) {
  if (statSync(file, { throwIfNoEntry: false })?.size === 0) rmSync(file);
}

function writeDocument(file, document) {
  try {
    writeFileSync(file, `${JSON.stringify(document, null, 1)}\n`);
  } catch (error) {
    refuse(`${file} was not written (${error.code})`);
  }
}

function keyOf(side, load, figure) {
  return JSON.stringify([side, load, figure]);
}

export function isWithin(value, { min = -Infinity, max = Infinity }) {
  return value >= min && value <= max;
}
