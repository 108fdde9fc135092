// A supervisor that is killed leaves nothing behind: its workers end their clients in order, and
// themselves.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { hasNative } from "../support/native.ts";
import { RawClient } from "../support/raw-client.ts";
import { isAlive, signal, SupervisedServer } from "../support/supervised-server.ts";

const SOON = ["--drain-grace-ms=500", "--drain-close-spread-ms=200"];
const KINDS = ["tcp-net", ...(hasNative ? ["tcp-epoll"] : [])];
/** Without the addon every uWebSockets.js listens by itself, which needs to know its port. */
const noWebSocket = (kind: string): string[] =>
  kind === "tcp-net" ? ["--websocket-enabled=false"] : [];

describe.each(KINDS)("a supervisor that is killed, with %s", (kind) => {
  const flags = [`--transport=${kind}`, ...noWebSocket(kind), ...SOON];

  test("leaves workers that tell every client to go, serve it meanwhile, and end", async () => {
    const server = await SupervisedServer.start({ workers: 3, flags }, onTestFinished);
    const { tcp, websocket } = server.ports;
    const clients = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        kind === "tcp-epoll" && index % 2 === 1
          ? RawClient.active({ transport: "websocket", port: websocket })
          : RawClient.active({ transport: "tcp", port: tcp }),
      ),
    );
    // Whoever is quickest takes clients from a socket that all share: perhaps one took them all.
    const busy = (await server.workers()).filter(({ connections }) => connections! > 0);
    expect(busy).toHaveLength(kind === "tcp-epoll" ? 3 : busy.length);
    server.child.kill("SIGKILL");
    await clients[0]!.echo("served until it goes");
    const endings = await Promise.all(clients.map((client) => client.ending()));
    for (const ending of endings)
      expect(ending).toMatchObject({ how: "fin", goAway: { code: 3000 } });
    await server.nothingIsLeft();
    expect(server.errorText).toBe("");
  });

  test("leaves no file of a Unix socket, and the next server listens there", async () => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-orphans-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, "hf.sock");
    const onPath = [...flags, `--tcp-path=${path}`, "--websocket-enabled=false"];
    const first = await SupervisedServer.start({ workers: 2, flags: onPath }, onTestFinished);
    first.child.kill("SIGKILL");
    await first.nothingIsLeft();
    expect(existsSync(path)).toBe(false);
    const second = await SupervisedServer.start({ workers: 2, flags: onPath }, onTestFinished);
    expect(await second.stop()).toBe(0);
    expect(existsSync(path)).toBe(false);
  });
});

test("no worker is left behind that was starting when the supervisor was killed", async () => {
  const server = SupervisedServer.launch({ workers: 3, flags: SOON }, onTestFinished);
  await server.logged(({ msg }) => msg === "a worker starts", "a worker starts");
  server.child.kill("SIGKILL");
  await server.ended;
  await expect.poll(() => [...server.workerPids].filter(isAlive), { timeout: 20_000 }).toEqual([]);
});

test("a worker that was stopped when its supervisor was killed ends in order", async () => {
  const server = await SupervisedServer.start({ workers: 2, flags: SOON }, onTestFinished);
  const client = await RawClient.active({ transport: "tcp", port: server.ports.tcp });
  const pids = [...server.workerPids];
  for (const pid of pids) signal(pid, "SIGSTOP");
  server.child.kill("SIGKILL");
  await server.ended;
  for (const pid of pids) signal(pid, "SIGCONT");
  expect(await client.ending()).toMatchObject({ how: "fin", goAway: { code: 3000 } });
  await server.nothingIsLeft();
});

test("Ctrl+C, which every process hears, stops it in order", async () => {
  const server = await SupervisedServer.start({ workers: 2, flags: SOON }, onTestFinished);
  const client = await RawClient.active({ transport: "tcp", port: server.ports.tcp });
  for (const pid of [server.pid, ...server.workerPids]) signal(pid, "SIGINT");
  expect(await client.ending()).toMatchObject({ how: "fin", goAway: { code: 3000 } });
  expect(await server.ended).toBe(0);
  await server.nothingIsLeft();
  const crashed = server.log.filter(({ level }) => level === "error" || level === "fatal");
  expect(crashed).toEqual([]);
});
