// Workers without processes: each is a server over the memory transport in this one, which answers
// as a worker does: through JSON, or not at all.

import type { Clock } from "../../src/base/clock.ts";
import type { Connection } from "../../src/connection/connection.ts";
import { Operator } from "../../src/server/operator.ts";
import type { OperatorAnswer, OperatorRequest } from "../../src/server/operator.ts";
import { Server } from "../../src/server/server.ts";
import type { WorkerView } from "../../src/supervisor/worker-poll.ts";
import type { MemoryTransport } from "../../src/transport/memory.ts";

export class FakeWorker implements WorkerView {
  readonly slot: number;
  readonly worker: number;
  readonly pid: number;
  readonly report: { readonly configHash: string } = { configHash: "0123456789ab" };
  readonly server: Server;
  state: string = "serving";
  /** It answers nothing any more. */
  isSilent: boolean = false;
  readonly #operator: Operator;

  private constructor(slot: number, worker: number, server: Server) {
    this.slot = slot;
    this.worker = worker;
    this.pid = 10_000 + worker;
    this.server = server;
    this.#operator = new Operator(server);
  }

  static async start(slot: number, worker: number, clock: Clock): Promise<FakeWorker> {
    const server = new Server(
      { tcp: { enabled: false }, websocket: { enabled: false }, connection: { max: 100 } },
      { clock, admin: false, worker, listeners: [{ name: "mem", transport: { kind: "memory" } }] },
    );
    await server.start();
    const fake = new FakeWorker(slot, worker, server);
    fake.#operator.start();
    return fake;
  }

  connect(count: number): Connection[] {
    const transport = this.server.listeners[0]!.transport as MemoryTransport;
    for (let index = 0; index < count; index++) {
      transport.connect({ onData: () => {}, onClose: () => {} });
    }
    return [...this.server.registry.all()].slice(-count);
  }

  async ask(request: OperatorRequest): Promise<OperatorAnswer | null> {
    if (this.isSilent || this.server.state === "stopped") return null;
    const answer = await this.#operator.answer(JSON.parse(JSON.stringify(request)));
    return JSON.parse(JSON.stringify(answer)) as OperatorAnswer;
  }

  async stop(): Promise<void> {
    this.#operator.stop();
    await this.server.stop({ hasten: true });
  }
}
