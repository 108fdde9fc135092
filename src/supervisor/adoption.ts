// Slots whose worker is down are served by another one: it accepts on their sockets too, until they
// have a worker of their own again. Clients that connected meanwhile have waited in the kernel.

import { SILENT_MS, type WorkerHandle } from "./worker-handle.ts";
import type { SocketFiles } from "./ipc.ts";
import type { Slot } from "./slot.ts";

/** So long may a slot be without a worker before another accepts for it, in milliseconds. */
export const DOWN_MS = 1_000;

export class Adoption {
  readonly #slots: readonly Slot[];
  readonly #socketsOf: (slot: number) => SocketFiles;
  /** Slot -> who accepts for it. */
  readonly #adopters: Map<Slot, WorkerHandle> = new Map();

  constructor(slots: readonly Slot[], socketsOf: (slot: number) => SocketFiles) {
    this.#slots = slots;
    this.#socketsOf = socketsOf;
  }

  /** To be called a few times a second. */
  look(nowMs: number): void {
    for (const slot of this.#slots) this.#lookAt(slot, nowMs);
  }

  #lookAt(slot: Slot, nowMs: number): void {
    const adopter = this.#adopters.get(slot) ?? null;
    const sockets = this.#socketsOf(slot.index);
    if (!isDown(slot, nowMs)) {
      this.#adopters.delete(slot);
      adopter?.send({ type: "release", sockets });
      return;
    }
    if (adopter !== null && isWell(adopter)) return;
    this.#adopters.delete(slot);
    // One that is only silent may come back, and would accept for the slot for ever.
    adopter?.send({ type: "release", sockets });
    const next = this.#leastBusy();
    if (next === null) return;
    this.#adopters.set(slot, next);
    next.send({ type: "adopt", sockets });
  }

  #leastBusy(): WorkerHandle | null {
    let best: WorkerHandle | null = null;
    for (const { serving } of this.#slots) {
      if (serving === null || !isWell(serving)) continue;
      if (best === null || serving.served < best.served) best = serving;
    }
    return best;
  }
}

/** Whether it serves and has been heard of lately. */
export function isWell(worker: WorkerHandle): boolean {
  return worker.state === "serving" && worker.silentMs <= SILENT_MS;
}

function isDown({ serving, downSince, state }: Slot, nowMs: number): boolean {
  if (state === "stopped") return false;
  if (serving !== null) return !isWell(serving);
  return downSince !== null && nowMs - downSince >= DOWN_MS;
}
