// The bus over real Unix sockets: what a socket in memory cannot show is how the kernel cuts, waits
// and ends.

import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, Socket } from "node:net";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { Hub } from "../../src/bus/hub.ts";
import { LocalBus } from "../../src/bus/local-bus.ts";

interface End {
  readonly bus: LocalBus;
  readonly socket: Socket;
  /** Offsets and lengths of payloads, in the order in which they came. */
  readonly offsets: number[];
  bytes: number;
  readonly ends: (Error | null)[];
}

let hub: Hub;
let directory: string;
let acceptor: Server;
let faults: number[];

beforeEach(async () => {
  faults = [];
  hub = new Hub({ clock: systemClock, onFault: (worker) => faults.push(worker) });
  directory = mkdtempSync(join(tmpdir(), "bus-"));
  acceptor = createServer();
  await new Promise<void>((resolve) => acceptor.listen(join(directory, "s"), resolve));
});

afterEach(async () => {
  hub.close();
  await new Promise((resolve) => acceptor.close(resolve));
  rmSync(directory, { recursive: true });
});

async function attach(worker: number): Promise<End> {
  const far = new Promise<Socket>((resolve) => acceptor.once("connection", resolve));
  const socket = new Socket();
  await new Promise<void>((resolve) => socket.connect(join(directory, "s"), resolve));
  hub.attach(worker, await far);
  const bus = new LocalBus(worker, socket, systemClock);
  const end: End = { bus, socket, offsets: [], bytes: 0, ends: [] };
  bus.start({
    onSend() {},
    onReach: () => Promise.resolve(worker),
    onEnd: (error) => void end.ends.push(error),
  });
  return end;
}

function joined(end: End, topic: string): Promise<number> {
  return new Promise((resolve) => {
    end.bus.join(topic, {
      onJoined: resolve,
      onEvent(offset, payload) {
        end.offsets.push(offset);
        end.bytes += payload.length;
        return 1;
      },
    });
  });
}

async function until(holds: () => boolean): Promise<void> {
  const endsAt = systemClock.now() + 20_000;
  while (!holds()) {
    expect(systemClock.now()).toBeLessThan(endsAt);
    await delay(2);
  }
}

describe("over real sockets", () => {
  it("a flood from all comes to all whole and in order, large among small", async () => {
    const ends = [await attach(1), await attach(2), await attach(3), await attach(4)];
    await Promise.all(ends.map((end) => joined(end, "topic")));
    const small = Buffer.alloc(40, 1);
    const large = Buffer.alloc(300_000, 2);
    const COUNT = 5_000;
    let bytes = 0;
    for (let index = 0; index < COUNT; index++) {
      for (const { bus } of ends) {
        const payload = index % 500 === 499 ? large : small;
        bytes += payload.length;
        while (bus.publish("topic", payload) === "full") await delay(1);
      }
      if (index % 100 === 99) await delay(0);
    }
    await until(() => ends.every(({ offsets }) => offsets.length === 4 * COUNT));
    for (const end of ends) {
      expect(end.offsets.every((offset, at) => offset === at + 1)).toBe(true);
      expect(end.bytes).toBe(bytes);
    }
    expect([hub.counters.dropped, faults]).toEqual([0, []]);
  });

  it("a member that stops reading costs the hub its queue, and nobody an event", async () => {
    const [a, b] = [await attach(1), await attach(2)];
    await Promise.all([a, b].map((end) => joined(end, "topic")));
    b.socket.pause();
    const payload = Buffer.alloc(1_000_000);
    for (let index = 0; index < 100; index++) {
      a.bus.publish("topic", payload);
      await until(() => a.offsets.length === index + 1);
    }
    const { queuedBytes, dropped } = hub.backlogOf(2)!;
    expect(queuedBytes).toBeLessThanOrEqual(64 * 1_048_576);
    expect(dropped).toBeGreaterThan(25);
    b.socket.resume();
    await until(() => b.offsets.length === 100 - dropped);
    a.bus.publish("topic", payload);
    await until(() => b.offsets.at(-1) === 101);
  });

  it("a member that is cut off in the middle of its writes is nothing to the others", async () => {
    const [a, b, c] = [await attach(1), await attach(2), await attach(3)];
    await Promise.all([b, c].map((end) => joined(end, "topic")));
    for (let index = 0; index < 30; index++) a.bus.publish("topic", Buffer.alloc(500_000));
    await delay(1);
    a.socket.destroy();
    await until(() => hub.backlogOf(1) === null && a.ends.length === 1);
    const got = b.offsets.length;
    b.bus.publish("topic", Buffer.alloc(1));
    await until(() => b.offsets.length > got && c.offsets.length === b.offsets.length);
    expect(c.offsets).toEqual(b.offsets);
    expect(faults).toEqual([]);
  });

  it("close() hands over all that was taken; the end of the hub is told to the rest", async () => {
    const [a, b] = [await attach(1), await attach(2)];
    await joined(b, "topic");
    for (let index = 0; index < 20; index++) a.bus.publish("topic", Buffer.alloc(400_000));
    await a.bus.close();
    await until(() => b.offsets.length === 20);
    expect(await b.bus.reach(null, "n", Buffer.alloc(1))).toBe(0);
    hub.close();
    await until(() => b.ends.length === 1);
    expect([a.ends, b.ends]).toEqual([[], [null]]);
  });
});
