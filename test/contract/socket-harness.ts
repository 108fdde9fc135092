// tcp-net over TCP and over a Unix socket, against sockets of node:net.

import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { TcpNetTransport } from "../../src/transport/tcp-net.ts";
import type { TransportAddress } from "../../src/transport/transport.ts";
import type { ContractPeer, TransportHarness } from "../support/transport-bench.ts";

const OPTIONS = { host: "127.0.0.1", port: 0, path: null, backlog: 128, noDelay: true };

export class SocketPeer implements ContractPeer {
  readonly socket: Socket;
  receivedBytes: number = 0;
  readonly #chunks: Buffer[] = [];
  #ended: ContractPeer["ended"] = null;
  #wasReset: boolean = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => this.#keep(chunk));
    socket.on("error", () => {
      this.#wasReset = true;
    });
    // Answering an end with an end is what `allowHalfOpen: false` does; here a peer decides itself.
    socket.on("end", () => {
      this.#ended = { wasReset: false, code: 0 };
      socket.end();
    });
    socket.on("close", () => {
      this.#ended ??= { wasReset: this.#wasReset, code: 0 };
    });
  }

  #keep(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.receivedBytes += chunk.length;
  }

  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get ended(): ContractPeer["ended"] {
    return this.#ended;
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  end(): void {
    this.socket.end();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  setReading(reading: boolean): void {
    if (reading) this.socket.resume();
    else this.socket.pause();
  }

  destroy(): void {
    this.socket.destroy();
  }
}

function connectTo(address: TransportAddress): Promise<SocketPeer> {
  return new Promise((resolve, reject) => {
    const { host, port, path } = address;
    const where = path === null ? { host, port } : { path };
    const socket = connect({ ...where, noDelay: true, allowHalfOpen: true });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(new SocketPeer(socket));
    });
  });
}

export function freePath(): string {
  return join(tmpdir(), `holdfast-${randomUUID()}.sock`);
}

function harness(name: string, isUnix: boolean, reusesReceiveMemory: boolean): TransportHarness {
  return {
    name,
    traits: {
      canPause: true,
      hasHalfClose: true,
      hasReset: !isUnix,
      hasCloseCodes: false,
      reusesReceiveMemory,
      hasRemoteAddress: !isUnix,
    },
    async open(handler) {
      const path = isUnix ? freePath() : null;
      const transport = new TcpNetTransport({ ...OPTIONS, path }, handler);
      const address = await transport.listen();
      return { transport, connect: () => connectTo(address) };
    },
    exitProgram: exitProgram(isUnix),
  };
}

export const tcpHarness: TransportHarness = harness("tcp-net (TCP)", false, true);
export const unixHarness: TransportHarness = harness("tcp-net (Unix socket)", true, true);
/** Where node:net has no hook for the shared receive buffer, each chunk has memory of its own. */
export const fallbackHarness: TransportHarness = harness("tcp-net (fallback)", false, false);

/** Address of a built module, for programs that run outside of the test runner. */
export function builtModule(path: string): string {
  const url = new URL(`../../dist/${path}`, import.meta.url);
  if (!existsSync(fileURLToPath(url))) throw new Error(`${path} is not built: run npm run build`);
  return url.href;
}

function exitProgram(isUnix: boolean): string {
  const where = isUnix ? `path: ${JSON.stringify(freePath())}` : "path: null";
  return `
    import { connect } from "node:net";
    const built = ${JSON.stringify(builtModule("transport/tcp-net.js"))};
    const { TcpNetTransport } = await import(built);
    const quiet = () => {};
    const handler = { admit: () => true, onOpen: () => opened(), onChunk: quiet, onDrain: quiet,
      onEnd: quiet, onFault: quiet, onSign: quiet, onClose: quiet, onAcceptError: quiet };
    let opened;
    const isOpen = new Promise((resolve) => { opened = resolve; });
    const options = { host: "127.0.0.1", port: 0, backlog: 16, noDelay: true, ${where} };
    const transport = new TcpNetTransport(options, handler);
    const { host, port, path } = await transport.listen();
    const client = connect(path === null ? { host, port } : { path });
    client.on("error", quiet).unref();
    await isOpen;
    transport.destroy();
    console.log("destroyed");
  `;
}
