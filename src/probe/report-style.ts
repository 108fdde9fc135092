// The style sheet of a report's page. Light or dark as the reader's system is, light on paper. What
// has a colour has a second sign too: lines have dashes, bars have fillings, verdicts have words.

const LIGHT = `
  --page: #f5f6f8; --card: #fff; --ink: #171a1f; --soft: #59626e; --rule: #e1e4e9;
  --grid: #eceef1; --band: #f4f5f8; --tint: #eef2fb;
  --s1: #2458c8; --s2: #bf5600; --s3: #08786f; --s4: #7a3cc9; --s5: #b3175f; --s6: #5d6672;
  --ok: #1a7d4b; --warn: #9a6200; --bad: #c1272d; --bound: #7a3cc9; --halo: #fff;
`;

const DARK = `
  --page: #0e1115; --card: #161a20; --ink: #e7eaee; --soft: #9aa4b0; --rule: #2a3038;
  --grid: #232931; --band: #1b2027; --tint: #1a2233;
  --s1: #7aa8ff; --s2: #ffa65c; --s3: #4bcfc2; --s4: #c3a2ff; --s5: #ff8bc2; --s6: #98a2ae;
  --ok: #4cc98a; --warn: #f2b34c; --bad: #ff766d; --bound: #c3a2ff; --halo: #161a20;
`;

/** Dashes of the line styles 1 to 6. */
const DASHES = ["none", "7 3", "2 3", "9 3 2 3", ".1 9", "1 3"];

const LINES = DASHES.map((dash, index) => {
  const style = index + 1;
  return `.l${style} { stroke: var(--s${style}); stroke-dasharray: ${dash}; }
.f${style} { fill: var(--s${style}); } .a${style} { fill: var(--s${style}); opacity: .11; }`;
}).join("\n");

const VERDICTS = [
  ["ok", "--ok", "var(--ok)"],
  ["missed", "--warn", "url(#hatch)"],
  ["wall", "--bad", "url(#cross)"],
  ["scram", "--bad", "url(#cross)"],
  ["generator-bound", "--bound", "url(#dots)"],
  ["aborted", "--soft", "var(--grid)"],
]
  .map(
    ([verdict, colour, fill]) =>
      `.v-${verdict} { fill: ${fill}; stroke: var(${colour}); } ` +
      `.t-${verdict} { fill: var(${colour}); color: var(${colour}); }`,
  )
  .join("\n");

export const REPORT_STYLE: string = `
:root { color-scheme: light dark; ${LIGHT} }
@media (prefers-color-scheme: dark) { :root { ${DARK} } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.45;
  font: 14px/1.45 Inter, "Segoe UI", -apple-system, Roboto, "Helvetica Neue", Arial,
  "Liberation Sans", system-ui, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1200px; margin: 0 auto; padding: 28px 24px 40px; }
h1 { font-size: 27px; line-height: 1.22; letter-spacing: -.012em; font-weight: 650;
  margin: 10px 0 0;  max-width: 34em; overflow-wrap: anywhere; text-wrap: pretty; }
h2 { font-size: 15px; margin: 30px 0 10px; font-weight: 650; }
h3 { font-size: 13.5px; margin: 0; font-weight: 650; }
p { margin: 0; }
code, .code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  font-size: .92em; overflow-wrap: anywhere; }
.over { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: center; color: var(--soft);
  font-size: 13px; }
.over b { color: var(--ink); font-weight: 600; overflow-wrap: anywhere; }
.badge { border: 1.5px solid; border-radius: 5px; padding: 1px 9px; font-weight: 700;
  letter-spacing: .04em; font-size: 12px; text-transform: uppercase; }
.badge.good { color: var(--ok); } .badge.bad { color: var(--bad); }
.badge.bound { color: var(--bound); border-style: dashed; }
.limit-box { margin: 16px 0 0; padding: 10px 14px; background: var(--tint); border-radius: 7px;
  border-left: 4px solid var(--s1); overflow-wrap: anywhere; }
.limit-box .kind { color: var(--soft); font-size: 12.5px; }
.limit-box p + p { margin-top: 2px; }
.limit-box details { margin-top: 4px; font-size: 13px; color: var(--soft); }
.limit-box ul { margin: 4px 0 0; padding-left: 18px; }
summary { cursor: pointer; }
.tiles { display: flex; flex-wrap: wrap; gap: 1px; margin: 18px 0; background: var(--rule);
  border: 1px solid var(--rule); border-radius: 9px; overflow: hidden; }
.tile { flex: 1 1 130px; background: var(--card); padding: 11px 13px 10px; }
.tile dt { font-size: 12px; color: var(--soft); }
.tile dd { margin: 0; font-size: 12px; color: var(--soft); }
.tile dd.value { font-size: 21px; line-height: 1.3; font-weight: 650; color: var(--ink);
  letter-spacing: -.01em; white-space: nowrap; }
.tile dd.word { font-size: 17px; line-height: 1.62; }
.tile dd.value small { font-size: 12.5px; font-weight: 500; letter-spacing: 0; }
.tile .bad { color: var(--bad); } .tile .good { color: var(--ok); }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 14px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 9px; margin: 0;
  padding: 13px 16px 12px; min-width: 0; break-inside: avoid; }
figure.card { display: flex; flex-direction: column; }
.wide { grid-column: 1 / -1; }
figcaption p { color: var(--soft); font-size: 12.5px; }
figure svg[viewBox] { display: block; width: 100%; height: auto; margin-top: auto;
  padding-top: 8px;  overflow: visible; }
.empty { color: var(--soft); padding: 26px 0 20px; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; padding: 0;
  margin: 7px 0 0; font-size: 12.5px; }
.legend svg { margin-right: 6px; vertical-align: 0; }
.legend b { font-weight: 650; }
svg text { font-size: 11px; fill: var(--soft); }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .strong { fill: var(--ink); font-weight: 600; }
svg .halo { paint-order: stroke; stroke: var(--halo); stroke-width: 3px; stroke-linejoin: round; }
svg path { fill: none; }
svg path[class^=l] { stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
svg path.l5 { stroke-width: 4; }
svg path.grid { stroke: var(--grid); stroke-width: 1; } svg path.tick { stroke: var(--rule); }
svg path.floor { stroke: var(--soft); stroke-width: 1; opacity: .6; }
svg path.limit { stroke: var(--ink); stroke-width: 1.3; stroke-dasharray: 5 4; }
svg text.limit-text { fill: var(--ink); font-weight: 600; }
svg .cursor { visibility: hidden; } svg .cursor path { stroke: var(--soft); stroke-width: 1; }
svg .band0 { fill: var(--band); } svg .band1 { fill: none; } svg .band-text { font-size: 10.5px; }
svg .intended { fill: none; stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 3 2.5; }
svg rect[class^=v-] { stroke-width: 1; }
${LINES}
${VERDICTS}
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 12.5px; }
figure table { margin-top: 8px; }
th, td { text-align: right; padding: 5px 7px; border-bottom: 1px solid var(--grid);
  white-space: nowrap; }
thead th { white-space: normal; color: var(--soft); font-weight: 500; font-size: 12px;
  vertical-align: bottom;  border-bottom: 1px solid var(--rule); }
tbody tr:last-child > * { border-bottom: 0; }
th.left, td.left { text-align: left; } td.wrap { white-space: normal; overflow-wrap: anywhere; }
td .of { color: var(--soft); } tbody th { font-weight: 600; text-align: left; }
td.note { color: var(--soft); font-size: 12px; white-space: normal; text-align: left;
  padding-top: 0; }
tr.noted > * { border-bottom: 0; padding-bottom: 1px; }
td.heat { background: color-mix(in srgb, var(--bad) var(--heat), transparent); font-weight: 600; }
td.none { color: var(--rule); }
.verdict { font-weight: 650; } .verdict.t-ok { font-weight: 500; }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 18px; margin: 0;
  font-size: 13px; }
.facts dt { color: var(--soft); } .facts dd { margin: 0; overflow-wrap: anywhere; }
.charts.overview { margin-top: 14px; }
.overview svg text { font-size: 12px; }
table.summary td.wrap { min-width: 196px; }
table a { color: inherit; text-decoration-color: var(--soft); text-underline-offset: 3px; }
section { margin-top: 34px; padding-top: 20px; border-top: 1px solid var(--rule); }
section h2 { font-size: 19px; margin: 6px 0 2px; letter-spacing: -.008em; }
section > .card, section > .charts { margin-top: 14px; }
.question { font-size: 15px; } .plan { color: var(--soft); font-size: 13px; margin-top: 2px; }
.why { margin-top: 6px; font-weight: 600; } .badge.quiet { color: var(--soft); }
footer { margin-top: 22px; color: var(--soft); font-size: 12px; }
@media (max-width: 760px) { .charts { grid-template-columns: minmax(0, 1fr); }
  main { padding: 18px 12px; } h1 { font-size: 22px; }
  .wide { overflow-x: auto; } .wide svg[viewBox] { min-width: 720px; } }
@media print { :root { color-scheme: light; ${LIGHT} --page: #fff; }
  main { padding: 0; max-width: none; } body { font-size: 11px; } .scroll { overflow: visible; }
  .card, .tiles, tr { break-inside: avoid; }
  section { break-before: page; border-top: 0; } td, th { padding: 3px 5px; } }
`;
