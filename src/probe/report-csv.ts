// The run second by second, as CSV (RFC 4180): units in the column names, plain numbers, an empty
// field where a figure is not known.

import type { Report, SeriesPoint, ServerFigures } from "./report.ts";

type PointKey = Exclude<keyof SeriesPoint, "server">;

/** In this order; every field of a point has a column. */
const POINT_COLUMNS: Readonly<Record<PointKey, string>> = {
  atMs: "at_ms",
  stage: "stage_index",
  intended: "intended_connections",
  held: "held_connections",
  connectsPerSecond: "connects_per_second",
  operationsScheduledPerSecond: "operations_scheduled_per_second",
  operationsPerSecond: "operations_per_second",
  failures: "failures_count",
  deaths: "deaths_count",
  responseP50Ms: "response_p50_ms",
  responseP99Ms: "response_p99_ms",
  serviceP50Ms: "service_p50_ms",
  connectP99Ms: "connect_p99_ms",
  latenessP99Ms: "lateness_p99_ms",
  generatorLoopUtilisation: "generator_loop_utilisation_ratio",
  generatorRssBytes: "generator_rss_bytes",
};

const SERVER_COLUMNS: Readonly<Record<keyof ServerFigures, string>> = {
  processes: "server_processes",
  rssBytes: "server_rss_bytes",
  cpuCores: "server_cpu_cores",
  fds: "server_fds",
  fdLimit: "server_fd_limit",
  connections: "server_connections",
  loopLagP99Ms: "server_loop_lag_p99_ms",
  bytesPerConnection: "server_bytes_per_connection",
};

const POINT_KEYS = Object.keys(POINT_COLUMNS) as PointKey[];
const SERVER_KEYS = Object.keys(SERVER_COLUMNS) as (keyof ServerFigures)[];

/** One row a second, below a header; lines end with CR LF. */
export function seriesCsv(report: Pick<Report, "series">): string {
  const header = [...Object.values(POINT_COLUMNS), ...Object.values(SERVER_COLUMNS)];
  const rows = report.series.map((point) => [
    ...POINT_KEYS.map((key) => field(point[key])),
    ...SERVER_KEYS.map((key) => field(point.server?.[key])),
  ]);
  return [header, ...rows].map((row) => `${row.join(",")}\r\n`).join("");
}

/** Digits, a point and a minus sign at most, so that no field needs quotes. */
function field(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return "";
  const rounded = Number(value.toFixed(6));
  if (Math.abs(rounded) >= 1e21) return BigInt(rounded).toString();
  return String(rounded === 0 ? 0 : rounded);
}
