// A server whose queues are small, a reader that stops and goes, one that always reads, and one who
// only publishes, over a network that cuts what it carries.

import { expect } from "vitest";
import { CORK_BYTES } from "../../src/connection/cork.ts";
import type { SlowConsumerPolicy } from "../../src/connection/send-queue.ts";
import { type MemoryClient, MemoryServer } from "./memory-server.ts";
import { call, HEARTBEAT, publish, subscribe } from "./raw-message.ts";

export type Step =
  | { readonly kind: "publish"; readonly topic: number; readonly length: number }
  | { readonly kind: "by client"; readonly topic: number; readonly length: number }
  | { readonly kind: "call"; readonly length: number }
  | { readonly kind: "push"; readonly length: number }
  | { readonly kind: "stop" | "go" | "settle" }
  | { readonly kind: "wait"; readonly ms: number };

export const TOPICS = ["a", "b", "c"];
const QUEUE_MAX = 12_000;
const WINDOW = 3_000;

export class SlowReaderScene {
  readonly running: MemoryServer;
  readonly reader: MemoryClient;
  readonly neighbour: MemoryClient;
  readonly publisher: MemoryClient;
  readonly published: number[] = TOPICS.map(() => 0);
  calls: number = 0;

  private constructor(running: MemoryServer, clients: readonly MemoryClient[]) {
    this.running = running;
    [this.reader, this.neighbour, this.publisher] = clients as [
      MemoryClient,
      MemoryClient,
      MemoryClient,
    ];
  }

  static async open(policy: SlowConsumerPolicy, seed: number): Promise<SlowReaderScene> {
    let segment = seed;
    // The network is kind until both clients are welcome.
    let isRough = false;
    const running = await MemoryServer.start({
      options: {
        frame: { bytesMax: 4_096 },
        send: {
          policy,
          highBytes: 6_000,
          lowBytes: 2_000,
          queueBytesMax: QUEUE_MAX,
          stallTimeoutMs: 600_000,
        },
        connection: { heartbeatMs: 300, heartbeatJitter: 0, idleTimeoutMs: 800 },
      },
      memory: {
        windowBytes: WINDOW,
        segmentBytes(waiting) {
          if (!isRough) return waiting;
          segment = (segment * 1_103_515_245 + 12_345) >>> 0;
          return 1 + (segment % waiting);
        },
        delayMs: () => (isRough ? segment % 2 : 0),
      },
      prepare: (server) => server.method("echo", ({ payload }) => payload),
    });
    const clients: MemoryClient[] = [];
    for (let count = 0; count < 3; count++) clients.push(await running.welcome());
    for (const client of clients.slice(0, 2)) {
      for (const name of TOPICS) client.sendBody(subscribe(0, name));
    }
    await running.clock.settle();
    isRough = true;
    return new SlowReaderScene(running, clients);
  }

  async run(next: Step): Promise<void> {
    const { running, reader } = this;
    switch (next.kind) {
      case "publish":
        this.published[next.topic]!++;
        running.server.publish(TOPICS[next.topic]!, "x".repeat(next.length));
        return;
      case "by client":
        this.publisher.sendBody(publish(0, TOPICS[next.topic]!, "y".repeat(next.length)));
        this.published[next.topic]!++;
        // Before anything else is published, or the model would not know the order.
        await this.pass(20);
        return;
      case "call":
        if (this.isOpen(reader)) this.calls++;
        reader.sendBody(call(this.calls, "echo", "z".repeat(next.length)));
        return;
      case "push":
        if (this.isOpen(reader)) running.connectionOf(reader).send("push", "p".repeat(next.length));
        return;
      case "stop":
      case "go":
        reader.peer.setReading(next.kind === "go");
        return;
      case "settle":
        await this.pass(0);
        return;
      case "wait":
        await this.pass(next.ms);
    }
  }

  /** Time passes, and all clients show that they live. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left >= 0; left -= 200) {
      for (const client of [this.reader, this.neighbour, this.publisher]) client.send(HEARTBEAT);
      await this.running.clock.advance(Math.min(left, 200));
    }
  }

  isOpen({ channel }: MemoryClient): boolean {
    const all = [...this.running.server.registry.all()];
    return all.some((connection) => connection.channel === channel && connection.isOpen);
  }

  /** The process-wide sum is that of the queues, and no queue is beyond its cap. */
  expectBudgetIsTrue(): void {
    const { registry, shared } = this.running.server;
    const all = [...registry.all()];
    const queued = all.reduce((sum, { backlogBytes }) => sum + backlogBytes, 0);
    expect(shared.budget.bytes).toBe(queued);
    const behind = all.filter(({ queue }) => queue !== null);
    expect(new Set(shared.budget.backlogged)).toEqual(new Set(behind));
    for (const { queue, isOpen } of behind) {
      // What one turn says is written at once, and a heartbeat passes a queue that is full.
      const most = QUEUE_MAX + Math.max(CORK_BYTES, queue!.transportBytes) + 4;
      expect(queue!.totalBytes).toBeLessThanOrEqual(most);
      if (isOpen) expect(queue!.bytes).toBeLessThanOrEqual(QUEUE_MAX + 4);
    }
  }

  answers(): number[] {
    return this.reader.messages.filter(({ body }) => body === "result").map(({ id }) => id);
  }
}

/** How far a client has come in each topic; fails where a step is missing or repeated. */
export function expectToFollow(client: MemoryClient): { reached: number[]; missed: number } {
  const reached = TOPICS.map(() => 0);
  let missed = 0;
  let gapOf: string | null = null;
  for (const message of client.messages) {
    if (message.body === "gap") {
      expect(message.gap.missed).toBeGreaterThan(0);
      reached[TOPICS.indexOf(message.gap.topic)]! += message.gap.missed;
      missed += message.gap.missed;
      gapOf = message.gap.topic;
    } else if (message.body === "event" && message.event.offset > 0) {
      const at = TOPICS.indexOf(message.event.topic);
      if (gapOf !== null) expect(message.event.topic).toBe(gapOf);
      gapOf = null;
      expect(message.event.offset).toBe(reached[at]! + 1);
      reached[at] = message.event.offset;
    }
  }
  return { reached, missed };
}
