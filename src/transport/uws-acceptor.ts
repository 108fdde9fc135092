// Accepts for uWebSockets.js, which takes the files over: with our backlog instead of its 512,
// admission before it allocates anything, and without its spinning when files run out.

import { connect } from "node:net";
import type { Clock } from "../base/clock.ts";
import { AcceptorSet } from "./acceptor-set.ts";
import { EpollLoop, type LoopMember } from "./epoll-loop.ts";
import type { TransportAddress, TransportHandler } from "./transport.ts";
import type { UwsApp, UwsModule } from "./uws.ts";

/** Connections that the kernel holds until they are accepted. */
const BACKLOG = 4_096;

/** The address, or listening sockets that this process was started with instead. */
export interface UwsPlace {
  readonly host: string;
  readonly port: number;
  readonly fds?: readonly number[] | null;
}

export class UwsAcceptor implements LoopMember {
  readonly #app: UwsApp;
  readonly #loop: EpollLoop;
  readonly #handler: Pick<TransportHandler, "admit" | "onAcceptError">;
  readonly #member: number;
  readonly #acceptors: AcceptorSet;
  #isDestroyed: boolean = false;

  constructor(
    app: UwsApp,
    loop: EpollLoop,
    { host, port, fds = null }: UwsPlace,
    handler: Pick<TransportHandler, "admit" | "onAcceptError">,
    clock: Clock,
  ) {
    this.#app = app;
    this.#loop = loop;
    this.#handler = handler;
    this.#member = loop.join(this);
    const address = { host, port, path: null, fd: null, fds };
    const sockets = { backlog: BACKLOG, noDelay: true, keepAliveMs: 0, userTimeoutMs: 0 };
    const options = { ...address, ...sockets };
    this.#acceptors = new AcceptorSet("WebSocket", loop, this.#member, options, clock);
  }

  /**
   * Rejects with HOLDFAST_LISTEN_FAILED. Where stop() comes first it resolves and does not listen.
   */
  listen(): Promise<TransportAddress> {
    return this.#acceptors.listen();
  }

  adopt(fds: readonly number[]): Promise<void> {
    return this.#acceptors.adopt(fds);
  }

  release(fds: readonly number[]): void {
    this.#acceptors.release(fds);
  }

  stop(): void {
    this.#acceptors.stop();
  }

  destroy(): void {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    this.#acceptors.destroy();
    this.#loop.leave(this.#member);
  }

  /** A file may be free. */
  retry(): void {
    this.#acceptors.retry();
  }

  /** Who was accepted in the batch in which accepting stopped is here, and is not sent away. */
  onAccepted(_acceptor: number, fd: number): void {
    const isAdmitted = this.#handler.admit();
    // Whoever is asked may destroy this instead of answering.
    if (isAdmitted && !this.#isDestroyed) this.#app.adoptSocket!(fd);
    else this.#loop.addon.closeFile(fd);
  }

  onAcceptError(acceptor: number, error: string): void {
    this.#acceptors.starve(acceptor);
    this.#handler.onAcceptError(error);
  }

  // No channel is this member's: uWebSockets.js has the connections.

  onData(): void {}
  onEnd(): void {}
  onDrain(): void {}
  onQueued(): void {}
  onClosed(): void {}
  onConnected(): void {}
}

/** How long a socket may take that is handed over on trial, in milliseconds. */
const TRIAL_MS = 2_000;
const LOOPBACK = "127.0.0.1";
/** The key is RFC 6455's example. */
const TRIAL_REQUEST =
  "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/** A binary message of one byte, as clients send it and as servers do. */
const TRIAL_MESSAGE: Buffer = Buffer.from([0x82, 0x81, 0, 0, 0, 0, 0x68]);
const TRIAL_ECHO: Buffer = Buffer.from([0x82, 0x01, 0x68]);

/** Libraries that have passed their trial: it costs an app, which is never given back. */
const proven: WeakSet<UwsModule> = new WeakSet();

/**
 * Hands over one socket on trial, to an app of its own: it is upgraded, has its peer's address and
 * echoes, all over loopback. What has passed once is not tried again.
 * @returns why sockets cannot be handed over; null: they can.
 */
export async function adoptionFault(
  uws: UwsModule,
  loop: EpollLoop,
  clock: Clock,
): Promise<string | null> {
  if (proven.has(uws)) return null;
  // On a loop of its own: what it counts is no client's.
  const fault = await trialFault(uws, new EpollLoop(loop.addon), clock);
  if (fault === null) proven.add(uws);
  return fault;
}

async function trialFault(uws: UwsModule, loop: EpollLoop, clock: Clock): Promise<string | null> {
  const app = uws.App();
  if (typeof app.adoptSocket !== "function") return "uWebSockets.js has no adoptSocket";
  let address = "no address";
  app.ws("/*", {
    compression: 0,
    maxPayloadLength: 16,
    maxBackpressure: 1_024,
    closeOnBackpressureLimit: false,
    idleTimeout: 0,
    sendPingsAutomatically: false,
    message(ws, message, isBinary) {
      address = Buffer.from(ws.getRemoteAddressAsText()).toString("latin1");
      ws.send(new Uint8Array(message), isBinary);
    },
  });
  const handler = { admit: () => true, onAcceptError: () => {} };
  const acceptor = new UwsAcceptor(app, loop, { host: LOOPBACK, port: 0 }, handler, clock);
  try {
    const { port } = await acceptor.listen();
    const fault = await echoFault(port, clock);
    if (fault !== null) return fault;
    return address === LOOPBACK ? null : `an adopted socket of ${LOOPBACK} told ${address}`;
  } catch (error) {
    return (error as Error).message;
  } finally {
    acceptor.destroy();
    app.close();
  }
}

/** Null: the echo came. */
function echoFault(port: number, clock: Clock): Promise<string | null> {
  return new Promise((resolve) => {
    let answer = Buffer.alloc(0);
    const socket = connect(port, LOOPBACK);
    const end = (fault: string | null): void => {
      timer.cancel();
      socket.destroy();
      resolve(fault);
    };
    const timer = clock.after(TRIAL_MS, () => end("an adopted socket was silent"));
    socket.once("error", (error) => end(error.message));
    socket.once("close", () => end("an adopted socket was closed"));
    socket.on("data", (bytes: Buffer) => {
      answer = Buffer.concat([answer, bytes]);
      if (answer.includes("\r\n\r\n") && socket.bytesWritten === TRIAL_REQUEST.length) {
        socket.write(TRIAL_MESSAGE);
      } else if (answer.subarray(-TRIAL_ECHO.length).equals(TRIAL_ECHO)) {
        end(null);
      }
    });
    socket.write(TRIAL_REQUEST);
  });
}
