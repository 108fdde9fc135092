// Workers that are killed, stopped or full, and a log that nobody takes: who has nothing to do with
// it notices nothing, and who waits is served.
import { openSync, closeSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { AttemptLoad } from "../support/attempt-load.ts";
import { LoadClient } from "../support/load-client.ts";
import { hasNative } from "../support/native.ts";
import { publish, subscribe } from "../support/raw-message.ts";
import {
  isAlive,
  killNoting,
  LOOPBACK,
  signal,
  SupervisedServer,
  type WorkerRow,
} from "../support/supervised-server.ts";

/** Of one worker, for clients that do not read. */
const QUEUED_BYTES = 50_000_000;
const SOON = ["--drain-grace-ms=500", "--drain-close-spread-ms=200"];

async function start(workers: number, ...flags: string[]): Promise<SupervisedServer> {
  return await SupervisedServer.start({ workers, flags: [...SOON, ...flags] }, onTestFinished);
}

async function connect(server: SupervisedServer, count: number): Promise<LoadClient[]> {
  const target = { transport: "tcp", port: server.ports.tcp } as const;
  const clients = await Promise.all(Array.from({ length: count }, () => LoadClient.open(target)));
  onTestFinished(() => clients.forEach((client) => client.destroy()));
  return clients;
}

/** Its worker: the upper half of the number that its id begins with. */
function workerOf({ welcome }: LoadClient): number {
  return Math.floor(Number.parseInt(welcome!.connectionId.split("-")[0]!, 36) / 2 ** 32);
}

/** In milliseconds, until another worker serves the slot. */
async function untilReplaced(server: SupervisedServer, { slot, pid }: WorkerRow): Promise<number> {
  const startedAt = performance.now();
  await server.until(
    async () => (await server.workers()).some((row) => row.slot === slot && row.pid !== pid),
    `slot ${slot} has another worker`,
  );
  return performance.now() - startedAt;
}

describe.skipIf(!hasNative)("a worker that is killed", () => {
  test("while it is the busiest and full, takes only its own clients with it", async () => {
    const server = await start(
      3,
      "--send-queue-bytes-max=16777216",
      "--send-stall-timeout-ms=60000",
    );
    const stuck = await connect(server, 60);
    for (const client of stuck) {
      expect((await client.ask((id) => subscribe(id, "flood"))).body).toBe("result");
      client.stopReading();
    }
    const bystanders = await connect(server, 60);
    const [publisher] = await connect(server, 1);
    let [busiest] = await server.workers();
    // The kernel takes some megabytes for each before anything is queued here.
    for (let count = 0; busiest!.queueBytes! < QUEUED_BYTES && count < 1_000; count++) {
      await publisher!.ask((id) => publish(id, "flood", Buffer.alloc(60_000)));
      if (count % 20 > 0) continue;
      const rows = await server.workers();
      [busiest] = rows.sort((a, b) => b.queueBytes! - a.queueBytes!);
    }
    expect(busiest!.queueBytes).toBeGreaterThanOrEqual(QUEUED_BYTES);
    signal(busiest!.pid, "SIGKILL");
    const during = Array.from({ length: 40 }, (_, index) =>
      LoadClient.open({ transport: index % 2 === 0 ? "tcp" : "websocket", port: portOf(index) }),
    );
    function portOf(index: number): number {
      return index % 2 === 0 ? server.ports.tcp : server.ports.websocket;
    }
    const elapsedMs = await untilReplaced(server, busiest!);
    for (const client of await Promise.all(during)) client.destroy();
    const [own, others] = split(bystanders, busiest!.worker);
    await Promise.all(own.map(({ ended }) => ended));
    for (const client of others) await client.echo();
    expect(own.length).toBeGreaterThan(0);
    expect(others.length).toBeGreaterThan(0);
    expect(elapsedMs).toBeLessThan(5_000);
    const { supervisor } = await server.stats();
    expect(supervisor).toMatchObject({ crashes: 1, restarts: 1 });
  });

  test("leaves its waiting clients to its siblings where it does not come back", async () => {
    const server = await start(2);
    const [victim] = await server.workers();
    let { pid } = victim!;
    // Each that is started in its place is killed too, until the slot is given up for a minute.
    for (let crashes = 1; crashes <= 5; crashes++) {
      signal(pid, "SIGKILL");
      if (crashes === 5) break;
      await untilReplaced(server, { ...victim!, pid });
      pid = (await server.workers()).find(({ slot }) => slot === victim!.slot)!.pid;
    }
    const isBroken = async (): Promise<boolean> =>
      (await server.stats()).supervisor.breakersOpen.includes(victim!.slot);
    await server.until(isBroken, "its breaker is open");
    const ready = await server.get("/readyz");
    expect(ready.status).toBe(503);
    expect(await ready.text()).toContain(`Slots: ${victim!.slot}`);
    expect((await server.get("/healthz")).status).toBe(200);
    // Half of them knock at the slot that nobody serves.
    for (const client of await connect(server, 40)) await client.echo();
    expect(await server.reload()).toMatchObject({ completed: 1, problem: null });
    expect((await server.get("/readyz")).status).toBe(200);
    expect(await server.workers()).toHaveLength(2);
    expect(await server.stop()).toBe(0);
    await server.nothingIsLeft();
  });
});

function split(clients: readonly LoadClient[], worker: number): [LoadClient[], LoadClient[]] {
  return [
    clients.filter((client) => workerOf(client) === worker),
    clients.filter((client) => workerOf(client) !== worker),
  ];
}

describe.skipIf(!hasNative)("a worker that is stopped", () => {
  test("has a sibling serve its newcomers, and goes on when it is continued", async () => {
    const server = await start(2, "--workers-unresponsive-ms=15000");
    const [victim] = await server.workers();
    const held = await connect(server, 40);
    const [own, others] = split(held, victim!.worker);
    expect(own.length).toBeGreaterThan(0);
    signal(victim!.pid, "SIGSTOP");
    // Each waits 5 s at most; half of them are the stopped worker's by right.
    const newcomers = await connect(server, 40);
    const adopted = newcomers.filter((client) => workerOf(client) !== victim!.worker);
    expect(adopted).toHaveLength(40);
    for (const client of others) await client.echo();
    signal(victim!.pid, "SIGCONT");
    for (const client of own) await client.echo();
    const isBack = async (): Promise<boolean> => {
      const fresh = await connect(server, 20);
      return fresh.some((client) => workerOf(client) === victim!.worker);
    };
    await server.until(isBack, "it accepts again");
    expect((await server.stats()).supervisor).toMatchObject({ crashes: 0, restarts: 0 });
  });

  test("is killed and replaced when it stays stopped", async () => {
    const server = await start(2, "--workers-unresponsive-ms=2000");
    const [victim] = await server.workers();
    const held = await connect(server, 40);
    const [own, others] = split(held, victim!.worker);
    signal(victim!.pid, "SIGSTOP");
    await untilReplaced(server, victim!);
    expect(isAlive(victim!.pid)).toBe(false);
    await Promise.all(own.map(({ ended }) => ended));
    for (const client of others) await client.echo();
    for (const client of await connect(server, 20)) await client.echo();
    const said = server.log.map(({ msg }) => String(msg));
    expect(said.filter((text) => text.includes("did not answer for 2000 ms"))).not.toEqual([]);
  });

  test("while it drains does not hold up a rolling restart", async () => {
    const server = await start(2, "--workers-unresponsive-ms=2000", "--drain-grace-ms=3000");
    const [victim] = await server.workers();
    const held = await connect(server, 20);
    const reloading = server.reload();
    const [own, others] = split(held, victim!.worker);
    await server.until(() => own.some(({ goAway }) => goAway !== null), "it drains");
    signal(victim!.pid, "SIGSTOP");
    for (const client of others) client.destroy();
    expect(await reloading).toMatchObject({ completed: 1, problem: null });
    expect(isAlive(victim!.pid)).toBe(false);
  });

  test("is not taken for one by a supervisor that was stopped itself", async () => {
    const server = await start(2, "--workers-unresponsive-ms=2000");
    const pids = (await server.workers()).map(({ pid }) => pid);
    signal(server.pid, "SIGSTOP");
    await delay(2_500);
    for (const client of await connect(server, 20)) await client.echo();
    signal(server.pid, "SIGCONT");
    await delay(500);
    expect((await server.workers()).map(({ pid }) => pid)).toEqual(pids);
    expect((await server.stats()).supervisor).toMatchObject({ crashes: 0, restarts: 0 });
  });

  test("does not keep the server from stopping", async () => {
    const server = await start(2, "--drain-grace-ms=100", "--drain-close-spread-ms=0");
    const [victim] = await server.workers();
    signal(victim!.pid, "SIGSTOP");
    server.child.kill("SIGTERM");
    await server.logged(({ msg }) => msg === "stopping", "it stops");
    server.child.kill("SIGTERM");
    expect(await server.ended).toBe(0);
    await server.nothingIsLeft();
  });
});

test("a log that fills the disk harms nobody, and what is lost is counted", async () => {
  const full = openSync("/dev/full", "w");
  onTestFinished(() => closeSync(full));
  const ports = await freePorts();
  const flags = [...SOON, "--log-level=debug"];
  const options = { workers: 2, flags, stdout: full, ports };
  const server = SupervisedServer.launch(options, onTestFinished);
  await server.until(() => isReady(server), "it is ready");
  const clients = await connect(server, 40);
  for (const client of clients) await client.echo();
  const [victim] = await server.workers();
  signal(victim!.pid, "SIGKILL");
  await untilReplaced(server, victim!);
  for (const client of await connect(server, 10)) await client.echo();
  expect(await server.metric("holdfast_log_lost_total")).toBeGreaterThan(0);
  expect(await server.stop()).toBe(0);
  expect(server.errorText).toBe("");
});

async function isReady(server: SupervisedServer): Promise<boolean> {
  try {
    return (await server.get("/readyz")).ok;
  } catch {
    return false;
  }
}

async function freePorts(): Promise<{ tcp: number; websocket: number; admin: number }> {
  const servers = Array.from({ length: 3 }, () => createServer().listen(0, LOOPBACK));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const [tcp, websocket, admin] = servers.map(
    (server) => (server.address() as { readonly port: number }).port,
  );
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return { tcp: tcp!, websocket: websocket!, admin: admin! };
}

describe.skipIf(!hasNative)("SIGTERM under load", () => {
  test("tells everybody to go, and ends with 0 within grace and spread", async () => {
    const server = await start(2, "--drain-grace-ms=800", "--drain-close-spread-ms=800");
    const [tcp, websocket] = [server.ports.tcp, server.ports.websocket];
    const clients = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        index % 2 === 0
          ? LoadClient.open({ transport: "tcp", port: tcp })
          : LoadClient.open({ transport: "websocket", port: websocket }),
      ),
    );
    onTestFinished(() => clients.forEach((client) => client.destroy()));
    let isOver = false;
    const echoing = clients.slice(0, 50).map(async (client) => {
      while (!isOver && !client.hasEnded) await client.echo().catch(() => {});
    });
    const startedAt = performance.now();
    const code = await server.stop();
    const elapsedMs = performance.now() - startedAt;
    isOver = true;
    await Promise.all(echoing);
    expect(code).toBe(0);
    const ends = await Promise.all(clients.map(({ ended }) => ended));
    expect(ends.filter((how) => how !== "fin")).toEqual([]);
    expect(clients.filter(({ goAway }) => goAway?.code !== 3_000)).toEqual([]);
    expect(elapsedMs, "nobody left early, so it took all of the grace period").toBeGreaterThan(800);
    expect(elapsedMs).toBeLessThan(800 + 800 + 3_000);
    await server.nothingIsLeft();
  });

  test("given twice, ends at once", async () => {
    const server = await start(2, "--drain-grace-ms=600000");
    const clients = await connect(server, 50);
    server.child.kill("SIGTERM");
    const areTold = (): boolean => clients.every(({ goAway }) => goAway !== null);
    await server.until(areTold, "all are told");
    const startedAt = performance.now();
    server.child.kill("SIGTERM");
    expect(await server.ended).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    await server.nothingIsLeft();
  });
});

test("without the native addon no attempt over TCP is lost either", async () => {
  const flags = ["--transport=tcp-net", "--websocket-enabled=false"];
  const server = await start(2, ...flags, "--drain-reconnect-spread-ms=100");
  const { tcp, admin } = server.ports;
  const ports = { tcp, websocket: tcp, admin };
  const load = new AttemptLoad({ ports, comers: 32, stayers: 50, pauseMs: 50, onlyTcp: true });
  await load.start();
  for (let count = 0; count < 3; count++) {
    expect(await server.reload()).toMatchObject({ problem: null });
    const [victim] = await server.workers();
    load.killed(await killNoting(victim!.pid));
    await untilReplaced(server, victim!);
    await delay(100);
  }
  await load.stop();
  expect(load.lostAttempts).toEqual([]);
  expect(load.untold).toEqual([]);
  expect(load.counts.echoes).toBeGreaterThan(100);
});
