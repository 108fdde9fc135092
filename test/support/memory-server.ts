// A whole server over the memory transport in simulated time, and clients of it that speak the wire
// contract by hand.

import { expect } from "vitest";
import type { Bus } from "../../src/bus/bus.ts";
import type { PartialOptions } from "../../src/config/options.ts";
import type { Connection } from "../../src/connection/connection.ts";
import type { Log, LogFields } from "../../src/observe/log.ts";
import type { ListenerSpec } from "../../src/server/listener-spec.ts";
import { Server, type ServerHooks } from "../../src/server/server.ts";
import type { MemoryOptions, MemoryPeer, MemoryTransport } from "../../src/transport/memory.ts";
import { ManualClock } from "./manual-clock.ts";
import {
  FrameCutter,
  frame,
  hello,
  readServerMessage,
  type ServerMessageRead,
} from "./raw-message.ts";

export interface MemoryServerParts {
  readonly options?: PartialOptions;
  readonly memory?: Partial<MemoryOptions>;
  readonly listener?: Partial<Omit<ListenerSpec, "name" | "transport">>;
  readonly hooks?: ServerHooks;
  readonly seed?: number;
  /** One for several servers; stop() then is theirs to check. Default: its own. */
  readonly clock?: ManualClock;
  readonly bus?: Bus;
  /** Before it starts: methods, policies. */
  readonly prepare?: (server: Server) => void;
}

/** What was logged as an error or a warning. */
export interface Logged {
  readonly level: "warn" | "error";
  readonly text: string;
  readonly fields: LogFields;
}

export class MemoryServer {
  readonly clock: ManualClock;
  readonly logged: Logged[] = [];
  readonly server: Server;
  readonly transport: MemoryTransport;

  private constructor(parts: MemoryServerParts) {
    this.clock = parts.clock ?? new ManualClock();
    const disabled = { enabled: false } as const;
    const off = { tcp: disabled, websocket: disabled, admin: disabled };
    const memory: ListenerSpec = {
      ...parts.listener,
      name: "memory",
      transport: { kind: "memory", ...parts.memory },
    };
    this.server = new Server(
      { ...parts.options, ...off },
      {
        clock: this.clock,
        seed: parts.seed ?? 1,
        log: logTo(this.logged),
        listeners: [memory],
        ...(parts.hooks === undefined ? {} : { hooks: parts.hooks }),
        ...(parts.bus === undefined ? {} : { bus: parts.bus, worker: parts.bus.member }),
      },
    );
    parts.prepare?.(this.server);
    this.transport = this.server.listeners[0]!.transport as MemoryTransport;
  }

  static async start(parts: MemoryServerParts = {}): Promise<MemoryServer> {
    const started = new MemoryServer(parts);
    await started.server.start();
    return started;
  }

  connect(framing: "uint32" | "varint" = "uint32"): MemoryClient {
    return new MemoryClient(this.transport, framing);
  }

  /** A client whose Hello was answered. */
  async welcome(labels: Readonly<Record<string, string>> = {}): Promise<MemoryClient> {
    const client = this.connect();
    client.sendBody(hello(1, labels));
    await this.clock.settle();
    expect(client.messages.shift()).toMatchObject({ id: 1, body: "welcome" });
    return client;
  }

  /** The server's side of a client; it must be open. */
  connectionOf(client: MemoryClient): Connection {
    const found = [...this.server.registry.all()].find(
      (connection) => connection.channel === client.channel,
    );
    expect(found).toBeDefined();
    return found!;
  }

  /** Stops it, and checks that nothing is held or counted any more. */
  async stop(): Promise<void> {
    const stopping = this.server.stop({ hasten: true });
    await this.clock.advance(1_000);
    await stopping;
    this.expectNothingHeld();
    expect(this.clock.pending).toBe(0);
  }

  /** Once every connection has gone: no lease, timer, queue, label or topic is left. */
  expectNothingHeld(): void {
    const { shared, registry, topics, admission, closedByReason, listeners } = this.server;
    const closed = Object.values(closedByReason).reduce((sum, count) => sum + count, 0);
    expect({
      leased: shared.pool.leased,
      timers: shared.wheel.live,
      queued: shared.budget.bytes,
      backlogged: shared.budget.backlogged.size,
      connections: [...registry.all()].length,
      labels: registry.labelCount,
      topics: topics.count,
      subscriptions: topics.subscriptionCount,
      served: admission.served,
      turnedAway: admission.turnedAway,
      states: listeners.map(({ context }) => [...context.stateCounts].join()),
      closed,
    }).toEqual({
      leased: 0,
      timers: 0,
      queued: 0,
      backlogged: 0,
      connections: 0,
      labels: 0,
      topics: 0,
      subscriptions: 0,
      served: 0,
      turnedAway: 0,
      states: listeners.map(() => "0,0,0,0,0,0,0"),
      closed: shared.counters.opened,
    });
  }
}

export class MemoryClient {
  /** What came, heartbeats left out. */
  readonly messages: ServerMessageRead[] = [];
  readonly bytes: Buffer[] = [];
  heartbeats: number = 0;
  /** Close code, -1 for a reset, null while it is open. */
  closedWith: number | null = null;
  readonly peer: MemoryPeer;
  readonly #cutter: FrameCutter;

  constructor(transport: MemoryTransport, framing: "uint32" | "varint") {
    this.#cutter = new FrameCutter(framing);
    this.peer = transport.connect({
      onData: (bytes) => this.#receive(Buffer.from(bytes)),
      onClose: (code) => {
        this.closedWith = code;
      },
    });
  }

  get channel(): number {
    return (this.peer as unknown as { channel: number }).channel;
  }

  send(bytes: Uint8Array): void {
    this.peer.send(bytes);
  }

  /** One message as a frame of the default framing. */
  sendBody(body: Uint8Array): void {
    this.peer.send(frame(body));
  }

  #receive(bytes: Buffer): void {
    this.bytes.push(bytes);
    for (const body of this.#cutter.push(bytes)) {
      if (body.length === 0) this.heartbeats++;
      else this.messages.push(readServerMessage(body));
    }
  }
}

function logTo(logged: Logged[]): Log {
  const add =
    (level: Logged["level"]) =>
    (fields: LogFields, text: string): void => {
      logged.push({ level, text, fields });
    };
  return {
    debug() {},
    info() {},
    warn: add("warn"),
    error: add("error"),
    event(kind, level, fields) {
      if (level === "warn") logged.push({ level, text: kind, fields: fields() });
    },
  };
}
