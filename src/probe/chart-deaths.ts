// How old connections were when they ended without our doing. One cause at one age is a timeout.

import { linearAxis } from "./chart-axis.ts";
import { canvas, drawing, emptyFigure, figure, leftAxis, type LineStyle } from "./chart-frame.ts";
import { place } from "./chart-path.ts";
import { html, type Markup, NOTHING } from "./markup.ts";
import { formatDuration } from "./quantity.ts";
import { ageFigure, countFigure, countOf } from "./report-figures.ts";
import { DEATH_AGES_MS, type DeathCount } from "./report.ts";

const TITLE = "Age at death";
/** Codes that have a filling of their own; the rest is one. */
const CODES_SHOWN = 4;
const STYLES: readonly LineStyle[] = [2, 1, 4, 3, 6];

export function deathsFigure(deaths: readonly DeathCount[]): Markup {
  const rows = shownRows(deaths);
  const all = rows.reduce((sum, { count }) => sum + count, 0);
  if (all === 0) return emptyFigure(TITLE, "No connection ended that was not ended by the probe.");
  const area = canvas(false, { left: 46, right: 8 });
  const ages = DEATH_AGES_MS.length + 1;
  const sums = Array.from({ length: ages }, (_, age) =>
    rows.reduce((sum, { byAge }) => sum + (byAge[age] ?? 0), 0),
  );
  const scale = linearAxis(Math.max(...sums), "count", area.y);
  const slot = (area.x.to - area.x.from) / ages;
  const columns = sums.map((sum, age) => {
    const x = area.x.from + (age + 0.12) * slot;
    let below = 0;
    const boxes = rows.map(({ code, byAge }, index) => {
      const count = byAge[age] ?? 0;
      const [top, floor] = [scale.at(below + count), scale.at(below)];
      below += count;
      if (count === 0) return NOTHING;
      const tip = `${code}: ${countFigure(count)} ${ageFigure(DEATH_AGES_MS, age)}`;
      return html`<rect class="f${STYLES[index]!}" x="${place(x)}" y="${place(top)}"
 width="${place(slot * 0.76)}" height="${place(floor - top)}"><title>${tip}</title></rect>`;
    });
    const middle = area.x.from + (age + 0.5) * slot;
    const number = html`<text class="middle strong halo" x="${place(middle)}"
 y="${place(scale.at(sum) - 5)}">${countFigure(sum)}</text>`;
    return html`${boxes}${sum === 0 ? NOTHING : number}<text class="middle" x="${place(middle)}"
 y="${area.y.from + 17}">${ageLabel(age)}</text>`;
  });
  const floor = html`<path class="floor" d="M${area.x.from} ${area.y.from}H${area.x.to}"/>`;
  const note = `${countOf(all, "connection")} ended although the probe did not end them`;
  return figure({
    title: TITLE,
    note,
    legend: rows.map(({ code, count }, index) => ({
      label: `${code} ${countFigure(count)}`,
      box: `f${STYLES[index]!}`,
    })),
    body: drawing(area, `${TITLE}: ${note}`, [leftAxis(area, scale, "deaths"), floor, ...columns]),
  });
}

type Row = Pick<DeathCount, "code" | "count" | "byAge">;

/** The most frequent codes, and all others as one. */
function shownRows(deaths: readonly DeathCount[]): readonly Row[] {
  const sorted = deaths.toSorted((a, b) => b.count - a.count);
  const others = sorted.slice(CODES_SHOWN);
  if (others.length === 0) return sorted;
  const byAge = [...DEATH_AGES_MS, 0].map((_, age) =>
    others.reduce((sum, death) => sum + (death.byAge[age] ?? 0), 0),
  );
  const count = others.reduce((sum, death) => sum + death.count, 0);
  const rest = { code: countOf(others.length, "other code"), count, byAge };
  return [...sorted.slice(0, CODES_SHOWN), rest];
}

function ageLabel(age: number): string {
  const bound = DEATH_AGES_MS[age];
  return bound === undefined ? "older" : `<${formatDuration(bound)}`;
}
