// One stage in one line of at most 100 columns, with six-digit numbers; two lines of header above.

import { countFigure, msFigure, shortFigure, UNKNOWN } from "./report-figures.ts";
import type { OperationFigures, StageReport, StageVerdict } from "./report.ts";
import { errorCount } from "./report-summary.ts";
import { clipped, type Paint, paintWith, plain, type TextStyle } from "./text-layout.ts";

export const STAGE_LINE_WIDTH = 100;

interface Column {
  readonly titles: readonly [string, string];
  readonly width: number;
  readonly isLeft?: boolean;
  /** Narrow terminals do without the highest first; 0 stays. */
  readonly dispensable: number;
  cell(stage: StageReport): string;
}

const COLUMNS: readonly Column[] = [
  { titles: ["", "stage"], width: 12, isLeft: true, dispensable: 0, cell: stageLabel },
  {
    titles: ["held", "of intended"],
    width: 15,
    dispensable: 0,
    cell: ({ connections: { held, intended } }) => `${countFigure(held)}/${countFigure(intended)}`,
  },
  { titles: ["rate/s", "of intended"], width: 13, dispensable: 0, cell: rateCell },
  {
    titles: ["conn", "p99 ms"],
    width: 6,
    dispensable: 1,
    cell: ({ latencies }) => msFigure(latencies.connect?.p99),
  },
  {
    titles: ["resp", "p50"],
    width: 5,
    dispensable: 4,
    cell: ({ latencies }) => msFigure(latencies.response?.p50),
  },
  {
    titles: ["resp", "p99 ms"],
    width: 6,
    dispensable: 0,
    cell: ({ latencies }) => msFigure(latencies.response?.p99),
  },
  {
    titles: ["late", "p99"],
    width: 5,
    dispensable: 3,
    cell: ({ generator }) => msFigure(generator.latenessP99Ms),
  },
  {
    titles: ["server", "B/conn"],
    width: 6,
    dispensable: 2,
    cell: ({ server }) => countFigure(server?.bytesPerConnection),
  },
  {
    titles: ["", "errors"],
    width: 7,
    dispensable: 0,
    cell: (stage) => countFigure(errorCount(stage)),
  },
  {
    titles: ["", "verdict"],
    width: 15,
    isLeft: true,
    dispensable: 0,
    cell: ({ verdict }) => verdictText(verdict),
  },
];

export const VERDICT_STYLES: Readonly<Record<StageVerdict, TextStyle>> = {
  ok: "green",
  missed: "yellow",
  wall: "red",
  scram: "red",
  "generator-bound": "magenta",
  aborted: "dim",
};

/** `ok`, and all else in capitals. */
export function verdictText(verdict: StageVerdict): string {
  return verdict === "ok" ? verdict : verdict.toUpperCase();
}

/** Kinds whose names are little more than the connections that stand beside them. */
const LEVEL_KINDS: readonly string[] = [
  "connect",
  "climb",
  "verify",
  "bisect",
  "stairs",
  "confirm",
];

/** What a stage is called where its level stands beside it. */
export function stageLabel({ kind, name }: Pick<StageReport, "kind" | "name">): string {
  return plain(LEVEL_KINDS.includes(kind) ? kind : name);
}

/** What a stage is called where nothing stands beside it. */
export function stageTitle({ kind, name }: Pick<StageReport, "kind" | "name">): string {
  return kind === "climb" || kind === "stairs" ? `${kind} ${name}` : name;
}

/** Whether a stage is there to open connections, and not for what is done on them. */
export function isConnecting({ kind, operations }: StageReport): boolean {
  if (LEVEL_KINDS.includes(kind)) return true;
  return kind === "ramp" && operations.connect !== undefined;
}

/** Connects of the stages that open connections, operations of those that load. */
function rateCell(stage: StageReport): string {
  const { connect, echo, publish } = stage.operations;
  const figures = isConnecting(stage) ? connect : (echo ?? publish ?? connect);
  return figures === undefined ? UNKNOWN : rateOfIntended(figures);
}

/** `4,998/5,000`; in thousands where it gets long; one number where nothing was scheduled. */
export function rateOfIntended(figures: OperationFigures): string {
  const { achievedPerSecond: achieved, intendedPerSecond: intended } = figures;
  if (intended === 0) return countFigure(achieved);
  if (Math.max(achieved, intended) < 99_999.5)
    return `${countFigure(achieved)}/${countFigure(intended)}`;
  return `${shortFigure(achieved)}/${shortFigure(intended)}`;
}

/** Those that fit into this many characters. */
function columnsFor(width: number): readonly Column[] {
  let columns = COLUMNS;
  const total = (): number => columns.reduce((sum, column) => sum + column.width + 1, -1);
  for (let least = 4; least > 0 && total() > width; least--) {
    columns = columns.filter(({ dispensable }) => dispensable !== least);
  }
  return columns;
}

function row(columns: readonly Column[], cell: (column: Column) => string): string {
  const cells = columns.map((column) => {
    const text = cell(column);
    if (column.isLeft === true) return clipped(text, column.width).padEnd(column.width);
    return text.padStart(column.width);
  });
  return cells.join(" ").trimEnd();
}

/** Two lines. @param width of the terminal, in characters */
export function stageHeader(width: number = STAGE_LINE_WIDTH): string {
  const columns = columnsFor(width);
  return [0, 1].map((line) => row(columns, ({ titles }) => titles[line]!)).join("\n");
}

export function stageLine(
  stage: StageReport,
  width: number = STAGE_LINE_WIDTH,
  paint: Paint = paintWith(false),
): string {
  const line = row(columnsFor(width), (column) => column.cell(stage));
  const verdict = verdictText(stage.verdict);
  return line.slice(0, -verdict.length) + paint(verdict, VERDICT_STYLES[stage.verdict]);
}
