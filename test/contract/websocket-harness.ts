// uWebSockets.js against the `ws` client.

import { once } from "node:events";
import type { Socket } from "node:net";
import { WebSocket } from "ws";
import { systemClock } from "../../src/base/clock.ts";
import { EpollLoop } from "../../src/transport/epoll-loop.ts";
import { loadNative } from "../../src/transport/native.ts";
import type { TransportHandler } from "../../src/transport/transport.ts";
import type { UpgradeRefusal } from "../../src/transport/upgrade-check.ts";
import { type LoadedUws, loadUws } from "../../src/transport/uws.ts";
import { WebSocketTransport } from "../../src/transport/websocket.ts";
import { SUBPROTOCOL } from "../../src/wire/messages.ts";
import { hasNative } from "../support/native.ts";
import { builtModule } from "./socket-harness.ts";
import type { ContractPeer, TransportHarness } from "../support/transport-bench.ts";

export class WebSocketPeer implements ContractPeer {
  readonly #ws: WebSocket;
  receivedBytes: number = 0;
  readonly #chunks: Buffer[] = [];
  #ended: ContractPeer["ended"] = null;

  constructor(ws: WebSocket) {
    this.#ws = ws;
    ws.on("message", (data: Buffer) => this.#keep(data));
    ws.on("error", () => {});
    ws.on("close", (code: number) => {
      this.#ended = { wasReset: code === 1006, code };
    });
  }

  static async connect(url: string): Promise<WebSocketPeer> {
    const ws = new WebSocket(url, SUBPROTOCOL, { perMessageDeflate: false });
    const peer = new WebSocketPeer(ws);
    await Promise.race([
      once(ws, "open"),
      once(ws, "close").then(() => Promise.reject(new Error("closed before it was open"))),
    ]);
    return peer;
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
    this.#ws.send(bytes);
  }

  sendText(text: string): void {
    this.#ws.send(text);
  }

  ping(): void {
    this.#ws.ping();
  }

  end(): void {
    this.#ws.close(1000);
  }

  reset(): void {
    (this.#ws as unknown as { _socket: Socket })._socket.resetAndDestroy();
  }

  setReading(reading: boolean): void {
    if (reading) this.#ws.resume();
    else this.#ws.pause();
  }

  destroy(): void {
    this.#ws.terminate();
  }
}

/** Null where no binary of uWebSockets.js fits this Node release. */
export function uwsIfAny(): LoadedUws | null {
  try {
    return loadUws();
  } catch {
    return null;
  }
}

/** Who accepts connections for uWebSockets.js: it does, or our acceptor that hands them over. */
export type AcceptedBy = "itself" | "our acceptor";
export const ACCEPTED_BY: readonly AcceptedBy[] = hasNative
  ? ["itself", "our acceptor"]
  : ["itself"];

export function loopFor(by: AcceptedBy): EpollLoop | string {
  return by === "itself" ? "the test wants it so" : new EpollLoop(loadNative());
}

export async function openWebSocket(
  loaded: LoadedUws,
  by: AcceptedBy,
  handler: TransportHandler,
  onUpgradeRefused: (refusal: UpgradeRefusal) => void = () => {},
): Promise<{ transport: WebSocketTransport; port: number }> {
  const reasons: string[] = [];
  const options = {
    host: "127.0.0.1",
    port: 0,
    messageBytesMax: 1_048_576,
    subprotocol: SUBPROTOCOL,
    origins: ["*"],
    onUpgradeRefused,
    onOwnListener: (reason: string) => void reasons.push(reason),
  };
  const transport = new WebSocketTransport(options, handler, loaded, systemClock, loopFor(by));
  const { port } = await transport.listen();
  // Or both ways would be the same one.
  const isItself = reasons.length > 0;
  if (isItself !== (by === "itself")) throw new Error(`not by ${by}: ${reasons.join()}`);
  return { transport, port };
}

export function webSocketHarness(loaded: LoadedUws, by: AcceptedBy): TransportHarness {
  return {
    name: `websocket (accepted by ${by})`,
    traits: {
      canPause: false,
      hasHalfClose: false,
      hasReset: true,
      hasCloseCodes: true,
      reusesReceiveMemory: true,
      hasRemoteAddress: true,
    },
    async open(handler) {
      const { transport, port } = await openWebSocket(loaded, by, handler);
      return { transport, connect: () => WebSocketPeer.connect(`ws://127.0.0.1:${port}/`) };
    },
    exitProgram: `
      const { loadUws } = await import(${JSON.stringify(builtModule("transport/uws.js"))});
      const websocket = ${JSON.stringify(builtModule("transport/websocket.js"))};
      const { WebSocketTransport } = await import(websocket);
      const { systemClock } = await import(${JSON.stringify(builtModule("base/clock.js"))});
      const { connect } = await import("node:net");
      ${loopProgram(by)}
      const quiet = () => {};
      const handler = { admit: () => true, onOpen: () => opened(), onChunk: quiet, onDrain: quiet,
        onEnd: quiet, onFault: quiet, onSign: quiet, onClose: quiet, onAcceptError: quiet };
      let opened;
      const isOpen = new Promise((resolve) => { opened = resolve; });
      const options = { host: "127.0.0.1", port: 0, messageBytesMax: 1000, subprotocol: null,
        origins: ["*"], onUpgradeRefused: quiet,
        onOwnListener: ${by === "itself" ? "quiet" : "console.log"} };
      const transport = new WebSocketTransport(options, handler, loadUws(), systemClock, loop);
      const { port } = await transport.listen();
      const client = connect(port, "127.0.0.1");
      client.on("error", quiet).unref();
      client.write("GET / HTTP/1.1\\r\\nHost: x\\r\\nUpgrade: websocket\\r\\n" +
        "Connection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\n" +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n");
      await isOpen;
      transport.destroy();
      console.log("destroyed");
    `,
  };
}

/** Makes `loop`. */
function loopProgram(by: AcceptedBy): string {
  if (by === "itself") return 'const loop = "the test wants it so";';
  return `
    const { EpollLoop } = await import(${JSON.stringify(builtModule("transport/epoll-loop.js"))});
    const { loadNative } = await import(${JSON.stringify(builtModule("transport/native.js"))});
    const loop = new EpollLoop(loadNative());
  `;
}
