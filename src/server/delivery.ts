// Pushes: to one connection, to those with a label, to all. What is here is served here; the bus,
// where there is one, takes the push to the other workers.

import type { Bytes } from "../base/buffer-pool.ts";
import type { Bus, BusHandler, BusLabel } from "../bus/bus.ts";
import type { ClientConnection } from "../connection/client-connection.ts";
import type { Connection } from "../connection/connection.ts";
import type { SendOutcome } from "../connection/outbound.ts";
import type { Broadcast } from "./broadcast.ts";
import { SERIALS_PER_WORKER } from "./listener.ts";
import type { Registry } from "./registry.ts";

/** "forwarded": another worker holds the connection, and what became of it there is not told. */
export type DeliveryOutcome = SendOutcome | "forwarded";

/** Whose connection the id names; NaN where it is none, 0 for that of a server without a bus. */
function memberOf(id: string): number {
  return Math.floor(Number.parseInt(id, 36) / SERIALS_PER_WORKER);
}

export class Delivery implements BusHandler {
  readonly #registry: Registry;
  readonly #broadcast: Broadcast;
  readonly #onEnd: (error: Error | null) => void;
  #bus: Bus | null;

  constructor(
    registry: Registry,
    broadcast: Broadcast,
    bus: Bus | null,
    onEnd: (error: Error | null) => void,
  ) {
    this.#registry = registry;
    this.#broadcast = broadcast;
    this.#bus = bus;
    this.#onEnd = onEnd;
    bus?.start(this);
  }

  /** Throws HOLDFAST_LISTENER_KIND, HOLDFAST_FRAME_TOO_LARGE. */
  send(id: string, topic: string, payload: Uint8Array | string): DeliveryOutcome {
    const connection = this.#registry.byId(id);
    if (connection !== null) return connection.send(topic, payload);
    const member = memberOf(id);
    if (this.#bus === null || !(member > 0) || member === this.#bus.member) return "closed";
    const outcome = this.#bus.send(member, id, topic, bytesOf(payload));
    return outcome === "taken" ? "forwarded" : "dropped";
  }

  /** To connections of this process. @returns to how many. */
  sendMany(
    connections: Iterable<ClientConnection>,
    topic: string,
    payload: Uint8Array | string,
  ): Promise<number> {
    return this.#broadcast.send(connections as Iterable<Connection>, topic, bytesOf(payload));
  }

  /** To all connections that the label means, on all workers. @returns to how many. */
  async reach(label: BusLabel, topic: string, payload: Uint8Array | string): Promise<number> {
    const bytes = bytesOf(payload);
    const elsewhere = this.#bus?.reach(label, topic, bytes) ?? 0;
    return (await this.onReach(label, topic, bytes)) + (await elsewhere);
  }

  onSend(id: string, topic: string, payload: Bytes): void {
    const connection = this.#registry.byId(id);
    if (connection?.context.raw === null) connection.send(topic, payload);
  }

  onReach(label: BusLabel, topic: string, payload: Bytes): Promise<number> {
    const connections = label === null ? this.#registry.all() : this.#registry.byLabel(...label);
    return this.#broadcast.send(connections, topic, payload);
  }

  onEnd(error: Error | null): void {
    this.#bus = null;
    this.#onEnd(error);
  }
}

const encoder = new TextEncoder();

export function bytesOf(payload: Uint8Array | string): Uint8Array {
  if (typeof payload === "string") return encoder.encode(payload);
  if (payload instanceof Uint8Array) return payload;
  throw new TypeError("a payload is a Uint8Array or a string");
}
