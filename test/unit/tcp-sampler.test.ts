// Who is asked for TCP_INFO each second, under a clock that the test moves and among as many
// connections as it likes.
import { describe, expect, it } from "vitest";
import type { Connection } from "../../src/connection/connection.ts";
import { SendBudget } from "../../src/connection/send-budget.ts";
import type { Listener } from "../../src/server/listener.ts";
import { TcpSampler } from "../../src/server/tcp-sampler.ts";
import type { TcpInfo } from "../../src/transport/transport.ts";
import { ManualClock } from "../support/manual-clock.ts";

const INFO: TcpInfo = {
  rttMs: 3,
  rttVarianceMs: 1,
  retransmits: 4,
  unackedBytes: 1_000,
  unsentBytes: 2_000,
};

interface Scene {
  readonly clock: ManualClock;
  readonly budget: SendBudget;
  readonly sampler: TcpSampler;
  /** Channels that were asked for, in order. */
  readonly asked: number[];
  readonly slots: (Connection | null)[];
  add(channel: number, backlogBytes: number): Connection;
}

type Answer = (channel: number) => TcpInfo | null;

/** @param answer undefined: the transport cannot ask. */
function scene(channels: number, answer: Answer | undefined = () => INFO): Scene {
  const clock = new ManualClock();
  const budget = new SendBudget(1e9);
  const asked: number[] = [];
  const slots: (Connection | null)[] = new Array<null>(channels).fill(null);
  const tcpInfo = (channel: number): TcpInfo | null => {
    asked.push(channel);
    return answer(channel);
  };
  const context = { transport: { kind: "tcp-epoll", tcpInfo } };
  const listener = {
    ...context,
    context,
    get channels() {
      return slots.length;
    },
    connection: (channel: number) => slots[channel] ?? null,
  } as unknown as Listener;
  const sampler = new TcpSampler([listener], budget, clock);
  const add = (channel: number, backlogBytes: number): Connection => {
    const connection = { context, channel, serial: channel, backlogBytes } as unknown as Connection;
    slots[channel] = connection;
    if (backlogBytes > 0) budget.join(connection);
    return connection;
  };
  return { clock, budget, sampler, asked, slots, add };
}

describe("the sampler of TCP_INFO", () => {
  it("asks the 16 with the most bytes waiting, and 4 others, of any number", async () => {
    const { clock, sampler, asked, add } = scene(5_000);
    for (let channel = 0; channel < 5_000; channel++) add(channel, channel % 2 === 0 ? channel : 0);
    sampler.start();
    await clock.advance(1_000);
    const slowest = Array.from({ length: 16 }, (_, index) => 4_998 - 2 * index);
    expect(asked).toEqual([...slowest, 0, 1, 2, 3]);
    expect(sampler.histograms.slowest.rttMs.count).toBe(16);
    expect(sampler.histograms.usual.rttMs.count).toBe(4);
    sampler.stop();
  });

  it("comes to every connection in turn, and begins again", async () => {
    const { clock, sampler, asked, add } = scene(10);
    for (let channel = 0; channel < 10; channel++) add(channel, 0);
    sampler.start();
    await clock.advance(3_000);
    expect(asked).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
    sampler.stop();
  });

  it("asks nobody twice in one look", async () => {
    const { clock, sampler, asked, add } = scene(3);
    for (let channel = 0; channel < 3; channel++) add(channel, 0);
    sampler.start();
    await clock.advance(1_000);
    expect(asked).toEqual([0, 1, 2]);
    sampler.stop();
  });

  it("looks at no more than 256 channels for the others, and goes on there", async () => {
    const { clock, sampler, asked, add } = scene(1_000);
    add(600, 0);
    sampler.start();
    await clock.advance(2_000);
    expect(asked).toEqual([]);
    await clock.advance(1_000);
    expect(asked).toEqual([600]);
    sampler.stop();
  });

  it("goes on where the next connection is, when those behind it have gone", async () => {
    const { clock, sampler, asked, slots, add } = scene(8);
    for (let channel = 0; channel < 8; channel++) add(channel, 0);
    sampler.start();
    await clock.advance(1_000);
    slots.length = 2;
    await clock.advance(1_000);
    expect(asked).toEqual([0, 1, 2, 3, 0, 1]);
    sampler.stop();
  });

  it("puts what it is told into its buckets", async () => {
    const { clock, sampler, add } = scene(1);
    add(0, 5);
    sampler.start();
    await clock.advance(1_000);
    const { rttMs, retransmits, underWayBytes } = sampler.histograms.slowest;
    expect([rttMs.sum, retransmits.sum, underWayBytes.sum]).toEqual([3, 4, 3_000]);
    sampler.stop();
  });

  it("counts nothing of one that the kernel knows nothing of", async () => {
    const { clock, sampler, asked, add } = scene(2, () => null);
    add(0, 5);
    add(1, 0);
    sampler.start();
    await clock.advance(1_000);
    expect(asked).toEqual([0, 0, 1]);
    expect(sampler.histograms.slowest.rttMs.count).toBe(0);
    expect(sampler.histograms.usual.rttMs.count).toBe(0);
    sampler.stop();
  });

  it("never asks a transport that cannot, though its connections are the slowest", async () => {
    const { clock, budget, sampler, asked, add } = scene(1);
    add(0, 1);
    for (let channel = 1; channel < 50; channel++) {
      const context = { transport: { kind: "websocket" } };
      const slow = { context, channel, serial: channel, backlogBytes: 1_000 };
      budget.join(slow as unknown as Connection);
    }
    sampler.start();
    await clock.advance(1_000);
    expect(asked).toEqual([0, 0]);
    sampler.stop();
  });

  it("has no timer where no listener can be asked, nor once it is stopped", async () => {
    const clock = new ManualClock();
    const websocket = { transport: { kind: "websocket" } } as unknown as Listener;
    new TcpSampler([websocket], new SendBudget(1), clock).start();
    expect(clock.pending).toBe(0);
    const able = scene(1);
    able.sampler.start();
    await able.clock.advance(3_000);
    expect(able.clock.pending).toBe(1);
    able.sampler.stop();
    expect(able.clock.pending).toBe(0);
  });
});
