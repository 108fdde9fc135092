// Rows 78 to 80 of the fault catalogue: resets, half-closed connections and peers that vanish.

import { type ChildProcess, spawn } from "node:child_process";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import type { PartialOptions } from "../../src/config/options.ts";
import type { CallContext } from "../../src/server/router.ts";
import type { Server } from "../../src/server/server.ts";
import type { MemoryTransport } from "../../src/transport/memory.ts";
import { hasWebSocket, openFiles, Oracle, RAW_TRANSPORTS } from "../support/oracle.ts";
import { call, frame, hello, publish, subscribe } from "../support/raw-message.ts";
import { binaryMessage, OPCODE, upgradeRequest, webSocketFrame } from "../support/raw-websocket.ts";

/** Calls that are under way until they are told to end, and why each was aborted. */
class Held {
  readonly aborted: unknown[] = [];
  readonly #resolve: (() => void)[] = [];

  readonly methods = (server: Server): void => {
    server.method("hold", ({ signal }: CallContext) => {
      signal.addEventListener("abort", () => this.aborted.push(signal.reason));
      return new Promise<string>((resolve) => this.#resolve.push(() => resolve("held")));
    });
  };

  get count(): number {
    return this.#resolve.length;
  }

  release(): void {
    for (const resolve of this.#resolve.splice(0)) resolve();
  }
}

describe.each(RAW_TRANSPORTS)("over %s", (transport) => {
  const half = frame(call(9, "echo", Buffer.alloc(500))).subarray(0, 100);
  const wrapped = { opcode: OPCODE.BINARY, payload: Buffer.alloc(500) };
  const cut = transport === "tcp" ? half : webSocketFrame(wrapped).subarray(0, 100);

  test("row 78: a reset before Hello is a lost connection", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.client(transport);
    client.reset();
    await oracle.verdict({ peer_reset: 1 });
  });

  test("row 78: a reset in the middle of a frame is a lost connection", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.write(cut);
    await delay(20);
    client.reset();
    await oracle.verdict({ peer_reset: 1 });
  });

  test("row 78: a reset with calls under way aborts them", async () => {
    const held = new Held();
    const oracle = await Oracle.watch({}, held);
    const client = await oracle.active(transport);
    client.send(call(2, "hold"), call(3, "hold"), call(4, "hold", "", 60_000));
    await oracle.until(() => held.count === 3, "the calls");
    client.write(cut);
    await delay(20);
    client.reset();
    await oracle.until(() => held.aborted.length === 3, "the abort signals");
    expect(held.aborted).toMatchObject([1, 2, 3].map(() => ({ code: "HOLDFAST_DISCONNECTED" })));
    held.release();
    await oracle.verdict({ peer_reset: 1 });
  });

  test("row 78: a reset with a full queue gives everything back", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.send(subscribe(2, "news"));
    await client.answer(2);
    client.stopReading();
    const { budget } = oracle.server.shared;
    for (let count = 0; budget.bytes < 300_000 && count < 4_000; count++) {
      oracle.server.publish("news", Buffer.alloc(16_384));
    }
    expect(budget.bytes).toBeGreaterThanOrEqual(300_000);
    client.reset();
    await oracle.verdict({ peer_reset: 1 });
  });

  test("row 78: a reset while we close counts under the reason that we gave", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.client(transport, { answersFin: false });
    const { connectionId } = await client.hello();
    client.stopReading();
    const connection = oracle.server.connection(connectionId)!;
    for (let count = 0; connection.backlogBytes < 100_000 && count < 4_000; count++) {
      connection.send("t", Buffer.alloc(16_384));
    }
    connection.disconnect({ code: 4_001 });
    client.reset();
    await oracle.verdict({ server: 1 });
    expect(oracle.server.closedByReason.application).toBe(1);
  });

  test("row 78: 300 connections that reset in one moment are each counted once", async () => {
    const oracle = await Oracle.watch();
    const clients = await Promise.all(Array.from({ length: 300 }, () => oracle.active(transport)));
    for (const client of clients) client.reset();
    await oracle.verdict({ peer_reset: 300 });
  });
});

describe("over tcp", () => {
  test("row 79: what a half-closed client asked for is answered, then it ends", async () => {
    const held = new Held();
    const oracle = await Oracle.watch({}, held);
    const client = await oracle.active("tcp");
    client.send(call(2, "hold"), call(3, "echo", "x"), call(4, "hold"));
    client.end();
    await client.answer(3);
    await oracle.until(() => held.count === 2, "the calls");
    await delay(100);
    expect(client.hasEnded).toBe(false);
    held.release();
    expect(await client.ending()).toMatchObject({ how: "fin", goAway: { code: 1000 } });
    expect(client.messages.map(({ id }) => id)).toEqual([1, 3, 2, 4, 0]);
    expect(held.aborted).toEqual([]);
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 79: a burst that ends in FIN is answered to its last frame", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active("tcp");
    client.send(...Array.from({ length: 1_000 }, (_, index) => call(2 + index, "echo", "x")));
    client.end();
    expect(await client.ending()).toMatchObject({ how: "fin", goAway: { code: 1000 } });
    expect(client.messages.filter(({ body }) => body === "result").length).toBe(1_000);
    expect(oracle.server.shared.counters.yields).toBeGreaterThan(10);
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 79: a half-closed client with a full queue gets all of it", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.client("tcp");
    const { connectionId } = await client.hello();
    client.send(subscribe(2, "news"));
    await client.answer(2);
    client.stopReading();
    const connection = oracle.server.connection(connectionId)!;
    let published = 0;
    while (connection.backlogBytes < 300_000 && published < 4_000) {
      oracle.server.publish("news", Buffer.alloc(16_384));
      published++;
    }
    client.send(call(3, "echo", "last words"));
    client.end();
    await delay(50);
    client.readOn();
    expect(await client.ending()).toMatchObject({ how: "fin", goAway: { code: 1000 } });
    expect(client.events.length).toBe(published);
    const answer = await client.answer(3);
    expect(answer.body === "result" && answer.payload.toString()).toBe("last words");
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 79: a half-closed client whose call never ends goes at its deadline", async () => {
    const held = new Held();
    const oracle = await Oracle.watch({}, held);
    const client = await oracle.active("tcp");
    client.send(call(2, "hold", "", 200));
    client.end();
    const answer = await client.answer(2);
    expect(answer.body === "failure" && answer.failure.code).toBe(4);
    expect((await client.ending()).goAway?.code).toBe(1000);
    held.release();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 79: a client that half-closes before Hello goes at once", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.client("tcp");
    client.end();
    expect((await client.ending()).goAway?.code).toBe(1000);
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 79: a peer that never answers our FIN is reset at the deadline", async () => {
    const oracle = await Oracle.watch({ connection: { closeTimeoutMs: 300 } });
    const client = await oracle.client("tcp", { answersFin: false });
    const { connectionId } = await client.hello();
    oracle.server.connection(connectionId)!.disconnect();
    await client.ending();
    const start = performance.now();
    await oracle.until(() => oracle.server.closedByCause.server === 1, "the reset");
    expect(performance.now() - start).toBeGreaterThan(200);
    expect(performance.now() - start).toBeLessThan(900);
    client.socket.destroy();
    await oracle.verdict({ server: 1 });
  });
});

describe.skipIf(!hasWebSocket())("over websocket", () => {
  // The recorded deviation: uWebSockets.js takes a FIN without a close frame for the end of both
  // ways.
  test("row 79: a half-close without a close frame ends the connection and its calls", async () => {
    const held = new Held();
    const oracle = await Oracle.watch({}, held);
    const client = await oracle.active("websocket");
    client.send(call(2, "hold"));
    await oracle.until(() => held.count === 1, "the call");
    client.end();
    await client.ending();
    await oracle.until(() => held.aborted.length === 1, "the abort signal");
    expect(client.messages.length).toBe(1);
    held.release();
    await oracle.verdict({ peer_closed: 1 });
  });

  // uWebSockets.js says that it is closed when it has sent the close frame, and lets go of the file
  // at the next of its sweeps, which come every 4 s.
  test("row 79: a peer that answers neither close frame nor FIN is cut soon after", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.client("websocket", { answersFin: false });
    const { connectionId } = await client.hello();
    const files = openFiles();
    oracle.server.connection(connectionId)!.disconnect({ code: 4_002 });
    const ending = await client.ending();
    expect(ending.closeCode).toBe(4_002);
    expect(oracle.server.closedByCause.server).toBe(1);
    await oracle.until(() => openFiles() === files - 1, "the file is closed", 9_000);
    client.socket.destroy();
    await oracle.verdict({ server: 1 });
  });
});

/** Two heartbeats and the precision of deadlines, in milliseconds. */
const HEARTBEAT_MS = 200;
const FOUND_MS = 2 * HEARTBEAT_MS + 200;
const LIVELY: PartialOptions = {
  connection: {
    heartbeatMs: HEARTBEAT_MS,
    heartbeatJitter: 0.1,
    idleTimeoutMs: 2 * HEARTBEAT_MS,
    closeTimeoutMs: 300,
  },
};

describe("row 80: a peer that vanishes is found within two heartbeats", () => {
  test.each(RAW_TRANSPORTS)(
    "row 80: over %s, where it reads and never answers",
    async (transport) => {
      const oracle = await Oracle.watch(LIVELY);
      const client = await oracle.active(transport, { answersHeartbeats: false });
      const start = performance.now();
      expect((await client.ending()).goAway?.code).toBe(3001);
      const elapsed = performance.now() - start;
      expect(elapsed).toBeGreaterThan(2 * HEARTBEAT_MS - 60);
      expect(elapsed).toBeLessThan(FOUND_MS);
      expect(client.heartbeatsAfter.length).toBeGreaterThanOrEqual(1);
      expect(client.heartbeatsAfter.length).toBeLessThanOrEqual(2);
      await oracle.verdict({ silent: 1 });
    },
  );

  test.each(RAW_TRANSPORTS)("row 80: over %s, where its process is stopped", async (transport) => {
    const oracle = await Oracle.watch(LIVELY);
    const victim = await frozenClient(transport, oracle.port(transport));
    await oracle.until(
      () => oracle.server.admission.served === oracle.neighbours.length + 1,
      "it is there",
    );
    await delay(3 * HEARTBEAT_MS);
    expect(oracle.server.closedByReason.idle_timeout).toBe(0);
    const start = performance.now();
    victim.kill("SIGSTOP");
    const isFound = (): boolean =>
      stateCount(oracle, "closing") === 1 || oracle.server.closedByReason.idle_timeout === 1;
    await oracle.until(isFound, "its silence is noticed");
    expect(performance.now() - start).toBeLessThan(FOUND_MS);
    // Its kernel acknowledges our FIN, nobody ever answers it: the close timeout resets.
    await oracle.until(() => oracle.server.closedByReason.idle_timeout === 1, "the reset");
    expect(performance.now() - start).toBeLessThan(FOUND_MS + 600);
    victim.kill("SIGKILL");
    await new Promise((resolve) => victim.once("close", resolve));
    await oracle.verdict({ silent: 1 });
  });

  test("row 80: over the memory transport, where the cable is pulled", async () => {
    const oracle = await Oracle.watch(LIVELY, {
      listeners: [{ name: "mem", transport: { kind: "memory" } }],
    });
    const { transport } = oracle.server.listeners.find(({ name }) => name === "mem")!;
    const peer = (transport as MemoryTransport).connect({ onData: () => {}, onClose: () => {} });
    peer.send(frame(hello(1)));
    await oracle.until(
      () => stateCount(oracle, "active") === oracle.neighbours.length + 1,
      "it is active",
    );
    peer.send(Buffer.concat([frame(subscribe(2, "news")), frame(publish(3, "news", "x"))]));
    await delay(20);
    peer.blackhole();
    const start = performance.now();
    oracle.server.publish("news", Buffer.alloc(16_384));
    await oracle.until(() => stateCount(oracle, "closing") === 1, "its silence is noticed");
    expect(performance.now() - start).toBeLessThan(FOUND_MS);
    await oracle.verdict({ silent: 1 });
    expect(peer.closedWith).toBe(-1);
  });

  test("row 80: a connection on which only the server speaks is found too", async () => {
    const oracle = await Oracle.watch(LIVELY);
    const client = await oracle.client("tcp", { answersHeartbeats: false });
    const { connectionId } = await client.hello();
    const start = performance.now();
    while (!client.hasEnded && performance.now() - start < 3_000) {
      oracle.server.send(connectionId, "t", "are you there?");
      await delay(50);
    }
    expect(performance.now() - start).toBeLessThan(FOUND_MS);
    expect((await client.ending()).goAway?.code).toBe(3001);
    await oracle.verdict({ silent: 1 });
  });
});

function stateCount(oracle: Oracle, name: string): number {
  return [...oracle.server.registry.all()].filter(({ stateName }) => stateName === name).length;
}

/** A client in a process of its own, which says Hello and answers heartbeats while it may run. */
async function frozenClient(transport: "tcp" | "websocket", port: number): Promise<ChildProcess> {
  const isTcp = transport === "tcp";
  const greeting = isTcp ? frame(hello(1)) : binaryMessage(frame(hello(1)));
  const beat = isTcp ? Buffer.alloc(4) : binaryMessage(Buffer.alloc(4));
  const request = isTcp ? "" : upgradeRequest();
  const script = `
    const { connect } = require("node:net");
    const socket = connect(${port}, "127.0.0.1");
    const beat = Buffer.from("${beat.toString("hex")}", "hex");
    if (${JSON.stringify(request)} !== "") socket.write(${JSON.stringify(request)});
    setTimeout(() => socket.write(Buffer.from("${greeting.toString("hex")}", "hex")), 50);
    setTimeout(() => socket.on("data", () => socket.write(beat)), 100);
  `;
  const child = spawn(process.execPath, ["-e", script], { stdio: "inherit" });
  onTestFinished(() => void child.kill("SIGKILL"));
  return await Promise.resolve(child);
}
