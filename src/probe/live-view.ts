// What a run shows while it lasts. On a terminal: two lines that are drawn anew in place, below the
// stages that have ended. Elsewhere: a line for each stage that has ended, and nothing that moves.

import {
  bytesFigure,
  clockFigure,
  coresFigure,
  countFigure,
  latencyFigure,
  shareFigure,
} from "./report-figures.ts";
import type { ServerFigures, StageReport } from "./report.ts";
import { STAGE_LINE_WIDTH, stageHeader, stageLine } from "./stage-line.ts";
import { clipped, type Paint, paintWith, plain } from "./text-layout.ts";

/** Where a run stands. */
export interface Progress {
  /** Since the start of the run. */
  readonly atMs: number;
  /** Such as `capacity ws://10.0.0.5:8080`. */
  readonly title: string;
  readonly stageName: string;
  /** Such as `connecting`, `holding`, `closing` or `draining`. */
  readonly phase: string;
  /** Since the phase began, and how long it will last; null: nobody knows. */
  readonly phaseMs: number;
  readonly phaseOfMs: number | null;
  readonly held: number;
  readonly intended: number;
  /** Of the last second. */
  readonly connectsPerSecond: number;
  readonly operationsPerSecond: number;
  /** Of the stage so far; null: no samples. */
  readonly responseP99Ms: number | null;
  readonly latenessP99Ms: number | null;
  readonly failures: number;
  readonly deaths: number;
  /** 0 to 1, of the busiest process. */
  readonly generatorLoop: number;
  readonly server: ServerFigures | null;
}

/** Where it is shown: standard error, as a rule. */
export interface ViewOutput {
  write(text: string): void;
  /** Whether the cursor can be moved. */
  readonly isInteractive: boolean;
  /** Characters in a line; asked before every drawing, so that it may change. */
  readonly columns: number;
  readonly colour: boolean;
}

const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";
/** To the start of the line, then all of it is erased. */
const ERASE_LINE = "\r\u001b[2K";
const ERASE_LINE_ABOVE = "\u001b[1A\u001b[2K";

export class LiveView {
  readonly #out: ViewOutput;
  readonly #paint: Paint;
  #title: string = "";
  #hasHeader: boolean = false;
  /** Lines on the screen that the next drawing replaces. */
  #drawn: number = 0;
  #isCursorHidden: boolean = false;
  /** What was last drawn, to be drawn again below something else. */
  #lines: readonly string[] = [];
  #hasEnded: boolean = false;

  constructor(out: ViewOutput) {
    this.#out = out;
    this.#paint = paintWith(out.colour);
  }

  /** Draws where the run stands; does nothing where the output is no terminal. */
  progress(progress: Progress): void {
    this.#title = plain(progress.title);
    if (!this.#out.isInteractive || this.#hasEnded) return;
    const lines = [phaseLine(progress), figuresLine(progress)];
    this.#lines = [...this.#header(), ...lines.map((line) => this.#clip(line))];
    this.#draw("");
  }

  /** A stage has ended. */
  stage(stage: StageReport): void {
    const header = this.#header();
    const isFirst = !this.#hasHeader;
    this.#hasHeader = true;
    // What follows belongs to another stage: the old lines would say something wrong below this.
    this.#lines = [];
    const lines = isFirst ? header : [];
    this.#draw([...lines, stageLine(stage, this.#width, this.#paint)].join("\n"));
  }

  /** Something to be told in between, in a line of its own. */
  note(text: string): void {
    this.#draw(plain(text));
  }

  /** Takes the moving lines away and gives the cursor back. May be called twice. */
  end(): void {
    this.#lines = [];
    this.#draw("");
    if (this.#isCursorHidden) this.#out.write(SHOW_CURSOR);
    this.#isCursorHidden = false;
    this.#hasEnded = true;
  }

  get #width(): number {
    return this.#out.isInteractive ? this.#out.columns : STAGE_LINE_WIDTH;
  }

  /** Title and column names, as long as no stage stands below them. */
  #header(): readonly string[] {
    if (this.#hasHeader) return [];
    const columns = stageHeader(this.#width).split("\n");
    const title = this.#title === "" ? [] : [this.#title];
    return [
      ...title.map((line) => this.#paint(this.#clip(line), "bold")),
      ...columns.map((line) => this.#paint(this.#clip(line), "dim")),
    ];
  }

  /** Writes `above` for good, and the moving lines below it, in one go so that nothing flickers. */
  #draw(above: string): void {
    let text = "";
    if (this.#drawn > 0) text += ERASE_LINE + ERASE_LINE_ABOVE.repeat(this.#drawn - 1);
    if (above !== "") text += `${above}\n`;
    if (this.#lines.length > 0 && !this.#isCursorHidden) {
      text += HIDE_CURSOR;
      this.#isCursorHidden = true;
    }
    text += this.#lines.join("\n");
    this.#drawn = this.#lines.length;
    if (text !== "") this.#out.write(text);
  }

  /** The last column stays free: some terminals go to the next line once it is written to. */
  #clip(line: string): string {
    return this.#out.isInteractive ? clipped(line, Math.max(1, this.#width - 1)) : line;
  }
}

function phaseLine(progress: Progress): string {
  const { stageName, phase, phaseMs, phaseOfMs, held, intended } = progress;
  const of = phaseOfMs === null ? "" : `/${clockFigure(phaseOfMs)}`;
  return [
    `${plain(stageName)} ${plain(phase)} ${clockFigure(phaseMs)}${of}`,
    `${countFigure(held)}/${countFigure(intended)} held`,
    `${countFigure(progress.connectsPerSecond)} conn/s`,
    `${countFigure(progress.failures)} failures`,
    `${countFigure(progress.deaths)} deaths`,
  ].join("  ");
}

function figuresLine(progress: Progress): string {
  const { responseP99Ms, latenessP99Ms, server } = progress;
  const parts = [
    `${countFigure(progress.operationsPerSecond)} op/s`,
    `resp p99 ${latencyFigure(responseP99Ms)}`,
    `late p99 ${latencyFigure(latenessP99Ms)}`,
    `loop ${shareFigure(progress.generatorLoop)}`,
    ...(server === null ? [] : [`| server ${serverText(server)}`]),
  ];
  return parts.join("  ");
}

function serverText({ rssBytes, cpuCores, fds, fdLimit, loopLagP99Ms }: ServerFigures): string {
  const limit = fdLimit === null ? "" : `/${countFigure(fdLimit)}`;
  const parts = [
    rssBytes === null ? "" : bytesFigure(rssBytes),
    cpuCores === null ? "" : coresFigure(cpuCores),
    fds === null ? "" : `${countFigure(fds)}${limit} files`,
    loopLagP99Ms === null ? "" : `lag p99 ${latencyFigure(loopLagP99Ms)}`,
  ];
  return parts.filter((part) => part !== "").join("  ");
}
