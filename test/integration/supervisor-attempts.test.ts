// Restarting and killing workers while clients come, go and stay: no attempt to connect is lost.
// scripts/long-gates.mjs runs it with more of both.
import { writeFileSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { AttemptLoad } from "../support/attempt-load.ts";
import { hasNative } from "../support/native.ts";
import { killNoting, SupervisedServer } from "../support/supervised-server.ts";

const env = process.env;
const RESTARTS = Number(env["HOLDFAST_GATE_RESTARTS"] ?? 30);
const KILLS = Number(env["HOLDFAST_GATE_KILLS"] ?? 10);
/** A file that takes the figures. */
const REPORT = env["HOLDFAST_GATE_REPORT"];
const PAUSE_MS = 100;
/** Far above what either takes on a machine that does much else. */
const TIMEOUT_MS = 60_000 + 10_000 * (RESTARTS + KILLS);

const FLAGS = [
  "--drain-grace-ms=500",
  "--drain-reconnect-spread-ms=100",
  "--drain-close-spread-ms=200",
];

function told(text: string): void {
  if (REPORT !== undefined) process.stderr.write(`${text}\n`);
}

test.skipIf(!hasNative)(
  `${RESTARTS} rolling restarts and ${KILLS} kills of workers lose not one attempt to connect`,
  async () => {
    const server = await start();
    const load = new AttemptLoad({
      ports: server.ports,
      comers: 64,
      stayers: 300,
      pauseMs: PAUSE_MS,
    });
    await load.start();
    const startedAt = performance.now();
    let restarts = 0;
    let kills = 0;
    while (restarts < RESTARTS || kills < KILLS) {
      if (restarts < RESTARTS) {
        expect(await server.reload()).toMatchObject({ problem: null, failed: 0 });
        restarts++;
      }
      if (kills < KILLS && kills * RESTARTS <= restarts * KILLS) {
        await killOne(server, load, kills++);
      }
      const { served, told: went } = load.counts;
      told(`${restarts} restarts, ${kills} kills: ${served} attempts served, ${went} told to go`);
    }
    await load.stop();
    const seconds = (performance.now() - startedAt) / 1_000;
    const { lostAttempts, untold, killedConnections, counts, goAwaysWithoutTime } = load;
    const figures = { restarts, kills, seconds, ...counts, killedConnections };
    told(JSON.stringify(figures));
    if (REPORT !== undefined) {
      writeFileSync(
        REPORT,
        JSON.stringify({ ...figures, lostAttempts, untold, goAwaysWithoutTime }),
      );
    }
    expect(lostAttempts).toEqual([]);
    expect(untold).toEqual([]);
    expect(goAwaysWithoutTime).toBe(0);
    // The load was there: who stays was moved by every restart, and somebody came all the time.
    expect(counts.told).toBeGreaterThan(200 * RESTARTS);
    expect(counts.echoes).toBeGreaterThan(seconds * 100);
    expect(killedConnections.all).toBeGreaterThan(10 * KILLS);
    expect(await server.stop()).toBe(0);
    await server.nothingIsLeft();
  },
  TIMEOUT_MS,
);

async function start(): Promise<SupervisedServer> {
  return await SupervisedServer.start({ workers: 2, flags: FLAGS }, onTestFinished);
}

/** Once it is killed, its slot is served again; five crashes in a minute would open the breaker. */
async function killOne(server: SupervisedServer, load: AttemptLoad, count: number): Promise<void> {
  const workers = await server.workers();
  const victim = workers[count % workers.length]!;
  load.killed(await killNoting(victim.pid));
  await server.until(async () => {
    const now = await server.workers();
    return now.length === 2 && now.every(({ pid }) => pid !== victim.pid);
  }, "the slot has a worker again");
}
