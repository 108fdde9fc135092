import { it } from "vitest";
import { writeFileSync } from "node:fs";
import { reportText } from "../../src/probe/report-text.ts";
import { capacityReport, loadReport } from "../support/probe-report.ts";
it("x", () => {
  for (const [n, r] of [
    ["c", capacityReport()],
    ["l", loadReport()],
  ] as const) {
    writeFileSync(`/tmp/h4-${n}.json`, JSON.stringify(r));
    console.log(reportText(r, { colour: false, width: 100 }));
  }
});
import { reportReference } from "../../src/probe/report-reference.ts";
it("docs", () => writeFileSync("docs/probe-report.md", `<!-- Generated from src/probe/report-schema.ts by scripts/generate-docs.mjs. Do not edit. -->\n\n${reportReference()}`));
import { reportHtml } from "../../src/probe/report-html.ts";
it("html", () => { for (const [n, r] of [["c", capacityReport()], ["l", loadReport()]] as const) { const t = reportHtml(r); console.log(n, t.length); writeFileSync(`/tmp/h4-${n}.html`, t); } });
