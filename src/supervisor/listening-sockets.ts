// The listening sockets of the server: opened or inherited once, held for as long as the supervisor
// lives, and served by whichever worker is there. That nobody ever closes one is why no client is
// refused or reset while workers come and go.

import type { Options } from "../config/options.ts";
import { tcpKind } from "../server/listener-spec.ts";
import {
  closeHeldSockets,
  type HeldSockets,
  inheritedAddress,
  openHeldSockets,
  openSharedSocket,
} from "../transport/held-socket.ts";
import type { TransportAddress } from "../transport/transport.ts";
import type { SocketFiles } from "./ipc.ts";
import { FIRST_FILE, type NamedSocket } from "./spawn.ts";

/** Connections that the kernel holds for a WebSocket listener until they are accepted. */
const WEBSOCKET_BACKLOG = 4_096;

interface Held {
  readonly listener: string;
  readonly address: TransportAddress;
  /** Of this process. */
  readonly files: readonly number[];
}

export interface ListeningParts {
  readonly options: Options;
  readonly slots: number;
  readonly inherited: ReadonlyMap<string, readonly number[]>;
  /** Whether WebSocket can be served at all. */
  readonly hasWebSocket: boolean;
}

export class ListeningSockets {
  /** In the order in which workers inherit them. */
  readonly sockets: readonly NamedSocket[];
  readonly #held: readonly Held[];
  readonly #slots: number;
  /** Whether a worker can accept on several. */
  readonly #isNative: boolean;

  private constructor(held: readonly Held[], slots: number, isNative: boolean) {
    this.#held = held;
    this.#slots = slots;
    this.#isNative = isNative;
    this.sockets = held.flatMap(({ listener, files }) =>
      files.map((file, index) => ({ name: `${listener}.${index}`, file })),
    );
  }

  /** Rejects with HOLDFAST_LISTEN_FAILED, with nothing left open. */
  static async open(parts: ListeningParts): Promise<ListeningSockets> {
    const isNative = tcpKind(parts.options.tcp.transport).kind === "tcp-epoll";
    const held: Held[] = [];
    try {
      for (const listener of listenersOf(parts)) {
        const opened = await hold(listener, parts, isNative);
        if (opened !== null) held.push(opened);
      }
    } catch (error) {
      for (const { files } of held) closeHeldSockets(files);
      throw error;
    }
    return new ListeningSockets(held, parts.slots, isNative);
  }

  /** By listener; one that opens its own socket in each worker is missing. */
  get addresses(): ReadonlyMap<string, TransportAddress> {
    return new Map(this.#held.map(({ listener, address }) => [listener, address]));
  }

  /** Files of every worker that inherits them. */
  get inheritedFiles(): readonly number[] {
    return this.sockets.map((_, index) => FIRST_FILE + index);
  }

  /** What the worker of a slot listens on, as the files that it inherits. */
  ofSlot(slot: number): SocketFiles {
    return this.#numbered((count) => this.#indexesOf(slot, count));
  }

  /** {@link ofSlot}, without what other slots serve too. */
  ofSlotAlone(slot: number): SocketFiles {
    return this.#numbered((count) =>
      this.#isNative && count >= this.#slots ? this.#indexesOf(slot, count) : [],
    );
  }

  /** New clients are refused by the kernel from now on, but for sockets that others hold too. */
  close(): void {
    for (const { files } of this.#held) closeHeldSockets(files);
  }

  /** More sockets than slots: each takes several. Fewer: several slots take the same. */
  #indexesOf(slot: number, count: number): number[] {
    if (!this.#isNative || count < this.#slots) return [slot % count];
    const all = Array.from({ length: count }, (_, index) => index);
    return all.filter((index) => index % this.#slots === slot);
  }

  #numbered(indexesOf: (count: number) => readonly number[]): SocketFiles {
    const files: Record<string, readonly number[]> = {};
    let first = FIRST_FILE;
    for (const { listener, files: held } of this.#held) {
      const start = first;
      const indexes = indexesOf(held.length);
      if (indexes.length > 0) files[listener] = indexes.map((index) => start + index);
      first += held.length;
    }
    return files;
  }
}

function listenersOf({ options, hasWebSocket }: ListeningParts): string[] {
  const { tcp, websocket } = options;
  return [
    ...(tcp.enabled ? ["tcp"] : []),
    ...(websocket.enabled && hasWebSocket ? ["websocket"] : []),
  ];
}

/** Null: each worker opens its own, as uWebSockets.js does without the native addon. */
async function hold(
  listener: string,
  { options, slots, inherited }: ListeningParts,
  isNative: boolean,
): Promise<Held | null> {
  const given = inherited.get(listener) ?? fileOf(listener, options);
  if (given !== null) {
    const [address] = given.map((file) => inheritedAddress(file));
    return { listener, address: address!, files: given };
  }
  const wanted = wantedOf(listener, options);
  if (listener === "websocket" && !isNative) {
    // Workers will share it with whoever is there: nobody must be.
    closeHeldSockets((await openSharedSocket(wanted)).files);
    return null;
  }
  const opened: HeldSockets = isNative
    ? await openHeldSockets({ ...wanted, count: slots })
    : await openSharedSocket(wanted);
  return { listener, address: opened.address, files: opened.files };
}

function fileOf(listener: string, { tcp }: Options): readonly number[] | null {
  return listener === "tcp" && tcp.fd !== null ? [tcp.fd] : null;
}

function wantedOf(
  listener: string,
  { tcp, websocket }: Options,
): { what: string; host: string; port: number; path: string | null; backlog: number } {
  if (listener === "tcp") {
    const { host, port, path, backlog } = tcp;
    return { what: "TCP", host, port, path, backlog };
  }
  const { host, port } = websocket;
  return { what: "WebSocket", host, port, path: null, backlog: WEBSOCKET_BACKLOG };
}
