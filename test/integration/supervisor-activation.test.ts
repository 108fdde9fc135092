// Sockets that somebody else holds, as systemd does: the server is found behind them, and even the
// supervisor can be replaced without an attempt being lost.
import { spawnSync } from "node:child_process";
import { createServer } from "node:net";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { closeHeldSockets, openHeldSockets } from "../../src/transport/held-socket.ts";
import { AttemptLoad } from "../support/attempt-load.ts";
import { LoadClient } from "../support/load-client.ts";
import { hasNative } from "../support/native.ts";
import {
  killNoting,
  LOOPBACK,
  type Ports,
  SupervisedServer,
} from "../support/supervised-server.ts";

const ACTIVATE = "systemd-socket-activate";
const hasActivate = spawnSync(ACTIVATE, ["--version"]).status === 0;
const SOON = [
  "--drain-grace-ms=300",
  "--drain-reconnect-spread-ms=100",
  "--drain-close-spread-ms=100",
];
/** systemd's convention: the variable names the process that is to take the sockets. */
const AS_SYSTEMD = ["sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"'];

async function freePort(): Promise<number> {
  const server = createServer().listen(0, LOOPBACK);
  await once(server, "listening");
  const { port } = server.address() as { readonly port: number };
  await once(server.close(), "close");
  return port;
}

// Skipped where systemd's tool is not installed.
describe.skipIf(!hasActivate || !hasNative)("under systemd-socket-activate", () => {
  test("the server serves on the sockets that it is given", async () => {
    const ports = { tcp: await freePort(), websocket: await freePort(), admin: await freePort() };
    const sockets = [ports.tcp, ports.websocket].flatMap((port) => ["-l", `${LOOPBACK}:${port}`]);
    const launcher = [ACTIVATE, ...sockets, "--fdname=tcp:websocket"];
    const options = { workers: 2, flags: SOON, ports, launcher };
    const server = SupervisedServer.launch(options, onTestFinished);
    await server.until(() => server.errorText.includes("Listening on"), "the sockets are there");
    // The first client is what starts the server; it waits in the kernel meanwhile.
    for (const transport of ["tcp", "websocket", "tcp", "websocket"] as const) {
      const client = await LoadClient.open({ transport, port: ports[transport] });
      await client.echo();
      await client.leave();
    }
    await server.serving();
    expect(await server.reload()).toMatchObject({ completed: 1, problem: null });
    const client = await LoadClient.open({ transport: "tcp", port: ports.tcp });
    await client.echo();
    await client.leave();
    expect(await server.stop()).toBe(0);
    await server.nothingIsLeft();
  });
});

interface Parent {
  readonly ports: Ports;
  /** Starts a server on the sockets that stay open here. */
  launch(): SupervisedServer;
  close(): void;
}

async function parent(): Promise<Parent> {
  const opening = ["TCP", "WebSocket"].map((what) =>
    openHeldSockets({ what, host: LOOPBACK, port: 0, path: null, backlog: 4_096, count: 1 }),
  );
  const [tcp, websocket] = await Promise.all(opening);
  const files = [...tcp!.files, ...websocket!.files];
  let isOpen = true;
  const close = (): void => {
    if (isOpen) closeHeldSockets(files);
    isOpen = false;
  };
  onTestFinished(close);
  const admin = await freePort();
  const ports = { tcp: tcp!.address.port, websocket: websocket!.address.port, admin };
  const env = { LISTEN_FDS: "2", LISTEN_FDNAMES: "tcp:websocket" };
  const options = { workers: 2, flags: SOON, files, ports, env, launcher: AS_SYSTEMD };
  return { ports, launch: () => SupervisedServer.launch(options, onTestFinished), close };
}

describe.skipIf(!hasNative)("a supervisor that is replaced while its sockets are held", () => {
  test.each([
    ["stopped", "SIGTERM"],
    ["killed", "SIGKILL"],
  ] as const)("and was %s loses no attempt, and leaves nobody untold", async (_how, name) => {
    const { ports, launch, close } = await parent();
    let server = launch();
    await server.serving();
    const load = new AttemptLoad({ ports, comers: 32, stayers: 60, pauseMs: 50 });
    await load.start();
    for (let count = 0; count < 3; count++) {
      server.child.kill(name);
      await server.ended;
      server = launch();
      await server.serving();
      await delay(300);
    }
    // Its workers may be killed as well.
    const [victim] = await server.workers();
    load.killed(await killNoting(victim!.pid));
    await server.until(async () => (await server.workers()).length === 2, "it is replaced");
    await load.stop();
    expect(load.lostAttempts).toEqual([]);
    expect(load.untold).toEqual([]);
    expect(load.counts.told).toBeGreaterThan(3 * 50);
    expect(load.counts.echoes).toBeGreaterThan(200);
    expect(await server.stop()).toBe(0);
    close();
    await server.nothingIsLeft();
  });
});

test.skipIf(!hasNative)("sockets that are meant for another process are left alone", async () => {
  const { ports } = await parent();
  const env = { LISTEN_FDS: "2", LISTEN_FDNAMES: "tcp:websocket", LISTEN_PID: "1" };
  const server = await SupervisedServer.start({ workers: 1, flags: SOON, env }, onTestFinished);
  expect(server.ports.tcp).not.toBe(ports.tcp);
  const client = await LoadClient.open({ transport: "tcp", port: server.ports.tcp });
  await client.echo();
  await client.leave();
  expect(await server.stop()).toBe(0);
});

test.each([
  ["a name that no listener has", { LISTEN_FDS: "1", LISTEN_FDNAMES: "http" }, /"http".*name it/],
  ["no name", { LISTEN_FDS: "1" }, /has no name/],
  ["a count that is none", { LISTEN_FDS: "many" }, /LISTEN_FDS/],
])("a socket with %s keeps the server from starting", async (_what, env, told) => {
  const options = { workers: 1, flags: SOON, env, launcher: AS_SYSTEMD };
  const server = SupervisedServer.launch(options, onTestFinished);
  expect(await server.ended).not.toBe(0);
  expect(server.errorText).toMatch(told);
});
