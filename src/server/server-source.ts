// The admin listener of one server, which answers for itself.

import type {
  AdminSource,
  Control,
  ControlOutcome,
  ReadyReport,
  ReloadState,
  Scrape,
} from "./admin-source.ts";
import type { ConnectionQuery } from "./inspect.ts";
import { type ClosedConnections, type ClosedQuery, Operator } from "./operator.ts";
import type { TopConnections } from "./operator.ts";
import { READINESS } from "./readiness.ts";
import type { Server } from "./server.ts";

export class ServerSource implements AdminSource {
  readonly #server: Server;
  readonly #operator: Operator;

  constructor(server: Server) {
    this.#server = server;
    this.#operator = new Operator(server);
  }

  start(): void {
    this.#operator.start();
  }

  stop(): void {
    this.#operator.stop();
  }

  about(): ReturnType<AdminSource["about"]> {
    const { node, state } = this.#server;
    return { version: this.#operator.version, node, state };
  }

  async ready(): Promise<ReadyReport> {
    const { readiness } = await this.#operator.answer({ what: "readiness" });
    return { isReady: readiness === "ready", word: readiness, text: READINESS[readiness] };
  }

  async metrics(worker: number | null): Promise<Scrape | null> {
    return worker === null ? await this.#operator.scrape() : null;
  }

  async stats(worker: number | null): Promise<object | null> {
    return worker === null ? await this.#operator.answer({ what: "stats" }) : null;
  }

  connections(query: ConnectionQuery): Promise<TopConnections> {
    return this.#operator.answer({ what: "connections", query });
  }

  closed(query: ClosedQuery): Promise<ClosedConnections> {
    return this.#operator.answer({ what: "closed", query });
  }

  async connection(id: string): Promise<object | null> {
    return (await this.#operator.answer({ what: "connection", id })).connection;
  }

  async kick(id: string): Promise<boolean> {
    return (await this.#operator.answer({ what: "kick", id })).kicked;
  }
}

const NO_RELOADS: ReloadState = {
  state: "idle",
  completed: 0,
  failed: 0,
  slotsDone: 0,
  past: [],
  slots: 0,
  problem: null,
};

/** @param drain what stops this server: its stop(), or what its process does on a signal. */
export function serverControl(
  server: Pick<Server, "state">,
  drain: (hasten: boolean) => void,
): Control {
  const message =
    "one process serves, without workers that could be restarted one by one: see workers.count";
  return {
    reload: () => ({ outcome: "refused", message }),
    reloadState: () => NO_RELOADS,
    drain: (hasten): ControlOutcome => {
      const { state } = server;
      if (state === "new" || state === "starting") {
        return { outcome: "refused", message: "it has not started yet" };
      }
      if (state !== "stopped") drain(hasten);
      return { outcome: state === "serving" ? "started" : "running" };
    },
  };
}
