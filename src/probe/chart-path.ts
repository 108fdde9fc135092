// Figures over time as the path of a line: gaps where nothing is known, and no more points than can
// be seen.

/** A point of a drawing. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** More than this many are thinned out: two for each bucket, of which there are half as many. */
const POINTS_MAX = 600;

/**
 * Which figures to draw: all where there are few; else the least and the greatest of every bucket,
 * so that no peak is lost. A bucket in which nothing is known stays a gap.
 */
export function thinned(values: readonly (number | null)[], max: number = POINTS_MAX): number[] {
  if (values.length <= max) return values.map((_, index) => index);
  const buckets = Math.floor(max / 2);
  const chosen: number[] = [];
  for (let bucket = 0; bucket < buckets; bucket++) {
    const start = Math.floor((bucket * values.length) / buckets);
    const end = Math.floor(((bucket + 1) * values.length) / buckets);
    let least = start;
    let greatest = start;
    for (let index = start; index < end; index++) {
      const value = values[index];
      if (value == null) continue;
      if ((values[least] ?? Infinity) > value) least = index;
      if ((values[greatest] ?? -Infinity) < value) greatest = index;
    }
    chosen.push(Math.min(least, greatest));
    if (least !== greatest) chosen.push(Math.max(least, greatest));
  }
  return chosen;
}

/** `M1 2L3 4`; a null lifts the pen. A point alone becomes a dot, where lines end round. */
export function linePath(points: readonly (Point | null)[]): string {
  let path = "";
  let isDown = false;
  for (const [index, point] of points.entries()) {
    if (point === null) {
      isDown = false;
      continue;
    }
    path += `${isDown ? "L" : "M"}${place(point.x)} ${place(point.y)}`;
    if (!isDown && points[index + 1] == null) path += "h0";
    isDown = true;
  }
  return path;
}

/** What lies between a line and the floor, gap by gap. */
export function areaPath(points: readonly (Point | null)[], floor: number): string {
  let path = "";
  let run: Point[] = [];
  for (const point of [...points, null]) {
    if (point !== null) {
      run.push(point);
      continue;
    }
    if (run.length > 1) {
      path += `${linePath(run)}L${place(run.at(-1)!.x)} ${place(floor)}`;
      path += `L${place(run[0]!.x)} ${place(floor)}Z`;
    }
    run = [];
  }
  return path;
}

/** A tenth of a pixel is as much as anybody sees. */
export function place(coordinate: number): number {
  return Math.round(coordinate * 10) / 10;
}
