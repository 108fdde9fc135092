// Row 59 of the fault catalogue: clients that take every file a process may open.

import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { describe, test } from "vitest";
import { hasWebSocket, RAW_TRANSPORTS } from "../support/oracle.ts";
import { RawClient, rawSocket } from "../support/raw-client.ts";
import { OPCODE, upgradeRequest, webSocketFrame } from "../support/raw-websocket.ts";
import { ServerProcess } from "../support/server-process.ts";

const FILES = 256;
const ATTEMPTS = 400;
/** Of one core. An accept loop that spins takes a whole one. */
const CPU_SHARE_MAX = 0.25;

/** As many attempts as wanted, a few at a time. @returns what the server has let in. */
async function crowd<T>(attempts: number, open: () => Promise<T>): Promise<T[]> {
  const inside: T[] = [];
  for (let count = 0; count < attempts; count += 20) {
    const some = await Promise.allSettled(Array.from({ length: 20 }, open));
    for (const result of some) if (result.status === "fulfilled") inside.push(result.value);
  }
  return inside;
}

/** Upgrades, breaks the rules, and never closes its side. */
async function rudeSocket(port: number): Promise<Socket> {
  const socket = await rawSocket(port);
  const rudeness = webSocketFrame({ opcode: OPCODE.TEXT, payload: "against the rules" });
  socket.once("data", () => socket.write(rudeness)).resume();
  socket.write(upgradeRequest());
  return socket;
}

/** A new client is served, at the latest when the server has seen that there is room. */
async function servedAgain(transport: "tcp" | "websocket", port: number): Promise<RawClient> {
  const deadline = performance.now() + 15_000;
  for (;;) {
    try {
      return await RawClient.active({ transport, port });
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(50);
    }
  }
}

// Each has a server of its own and most of the time waits, so they run side by side.
describe.skipIf(process.platform !== "linux").concurrent("row 59", () => {
  test.for(RAW_TRANSPORTS)(
    "row 59: with its files used up by %s clients a server neither spins nor loses the others",
    async (transport, { expect, onTestFinished }) => {
      const server = await ServerProcess.start(FILES, onTestFinished);
      const port = server.ports.get(transport)!;
      const neighbour = await RawClient.active({
        transport: "tcp",
        port: server.ports.get("tcp")!,
      });
      onTestFinished(() => void neighbour.socket.destroy());
      const baseline = server.files;
      const inside = await crowd(ATTEMPTS, () => RawClient.active({ transport, port }));
      onTestFinished(() => inside.forEach(({ socket }) => socket.destroy()));
      expect(inside.length).toBeGreaterThan(150);
      expect(server.files, "files").toBeLessThan(FILES - 20);
      expect(await server.cpuShare(500), "CPU").toBeLessThan(CPU_SHARE_MAX);
      expect(await neighbour.echo()).toBeLessThan(500);
      expect(await inside[0]!.echo()).toBeLessThan(500);
      for (const { socket } of inside) socket.destroy();
      const newcomer = await servedAgain(transport, port);
      await newcomer.echo();
      newcomer.socket.destroy();
      await until(
        () => server.files <= baseline,
        () => `${server.files} files, ${baseline} before`,
      );
      expect(server.isAlive).toBe(true);
    },
  );

  test.skipIf(!hasWebSocket())(
    "row 59: sockets that we have closed and their peers have not count until they are gone",
    async ({ expect, onTestFinished }) => {
      const server = await ServerProcess.start(FILES, onTestFinished);
      const port = server.ports.get("websocket")!;
      const neighbour = await RawClient.active({
        transport: "tcp",
        port: server.ports.get("tcp")!,
      });
      onTestFinished(() => void neighbour.socket.destroy());
      const rude: Socket[] = await crowd(2 * ATTEMPTS, () => rudeSocket(port));
      onTestFinished(() => rude.forEach((socket) => socket.destroy()));
      expect(await server.cpuShare(500), "CPU").toBeLessThan(CPU_SHARE_MAX);
      expect(server.files, "files").toBeLessThan(FILES - 20);
      expect(await neighbour.echo()).toBeLessThan(500);
      const newcomer = await servedAgain("websocket", port);
      await newcomer.echo();
      newcomer.socket.destroy();
    },
  );

  test.skipIf(!hasWebSocket())(
    "row 59: sockets that never upgrade use up no more than there is, and are let go in time",
    async ({ expect, onTestFinished }) => {
      const server = await ServerProcess.start(FILES, onTestFinished);
      const port = server.ports.get("websocket")!;
      const neighbour = await RawClient.active({
        transport: "tcp",
        port: server.ports.get("tcp")!,
      });
      onTestFinished(() => void neighbour.socket.destroy());
      const baseline = server.files;
      const silent: Socket[] = await crowd(ATTEMPTS, () => rawSocket(port));
      onTestFinished(() => silent.forEach((socket) => socket.destroy()));
      expect(server.files, "files").toBeLessThan(FILES - 20);
      expect(server.files, "files").toBeGreaterThan(150);
      expect(await server.cpuShare(500), "CPU").toBeLessThan(CPU_SHARE_MAX);
      expect(await neighbour.echo()).toBeLessThan(500);
      // uWebSockets.js gives a request 10 s, and looks every 4 s; nobody else closes these.
      const newcomer = await servedAgain("websocket", port);
      await newcomer.echo();
      newcomer.socket.destroy();
      await until(
        () => server.files <= baseline,
        () => `${server.files} files, ${baseline} before`,
      );
      expect(await neighbour.echo()).toBeLessThan(500);
      expect(server.isAlive).toBe(true);
    },
  );
});

async function until(holds: () => boolean, told: () => string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(told());
    await delay(20);
  }
}
