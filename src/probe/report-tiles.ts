// A report's key figures, each beside what was intended or allowed.

import { html, type Markup, NOTHING } from "./markup.ts";
import { formatCount, formatDuration } from "./quantity.ts";
import { countFigure, latencyFigure, msFigure, shareFigure } from "./report-figures.ts";
import type {
  LatencyName,
  LatencySummary,
  OperationFigures,
  Report,
  StageReport,
} from "./report.ts";
import { errorCount, generatorSummary, mainStage } from "./report-summary.ts";

export interface Tile {
  readonly name: string;
  readonly value: string;
  /** What it is to be seen beside. */
  readonly about: string;
  readonly isBad?: boolean;
}

export function tiles(report: Report): Markup {
  const stage = mainStage(report);
  const shown = [
    ...(report.capacity === null ? [] : capacityTiles(report.capacity, stage)),
    ...(report.command !== "capacity" && stage !== null ? loadTiles(report, stage) : []),
    ...latencyTiles(stage),
    ...serverTiles(report, stage),
    errorTile(report),
    ...generatorTiles(report),
  ];
  return tileList(shown);
}

export function tileList(shown: readonly Tile[]): Markup {
  return html`<dl class="tiles">${shown.map(tileMarkup)}</dl>`;
}

function tileMarkup({ name, value, about, isBad = false }: Tile): Markup {
  // A unit after a number is smaller than the number.
  const [, number = value, unit = ""] = /^([0-9.,]+)( .+)$/.exec(value) ?? [];
  const small = unit === "" ? NOTHING : html`<small>${unit}</small>`;
  const style = `value${isBad ? " bad" : ""}${/^[0-9-]/.test(value) ? "" : " word"}`;
  return html`<div class="tile"><dt>${name}</dt><dd class="${style}">${number}${small}</dd>
<dd>${about}</dd></div>`;
}

function capacityTiles(
  { connections, failedAt, confirmed, maxReached }: NonNullable<Report["capacity"]>,
  stage: StageReport | null,
): Tile[] {
  const above = failedAt === null ? "no level failed" : `${formatCount(failedAt)} did not hold`;
  const connect = stage?.operations.connect;
  const capacity = {
    name: "Capacity",
    value: formatCount(connections),
    about: maxReached ? "no limit up to --max" : above,
  };
  const confirmation = {
    name: "Confirmed",
    value: confirmed === null ? "-" : formatCount(confirmed.connections),
    about: confirmed === null ? "not confirmed" : `held for ${formatDuration(confirmed.holdMs)}`,
  };
  const rate = connect === undefined ? [] : [rateTile("Connects/s", connect)];
  return [capacity, confirmation, ...rate];
}

function loadTiles({ load }: Report, stage: StageReport): Tile[] {
  const { echo, publish, connect } = stage.operations;
  const operations = echo ?? publish;
  const { held, intended } = stage.connections;
  const thresholds = load?.thresholds ?? [];
  const passed = thresholds.filter((threshold) => threshold.passed).length;
  const rate =
    operations === undefined
      ? connect === undefined
        ? []
        : [rateTile("Connects/s", connect)]
      : [rateTile("Operations/s", operations)];
  const connections = {
    name: "Connections",
    value: formatCount(held),
    about: `of ${formatCount(intended)} intended`,
    isBad: held < intended,
  };
  const demands = {
    name: "Thresholds",
    value: `${passed} held`,
    about: `of ${thresholds.length}`,
    isBad: passed < thresholds.length,
  };
  return [...rate, connections, ...(thresholds.length === 0 ? [] : [demands])];
}

function rateTile(name: string, figures: OperationFigures): Tile {
  const { achievedPerSecond, intendedPerSecond } = figures;
  return {
    name,
    value: formatCount(achievedPerSecond),
    about: `of ${formatCount(intendedPerSecond)} intended`,
  };
}

const LATENCY_TILES: readonly [LatencyName, string][] = [
  ["connect", "Connect p99"],
  ["response", "Response p99"],
  ["delivery", "Delivery p99"],
];

function latencyTiles(stage: StageReport | null): Tile[] {
  const { service } = stage?.latencies ?? {};
  return LATENCY_TILES.flatMap(([latency, name]) => {
    const summary: LatencySummary | undefined = stage?.latencies[latency];
    if (summary === undefined) return [];
    const about =
      latency === "response" && service !== undefined
        ? `service p99 ${latencyFigure(service.p99)}`
        : `median ${latencyFigure(summary.p50)}`;
    return [{ name, value: latencyFigure(summary.p99), about }];
  });
}

function serverTiles({ server }: Report, stage: StageReport | null): Tile[] {
  const line = server?.bytesPerConnection;
  if (line != null) {
    const about = `per conn., R² ${line.r2.toFixed(4)}`;
    return [{ name: "Server memory", value: `${formatCount(line.slope)} B`, about }];
  }
  const bytes = stage?.server?.bytesPerConnection;
  if (bytes == null) return [];
  return [{ name: "Server memory", value: `${formatCount(bytes)} B`, about: "per connection" }];
}

function errorTile(report: Report): Tile {
  const errors = errorCount(report);
  const dead = report.deaths.reduce((sum, { count }) => sum + count, 0);
  return {
    name: "Errors",
    value: formatCount(errors),
    about: `${countFigure(dead)} of them deaths`,
  };
}

function generatorTiles(report: Report): Tile[] {
  const summary = generatorSummary(report);
  if (summary === null) return [];
  const { latenessP99Ms, latenessLimitMs, loopUtilisation, isLimit } = summary;
  const lateness = `lateness p99 ${msFigure(latenessP99Ms)} of ${latencyFigure(latenessLimitMs)}`;
  return [
    {
      name: "Generator",
      value: isLimit ? "the limit" : "not the limit",
      about: `${lateness}, loop ${shareFigure(loopUtilisation)}`,
      isBad: isLimit,
    },
  ];
}
