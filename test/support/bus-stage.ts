// A hub and what is attached to it, in simulated time: bare ends of the bus, or whole servers.

import { expect } from "vitest";
import type { Bytes } from "../../src/base/buffer-pool.ts";
import type { BusHandler, BusLabel, TopicMember } from "../../src/bus/bus.ts";
import { Hub } from "../../src/bus/hub.ts";
import { LocalBus } from "../../src/bus/local-bus.ts";
import { ManualClock } from "./manual-clock.ts";
import { MemoryServer, type MemoryServerParts } from "./memory-server.ts";
import { type PairedSocket, socketPair, type SocketPairOptions } from "./socket-pair.ts";

/** One worker's end, and what it heard. */
export class BusEnd implements BusHandler {
  readonly bus: LocalBus;
  readonly socket: PairedSocket;
  /** The hub's end. */
  readonly far: PairedSocket;
  /** "joined t 0", "t 1 text", "send id t text", "reach label t text", "end reason". */
  readonly heard: string[] = [];
  /** What it says to a push. */
  reached: () => Promise<number> = () => Promise.resolve(0);
  /** Connections that it says an event was sent to. */
  work: number = 1;

  constructor(worker: number, clock: ManualClock, [near, far]: [PairedSocket, PairedSocket]) {
    this.socket = near;
    this.far = far;
    this.bus = new LocalBus(worker, near, clock);
    this.bus.start(this);
  }

  join(topic: string): this {
    const member: TopicMember = {
      onJoined: (offset) => void this.heard.push(`joined ${topic} ${offset}`),
      onEvent: (offset, payload) => {
        this.heard.push(`${topic} ${offset} ${textOf(payload)}`);
        return this.work;
      },
    };
    this.bus.join(topic, member);
    return this;
  }

  publish(topic: string, text: string): "taken" | "full" {
    return this.bus.publish(topic, Buffer.from(text));
  }

  onSend(id: string, topic: string, payload: Bytes): void {
    this.heard.push(`send ${id} ${topic} ${textOf(payload)}`);
  }

  onReach(label: BusLabel, topic: string, payload: Bytes): Promise<number> {
    this.heard.push(`reach ${label?.join("=") ?? "all"} ${topic} ${textOf(payload)}`);
    return this.reached();
  }

  onEnd(error: Error | null): void {
    this.heard.push(`end ${error === null ? "in order" : error.message}`);
  }
}

function textOf(payload: Bytes): string {
  return Buffer.from(payload).toString();
}

export class BusStage {
  readonly clock: ManualClock = new ManualClock();
  readonly hub: Hub;
  readonly faults: string[] = [];
  readonly #pair: Omit<SocketPairOptions, "clock">;
  readonly #servers: MemoryServer[] = [];
  #workers: number = 0;

  constructor(parts: { queueBytesMax?: number; pair?: Omit<SocketPairOptions, "clock"> } = {}) {
    const { pair = {}, ...limits } = parts;
    this.#pair = pair;
    this.hub = new Hub({
      clock: this.clock,
      onFault: (worker, error) => this.faults.push(`${worker} ${error.code}`),
      ...limits,
    });
  }

  end(): BusEnd {
    const worker = ++this.#workers;
    const sockets = socketPair({ ...this.#pair, clock: this.clock });
    const end = new BusEnd(worker, this.clock, sockets);
    this.hub.attach(worker, end.far);
    return end;
  }

  ends(count: number): BusEnd[] {
    return Array.from({ length: count }, () => this.end());
  }

  /** A server that is one of the hub's workers. */
  async server(parts: MemoryServerParts = {}): Promise<MemoryServer & { far: PairedSocket }> {
    const worker = ++this.#workers;
    const [near, far] = socketPair({ ...this.#pair, clock: this.clock });
    this.hub.attach(worker, far);
    const bus = new LocalBus(worker, near, this.clock);
    const server = await MemoryServer.start({ ...parts, clock: this.clock, bus });
    this.#servers.push(server);
    return Object.assign(server, { far });
  }

  /** Stops what is left, and finds nothing held anywhere and nothing that still is to happen. */
  async stop(): Promise<void> {
    const stopping = this.#servers.map(({ server }) => server.stop({ hasten: true }));
    await this.clock.advance(3_000);
    await Promise.all(stopping);
    for (const server of this.#servers) server.expectNothingHeld();
    this.hub.close();
    await this.clock.advance(10_000);
    expect(this.clock.pending).toBe(0);
  }
}
