// A transport that gathers writes says SENT before it has asked the kernel, and that the bytes wait
// only afterwards: the connection must then be what it would be had it known at once.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { PartialOptions } from "../../src/config/options.ts";
import type { Connection } from "../../src/connection/connection.ts";
import { PAUSED_BY } from "../../src/connection/paused-by.ts";
import { type MemoryClient, MemoryServer } from "../support/memory-server.ts";
import { call, subscribe } from "../support/raw-message.ts";

const WINDOW = 1_000;
const HIGH = 20_000;
const STALL_MS = 2_000;
const CLOSE_MS = 1_000;
let running: MemoryServer;
let drained: string[];
let client: MemoryClient;
let connection: Connection;

async function start(options: PartialOptions = {}): Promise<void> {
  drained = [];
  running = await MemoryServer.start({
    options: {
      connection: { closeTimeoutMs: CLOSE_MS },
      send: {
        highBytes: HIGH,
        lowBytes: 5_000,
        queueBytesMax: 100_000,
        stallTimeoutMs: STALL_MS,
        ...options.send,
      },
    },
    memory: { windowBytes: WINDOW, gathersWrites: true },
    hooks: { onDrain: ({ id }) => void drained.push(id) },
    prepare: (server) => server.method("echo", ({ payload }) => payload),
  });
  client = await running.welcome();
  connection = running.connectionOf(client);
  client.peer.setReading(false);
}

beforeEach(() => start());
afterEach(() => running.stop());

const text = (length: number): string => "x".repeat(length);

/** Bytes in the process-wide budget, and how many connections they wait for. */
function budget(): [number, number] {
  const { bytes, backlogged } = running.server.shared.budget;
  return [bytes, backlogged.size];
}

/** Payload lengths of the events that came. */
function events(of: MemoryClient = client): number[] {
  return of.messages.flatMap((each) => (each.body === "event" ? each.event.payload.length : []));
}

/** Sends at most what a write takes at once, and lets the turn end. */
async function sendThatWaits(length: number): Promise<void> {
  expect(connection.send("t", text(length))).toBe("sent");
  expect(connection.queue).toBeNull();
  await running.clock.settle();
}

describe("a write that was said to be sent and waits after all", () => {
  it("is a queue with its deadline, and in the budget, until it has drained", async () => {
    await sendThatWaits(10_000);
    expect(connection.queue?.transportBytes).toBeGreaterThan(10_000 - WINDOW);
    expect(connection.backlogBytes).toBe(connection.queue?.transportBytes);
    expect(budget()).toEqual([connection.backlogBytes, 1]);
    client.peer.setReading(true);
    await running.clock.settle();
    expect(connection.queue).toBeNull();
    expect(budget()).toEqual([0, 0]);
    expect(events()).toEqual([10_000]);
  });

  it("below the window is none", async () => {
    await sendThatWaits(500);
    expect(connection.queue).toBeNull();
    expect(budget()).toEqual([0, 0]);
  });

  it("comes before what is sent later, which is queued here", async () => {
    await sendThatWaits(10_000);
    expect(connection.send("t", text(1))).toBe("queued");
    expect(connection.queue?.count).toBe(1);
    client.peer.setReading(true);
    await running.clock.settle();
    expect(events()).toEqual([10_000, 1]);
  });

  it("above the high watermark stops reading, and tells of the drain once", async () => {
    await sendThatWaits(HIGH + WINDOW + 100);
    expect(connection.pausedBy).toBe(PAUSED_BY.QUEUE);
    expect(connection.send("t", "more")).toBe("full");
    client.sendBody(call(5, "echo", "late"));
    await running.clock.settle();
    expect(running.server.callsByStatus[0]).toBe(0);
    client.peer.setReading(true);
    await running.clock.settle();
    expect(drained).toEqual([connection.id]);
    expect(connection.pausedBy).toBe(0);
    expect(client.messages.at(-1)).toMatchObject({ id: 5, body: "result" });
  });

  it("for longer than the stall limit costs the connection", async () => {
    await sendThatWaits(10_000);
    await running.clock.advance(STALL_MS - 200);
    expect(connection.isOpen).toBe(true);
    await running.clock.advance(400);
    expect(connection.ending).toMatchObject({ reason: "slow_consumer", cause: "stalled" });
    await running.clock.advance(CLOSE_MS + 200);
    expect(connection.bytesDiscarded).toBeGreaterThan(10_000 - WINDOW);
  });

  it("beyond the budget sheds the connection at once, with all that it holds", async () => {
    await running.stop();
    await start({ send: { budgetBytes: 100_000 } });
    const others: MemoryClient[] = [];
    for (let count = 0; count < 5; count++) others.push(await running.welcome());
    for (const other of others) other.peer.setReading(false);
    for (const other of others) running.connectionOf(other).send("t", text(30_000));
    expect(budget()).toEqual([0, 0]);
    await running.clock.settle();
    expect(running.server.closedByCause.budget).toBe(2);
    expect(budget()[0]).toBeLessThanOrEqual(100_000);
    expect(others.map(({ closedWith }) => closedWith).filter((code) => code === -1)).toHaveLength(
      2,
    );
  });

  it("lets a policy drop events from then on, with a Gap where they are missing", async () => {
    await running.stop();
    await start({ send: { policy: "conflate", queueBytesMax: 65_536 } });
    client.sendBody(subscribe(2, "news"));
    await running.clock.settle();
    running.server.publish("news", text(50_000));
    await running.clock.settle();
    for (const length of [9_001, 9_002, 9_003, 9_004, 9_005]) {
      running.server.publish("news", text(length));
    }
    client.peer.setReading(true);
    await running.clock.settle();
    expect(events()).toEqual([50_000, 9_005]);
    const gaps = client.messages.flatMap((each) => (each.body === "gap" ? [each.gap.missed] : []));
    expect(gaps).toEqual([4]);
  });
});

describe("a connection that closes in the turn of its write", () => {
  it("gives its peer all of it and the GoAway, however long that takes to read", async () => {
    connection.send("t", text(30_000));
    connection.disconnect({ code: 4_000 });
    await running.clock.settle();
    expect(connection.queue?.transportBytes).toBeGreaterThan(30_000 - WINDOW);
    client.peer.setReading(true);
    await running.clock.settle();
    expect(events()).toEqual([30_000]);
    expect(client.messages.at(-1)).toMatchObject({ body: "goAway", goAway: { code: 4_000 } });
    expect(client.closedWith).toBe(4_000);
    expect(connection.bytesDiscarded).toBe(0);
  });

  it("is reset at the close timeout where nothing is taken, and counts what is lost", async () => {
    connection.send("t", text(30_000));
    connection.disconnect();
    await running.clock.advance(CLOSE_MS + 200);
    expect(client.closedWith).toBe(-1);
    expect(connection.bytesDiscarded).toBeGreaterThan(30_000 - WINDOW);
    expect(budget()).toEqual([0, 0]);
  });

  it("is told of nothing where it has gone before the turn's end", async () => {
    connection.send("t", text(30_000));
    await Promise.resolve();
    client.peer.reset();
    await running.clock.settle();
    expect(connection.queue).toBeNull();
    expect(budget()).toEqual([0, 0]);
    expect(running.server.shared.pool.leased).toBe(0);
  });
});

describe("being told that something waits", () => {
  const told = (channel: number): void => running.server.listeners[0]!.onQueued(channel);

  it("means nothing where it has drained meanwhile", () => {
    told(connection.channel);
    expect(connection.queue).toBeNull();
    expect(budget()).toEqual([0, 0]);
  });

  it("means nothing for a channel that nobody has", () => {
    told(4_711);
    expect(budget()).toEqual([0, 0]);
  });

  it("twice counts it once", async () => {
    await sendThatWaits(10_000);
    const before = budget();
    told(connection.channel);
    told(connection.channel);
    expect(budget()).toEqual(before);
  });

  it("again and again is no progress: the stall limit still holds", async () => {
    await sendThatWaits(10_000);
    for (let passed = 0; passed < STALL_MS + 200; passed += 100) {
      if (connection.isOpen) told(connection.channel);
      await running.clock.advance(100);
    }
    expect(connection.ending).toMatchObject({ cause: "stalled" });
  });
});
