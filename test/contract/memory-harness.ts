// The in-process transport in real time, with segments of every size.

import { systemClock } from "../../src/base/clock.ts";
import { Prng } from "../../src/base/prng.ts";
import {
  type MemoryPeer,
  type MemoryPeerHandler,
  MemoryTransport,
} from "../../src/transport/memory.ts";
import type { ContractPeer, TransportHarness } from "../support/transport-bench.ts";

class InProcessPeer implements ContractPeer, MemoryPeerHandler {
  receivedBytes: number = 0;
  readonly #chunks: Buffer[] = [];
  #ended: ContractPeer["ended"] = null;
  readonly #peer: MemoryPeer;

  constructor(transport: MemoryTransport) {
    this.#peer = transport.connect(this);
  }

  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get ended(): ContractPeer["ended"] {
    return this.#ended;
  }

  onData(bytes: Uint8Array): void {
    this.#chunks.push(Buffer.from(bytes));
    this.receivedBytes += bytes.length;
  }

  onClose(code: number): void {
    this.#ended = { wasReset: code === -1, code };
  }

  send(bytes: Uint8Array): void {
    this.#peer.send(bytes);
  }

  end(): void {
    this.#peer.end();
  }

  reset(): void {
    this.#peer.reset();
  }

  setReading(reading: boolean): void {
    this.#peer.setReading(reading);
  }

  destroy(): void {
    this.#peer.reset();
  }
}

export function memoryHarness(hasMessages: boolean, gathersWrites: boolean): TransportHarness {
  return {
    name: `memory (${hasMessages ? "messages" : "stream"}${gathersWrites ? ", gathered" : ""})`,
    traits: {
      canPause: true,
      hasHalfClose: true,
      hasReset: true,
      hasCloseCodes: true,
      reusesReceiveMemory: false,
      hasRemoteAddress: true,
    },
    async open(handler) {
      const prng = new Prng(1);
      const options = {
        windowBytes: 200_000,
        delayMs: () => 0,
        segmentBytes: (length: number) => prng.int(Math.ceil(length / 2), length),
        hasMessages,
        gathersWrites,
      };
      const transport = new MemoryTransport(options, handler, systemClock);
      await transport.listen();
      return { transport, connect: async () => new InProcessPeer(transport) };
    },
  };
}
