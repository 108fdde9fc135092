// Who is connected: found by id or by label, without an index entry for a connection that has no
// label.

import type { Connection } from "../connection/connection.ts";
import type { Listener } from "./listener.ts";

export class Registry {
  readonly #listeners: readonly Listener[];
  /** "key=value" -> connections. */
  readonly #byLabel: Map<string, Set<Connection>> = new Map();

  constructor(listeners: readonly Listener[]) {
    this.#listeners = listeners;
  }

  /** Labels in the index; zero when nobody is connected. */
  get labelCount(): number {
    return this.#byLabel.size;
  }

  /** By the id in Welcome and in the logs; null where it is gone. */
  byId(id: string): Connection | null {
    const separator = id.indexOf("-");
    const channel = Number.parseInt(id.slice(separator + 1), 36);
    if (separator < 1 || !Number.isInteger(channel)) return null;
    for (const listener of this.#listeners) {
      const connection = listener.connection(channel);
      if (connection !== null && connection.id === id) return connection;
    }
    return null;
  }

  /** Connections whose Hello carried this label. */
  byLabel(key: string, value: string): ReadonlySet<Connection> {
    return this.#byLabel.get(labelOf(key, value)) ?? NOBODY;
  }

  *all(): Generator<Connection> {
    for (const listener of this.#listeners) yield* listener.connections();
  }

  addLabels(connection: Connection): void {
    for (const [key, value] of connection.labels ?? []) {
      const label = labelOf(key, value);
      const members = this.#byLabel.get(label);
      if (members === undefined) this.#byLabel.set(label, new Set([connection]));
      else members.add(connection);
    }
  }

  removeLabels(connection: Connection): void {
    for (const [key, value] of connection.labels ?? []) {
      const label = labelOf(key, value);
      const members = this.#byLabel.get(label);
      members?.delete(connection);
      if (members?.size === 0) this.#byLabel.delete(label);
    }
  }
}

const NOBODY: ReadonlySet<Connection> = new Set();

/** The separator cannot be in a key: see the Hello's check. */
function labelOf(key: string, value: string): string {
  return `${key}=${value}`;
}
