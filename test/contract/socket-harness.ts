// tcp-net over TCP and over a Unix socket, against sockets of node:net.

import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../src/base/clock.ts";
import { EpollLoop } from "../../src/transport/epoll-loop.ts";
import { loadNative } from "../../src/transport/native.ts";
import { TcpEpollTransport } from "../../src/transport/tcp-epoll.ts";
import { TcpNetTransport } from "../../src/transport/tcp-net.ts";
import type {
  Transport,
  TransportAddress,
  TransportHandler,
} from "../../src/transport/transport.ts";
import type { ContractPeer, TransportHarness } from "../support/transport-bench.ts";

const OPTIONS = { host: "127.0.0.1", port: 0, path: null, backlog: 128, noDelay: true };
const EPOLL_OPTIONS = { fd: null, keepAliveMs: 0, userTimeoutMs: 0, queueBytesMax: 2 ** 30 };

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

type Make = (path: string | null, handler: TransportHandler) => Transport;

function harness(
  name: string,
  isUnix: boolean,
  make: Make,
  rest: { reusesReceiveMemory: boolean; program: string },
): TransportHarness {
  return {
    name,
    traits: {
      canPause: true,
      hasHalfClose: true,
      hasReset: !isUnix,
      hasCloseCodes: false,
      reusesReceiveMemory: rest.reusesReceiveMemory,
      hasRemoteAddress: !isUnix,
    },
    async open(handler) {
      const transport = make(isUnix ? freePath() : null, handler);
      const address = await transport.listen();
      return { transport, connect: () => connectTo(address) };
    },
    exitProgram: exitProgram(isUnix, rest.program),
  };
}

const makeNet: Make = (path, handler) => new TcpNetTransport({ ...OPTIONS, path }, handler);
const makeEpoll: Make = (path, handler) => {
  const options = { ...OPTIONS, ...EPOLL_OPTIONS, path };
  return new TcpEpollTransport(options, handler, new EpollLoop(loadNative()), systemClock);
};

const NET = { reusesReceiveMemory: true, program: netProgram() };
const EPOLL = { reusesReceiveMemory: true, program: epollProgram() };
/** Where node:net has no hook for the shared receive buffer, each chunk has memory of its own. */
const FALLBACK = { ...NET, reusesReceiveMemory: false };

export const tcpHarness: TransportHarness = harness("tcp-net (TCP)", false, makeNet, NET);
export const unixHarness: TransportHarness = harness("tcp-net (Unix socket)", true, makeNet, NET);
export const fallbackHarness: TransportHarness = harness(
  "tcp-net (fallback)",
  false,
  makeNet,
  FALLBACK,
);
export const epollHarness: TransportHarness = harness("tcp-epoll (TCP)", false, makeEpoll, EPOLL);
export const epollUnixHarness: TransportHarness = harness(
  "tcp-epoll (Unix socket)",
  true,
  makeEpoll,
  EPOLL,
);

/** Address of a built module, for programs that run outside of the test runner. */
export function builtModule(path: string): string {
  const url = new URL(`../../dist/${path}`, import.meta.url);
  if (!existsSync(fileURLToPath(url))) throw new Error(`${path} is not built: run npm run build`);
  return url.href;
}

/** Makes `transport` of `options` and `handler`. */
function netProgram(): string {
  return `
    const { TcpNetTransport } = await import(${builtText("transport/tcp-net.js")});
    const make = (options, handler) => new TcpNetTransport(options, handler);
  `;
}

function epollProgram(): string {
  return `
    const { TcpEpollTransport } = await import(${builtText("transport/tcp-epoll.js")});
    const { EpollLoop } = await import(${builtText("transport/epoll-loop.js")});
    const { loadNative } = await import(${builtText("transport/native.js")});
    const { systemClock } = await import(${builtText("base/clock.js")});
    const make = (options, handler) => new TcpEpollTransport(
      { ...options, ...${JSON.stringify(EPOLL_OPTIONS)} }, handler, new EpollLoop(loadNative()),
      systemClock);
  `;
}

function builtText(path: string): string {
  return JSON.stringify(builtModule(path));
}

function exitProgram(isUnix: boolean, program: string): string {
  const where = isUnix ? `path: ${JSON.stringify(freePath())}` : "path: null";
  return `
    import { connect } from "node:net";
    ${program}
    const quiet = () => {};
    const handler = { admit: () => true, onOpen: () => opened(), onChunk: quiet, onDrain: quiet,
      onQueued: quiet, onEnd: quiet, onFault: quiet, onSign: quiet, onClose: quiet,
      onAcceptError: quiet };
    let opened;
    const isOpen = new Promise((resolve) => { opened = resolve; });
    const options = { host: "127.0.0.1", port: 0, backlog: 16, noDelay: true, ${where} };
    const transport = make(options, handler);
    const { host, port, path } = await transport.listen();
    const client = connect(path === null ? { host, port } : { path });
    client.on("error", quiet).unref();
    await isOpen;
    transport.destroy();
    console.log("destroyed");
  `;
}
