// The gate of rolling restarts and kills, for long: the same test as in the suite, with more of
// both. Usage: npm run test:gates -- [--restarts N] [--kills N] [--json]. Progress goes to standard
// error; exits with 0 where not one attempt to connect was lost.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const gate = join("test", "integration", "supervisor-attempts.test.ts");

const { restarts, kills, json } = readArguments();
const folder = mkdtempSync(join(tmpdir(), "holdfast-gates-"));
const file = join(folder, "report.json");
try {
  const { status } = spawnSync(
    process.execPath,
    [vitest, "run", "--project", "integration", gate],
    {
      cwd: root,
      stdio: ["ignore", process.stderr, process.stderr],
      env: {
        ...process.env,
        HOLDFAST_GATE_RESTARTS: String(restarts),
        HOLDFAST_GATE_KILLS: String(kills),
        HOLDFAST_GATE_REPORT: file,
      },
    },
  );
  const report = JSON.parse(readFileSync(file, "utf8"));
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : sentence(report));
  process.exitCode = status === 0 ? 0 : 1;
} catch (error) {
  process.stderr.write(`the gate ended without a report: ${error.message}\n`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function readArguments() {
  const options = {
    restarts: { type: "string", default: "200" },
    kills: { type: "string", default: "50" },
    json: { type: "boolean", default: false },
  };
  try {
    const { values } = parseArgs({ options });
    for (const name of ["restarts", "kills"]) {
      if (!/^\d{1,6}$/.test(values[name])) throw new Error(`--${name} takes a number`);
    }
    return values;
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exit(2);
  }
}

function sentence({ restarts, kills, seconds, served, lostAttempts, untold, ...rest }) {
  const { all, early } = rest.killedConnections;
  return (
    `${restarts} rolling restarts and ${kills} kills in ${Math.round(seconds)} s: ` +
    `${served} attempts served, ${lostAttempts.length} lost; ` +
    `${untold.length} connections ended untold; ` +
    `${all} ended with the worker that was killed, ${early} of them before their Hello's answer\n`
  );
}
